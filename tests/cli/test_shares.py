"""``--share``."""

from __future__ import annotations

import pytest

from mentor.cli.main import main
from mentor.cli.shares import read_share


def test_shares_are_read() -> None:
    assert read_share("0/1") == (0, 1) and read_share("15/16") == (15, 16)


@pytest.mark.parametrize("text", ["1/1", "2", "-1/2", "0/0", "a/b", "0/2/3", ""])
def test_what_is_no_share_is_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["precompute", "debug", f"--share={text}"]) == 2
    assert f"--share: expected I/N with I from 0 to N - 1, got {text!r}" in capsys.readouterr().err
