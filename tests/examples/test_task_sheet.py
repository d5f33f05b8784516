"""The sheet of tasks is drawn: a row for each task, references and target in it."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mentor.data.mixture import Mixture
from mentor.data.tasks import TASKS

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus

EXAMPLE = Path(__file__).parents[2] / "examples" / "task_sheet.py"


def test_the_sheet_shows_every_task(tiny_corpus: Corpus) -> None:
    example = runpy.run_path(str(EXAMPLE))
    sheet = np.asarray(example["draw_sheet"](tiny_corpus, "train", 2, 128, 0))
    first = np.asarray(Mixture(tiny_corpus, {"text_to_image": 1.0}, "train", 128, 0).sample(0).target)
    title, cell = example["TITLE"], example["CELL"]
    np.testing.assert_array_equal(sheet[title + 1 : title + cell - 1, 1 : cell - 1], first[1:-1, 1:-1])
    rows = np.split(sheet, len(TASKS))
    assert all((row < 250).mean() > 0.05 for row in rows)
