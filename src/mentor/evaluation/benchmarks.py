"""The benchmarks that ``mentor evaluate`` knows, by name, and where their data lies."""

from __future__ import annotations

import importlib
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from mentor.checkpoint.hub import hub_errors, split_revision
from mentor.evaluation.protocol import Benchmark, Item, Source

GOLDEN = (5**0.5 - 1) / 2
HUB = "hub"
"""In place of a data folder: the benchmark's own data set on the hub, or ``hub:OWNER/NAME[@REVISION]``."""


@dataclass(frozen=True)
class Entry:
    """Where a benchmark's file lies and what it is, without importing it."""

    module: str
    help: str
    judged: bool = False
    """Whether a judge is asked."""


BENCHMARKS = {
    "scenes": Entry("scene_benchmark", "composed scenes whose every fact is known; offline"),
    "dreambench_plus": Entry(
        "dreambench_plus", "DreamBench++: concept preservation and prompt following, judged", True
    ),
    "dreambench": Entry("dreambench", "DreamBench: DINO, CLIP-I, CLIP-T"),
    "reconstruction": Entry("reconstruction", "image reconstruction: pixel distance, PSNR, SSIM, LPIPS, CLIP"),
    "geneval": Entry("geneval", "GenEval: six tasks, checked by a detector"),
    "coco_fid": Entry("coco_fid", "MS-COCO: FID and CLIP score"),
}


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of a known name, imported now. Not for ``scenes``, which is built for a corpus."""
    benchmark: Benchmark = importlib.import_module(f"mentor.evaluation.{BENCHMARKS[name].module}").BENCHMARK
    return benchmark


def find_source(benchmark: Benchmark, data: str | None, *, sample: bool = False) -> Source:
    """The built-in sample, a folder, or a download from the hub; ``ValueError`` when there is none."""
    if sample:
        folder = Path(str(files("mentor"))) / "assets" / "samples" / benchmark.name
        if not folder.is_dir():
            raise ValueError(f"{benchmark.name}: this installation has no built-in sample; give --data")
        return Source(folder, sample=True)
    if data is None:
        known = f", --data {HUB} (downloads {benchmark.hub})" if benchmark.hub else ""
        raise ValueError(f"{benchmark.name}: give --data DIR{known}, or --sample for the few built-in items")
    if data == HUB or data.startswith(f"{HUB}:"):
        return Source(_downloaded(data.removeprefix(HUB).removeprefix(":") or benchmark.hub, benchmark.name))
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise ValueError(f"--data: {folder} is no folder")
    return Source(folder)


def chosen(items: Sequence[Item], n: int | None) -> list[Item]:
    """``n`` of the items, so that every category and kind stays in; all of them for None or a larger ``n``.

    One of each of ``n`` equal parts. Where in its part it lies goes on by the golden ratio: at equal distances a set whose
    prompts come in a fixed order would show some kinds of prompts only.
    """
    if not items:
        raise ValueError("the data holds no items")
    keys = {item.key for item in items}
    if len(keys) != len(items):
        raise ValueError(f"the data names {len(items) - len(keys)} item(s) twice; every key must be its own")
    if n is None or n >= len(items):
        return list(items)
    bounds = [number * len(items) // n for number in range(n + 1)]
    return [items[low + int(number * GOLDEN % 1 * (high - low))] for number, (low, high) in enumerate(pairwise(bounds))]


def _downloaded(name: str, benchmark: str) -> Path:
    if not name:
        raise ValueError(
            f"{benchmark}: no data set on the hub is known for it; give --data {HUB}:OWNER/NAME or a folder"
        )
    from huggingface_hub import snapshot_download

    repository, revision = split_revision(name)
    try:
        folder = Path(snapshot_download(repository, repo_type="dataset", revision=revision))
    except hub_errors() as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"the hub did not give the data set {name!r} ({reason}); download it and give --data DIR"
        ) from error
    archives = [path for path in folder.iterdir() if path.suffix == ".zip"]
    return folder if len(archives) != 1 else _unpacked(archives[0], folder)


def _unpacked(archive: Path, snapshot: Path) -> Path:
    """The folder inside a data set that is one zip file (as DreamBench++'s is), unpacked once beside its snapshots."""
    target = snapshot.parent.parent / "unpacked" / snapshot.name
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            folder = Path(temporary) / "new"
            try:
                with zipfile.ZipFile(archive) as packed:
                    packed.extractall(folder)  # names that lead out of the folder are made to stay inside
            except zipfile.BadZipFile as error:
                raise ValueError(f"{archive} is damaged ({error}); delete it and run the command again") from error
            try:
                folder.rename(target)
            except OSError:
                if not target.is_dir():  # else another process was faster
                    raise
    inside = [path for path in target.iterdir() if not path.name.startswith((".", "__MACOSX"))]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else target
