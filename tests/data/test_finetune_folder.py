"""Pictures of one subject: what counts as a picture, cut-outs by transparency, captions, and mistakes that name the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mentor.data.finetune_folder import MOST, picture_files, read_captions, read_pictures, unread
from mentor.data.images import SUFFIXES


def _cutout(path: Path, size: tuple[int, int] = (40, 30)) -> None:
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    picture.paste((200, 30, 30, 255), (10, 5, 30, 25))
    picture.save(path)


def test_photos_and_cutouts(tmp_path: Path) -> None:
    Image.new("RGB", (60, 900), (10, 20, 30)).save(tmp_path / "b.png")
    _cutout(tmp_path / "a.PNG")
    Image.new("RGBA", (20, 20), (1, 2, 3, 255)).save(tmp_path / "c.png")  # could be transparent, and is not
    (tmp_path / ".hidden.png").write_bytes(b"nothing")
    (tmp_path / "notes.txt").write_text("no picture")
    files, others = picture_files(tmp_path)
    assert [path.name for path in files] == ["a.PNG", "b.png", "c.png"]
    assert [path.name for path in others] == ["notes.txt"]
    cut, photo, opaque = read_pictures(tmp_path, longest=300)
    assert cut.cutout is not None
    assert cut.cutout.size == (20, 20) and np.asarray(cut.cutout)[..., 3].min() == 255
    assert cut.image.mode == "RGB" and cut.image.getpixel((0, 0)) == (255, 255, 255)
    assert photo.cutout is None and photo.image.size == (20, 300)
    assert opaque.cutout is None


def test_a_turned_photo_is_upright(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (20, 40), (0, 0, 0, 0))
    picture.paste((9, 9, 9, 255), (0, 0, 20, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    picture.save(tmp_path / "a.png", exif=exif)
    (read,) = read_pictures(tmp_path)
    assert read.image.size == (40, 20)
    assert read.cutout is not None and read.cutout.size == (10, 20)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no picture", "bad.png: not a picture"),
        (b"", "bad.png: not a picture"),
        ("cut", "bad.png: the picture is damaged"),
    ],
)
def test_one_unreadable_picture_is_named(tmp_path: Path, content: bytes | str, message: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "good.png")
    data = (tmp_path / "good.png").read_bytes()[:3000] if isinstance(content, str) else content
    (tmp_path / "bad.png").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_pictures(tmp_path)


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such folder"):
        picture_files(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"holds no picture; expected files whose names end in \.png"):
        picture_files(tmp_path)
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: shows nothing"):
        read_pictures(tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        picture_files(tmp_path / "a.png")
    for number in range(MOST):
        (tmp_path / f"{number}.jpg").touch()
    with pytest.raises(ValueError, match=r"holds 101 pictures, more than 100"):
        picture_files(tmp_path)


@pytest.mark.parametrize("suffix", [".heic", ".avif"])
def test_what_phones_write_is_read_or_the_cause_is_named(tmp_path: Path, suffix: str) -> None:
    for number in range(2):
        if suffix in SUFFIXES:
            Image.new("RGB", (60, 40), (200, 30, 30)).save(tmp_path / f"{number}{suffix}")
        else:
            (tmp_path / f"{number}{suffix}").write_bytes(b"")
    if suffix in SUFFIXES:
        assert [picture.image.size for picture in read_pictures(tmp_path)] == [(60, 40)] * 2
        return
    with pytest.raises(
        ValueError, match=rf"holds no picture; 2 \{suffix} files: pip install .*, or export them as JPEG"
    ):
        picture_files(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert unread(picture_files(tmp_path)[1]).startswith(f"2 {suffix} files")


def test_captions(tmp_path: Path) -> None:
    file = tmp_path / "captions.txt"
    file.write_text("a.jpg: my mug: on a desk\n\n  b.jpg :two of them\n", encoding="utf-8")
    assert read_captions(file, {"a.jpg", "b.jpg"}) == {"a.jpg": "my mug: on a desk", "b.jpg": "two of them"}
    for text, message in (
        ("a.jpg\n", r"captions.txt, line 1: expected NAME: caption, without <image>, got 'a.jpg'"),
        ("a.jpg: <image>", "line 1: expected NAME: caption"),
        ("\nc.jpg: mug", r"line 2: 'c.jpg' is no picture of the folder"),
        ("a.jpg: mug\na.jpg: mug", r"line 2: 'a.jpg' is named twice"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_captions(file, {"a.jpg", "b.jpg"})
    with pytest.raises(ValueError, match="captions cannot be read"):
        read_captions(tmp_path / "absent.txt", set())
