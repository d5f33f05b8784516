"""Where a converted model's tensors come from: one or several files, each checked name by name against the model."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from mentor.checkpoint.foreign import recognise
from mentor.checkpoint.official import rename, to_official
from mentor.checkpoint.pickles import WeightFile

_LISTED = 3
"""So many tensors of a kind are named in a message; the others are counted."""


class Source:
    """A file whose tensors are asked for by our names."""

    def __init__(self, file: WeightFile, table: Mapping[str, str], beside: tuple[str, ...] = ()) -> None:
        """``table``: how its names begin -> how ours do; ``beside``: how names begin that belong to parts we do not use."""
        self.file, self.table = file, dict(table)
        other = [name for name in file.tensors if name.startswith(beside)] if beside else []
        renamed = rename((name for name in file.tensors if name not in set(other)), self.table)
        self.names, self.unknown = renamed.ours, renamed.unknown
        self.outline = {ours: file.tensors.outline[theirs] for ours, theirs in self.names.items()}
        self.notes = list(file.notes)
        self.notes += [f"left out of {file.path.name}: {what} ({n})" for what, n in renamed.ignored.items()]
        if other:
            self.notes.append(f"not needed of {file.path.name}: {len(other)} tensors of other parts")

    def has(self, part: str) -> bool:
        """Whether there is any tensor whose name of ours begins with ``part``."""
        return any(name.startswith(part) for name in self.names)

    def read(self, name: str) -> Tensor:
        """The tensor with our name ``name``."""
        return self.file.tensors[self.names[name]]

    def hand_over(self, name: str) -> Tensor:
        """The tensor with our name ``name``, which is no longer asked of this file."""
        tensor = self.read(name)
        del self.names[name], self.outline[name]
        return tensor

    def check(self, expected: Mapping[str, Tensor], what: str) -> None:
        """ValueError unless the file holds the tensors ``expected`` (by our names), in their shapes, and no others.

        It counts what is unknown, missing and of another shape, and names the first few with the nearest known name.
        ``what``: what the file was expected to be.
        """
        wanted = {to_official(name, self.table) or name: name for name in expected}
        unknown = [*self.unknown, *(theirs for ours, theirs in self.names.items() if ours not in expected)]
        missing = [theirs for theirs, ours in wanted.items() if ours not in self.names]
        misshapen = [
            f"{self.names[name]} is {list(self.outline[name].shape)}, expected {list(tensor.shape)}"
            for name, tensor in expected.items()
            if name in self.names and self.outline[name].shape != tensor.shape
        ]
        problems = [
            _listed("unknown", "", unknown, lambda name: _nearest(name, wanted)),
            _listed("missing", "", missing, lambda name: _nearest(name, unknown)),
            _listed("", " of another shape", misshapen, lambda _: ""),
        ]
        told = "; ".join(problem for problem in problems if problem)
        if told:
            kind = (
                (recognise(self.file.tensors) or "").partition(", which")[0] if len(missing) > len(wanted) // 2 else ""
            )
            raise ValueError(
                f"{self.file.path} {f'holds {kind}, not' if kind else 'is not'} {what} as its shapes and the configuration "
                f"tell: {told}"
            )


def _listed(before: str, after: str, names: list[str], nearest: Callable[[str], str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    counted = f"{len(names)} {before} tensor{'s' * (len(names) > 1)}{after}".replace("  ", " ")
    return f"{counted}: {', '.join(name + nearest(name) for name in names[:_LISTED])}{more}"


def _nearest(name: str, known: Mapping[str, str] | list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f" (nearest: {close[0]})" if close else ""


@dataclass
class Assembled(Mapping[str, Tensor]):
    """The tensors of a model by our names, each read from its source when it is asked for."""

    sources: Mapping[str, Source]
    """Name -> where it comes from."""
    on_read: Callable[[int], object] = lambda _: None
    """Told the bytes of every tensor that is read."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: tuple(source.outline[name].shape) for name, source in self.sources.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(source.outline[name].nbytes for name, source in self.sources.items())

    def __getitem__(self, name: str) -> Tensor:
        tensor = self.sources[name].read(name)
        self.on_read(tensor.nbytes)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)
