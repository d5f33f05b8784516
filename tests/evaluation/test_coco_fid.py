from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mentor.data.images import load_image
from mentor.evaluation.backbones import Clip, Inception
from mentor.evaluation.coco_fid import BENCHMARK, read_captions, reference_statistics
from mentor.evaluation.folders import picture_files
from mentor.evaluation.metrics import Statistics, cosine, frechet_distance
from mentor.evaluation.protocol import Source, Tools
from tests.evaluation.networks import save_clip, save_inception

SAMPLE = Source(Path(str(files("mentor"))) / "assets/samples/coco_fid", sample=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "val2014").mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (7, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((72, 56)).save(tmp_path / "val2014" / f"COCO_val2014_{number:012d}.png")
    lines = "".join(f"a dog {number}\n" for number in range(12))
    (tmp_path / "coco_captions.csv").write_text("Prompt\n" + lines)
    save_inception(tmp_path / "inception-2015-12-05.pt")
    return tmp_path


def test_identical_sets_have_distance_zero_and_other_sets_have_not(folder: Path) -> None:
    source = Source(folder)
    items = BENCHMARK.items(source)
    real = [load_image(path) for path in picture_files(folder / "val2014")]
    tools = Tools(source, folder, backbones={"clip": str(save_clip(folder / ".clip"))}, batch_size=5)
    same = BENCHMARK.score(items, real, tools)
    assert same.summary["fid"] == pytest.approx(0, abs=1e-6)
    other = BENCHMARK.score(items, [Image.new("RGB", (64, 64), (n, 0, 0)) for n in range(12)], tools)
    assert other.summary["fid"] > 0.001
    assert same.summary["preset"] == "llamagen" and "clean-fid" in same.backbones["inception"]
    assert any("12 pictures, not 30000" in note for note in same.notes)


@pytest.mark.parametrize("preset", ["llamagen", "kosmos_g"])
def test_presets_prepare_pictures_and_captions_as_they_say(folder: Path, preset: str) -> None:
    source = Source(folder)
    items = BENCHMARK.items(source)[:4]
    answers = [Image.new("RGB", (40, 60), (10 * n, 5, 99)) for n in range(4)]
    clip = Clip(str(save_clip(folder / ".clip")))
    tools = Tools(source, folder, preset=preset, backbones={"clip": str(folder / ".clip")})
    scores = BENCHMARK.score(items, answers, tools)
    if preset == "llamagen":
        squares = [each.crop((0, 10, 40, 50)).resize((256, 256), Image.Resampling.LANCZOS) for each in answers]
        texts = [f"A photo depicts {item.text}" for item in items]
    else:
        squares = [each.resize((256, 384), Image.Resampling.BILINEAR).crop((0, 64, 256, 320)) for each in answers]
        texts = [item.text for item in items]
    inception = Inception(str(folder / "inception-2015-12-05.pt"), clean=preset == "llamagen")
    reference, _ = reference_statistics(inception, tools, preset)
    made = Statistics.of(inception.images(squares))
    assert scores.summary["fid"] == pytest.approx(frechet_distance(made, reference), rel=1e-4)
    expected = cosine(clip.images(squares), clip.texts(texts))
    assert [record.numbers["clip_t"] for record in scores.records] == pytest.approx(expected, abs=1e-5)


def test_precomputed_statistics_and_the_cache_stand_for_the_reference(folder: Path) -> None:
    source = Source(folder)
    tools = Tools(source, folder)
    inception = Inception(str(folder / "inception-2015-12-05.pt"))
    computed, said = reference_statistics(inception, tools, "llamagen")
    assert said == "12 pictures of val2014/"
    kept = next(folder.glob("fid-reference-*.npz"))
    Statistics(computed.mean + 1, computed.covariance).save(kept)
    again, _ = reference_statistics(inception, tools, "llamagen")
    np.testing.assert_allclose(again.mean, computed.mean + 1)
    Statistics(computed.mean + 2, computed.covariance).save(folder / "statistics-llamagen.npz")
    given, said = reference_statistics(inception, tools, "llamagen")
    np.testing.assert_allclose(given.mean, computed.mean + 2)
    assert "statistics-llamagen.npz" in said
    Statistics(np.zeros(3), np.eye(3)).save(folder / "statistics-llamagen.npz")
    made = [Image.new("RGB", (64, 64), (n, 0, 0)) for n in range(3)]
    tools = Tools(source, folder, backbones={"clip": str(save_clip(folder / ".clip"))})
    with pytest.raises(ValueError, match="another network"):
        BENCHMARK.score(BENCHMARK.items(source)[:3], made, tools)


def test_one_caption_of_each_annotated_picture_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    annotations = [{"image_id": 5 + n % 10, "caption": f" caption {n} "} for n in range(50)]
    (tmp_path / "annotations" / "captions_val2014.json").write_text(json.dumps({"annotations": annotations}))
    captions = read_captions(Source(tmp_path))
    assert sorted(captions) == [f"caption {n}" for n in range(10)]
    assert captions == read_captions(Source(tmp_path))


def test_missing_pictures_are_counted(tmp_path: Path) -> None:
    items = BENCHMARK.items(SAMPLE)
    real: list[Image.Image | None] = [load_image(path) for path in picture_files(SAMPLE.folder / "val2014")]
    whole = BENCHMARK.score(items, real, Tools(SAMPLE, tmp_path))
    assert whole.summary["fid"] == pytest.approx(0, abs=1e-6) and len(items) == 12
    assert whole.backbones["inception"].startswith("stand-in")
    scores = BENCHMARK.score(items, [*real[:10], None, None], Tools(SAMPLE, tmp_path))
    assert (scores.summary["scored"], scores.summary["failed"]) == (10, 2) and scores.summary["fid"] > 0


def test_captions_with_commas_and_quotes_are_read_whole(tmp_path: Path) -> None:
    """As LlamaGen's file has them: one column, no quotes around captions that hold commas."""
    said = ["A furry, black bear standing in a rocky, weedy, area.", 'A sign that says "stop"', "a dog"]
    (tmp_path / "coco_captions.csv").write_text("Prompt\n" + "\n".join(said) + "\n")
    assert [item.text for item in BENCHMARK.items(Source(tmp_path))] == said
    (tmp_path / "coco_captions.csv").write_text("Prompt\na dog\tanother column\n")
    with pytest.raises(ValueError, match="separated by tabs"):
        BENCHMARK.items(Source(tmp_path))


def test_bad_folders_are_named(tmp_path: Path, folder: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="found neither"):
        BENCHMARK.items(Source(empty))
    (empty / "coco_captions.csv").write_text("Caption\na dog\n")
    with pytest.raises(ValueError, match="a column Prompt"):
        BENCHMARK.items(Source(empty))
    (empty / "coco_captions.csv").unlink()
    (empty / "annotations").mkdir()
    (empty / "annotations" / "captions_val2014.json").write_text("[]")
    with pytest.raises(ValueError, match="caption annotations"):
        BENCHMARK.items(Source(empty))
    (folder / "inception-2015-12-05.pt").unlink()
    with pytest.raises(ValueError, match="put inception-2015-12-05.pt into the data folder"):
        BENCHMARK.score(BENCHMARK.items(Source(folder)), [None] * 12, Tools(Source(folder), folder))
