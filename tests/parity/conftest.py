"""Makes one test of every fixture and one of every number in it."""

from __future__ import annotations

import pytest

from tests.parity.fixtures import GOLDEN_DIR, Checks, fixture_names, load_golden


def pytest_configure() -> None:
    fixture_names()  # a wrong MENTOR_GOLDEN_DIR ends the run with one line


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    checks: Checks | None = getattr(metafunc.module, "checks", None)
    if checks is None or "golden" not in metafunc.fixturenames:
        return
    fixtures = [load_golden(name) for name in fixture_names(checks.kind)]
    if not fixtures:
        missing = pytest.mark.skip(reason=f"{GOLDEN_DIR} has no {checks.kind}*.json")
        names = ["golden", *(["entry"] if "entry" in metafunc.fixturenames else [])]
        metafunc.parametrize(names, [pytest.param(*[None] * len(names), marks=missing)], ids=[checks.kind])
    elif "entry" in metafunc.fixturenames:
        pairs = [(golden, entry) for golden in fixtures for entry in checks.to_check(golden)]
        metafunc.parametrize(("golden", "entry"), pairs, ids=[f"{golden.name}-{entry}" for golden, entry in pairs])
    else:
        metafunc.parametrize("golden", fixtures, ids=[golden.name for golden in fixtures])
