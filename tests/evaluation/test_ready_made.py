from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mentor.evaluation.ready_made import find_pictures
from tests.evaluation.toy import toy_items


def save(folder: Path, name: str, colour: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)


def test_both_layouts_and_several_endings_are_found(tmp_path: Path) -> None:
    items = toy_items(3)
    save(tmp_path, "tgt_image/0_thing/0_0.jpg", "white")
    save(tmp_path, "1_thing/1_0.png", "black")
    pictures = find_pictures(tmp_path, items)
    assert [None if each is None else each.getpixel((0, 0)) for each in pictures] == [(255,) * 3, (0,) * 3, None]
    assert pictures.failures == {2: "no picture in the folder"}


def test_what_cannot_be_read_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    items = toy_items(2)
    save(tmp_path, "0_thing/0_0.png", "white")
    save(tmp_path, "1_thing/1_0.png", "white")
    Image.effect_noise((64, 64), 50).save(tmp_path / "1_thing/1_0.png")
    data = (tmp_path / "1_thing/1_0.png").read_bytes()
    (tmp_path / "1_thing/1_0.png").write_bytes(data[: len(data) // 2])
    pictures = find_pictures(tmp_path, items)
    assert pictures.failures == {}
    assert pictures[1] is None and "damaged or cut off" in pictures.failures[1]
    assert pictures[0] is not None and pictures[:1][0] is not None and len(pictures) == 2


@pytest.mark.parametrize("folder", ["none", "empty"])
def test_a_folder_without_a_single_picture_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    told = "is no folder" if folder == "none" else "expected for example .*0_thing/0_0.png"
    with pytest.raises(ValueError, match=told):
        find_pictures(tmp_path / folder, toy_items(2))
