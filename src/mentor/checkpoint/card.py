"""The model card: the README.md inside a bundle folder, with the metadata that the model hub reads."""

from __future__ import annotations

import re

from huggingface_hub import ModelCardData

from mentor.config.model import MentorConfig
from mentor.models.size import count_image_tokenizer, count_parameters

_VISION = {"efficientnet_lite0": "EfficientNet-Lite0", "clip": "CLIP vision transformer"}
_LANGUAGE = {("bert", 384): "MiniLM (Apache-2.0)", ("t5", 2048): "FLAN-T5-XL's encoder (Apache-2.0)"}
"""Kind and width of a language encoder -> what it was before it was trained further, as far as that can be told from them."""
_BASES = {("bert", 384): "sentence-transformers/all-MiniLM-L6-v2", ("t5", 2048): "google/flan-t5-xl"}
"""The same -> the hub's name. No vision tower: that of the released checkpoints is not OpenAI's."""
_EXAMPLE = '("a red apple on a table").images[0].save("out.png")'
_TAGS = ["image-generation", "subject-driven-generation", "autoregressive", "multimodal"]


def model_card(config: MentorConfig, text: str | None = None) -> str:
    """Markdown with the sizes of each part and how to use the model; ``text`` says how it was made.

    No licence: nobody but those who trained it can name one.
    """
    metadata = ModelCardData(
        library_name="mentor",
        pipeline_tag="text-to-image" if config.vision is None else "image-text-to-image",
        base_model=_bases(config),
        tags=_TAGS,
    )
    inputs = "text" if config.vision is None else "interleaved text and reference images"
    images = "" if config.vision is None else f"; each image counts {config.tokens_per_image}"
    made = f"{text}\n\n" if text else ""
    rows = "\n".join(f"| {name} | {what} | {count / 1e6:.2f} |" for name, what, count in _parts(config))
    return f"""---
{metadata.to_yaml()}
---
# {config.name}

Generates {config.image_size} x {config.image_size} pictures from {inputs}.

{made}```python
from mentor import MentorPipeline

MentorPipeline.from_pretrained("path/to/this/folder"){_EXAMPLE}
```

| part | what | million parameters |
|---|---|---|
{rows}

The prompt may have at most {config.context} tokens{images}.
"""


def _bases(config: MentorConfig) -> list[str] | None:
    base = _BASES.get((config.language.kind, config.language.width))
    return None if base is None else [base]


def named_card(card: str, name: str) -> str:
    """A card whose example loads ``name``, whatever folder or model of the hub it loaded before."""
    return re.sub(
        r'(MentorPipeline\.from_pretrained\(")[^"]*("\))' + re.escape(_EXAMPLE), rf"\g<1>{name}\g<2>{_EXAMPLE}", card
    )


def _parts(config: MentorConfig) -> list[tuple[str, str, int]]:
    """Name, description and parameters of every box."""
    language, decoder, codes = config.language, config.decoder, config.image_tokenizer
    what = {
        "language_encoder": f"{_LANGUAGE.get((language.kind, language.width), language.kind)}, {language.num_layers} layers",
        "projector": f"width {language.width} to {decoder.width}",
        "decoder": f"{decoder.num_layers} layers, {decoder.num_tokens} image tokens",
        "null_condition": "learned",
    }
    if config.vision is not None and config.connector is not None:
        layers = ", ".join(str(layer) for layer in config.vision.layers)
        what["vision_tower"] = f"{_VISION.get(config.vision.kind, config.vision.kind)}, frozen, layers {layers}"
        what["connector"] = config.connector.kind
    rows = [(name.replace("_", " "), what[name], count) for name, count in count_parameters(config).items()]
    tokenizer = f"{codes.backbone}, {codes.codebook_size} codes"
    return [*rows, ("image tokenizer", tokenizer, count_image_tokenizer(codes))]
