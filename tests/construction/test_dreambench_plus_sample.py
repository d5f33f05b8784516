"""The built-in sample is what the script makes of the committed corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mentor
from mentor.construction.dreambench_plus_sample import write_sample
from mentor.data.corpus import Corpus
from mentor.data.images import load_image

SAMPLE = Path(mentor.__file__).parent / "assets" / "samples" / "dreambench_plus"


def files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def test_the_sample_can_be_made_again(tmp_path: Path) -> None:
    try:
        corpus = Corpus.load()
    except ValueError as missing:
        pytest.skip(str(missing))
    write_sample(corpus, tmp_path)
    assert files(tmp_path) == files(SAMPLE)
    for name in files(SAMPLE):
        if name.suffix == ".txt":
            assert (tmp_path / name).read_text() == (SAMPLE / name).read_text()
        else:
            made, kept = (np.asarray(load_image(folder / name)).astype(int) for folder in (tmp_path, SAMPLE))
            assert np.abs(made - kept).mean() < 1  # JPEG libraries differ by a level here and there


def test_a_corpus_without_the_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a corpus with cut-outs"):
        write_sample(Corpus([], []), tmp_path)
    assert files(tmp_path) == []
