"""The benchmarks that ``mentor evaluate`` knows, by name, and where their data lies."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mentor.evaluation.protocol import Benchmark, Item, Source

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
    """``n`` of the items at equal distances, so that every category stays in; all of them for None or a larger ``n``."""
    if not items:
        raise ValueError("the data holds no items")
    keys = {item.key for item in items}
    if len(keys) != len(items):
        raise ValueError(f"the data names {len(items) - len(keys)} item(s) twice; every key must be its own")
    if n is None or n >= len(items):
        return list(items)
    return [items[number * len(items) // n] for number in range(n)]


def _downloaded(name: str, benchmark: str) -> Path:
    if not name:
        raise ValueError(
            f"{benchmark}: no data set on the hub is known for it; give --data {HUB}:OWNER/NAME or a folder"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, repo_type="dataset", revision=revision or None))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"the hub did not give the data set {name!r} ({reason}); download it and give --data DIR"
        ) from error
