"""Vector quantisation with unit-length codes: the step of the image tokenizer that turns numbers into symbols.

B batch, W code width, h x w latent grid, L = h * w image tokens, V codebook size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ROWS = 512
"""Latents compared with the codebook at a time: the block of similarities stays in the processor's cache."""
_ROWS_OF_A_GPU = 8192
"""There few large products are faster; with 16,384 codes their similarities take half a gigabyte."""


@dataclass(frozen=True)
class Quantized:
    """What the quantiser makes of latents [B, W, h, w]."""

    latents: Tensor
    """Chosen codes [B, W, h, w], float32; gradients pass straight through to the encoder's latents."""
    unit_latents: Tensor
    """The encoder's latents at unit length [B, W, h, w], float32, with their gradient."""
    codes: Tensor
    """Row-major indices, int64 [B, L] in [0, V)."""
    commitment: Tensor
    """Scalar: mean squared distance of the latents from the codes they were given."""


class VectorQuantizer(nn.Module):
    """Replaces each latent by the code of smallest angle, both at unit length (ViT-VQGAN; LlamaGen 2.1)."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        if size < 2 or width < 1:
            raise ValueError(f"a codebook needs at least 2 codes of at least 1 number, got {size} codes of {width}")
        self.embedding = nn.Embedding(size, width)
        nn.init.normal_(self.embedding.weight)

    @property
    def codebook(self) -> Tensor:
        """The codes at unit length, float32 [V, W]."""
        return F.normalize(self.embedding.weight.float(), dim=-1)

    def nearest(self, latents: Tensor) -> Tensor:
        """Index of the nearest code of each unit latent: float32 [n, W] -> int64 [n]."""
        codes = self.codebook.detach().t().contiguous()
        rows = _ROWS if latents.device.type == "cpu" else _ROWS_OF_A_GPU
        # max is vectorised where argmax is not: two to four times as fast on a CPU.
        return torch.cat([(part @ codes).max(dim=-1).indices for part in latents.detach().split(rows)])

    def lookup(self, codes: Tensor) -> Tensor:
        """Codes at unit length: int64 [B, h, w] -> float32 [B, W, h, w]."""
        return F.embedding(codes, self.codebook).permute(0, 3, 1, 2)

    def forward(self, latents: Tensor) -> Quantized:
        """Quantise latents [B, W, h, w]; everything is computed in float32, whatever autocast says."""
        with torch.autocast(latents.device.type, enabled=False):
            unit = F.normalize(latents.float(), dim=1)
            batch, width, height, columns = unit.shape
            codes = self.nearest(unit.permute(0, 2, 3, 1).reshape(-1, width)).view(batch, height, columns)
            chosen = self.lookup(codes)
            commitment = F.mse_loss(unit, chosen.detach())
            straight_through = unit + (chosen - unit).detach()
        return Quantized(straight_through, unit, codes.flatten(1), commitment)


class CodebookAverage(nn.Module):
    """Moves codes to the running mean of the latents they were given and restarts unused ones (VQ-VAE, appendix A.1).

    Training state only: the running counts [V] and sums [V, W] are kept apart from the quantiser, which ships without them.
    """

    counts: Tensor
    sums: Tensor

    def __init__(self, quantizer: VectorQuantizer) -> None:
        super().__init__()
        size, width = quantizer.embedding.weight.shape
        self.register_buffer("counts", torch.zeros(size))
        self.register_buffer("sums", torch.zeros(size, width))

    @torch.no_grad()
    def keep(self, quantizer: VectorQuantizer, uses: float) -> None:
        """Starts from a codebook that was trained before, as if each of its codes had been used ``uses`` times a batch.

        ``uses`` > 0. Codes are stored in any length, but sums are of latents of length 1.
        """
        self.counts.fill_(uses)
        self.sums.copy_(F.normalize(quantizer.embedding.weight, dim=-1) * uses)

    @torch.no_grad()
    def update(
        self,
        quantizer: VectorQuantizer,
        unit_latents: Tensor,
        codes: Tensor,
        *,
        decay: float,
        restart_below: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> int:
        """Fold one batch in: unit_latents [n, W], codes int64 [n]; returns how many codes were restarted.

        A code whose running count (uses a batch) is under ``restart_below`` becomes a random latent of this batch.
        With fresh zero counts and a positive threshold the first batch therefore initialises the whole codebook.
        """
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        if unit_latents.shape[0] != codes.shape[0]:
            raise ValueError(f"expected one code a latent, got {unit_latents.shape[0]} latents, {codes.shape[0]} codes")
        latents = unit_latents.detach().float()
        batch_sums = torch.zeros_like(self.sums).index_add_(0, codes, latents)
        batch_counts = torch.bincount(codes, minlength=self.counts.shape[0]).float()
        first = not bool(self.counts.any())
        self.counts.lerp_(batch_counts, 1.0 - decay)
        self.sums.lerp_(batch_sums, 1.0 - decay)
        dead = self.counts < restart_below
        if first and restart_below > 0.0:
            dead.fill_(True)
        restarted = int(dead.sum())
        if restarted:
            picks = torch.randint(latents.shape[0], (restarted,), generator=generator).to(latents.device)
            # A restarted code starts as if it had been used once a batch, or well above the threshold, so that it gets time
            # to find its cluster.
            self.counts[dead] = max(1.0, 2 * restart_below)
            self.sums[dead] = latents[picks] * self.counts[dead, None]
        weight = quantizer.embedding.weight
        alive = self.counts > 1e-4
        weight.data[alive] = F.normalize(self.sums[alive], dim=-1).to(weight.dtype)
        return restarted

    def usage(self) -> dict[str, float]:
        """Share of the codes in use (over 1 % of the mean count) and perplexity of the running counts."""
        total = self.counts.sum().clamp_min(1e-12)
        share = self.counts / total
        entropy = -(share * share.clamp_min(1e-12).log()).sum()
        used = (share > 0.01 / len(share)).float().mean()
        return {"codes_used": float(used), "perplexity": float(entropy.exp())}
