"""Settings are plain numbers inside their ranges, whatever kind of number came."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from mentor.config.sampling import GenerationSettings, whole_number


def test_numbers_of_numpy_become_plain_ones() -> None:
    settings = GenerationSettings(np.float32(2.5), np.int64(1), np.int16(7), np.float64(0.5), np.uint8(3))
    assert settings == GenerationSettings(2.5, 1.0, 7, 0.5, 3)
    assert json.loads(json.dumps(asdict(settings))) == asdict(settings)
    assert (type(settings.top_k), type(settings.cfg_interval), type(settings.cfg_scale)) == (int, int, float)


@pytest.mark.parametrize("name", ["cfg_scale", "temperature", "top_k", "top_p", "cfg_interval"])
@pytest.mark.parametrize("value", ["3", None, True, 1j, [1]])
def test_what_is_no_number_is_told(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected a (whole )?number, got "):
        GenerationSettings(**{name: value})


def test_whole_numbers_have_a_least_one() -> None:
    assert whole_number("seed", np.int64(-3)) == -3
    for value, message in ((0, "n: expected 1 or more, got 0"), (1.0, "n: expected a whole number, got 1.0")):
        with pytest.raises(ValueError, match=message):
            whole_number("n", value, 1)
