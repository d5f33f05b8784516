"""Released checkpoints become bundles: every number kept, every misfit named, nothing written after a failure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mentor.checkpoint.conversion import Extras
from mentor.checkpoint.convert_model import convert_model
from mentor.checkpoint.hub import HubOptions
from mentor.checkpoint.layout import read_config
from mentor.checkpoint.official import from_official
from mentor.checkpoint.sources import Source
from mentor.checkpoint.store import load_bundle
from mentor.config.presets import PRESETS
from tests.checkpoint.official_files import (
    ARGS,
    TINY,
    TINY_LLAMAGEN,
    golden_weights,
    language_folder,
    random_weights,
    save,
    save_tokenizer,
    text_tokenizer,
    vision_folder,
)
from tests.parity.fixtures import OWN_GOLDEN_DIR, load_golden

XL = PRESETS["xl"]
SHARED = "multimodal_encoder.language_model.shared.weight"
CLIP = "multimodal_encoder.vision_model.vision_tower.vision_model."


@pytest.fixture(scope="module")
def weights():
    return random_weights(TINY)


@pytest.fixture(scope="module")
def files(tmp_path_factory, weights) -> Path:
    """Checkpoints and towers, written once."""
    folder = tmp_path_factory.mktemp("files")
    save(folder / "stage2.pt", weights, args=ARGS, optimizer={"state": {}}, steps=3)
    save(folder / "t2i_XL_stage1_256.pt", random_weights(TINY_LLAMAGEN))
    save_tokenizer(folder / "vq.pt")
    language_folder(folder / "words", weights=False)
    language_folder(folder / "t5")
    vision_folder(folder / "clip")
    return folder


def convert(files, out, model="stage2.pt", base=XL, **extras):
    given = {"language": files / "words", **extras}
    return convert_model(files / model, files / "vq.pt", out, base, Extras(**given))


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same(named, ours, *, but=()):
    named = {from_official(name): tensor for name, tensor in named.items() if name != SHARED}
    assert named.keys() == {name for name in ours if not name.startswith(tuple(but))}
    for name, tensor in named.items():
        assert ours[name].dtype == tensor.dtype, name
        assert torch.equal(ours[name], tensor), name


def test_a_mentor_checkpoint(files, weights, tmp_path):
    report = convert(files, tmp_path / "out")
    assert read_config(tmp_path / "out") == TINY
    assert_same(weights, stored(tmp_path / "out"))
    codes = golden_weights("vq16_like")
    del codes["quantize.codebook_used"]
    kept = load_file(tmp_path / "out" / "image_tokenizer.safetensors")
    assert kept.keys() == codes.keys()
    assert all(torch.equal(kept[name], codes[name]) for name in codes)
    assert report.warnings == []
    assert report.notes == [
        "left out of stage2.pt: args, optimizer, steps",
        "left out of vq.pt: the training's count of codes (1)",
        "stage2: pictures of 24 px, prompts of at most 22 tokens",
    ]
    assert "Converted by `mentor convert` from `stage2.pt` and `vq.pt`" in (tmp_path / "out" / "README.md").read_text()


def test_the_bundle_is_loaded_and_reads_its_text_tokenizer(files, weights, tmp_path):
    convert(files, tmp_path / "out")
    bundle = load_bundle(tmp_path / "out")
    assert bundle.text_tokenizer.token_to_id("<image>") == 60 == text_tokenizer().get_vocab_size()
    ids = bundle.text_tokenizer.encode("the fox<image><image>in", add_special_tokens=True).ids
    assert ids.count(60) == 2
    assert ids[-1] == 1
    name = "layers.0.feed_forward.w1.weight"
    assert torch.equal(bundle.mentor.decoder.state_dict()[name], weights[name])
    assert "null_condition" not in dict(bundle.mentor.named_parameters())


def test_the_golden_model_gives_its_numbers_after_conversion(files, tmp_path):
    golden = load_golden("end_to_end", OWN_GOLDEN_DIR)
    save(tmp_path / "stage2.pt", golden.weights)
    given = {"decoder": {"num_heads": 4, "grid": 6}, "vision": {"num_heads": 2}, "language": {"dropout": 0.0}}
    extras = Extras(language=files / "words", config=given)
    convert_model(tmp_path / "stage2.pt", files / "vq.pt", tmp_path / "out", XL, extras)
    mentor = load_bundle(tmp_path / "out").mentor
    io = golden.io
    with torch.no_grad():
        features = mentor.encoder.encode_images(io["in.pixel_values"][io["in.img_mask"]])
        states, mask = mentor.condition(io["in.cond_idx"], io["in.cond_idx_mask"].bool(), features)
        logits = mentor.decoder(mentor.prefix(states, mask), mask, io["in.targets"][:, :-1])
    torch.testing.assert_close(states, io["out.cond_left_padded"], **golden.tolerance())
    torch.testing.assert_close(logits, io["out.train_logits"], **golden.tolerance())


def test_stock_llamagen_takes_its_language_encoder_from_the_hubs_folder(files, tmp_path):
    base = PRESETS["llamagen-xl"]
    report = convert(files, tmp_path / "out", "t2i_XL_stage1_256.pt", base, language=files / "t5", image_size=24)
    assert read_config(tmp_path / "out") == TINY_LLAMAGEN
    kept = stored(tmp_path / "out")
    assert_same(random_weights(TINY_LLAMAGEN), kept, but=["encoder."])
    t5 = torch.load(files / "t5" / "pytorch_model.bin", weights_only=True)
    name = "encoder.block.1.layer.1.DenseReluDense.wi_1.weight"
    assert torch.equal(kept[f"encoder.language.model.{name.removeprefix('encoder.')}"], t5[name])
    assert torch.equal(kept["encoder.language.model.embed_tokens.weight"], t5["shared.weight"])
    assert f"the language encoder is that of {files / 't5'}; t2i_XL_stage1_256.pt has none" in report.notes
    assert any(note.startswith("not needed of t5: ") for note in report.notes)
    load_bundle(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "size", "how"), [("t2i_XL_stage1_256", 256, "by its name"), ("mine", 512, "nothing says")]
)
def test_the_picture_size_of_a_file_that_does_not_say_it(files, tmp_path, name, size, how):
    model = save(tmp_path / f"{name}.pt", random_weights(TINY_LLAMAGEN))
    extras = Extras(language=files / "t5")
    report = convert_model(model, files / "vq.pt", tmp_path / "out", PRESETS["llamagen-xl"], extras)
    assert read_config(tmp_path / "out").image_size == size
    assert any(how in note and f"{size} px" in note for note in report.notes)


def test_the_checkpoints_own_tower_wins_and_the_difference_is_counted(files, weights, tmp_path):
    report = convert(files, tmp_path / "out", vision=files / "clip")
    assert_same(weights, stored(tmp_path / "out"))
    public = load_file(files / "clip" / "model.safetensors")
    own = {name.removeprefix(CLIP): tensor for name, tensor in weights.items() if name.startswith(CLIP)}
    differ = sum(not torch.equal(tensor, public[f"vision_model.{name}"].bfloat16()) for name, tensor in own.items())
    assert 0 < differ < len(own)
    assert len(report.warnings) == 1
    assert report.warnings[0].startswith(f"{differ} of the {len(own)} tensors of the vision tower in stage2.pt are not")


def test_a_public_tower_that_is_the_same_in_fewer_bits_is_no_warning(files, weights, tmp_path):
    public = load_file(files / "clip" / "model.safetensors")
    own = {
        n: public[f"vision_model.{n.removeprefix(CLIP)}"].bfloat16() if n.startswith(CLIP) else t
        for n, t in weights.items()
    }
    save(tmp_path / "stage2.pt", own, args=ARGS)
    extras = Extras(language=files / "words", vision=files / "clip")
    assert convert_model(tmp_path / "stage2.pt", files / "vq.pt", tmp_path / "out", XL, extras).warnings == []


def test_missing_parts_are_filled_from_the_folders(files, weights, tmp_path):
    lacks = ("multimodal_encoder.",)
    save(
        tmp_path / "generator_ckpt.pt", {name: tensor for name, tensor in weights.items() if not name.startswith(lacks)}
    )
    connector = torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.GELU(), torch.nn.Linear(48, 48)).state_dict()
    torch.save(
        {f"model.mm_projector.{name}": tensor for name, tensor in connector.items()}, tmp_path / "mm_projector.bin"
    )
    extras = Extras(
        vision=files / "clip", language=files / "t5", projector=tmp_path / "mm_projector.bin", image_size=24
    )
    report = convert_model(tmp_path / "generator_ckpt.pt", files / "vq.pt", tmp_path / "out", XL, extras)
    kept = stored(tmp_path / "out")
    public = load_file(files / "clip" / "model.safetensors")
    name = "encoder.layers.0.mlp.fc1.weight"
    assert torch.equal(kept[f"encoder.vision.trunk.{name}"], public[f"vision_model.{name}"])
    assert torch.equal(kept["encoder.connector.fc2.bias"], connector["2.bias"])
    assert torch.equal(kept["decoder.norm.weight"], weights["norm.weight"])
    assert sum("generator_ckpt.pt has none" in note for note in report.notes) == 3
    assert read_config(tmp_path / "out").encoder_dtype == "bfloat16"
    load_bundle(tmp_path / "out")


def test_a_random_connector_starts_the_training_of_the_full_size(files, weights, tmp_path):
    """LlamaGen, CLIP and T5 from their public files, and no connector, which stage 0 is there to make.

    As in the public file the null condition has fewer rows than an image takes: [120, 2048], and 256 tokens.
    """
    lacks = ("multimodal_encoder.",)
    stock = {name: tensor for name, tensor in weights.items() if not name.startswith(lacks)}
    null = "cls_embedding.uncond_embedding"
    stock[null] = stock[null][:3].clone()
    assert len(stock[null]) < TINY.tokens_per_image
    save(tmp_path / "t2i.pt", stock)
    extras = Extras(vision=files / "clip", language=files / "t5", projector=Path("random"), image_size=24)
    for name in ("one", "two"):
        report = convert_model(tmp_path / "t2i.pt", files / "vq.pt", tmp_path / name, XL, extras)
    assert any("the connector is random" in note for note in report.notes)
    one, two = stored(tmp_path / "one"), stored(tmp_path / "two")
    assert one["encoder.connector.fc1.weight"].shape == (48, 64)
    assert 0.015 < one["encoder.connector.fc1.weight"].std() < 0.025
    assert not one["encoder.connector.fc2.bias"].any()
    assert all(torch.equal(one[name], two[name]) for name in one)
    rows = one["null_condition"]
    assert rows.shape == (512, 48) and torch.equal(rows[-3:], stock[null])
    assert 0.13 < rows[:-3].std() < 0.16  # rows of length 1, as LlamaGen draws them
    assert "the null condition has 512 rows: random ones before the 3 of t2i.pt" in report.notes
    assert load_bundle(tmp_path / "one").config.context == 512


@pytest.mark.parametrize(("context", "rows"), [(30, 30), (5, None)])
def test_the_context_of_a_training_start_can_be_given(files, weights, tmp_path, context, rows):
    save(tmp_path / "t2i.pt", {name: t for name, t in weights.items() if not name.startswith("multimodal_encoder.")})
    extras = Extras(
        vision=files / "clip",
        language=files / "t5",
        projector=Path("random"),
        image_size=24,
        config={"context": context},
    )
    arguments = (tmp_path / "t2i.pt", files / "vq.pt", tmp_path / "out", XL, extras)
    if rows is None:
        with pytest.raises(ValueError, match=r"cls_embedding.uncond_embedding is \[22, 48\], expected \[5, 48\]"):
            convert_model(*arguments)
        return
    convert_model(*arguments)
    assert stored(tmp_path / "out")["null_condition"].shape == (rows, 48)


def test_parts_that_nothing_gives_are_asked_for(files, tmp_path):
    with pytest.raises(
        ValueError, match=r"no language encoder \(--language DIR\), no vision tower \(--vision DIR\), no conn"
    ):
        convert(files, tmp_path / "out", "t2i_XL_stage1_256.pt", language=None, hub=HubOptions(local_files_only=True))
    with pytest.raises(
        ValueError, match=r"no vision tower .*--projector FILE or random\): give what is missing; .*convert llamagen"
    ):
        convert(files, tmp_path / "out", "t2i_XL_stage1_256.pt", language=files / "t5")


@pytest.mark.parametrize(
    ("fix", "policy"), [("gpt", "zero"), ("gpt-empty-fix", "identity"), ("gpt-zero-fix", "identity")]
)
def test_the_positions_of_the_prefix_are_those_that_it_was_trained_with(files, weights, tmp_path, fix, policy):
    args = type(ARGS)(**{**vars(ARGS), "fix": fix})
    save(tmp_path / "stage2.pt", weights, args=args)
    extras = Extras(language=files / "words")
    report = convert_model(tmp_path / "stage2.pt", files / "vq.pt", tmp_path / "out", XL, extras)
    assert read_config(tmp_path / "out").decoder.prefix_rope == policy
    assert any("trained with --fix gpt" in note for note in report.notes) == (policy == "zero")


def test_what_is_given_overrules_the_file(files, tmp_path):
    given = {"name": "mine", "decoder": {"grid": 8, "prefix_rope": "zero"}, "connector": {"activation": "gelu_new"}}
    convert(files, tmp_path / "out", config=given)
    assert read_config(tmp_path / "out") == replace(
        TINY,
        name="mine",
        decoder=replace(TINY.decoder, grid=8, prefix_rope="zero"),
        connector=replace(TINY.connector, activation="gelu_new"),
    )


def test_two_different_word_embeddings_are_a_warning_that_says_which_wins(files, weights, tmp_path):
    save(tmp_path / "stage2.pt", weights | {SHARED: weights[SHARED] + 1}, args=ARGS)
    extras = Extras(language=files / "words")
    report = convert_model(tmp_path / "stage2.pt", files / "vq.pt", tmp_path / "out", XL, extras)
    assert report.warnings == [
        "stage2.pt has two different word embeddings: multimodal_encoder.language_model.encoder.embed_tokens.weight wins over "
        f"{SHARED}"
    ]
    kept = stored(tmp_path / "out")["encoder.language.model.embed_tokens.weight"]
    assert torch.equal(kept, weights[SHARED])


@pytest.mark.parametrize("gone", [SHARED, "multimodal_encoder.language_model.encoder.embed_tokens.weight"])
def test_one_of_the_two_word_embeddings_is_enough(files, weights, tmp_path, gone):
    save_file({name: t.contiguous() for name, t in weights.items() if name != gone}, tmp_path / "stage2.safetensors")
    extras = Extras(language=files / "words", image_size=24)
    convert_model(tmp_path / "stage2.safetensors", files / "vq.pt", tmp_path / "out", XL, extras)
    assert_same(weights, stored(tmp_path / "out"))


def test_caches_of_a_generation_are_left_out_and_said(files, weights, tmp_path):
    caches = {f"layers.{i}.attention.kv_cache.{w}_cache": torch.zeros(1, 1, 8, 64) for i in range(2) for w in "kv"}
    save(tmp_path / "stage2.pt", weights | caches, args=ARGS)
    extras = Extras(language=files / "words")
    report = convert_model(tmp_path / "stage2.pt", files / "vq.pt", tmp_path / "out", XL, extras)
    assert "left out of stage2.pt: key-value caches of a generation (4)" in report.notes
    assert_same(weights, stored(tmp_path / "out"))


def misfits(weights):
    first, norm = "layers.1.attention.wqkv.weight", "norm.weight"
    others = {name: tensor for name, tensor in weights.items() if name not in (first, norm)}
    return {
        "missing": (others | {norm: weights[norm]}, rf"1 missing tensor: {first}$"),
        "unknown": (weights | {"head.bias": torch.zeros(3)}, r"1 unknown tensor: head.bias$"),
        "misspelt": (
            others | {norm: weights[norm], "layers.1.attn.wqkv.weight": weights[first]},
            rf"unknown tensor: layers.1.attn.wqkv.weight \(nearest: {first}\); 1 missing tensor: {first} \(nearest: layers",
        ),
        "shape": (
            weights | {first: torch.zeros(5, 64)},
            rf"1 tensor of another shape: {first} is \[5, 64\], expected \[192, 64\]$",
        ),
        "width": (
            weights | {"tok_embeddings.weight": torch.zeros(64, 7)},
            r"tok_embeddings.weight is \[64, 7\], expected \[64, 64",
        ),
        "many": (
            weights | {f"extra.{i}": torch.zeros(1) for i in range(9)} | {norm: torch.zeros(3)},
            r"9 unknown tensors: extra.0, extra.1, extra.2 and 6 more; 1 tensor of another shape: norm.weight is \[3\]",
        ),
    }


@pytest.mark.parametrize("kind", ["missing", "unknown", "misspelt", "shape", "width", "many"])
def test_misfits_are_counted_and_named_with_the_nearest_name(files, weights, tmp_path, kind):
    state, message = misfits(weights)[kind]
    save(tmp_path / "stage2.pt", state, args=ARGS)
    extras = Extras(language=files / "words")
    with pytest.raises(ValueError, match=message) as caught:
        convert_model(tmp_path / "stage2.pt", files / "vq.pt", tmp_path / "out", XL, extras)
    assert str(caught.value).startswith(f"{tmp_path / 'stage2.pt'} is not a MENTOR checkpoint as its shapes")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


FOREIGN = {
    "a Stable Diffusion checkpoint": [
        "model.diffusion_model.input_blocks.0.0.weight",
        "first_stage_model.quant_conv.weight",
    ],
    "a T5 language model": ["shared.weight", "encoder.block.0.layer.0.SelfAttention.q.weight", "lm_head.weight"],
    "an official image tokenizer": ["quantize.codebook_used", "quantize.embedding.weight", "encoder.conv_in.weight"],
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_of_other_models_are_named(files, tmp_path, kind):
    save(tmp_path / "other.pt", {name: torch.zeros(4, 4) for name in FOREIGN[kind]})
    extras = Extras(language=files / "words")
    with pytest.raises(ValueError, match=f"other.pt holds {kind}, not a MENTOR checkpoint .*missing tensors: .* more"):
        convert_model(tmp_path / "other.pt", files / "vq.pt", tmp_path / "out", XL, extras)
    with pytest.raises(ValueError, match=r"stage2.pt (holds|is not) .*a LlamaGen image tokenizer"):
        convert_model(files / "stage2.pt", files / "stage2.pt", tmp_path / "out", XL, extras)


def test_a_mentor_file_is_no_llamagen_file(files, tmp_path):
    with pytest.raises(
        ValueError, match="is not a LlamaGen text-to-image checkpoint .* unknown tensors: multimodal_encoder"
    ):
        convert(files, tmp_path / "out", base=PRESETS["llamagen-xl"])


def test_a_tokenizer_of_other_codes_does_not_belong_to_the_model(files, tmp_path):
    vq = save_tokenizer(tmp_path / "vq.pt", "vq8_like")
    with pytest.raises(ValueError, match=r"writes 64 image tokens, .*vq.pt knows 48"):
        convert_model(files / "stage2.pt", vq, tmp_path / "out", XL, Extras(language=files / "words"))


def test_without_a_text_tokenizer_the_bundle_says_what_to_add(files, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub = HubOptions(cache_dir=str(tmp_path / "cache"))
    report = convert(files, tmp_path / "out", language=None, hub=hub, config={"language": {"image_token_id": 60}})
    assert len(report.warnings) == 1
    assert "no text tokenizer: the model hub did not give google/flan-t5-xl" in report.warnings[0]
    assert f"put its tokenizer.json into {tmp_path / 'out'}" in report.warnings[0]
    with pytest.raises(ValueError, match="tokenizer.json is missing"):
        load_bundle(tmp_path / "out")
    text_tokenizer().save(str(tmp_path / "out" / "tokenizer.json"))
    assert load_bundle(tmp_path / "out").text_tokenizer.token_to_id("<image>") == 60


def test_another_placeholder_than_the_tokenizers_is_refused(files, tmp_path):
    with pytest.raises(ValueError, match="image_token_id: 59 is given, the text tokenizer calls <image> 60"):
        convert(files, tmp_path / "out", config={"language": {"image_token_id": 59}})


def test_bytes_are_told_until_all_are_done(files, tmp_path):
    told = []
    convert_model(
        files / "stage2.pt", files / "vq.pt", tmp_path / "out", XL, Extras(language=files / "words"),
        lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    written = sum(
        t.nbytes
        for name in ("model", "image_tokenizer")
        for t in load_file(tmp_path / "out" / f"{name}.safetensors").values()
    )
    assert told[-1] == (written, written)


def test_a_folder_with_other_files_is_left_alone(files, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "README.md").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds README.md and no model of mentor"):
        convert(files, tmp_path / "own")
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["README.md"]


@pytest.mark.parametrize("before", [False, True])
def test_a_failure_in_the_middle_leaves_what_was_there(files, tmp_path, monkeypatch, before):
    if before:
        convert(files, tmp_path / "out")
    kept = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*")}

    read = Source.read

    def fail(self, name):
        if name == "decoder.layers.1.ffn_norm.weight":
            raise OSError(28, "No space left on device")
        return read(self, name)

    monkeypatch.setattr(Source, "read", fail)
    with pytest.raises(OSError, match="No space left"):
        convert(files, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*")} == kept
    assert [path.name for path in tmp_path.iterdir()] == ["out"] * before
