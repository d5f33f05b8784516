"""How much of a picture the visual tokens keep: small heads rebuild the picture from them.

A tower is worth what the decoder can get out of its tokens, so candidates (layers, input size, tokens an image) are compared
by the error of a picture rebuilt token by token, each token giving its own patch, on subjects never seen in fitting.

Shapes: n pictures, P tokens an image, g their grid's side, Dv width of a token, C channels, h cells of a map's side.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from mentor.config.model import VisionConfig
from mentor.data.pixels import to_pixels
from mentor.evaluation.probe_pictures import Picture
from mentor.models.efficientnet_lite import EfficientNetLite0, map_shape, merge_cells, merged_width
from mentor.models.vision import EfficientNetTower

REBUILT = 64
"""Side of the rebuilt picture in pixels (rounded up to a multiple of the token grid)."""

BOTTLENECK = 256
"""Numbers a token may pass on in the network head: the decoder's width."""


@dataclass(frozen=True)
class Candidate:
    """One way to read EfficientNet-Lite0."""

    layers: tuple[int, ...]
    image_size: int
    tokens: int

    @property
    def width(self) -> int:
        """Dv; ValueError if the maps cannot be cut into so many tokens."""
        return merged_width(self.layers, self.image_size, self.tokens)


@dataclass(frozen=True)
class Score:
    """What a candidate keeps, in dB of peak signal to noise on held-out pictures, and what it costs."""

    candidate: Candidate
    linear: float
    """Whole picture, ridge regression."""
    mlp: float | None
    """Whole picture, two-layer network with a bottleneck of ``BOTTLENECK`` numbers a token."""
    mlp_subject: float | None
    """The same on the subject's pixels alone."""
    category: float
    """Share of held-out cut-outs on white whose category a linear classifier of the averaged tokens names."""
    milliseconds: float
    """One picture through the trunk, on one thread, in a batch of 8."""


def candidates(layers: Sequence[tuple[int, ...]], image_sizes: Sequence[int], tokens: Sequence[int]) -> list[Candidate]:
    """All combinations whose maps can be cut into that many tokens."""
    found = []
    for candidate in (Candidate(*choice) for choice in _product(layers, image_sizes, tokens)):
        grid = math.isqrt(candidate.tokens)
        if all(map_shape(layer, candidate.image_size)[1] % grid == 0 for layer in candidate.layers):
            found.append(candidate)
    return found


def _product(
    layers: Sequence[tuple[int, ...]], image_sizes: Sequence[int], tokens: Sequence[int]
) -> list[tuple[tuple[int, ...], int, int]]:
    return [(layer, size, count) for size in image_sizes for layer in layers for count in tokens]


class Probe:
    """Fits the heads on ``train`` and scores them on ``test``, sharing the trunk's maps between candidates of a size."""

    def __init__(
        self,
        tower: Callable[[VisionConfig], EfficientNetTower],
        train: Sequence[Picture],
        test: Sequence[Picture],
        *,
        steps: int = 200,
        seed: int = 0,
    ) -> None:
        self.tower, self.train, self.test = tower, train, test
        self.steps, self.seed = steps, seed
        self._maps: dict[tuple[int, int], tuple[Tensor, Tensor, float]] = {}

    def prepare(self, layers: Sequence[int], image_size: int) -> None:
        """Runs the trunk once for all ``layers`` at one size; forgets the maps of other sizes."""
        self._maps.clear()
        depths = tuple(sorted(set(layers)))
        tower = self.tower(_config(depths, image_size))
        fitted, held_out = ([_pixels(picture, image_size) for picture in part] for part in (self.train, self.test))
        fitted_maps, held_out_maps = _normed_maps(tower, fitted), _normed_maps(tower, held_out)
        for depth, of_fitted, of_held_out in zip(depths, fitted_maps, held_out_maps, strict=True):
            seconds = _trunk_seconds(depth, torch.stack(held_out[:8]))
            self._maps[image_size, depth] = (of_fitted, of_held_out, 1000 * seconds)

    def score(self, candidate: Candidate, *, network: bool = True) -> Score:
        """Scores one candidate whose maps are prepared."""
        size, grid = candidate.image_size, math.isqrt(candidate.tokens)
        patch = math.ceil(REBUILT / grid)
        sources = [self._maps[size, layer] for layer in candidate.layers]
        fitted = torch.cat([merge_cells(source[0].float(), grid) for source in sources], dim=-1)
        held_out = torch.cat([merge_cells(source[1].float(), grid) for source in sources], dim=-1)
        target, truth = (_patches(part, grid, patch) for part in (self.train, self.test))
        subject = _subject_patches(self.test, grid, patch)
        linear = _ridge(fitted, target, held_out)
        mlp = _network(fitted, target, held_out, steps=self.steps, seed=self.seed) if network else None
        everywhere = torch.ones_like(subject)
        return Score(
            candidate,
            _psnr(linear, truth, everywhere),
            None if mlp is None else _psnr(mlp, truth, everywhere),
            None if mlp is None else _psnr(mlp, truth, subject),
            self._category(fitted.mean(1), held_out.mean(1)),
            max(source[2] for source in sources),
        )

    def _category(self, fitted: Tensor, held_out: Tensor) -> float:
        names = sorted({picture.category for picture in self.train if picture.category})
        rows = [number for number, picture in enumerate(self.train) if picture.category]
        tested = [number for number, picture in enumerate(self.test) if picture.category in names]
        labels = torch.tensor([names.index(str(self.train[row].category)) for row in rows])
        truth = torch.tensor([names.index(str(self.test[row].category)) for row in tested])
        votes = _ridge(fitted[rows], F.one_hot(labels, len(names)).float(), held_out[tested], penalty=0.1)
        return float((votes.argmax(-1) == truth).float().mean())


def _config(layers: tuple[int, ...], image_size: int) -> VisionConfig:
    width = merged_width(layers, image_size, 1)
    return VisionConfig("efficientnet_lite0", image_size, layers, width, tokens_per_image=1)


def _pixels(picture: Picture, side: int) -> Tensor:
    image = picture.image.resize((side, side), Image.Resampling.BICUBIC)
    return to_pixels(np.asarray(image))


@torch.no_grad()
def _normed_maps(tower: EfficientNetTower, pixels: list[Tensor]) -> list[Tensor]:
    """Pictures -> for each layer its normed map float16 [n, C, h, h]."""
    batches = []
    for start in range(0, len(pixels), 16):
        maps = tower.trunk(torch.stack(pixels[start : start + 16]), tower.config.layers)
        batches.append([norm(feature_map).half() for norm, feature_map in zip(tower.norms, maps, strict=True)])
    return [torch.cat(maps) for maps in zip(*batches, strict=True)]


@torch.no_grad()
def _trunk_seconds(depth: int, pixels: Tensor) -> float:
    trunk, times = EfficientNetLite0(depth), []
    for _ in range(4):
        start = time.perf_counter()
        trunk(pixels, (depth,))
        times.append(time.perf_counter() - start)
    return min(times) / len(pixels)


def _patches(pictures: Sequence[Picture], grid: int, patch: int) -> Tensor:
    """Pictures -> [n, P, 3 * patch * patch] in [0, 1]."""
    side = grid * patch
    rebuilt = [np.asarray(p.image.resize((side, side), Image.Resampling.BOX), np.float32) / 255 for p in pictures]
    return F.unfold(torch.from_numpy(np.stack(rebuilt)).permute(0, 3, 1, 2), patch, stride=patch).transpose(1, 2)


def _subject_patches(pictures: Sequence[Picture], grid: int, patch: int) -> Tensor:
    """Subjects' masks -> [n, P, 3 * patch * patch], 1 where the subject is."""
    side = (grid * patch, grid * patch)
    masks = [Image.fromarray(p.subject.astype(np.uint8) * 255).resize(side, Image.Resampling.BOX) for p in pictures]
    stacked = torch.from_numpy(np.stack([np.asarray(mask) for mask in masks]) >= 128).float()
    return F.unfold(stacked.unsqueeze(1).expand(-1, 3, -1, -1), patch, stride=patch).transpose(1, 2)


def _ridge(fitted: Tensor, target: Tensor, held_out: Tensor, penalty: float = 1e-3) -> Tensor:
    """The regularised least-squares linear map from vectors [.., Dv] to targets, applied to the held-out vectors."""
    x, y = fitted.flatten(0, -2), target.flatten(0, -2)
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    gram = (x.T @ x).double()
    gram.diagonal().add_(penalty * float(gram.diagonal().mean()))
    weight = torch.linalg.solve(gram, (x.T @ y).double()).float()
    return (held_out - x_mean) @ weight + y_mean


def _network(fitted: Tensor, target: Tensor, held_out: Tensor, *, steps: int, seed: int) -> Tensor:
    """A connector-like network from a token to its patch, trained for ``steps`` steps, applied to the held-out tokens."""
    x, y = fitted.flatten(0, 1), target.flatten(0, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Sequential(
            nn.Linear(x.shape[1], 512),
            nn.GELU(),
            nn.Linear(512, BOTTLENECK),
            nn.GELU(),
            nn.Linear(BOTTLENECK, y.shape[1]),
        )
        optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
        y_mean = y.mean(0)
        for _ in range(steps):
            rows = torch.randint(len(x), (256,))
            loss = F.mse_loss(head(x[rows]), y[rows] - y_mean)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            return head(held_out) + y_mean


def _psnr(predicted: Tensor, truth: Tensor, where: Tensor) -> float:
    """Peak signal to noise in dB of the mean squared error over the marked values."""
    error = (predicted.clamp(0, 1) - truth).square()
    return -10 * math.log10(float((error * where).sum() / where.sum()))
