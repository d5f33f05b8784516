"""What the image tokenizer minimises: reconstruction, commitment, and late in training a perceptual distance.

The codebook is not trained by gradients: it follows a running average of the latents (``CodebookAverage``). To refine only the
decoder of a finished tokenizer, so that pictures coded before stay valid, train ``tokenizer.decoder`` and
``tokenizer.post_quant_conv`` alone (``trainable`` in the recipe); the codebook then stands still.

B batch, R picture side in pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from mentor.checkpoint.layout import CONFIG, IMAGE_TOKENIZER
from mentor.checkpoint.tensors import write_tensors
from mentor.config.sections import TokenizerObjectiveConfig
from mentor.data.pixels import pixel_grid
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.perceptual import STLPIPS
from mentor.models.quantizer import CodebookAverage
from mentor.training.optim import Group, default_groups
from mentor.training.patch_discriminator import PatchDiscriminator, adversarial_losses
from mentor.training.protocol import Batch, Objective

DECAY, LATE_DECAY = 0.98, 0.995
"""Codebook decay while codes are restarted, and after."""
RESTART_SHARE = 0.15
"""A code used less often than this share of the mean, on the running average, is restarted: any codebook, any batch."""
PERCEPTUAL_SHARE = 4
"""The perceptual distance sees every fourth picture of a batch: on all of them it would cost as much as the rest."""


class TokenizerModule(nn.Module):
    """The tokenizer and what only its training needs: the codebook's running average and the discriminator, if any."""

    def __init__(self, tokenizer: ImageTokenizer, discriminator: PatchDiscriminator | None = None) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.average = CodebookAverage(tokenizer.quantize)
        self.discriminator = discriminator


class TokenizerObjective(Objective):
    """MSE + l1 + commitment, later + ST-LPIPS and a discriminator if asked for.

    Batches are {"pixels": float32 [B, 3, R, R] in [-1, 1]}.
    """

    module: TokenizerModule
    shareable = False  # the codebook follows the latents of the whole batch

    def __init__(
        self,
        tokenizer: ImageTokenizer,
        config: TokenizerObjectiveConfig,
        *,
        steps: int,
        evaluator: Callable[[ImageTokenizer], dict[str, float]] | None = None,
        pictures: Tensor | None = None,
    ) -> None:
        """``steps``: length of the run; ``evaluator``: gives the held-out metrics; ``pictures`` [n, 3, R, R]: the grid."""
        if steps < 1:
            raise ValueError(f"expected a run of at least 1 step, got {steps}")
        tokenizer.quantize.embedding.requires_grad_(False)
        self.module = TokenizerModule(tokenizer, PatchDiscriminator() if config.adversarial > 0 else None)
        self.config = config
        self.steps = steps
        self.evaluator = evaluator
        self.pictures = pictures
        self.perceptual = STLPIPS() if config.perceptual > 0 else None

    def weight(self, batch: Batch) -> float:
        return float(len(batch["pixels"]))

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, float | Tensor]]:
        config, progress = self.config, step / self.steps
        pixels: Tensor = batch["pixels"]
        output = self.module.tokenizer(pixels)
        reconstruction = output.reconstruction.float()
        squared = F.mse_loss(reconstruction, pixels)
        absolute = F.l1_loss(reconstruction, pixels)
        loss = config.l2 * squared + config.l1 * absolute + config.commitment * output.commitment
        # Peak to peak is 2 in [-1, 1], so the error in [0, 1] is a quarter.
        numbers: dict[str, float | Tensor] = {
            "mse": squared.detach(),
            "commitment": output.commitment.detach(),
            "psnr": -10 * (squared.detach() / 4).log10(),
        }
        if self.perceptual is not None and progress >= config.perceptual_from:
            distance = self._perceptual(reconstruction, pixels)
            loss = loss + config.perceptual * distance
            numbers["st_lpips"] = distance.detach()
        if self.module.discriminator is not None and progress >= config.adversarial_from:
            fooling, discrimination = adversarial_losses(self.module.discriminator, reconstruction, pixels)
            loss = loss + config.adversarial * fooling + discrimination
            numbers |= {"fooling": fooling.detach(), "discrimination": discrimination.detach()}
        # With the encoder frozen the codes must keep their meaning: only the decoder is refined.
        follows = self.module.training and self.module.tokenizer.quant_conv.weight.requires_grad
        if follows and bool(loss.isfinite()):  # else the step is left out, and the codes must not remember it
            self._update_codebook(output.unit_latents, output.codes, step)
            numbers |= self.module.average.usage()
        return loss, numbers

    def _perceptual(self, reconstruction: Tensor, pixels: Tensor) -> Tensor:
        assert self.perceptual is not None
        distance = self.perceptual.to(pixels.device)
        chosen = torch.randperm(len(pixels))[: max(1, len(pixels) // PERCEPTUAL_SHARE)].to(pixels.device)
        with torch.no_grad():
            wanted = distance.features(pixels[chosen])
        return distance.distance(distance.features(reconstruction[chosen]), wanted).mean()

    def _update_codebook(self, unit_latents: Tensor, codes: Tensor, step: int) -> None:
        early = step / self.steps < self.config.restarts_until
        mean_uses = codes.numel() / self.module.tokenizer.config.codebook_size
        self.module.average.update(
            self.module.tokenizer.quantize,
            unit_latents.permute(0, 2, 3, 1).flatten(0, 2),
            codes.flatten(),
            decay=DECAY if early else LATE_DECAY,
            restart_below=RESTART_SHARE * mean_uses if early else 0.0,
        )

    def parameter_groups(self, trainable: dict[str, nn.Parameter]) -> list[Group]:
        """The convolutions of pixels and of codes are no maps between hidden states."""
        named = self.module.named_modules()
        convolutions = [f"{name}." for name, part in named if isinstance(part, nn.Conv2d)]
        first = next(name for name in convolutions if name.startswith("tokenizer.encoder."))
        last = [name for name in convolutions if name.startswith("tokenizer.decoder.")][-1]
        outside = (first, last, "tokenizer.quant_conv.", "tokenizer.post_quant_conv.", "discriminator.")
        return default_groups(self.module, trainable, not_hidden=outside, convolutions=True)

    def evaluate(self) -> dict[str, float]:
        return {} if self.evaluator is None else self.evaluator(self.module.tokenizer)

    @torch.no_grad()
    def sample_grid(self) -> Image.Image | None:
        """Held-out pictures above, their reconstructions below."""
        if self.pictures is None:
            return None
        tokenizer = self.module.tokenizer
        pixels = self.pictures.to(next(tokenizer.parameters()).device)
        return pixel_grid(torch.stack([pixels, tokenizer.decode(tokenizer.encode(pixels))]))

    def export(self, folder: Path) -> None:
        """Writes config.json and image_tokenizer.safetensors (float16, so that codes never change again when stored)."""
        tokenizer = self.module.tokenizer
        write_tensors(folder, IMAGE_TOKENIZER, tokenizer.state_dict(), storage="half")
        (folder / CONFIG).write_text(json.dumps(asdict(tokenizer.config), indent=1) + "\n")
