"""The pipeline's promises: deterministic, every input matters, neighbours do not, wrong input is refused."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mentor import MentorPipeline, Prompt
from mentor.config.sampling import GenerationSettings
from tests.generation.tiny_bundle import CONFIG, tiny_bundle

RED, BLUE = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (30, 40), "blue")


def same(first: Image.Image, second: Image.Image) -> bool:
    return np.array_equal(np.asarray(first), np.asarray(second))


def test_pictures_have_the_models_size_and_the_seeds_are_told(pipeline: MentorPipeline) -> None:
    output = pipeline("a red fox", num_images=3, seed=7)
    assert [(image.mode, image.size) for image in output.images] == [("RGB", (32, 32))] * 3
    assert output.seeds == [7, 8, 9]
    assert output.settings == GenerationSettings()


def test_same_call_same_picture_and_another_seed_another(pipeline: MentorPipeline) -> None:
    first, again, other = (pipeline("a red fox", seed=seed).images[0] for seed in (3, 3, 4))
    assert same(first, again)
    assert not same(first, other)


def test_text_and_reference_image_both_matter(pipeline: MentorPipeline) -> None:
    made = [  # strong guidance, because random weights differ little from one prompt to the next
        pipeline(text, images=[image], subject="fox", cfg_scale=4.0).images[0]
        for text, image in [("red fox", RED), ("blue fox", RED), ("red fox", BLUE)]
    ]
    assert not any(same(made[0], other) for other in made[1:])


def test_a_picture_does_not_depend_on_its_batch(pipeline: MentorPipeline) -> None:
    """Prompts of different length, with none, one and two images, so that padding and image order are covered."""
    prompts = [
        Prompt("a red fox on the beach in the image"),
        Prompt("the fox in <image>.\nblue", [RED]),
        Prompt("the fox in <image>. the hat in <image>. a", [BLUE, RED]),
    ]
    together = pipeline(prompts, num_images=2, seed=10)
    assert [prompt.text for prompt in together.prompts] == [p.text for p in prompts for _ in range(2)]
    for image, seed, prompt in zip(together.images, together.seeds, together.prompts, strict=True):
        assert same(image, pipeline(prompt, seed=seed).images[0])


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_batch_size_changes_no_picture(pipeline: MentorPipeline, batch_size: int) -> None:
    expected = pipeline("a red fox", num_images=5)
    chunked = pipeline("a red fox", num_images=5, batch_size=batch_size)
    assert all(same(a, b) for a, b in zip(expected.images, chunked.images, strict=True))


def test_stages_one_by_one_give_what_the_call_gives(pipeline: MentorPipeline) -> None:
    prompts = pipeline.check_inputs("a blue hat", images=RED, subject="hat")
    condition = pipeline.encode(prompts)
    codes = pipeline.generate(condition, [5], GenerationSettings(cfg_scale=3.0))
    assert condition.states.shape == (1, condition.mask.shape[1], CONFIG.language.width)
    assert codes.shape == (1, CONFIG.decoder.num_tokens)
    assert codes.max() < CONFIG.decoder.vocab_size
    whole = pipeline("a blue hat", images=RED, subject="hat", seed=5, cfg_scale=3.0)
    assert same(pipeline.decode(codes)[0], whole.images[0])


def test_decode_maps_minus_one_to_black_and_one_to_white(pipeline: MentorPipeline) -> None:
    class Ramp(torch.nn.Module):
        def decode(self, codes: torch.Tensor) -> torch.Tensor:
            return torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).expand(len(codes), 3, 1, 5)

    bundle = tiny_bundle()
    bundle.image_tokenizer = Ramp()  # type: ignore[assignment]
    pixels = np.asarray(MentorPipeline(bundle, device="cpu").decode(torch.zeros(1, 16, dtype=torch.int64))[0])
    assert pixels[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_sampling_settings_reach_the_sampler(pipeline: MentorPipeline) -> None:
    greedy = [pipeline("a red fox", seed=seed, temperature=0).images[0] for seed in (0, 1)]
    assert same(*greedy)
    for only_one in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-38}):
        assert same(greedy[0], pipeline("a red fox", seed=3, **only_one).images[0])
    assert not same(greedy[0], pipeline("a red fox", temperature=0, cfg_scale=6.0).images[0])


def test_numbers_may_be_numpys(pipeline: MentorPipeline) -> None:
    plain = pipeline("a red fox", num_images=2, seed=3, top_k=5, batch_size=1)
    numpys = pipeline("a red fox", num_images=np.int64(2), seed=np.uint8(3), top_k=np.int32(5), batch_size=np.int64(1))
    assert all(same(*pair) for pair in zip(plain.images, numpys.images, strict=True))
    assert (numpys.seeds, {type(seed) for seed in numpys.seeds}) == ([3, 4], {int})
    condition = pipeline.encode([Prompt("a red fox")])
    assert torch.equal(pipeline.generate(condition, np.arange(1)), pipeline.generate(condition, [0]))


def test_the_settings_of_an_output_make_it_again(pipeline: MentorPipeline) -> None:
    output = pipeline("a red fox", seed=2, cfg_scale=5.0, temperature=0.9, cfg_interval=4)
    assert output.settings == GenerationSettings(cfg_scale=5.0, temperature=0.9, cfg_interval=4)
    again = pipeline(output.prompts[0], seed=output.seeds[0], **asdict(output.settings))
    assert same(output.images[0], again.images[0])
    assert not same(output.images[0], pipeline("a red fox", seed=2, cfg_scale=5.0, temperature=0.9).images[0])


def test_what_is_not_said_is_the_models_own() -> None:
    bundle = tiny_bundle()
    bundle.config = replace(bundle.config, generation=GenerationSettings(cfg_scale=6.0, temperature=0.5, top_k=9))
    pipeline, plain = MentorPipeline(bundle, device="cpu"), MentorPipeline(tiny_bundle(), device="cpu")
    own = pipeline("a red fox")
    assert own.settings == bundle.config.generation
    assert same(own.images[0], plain("a red fox", cfg_scale=6.0, temperature=0.5, top_k=9).images[0])
    changed = pipeline("a red fox", temperature=0, top_k=0)
    assert changed.settings == GenerationSettings(cfg_scale=6.0, temperature=0, top_k=0)
    codes = pipeline.generate(pipeline.encode([Prompt("a red fox")]), [0])
    assert same(pipeline.decode(codes)[0], own.images[0])


def test_no_more_prompts_are_encoded_than_drawn_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, sizes = MentorPipeline(tiny_bundle(), device="cpu"), []
    encode = pipeline.encode
    monkeypatch.setattr(pipeline, "encode", lambda prompts: sizes.append(len(prompts)) or encode(prompts))
    prompts = [Prompt("a fox"), Prompt("the hat in <image>.", [RED]), Prompt("a blue hat on the beach")]
    few, many = pipeline(prompts, num_images=2, batch_size=3), pipeline(prompts, num_images=2, batch_size=6)
    assert sizes == [2, 2, 3]
    assert all(same(one, other) for one, other in zip(few.images, many.images, strict=True))


def test_the_last_prompt_is_checked_before_the_first_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = MentorPipeline(tiny_bundle(), device="cpu")
    monkeypatch.setattr(pipeline, "generate", lambda *_, **__: pytest.fail("a picture was begun"))
    with pytest.raises(ValueError, match="the model takes at most 24"):
        pipeline(["a fox", "a fox " * 20], batch_size=1)


def test_states_beyond_the_range_of_the_numbers_are_told() -> None:
    pipeline = MentorPipeline(tiny_bundle(), device="cpu")
    with torch.no_grad():
        pipeline.mentor.encoder.language.model.get_input_embeddings().weight.fill_(torch.inf)
    with pytest.raises(ValueError, match="states are not finite; bfloat16 and float32"):
        pipeline("a fox")


def test_logits_beyond_the_range_of_the_numbers_are_told() -> None:
    pipeline = MentorPipeline(tiny_bundle(), device="cpu")
    with torch.no_grad():
        pipeline.mentor.decoder.output.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="logits are not finite; bfloat16 and float32"):
        pipeline("a fox")


def test_progress_counts_every_step_of_every_batch(pipeline: MentorPipeline) -> None:
    seen: list[tuple[int, int]] = []
    pipeline("a fox", num_images=3, batch_size=2, on_token=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 32) for done in range(1, 33)]


def test_bfloat16_runs(tmp_path: Path) -> None:
    pipeline = MentorPipeline(tiny_bundle(), device="cpu", dtype="bfloat16")
    assert next(pipeline.mentor.parameters()).dtype == torch.bfloat16
    assert pipeline("a red fox", images=[RED], subject="fox").images[0].size == (32, 32)


@pytest.mark.parametrize("default", [torch.bfloat16, torch.float64])
def test_the_default_number_format_changes_no_picture(
    pipeline: MentorPipeline, default: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    vision = replace(CONFIG.vision, mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28))  # no bfloat16 numbers
    monkeypatch.setattr(pipeline.processor, "config", replace(CONFIG, vision=vision))
    prompts = [Prompt("a red fox"), Prompt("the fox in <image>.", [BLUE])]
    expected, states = pipeline(prompts).images, pipeline.encode(prompts).states
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        assert all(same(*pair) for pair in zip(expected, pipeline(prompts).images, strict=True))
        assert torch.equal(pipeline.encode(prompts).states, states)
    finally:
        torch.set_default_dtype(before)


def test_a_pipeline_is_moved_and_cast_as_a_whole() -> None:
    pipeline = MentorPipeline(tiny_bundle(), device="cpu")
    before = pipeline("a red fox").images[0]
    assert pipeline.to("cpu") is pipeline and same(pipeline("a red fox").images[0], before)
    assert pipeline.to(dtype="bfloat16").dtype == torch.bfloat16
    weights = [*pipeline.mentor.parameters(), *pipeline.image_tokenizer.parameters()]
    assert {weight.dtype for weight in weights} == {torch.bfloat16}
    with pytest.raises(ValueError, match="expected one of float32"):
        pipeline.to(dtype="int3")
    with pytest.raises(ValueError, match="device: expected cpu"):
        pipeline.to("nowhere")


def test_references_may_be_arrays_and_nothing_else(pipeline: MentorPipeline) -> None:
    expected = pipeline("a hat", images=[RED]).images[0]
    for given in (np.asarray(RED), [np.asarray(RED)], (RED,)):
        assert same(expected, pipeline("a hat", images=given).images[0])
    for given, what in ((np.zeros((4, 4, 3)), r"float64 \[4, 4, 3\]"), (b"png", "bytes"), ([7], "int"), ({}, "dict")):
        with pytest.raises(ValueError, match=f"images: expected Pillow images.*got {what}"):
            pipeline("a hat", images=given)


def test_references_may_be_files_and_of_any_mode(pipeline: MentorPipeline, tmp_path: Path) -> None:
    RED.save(tmp_path / "red.png")
    expected = pipeline("a hat", images=[RED]).images[0]
    for other in (tmp_path / "red.png", str(tmp_path / "red.png"), RED.convert("RGBA"), RED.quantize()):
        assert same(expected, pipeline("a hat", images=other).images[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_images": 0}, "num_images: expected 1 or more, got 0"),
        ({"batch_size": 0}, "batch_size: expected 1 or more"),
        ({"seed": -1}, "seed: expected a whole number from 0"),
        ({"seed": 2**63}, "seed: expected a whole number from 0"),
        ({"cfg_scale": float("nan")}, "cfg_scale: expected a finite number"),
        ({"cfg_scale": float("inf")}, "cfg_scale: expected"),
        ({"cfg_scale": 0.5}, "cfg_scale: expected"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_k": -1}, "top_k: expected"),
        ({"top_p": 0.0}, "top_p: expected"),
        ({"top_p": 1.1}, "top_p: expected"),
        ({"images": ["nowhere.png"]}, "nowhere.png: there is no such file"),
        ({"images": [RED], "task": "text_to_image"}, "takes no image"),
        ({"subject": "fox"}, "one subject for each image, got 1 subject"),
    ],
)
def test_wrong_arguments_are_named(pipeline: MentorPipeline, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline("a fox", **arguments)


def test_wrong_prompts_are_refused(pipeline: MentorPipeline) -> None:
    with pytest.raises(ValueError, match="empty"):
        pipeline("")
    with pytest.raises(ValueError, match="empty list"):
        pipeline([])
    with pytest.raises(ValueError, match="marks 1 image.* but 0 were given"):
        pipeline("the fox in <image>.")
    with pytest.raises(ValueError, match="make each with build_prompt"):
        pipeline(["a fox", "a hat"], images=[RED])
    with pytest.raises(ValueError, match="the prompt has 40 tokens .*takes at most 24"):
        pipeline("fox " * 40)


def test_unknown_device_dtype_and_model_are_refused(tmp_path: Path) -> None:
    for arguments, message in [
        ({"device": "abacus"}, "device: expected cpu"),
        ({"device": "meta"}, "device: meta cannot be used"),
        ({"device": "cuda:99"}, "device: cuda:99 cannot be used"),
        ({"dtype": "int3"}, "dtype: expected one of float32"),
    ]:
        with pytest.raises(ValueError, match=message):
            MentorPipeline(tiny_bundle(), **arguments)
        with pytest.raises(ValueError, match=message):
            MentorPipeline.from_pretrained("mini", **arguments)
    with pytest.raises(ValueError, match="unknown model 'midi'"):
        MentorPipeline.from_pretrained("midi")


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ([("a cat", RED)], {}, "prompt: expected texts or prompts .*got tuple"),
        (None, {}, "prompt: expected texts or prompts .*got NoneType"),
        ("a cat", {"seed": 1.5}, "seed: expected a whole number, got 1.5"),
        ("a cat", {"seed": None}, "seed: expected a whole number, got None"),
        ("a cat", {"seed": True}, "seed: expected a whole number, got True"),
        ("a cat", {"cfg_scale": "3"}, "cfg_scale: expected a number, got '3'"),
        ("a cat", {"num_images": 2.0}, "num_images: expected a whole number, got 2.0"),
        ("a cat", {"top_k": 50.0}, "top_k: expected a whole number, got 50.0"),
    ],
)
def test_other_types_are_told(pipeline: MentorPipeline, prompt: object, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline(prompt, **options)


def test_a_number_format_may_stand_first() -> None:
    moved = MentorPipeline(tiny_bundle(), device="cpu").to(torch.bfloat16)
    assert moved.dtype is torch.bfloat16 and moved.device.type == "cpu"
