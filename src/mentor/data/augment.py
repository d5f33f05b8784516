"""Changes that keep a subject's identity but not its pixels: warps of the outline, changes of the light (paper 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Warp:
    """One change of a cut-out's outline."""

    angle: float = 0.0
    """Turn in degrees, clockwise as seen in the picture."""
    stretch: float = 1.0
    """Width times this, height divided by this."""
    shear: float = 0.0
    """Horizontal shift for each unit of height."""
    tilt: tuple[float, float] = (0.0, 0.0)
    """Perspective: how much nearer the right and the lower edge come, as shares of the object's size."""
    flip: bool = False
    """Mirror left and right first."""


@dataclass(frozen=True)
class Light:
    """One change of the light."""

    gain: float = 1.0
    """Brightness factor."""
    gamma: float = 1.0
    """Exponent on values 0..1: above 1 darkens the middle tones."""
    warmth: float = 0.0
    """Colour temperature: red times ``1 + warmth``, blue times ``1 - warmth``."""


def sample_warp(rng: np.random.Generator, strength: float) -> Warp:
    """Random warp; strength 1 turns by up to 20 degrees (paper 3.1), 0 changes nothing."""
    turn, stretch, shear, right, down = rng.uniform(-1, 1, size=5).tolist()
    return Warp(
        angle=20 * strength * turn,
        stretch=1 + 0.15 * strength * stretch,
        shear=0.2 * strength * shear,
        tilt=(0.15 * strength * right, 0.15 * strength * down),
    )


def sample_light(rng: np.random.Generator, strength: float) -> Light:
    """Random light; strength 1 changes brightness by up to 20 % and colour temperature by up to 12 %, 0 nothing."""
    gain, gamma, warmth = rng.uniform(-1, 1, size=3).tolist()
    return Light(1 + 0.2 * strength * gain, 1 + 0.25 * strength * gamma, 0.12 * strength * warmth)


def warp(image: Image.Image, change: Warp, longest: int) -> Image.Image:
    """An RGBA cut-out after a change of outline, cropped to what is visible; no side above ``longest`` pixels."""
    scale = longest / max(image.size)
    picture = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.HAMMING
    )
    if change.flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    half = np.array(picture.size) / 2
    angle = np.deg2rad(change.angle)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = np.eye(3)
    forward[:2, :2] = turn @ np.array([[change.stretch, change.shear], [0, 1 / change.stretch]])
    forward[2, :2] = -np.array(change.tilt) / half
    corners = forward @ np.array([[x, y, 1] for x in (-half[0], half[0]) for y in (-half[1], half[1])]).T
    outline = corners[:2] / corners[2]
    low, high = outline.min(axis=1), outline.max(axis=1)
    # Shrink so that the changed outline keeps the wanted size.
    shrink = min(1.0, longest / float((high - low).max()))
    size = np.maximum(1, np.ceil((high - low) * shrink)).astype(int)
    to_output = np.array([[shrink, 0, -low[0] * shrink], [0, shrink, -low[1] * shrink], [0, 0, 1]])
    to_input = np.array([[1, 0, half[0]], [0, 1, half[1]], [0, 0, 1]]) @ np.linalg.inv(to_output @ forward)
    coefficients = (to_input / to_input[2, 2]).ravel()[:8].tolist()
    changed = picture.transform(
        (int(size[0]), int(size[1])), Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC
    )
    return changed.crop(changed.getbbox() or (0, 0, *changed.size))


def relight(image: Image.Image, change: Light) -> Image.Image:
    """An RGB or RGBA picture after a change of light; alpha stays as it is."""
    value = np.linspace(0, 1, 256) ** change.gamma * change.gain * 255
    bands = np.stack([value * (1 + change.warmth), value, value * (1 - change.warmth), np.arange(256.0)])
    table = np.clip(np.rint(bands), 0, 255).astype(np.uint8)
    pixels = np.asarray(image)
    return Image.fromarray(table[np.arange(pixels.shape[-1]), pixels])
