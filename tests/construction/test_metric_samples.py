from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from mentor.construction.metric_samples import write_samples
from mentor.data.corpus import Corpus

SAMPLES = Path(str(files("mentor"))) / "assets/samples"
NAMES = ("dreambench", "reconstruction", "geneval", "coco_fid")


def test_the_packaged_samples_are_what_the_corpus_gives(tmp_path: Path) -> None:
    """Texts byte for byte; pictures by name only, since encoders differ between versions."""
    try:
        corpus = Corpus.load()
    except ValueError as missing:
        pytest.skip(str(missing))
    write_samples(corpus, tmp_path)
    for name in NAMES:
        made = {path.relative_to(tmp_path / name): path for path in (tmp_path / name).rglob("*") if path.is_file()}
        held = {path.relative_to(SAMPLES / name): path for path in (SAMPLES / name).rglob("*") if path.is_file()}
        assert set(made) == set(held)
        for part, path in made.items():
            if path.suffix in (".csv", ".txt", ".jsonl"):
                assert path.read_bytes() == held[part].read_bytes(), part


def test_samples_are_small() -> None:
    for name in NAMES:
        assert sum(path.stat().st_size for path in (SAMPLES / name).rglob("*") if path.is_file()) < 60_000


def test_a_corpus_without_the_cutouts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="MIT-licensed held-out cut-outs of 'cat', got 0"):
        write_samples(Corpus([], []), tmp_path)
