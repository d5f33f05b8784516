"""Catalogues are read, models are rendered by VTK as they stand, and what is no good subject is left out."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mentor.construction.corpora import furniture
from mentor.construction.corpora.furniture import furniture_entries, keep_model, parse_catalogue, view_angles
from tests.construction.packages import CATALOGUE, catalogue_zip, stool, write_package

FLAT = (1, 0, 0, 0, 1, 0, 0, 0, 1)


def test_a_catalogue_lists_objects_only() -> None:
    (model,) = parse_catalogue(CATALOGUE, "BlendSwap-CC-0")
    assert (model.subject, model.category, model.author) == ("stool", "living room", "Jörg")
    assert (model.licence, model.path) == ("CC0-1.0", "test/stool/stool.obj")
    assert model.key == "furniture/blendswap-cc-0-redstool"
    assert model.rotation == FLAT
    assert parse_catalogue(CATALOGUE, "Scopia")[0].licence == "CC-BY-3.0"


def test_views_differ_from_model_to_model_but_not_from_run_to_run() -> None:
    assert view_angles("a") == view_angles("a")
    assert view_angles("a") != view_angles("b")
    for (azimuth, elevation), (near, height) in zip(view_angles("a"), furniture.VIEWS, strict=True):
        assert abs(azimuth - near) <= 9
        assert abs(elevation - height) <= 6


def mean_colour(image: Image.Image, box: tuple[int, int, int, int]) -> np.ndarray:
    pixels = np.asarray(image.crop(box)).reshape(-1, 4).astype(float)
    return pixels[pixels[:, 3] > 200, :3].mean(0)


def test_a_model_is_rendered_with_its_colours_alpha_and_sides(tmp_path: Path) -> None:
    pytest.importorskip("vtk")
    from mentor.construction.corpora.rendering import RENDER_SIDE, render_views

    model, materials = stool()
    (tmp_path / "stool.obj").write_text(model)
    (tmp_path / "stool.mtl").write_text(materials)
    front, back = render_views(tmp_path / "stool.obj", FLAT, [(0, 5), (180, 5)])
    assert front.size == (RENDER_SIDE, RENDER_SIDE)
    alpha = np.asarray(front.getchannel("A"))
    assert alpha[0].max() == 0
    assert 0.1 < np.mean(alpha == 255) < 0.5
    assert np.mean((alpha > 0) & (alpha < 255)) < 0.02  # nothing but edges is see-through
    left, top, right, bottom = front.getchannel("A").getbbox()
    middle = (top + bottom) // 2
    half = (left + right) // 2
    # The blue leg stands at x < 0: at the left from the front, at the right from behind.
    assert mean_colour(front, (left, middle, half, bottom)).argmax() == 2
    assert mean_colour(front, (half, middle, right, bottom)).argmax() == 1
    assert mean_colour(back, (left, middle, half, bottom)).argmax() == 1
    assert mean_colour(front, (left, top, right, top + 8)).argmax() == 0
    assert np.asarray(front)[..., :3][alpha == 255].max() < 255  # no clipped light


def test_a_rotation_matrix_turns_the_model(tmp_path: Path) -> None:
    pytest.importorskip("vtk")
    from mentor.construction.corpora.rendering import render_views

    model, materials = stool()
    (tmp_path / "stool.obj").write_text(model)
    (tmp_path / "stool.mtl").write_text(materials)
    (lying,) = render_views(tmp_path / "stool.obj", (0, -1, 0, 1, 0, 0, 0, 0, 1), [(0, 5)])
    left, top, right, bottom = lying.getchannel("A").getbbox()
    # Turned by a quarter about z, the seat (y = 1) comes to the left and the blue leg to the bottom.
    assert mean_colour(lying, (left, top, left + 8, bottom)).argmax() == 0
    assert mean_colour(lying, ((left + right) // 2, (top + bottom) // 2, right, bottom)).argmax() == 2


def test_a_package_becomes_views_of_one_individual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vtk")
    monkeypatch.setattr(furniture, "_CATALOGUES", ("BlendSwap-CC-0", "Scopia"))
    folder = "./usr/share/sweethome3d/furniture"
    files = {f"{folder}/{name}.sh3f": catalogue_zip() for name in ("BlendSwap-CC-0", "Scopia")}
    write_package(tmp_path, "sweethome3d-furniture", files, monkeypatch)
    monkeypatch.setattr(furniture, "view_angles", lambda key: [(x, 20) for x in (-60, -30, 0, 20, 40, 60)])
    made = list(furniture_entries(tmp_path, map))
    # The second catalogue's stool looks the same from everywhere, so only the first one's is taken.
    assert [entry.meta["key"] for entry in made] == [f"furniture/blendswap-cc-0-redstool-{view}" for view in range(6)]
    assert {entry.meta["identity"] for entry in made} == {"furniture/blendswap-cc-0-redstool"}
    assert [entry.meta["view"] for entry in made] == list(range(6))
    assert {entry.meta["author"] for entry in made} == {"Jörg"}
    assert len({entry.webp for entry in made}) == 6
    assert all(max(Image.open(io.BytesIO(entry.webp)).size) == 128 for entry in made)


def drawing(colour: tuple[int, int, int], alpha: int = 255, *, box: bool = False) -> Image.Image:
    image = Image.new("RGBA", (128, 128), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rectangle((8, 8, 120, 120), fill=(*colour, alpha))
    if not box:
        draw.rectangle((30, 50, 120, 120), fill=(0, 0, 0, 0))
    return image


def test_coloured_models_are_kept_and_see_through_or_plain_ones_are_not() -> None:
    red = (200, 40, 40)
    assert keep_model("a", [drawing(red)] * 6)
    assert not keep_model("a", [drawing(red)] * 3)
    assert not keep_model("a", [drawing(red, alpha=90)] * 6)
    assert not keep_model("a", [drawing(red, box=True)] * 6)


def test_a_quarter_of_the_colourless_models_is_kept() -> None:
    kept = sum(keep_model(f"model {number}", [drawing((120, 122, 121))] * 4) for number in range(60))
    assert 6 <= kept <= 25
