"""The released format: every task's prompt and pictures, the stages' two readings, broken records, purity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mentor.config.sources import ReleasedOptions
from mentor.data.example import BadRecord, Example, ReadImage
from mentor.data.images import load_image
from mentor.data.released_format import released_example
from mentor.data.released_record import read_record
from tests.data.released_folder import BROKEN, FOX, GOOD, GROUND, SKY, write_pictures

SIZE = 32
MAGENTA = (250, 0, 250)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("released")
    write_pictures(path)
    return path


def _reader(folder: Path) -> ReadImage:
    def read(name: str, *, mask: bool = False) -> Image.Image:
        try:
            return load_image(folder / name, mask=mask)
        except ValueError as error:
            raise BadRecord(str(error)) from error

    return read


def _example(folder: Path, record: Any, seed: int = 0, **options: Any) -> Example:
    return released_example(
        record,
        _reader(folder),
        seed,
        size=SIZE,
        options=ReleasedOptions(**options),
        background=lambda rng: Image.new("RGB", (60, 50), MAGENTA),
    )


def _colours(image: Image.Image) -> set[tuple[int, int, int]]:
    return {tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()}


TEXTS = {
    "text_to_image": "a hill",
    "reconstruct": "The image is <image>\na fox",
    "segment": "The fox in <image>.",
    "recover": "The fox in <image>.\na fox on grass",
    "subject": "The fox in <image>.\na fox on grass",
    "multi": "The fox in <image>.\nThe grass in <image>.\na fox on grass",
    "interleaved": "<image> and <image> at sea",
}


@pytest.mark.parametrize("task", GOOD)
def test_each_task_s_prompt(folder: Path, task: str) -> None:
    example = _example(folder, GOOD[task])
    assert example.task == task
    assert example.prompt.text == TEXTS[task]
    assert example.target.size == (SIZE, SIZE)
    assert example.target.mode == "RGB"
    assert all(image.size == (SIZE, SIZE) for image in example.prompt.images)
    queries = {"reconstruct": ("whole image",), "multi": ("fox", "grass"), "interleaved": ("fox", "sky")}
    assert example.prompt.queries == queries.get(task, () if task == "text_to_image" else ("fox",))


def test_a_plain_target_is_cut_and_a_reference_squashed(folder: Path) -> None:
    example = _example(folder, GOOD["reconstruct"])  # 96 x 48: a third of it is the fox, in the middle
    pictures = (example.target, example.prompt.images[0])
    share = [(np.abs(np.asarray(picture).astype(int) - FOX).sum(-1) < 60).mean() for picture in pictures]
    assert share[0] == pytest.approx(2 / 3, abs=0.08)
    assert share[1] == pytest.approx(1 / 3, abs=0.08)


def test_segmentation_shows_the_object_alone_at_its_place(folder: Path) -> None:
    example = _example(folder, GOOD["segment"])
    target = np.asarray(example.target)
    assert (target[~example.object_mask] == 0).all()
    assert 95 <= example.object_mask.sum() <= 125  # 16 x 16 of 48 x 48 pixels
    inside = target[16:22, 8:14].reshape(-1, 3)
    assert (np.abs(inside.astype(int) - FOX) < 12).all()
    assert _colours(example.prompt.images[0]) >= {SKY, GROUND}


def test_recovery_puts_the_object_on_another_background(folder: Path) -> None:
    seen = []
    for seed in range(12):
        example = _example(folder, GOOD["recover"], seed)
        image = np.asarray(example.prompt.images[0]).astype(int)
        fox = (np.abs(image - FOX).sum(-1) < 60).sum()
        magenta = (image == MAGENTA).all(-1).sum()
        assert magenta > 0.4 * SIZE * SIZE
        assert not (np.abs(image - SKY).sum(-1) < 10).any(), "only the object is cut out"
        seen.append(int(fox))
        assert (
            np.asarray(example.target).tolist()
            == np.asarray(_example(folder, GOOD["segment"]).prompt.images[0]).tolist()
        )
    assert len(set(seen)) > 6
    assert max(seen) > 40


def test_a_segmentation_is_asked_for_by_its_label_where_the_paper_is_followed(folder: Path) -> None:
    unmarked = {name: value for name, value in GOOD["segment"].items() if name != "do_mask"}
    as_released = _example(folder, unmarked, recovery=False)
    named = _example(folder, unmarked, recovery=False, label="always")
    assert as_released.prompt.text == "<image>\n a fox" and named.prompt.text == TEXTS["segment"]
    assert named.target.tobytes() == as_released.target.tobytes()


def test_a_subject_s_reference_is_image_path_and_its_target_source_image(folder: Path) -> None:
    example = _example(folder, GOOD["subject"])
    assert _colours(example.prompt.images[0]) == {FOX}
    assert _colours(example.target) >= {SKY, GROUND}


def test_several_objects_come_in_boxes_or_cut_out(folder: Path) -> None:
    corners = set()
    for seed in range(20):
        fox, grass = _example(folder, GOOD["multi"], seed).prompt.images
        corners.add(tuple(np.asarray(grass)[SIZE // 2, 0].tolist()))
        assert (np.abs(np.asarray(fox)[SIZE // 4, SIZE // 2].astype(int) - FOX) < 25).all()
    assert corners == {GROUND}
    fewer = {_example(folder, GOOD["multi"], seed, max_images=1).prompt.queries for seed in range(12)}
    assert fewer == {("fox",), ("grass",)}


def test_stage_1_reads_every_object_as_a_segmentation(folder: Path) -> None:
    plain = GOOD["segment"] | {"do_mask": False}
    assert read_record(plain).task == "subject"
    example = _example(folder, plain, recovery=False)
    assert (example.task, example.prompt.text) == ("segment", "<image>\n a fox")
    assert (np.asarray(example.target)[~example.object_mask] == 0).all()
    assert _example(folder, GOOD["segment"], recovery=False).prompt.text == TEXTS["segment"]
    assert _example(folder, GOOD["multi"], recovery=False).prompt.text == "<image>.\n<image>.\na fox on grass"


def test_captions_are_left_out_of_reconstructions_or_of_every_row(folder: Path) -> None:
    def texts(task: str, **options: Any) -> dict[str, int]:
        found: dict[str, int] = {}
        for seed in range(400):
            text = _example(folder, GOOD[task], seed, recovery=False, image_only=0.1, **options).prompt.text
            found[text] = found.get(text, 0) + 1
        return found

    assert 20 <= texts("reconstruct")["<image>\n"] <= 60
    assert set(texts("text_to_image")) == {"a hill"}
    assert set(texts("segment")) == {TEXTS["segment"]}
    for task in ("text_to_image", "segment", "reconstruct"):
        assert 20 <= texts(task, image_only_rows="all")["<image>\n"] <= 60
    became = [_example(folder, GOOD["text_to_image"], s, image_only=1.0, image_only_rows="all").task for s in range(3)]
    assert became == ["reconstruct"] * 3


def test_the_first_mention_gives_way_to_the_image(folder: Path) -> None:
    always = {"replace_subject": 1.0}
    assert _example(folder, GOOD["subject"], **always).prompt.text == "a <image> on grass"
    swapped = GOOD["multi"] | {"input_text": "grass under a fox, grass"}
    example = _example(folder, swapped, **always)
    assert example.prompt.text == "<image> under a <image>, grass"
    assert example.prompt.queries == ("grass", "fox")
    record = {"image_path": ["mask.png", "ground.png", "scene.png"], "objects": ["hot dog", "cat", "dog"]}
    example = _example(folder, GOOD["multi"] | record | {"input_text": "a hot dog, a cat and a dog"}, **always)
    assert example.prompt.text == "a <image>, a <image> and a <image>"
    assert example.prompt.queries == ("hot dog", "cat", "dog")
    record["objects"] = ["dog", "dog", "cat"]
    example = _example(folder, GOOD["multi"] | record | {"input_text": "a dog, a cat and a dog"}, **always)
    assert example.prompt.queries == ("dog", "cat", "dog")
    record["objects"] = ["dog", "cat", "bird"]
    example = _example(folder, GOOD["multi"] | record | {"input_text": "a hot dog, a cat"}, **always)
    assert example.prompt.text.endswith("\na hot dog, a cat")
    unmentioned = _example(folder, GOOD["subject"] | {"input_text": "an animal"}, **always)
    assert unmentioned.prompt.text == "The fox in <image>.\nan animal"


def test_pictures_are_cut_instead_of_squashed(folder: Path) -> None:
    example = _example(folder, GOOD["reconstruct"], fit="crop")
    assert example.prompt.images[0].tobytes() == example.target.tobytes()
    wide = GOOD["segment"] | {"source_image": "wide.png", "image_path": "wide_mask.png"}
    mask = np.zeros((48, 96), np.uint8)
    mask[:, 40:56] = 1
    Image.fromarray(mask).save(folder / "wide_mask.png")
    cut, squashed = (_example(folder, wide, fit=fit) for fit in ("crop", "squash"))
    assert cut.object_mask.mean() == pytest.approx(1 / 3, abs=0.07)
    assert squashed.object_mask.mean() == pytest.approx(1 / 6, abs=0.05)
    assert (np.abs(np.asarray(cut.target)[cut.object_mask].astype(int) - FOX) < 25).all()


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_record_says_why(folder: Path, reason: str) -> None:
    with pytest.raises(BadRecord) as caught:
        _example(folder, BROKEN[reason])
    assert reason in str(caught.value)


def test_too_many_free_images_are_refused(folder: Path) -> None:
    with pytest.raises(BadRecord, match="2 images, at most 1"):
        _example(folder, GOOD["interleaved"], max_images=1)


@pytest.mark.parametrize("task", GOOD)
def test_a_sample_follows_from_record_and_seed(folder: Path, task: str) -> None:
    def bytes_of(seed: int) -> list[bytes]:
        example = _example(folder, GOOD[task], seed, replace_subject=0.5, image_only=0.5)
        return [image.tobytes() for image in (*example.prompt.images, example.target)] + [example.prompt.text.encode()]

    assert bytes_of(5) == bytes_of(5)
    if task in ("recover", "reconstruct"):
        assert len({tuple(bytes_of(seed)) for seed in range(6)}) > 1
