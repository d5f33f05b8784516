"""Every kind of file that cameras, phones and drawing programs write opens; all else is refused in one sentence."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from mentor.data.images import decode_image, load_image, to_rgb

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters() -> Image.Image:
    """4 x 2 pixels, left half red, right half blue."""
    image = Image.new("RGB", (4, 2), RED)
    image.paste(BLUE, (2, 0, 4, 2))
    return image


def test_a_plain_picture_is_returned_pixel_for_pixel(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8))
    noise.save(tmp_path / "a.png")
    loaded = load_image(tmp_path / "a.png")
    assert loaded.mode == "RGB"
    assert np.array_equal(np.asarray(loaded), np.asarray(noise))


@pytest.mark.parametrize(
    ("orientation", "size", "corner"),
    [(1, (4, 2), RED), (3, (4, 2), BLUE), (6, (2, 4), RED), (8, (2, 4), BLUE)],
)
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int, size: tuple[int, int], corner: tuple) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    quarters().save(tmp_path / "a.png", exif=exif)
    loaded = load_image(tmp_path / "a.png")
    assert loaded.size == size
    assert loaded.getpixel((0, 0)) == corner


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = load_image(tmp_path / "a.jpg").getpixel((8, 8))
    assert red > 245
    assert max(green, blue) < 10


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    ramp = np.array([[0, 257 * 64, 257 * 128, 65535]], dtype=np.uint16)
    Image.fromarray(ramp).save(tmp_path / f"a.{suffix}")
    assert np.asarray(load_image(tmp_path / f"a.{suffix}"))[0, :, 0].tolist() == [0, 64, 128, 255]


def test_sixteen_bit_colour_png(tmp_path: Path) -> None:
    """Pillow cannot write this kind, so the file is put together here."""
    row = b"\x00" + struct.pack(">6H", 65535, 32896, 0, 0, 257, 65535)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(row)), (b"IEND", b"")]
    data = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    assert np.asarray(load_image(tmp_path / "a.png")).tolist() == [[[255, 128, 0], [0, 1, 255]]]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_an_animation_gives_its_first_frame(tmp_path: Path, suffix: str) -> None:
    first, *rest = [Image.new("RGB", (16, 16), colour) for colour in (GREEN, RED, BLUE)]
    options = {"lossless": True} if suffix == "webp" else {}
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=rest, duration=40, **options)
    loaded = load_image(tmp_path / f"a.{suffix}")
    assert loaded.mode == "RGB"
    assert loaded.getpixel((8, 8)) == GREEN


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    if mode in ("RGBA", "LA"):
        Image.new(mode, (4, 4), (0,) * len(mode)).save(tmp_path / "a.png")
    else:
        empty = Image.new(mode, (4, 4), 0)
        if mode == "P":
            empty.putpalette([*RED, *GREEN])
        empty.save(tmp_path / "a.png", transparency=(0, 0, 0) if mode == "RGB" else 0)
    assert load_image(tmp_path / "a.png").getpixel((0, 0)) == WHITE


def test_half_transparency_mixes_with_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 128)).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").getpixel((0, 0)) == (255, 127, 127)


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "LAB", "HSV", "CMYK", "I;16", "I", "LA", "PA", "RGBa"])
def test_every_mode_becomes_rgb_of_the_same_size(mode: str) -> None:
    assert (to_rgb(Image.new(mode, (5, 3))).mode, to_rgb(Image.new(mode, (5, 3))).size) == ("RGB", (5, 3))


@pytest.mark.parametrize(
    "form", ["grey", "faint", "16 bits", "palette", "white on nothing", "black on nothing", "opaque"]
)
def test_a_mask_marks_what_is_neither_black_nor_transparent(tmp_path: Path, form: str) -> None:
    marked = np.zeros((6, 8), bool)
    marked[1:4, 2:5] = True
    grey = Image.fromarray(255 * marked.astype(np.uint8))
    match form:
        case "faint":
            grey = Image.fromarray(marked.astype(np.uint8))
        case "16 bits":
            grey = Image.fromarray(marked.astype(np.uint16))
        case "palette":
            grey = grey.convert("P")
            grey.info["transparency"] = 0
        case "white on nothing" | "black on nothing":
            plain = Image.new("RGBA", grey.size, "white" if form.startswith("white") else "black")
            plain.putalpha(grey)
            grey = plain
        case "opaque":
            grey = grey.convert("RGBA")
    grey.save(tmp_path / "mask.png")
    mask = load_image(tmp_path / "mask.png", mask=True)
    assert mask.mode == "L"
    assert np.array_equal(np.asarray(mask), 255 * marked)
    assert np.array_equal(np.asarray(decode_image((tmp_path / "mask.png").read_bytes(), mask=True)), 255 * marked)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    Image.new("F", (4, 4), 0.5).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="floating-point"):
        load_image(tmp_path / "a.tif")


def bomb(path: Path, side: int = 30_000) -> Path:
    """A valid PNG header of ``side`` x ``side`` pixels with next to no data behind it."""
    body = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    chunks = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (body, data))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def test_a_decompression_bomb_is_refused_unopened(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.png: too large to open safely .*900000000 pixels"):
        load_image(bomb(tmp_path / "a.png"))


def test_missing_folder_and_other_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.png: there is no such file"):
        load_image(tmp_path / "none.png")
    with pytest.raises(ValueError, match="is a folder"):
        load_image(tmp_path)
    with pytest.raises(ValueError, match=r"cannot be read \(File name too long\)"):
        load_image(tmp_path / ("a" * 300))
    for name, content in {"empty.png": b"", "text.jpg": b"I am a letter, not a picture." * 99}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}: not a picture"):
            load_image(tmp_path / name)
    # PostScript would make Pillow start another program.
    Image.new("RGB", (4, 4)).save(tmp_path / "a.eps")
    with pytest.raises(ValueError, match="not a picture"):
        load_image(tmp_path / "a.eps")


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "tif", "bmp"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    noise.save(tmp_path / f"a.{suffix}")
    whole = (tmp_path / f"a.{suffix}").read_bytes()
    (tmp_path / f"a.{suffix}").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=rf"a\.{suffix}: (the picture is damaged|not a picture)"):
        load_image(tmp_path / f"a.{suffix}")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from(["png", "jpg", "gif", "webp", "tif", "bmp", "tga", "ico", "jp2"]),
    edits=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_bytes_never_raise_anything_but_valueerror(
    tmp_path: Path, suffix: str, edits: list[tuple[float, int]]
) -> None:
    file = tmp_path / f"whole.{suffix}"
    if not file.exists():
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)
    data = bytearray(file.read_bytes())
    for place, value in edits:
        data[int(place * len(data))] = value
    (tmp_path / f"damaged.{suffix}").write_bytes(data)
    # Any other exception would fail the test.
    with contextlib.suppress(ValueError):
        assert load_image(tmp_path / f"damaged.{suffix}").mode == "RGB"


def test_a_photo_that_was_taken_upright_is_upright_however_it_is_given(tmp_path: Path) -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :10] = (200, 30, 30)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "photo.jpg") as opened:
        given = to_rgb(opened)
    assert given.size == (20, 40) and given.tobytes() == load_image(tmp_path / "photo.jpg").tobytes()
    assert to_rgb(given).tobytes() == given.tobytes()
