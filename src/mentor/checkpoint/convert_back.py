"""Our folders and files under the released names again, in the released container, every tensor bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from mentor.checkpoint.conversion import Report
from mentor.checkpoint.layout import IMAGE_TOKENIZER, MODEL, image_tokenizer_config, read_config
from mentor.checkpoint.official import (
    CODEBOOK_USED,
    CODEBOOK_USED_SHAPE,
    EMBEDDING,
    MODEL_NAMES,
    PROJECTOR_NAMES,
    SHARED,
    to_official,
)
from mentor.checkpoint.strict import check_names
from mentor.checkpoint.tensors import read_tensors
from mentor.config.model import ImageTokenizerConfig, MentorConfig
from mentor.config.presets import PRESETS
from mentor.files import whole
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor


def convert_back(source: Path, out: Path, tokenizer_out: Path | None = None) -> Report:
    """Writes a bundle as MENTOR's or LlamaGen's checkpoint ``out`` and image tokenizer ``tokenizer_out``.

    ``source`` may also be a folder with an image tokenizer alone, or a projector's safetensors file; each is ``out`` then.
    The image tokenizer's default place is beside ``out``. ValueError for what the released code has no names for.
    """
    if out.is_dir():
        raise ValueError(f"{out} is a folder, expected the name of the file to write")
    report = Report(out)
    if source.is_file():
        _write({out: _projector(source)})
        return report
    alone = image_tokenizer_config(source)
    if alone is not None:
        _write({out: {"model": _image_tokenizer(source, alone, out, report)}})
        return report
    config = read_config(source)
    tokenizer_out = tokenizer_out or out.with_name(f"vq_ds{config.image_tokenizer.downsample}.pt")
    if tokenizer_out == out:
        raise ValueError(f"{out} is wanted for the model and for the image tokenizer; give another --tokenizer-out")
    model = _model(source, config)
    if config.vision is None:
        report.notes.append(f"the language encoder is not in {out.name}: LlamaGen's files have none")
    codes = _image_tokenizer(source, config.image_tokenizer, tokenizer_out, report)
    report.warnings += _not_said(config)
    _write({out: {"model": model, "args": _arguments(config)}, tokenizer_out: {"model": codes}})
    report.notes.append(f"the image tokenizer is {tokenizer_out}")
    return report


def _arguments(config: MentorConfig) -> dict[str, object]:
    """What the reference's training keeps of its command line and a conversion reads: prefix positions and picture size.

    As a dictionary, not its argparse.Namespace, which torch.load(weights_only=True) would refuse.
    """
    fix = {"zero": "gpt", "identity": "gpt-empty-fix"}[config.decoder.prefix_rope]
    return {"fix": fix, "image_size": config.image_size}


def _not_said(config: MentorConfig) -> list[str]:
    """Activations other than the released code's: weights do not tell them, so they are lost, a sentence each."""
    released = PRESETS["llamagen-xl" if config.vision is None else "xl"]
    found = []
    for part in ("language", "connector", "projector"):
        mine, theirs = getattr(config, part), getattr(released, part)
        if mine is None or theirs is None or (part == "language" and config.vision is None):
            continue  # LlamaGen's language encoder is not written
        if mine.activation != theirs.activation:
            found.append(
                f"{part}.activation is {mine.activation}, the released code computes with {theirs.activation}: it draws other "
                f"pictures with these weights; to convert them again, give --config with {part}.activation"
            )
    return found


def _projector(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: expected a model folder, or the .safetensors file of a projector")
    return _named(read_tensors(path.parent, path.stem), PROJECTOR_NAMES, path)


def _model(folder: Path, config: MentorConfig) -> dict[str, Tensor]:
    if config.language.kind != "t5" or (config.connector is not None and config.connector.kind != "mlp"):
        raise ValueError(
            f"{folder} has a {config.language.kind} language encoder and a {config.connector and config.connector.kind} "
            "connector; the released code has names for t5 and mlp alone"
        )
    with torch.device("meta"):
        expected = Mentor(config).state_dict()
    state = read_tensors(folder, MODEL)
    check_names(expected, state, str(folder))
    if config.vision is None:
        # LlamaGen's file has no language encoder: that is FLAN-T5 as its authors publish it.
        own = {name: state[name] for name in expected if not name.startswith("encoder.")}
        return _named(own, MODEL_NAMES, folder)
    named = _named({name: state[name] for name in expected}, MODEL_NAMES, folder)
    named[SHARED] = named[str(to_official(EMBEDDING))]
    return named


def _image_tokenizer(folder: Path, config: ImageTokenizerConfig, out: Path, report: Report) -> dict[str, Tensor]:
    if config.backbone != "llamagen":
        raise ValueError(
            f"{folder} has an image tokenizer of our own ({config.backbone}); the released code knows LlamaGen's"
        )
    with torch.device("meta"):
        expected = ImageTokenizer(config).state_dict()
    state = read_tensors(folder, IMAGE_TOKENIZER)
    check_names(expected, state, str(folder))
    report.notes.append(f"{out.name}: {CODEBOOK_USED}, a record of training that we do not keep, is written as zeros")
    return {**{name: state[name] for name in expected}, CODEBOOK_USED: torch.zeros(CODEBOOK_USED_SHAPE)}


def _named(state: Mapping[str, Tensor], table: Mapping[str, str], source: Path) -> dict[str, Tensor]:
    named = {to_official(name, table): tensor for name, tensor in state.items()}
    if None in named:
        unknown = [name for name in state if to_official(name, table) is None]
        raise ValueError(f"{source}: the released files have no name for {', '.join(unknown[:3])}")
    return {str(name): tensor for name, tensor in named.items()}


def _write(files: Mapping[Path, object]) -> None:
    """Saves what belongs to each path; none of the files changes before all of them are written."""
    with ExitStack() as partials:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            _save(content, partials.enter_context(whole(path)), path)


def _save(content: object, temporary: Path, path: Path) -> None:
    try:
        torch.save(content, temporary)
    except RuntimeError as error:
        # A full disk and a folder that must not be written to are both this to torch.
        raise ValueError(f"{path} cannot be written; is the disk full, or the folder protected?") from error
