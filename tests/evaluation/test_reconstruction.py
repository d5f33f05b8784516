from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mentor.evaluation.protocol import Source, Tools
from mentor.evaluation.reconstruction import BENCHMARK, read_captions
from tests.evaluation.networks import save_clip

SAMPLE = Source(Path(str(files("mentor"))) / "assets/samples/reconstruction", sample=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number, size in enumerate(((60, 40), (40, 40), (700, 600))):
        pixels = np.random.default_rng(number).integers(0, 256, (size[1] // 10, size[0] // 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(tmp_path / "images" / f"{number}.png")
    return tmp_path


def test_items_are_centred_squares_of_at_most_512_pixels(folder: Path) -> None:
    items = BENCHMARK.items(Source(folder))
    assert [item.key for item in items] == ["images/0", "images/1", "images/2"]
    assert all(item.groups == {"folder": "images"} for item in items)
    assert [item.target.size for item in items if item.target] == [(40, 40), (40, 40), (512, 512)]
    assert items[0].prompt.text == "<image>\n" and items[0].prompt.images[0] is items[0].target
    whole = Image.open(folder / "images" / "0.png")
    np.testing.assert_array_equal(np.asarray(items[0].target), np.asarray(whole.crop((10, 0, 50, 40))))


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_captions_are_read_and_put_into_the_prompt(folder: Path, kind: str) -> None:
    rows = [("images/0.png", "a dog, asleep"), ("images/2.png", "two cats")]
    if kind == "csv":
        text = "image,caption\n" + "".join(f'{image},"{caption}"\n' for image, caption in rows)
    else:
        text = "\n".join(json.dumps({"image": image, "caption": caption}) for image, caption in rows)
    (folder / f"captions.{kind}").write_text(text)
    items = BENCHMARK.items(Source(folder))
    assert [item.text for item in items] == ["a dog, asleep", "", "two cats"]
    assert items[0].prompt.text == "The image is <image>\na dog, asleep"


def test_a_perfect_answer_has_no_distance_and_a_gray_one_the_known_error(folder: Path) -> None:
    source = Source(folder)
    items = BENCHMARK.items(source)
    gray = Image.new("RGB", (48, 48), (128, 128, 128))
    answers = [items[0].target, gray, None]
    backbones = {"clip": str(save_clip(folder / ".clip"))}
    scores = BENCHMARK.score(items, answers, Tools(source, folder, backbones=backbones, batch_size=2))
    perfect, wrong, missing = scores.records
    assert perfect.numbers["l2"] == 0 and perfect.numbers["ssim"] == 1 and perfect.numbers["psnr"] == 120
    assert perfect.numbers["clip_i"] == pytest.approx(1, abs=1e-6)
    assert perfect.numbers["st_lpips"] == pytest.approx(0, abs=1e-6)
    assert items[1].target is not None
    target = np.asarray(items[1].target.resize((48, 48), Image.Resampling.LANCZOS), dtype=float)
    assert wrong.numbers["l2"] == pytest.approx(np.square((target - 128) / 127.5).mean(), rel=1e-5)
    assert wrong.numbers["clip_i"] < 1
    assert missing.failure == "no picture" and scores.summary["failed"] == 1
    assert scores.summary["l2"] == pytest.approx(wrong.numbers["l2"] / 2)
    # Two pictures of one folder are two pieces of evidence.
    assert scores.summary["intervals"]["l2"] == pytest.approx([0, wrong.numbers["l2"]])
    assert scores.backbones["clip"].startswith("CLIP ") and scores.backbones["perceptual"] == "ST-LPIPS"


def test_the_sample_has_captions(tmp_path: Path) -> None:
    items = BENCHMARK.items(SAMPLE)
    assert len(items) == 12 and all(item.text for item in items)
    scores = BENCHMARK.score(items, [item.target for item in items], Tools(SAMPLE, tmp_path))
    assert scores.summary["l2"] == 0 and scores.backbones["clip"].startswith("stand-in")


def test_bad_captions_and_folders_are_named(folder: Path) -> None:
    (folder / "captions.csv").write_text("file,text\na,b\n")
    with pytest.raises(ValueError, match="`image` and `caption`"):
        read_captions(folder)
    (folder / "captions.csv").write_text("image,caption\nimages/9.png,a dog\n")
    with pytest.raises(ValueError, match="captions name images/9.png"):
        BENCHMARK.items(Source(folder))
    (folder / "captions.csv").unlink()
    (folder / "captions.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="KeyError"):
        BENCHMARK.items(Source(folder))
    with pytest.raises(ValueError, match="found none"):
        BENCHMARK.items(Source(save_empty(folder)))


def save_empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"
