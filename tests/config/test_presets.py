"""Paper against released code: one table of answers, from which the presets are made and which the documentation repeats."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from mentor.config.load import differences, to_dict
from mentor.config.model import MentorConfig
from mentor.config.presets import CONFLICTS, PRESETS, Answers
from mentor.config.sampling import GenerationSettings
from tests.test_package import loaded_by

REPRODUCING = Path(__file__).parents[2] / "docs" / "reproducing.md"
NAMED = {"as_released": "xl", "paper": "xl-paper", "fixed": "xl-fixed"}


def value(config: MentorConfig, key: str) -> Any:
    return reduce(getattr, key.split("."), config)


@pytest.mark.parametrize("answer", Answers._fields)
def test_each_answer_is_a_preset(answer: str) -> None:
    config = PRESETS[NAMED[answer]]
    assert {key: value(config, key) for key in CONFLICTS} == {
        key: getattr(answers, answer) for key, answers in CONFLICTS.items()
    }


def test_the_answers_differ_in_the_conflicts_and_nothing_else() -> None:
    released = to_dict(PRESETS["xl"])
    for answer, name in NAMED.items():
        changed = {line.partition(":")[0] for line in differences(released, to_dict(PRESETS[name]))} - {"name"}
        assert changed == {key for key, row in CONFLICTS.items() if getattr(row, answer) != row.as_released}


def test_the_documentation_gives_the_same_answers() -> None:
    rows = re.findall(
        r"^\| [^|]+ \| `([\w.]+)` \| `([^`]+)` \| `([^`]+)` \| `([^`]+)` \| [^|]+ \|$", REPRODUCING.read_text(), re.M
    )
    assert {key: tuple(answers) for key, *answers in rows} == {
        key: tuple(map(str, answers)) for key, answers in CONFLICTS.items()
    }
    assert len(rows) == len(CONFLICTS)


def test_the_documentation_names_every_preset_of_the_full_size() -> None:
    text = REPRODUCING.read_text()
    assert [name for name in PRESETS if not name.startswith("mini") and f"`{name}`" not in text] == []


def test_full_size_models_are_sampled_as_their_authors_do_and_the_mini_as_was_measured() -> None:
    sampling = {name: config.generation for name, config in PRESETS.items()}
    assert sampling["mini-128"] == GenerationSettings(cfg_scale=2.0, top_p=0.9)
    assert sampling["llamagen-xl"] == GenerationSettings(cfg_scale=7.5, temperature=1.0, top_k=1000)
    assert {sampling[name] for name in PRESETS if name.startswith("xl")} == {GenerationSettings(7.5, 0.9)}


def test_presets_need_no_torch() -> None:
    assert loaded_by("import mentor.config.presets") & {"torch", "transformers", "numpy"} == set()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision": None}, "vision and connector go together"),
        ({"connector": None}, "vision and connector go together"),
        ({"context": 256}, "context 256 leaves no room for a word beside one image of 256 tokens"),
        ({"language": PRESETS["mini-64"].language, "context": 513}, "513 exceeds the language encoder's 512 positions"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PRESETS["xl"], **changes)


def test_tokens_an_image_takes() -> None:
    expected = {"mini-64": 16, "xl": 256, "xl-multi-image": 256, "xl-query-former": 32, "llamagen-xl": 0}
    assert {name: PRESETS[name].tokens_per_image for name in expected} == expected
