"""A vision-language model on this computer as a judge, through ``transformers``; and the judge of the built-in samples."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from mentor.data.colours import COLOURS, lab
from mentor.evaluation.judge_answers import BEST
from mentor.evaluation.judge_client import QuestionFailed, Reply, Turn
from mentor.evaluation.pixels import to_pixels

MAX_NEW_TOKENS = 512
WHOLE: Mapping[str, Any] = {"top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}
"""Nothing is left out: models come with settings of their own, some of which always give the same answer."""


class LocalJudge:
    """An image-text-to-text model with its processor; pictures go into the dialogue as the model's chat template says.

    One question at a time. Raises ``ValueError`` when the processor has no chat template.
    """

    def __init__(
        self, model: Any, processor: Any, name: str, *, temperature: float = 1.0, max_tokens: int = MAX_NEW_TOKENS
    ) -> None:
        if getattr(processor, "chat_template", None) is None:
            raise ValueError(f"{name}: has no chat template, so it cannot be asked as a judge")
        self.name, self.threads = name, 1
        self.settings: Mapping[str, Any] = {
            "temperature": temperature,
            "max_tokens": max_tokens,
            **WHOLE,
            "local": type(model).__name__,
            "dtype": str(model.dtype),
        }
        self._model, self._processor = model.eval(), processor

    @classmethod
    def load(cls, name: str, *, device: str = "cpu", temperature: float = 1.0) -> LocalJudge:
        """A folder or a name on the hub, ``name@revision`` to pin it; ``ValueError`` when it cannot be loaded."""
        from transformers import AutoModelForImageTextToText, AutoProcessor

        repository, _, revision = name.partition("@")
        asked = {"revision": revision} if revision else {}
        try:
            processor = AutoProcessor.from_pretrained(repository, **asked)
            model = AutoModelForImageTextToText.from_pretrained(repository, dtype="auto", **asked)
        except (OSError, ValueError, ImportError) as error:
            raise ValueError(f"judge {name!r}: cannot be loaded as an image-text-to-text model ({error})") from error
        return cls(model.to(device), processor, name, temperature=temperature)

    @torch.inference_mode()
    def ask(self, dialogue: Sequence[Turn], seed: int) -> Reply:
        """Answer once; the state of torch's random numbers is left as it was."""
        images = [_opened(image) for turn in dialogue for image in turn.images]
        text = self._processor.apply_chat_template([_content(turn) for turn in dialogue], add_generation_prompt=True)
        asked = {"images": images} if images else {}
        inputs = self._processor(text=text, **asked, return_tensors="pt").to(self._model.device, self._model.dtype)
        temperature = self.settings["temperature"]
        sampling = dict(WHOLE) | (
            {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        )
        devices = [self._model.device] if self._model.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            tokens = self._model.generate(**inputs, max_new_tokens=self.settings["max_tokens"], **sampling)
        prompt = inputs["input_ids"].shape[1]
        answer = self._processor.batch_decode(tokens[:, prompt:], skip_special_tokens=True)[0]
        return Reply(answer, prompt, tokens.shape[1] - prompt, self.name)


def _content(turn: Turn) -> dict[str, Any]:
    parts: list[dict[str, str]] = [{"type": "text", "text": turn.text}] if turn.text else []
    return {"role": turn.role, "content": [*parts, *({"type": "image"} for _ in turn.images)]}


def _opened(image: bytes) -> Image.Image:
    return Image.open(io.BytesIO(image), formats=("JPEG",)).convert("RGB")


class StandInJudge:
    """Lets the whole path run without any model; its scores mean nothing beside those of a real judge.

    Two pictures: ST-LPIPS distance at 64 pixels, 0 -> 4 and ``FAR`` -> 0. A text and a picture: share of the colours named in
    the text that cover a twentieth of the picture; 2 when the text names none.
    """

    name = "stand-in (ST-LPIPS and colour words), not comparable"
    threads = 1
    settings: Mapping[str, Any] = {"version": 1}

    FAR = 0.6
    """About the distance of pictures that have nothing in common."""

    def __init__(self) -> None:
        from mentor.models.perceptual import STLPIPS

        self._distance = STLPIPS()

    def ask(self, dialogue: Sequence[Turn], seed: int) -> Reply:
        """Answer in the words that a judge would use; ``seed`` changes nothing."""
        sample = dialogue[-1]
        pictures = [_opened(image).resize((64, 64)) for image in sample.images]
        if len(pictures) == 2:
            return Reply(f"Score: {self._alike(*pictures)}", served=self.name)
        if len(pictures) == 1:
            return Reply(f"Score: {_named_colours(sample.text, pictures[0])}", served=self.name)
        raise QuestionFailed(f"expected one or two pictures in the last turn, got {len(pictures)}")

    @torch.inference_mode()
    def _alike(self, one: Image.Image, two: Image.Image) -> int:
        distance = float(self._distance(to_pixels([one]), to_pixels([two])))
        return math.floor(BEST * max(0.0, 1 - distance / self.FAR) + 0.5)


def _named_colours(text: str, picture: Image.Image) -> int:
    asked = [name for name in COLOURS if re.search(rf"\b{name}\b", text.lower())]
    if not asked:
        return BEST // 2
    named = lab(np.array(list(COLOURS.values())))
    nearest = np.linalg.norm(lab(np.asarray(picture).reshape(-1, 1, 3)) - named, axis=-1).argmin(axis=1)
    names = tuple(COLOURS)
    seen = sum(float((nearest == names.index(name)).mean()) >= 0.05 for name in asked)
    return math.floor(BEST * seen / len(asked) + 0.5)
