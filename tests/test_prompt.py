"""The interleaved prompt: counts are checked, order is kept."""

from __future__ import annotations

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
    with pytest.raises(ValueError, match="got bytes"):
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
    for wrong in (" ", 3):
        with pytest.raises(ValueError, match="look for in image 1 as text"):
            Prompt("<image>", [picture(0)], [wrong])  # type: ignore[list-item]


def test_images_become_a_tuple_that_the_caller_cannot_change() -> None:
    images = [picture(0)]
    prompt = Prompt("<image>\n", images)
    images.append(picture(1))
    assert len(prompt.images) == 1
    assert prompt.segments == [images[0], "\n"]
