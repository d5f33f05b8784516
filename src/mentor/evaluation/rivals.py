"""Other people's models as painters: any ``diffusers`` pipeline, with an IP-Adapter or weights tuned on each subject."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from mentor.data.templates import ANY_IMAGE, WHOLE_IMAGE, image_queries
from mentor.evaluation.baselines import caption_of
from mentor.evaluation.protocol import Item
from mentor.evaluation.rival_settings import RivalSettings
from mentor.prompt import Prompt

_PLAIN = re.compile(r"^(?:(?!\.\.)[^/\\])+$")


class Rival:
    """A loaded ``diffusers`` pipeline; ``painter`` gives what draws an item.

    Raises ``ValueError`` for a pipeline that cannot be loaded or cannot be asked with a text.
    """

    def __init__(self, settings: RivalSettings, *, device: str = "cpu", dtype: str | None = None) -> None:
        import diffusers

        self.settings, self.device = settings, device
        self.library = f"diffusers {diffusers.__version__}"
        try:
            self.pipeline: Any = diffusers.DiffusionPipeline.from_pretrained(
                settings.pipeline,
                revision=settings.revision,
                dtype=getattr(torch, dtype or "float32"),
            ).to(device)
            if settings.adapter is not None:
                adapter = settings.adapter
                self.pipeline.load_ip_adapter(
                    adapter.repo,
                    subfolder=adapter.subfolder,
                    weight_name=adapter.weights,
                    image_encoder_folder=adapter.encoder,
                )
                self.pipeline.set_ip_adapter_scale(adapter.scale)
        except (OSError, AttributeError) as error:
            raise ValueError(f"rival {settings.pipeline}: {error}") from error
        self.pipeline.set_progress_bar_config(disable=True)
        self.accepts = set(inspect.signature(self.pipeline.__call__).parameters)
        if not {"prompt", "generator"} <= self.accepts:
            raise ValueError(f"rival {settings.pipeline}: {type(self.pipeline).__name__} does not draw from a text")
        if "reference_image" in self.accepts:
            raise ValueError(
                f"rival {settings.pipeline}: diffusers' BLIP-Diffusion does not run beside transformers 5; make its pictures "
                "in an environment of its own and give them with --pictures"
            )
        self.loaded: Path | None = None
        self.painters: dict[Path | None, RivalPainter] = {}
        self.weights = _weights(self.pipeline)
        self.name = settings.pipeline
        if settings.adapter is not None:
            self.name += f" + {settings.adapter.weights}"
        elif settings.tuned is not None:
            self.name += f" + {settings.tuned.kind} tuned on each subject"
        elif "image" not in self.accepts:
            self.name += " (sees the text only)"

    def painter(self, item: Item) -> RivalPainter:
        """The painter of an item: the same for all, unless weights are tuned on each subject."""
        weights = None
        if self.settings.tuned is not None:
            collection = item.key.split("/")[0]
            if not _PLAIN.match(collection):
                raise ValueError(f"rival: {collection!r} cannot be part of a file's name")
            weights = Path(self.settings.tuned.path.format(collection=collection))
        if weights not in self.painters:
            self.painters[weights] = RivalPainter(self, weights)
        return self.painters[weights]

    def tune(self, weights: Path | None) -> None:
        """Put the weights tuned on one subject in place of another's; ``ValueError`` when there are none."""
        if weights == self.loaded or weights is None or self.settings.tuned is None:
            return
        if not weights.exists():
            raise ValueError(f"rival: expected weights tuned on this subject at {weights}, there are none")
        lora = self.settings.tuned.kind == "lora"
        if self.loaded is not None:
            (self.pipeline.unload_lora_weights if lora else self.pipeline.unload_textual_inversion)()
            self.loaded = None
        if lora:
            self.pipeline.load_lora_weights(str(weights))
        else:
            self.pipeline.load_textual_inversion(str(weights), token=self.settings.tuned.words)
        self.loaded = weights

    @torch.inference_mode()
    def draw(self, prompt: Prompt, seed: int) -> Image.Image:
        """One picture, drawn with its own generator on the CPU, so that no batch or device changes it."""
        settings, caption = self.settings, caption_of(prompt)
        if settings.tuned is not None:
            subject = image_queries(prompt.text)[0] if prompt.images else ""
            caption = _with_words(caption, "" if subject in (ANY_IMAGE, WHOLE_IMAGE) else subject, settings.tuned.words)
        asked: dict[str, Any] = {
            "prompt": caption,
            "generator": torch.Generator("cpu").manual_seed(seed),
            "num_inference_steps": settings.steps,
            "guidance_scale": settings.guidance,
            "height": settings.size,
            "width": settings.size,
        }
        asked |= self._shown(prompt)
        return self.pipeline(**{name: value for name, value in asked.items() if name in self.accepts}).images[0]

    def _shown(self, prompt: Prompt) -> dict[str, Image.Image]:
        """The reference picture, by the name of the pipeline's kind; a plain text-to-image pipeline never sees it."""
        name = "ip_adapter_image" if self.settings.adapter is not None else "image"
        if name not in self.accepts:
            return {}
        if not prompt.images:
            raise ValueError(f"rival {self.settings.pipeline}: the prompt has no reference picture, and it needs one")
        return {name: prompt.images[0].convert("RGB")}


class RivalPainter:
    """A rival with the weights of one subject, as a ``Painter``."""

    def __init__(self, rival: Rival, weights: Path | None) -> None:
        self.rival, self.weights = rival, weights
        self.name, self.size = rival.name, rival.settings.size
        described = [
            rival.library,
            asdict(rival.settings),
            str(rival.pipeline.dtype),
            rival.weights,
            _contents(weights),
        ]
        self.fingerprint = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def __call__(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Image.Image]:
        """The pictures, one after the other; ``ValueError`` for a prompt without what the pipeline needs."""
        self.rival.tune(self.weights)
        return [self.rival.draw(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]


def _with_words(caption: str, subject: str, words: str) -> str:
    """The caption with its first mention of the subject replaced; where it has none the words come first."""
    words = words.replace("{subject}", subject).strip()
    if subject:
        replaced, times = re.subn(rf"\b{re.escape(subject)}\b", lambda _: words, caption, count=1, flags=re.IGNORECASE)
        if times:
            return replaced
    return f"{words}, {caption}"


def _weights(pipeline: Any) -> str:
    """A checksum of everything that was loaded: a hub name alone does not say which weights it stands for."""
    digest = hashlib.sha256()
    for name, part in sorted(pipeline.components.items()):
        if isinstance(part, torch.nn.Module):
            for key, tensor in sorted(part.state_dict().items()):
                digest.update(f"{name}.{key}".encode())
                digest.update(tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def _contents(weights: Path | None) -> str:
    """A checksum of a file, or of the files of a folder; empty where there are none."""
    if weights is None or not weights.exists():
        return ""
    digest = hashlib.sha256()
    for path in [weights] if weights.is_file() else sorted(weights.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
