"""The learning rate at the ends and in between."""

from __future__ import annotations

import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor.config.sections import ScheduleConfig
from mentor.training.schedule import multiplier, warmup_steps


@given(
    st.integers(2, 5000),
    st.sampled_from(["cosine", "linear"]),
    st.floats(0, 0.9),
    st.floats(0, 1),
    st.floats(0, 0.9),
)
def test_last_step_is_exactly_the_floor_and_no_step_leaves_the_range(
    steps: int, kind: Literal["cosine", "linear"], warmup: float, floor: float, decay_from: float
) -> None:
    config = ScheduleConfig(steps=steps, kind=kind, warmup=warmup, floor=floor, decay_from=decay_from)
    assert multiplier(steps - 1, config) == floor
    for step in {0, steps // 3, steps // 2, steps - 2}:
        assert min(floor, 1 / warmup_steps(config)) - 1e-12 <= multiplier(step, config) <= 1.0


def test_warmup_rises_linearly_to_the_peak_at_its_last_step() -> None:
    config = ScheduleConfig(steps=100, warmup=0.05)
    assert warmup_steps(config) == 5
    assert [multiplier(step, config) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert multiplier(5, config) < 1


def test_warmup_in_steps_is_capped_by_the_run() -> None:
    assert warmup_steps(ScheduleConfig(steps=100, warmup=7)) == 7
    assert warmup_steps(ScheduleConfig(steps=100, warmup=700)) == 100
    assert warmup_steps(ScheduleConfig(steps=100, warmup=0.0)) == 1


def test_cosine_is_half_way_in_the_middle() -> None:
    config = ScheduleConfig(steps=101, warmup=1, floor=0.2)
    assert multiplier(50, config) == pytest.approx(0.6)
    assert multiplier(25, config) == pytest.approx(0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi / 4)))


def test_linear_stays_at_the_peak_until_the_decay() -> None:
    config = ScheduleConfig(steps=101, kind="linear", warmup=1, decay_from=0.4, floor=0.0)
    assert {multiplier(step, config) for step in range(41)} == {1.0}
    assert multiplier(70, config) == pytest.approx(0.5)


def test_constant_stays() -> None:
    config = ScheduleConfig(steps=10, kind="constant", warmup=2)
    assert [multiplier(step, config) for step in range(10)] == [0.5] + [1.0] * 9


def test_a_single_step_is_the_floor() -> None:
    assert multiplier(0, ScheduleConfig(steps=1, floor=0.3)) == 0.3


@given(st.integers(1, 3000), st.integers(1, 8), st.floats(0, 0.9), st.floats(0, 1))
def test_the_released_cosine_starts_at_zero_and_stays_between_floor_and_peak(
    steps: int, accumulate: int, warmup: float, floor: float
) -> None:
    config = ScheduleConfig(steps=steps, kind="released_cosine", warmup=warmup, floor=floor)
    shares = [multiplier(step, config, accumulate) for step in range(0, steps, max(1, steps // 50))]
    assert shares[0] == (0.0 if warmup else 1.0)
    rising = sum(step <= warmup * steps * accumulate for step in range(0, steps, max(1, steps // 50)))
    assert shares[:rising] == sorted(shares[:rising])
    assert shares[rising:] == sorted(shares[rising:], reverse=True)
    assert all(floor - 1e-12 <= share <= 1 for share in shares[rising:])


def test_the_released_cosine_counts_batches_but_moves_by_steps() -> None:
    config = ScheduleConfig(steps=1000, kind="released_cosine", warmup=0.05, floor=0.1)
    assert warmup_steps(config) == 50
    assert multiplier(50, config) == 1
    # 4 batches a step: a fifth of the run is warm-up, and a fifth of the half wave is seen (95 % of it otherwise).
    assert warmup_steps(config, accumulate=4) == 200
    assert multiplier(200, config, 4) == 1 > multiplier(201, config, 4)
    assert multiplier(1000, config, 4) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(0.2 * math.pi)), rel=1e-12)
    assert multiplier(999, config, 4) == pytest.approx(0.91, abs=0.005)
    assert multiplier(999, config) == pytest.approx(0.1058, abs=1e-4)


def test_the_released_line_falls_by_one_batch_in_all_of_them() -> None:
    config = ScheduleConfig(steps=100, kind="released_linear", warmup=10, floor=0.1)
    assert [multiplier(step, config, 2) for step in (0, 5, 10, 11, 99)] == pytest.approx(
        [0, 0.5, 1, 1 - 1 / 200, 0.555]
    )


def test_the_kinds_of_ours_count_steps_whatever_a_step_is_made_of() -> None:
    config = ScheduleConfig(steps=100, warmup=0.1)
    assert warmup_steps(config, 4) == warmup_steps(config)
    assert [multiplier(step, config, 4) for step in range(100)] == [multiplier(step, config) for step in range(100)]
