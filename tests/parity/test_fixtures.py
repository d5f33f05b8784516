"""The fixtures themselves: as they were given, all of them tested, and found where they are said to be."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import torch

from tests.parity.fixtures import OWN_GOLDEN_DIR, Checks, Golden, fixture_names

SUMS = "SHA256SUMS"


def test_the_repository_holds_the_bytes_that_were_given():
    lines = (OWN_GOLDEN_DIR / SUMS).read_text(encoding="ascii").splitlines()
    given = {name: digest for digest, name in (line.split() for line in lines)}
    files = [path for path in OWN_GOLDEN_DIR.iterdir() if path.name not in (SUMS, ".gitattributes")]
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files} == given


def test_every_fixture_is_of_a_kind_that_is_tested():
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    kinds = tuple(re.findall(r'^checks = Checks\(\s*"(\w+)"', sources, re.MULTILINE))
    assert [name for name in fixture_names() if not name.startswith(kinds)] == []
    assert [kind for kind in kinds if not fixture_names(kind, OWN_GOLDEN_DIR)] == []


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_folder_without_fixtures_is_an_error(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(pytest.UsageError, match=f"{name}: expected a folder of fixtures"):
        fixture_names(folder=tmp_path / name)


def test_a_number_beyond_the_tolerance_a_wrong_code_and_an_unknown_entry_are_noticed():
    checks = Checks("made", given=("in",))
    checks.entry(r"out\.floats")(lambda golden: golden.io["in"] * 2)
    checks.entry(r"out\.codes")(lambda golden: golden.io["in"].long())
    io = {"in": torch.arange(3.0), "out.floats": torch.arange(3.0) * 2 + 0.5e-3, "out.codes": torch.arange(3)}
    golden = Golden("made", {"tol": {"atol": 1e-3}}, {}, io | {"out.other": torch.zeros(1)})
    seen: dict[str, object] = {}
    assert checks.to_check(golden) == ["out.floats", "out.codes", "out.other"]
    checks.verify(golden, "out.floats", seen.__setitem__)
    assert seen == {"largest difference": pytest.approx(0.5e-3, rel=1e-3), "tolerance": "0.001 + 0 x"}
    checks.verify(golden, "out.codes", seen.__setitem__)
    with pytest.raises(pytest.fail.Exception, match="nothing checks out.other of made.json"):
        checks.verify(golden, "out.other", seen.__setitem__)
    for entry, change in (("out.floats", 1e-3), ("out.codes", 1)):
        io[entry][1] += change
        with pytest.raises(AssertionError):
            checks.verify(golden, entry, seen.__setitem__)
