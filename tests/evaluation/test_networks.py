"""Networks of metrics: told by the commit that was loaded."""

from __future__ import annotations

from types import SimpleNamespace

from mentor.evaluation.networks import described


def test_what_a_report_says_can_be_asked_for() -> None:
    model = SimpleNamespace(config=SimpleNamespace(_commit_hash="0123456789abcdef"))
    for source in ("owner/name", "owner/name@main"):
        assert described(source, model) == "owner/name@0123456789abcdef"
    assert described("folder", SimpleNamespace(config=SimpleNamespace())) == "folder"
