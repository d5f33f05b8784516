"""A model with a Query-Former from prompt to picture: what to look for matters, and nobody else's does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mentor import MentorPipeline, Prompt
from mentor.checkpoint.store import Bundle
from tests.generation.query_former_bundle import query_former_bundle

RED, BLUE = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (30, 40), "blue")
TWO = Prompt("The fox in <image>.\nThe hat in <image>.\na red fox", [RED, BLUE])


@pytest.fixture(scope="module")
def pipeline() -> MentorPipeline:
    return MentorPipeline(query_former_bundle(), device="cpu")


def pictures(pipeline: MentorPipeline, prompt: Prompt) -> np.ndarray:
    """Four pictures of one prompt; guidance is strong, because random weights differ little between prompts."""
    return np.stack([np.asarray(image) for image in pipeline(prompt, num_images=4, cfg_scale=8.0).images])


def test_a_picture_from_two_images_survives_saving(pipeline: MentorPipeline, tmp_path: Path) -> None:
    made = pictures(pipeline, TWO)
    assert made.shape == (4, 32, 32, 3)
    assert not np.array_equal(made, pictures(pipeline, Prompt(TWO.text, [BLUE, RED])))
    folder = pipeline.save_pretrained(tmp_path / "saved")
    assert (folder / "query_tokenizer.json").is_file()
    assert np.array_equal(pictures(MentorPipeline.from_pretrained(folder, device="cpu"), TWO), made)
    (folder / "query_tokenizer.json").unlink()
    with pytest.raises(ValueError, match="query_tokenizer.json is missing"):
        MentorPipeline.from_pretrained(folder)


def test_what_to_look_for_changes_the_condition_and_the_picture(pipeline: MentorPipeline) -> None:
    asked = {queries: Prompt(TWO.text, TWO.images, queries) for queries in [("fox", "hat"), ("fox", "beach")]}
    conditions = {queries: pipeline.encode([prompt]) for queries, prompt in asked.items()}
    first, second = (condition.states for condition in conditions.values())
    assert torch.equal(pipeline.encode([TWO]).states, first), "the labels of the text are what is looked for"
    assert not torch.allclose(first, second, atol=1e-3)
    assert not np.array_equal(*(pictures(pipeline, prompt) for prompt in asked.values()))


def test_a_prompt_does_not_depend_on_its_batch(pipeline: MentorPipeline) -> None:
    prompts = [
        Prompt("a red fox on the beach in the image"),
        TWO,
        Prompt("the fox in <image>. a", [RED], ["the red fox on a blue beach in the image"]),
        Prompt("<image>", [BLUE]),
    ]
    together = pipeline.encode(prompts)
    for row, prompt in enumerate(prompts):
        alone = pipeline.encode([prompt])
        states = together.states[row][together.mask[row]]
        torch.testing.assert_close(states, alone.states[0], atol=1e-5, rtol=1e-5)
    made = pipeline(prompts, seed=5)
    for image, seed, prompt in zip(made.images, made.seeds, prompts, strict=True):
        assert image.tobytes() == pipeline(prompt, seed=seed).images[0].tobytes()


def test_more_images_fit_than_with_every_visual_token(pipeline: MentorPipeline) -> None:
    prompt = Prompt("<image>" * 7 + "red fox", [RED] * 7)
    assert pipeline.encode([prompt]).mask.shape == (1, 23)
    with pytest.raises(ValueError, match=r"has 26 tokens \(8 images of 3, 2 of text\), the model takes at most 24"):
        pipeline.encode([Prompt("<image>" * 8 + "red fox", [RED] * 8)])


def test_the_encoder_may_run_in_bfloat16() -> None:
    bundle = query_former_bundle()
    full = MentorPipeline(bundle, device="cpu").encode([TWO]).states
    half = MentorPipeline(replace_dtype(bundle), device="cpu").encode([TWO]).states
    assert (half.float() - full).norm() / full.norm() < 0.1


def replace_dtype(bundle: Bundle) -> Bundle:
    bundle.mentor.encoder.to(torch.bfloat16)
    return replace(bundle, config=replace(bundle.config, encoder_dtype="bfloat16"))
