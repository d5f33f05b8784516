"""Networks of ``transformers`` by name: pinned by a revision, whole or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mentor.checkpoint.networks import load_part


class Kind:
    """A part of ``transformers`` that remembers how it was asked for."""

    @classmethod
    def from_pretrained(cls, source: str, **settings: Any) -> tuple[str, dict[str, Any]]:
        return source, settings


def test_a_hub_id_may_be_pinned_and_a_folder_may_have_an_at_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_part(Kind, "it", "owner/name@v2", dtype=1) == ("owner/name", {"dtype": 1, "revision": "v2"})
    assert load_part(Kind, "it", "owner/name") == ("owner/name", {})
    folder = tmp_path / "name@v2"
    folder.mkdir()
    assert load_part(Kind, "it", str(folder)) == (str(folder), {})
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_part(Kind, "it", "~/name@v2") == (str(folder), {})


def test_an_error_without_words_is_told_by_its_kind() -> None:
    class Silent:
        @classmethod
        def from_pretrained(cls, source: str) -> None:
            raise OSError

    with pytest.raises(ValueError, match=r"it owner/name cannot be loaded \(OSError\)"):
        load_part(Silent, "it", "owner/name")
