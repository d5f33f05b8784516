"""The interleaved prompt: counts are checked, order is kept."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mentor.prompt import IMAGE_PLACEHOLDER, Prompt

words = st.text("ab ,.\nimge<é", max_size=8)  # no ">": never a whole placeholder


def picture(number: int) -> Image.Image:
    return Image.new("RGB", (number + 1, 1))


@given(st.lists(words, min_size=1, max_size=5))
def test_segments_interleave_text_and_images_in_order(pieces: list[str]) -> None:
    text = IMAGE_PLACEHOLDER.join(pieces)
    images = [picture(number) for number in range(len(pieces) - 1)]
    if not text.strip():
        with pytest.raises(ValueError, match="empty"):
            Prompt(text, images)
        return
    segments = Prompt(text, images).segments
    assert [s for s in segments if isinstance(s, Image.Image)] == images
    assert "".join(s if isinstance(s, str) else IMAGE_PLACEHOLDER for s in segments) == text
    assert all(segments), "no empty text pieces"


@given(st.integers(0, 4), st.integers(0, 4))
def test_counts_must_agree(marked: int, given_images: int) -> None:
    text = "a fox " + IMAGE_PLACEHOLDER * marked
    images = [picture(number) for number in range(given_images)]
    if marked == given_images:
        assert len(Prompt(text, images).images) == marked
    else:
        with pytest.raises(ValueError, match=rf"marks {marked} image\(s\).* {given_images} were given"):
            Prompt(text, images)


def test_wrong_types_are_named() -> None:
    with pytest.raises(ValueError, match="a prompt's text as str, got bytes"):
        Prompt(b"a fox")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="image 1, got str"):
        Prompt("<image>", ["fox.png"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="single image"):
        Prompt("<image>", picture(0))  # type: ignore[arg-type]


def test_queries_are_one_text_for_each_image_or_none() -> None:
    assert Prompt("<image>", [picture(0)]).queries == ()
    assert Prompt("<image>", [picture(0)], ["fox"]).queries == ("fox",)
    with pytest.raises(ValueError, match="one query for each image, got 2 for 1"):
        Prompt("<image>", [picture(0)], ["fox", "hat"])
    with pytest.raises(ValueError, match=r"queries=\[text\]"):
        Prompt("<image>", [picture(0)], "fox")
    for wrong, message in ((" ", "got ' '"), (3, "as str, got int"), ("\udce9", "got '.udce9' at position 0")):
        with pytest.raises(ValueError, match=f"expected what to look for in image 1.*{message}"):
            Prompt("<image>", [picture(0)], [wrong])  # type: ignore[list-item]


def test_text_that_is_not_utf_8_is_told() -> None:
    with pytest.raises(ValueError, match=r"got '\\udcff' at position 2: write it in UTF-8"):
        Prompt("a \udcff cat")


def test_images_that_cannot_be_read_are_told_with_their_number() -> None:
    noise, file = Image.effect_noise((64, 64), 100), io.BytesIO()
    noise.save(file, "PNG")
    closed = picture(0)
    closed.close()
    for image, message in [
        (Image.open(io.BytesIO(file.getvalue()[:2000])), "cannot be read .*truncated"),
        (closed, "cannot be read .*closed"),
        (Image.new("RGB", (0, 5)), "has no pixels, its size is 0 x 5"),
        (Image.new("F", (4, 4)), "floating-point"),
    ]:
        with pytest.raises(ValueError, match=f"^image 2 .*{message}"):
            Prompt("<image><image>", [picture(0), image])


def test_a_file_that_was_closed_before_it_was_read_is_told_and_a_lack_of_memory_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(0).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        pass
    with pytest.raises(ValueError, match="image 1 cannot be read"):
        Prompt("<image>", [image])

    def full(self: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", full)
    with pytest.raises(MemoryError):
        Prompt("<image>", [picture(1)])


def test_an_image_may_be_closed_after_the_prompt_is_made(tmp_path: Path) -> None:
    picture(3).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        prompt = Prompt("<image>", [image])
    assert prompt.images[0].convert("L").size == (4, 1)


def test_prompts_do_not_wait_for_torch() -> None:
    program = "import sys, mentor.prompt; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


def test_images_become_a_tuple_that_the_caller_cannot_change() -> None:
    images = [picture(0)]
    prompt = Prompt("<image>\n", images)
    images.append(picture(1))
    assert len(prompt.images) == 1
    assert prompt.segments == [images[0], "\n"]
