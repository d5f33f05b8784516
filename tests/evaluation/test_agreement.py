"""Alpha and Pearson against independent computations, and the official files of ratings."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mentor.cli.main import main
from mentor.evaluation.agreement import (
    agreement,
    alpha_of,
    krippendorff_alpha,
    pearson,
    pearson_of,
    read_human,
    read_judge,
)

_ = np.nan
# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): 4 observers, 12 units, missing data.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]


def by_coincidences(ratings: list[list[float]]) -> float:
    """Alpha by the definition: a table of coincidences, built pair by pair."""
    coincidences: dict[tuple[float, float], float] = {}
    for unit in zip(*ratings, strict=True):
        values = [value for value in unit if not np.isnan(value)]
        if len(values) > 1:
            for one, two in itertools.permutations(values, 2):
                coincidences[one, two] = coincidences.get((one, two), 0) + 1 / (len(values) - 1)
    margins: dict[float, float] = {}
    for (one, _two), count in coincidences.items():
        margins[one] = margins.get(one, 0) + count
    total = sum(margins.values())
    observed = sum(count * (one - two) ** 2 for (one, two), count in coincidences.items())
    expected = sum(margins[one] * margins[two] * (one - two) ** 2 for one in margins for two in margins)
    return 1 - (total - 1) * observed / expected


def test_the_published_example() -> None:
    assert krippendorff_alpha(PUBLISHED) == pytest.approx(0.849, abs=5e-4)
    assert krippendorff_alpha(PUBLISHED) == pytest.approx(by_coincidences(PUBLISHED), abs=1e-12)


_RATING = st.one_of(st.integers(0, 4).map(float), st.just(np.nan))


@given(st.integers(2, 4).flatmap(lambda raters: st.lists(st.tuples(*[_RATING] * raters), min_size=1, max_size=12)))
def test_alpha_agrees_with_the_table_of_coincidences(units: list[tuple[float, ...]]) -> None:
    ratings = [list(rater) for rater in zip(*units, strict=True)]
    pairable = [v for unit in units for v in unit if not np.isnan(v) and np.isfinite(unit).sum() > 1]
    if len(set(pairable)) < 2:
        with pytest.raises(ValueError, match="alpha"):
            krippendorff_alpha(ratings)
    else:
        assert krippendorff_alpha(ratings) == pytest.approx(by_coincidences(ratings), abs=1e-9)


def test_alpha_is_1_for_equal_raters_and_ignores_shift_and_scale() -> None:
    table = np.array(PUBLISHED)
    assert krippendorff_alpha([table[1], table[1]]) == pytest.approx(1)
    assert krippendorff_alpha(table * 3 - 100) == pytest.approx(krippendorff_alpha(table))
    assert krippendorff_alpha([[0, 4], [4, 0]]) < 0


def test_pearson_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, 5, 50), rng.integers(0, 5, 50)
    assert pearson(one, two) == pytest.approx(stats.pearsonr(one, two).statistic, abs=1e-12)


@pytest.mark.parametrize(("one", "two"), [([1, 1], [1, 2]), ([1], [1]), ([1, 2], [1, 2, 3])])
def test_undefined_correlations(one: list[float], two: list[float]) -> None:
    with pytest.raises(ValueError, match="Pearson|equally long"):
        pearson(one, two)


def test_ratings_are_paired_by_key_not_by_order() -> None:
    one = {"a-0": 0.0, "b-0": 1.0, "c-0": 4.0}
    two = {"c-0": 4.0, "b-0": 2.0, "d-0": 0.0, "a-0": 0.0}
    assert pearson_of(one, two) == pytest.approx(stats.pearsonr([0, 1, 4], [0, 2, 4]).statistic)
    assert alpha_of([one, two]) == pytest.approx(by_coincidences([[0, 1, 4], [0, 2, 4]]))


def write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


KEYS = [f"object_{number:02d}_t-shirt-{prompt}" for number in range(3) for prompt in range(3)]
HUMAN = {"cp": ([0, 1, 2, 3, 4, 4, 3, 2, 1], [0, 2, 2, 3, 4, 3, 3, 1, 1]), "pf": ([4, 4, 0, 1, 2, 3, 3, 0, 4],) * 2}
JUDGE = {
    "cp": ([1, 1, 2, 2, 4, 4, 3, 2, 0], [0, 1, 1, 3, 4, 4, 2, 2, 1]),
    "pf": ([4, 3, 0, 1, 2, 3, 4, 0, 4], [4, 4, 1, 1, 2, 3, 3, 0, 3]),
}


@pytest.fixture
def official(tmp_path: Path) -> Path:
    for group in range(2):
        pairs = {key: [HUMAN["cp"][group][n], HUMAN["pf"][group][n]] for n, key in enumerate(KEYS)}
        halves = [dict(list(pairs.items())[:5]), dict(list(pairs.items())[5:])]
        for number, half in enumerate(halves):
            write(tmp_path / f"human/raw_data/group{group + 1}/person{number}-emu2.json", half)
        for number, aspect in enumerate(("cp", "pf")):
            merged = {key: pair[number] for key, pair in reversed(pairs.items())}
            write(tmp_path / f"human/merged_data/group{group + 1}/emu2-{aspect}.json", merged)
    for aspect, prefix in (("cp", "concept_preservation"), ("pf", "prompt_following")):
        write(tmp_path / f"gpt/{prefix}_full/emu2.json", dict(zip(KEYS, JUDGE[aspect][0], strict=True)))
        for key, score in zip(KEYS, JUDGE[aspect][1], strict=True):
            collection, _, prompt = key.rpartition("-")
            single = {"collection_id": collection, "prompt_index": int(prompt), "score": score, "content": "..."}
            write(tmp_path / f"gpt/{prefix}_full2/emu2/emu2-{key}.json", single)
    return tmp_path


@pytest.mark.parametrize("layout", ["raw_data", "merged_data"])
def test_official_files(official: Path, layout: str) -> None:
    result = agreement(read_human(official / "human" / layout, "emu2"), read_judge(official / "gpt", "emu2"))
    for aspect in ("cp", "pf"):
        human, judge = [list(map(float, each)) for each in HUMAN[aspect]], JUDGE[aspect]
        alphas = [np.mean([by_coincidences([group, list(map(float, each))]) for group in human]) for each in judge]
        correlations = [stats.pearsonr(group, judge[0]).statistic for group in human]
        found = result[aspect]
        assert (found["pictures"], found["groups"], found["passes"]) == (9, 2, 2)
        assert found["alpha_human"] == pytest.approx(by_coincidences(human))
        assert found["alpha_judge"] == pytest.approx(np.mean(alphas))
        assert found["alpha_judge_std"] == pytest.approx(np.std(alphas, ddof=1))
        assert found["pearson_human"] == pytest.approx(stats.pearsonr(*human).statistic)
        assert found["pearson_judge"] == pytest.approx(np.mean(correlations))
        assert found["pearson_judge_half_range"] == pytest.approx(abs(correlations[0] - correlations[1]) / 2)


def test_the_command_prints_the_numbers(official: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge = ["--judge", str(official / "gpt")]
    words = ["evaluate", "agreement", "--human", str(official / "human/raw_data"), *judge, "--method", "emu2"]
    assert main(words) == 0
    result = agreement(read_human(official / "human/raw_data", "emu2"), read_judge(official / "gpt", "emu2"))
    shown = capsys.readouterr().out
    for line, aspect in zip([row for row in shown.splitlines() if "±" in row], ("cp", "pf"), strict=True):
        numbers = [float(word) for word in line.replace("±", " ").split()[1:]]
        names = ["pictures", "alpha_human", "alpha_judge", "alpha_judge_std", "pearson_human", "pearson_judge"]
        expected = [result[aspect][name] for name in [*names, "pearson_judge_half_range"]]
        assert numbers == pytest.approx(expected, abs=5e-4)
    assert main([*words[:-1], "nobody"]) == 2
    assert "no ratings of 'nobody'" in capsys.readouterr().err


def test_null_and_nan_are_no_ratings(official: Path) -> None:
    path = official / "human/merged_data/group1/emu2-cp.json"
    ratings = json.loads(path.read_text())
    ratings[KEYS[0]], ratings[KEYS[1]] = None, float("nan")
    path.write_text(json.dumps(ratings))
    groups = read_human(official / "human/merged_data", "emu2")
    assert [len(group["cp"]) for group in groups] == [7, 9]


def test_a_run_of_ours_is_a_judge(tmp_path: Path) -> None:
    lines = [
        {
            "key": f"object_00_t-shirt/{n}_0",
            "numbers": {"cp": 0.5, "cp_pass_1": n / 4, "cp_pass_2": 1.0, "pf_pass_1": 0.25},
        }
        for n in range(3)
    ]
    del lines[2]["numbers"]["cp_pass_2"]  # type: ignore[attr-defined]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    keys = [f"object_00_t-shirt-{n}" for n in range(3)]
    assert read_judge(tmp_path, "") == {
        "cp": [dict(zip(keys, [0.0, 1.0, 2.0], strict=True)), dict.fromkeys(keys[:2], 4.0)],
        "pf": [dict.fromkeys(keys, 1.0)],
    }
    (tmp_path / "items.jsonl").write_text('{"key": "a/0_0", "numbers": {"dino": 1}}\n')
    with pytest.raises(ValueError, match="no judged pictures"):
        read_judge(tmp_path, "")


def test_wrong_folders_are_named(official: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="groups of people"):
        read_human(tmp_path / "nowhere", "emu2")
    with pytest.raises(ValueError, match="no ratings of 'kosmos_g'"):
        read_human(official / "human/raw_data", "kosmos_g")
    with pytest.raises(ValueError, match="no ratings of 'kosmos_g'"):
        read_judge(official / "gpt", "kosmos_g")
    with pytest.raises(ValueError, match=r"expected concept_preservation_full in it, or items\.jsonl"):
        read_judge(official / "human", "emu2")
    path = official / "human/raw_data/group1/person0-emu2.json"
    for data, message in (('{"a-0": [1]}', r"expected \[CP, PF\]"), ("[]", "JSON object"), ("{", "cannot be read")):
        path.write_text(data)
        with pytest.raises(ValueError, match=message):
            read_human(official / "human/raw_data", "emu2")
    path.write_text('{"a-0": ["good", 1]}')
    with pytest.raises(ValueError, match="expected a number or null"):
        read_human(official / "human/raw_data", "emu2")
