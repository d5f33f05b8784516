"""Tasks: each one's promise about reference, text and target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import ImageFilter

from mentor.data.catalog import catalog_of
from mentor.data.held_out import evaluation_prompts
from mentor.data.render import render
from mentor.data.scenes import POSITIONS, SIZES, Scene, compose, sample_scene
from mentor.data.tasks import REFERENCE_SIZE, TASKS, Sample
from mentor.prompt import IMAGE_PLACEHOLDER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mentor.data.corpus import Corpus


def scene_of(corpus: Corpus, number: int, **choices: object) -> Scene:
    return sample_scene(corpus, np.random.default_rng([7, number]), **choices)  # type: ignore[arg-type]


def samples(corpus: Corpus, task: str, count: int = 40, *, strict: bool = False, **choices: object) -> list[Sample]:
    return [TASKS[task](scene_of(corpus, n, **choices), corpus, n, size=64, strict=strict) for n in range(count)]


def pixels(sample: Sample) -> NDArray[np.uint8]:
    return np.asarray(sample.target)


@pytest.mark.parametrize("task", list(TASKS))
def test_a_sample_is_a_function_of_its_seed(tiny_corpus: Corpus, task: str) -> None:
    scene = scene_of(tiny_corpus, 1, kinds={"pair": 1.0}, views=2, views_of_all=True)
    first, again = (TASKS[task](scene, tiny_corpus, 4, size=64) for _ in range(2))
    assert _content(first) == _content(again)
    assert len({_content(TASKS[task](scene, tiny_corpus, seed, size=16)) for seed in range(8)}) > 1


def _content(sample: Sample) -> tuple[object, ...]:
    pictures = tuple(image.tobytes() for image in (*sample.prompt.images, sample.target))
    return sample.prompt.text, pictures, sample.references, sample.object_mask.tobytes()


@pytest.mark.parametrize("task", list(TASKS))
def test_formats(tiny_corpus: Corpus, task: str) -> None:
    for sample in samples(tiny_corpus, task, 12, kinds={"pair": 1.0}):
        assert sample.task == task
        assert sample.target.mode == "RGB"
        assert sample.target.size == (64, 64)
        assert sample.object_mask.shape == (64, 64)
        assert sample.object_mask.dtype == bool
        assert 0 < sample.object_mask.mean() < 0.6
        assert all(i.mode == "RGB" and i.size == (REFERENCE_SIZE, REFERENCE_SIZE) for i in sample.prompt.images)
        assert len(sample.prompt.images) == {"text_to_image": 0, "multi": 2}.get(task, 1)
        assert len(sample.references) == len(sample.shown) == {"subject": 1, "multi": 2}.get(task, 0)


def test_templates_follow_the_paper(tiny_corpus: Corpus) -> None:
    scene = scene_of(tiny_corpus, 3, kinds={"single": 1.0})
    name = scene.objects[0].subject
    texts = {task: TASKS[task](scene, tiny_corpus, 8).prompt.text for task in TASKS if task != "multi"}
    caption = texts["text_to_image"]
    assert IMAGE_PLACEHOLDER not in caption
    assert texts["segment"] == f"The {name} in <image>."
    for task in ("recover", "subject"):
        first, second = texts[task].split("\n")
        assert first == f"The {name} in <image>."
        assert name in second
    said = {TASKS["reconstruct"](scene, tiny_corpus, seed).prompt.text for seed in range(40)}
    assert "<image>\n" in said
    assert all(text == "<image>\n" or text.startswith("The image is <image>\n") for text in said)


def test_multi_names_every_subject_in_the_order_of_the_images(tiny_corpus: Corpus) -> None:
    keys = catalog_of(tiny_corpus).cutouts
    orders = set()
    for sample in samples(tiny_corpus, "multi", 30, kinds={"pair": 1.0}):
        *lines, _ = sample.prompt.text.split("\n")
        assert lines == [f"The {keys[key].subject} in <image>." for key in sample.references]
        for key, number in zip(sample.references, sample.shown, strict=True):
            assert sample.scene.objects[number].subject == keys[key].subject
        orders.add(sample.shown)
    assert orders == {(0, 1), (1, 0)}, "the first image is not always the first object of the caption"


def test_segmentation_is_the_named_object_on_black(tiny_corpus: Corpus) -> None:
    named = set()
    for sample in samples(tiny_corpus, "segment", kinds={"pair": 0.8, "copies": 0.2}):
        subject = sample.prompt.text.removeprefix("The ").removesuffix(" in <image>.")
        drawn = render(sample.scene, tiny_corpus, 64)
        indices = sample.scene.showing(subject)
        named.add(indices)
        np.testing.assert_array_equal(sample.object_mask, np.any([drawn.masks[i] for i in indices], axis=0))
        near = ImageFilter.MaxFilter(5), ImageFilter.MinFilter(5)
        grown, shrunk = (np.asarray(_picture(sample.object_mask).filter(f)) > 0 for f in near)
        assert pixels(sample)[~grown].max() == 0, "black away from the object"
        np.testing.assert_array_equal(pixels(sample)[shrunk], np.asarray(drawn.image)[shrunk])
        reference = render(sample.scene, tiny_corpus, REFERENCE_SIZE).image
        assert sample.prompt.images[0].tobytes() == reference.tobytes()
    assert {(0,), (1,)} <= named


def _picture(mask: NDArray[np.bool_]):  # type: ignore[no-untyped-def]
    from PIL import Image

    return Image.fromarray(mask.astype(np.uint8) * 255)


@pytest.mark.parametrize("task", ["text_to_image", "reconstruct", "recover", "subject", "multi"])
def test_the_target_is_the_scene(tiny_corpus: Corpus, task: str) -> None:
    for sample in samples(tiny_corpus, task, 10, kinds={"pair": 1.0}):
        assert sample.target.tobytes() == render(sample.scene, tiny_corpus, 64).image.tobytes()


def test_reconstruction_is_given_the_scene(tiny_corpus: Corpus) -> None:
    for sample in samples(tiny_corpus, "reconstruct", 10):
        assert sample.prompt.images[0].tobytes() == render(sample.scene, tiny_corpus, REFERENCE_SIZE).image.tobytes()


def test_recovery_does_not_see_the_answer(tiny_corpus: Corpus) -> None:
    for sample in samples(tiny_corpus, "recover", 20, kinds={"single": 1.0}):
        answer = np.asarray(render(sample.scene, tiny_corpus, REFERENCE_SIZE).image, dtype=float)
        assert np.abs(np.asarray(sample.prompt.images[0]) - answer).mean() > 4


def test_strict_never_shows_the_targets_own_cutout(tiny_corpus: Corpus) -> None:
    cutouts = catalog_of(tiny_corpus).cutouts
    for task, kinds in (("subject", {"single": 0.5, "copies": 0.2, "pair": 0.3}), ("multi", {"pair": 1.0})):
        for sample in samples(tiny_corpus, task, strict=True, kinds=kinds, views=2, views_of_all=True):
            for key, number in zip(sample.references, sample.shown, strict=True):
                item = sample.scene.objects[number]
                assert key != item.key
                assert cutouts[key].identity == cutouts[item.key].identity


def test_strict_refuses_a_subject_with_one_picture(tiny_corpus: Corpus) -> None:
    ball = next(cutout for cutout in tiny_corpus.cutouts if cutout.subject == "purple ball")
    scene = compose(tiny_corpus, np.random.default_rng(0), [ball])
    with pytest.raises(ValueError, match="its only one"):
        TASKS["subject"](scene, tiny_corpus, 0, strict=True)
    relaxed = TASKS["subject"](scene, tiny_corpus, 0)
    assert relaxed.references == (ball.key,)


def test_pairs_occur_in_both_directions(tiny_corpus: Corpus) -> None:
    seen = {
        (sample.references[0], sample.scene.objects[sample.shown[0]].key)
        for sample in samples(tiny_corpus, "subject", 400, views=2, kinds={"single": 1.0})
    }
    assert seen == {(target, reference) for reference, target in seen}
    assert ("fluent/blue-car-0", "fluent/blue-car-1") in seen


def test_another_style_is_always_named(tiny_corpus: Corpus) -> None:
    cutouts = catalog_of(tiny_corpus).cutouts
    checked = 0
    for sample in samples(tiny_corpus, "subject", 120, views=2, kinds={"single": 1.0}):
        target = sample.scene.objects[0]
        if cutouts[sample.references[0]].style != target.style:
            assert f"{target.style} {target.subject}" in sample.prompt.text.split("\n")[1]
            checked += 1
    assert checked > 20


def test_held_out_prompts_cover_the_ground(tiny_corpus: Corpus) -> None:
    held_out = tiny_corpus.split("test")
    prompts = evaluation_prompts(held_out, 120, seed=1)
    cutouts = catalog_of(held_out).cutouts
    assert len(prompts) == 120
    for sample in prompts:
        assert sample.scene.backdrop.kind in ("solid", "gradient")
        assert all(cutouts[key].split == "test" for key in sample.references)
        for key, number in zip(sample.references, sample.shown, strict=True):
            assert sample.scene.objects[number].key != key
    singles = [sample.scene.objects[0] for sample in prompts if sample.scene.kind == "single"]
    assert {(item.position, item.size) for item in singles} == {(p, s) for p in POSITIONS for s in SIZES}
    assert sum(sample.scene.kind == "copies" for sample in prompts) == 18
    assert sum(sample.scene.kind == "pair" and sample.task == "subject" for sample in prompts) == 30
    assert sum(sample.task == "multi" for sample in prompts) == 24
    led = [cutouts[sample.references[0]].identity for sample in prompts if sample.task == "subject"]
    assert min(led.count(identity) for identity in set(led)) > 20, "both subjects with several pictures take turns"
    again = evaluation_prompts(held_out, 3, seed=1)
    assert [p.prompt.text for p in again] == [p.prompt.text for p in prompts[:3]]
    with pytest.raises(ValueError, match="at least 1"):
        evaluation_prompts(held_out, 0)
