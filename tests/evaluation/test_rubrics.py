"""What a judge is told: our own rubrics, and the official files when a folder is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from mentor.evaluation.panel import parse_score
from mentor.evaluation.rubrics import KINDS, Rubric, official_rubrics, own_rubrics
from mentor.vlm.client import Turn


def write_official(folder: Path, setting: str, kinds: tuple[str, ...] = KINDS) -> None:
    for kind in kinds:
        (folder / f"user_prompt_{kind}_{setting}.txt").write_text(f"rubric {kind} {setting}\n\n")
        (folder / f"gpt_prompt_{kind}_{setting}.txt").write_text(f"consent {kind} {setting}\n")


def test_a_question_has_three_turns_with_the_sample_last() -> None:
    assert Rubric("told", "yes").dialogue((b"1", b"2")) == (
        Turn("user", "told"),
        Turn("assistant", "yes"),
        Turn("user", "", (b"1", b"2")),
    )
    assert Rubric("told", "yes").dialogue((b"2",), "a fox")[2] == Turn("user", "a fox", (b"2",))


def test_without_consent_it_has_one() -> None:
    (turn,) = Rubric("told", None).dialogue((b"2",), "a fox")
    assert (
        turn.role == "user" and turn.text.startswith("told") and turn.text.endswith("a fox") and turn.images == (b"2",)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_our_rubrics_name_the_five_levels_and_the_form_of_the_answer(kind: str) -> None:
    rubric = own_rubrics()[kind]
    for level in range(5):
        assert f"\n- {level}, " in rubric.text
    assert "Score: N" in rubric.text and rubric.consent is not None and "Score: N" in rubric.consent
    assert "{" not in rubric.text
    # The words themselves must not read as a score, or a judge that repeats them would be misread.
    with pytest.raises(ValueError, match="no score"):
        parse_score(rubric.text + rubric.consent)


def test_only_prompt_following_asks_for_reasons() -> None:
    rubrics = own_rubrics()
    assert ["three short sentences" in rubrics[kind].text for kind in KINDS] == [False, False, True]


def test_official_files_are_used_word_for_word(tmp_path: Path) -> None:
    write_official(tmp_path, "full")
    rubrics = official_rubrics(tmp_path)
    for kind in KINDS:
        assert rubrics[kind] == Rubric(f"rubric {kind} full", f"consent {kind} full")
    assert "official" in rubrics.source and rubrics.checksum != own_rubrics().checksum


def test_settings_of_the_official_files(tmp_path: Path) -> None:
    write_official(tmp_path, "full")
    write_official(tmp_path, "w_cot", ("subject", "style"))
    rubrics = official_rubrics(tmp_path, "w_cot")
    assert rubrics["subject"].text == "rubric subject w_cot" and rubrics["text"].text == "rubric text full"
    assert "text: full" in rubrics.source
    single = official_rubrics(tmp_path, "wo_internal_thinking")
    assert [single[kind] for kind in KINDS] == [Rubric(f"rubric {kind} full", None) for kind in KINDS]
    with pytest.raises(ValueError, match="no prompt files of the setting 'other'"):
        official_rubrics(tmp_path, "other")


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"user_prompt_subject_full\.txt: cannot be read"):
        official_rubrics(tmp_path)
    write_official(tmp_path, "full")
    (tmp_path / "gpt_prompt_style_full.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"gpt_prompt_style_full\.txt: is empty"):
        official_rubrics(tmp_path)
