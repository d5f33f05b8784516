"""Scenes: what the plan says is what the pixels show, at every resolution."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from mentor.data.backdrops import Backdrop, draw_backdrop, solid
from mentor.data.catalog import catalog_of
from mentor.data.colours import COLOURS, HUE, LIGHT, jitter, lab
from mentor.data.render import render, render_alone
from mentor.data.scenes import KINDS, POSITIONS, SIZES, Scene, compose, sample_scene, size_of

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus


def cell_of(x: float, y: float) -> str:
    """Name of the grid cell that holds the point (x, y), 0..1 from the top left corner."""
    place = (min(2, max(0, int(x * 3))), min(2, max(0, int(y * 3))))
    return next(name for name, cell in POSITIONS.items() if cell == place)


def nearest_colour(rgb: np.ndarray | tuple[int, int, int]) -> str:
    """Name of the colour nearest to one sRGB value (0..255) in CIE L*a*b*."""
    distances = np.linalg.norm(lab(np.array(list(COLOURS.values()))) - lab(rgb), axis=-1)
    return list(COLOURS)[int(distances.argmin())]


def scenes(corpus: Corpus, count: int = 60) -> list[Scene]:
    return [sample_scene(corpus, np.random.default_rng([5, number])) for number in range(count)]


def box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what a mask marks, the last two exclusive."""
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@pytest.mark.parametrize("size", [64, 128])
def test_pixels_agree_with_the_plan(tiny_corpus: Corpus, size: int) -> None:
    for scene in scenes(tiny_corpus):
        drawn = render(scene, tiny_corpus, size)
        assert drawn.image.size == (size, size)
        assert drawn.image.mode == "RGB"
        for item, mask in zip(scene.objects, drawn.masks, strict=True):
            left, top, right, bottom = box(mask)
            assert min(left, top) > 0
            assert max(right, bottom) < size
            assert cell_of((left + right) / 2 / size, (top + bottom) / 2 / size) == item.position
            assert size_of(max(right - left, bottom - top) / size) == item.size


def test_objects_keep_clear_of_each_other(tiny_corpus: Corpus) -> None:
    several = [scene for scene in scenes(tiny_corpus, 150) if len(scene.objects) > 1]
    assert len(several) > 30
    for scene in several:
        boxes = map(box, render(scene, tiny_corpus, 128).masks)
        for (l1, t1, r1, b1), (l2, t2, r2, b2) in combinations(boxes, 2):
            assert max(l1 - r2, l2 - r1, t1 - b2, t2 - b1) >= 4, "at least four free pixels of 128 between two objects"


def test_both_resolutions_show_the_same_scene(tiny_corpus: Corpus) -> None:
    for scene in scenes(tiny_corpus, 20):
        small, large = (np.asarray(render(scene, tiny_corpus, size).image, dtype=float) for size in (64, 128))
        pooled = large.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
        assert np.abs(pooled - small).mean() < 6


def test_the_object_shows_its_own_colours(tiny_corpus: Corpus) -> None:
    rng = np.random.default_rng(0)
    ball = next(cutout for cutout in tiny_corpus.cutouts if cutout.subject == "purple ball")
    scene = compose(tiny_corpus, rng, [ball], positions=["center"], sizes=["large"])
    drawn = render(scene, tiny_corpus, 64)
    assert nearest_colour(np.median(np.asarray(drawn.image)[drawn.masks[0]], axis=0)) == "purple"


def test_alone_is_black_but_for_the_object(tiny_corpus: Corpus) -> None:
    pair = next(scene for scene in scenes(tiny_corpus) if scene.kind == "pair")
    full, alone = render(pair, tiny_corpus, 128), np.asarray(render_alone(pair, tiny_corpus, 128, [1]))
    assert alone[full.masks[0]].max() == 0
    inside = np.asarray(Image.fromarray(full.masks[1]).convert("L").filter(ImageFilter.MinFilter(5))) > 0
    assert inside.sum() > 50
    np.testing.assert_array_equal(alone[inside], np.asarray(full.image)[inside])


def test_kinds_and_sizes_come_in_the_stated_shares(tiny_corpus: Corpus) -> None:
    drawn = scenes(tiny_corpus, 1500)
    for kind, share in KINDS.items():
        assert np.isclose(np.mean([scene.kind == kind for scene in drawn]), share, atol=0.04)
    assert {item.position for scene in drawn for item in scene.objects} == set(POSITIONS)
    single = [scene.objects[0].size for scene in drawn if scene.kind == "single"]
    assert all(np.isclose(single.count(size) / len(single), 1 / 3, atol=0.06) for size in SIZES)
    assert all(item.size != "large" for scene in drawn if len(scene.objects) > 1 for item in scene.objects)


def test_same_seed_same_scene(tiny_corpus: Corpus) -> None:
    assert scenes(tiny_corpus, 20) == scenes(tiny_corpus, 20)
    assert len(set(map(repr, scenes(tiny_corpus, 20)))) == 20


def test_no_object_vanishes_into_its_background(tiny_corpus: Corpus) -> None:
    for number in range(60):
        scene = sample_scene(
            tiny_corpus, np.random.default_rng(number), kinds={"single": 1.0}, backdrops={"solid": 1.0}
        )
        drawn = render(scene, tiny_corpus, 64)
        behind = lab(np.array(scene.backdrop.rgb[0]))
        inside = lab(np.asarray(drawn.image)[drawn.masks[0]])
        assert (np.linalg.norm(inside - behind, axis=-1) > 15).mean() > 0.6, scene


def test_a_red_apple_is_never_put_on_red(tiny_corpus: Corpus) -> None:
    apple = [cutout for cutout in tiny_corpus.cutouts if cutout.subject == "red apple" and cutout.style == "3d"]
    seen = {
        compose(tiny_corpus, np.random.default_rng(number), apple, backdrops={"solid": 1.0}).backdrop.colours[0]
        for number in range(200)
    }
    assert "red" not in seen
    assert len(seen) >= 9


def test_bad_scenes_are_refused(tiny_corpus: Corpus) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="1 to 3 cut-outs.*got 0"):
        compose(tiny_corpus, rng, [])
    with pytest.raises(ValueError, match="copies of one"):
        compose(tiny_corpus, rng, tiny_corpus.cutouts[:3])
    with pytest.raises(ValueError, match="at least 9 pictures"):
        sample_scene(tiny_corpus, rng, views=9)


@given(st.sampled_from(sorted(COLOURS)), st.integers(0, 2**32))
def test_a_jittered_colour_keeps_its_name(name: str, seed: int) -> None:
    value = jitter(name, np.random.default_rng(seed))
    assert nearest_colour(value) == name
    assert all(abs(a - b) <= LIGHT + HUE for a, b in zip(value, COLOURS[name], strict=True))


def test_lab_agrees_with_known_values() -> None:
    # CIE L*a*b* (D65) of the sRGB primaries, as tabulated by Bruce Lindbloom.
    known = {(255, 0, 0): (53.24, 80.09, 67.20), (0, 0, 255): (32.30, 79.20, -107.86), (255, 255, 255): (100, 0, 0)}
    for rgb, expected in known.items():
        np.testing.assert_allclose(lab(rgb), expected, atol=0.15)


def test_lab_of_values_out_of_range_is_a_number() -> None:
    """A line fitted to a background can leave 0..255; warnings are errors here."""
    assert np.isfinite(lab(np.array([[-30.0, 5.0, 290.0]]))).all()


def test_backdrops_show_their_colours(tiny_corpus: Corpus) -> None:
    catalog = catalog_of(tiny_corpus)
    plain = np.asarray(draw_backdrop(solid("blue", np.random.default_rng(1)), catalog, 64))
    assert (plain == plain[0, 0]).all()
    ramp = Backdrop("gradient", ("white", "green"), (COLOURS["white"], COLOURS["green"]))
    pixels = np.asarray(draw_backdrop(ramp, catalog, 64))
    assert nearest_colour(pixels[0].mean(axis=0)) == "white"
    assert nearest_colour(pixels[-1].mean(axis=0)) == "green"
    assert (np.diff(pixels[:, 0, 0].astype(int)) <= 0).all()
    whole = Backdrop("photo", photo="clouds", crop=(0.0, 0.0, 1.0))
    expected = np.asarray(catalog.backgrounds["clouds"].image.crop((0, 0, 256, 256)).resize((64, 64), 4))
    np.testing.assert_array_equal(np.asarray(draw_backdrop(whole, catalog, 64)), expected)


def test_sources_are_balanced_by_the_root_of_their_subjects(tiny_corpus: Corpus) -> None:
    catalog, rng = catalog_of(tiny_corpus), np.random.default_rng(0)
    picked = [catalog.pick(rng).source for _ in range(3000)]
    identities = {source: {c.identity for c in tiny_corpus.cutouts if c.source == source} for source in set(picked)}
    total = sum(len(names) ** 0.5 for names in identities.values())
    for source, names in identities.items():
        assert np.isclose(picked.count(source) / 3000, len(names) ** 0.5 / total, atol=0.03)
    assert all(len(catalog.identities[catalog.pick(rng, views=3).identity]) >= 3 for _ in range(50))
