"""What a user's mistake looks like on the command line: one line on stderr and exit status 2."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

_DRAWING = "fewer pictures side by side (--batch-size) or --dtype bfloat16 need less"
_NEW_RUN = "a new run also with half of data.batch_size and twice the optim.accumulate, which learns the same"
NEEDS_LESS = {
    "generate": _DRAWING,
    "gallery": _DRAWING,
    "evaluate": _DRAWING,
    "serve": "fewer pictures side by side (--max-batch) or --dtype bfloat16 need less",
    "bench": "--dtype bfloat16 needs less",
    "precompute": "--device cpu has the computer's memory",
    "train": "engine.activation_checkpointing=true needs less, on several GPUs engine.strategy=fsdp too, and a begun run "
    f"goes on with either; {_NEW_RUN}",
    "finetune": f"engine.activation_checkpointing=true needs less, and a begun run goes on with it; {_NEW_RUN}",
    "ablate": "engine.activation_checkpointing=true needs less, and begun runs go on with it",
}
"""What to do when a command's memory does not suffice."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, without the usage text before it.

    ``prog`` of what it returns is the command that was named, with its subcommand: "mentor evaluate scenes".
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse's; the parsers of subcommands come to their end first."""
        namespace, rest = super().parse_known_args(args, namespace)
        namespace.prog = getattr(namespace, "prog", self.prog)
        return namespace, rest

    def error(self, message: str) -> NoReturn:
        """Print ``message`` and leave with status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def one_line(error: BaseException) -> str:
    """The text of an exception on one line; an ``OSError`` names its file first."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())


def out_of_memory(error: RuntimeError) -> bool:
    """Whether the memory of a GPU or of the computer did not suffice."""
    if "torch" not in sys.modules:  # not imported for this: who has not imported it has not run out of its memory
        return False
    from mentor.nn import device

    return device.out_of_memory(error)


def report(command: str, error: BaseException, advice: str = "") -> int:
    """Tell the user what went wrong, and what to do; returns the exit status 2."""
    print(f"mentor {command}: error: {one_line(error)}{advice and f'; {advice}'}", file=sys.stderr)
    return 2
