"""Hub repositories that hold checkpoints as their authors released them: fetched and converted on first use."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from mentor.checkpoint.conversion import Extras, Progress
from mentor.checkpoint.convert_model import convert_model
from mentor.checkpoint.hub import HubOptions, download
from mentor.checkpoint.hub_parts import FLAN_T5
from mentor.checkpoint.layout import CARD, CONFIG, TEXT_TOKENIZER
from mentor.config.presets import PRESETS


@dataclass(frozen=True)
class Raw:
    """Which files of a repository make a model."""

    preset: str
    """What shapes do not tell."""
    model: tuple[str, ...]
    """Glob patterns of the checkpoint, the preferred one first."""
    tokenizer: tuple[str, ...]
    """The same for the image tokenizer."""
    language: tuple[str, ...] = (TEXT_TOKENIZER,)
    """What is needed of ``FLAN_T5``."""


RAW = {
    "BleachNick/Mentor": Raw("xl", ("stage2.pt", "*stage2*.pt"), ("vq_ds16_t2i.pt", "*vq*16*.pt")),
    "peizesun/llamagen_t2i": Raw(
        "llamagen-xl",
        ("t2i_XL_stage2_512.pt",),
        ("vq_ds16_t2i.pt",),
        (TEXT_TOKENIZER, "model*.safetensors", "model.safetensors.index.json"),
    ),
}
"""Hub name -> what to take of it."""


def convert_released(hub_id: str, hub: HubOptions) -> Path:
    """The bundle made of a repository of ``RAW``, beside its snapshots in the hub's cache, a folder for each commit.

    It is made on first use: some gigabytes are downloaded unless they are in the cache, and as many written. ValueError if
    the hub cannot be reached, lacks a file, or has other files than expected.
    """
    raw = RAW[hub_id]
    done = _converted(hub_id, hub)
    if done is not None:
        return done
    snapshot, model = _fetch(hub_id, raw.model, hub)
    # All files are of one commit, even if the repository changes meanwhile.
    _, tokenizer = _fetch(hub_id, raw.tokenizer, replace(hub, revision=snapshot.name))
    language = download(FLAN_T5, hub, None, list(raw.language))
    from huggingface_hub.utils import WeakFileLock

    out = _place(snapshot)
    out.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(out.with_name(f"{out.name}.lock")), _bar(f"Converting {model.name}") as told:
        if not (out / CONFIG).is_file():  # else another process was faster
            report = convert_model(model, tokenizer, out, PRESETS[raw.preset], Extras(language=language, hub=hub), told)
            for warning in report.warnings:
                warnings.warn(f"{hub_id}: {warning}", stacklevel=2)
    return out


def _place(snapshot: Path) -> Path:
    return snapshot.parents[1] / "converted" / snapshot.name


def _converted(hub_id: str, hub: HubOptions) -> Path | None:
    """The bundle of an earlier call for the newest commit, which needs none of the repository's large files."""
    try:
        out = _place(download(hub_id, hub, hub.revision, [CARD]))
    except ValueError:
        return None  # what is missing is told when the large files are asked for
    return out if (out / CONFIG).is_file() else None


def _fetch(hub_id: str, patterns: tuple[str, ...], hub: HubOptions) -> tuple[Path, Path]:
    """The snapshot folder, and the first file in it that matches the first pattern that any file matches.

    A download that fails is an error and no reason to look for a file of another name: that may be another stage's.
    """
    for pattern in patterns:
        folder = download(hub_id, hub, hub.revision, [pattern])
        files = sorted(path for path in folder.rglob("*.pt") if fnmatch(path.relative_to(folder).as_posix(), pattern))
        if files:
            return folder, files[0]
    raise ValueError(f"{hub_id} has no file {' or '.join(patterns)} in the hub or its cache")


@contextmanager
def _bar(what: str) -> Iterator[Progress]:
    """A bar like those of the downloads before it."""
    from huggingface_hub.utils import tqdm

    with tqdm(desc=what, unit="B", unit_scale=True) as bar:

        def told(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield told
