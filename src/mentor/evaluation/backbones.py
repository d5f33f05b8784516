"""Feature extractors of the automatic metrics behind one interface: CLIP, DINO, DINOv2, Inception, and packaged stand-ins.

A stand-in needs no download. It shows that a run works and tells nothing that can be compared with published numbers, so its
name begins with "stand-in" wherever a result is written.

B pictures or texts, F numbers in a feature, R side of a network's input in pixels.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mentor.checkpoint.networks import load_network, load_part
from mentor.evaluation.networks import Features, described, fingerprint, in_batches
from mentor.evaluation.stand_ins import STAND_IN, ColourWords, PooledTrunk

if TYPE_CHECKING:
    from mentor.evaluation.protocol import Tools

_IMAGENET_MEAN = np.array((0.485, 0.456, 0.406), dtype=np.float32)
_IMAGENET_STD = np.array((0.229, 0.224, 0.225), dtype=np.float32)


class Backbone(Protocol):
    """Pictures -> features that a metric compares."""

    name: str
    """What a report says: the network, where its weights come from, and its preprocessing where that is not the usual one."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same picture may give other features."""

    def images(self, pictures: Sequence[Image.Image]) -> Features:
        """RGB pictures of any sizes -> float32 [B, F], not normalised."""


class TextBackbone(Backbone, Protocol):
    """A backbone that puts texts into the same space."""

    def texts(self, texts: Sequence[str]) -> Features:
        """Texts -> float32 [B, F], not normalised."""


class Clip:
    """CLIP's projected picture and text features, through ``transformers``.

    Pictures: shorter side to R, bicubic, centre crop, CLIP's mean and deviation. Texts longer than the model's positions
    (77 tokens) are cut. ``source`` is a hub id or a local folder with model and tokenizer.
    """

    def __init__(self, source: str, device: str = "cpu") -> None:
        from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

        self.model = load_network(CLIPModel, "CLIP", source).to(device)
        self._tokenizer = load_part(AutoTokenizer, "CLIP's tokenizer", source)
        side = self.model.config.vision_config.image_size
        self._processor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
        self.name = f"CLIP {described(source, self.model)}"

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.model, self.name)

    @torch.inference_mode()
    def images(self, pictures: Sequence[Image.Image]) -> Features:
        def project(part: Sequence[Image.Image]) -> Tensor:
            pixels = self._processor(images=[each.convert("RGB") for each in part], return_tensors="pt").pixel_values
            return self.model.get_image_features(pixel_values=pixels.to(self.model.device)).pooler_output

        return in_batches(project, pictures)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Features:
        longest = self.model.config.text_config.max_position_embeddings

        def project(part: Sequence[str]) -> Tensor:
            tokens = self._tokenizer(list(part), padding=True, truncation=True, max_length=longest, return_tensors="pt")
            return self.model.get_text_features(**tokens.to(self.model.device)).pooler_output

        return in_batches(project, texts)


class Dino:
    """The class token of DINO (v1: a ``ViTModel``) or DINOv2 after the last normalisation, through ``transformers``.

    Pictures: shorter side to 256, bicubic, centre crop of 224, ImageNet mean and deviation, as in DreamBench++'s metrics and
    in both models' own evaluations.
    """

    def __init__(self, source: str, device: str = "cpu") -> None:
        from transformers import AutoConfig, Dinov2Model, ViTModel

        version = load_part(AutoConfig, "DINO", source).model_type
        if version == "vit":
            # A pooling layer is no part of DINO, so no checkpoint has weights for it.
            self.model = load_network(ViTModel, "DINO", source, add_pooling_layer=False).to(device)
        elif version == "dinov2":
            self.model = load_network(Dinov2Model, "DINOv2", source).to(device)
        else:
            raise ValueError(f"{source}: expected a DINO (vit) or DINOv2 (dinov2) model, got {version}")
        self.name = f"{'DINOv2' if version == 'dinov2' else 'DINO'} {described(source, self.model)}"

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.model, self.name)

    @torch.inference_mode()
    def images(self, pictures: Sequence[Image.Image]) -> Features:
        def token(part: Sequence[Image.Image]) -> Tensor:
            pixels = torch.stack([dino_pixels(each) for each in part]).to(self.model.device)
            return self.model(pixel_values=pixels).last_hidden_state[:, 0]

        return in_batches(token, pictures)


def dino_pixels(picture: Image.Image) -> Tensor:
    """DINO's preprocessing of one picture -> float32 [3, 224, 224]."""
    width, height = (256 * side // min(picture.size) for side in picture.size)  # in whole numbers, as torchvision does
    resized = picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - 224) / 2), round((height - 224) / 2)
    cropped = np.asarray(resized.crop((left, top, left + 224, top + 224)), dtype=np.float32) / 255
    normed = (cropped - _IMAGENET_MEAN) / _IMAGENET_STD
    return torch.from_numpy(normed).permute(2, 0, 1)


class Inception:
    """The 2048 pool features of the Inception-v3 that FID is defined by, from a local TorchScript file.

    The file is ``inception-2015-12-05.pt`` as StyleGAN's authors published it and as clean-fid downloads it. With
    ``clean`` pictures are resized to 299 px as clean-fid does (bicubic with antialiasing, each channel as floating point,
    not rounded); without, the network's own bilinear resizing is used, as in the first FID code and torch-fidelity.
    """

    def __init__(self, source: str, device: str = "cpu", *, clean: bool = True) -> None:
        path = Path(source)
        if not path.is_file():
            raise ValueError(
                f"{source}: expected the TorchScript file of FID's Inception, which is not there; put inception-2015-12-05.pt "
                "into the data folder or name it as backbone `inception` (or choose the preset stand-in)"
            )
        with warnings.catch_warnings():
            # TorchScript is deprecated, but these weights were published in no other form that needs no extra package.
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                self.model = torch.jit.load(path, map_location=device).eval()
            except RuntimeError as error:
                raise ValueError(f"{source}: not a TorchScript file ({str(error).splitlines()[0]})") from error
        self._clean, self._device = clean, device
        self._digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        resizing = "clean-fid's resizing" if clean else "the network's own resizing"
        self.name = f"Inception-v3 {path.name} ({self._digest}), {resizing}"

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()[:16]

    @torch.inference_mode()
    def images(self, pictures: Sequence[Image.Image]) -> Features:
        return in_batches(self._clean_pool if self._clean else self._own_pool, pictures)

    def _clean_pool(self, part: Sequence[Image.Image]) -> Tensor:
        pixels = torch.stack([clean_pixels(each) for each in part]).to(self._device)
        return self.model.layers((pixels - 128) / 128).flatten(1)

    def _own_pool(self, part: Sequence[Image.Image]) -> Tensor:
        pixels = [torch.from_numpy(np.array(each.convert("RGB"))).permute(2, 0, 1) for each in part]
        alike = len({each.shape for each in pixels}) == 1
        batches = [torch.stack(pixels)] if alike else [each[None] for each in pixels]
        return torch.cat([self.model(batch.to(self._device), return_features=True).flatten(1) for batch in batches])


def clean_pixels(picture: Image.Image) -> Tensor:
    """clean-fid's resizing of one picture -> float32 [3, 299, 299], about 0..255."""
    channels = [
        Image.fromarray(np.asarray(channel, dtype=np.float32)).resize((299, 299), Image.Resampling.BICUBIC)
        for channel in picture.convert("RGB").split()
    ]
    return torch.from_numpy(np.stack([np.asarray(channel) for channel in channels]))


def load_clip(source: str, device: str) -> TextBackbone:
    """CLIP from a hub id or folder, or the colour words for ``STAND_IN``."""
    return ColourWords() if source == STAND_IN else Clip(source, device)


def load_dino(source: str, device: str) -> Backbone:
    """DINO or DINOv2 from a hub id or folder, or the pooled trunk for ``STAND_IN``."""
    return PooledTrunk(device) if source == STAND_IN else Dino(source, device)


def chosen(tools: Tools, presets: Mapping[str, Mapping[str, str]]) -> tuple[str, dict[str, str]]:
    """The preset that a run uses, and its sources by role, each replaced by ``tools.backbones`` where given.

    Without a choice the built-in sample is measured by the stand-ins, which are packaged, other data by the
    first preset. Raises ``ValueError`` for an unknown preset or role.
    """
    preset = tools.preset or (STAND_IN if tools.source.sample else next(iter(presets)))
    if preset not in presets:
        raise ValueError(f"unknown preset {preset!r}; known: {', '.join(presets)}")
    sources = dict(presets[preset])
    for role, source in tools.backbones.items():
        if role not in sources:
            raise ValueError(f"this benchmark has no backbone {role!r}; it has: {', '.join(sources)}")
        sources[role] = source
    return preset, sources


def check_sources(sources: Mapping[str, str]) -> None:
    """Raises ``ValueError`` for a network whose configuration ``transformers`` does not find; stand-ins are always there."""
    from transformers import AutoConfig

    for role, source in sources.items():
        if source != STAND_IN:
            load_part(AutoConfig, role, source)
