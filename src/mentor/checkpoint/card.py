"""The model card: the README.md inside a bundle folder, with the metadata that the model hub reads."""

from __future__ import annotations

from huggingface_hub import ModelCardData

from mentor.config.model import MentorConfig
from mentor.models.size import count_image_tokenizer, count_parameters

_VISION = {"efficientnet_lite0": "EfficientNet-Lite0 (Apache-2.0)", "clip": "CLIP vision transformer (MIT)"}
_LANGUAGE = {"bert": "MiniLM (Apache-2.0)", "t5": "FLAN-T5 encoder (Apache-2.0)"}
_BASES = {
    ("clip", 1024): "openai/clip-vit-large-patch14",
    ("bert", 384): "sentence-transformers/all-MiniLM-L6-v2",
    ("t5", 2048): "google/flan-t5-xl",
}
"""Kind and width of a tower -> the hub's name of the model that it is."""
HERE = "path/to/this/folder"
"""What a card calls the model as long as the hub has no name for it."""
_TAGS = ["image-generation", "subject-driven-generation", "autoregressive", "multimodal"]


def model_card(config: MentorConfig, text: str | None = None) -> str:
    """Markdown with the sizes of each part and how to use the model; ``text`` says how it was made."""
    metadata = ModelCardData(
        library_name="mentor",
        pipeline_tag="text-to-image" if config.vision is None else "image-text-to-image",
        license=_license(config),
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

MentorPipeline.from_pretrained("{HERE}")("a red apple on a table").images[0].save("out.png")
```

| part | what | million parameters |
|---|---|---|
{rows}

The prompt may have at most {config.context} tokens{images}.
"""


def _bases(config: MentorConfig) -> list[str] | None:
    towers: list[tuple[str, int]] = [(config.language.kind, config.language.width)]
    if config.vision is not None:
        towers.append((config.vision.kind, config.vision.hidden_size))
    return [_BASES[tower] for tower in towers if tower in _BASES] or None


def _license(config: MentorConfig) -> str | None:
    # The authors of the large weights have named no licence: the card must not invent one.
    mini = config.language.kind == "bert" and config.vision is not None and config.vision.kind == "efficientnet_lite0"
    return "apache-2.0" if mini else None


def _parts(config: MentorConfig) -> list[tuple[str, str, int]]:
    """Name, description and parameters of every box."""
    language, decoder, codes = config.language, config.decoder, config.image_tokenizer
    what = {
        "language_encoder": f"{_LANGUAGE.get(language.kind, language.kind)}, {language.num_layers} layers",
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
