"""A vision-language model on this computer, through ``transformers``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mentor.checkpoint.networks import load_network, load_part
from mentor.vlm.client import Reply, Turn, open_jpeg

MAX_NEW_TOKENS = 512
WHOLE: Mapping[str, Any] = {"top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}
"""Nothing is left out: models come with settings of their own, some of which always give the same answer."""


class LocalModel:
    """An image-text-to-text model with its processor; pictures go into the dialogue as the model's chat template says.

    One question at a time. Raises ``ValueError`` when the processor has no chat template.
    """

    def __init__(
        self, model: Any, processor: Any, name: str, *, temperature: float = 1.0, max_tokens: int = MAX_NEW_TOKENS
    ) -> None:
        if getattr(processor, "chat_template", None) is None:
            raise ValueError(f"{name}: has no chat template, so it cannot be asked")
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
    def load(
        cls, name: str, *, device: str = "cpu", temperature: float = 1.0, max_tokens: int = MAX_NEW_TOKENS
    ) -> LocalModel:
        """A folder or a name on the hub, ``name@revision`` to pin it; ``ValueError`` when it cannot be loaded."""
        from transformers import AutoModelForImageTextToText, AutoProcessor

        what = "image-text-to-text model"
        processor = load_part(AutoProcessor, what, name)
        model = load_network(AutoModelForImageTextToText, what, name, dtype="auto")
        return cls(model.to(device), processor, name, temperature=temperature, max_tokens=max_tokens)

    @torch.inference_mode()
    def ask(self, dialogue: Sequence[Turn], seed: int) -> Reply:
        """Answer once; the state of torch's random numbers is left as it was."""
        images = [open_jpeg(image) for turn in dialogue for image in turn.images]
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
        written = tokens.shape[1] - prompt
        return Reply(answer, prompt, written, self.name, cut=written >= self.settings["max_tokens"])


def _content(turn: Turn) -> dict[str, Any]:
    words: list[dict[str, str]] = [{"type": "text", "text": turn.text}] if turn.text else []
    pictures: list[dict[str, str]] = [{"type": "image"} for _ in turn.images]
    return {"role": turn.role, "content": pictures + words if turn.pictures_first else words + pictures}
