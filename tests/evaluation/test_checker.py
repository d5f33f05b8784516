from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from mentor.data.colours import COLOURS
from mentor.data.corpus import Corpus
from mentor.data.held_out import evaluation_prompts
from mentor.data.tasks import Sample
from mentor.evaluation.checker import Ground, parse
from mentor.evaluation.following import follow, match


def accuracy(samples: list[Sample], change=lambda picture: picture) -> float:
    """Mean over all attributes of all pictures; whether the second object looks right is not the checker's question."""
    values: list[float] = []
    for sample in samples:
        parsed = parse(change(sample.target))
        values += follow(sample.scene, sample.shown[0], parsed, match(sample.scene, parsed), True).values()
    return float(np.mean(values))


def canvas(colour: str | tuple[str, str] = "white", side: int = 64) -> Image.Image:
    top, bottom = (colour, colour) if isinstance(colour, str) else colour
    share = np.linspace(0, 1, side)[:, None, None]
    column = np.array(COLOURS[top]) * (1 - share) + np.array(COLOURS[bottom]) * share
    return Image.fromarray(np.broadcast_to(np.rint(column).astype(np.uint8), (side, side, 3)).copy())


def with_boxes(picture: Image.Image, *boxes: tuple[float, float, float, float], colour: str = "black") -> Image.Image:
    draw = ImageDraw.Draw(picture)
    for box in boxes:
        left, top, right, bottom = (round(value * picture.width) for value in box)
        draw.rectangle((left, top, right - 1, bottom - 1), fill=COLOURS[colour])
    return picture


@pytest.mark.parametrize("size", [64, 128])
def test_reads_true_pictures_of_held_out_subjects(real_corpus: Corpus, size: int) -> None:
    assert accuracy(evaluation_prompts(real_corpus.split("test"), 60, 0, size=size)) >= 0.97


def test_reads_drawn_subjects(tiny_corpus: Corpus) -> None:
    assert accuracy(evaluation_prompts(tiny_corpus.split("test"), 60, 0, size=64)) >= 0.95


def test_reads_noisy_blurred_and_tinted_pictures(tiny_corpus: Corpus) -> None:
    rng = np.random.default_rng(0)

    def worn(picture: Image.Image) -> Image.Image:
        pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.7)), dtype=float)
        pixels = pixels + rng.normal(0, 5, pixels.shape) + rng.normal(0, 4, 3)
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))

    samples = evaluation_prompts(tiny_corpus.split("test"), 40, 1, size=64)
    assert accuracy(samples, worn) >= 0.93


def test_wrong_scenes_score_low(tiny_corpus: Corpus) -> None:
    samples = evaluation_prompts(tiny_corpus.split("test"), 40, 2, size=64)
    targets = [sample.target for sample in samples]
    shifted = dict(zip(map(id, targets), targets[7:] + targets[:7], strict=True))
    assert accuracy(samples, lambda picture: shifted[id(picture)]) < 0.5


@pytest.mark.parametrize("colour", ["red", "gray", ("blue", "yellow"), ("white", "black")])
def test_names_the_background_without_any_object(colour: str | tuple[str, str]) -> None:
    parsed = parse(canvas(colour))
    kind = "solid" if isinstance(colour, str) else "gradient"
    assert parsed.ground == Ground(kind, (colour,) if isinstance(colour, str) else colour)
    assert parsed.objects == () and not parsed.foreground.any()


def test_every_pair_of_colours_is_told_apart() -> None:
    for top in COLOURS:
        for bottom in COLOURS:
            colours = (top,) if top == bottom else (top, bottom)
            assert parse(canvas((top, bottom), 32)).ground.colours == colours


def test_noise_is_no_plain_background() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert parse(Image.fromarray(pixels)).ground == Ground("other", ())


def test_place_size_and_mask_of_one_object() -> None:
    (found,) = parse(with_boxes(canvas("yellow"), (0.02, 0.02, 0.30, 0.25))).objects
    assert (found.position, found.size) == ("top left", "small")
    assert found.box == pytest.approx((0.02, 0.02, 0.30, 0.25), abs=0.03)
    (found,) = parse(with_boxes(canvas("yellow"), (0.4, 0.3, 0.98, 0.8))).objects
    assert (found.position, found.size) == ("right", "large")


def test_near_parts_are_one_object_and_far_ones_are_several() -> None:
    cherries = [(0.35, 0.4, 0.45, 0.6), (0.52, 0.4, 0.62, 0.6)]
    assert len(parse(with_boxes(canvas(), *cherries)).objects) == 1
    apart = [(0.05, 0.4, 0.33, 0.65), (0.67, 0.4, 0.95, 0.65)]
    assert [found.position for found in parse(with_boxes(canvas(), *apart)).objects] == ["left", "right"]
    three = [(0.36, 0.02, 0.64, 0.3), (0.05, 0.68, 0.33, 0.96), (0.67, 0.68, 0.95, 0.96)]
    assert len(parse(with_boxes(canvas("green"), *three)).objects) == 3


def test_specks_are_not_objects() -> None:
    picture = with_boxes(canvas("pink"), (0.4, 0.4, 0.7, 0.7))
    picture.putpixel((3, 3), (0, 0, 0))
    picture.putpixel((60, 5), (0, 0, 0))
    assert len(parse(picture).objects) == 1


def test_hole_in_the_background_colour_belongs_to_the_object() -> None:
    ring = with_boxes(with_boxes(canvas("cyan"), (0.3, 0.3, 0.7, 0.7)), (0.4, 0.4, 0.6, 0.6), colour="cyan")
    (found,) = parse(ring).objects
    assert found.mask[32, 32]


@pytest.mark.parametrize("size", [(64, 48), (8, 8)])
def test_refuses_pictures_it_cannot_read(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="square picture of at least 16"):
        parse(Image.new("RGB", size))
