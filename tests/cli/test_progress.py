"""The progress bar is for people: on a terminal's stderr, and nowhere else."""

from __future__ import annotations

import sys

import pytest

from mentor.cli.progress import token_progress


def test_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with token_progress("generating") as on_token:
        assert on_token is None
    assert capsys.readouterr() == ("", "")


def test_a_terminal_sees_the_tokens_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    with token_progress("generating") as on_token:
        assert on_token is not None
        for done in range(1, 17):
            on_token(done, 16)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "generating" in captured.err
    assert "16/16" in captured.err
