"""Fixtures of the converters' tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.parity.fixtures import OWN_GOLDEN_DIR, load_golden


@pytest.fixture(scope="session")
def golden_meta() -> Callable[[str], dict[str, Any]]:
    """What a golden fixture's json says, by its name."""
    return lambda name: load_golden(name, OWN_GOLDEN_DIR).meta
