"""Small files like those that the authors released: random or golden weights under the official names."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from mentor.checkpoint.official import to_official
from mentor.config.model import ImageTokenizerConfig, LanguageConfig, MentorConfig, VisionConfig
from mentor.config.presets import PRESETS
from mentor.models.mentor import Mentor
from tests.parity.fixtures import OWN_GOLDEN_DIR, load_golden

WORDS = [
    "<pad>",
    "</s>",
    "<unk>",
    "▁the",
    "▁fox",
    "▁in",
    "▁",
    "<",
    "image",
    ">",
    "s",
    "/",
    *"abcdefghijklmnopqrstuvwxyz",
]
VOCABULARY = 60

TINY = replace(
    PRESETS["xl"],
    name="stage2",
    vision=replace(
        PRESETS["xl"].vision or VisionConfig("clip", 0, (), 0, 0),
        image_size=28, width=64, tokens_per_image=4, hidden_size=64, num_layers=2, num_heads=1, mlp_width=32,
    ),
    language=LanguageConfig(
        kind="t5", width=48, num_layers=2, num_heads=3, mlp_width=40, vocab_size=64, image_token_id=VOCABULARY,
        head_width=8, dropout=0.1,
    ),
    decoder=replace(PRESETS["xl"].decoder, width=64, num_layers=2, num_heads=1, vocab_size=64, grid=6),
    image_tokenizer=ImageTokenizerConfig(
        backbone="llamagen", downsample=4, codebook_size=64, channels=32, channel_multipliers=(1, 1, 2),
        latent_channels=32,
    ),
    context=22,
)  # fmt: skip
"""A model whose shapes tell all its sizes, and whose image tokenizer is the golden ``vq16_like``."""

TINY_LLAMAGEN = replace(
    TINY,
    name="t2i_XL_stage1_256",
    vision=None,
    connector=None,
    language=replace(TINY.language, activation="gelu_new"),
    decoder=replace(TINY.decoder, prefix_rope="zero"),
    context=12,
    generation=PRESETS["llamagen-xl"].generation,
)


def golden_weights(name: str) -> dict[str, Tensor]:
    """The weights of a fixture, under the official names."""
    return dict(load_golden(name, OWN_GOLDEN_DIR).weights)


def random_weights(config: MentorConfig, seed: int = 0) -> dict[str, Tensor]:
    """A random model under the official names, the encoder in ``config.encoder_dtype``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = Mentor(config).state_dict()
    named = {str(to_official(name)): tensor for name, tensor in state.items()}
    embedding = "multimodal_encoder.language_model.encoder.embed_tokens.weight"
    named["multimodal_encoder.language_model.shared.weight"] = named[embedding]
    if config.vision is None:
        named = {name: tensor for name, tensor in named.items() if not name.startswith("multimodal_encoder.")}
    return named


def save(path: Path, state: dict[str, Any], **beside: Any) -> Path:
    """A checkpoint as the official training writes it: the weights in "model", other things beside them."""
    torch.save({"model": state, **beside}, path)
    return path


def save_tokenizer(path: Path, name: str = "vq16_like") -> Path:
    return save(path, golden_weights(name))


def text_tokenizer() -> Tokenizer:
    """As T5's: pieces, then sentinels up to ``VOCABULARY`` tokens, and ``</s>`` at the end of a text."""
    pieces = [(word, -float(i)) for i, word in enumerate(WORDS)]
    pieces += [(f"<extra_id_{i}>", 0.0) for i in range(VOCABULARY - len(pieces))]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = Metaspace()
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def language_folder(path: Path, config: LanguageConfig = TINY.language, *, weights: bool = True) -> Path:
    """A T5 model as the hub has it."""
    from transformers import T5Config, T5ForConditionalGeneration

    path.mkdir(parents=True, exist_ok=True)
    if weights:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            model = T5ForConditionalGeneration(
                T5Config(
                    vocab_size=config.vocab_size,
                    d_model=config.width,
                    d_kv=config.head_width,
                    d_ff=config.mlp_width,
                    num_layers=config.num_layers,
                    num_heads=config.num_heads,
                    feed_forward_proj="gated-gelu",
                    tie_word_embeddings=False,
                )
            )
        torch.save(model.state_dict(), path / "pytorch_model.bin")
    (path / "tokenizer.json").write_text(text_tokenizer().to_str(), encoding="utf-8")
    return path


def vision_folder(path: Path, seed: int = 3) -> Path:
    """A whole CLIP model as the hub has it."""
    from safetensors.torch import save_file
    from transformers import CLIPConfig, CLIPModel

    vision = TINY.vision
    assert vision is not None
    path.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
        tower = {
            "hidden_size": vision.hidden_size,
            "intermediate_size": vision.mlp_width,
            "num_hidden_layers": vision.num_layers,
            "num_attention_heads": vision.num_heads,
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
        }
        state = CLIPModel(CLIPConfig(text_config=text | {"vocab_size": 50}, vision_config=tower)).state_dict()
    # Files of older versions also hold these.
    state["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path / "model.safetensors")
    return path


ARGS = Namespace(image_size=24, fix="gpt-empty-fix", gpt_model="GPT-XL", lr=5e-4, mm_vision_tower="openai/clip")
