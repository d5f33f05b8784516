"""A released MENTOR or LlamaGen checkpoint becomes a bundle, every tensor bit for bit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from mentor.checkpoint.borrow import borrowed_parts
from mentor.checkpoint.conversion import Extras, Progress, Report, count_bytes, outline
from mentor.checkpoint.convert_parts import read_image_tokenizer
from mentor.checkpoint.hub_parts import download_text_tokenizer, read_text_tokenizer
from mentor.checkpoint.infer import PREFIX_ROPE, infer_model
from mentor.checkpoint.layout import TEXT_TOKENIZER, check_target
from mentor.checkpoint.official import EMBEDDING, MODEL_NAMES, SHARED
from mentor.checkpoint.pickles import read_pickle
from mentor.checkpoint.sources import Assembled, Source
from mentor.checkpoint.store import write_bundle
from mentor.config.model import ImageTokenizerConfig, MentorConfig
from mentor.models.mentor import Mentor
from mentor.prompt import IMAGE_PLACEHOLDER


def convert_model(
    model: Path,
    tokenizer: Path,
    out: Path,
    base: MentorConfig,
    extras: Extras | None = None,
    progress: Progress | None = None,
) -> Report:
    """Writes the checkpoint ``model`` and the image tokenizer ``tokenizer`` as a bundle to the folder ``out``.

    ``base`` gives what shapes do not tell, and with its ``vision`` whether the model reads images. ValueError for files that
    are damaged, of another model or lack something, and for an ``out`` that holds other files; then nothing is written.
    """
    extras, report = extras or Extras(), Report(out)
    check_target(out)
    checkpoint = Source(read_pickle(model), MODEL_NAMES)
    _check_tied(checkpoint, report)
    borrowed = borrowed_parts(checkpoint, base, extras, report)
    codes, code_config = read_image_tokenizer(tokenizer, extras.config.get("image_tokenizer"))
    text_tokenizer = _text_tokenizer(extras, report)
    try:
        config = infer_model(
            checkpoint.outline,
            code_config,
            _with_prefix(base, checkpoint, report),
            name=model.stem,
            borrowed={name: tensor for source in borrowed.values() for name, tensor in source.outline.items()},
            image_size=_image_size(extras, base, checkpoint, report),
            image_token_id=text_tokenizer and text_tokenizer.token_to_id(IMAGE_PLACEHOLDER),
            given=extras.config,
        )
    except ValueError as error:
        raise ValueError(f"{model}: {error}") from error
    sources = _checked(config, checkpoint, borrowed)
    _check_together(config, code_config, text_tokenizer, model, tokenizer)
    weights, code_weights = Assembled(sources), Assembled(dict.fromkeys(codes.names, codes))
    count_bytes(progress, weights, code_weights)
    card = f"Converted by `mentor convert` from `{model.name}` and `{tokenizer.name}`."
    write_bundle(out, config, weights, code_weights, text_tokenizer, card=card)
    for source in (checkpoint, *borrowed.values(), codes):
        report.notes += source.notes
    report.notes.append(
        f"{config.name}: pictures of {config.image_size} px, prompts of at most {config.context} tokens"
    )
    return report


def _checked(config: MentorConfig, checkpoint: Source, borrowed: dict[str, Source]) -> dict[str, Source]:
    """Every name of the model -> its source; ValueError unless each source has what is expected of it, and no more."""
    expected = outline(lambda: Mentor(config), checkpoint.file.path)
    sources = {
        name: next((source for part, source in borrowed.items() if name.startswith(part)), checkpoint)
        for name in expected
    }
    what = f"a {'LlamaGen text-to-image' if config.vision is None else 'MENTOR'} checkpoint"
    for source in (checkpoint, *borrowed.values()):
        mine = {name: tensor for name, tensor in expected.items() if sources[name] is source}
        source.check(mine, what if source is checkpoint else "what the checkpoint lacks")
    return sources


def _check_tied(checkpoint: Source, report: Report) -> None:
    tensors = checkpoint.file.tensors
    own = checkpoint.names.get(EMBEDDING, SHARED)
    if SHARED in tensors and own != SHARED and not torch.equal(tensors[SHARED], tensors[own]):
        report.warnings.append(
            f"{checkpoint.file.path.name} has two different word embeddings: {own} wins over {SHARED}"
        )


def _check_together(
    config: MentorConfig, codes: ImageTokenizerConfig, text: Tokenizer | None, model: Path, tokenizer: Path
) -> None:
    if config.decoder.vocab_size != codes.codebook_size:
        raise ValueError(
            f"{model} writes {config.decoder.vocab_size} image tokens, {tokenizer} knows {codes.codebook_size}: they do not "
            "belong together"
        )
    known = config.language.image_token_id if text is None else text.token_to_id(IMAGE_PLACEHOLDER)
    if known != config.language.image_token_id:
        raise ValueError(
            f"language.image_token_id: {config.language.image_token_id} is given, the text tokenizer calls "
            f"{IMAGE_PLACEHOLDER} {known}; leave it out"
        )


def _with_prefix(base: MentorConfig, checkpoint: Source, report: Report) -> MentorConfig:
    """``base`` with the positions of the prefix that the checkpoint's own run was given."""
    fix = checkpoint.file.args.get("fix")
    policy = PREFIX_ROPE.get(fix) if isinstance(fix, str) else None
    if policy is None or policy == base.decoder.prefix_rope:
        return base
    report.notes.append(f"prefix positions: {policy}, because {checkpoint.file.path.name} was trained with --fix {fix}")
    return replace(base, decoder=replace(base.decoder, prefix_rope=policy))


def _image_size(extras: Extras, base: MentorConfig, checkpoint: Source, report: Report) -> int | None:
    """Side of the pictures: as given, as the checkpoint's run was given, as its name ends, as in ``base``."""
    decoder, stated = extras.config.get("decoder"), checkpoint.file.args.get("image_size")
    if extras.image_size is not None or (isinstance(decoder, dict) and "grid" in decoder):
        return extras.image_size
    if isinstance(stated, int) and not isinstance(stated, bool):
        return stated
    named = re.search(r"_(256|384|512)$", checkpoint.file.path.stem)
    size = int(named[1]) if named else base.image_size
    told = "by its name" if named else "because nothing says otherwise (--image-size does)"
    report.notes.append(f"{checkpoint.file.path.name} draws pictures of {size} px, {told}")
    return size


def _text_tokenizer(extras: Extras, report: Report) -> Tokenizer | None:
    if extras.language is not None:
        return read_text_tokenizer(extras.language)
    try:
        return download_text_tokenizer(extras.hub)
    except ValueError as error:
        report.warnings.append(
            f"no text tokenizer: {error}; put its {TEXT_TOKENIZER} into {report.out}, or convert again with --language DIR"
        )
        return None
