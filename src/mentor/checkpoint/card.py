"""The model card: the README.md inside a bundle folder."""

from __future__ import annotations

from torch import nn

from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor

_VISION = {"efficientnet_lite0": "EfficientNet-Lite0 (Apache-2.0)", "clip": "CLIP vision transformer"}
_LANGUAGE = {"bert": "MiniLM-L6 (Apache-2.0)", "t5": "FLAN-T5 encoder"}


def model_card(mentor: Mentor, image_tokenizer: ImageTokenizer, text: str | None = None) -> str:
    """Markdown with the sizes of each part and how to use the model; ``text`` says how it was trained."""
    config = mentor.config
    vision, language, decoder, codes = config.vision, config.language, config.decoder, config.image_tokenizer
    layers = ", ".join(str(layer) for layer in vision.layers)
    parts = [
        ("vision tower (frozen)", f"{_VISION[vision.kind]}, layers {layers}", mentor.encoder.vision),
        ("connector", config.connector.kind, mentor.encoder.connector),
        ("language encoder", f"{_LANGUAGE[language.kind]}, {language.num_layers} layers", mentor.encoder.language),
        ("projector", f"width {language.width} to {decoder.width}", mentor.projector),
        ("decoder", f"{decoder.num_layers} layers, {decoder.num_tokens} image tokens", mentor.decoder),
        ("image tokenizer", f"{codes.backbone}, {codes.codebook_size} codes", image_tokenizer),
    ]
    rows = "\n".join(f"| {name} | {what} | {_millions(module)} |" for name, what, module in parts)
    return f"""---
library_name: mentor
pipeline_tag: text-to-image
---
# {config.name}

Generates {config.image_size} x {config.image_size} pictures from interleaved text and reference images.

{text or "Not trained yet: pretrained towers, random weights elsewhere."}

```python
from mentor import MentorPipeline

MentorPipeline.from_pretrained("path/to/this/folder")("a red apple on a table").images[0].save("out.png")
```

| part | what | million parameters |
|---|---|---|
{rows}

The prompt may have at most {config.context} tokens; each image counts {vision.tokens_per_image}.
"""


def _millions(module: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in module.parameters()) / 1e6:.2f}"
