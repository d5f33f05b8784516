"""Prompts to tensors: placeholders, what a person types, padding, limits, pictures of every shape and mode."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from mentor.config.model import ConnectorConfig, MentorConfig
from mentor.config.presets import PRESETS
from mentor.construction.towers import tokenizer_json
from mentor.data.processor import Processor, crop_square, fit_square
from mentor.data.squares import LONGEST
from mentor.prompt import Prompt
from tests.construction.published import bert_tokenizer_json
from tests.generation.tiny_bundle import CONFIG, text_tokenizer

IMAGE = CONFIG.language.image_token_id


def made(config: MentorConfig = CONFIG) -> Processor:
    """A processor with a BERT tokenizer, as the shipped models have."""
    return Processor(config, Tokenizer.from_str(tokenizer_json(bert_tokenizer_json(), config.language)))


def with_queries(config: MentorConfig = CONFIG, **change: int) -> Processor:
    """A processor of a Query-Former that turns an image into 3 tokens."""
    sizes = {"hidden": 8, "queries": 3, "num_layers": 1, "num_heads": 1, "mlp_width": 8, "vocab_size": 29, **change}
    config = dataclasses.replace(config, connector=ConnectorConfig(kind="query_former", **sizes))
    tokenizer = Tokenizer.from_str(bert_tokenizer_json().decode())
    return Processor(config, Tokenizer.from_str(tokenizer_json(bert_tokenizer_json(), config.language)), tokenizer)


@functools.cache
def of_size(preset: str) -> Processor:
    """A processor of a full-size model with a tokenizer of a few words that ends every text, as T5's does."""
    config = PRESETS[preset]
    tokenizer = Tokenizer(WordLevel({"</s>": 1, "fox": 2, "[UNK]": 3, "<image>": 32100}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_tokens([AddedToken("<image>", normalized=False)])
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return Processor(config, tokenizer, tokenizer)


def picture(width: int = 5, height: int = 5, mode: str = "RGB", colour: object = "red") -> Image.Image:
    return Image.new(mode, (width, height), colour)  # type: ignore[arg-type]


def tokens(processor: Processor, text: str) -> list[str]:
    return [processor.tokenizer.id_to_token(number) for number in processor.encode_text(text)]


def test_every_placeholder_becomes_the_visual_tokens_of_one_image():
    assert tokens(made(), "The fox in <image>.") == ["[CLS]", "the", "fox", "in", *["<image>"] * 4, ".", "[SEP]"]
    assert tokens(made(), "<image> <image>") == ["[CLS]", *["<image>"] * 8, "[SEP]"]


@pytest.mark.parametrize(
    "text", ["[unused0]", "[UNUSED0]", "<IMAGE>", "< image >", "<image", "\uff1cimage\uff1e", "<im\u200bage>"]
)
def test_no_other_spelling_makes_a_placeholder(text):
    assert IMAGE not in made().encode_text(text)
    assert made().encode_text(f"{text} <image>").count(IMAGE) == 4


@pytest.mark.parametrize("text", ["[SEP]", "[CLS]", "[PAD]", "[MASK]", "a [SEP] b [PAD]"])
def test_control_tokens_that_a_person_types_are_text(text):
    processor = made()
    inside = processor.encode_text(text)[1:-1]
    assert not {processor.tokenizer.token_to_id(word) for word in ("[SEP]", "[CLS]", "[PAD]", "[MASK]")} & set(inside)


@given(st.text(max_size=40))
def test_any_text_is_encoded_without_placeholders_or_padding(text):
    processor = made(dataclasses.replace(CONFIG, context=200))
    ids = processor.encode_text(text.replace("<image>", ""))
    assert IMAGE not in ids
    assert CONFIG.language.pad_token_id not in ids


def test_a_batch_is_padded_on_the_right_with_images_in_row_major_order():
    processor = made()
    colours = ["red", "lime", "blue"]
    one, two, three = (picture(colour=colour) for colour in colours)
    prompts = [Prompt("<image>", (one,)), Prompt("fox"), Prompt("<image> <image>", (two, three))]
    batch = processor(prompts)
    assert batch.input_ids.dtype == torch.int64
    assert batch.attention_mask.tolist() == [[True] * 6 + [False] * 4, [True] * 3 + [False] * 7, [True] * 10]
    assert not batch.input_ids[~batch.attention_mask].any()
    for row, prompt in enumerate(prompts):
        assert batch.input_ids[row][batch.attention_mask[row]].tolist() == processor.encode_text(prompt.text)
    assert batch.pixel_values.shape == (3, 3, 32, 32)
    assert [int(pixels.mean((1, 2)).argmax()) for pixels in batch.pixel_values] == [0, 1, 2]
    assert processor([Prompt("fox")]).pixel_values.shape == (0, 3, 32, 32)


def test_a_prompt_beyond_the_context_is_refused_with_the_counts():
    text = "<image> " + "fox " * 20
    with pytest.raises(ValueError, match=r"26 tokens \(1 images of 4, 22 of text\), the model takes at most 24"):
        made().encode_text(text)
    assert len(made(dataclasses.replace(CONFIG, context=26)).encode_text(text)) == 26


def test_no_prompt_and_a_foreign_tokenizer_are_refused():
    with pytest.raises(ValueError, match="at least one prompt"):
        made()([])
    other = dataclasses.replace(CONFIG, language=dataclasses.replace(CONFIG.language, image_token_id=5))
    with pytest.raises(ValueError, match="is 1, the configuration's image_token_id is 5"):
        Processor(other, text_tokenizer())


def test_a_tokenizer_file_that_pads_and_cuts_is_overruled():
    tokenizer = text_tokenizer()
    tokenizer.enable_padding(length=12)
    tokenizer.enable_truncation(2)
    assert len(Processor(CONFIG, tokenizer).encode_text("the red fox")) == 3
    assert tokenizer.truncation is not None, "the caller's tokenizer was changed"


def test_a_query_former_gets_fewer_placeholders_and_what_to_look_for():
    processor, image = with_queries(), picture()
    assert tokens(processor, "The fox in <image>.") == ["[CLS]", "the", "fox", "in", *["<image>"] * 3, ".", "[SEP]"]
    prompts = [Prompt("The red fox in <image>.", (image,)), Prompt("fox"), Prompt("<image>", (image,), ["[SEP] hat"])]
    batch = processor(prompts)
    assert batch.query_ids is not None
    assert batch.query_mask is not None
    rows = zip(batch.query_ids, batch.query_mask, strict=True)
    words = [[processor.tokenizer.id_to_token(number) for number in ids[mask]] for ids, mask in rows]
    assert words == [["[CLS]", "red", "fox", "[SEP]"], ["[CLS]", "[", "sep", "]", "hat", "[SEP]"]]
    assert batch.query_mask.tolist() == [[True] * 4 + [False] * 2, [True] * 6]
    assert (batch.query_ids.dtype, batch.to("cpu").query_ids.tolist()) == (torch.int64, batch.query_ids.tolist())
    none = processor([Prompt("fox")])
    assert none.query_ids.shape == none.query_mask.shape == (0, 0)
    plain = made()(prompts)
    assert (plain.query_ids, plain.query_mask, plain.to("cpu").query_ids) == (None, None, None)


def test_a_query_formers_tokenizer_must_be_there_and_fit():
    config = with_queries().config
    with pytest.raises(ValueError, match="tiny has a Query-Former, which needs a tokenizer"):
        Processor(config, text_tokenizer())
    with pytest.raises(ValueError, match="has 29 words, the configuration's connector.vocab_size is 28"):
        with_queries(vocab_size=28)
    with pytest.raises(ValueError, match="has 7 tokens, the Query-Former takes at most 6; it starts 'fox fox"):
        with_queries(max_positions=6)([Prompt("<image>", (picture(),), ["fox fox fox fox fox"])])


def test_a_text_only_model_needs_no_placeholder_and_refuses_images():
    config = dataclasses.replace(CONFIG, vision=None, connector=None)
    processor = Processor(config, Tokenizer.from_str(bert_tokenizer_json().decode()))
    batch = processor([Prompt("the fox")])
    assert batch.input_ids.shape == (1, 4)
    assert (len(batch.pixel_values), batch.query_ids) == (0, None)
    with pytest.raises(ValueError, match="the model tiny reads text only, but the prompt has 1 image"):
        processor([Prompt("the fox in <image>", (picture(),))])


CONTEXTS = {name: PRESETS[name] for name in ("xl-fixed", "xl-multi-image", "xl-query-former")}


@pytest.mark.parametrize(("preset", "images"), [("xl-fixed", 1), ("xl-multi-image", 4), ("xl-query-former", 14)])
def test_the_papers_contexts_hold_the_papers_numbers_of_images(preset, images):
    processor = of_size(preset)
    room = processor.config.context - images * processor.config.tokens_per_image - 1
    assert len(processor.encode_text("<image>" * images + "fox " * room)) == processor.config.context
    with pytest.raises(ValueError, match=f"the model takes at most {processor.config.context}"):
        processor.encode_text("<image>" * images + "fox " * (room + 1))


@given(st.sampled_from(sorted(CONTEXTS)), st.integers(0, 18), st.integers(0, 600), st.randoms())
def test_a_prompt_fits_whole_or_is_refused_with_the_counts(preset, images, words, random):
    processor = of_size(preset)
    pieces = ["<image>"] * images + ["fox"] * words
    random.shuffle(pieces)
    each = processor.config.tokens_per_image
    length = images * each + words + 1
    if length > processor.config.context:
        counts = (
            rf"has {length} tokens \({images} images of {each}, {words + 1} of text\).* {processor.config.context}:"
        )
        with pytest.raises(ValueError, match=counts):
            processor.encode_text(" ".join(pieces))
        return
    ids = processor.encode_text(" ".join(pieces))
    expected = [each if piece == "<image>" else 1 for piece in pieces]
    assert len(ids) == length
    placeholders = [i == processor.config.language.image_token_id for i in ids[:-1]]
    assert placeholders == [
        piece == "<image>" for piece, count in zip(pieces, expected, strict=True) for _ in range(count)
    ]


@given(st.integers(1, 90), st.integers(1, 90))
def test_fit_square_keeps_the_whole_picture_centred_on_white(width, height):
    fitted = np.asarray(fit_square(picture(width, height, colour="black"), 32))
    dark = fitted[..., 0] < 128
    rows, columns = np.flatnonzero(dark.any(1)), np.flatnonzero(dark.any(0))
    shown = columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
    scale = 32 / max(width, height)
    assert shown == (max(1, round(width * scale)), max(1, round(height * scale)))
    assert dark.sum() == shown[0] * shown[1]
    assert abs(columns[0] - (31 - columns[-1])) <= 1
    assert abs(rows[0] - (31 - rows[-1])) <= 1
    assert (fitted[~dark] == 255).all()


@given(st.integers(1, 90), st.integers(1, 90))
def test_crop_square_fills_the_square(width, height):
    assert (np.asarray(crop_square(picture(width, height, colour="white"), 32)) == 255).all()


@pytest.mark.parametrize("long_way", [0, 1])
def test_the_centre_of_a_long_strip_is_taken_before_it_is_enlarged(monkeypatch, long_way):
    """1 x 60,000 pixels would be 32 x 1,920,000 else."""
    sizes, resize = [], Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda image, size, *a: sizes.append(size) or resize(image, size, *a))
    strip = np.zeros((1, 60_001, 3), np.uint8)
    strip[:, 30_000] = 255
    strip = strip if long_way else strip.transpose(1, 0, 2)
    cut = np.asarray(crop_square(Image.fromarray(np.ascontiguousarray(strip)), 32))
    assert max(map(max, sizes)) <= 32 * (LONGEST + 1)
    assert cut.shape == (32, 32, 3)
    assert cut[16, 16].min() > 200, "the pixel in the middle"


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [("RGB", (255, 0, 0), (1, -1, -1)), ("L", 0, (-1, -1, -1)), ("RGBA", (0, 0, 0, 0), (1, 1, 1)), ("1", 1, (1, 1, 1))],
)
def test_pixels_are_normalised_whatever_the_mode(mode, colour, expected):
    pixels = made().pixels(picture(mode=mode, colour=colour))
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels, torch.tensor(expected, dtype=torch.float32).view(3, 1, 1).expand(3, 32, 32))


def test_mean_and_deviation_are_the_configured_ones():
    vision = dataclasses.replace(CONFIG.vision, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.1))
    pixels = made(dataclasses.replace(CONFIG, vision=vision)).pixels(picture(colour="white"))
    torch.testing.assert_close(pixels[:, 0, 0], torch.tensor([1.8, 3.2, 7.0]))
