"""LlamaGen's image tokenizers and LLaVA's projectors, each alone."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mentor.checkpoint.conversion import Progress, Report, count_bytes, outline
from mentor.checkpoint.infer import infer_image_tokenizer
from mentor.checkpoint.layout import CONFIG, IMAGE_TOKENIZER
from mentor.checkpoint.official import IMAGE_TOKENIZER_NAMES, PROJECTOR_NAMES
from mentor.checkpoint.pickles import read_pickle
from mentor.checkpoint.shapes import Shapes
from mentor.checkpoint.shards import patterns
from mentor.checkpoint.sources import Assembled, Source
from mentor.checkpoint.tensors import write_tensors
from mentor.config.load import to_dict
from mentor.config.model import ConnectorConfig, ImageTokenizerConfig
from mentor.models.connector import MLPConnector
from mentor.models.image_tokenizer import ImageTokenizer


def read_image_tokenizer(path: Path, given: Mapping[str, Any] | None = None) -> tuple[Source, ImageTokenizerConfig]:
    """A LlamaGen image tokenizer, checked, and its configuration, of which ``given`` overrules the shapes."""
    source = Source(read_pickle(path), IMAGE_TOKENIZER_NAMES)
    config = infer_image_tokenizer(source.outline, given)
    source.check(outline(lambda: ImageTokenizer(config), path), "a LlamaGen image tokenizer")
    return source, config


def convert_image_tokenizer(
    path: Path, out: Path, given: Mapping[str, Any] | None = None, progress: Progress | None = None
) -> Report:
    """Writes a LlamaGen image tokenizer as the folder that a run which trains one exports: config.json and weights.

    ``given`` are keys of ``ImageTokenizerConfig`` that overrule what the shapes tell. ValueError for a damaged or foreign
    file, and for an ``out`` that holds other files; then nothing is written.
    """
    _check_folder(out)
    source, config = read_image_tokenizer(path, given)
    weights = Assembled(dict.fromkeys(source.names, source))
    count_bytes(progress, weights)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        folder = Path(temporary) / "new"
        folder.mkdir()
        write_tensors(folder, IMAGE_TOKENIZER, weights)
        (folder / CONFIG).write_text(json.dumps(to_dict(config), indent=2) + "\n", encoding="utf-8")
        if out.exists():
            os.replace(out, Path(temporary) / "old")
        os.replace(folder, out)
    grid = f"{config.downsample} px a token, {config.codebook_size} codes of {config.code_width} numbers"
    return Report(out, [*source.notes, f"image tokenizer: {grid}"])


def convert_projector(path: Path, out: Path) -> Report:
    """Writes a LLaVA projector file as safetensors with the names of ``MLPConnector``, in the file's own number type.

    ValueError for a damaged or foreign file, and for an ``out`` that is not called .safetensors.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"--out {out}: expected the name of a .safetensors file")
    source = Source(read_pickle(path), PROJECTOR_NAMES)
    shapes = Shapes(source.outline)
    # LLaVA's own sizes where a tensor is missing, so that the comparison can say so.
    inner, hidden = shapes.size(r"fc1\.weight", 1) or 1024, shapes.size(r"fc1\.weight", 0) or 2048
    width = shapes.size(r"fc2\.weight", 0) or hidden
    expected = outline(lambda: MLPConnector(ConnectorConfig(hidden=hidden), inner, width), path)
    source.check(expected, "a LLaVA projector (mlp2x)")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(out.parent, out.stem, Assembled(dict.fromkeys(source.names, source)))
    return Report(out, [*source.notes, f"connector: {inner} -> {hidden} -> {width}"])


def _check_folder(out: Path) -> None:
    if out.is_file():
        raise ValueError(f"{out} is a file; choose a new folder for the image tokenizer")
    own = [CONFIG, *patterns(IMAGE_TOKENIZER)]
    others = sorted(
        path.name for path in (out.iterdir() if out.is_dir() else ()) if not any(path.match(pattern) for pattern in own)
    )
    if others:
        raise ValueError(
            f"{out} holds other files ({', '.join(others[:3])}); choose a new folder for the image tokenizer"
        )
