"""The measured benchmarks from the command line on their built-in samples, with ready pictures in place of a model."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image

from mentor.cli.main import main
from mentor.evaluation.benchmarks import find_benchmark
from mentor.evaluation.protocol import Source

SAMPLES = Path(str(files("mentor"))) / "assets/samples"
KNOWN = {
    "dreambench": ("dino", 1.0),
    "reconstruction": ("l2", 0.0),
    "geneval": ("overall", 0.0),
    "coco_fid": ("clip_t", 0.5**0.5 / 12),
}
"""What the reference, the target or a plain gray picture scores. Gray shows no object; one caption of twelve names gray, and
one colour more."""


@pytest.mark.parametrize("name", KNOWN)
def test_a_sample_run_leaves_numbers_and_pages(name: str, tmp_path: Path) -> None:
    items = find_benchmark(name).items(Source(SAMPLES / name, sample=True))
    for item in items:
        path = tmp_path / "ready" / f"{item.key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        gray = Image.new("RGB", (64, 64), (140, 140, 140))
        (item.target or next(iter(item.references), gray)).save(path)
    out = tmp_path / "out"
    assert main(["evaluate", name, "--sample", "--pictures", str(tmp_path / "ready"), "--out", str(out)]) == 0
    run = json.loads((out / "run.json").read_text())
    headline, expected = KNOWN[name]
    assert run["summary"][headline] == pytest.approx(expected, abs=1e-6)
    assert run["preset"] == "stand-in" and run["summary"]["failed"] == 0
    assert any(named.startswith("stand-in") for named in run["backbones"].values())
    assert len((out / "items.jsonl").read_text().splitlines()) == len(items)
    assert "stand-in" in (out / "report.html").read_text() and (out / "report.md").is_file()
