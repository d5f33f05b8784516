"""The named colours of scene backgrounds, far enough apart that a checker can name each one again from its pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (215, 35, 40),
    "orange": (245, 135, 25),
    "yellow": (250, 225, 60),
    "green": (50, 165, 70),
    "cyan": (70, 210, 225),
    "blue": (25, 95, 220),
    "purple": (145, 45, 165),
    "pink": (250, 155, 200),
    "brown": (115, 70, 35),
    "gray": (140, 140, 140),
    "white": (246, 246, 246),
    "black": (18, 18, 18),
}
"""Name -> sRGB, 0..255."""

LIGHT, HUE = 6, 4
"""Each use of a colour moves all channels together by at most the first and each by at most the second (0..255)."""

# sRGB (D65) to CIE XYZ, rows X Y Z, already divided by the white point.
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_XYZ /= _XYZ.sum(axis=1, keepdims=True)


def lab(rgb: NDArray[np.generic] | RGB) -> NDArray[np.float64]:
    """CIE L*a*b* (D65) of sRGB values 0..255, [..., 3] -> [..., 3]; distances there are differences that people see."""
    value = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((np.maximum(value, 0) + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _XYZ.T
    curve = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(curve, -1, 0)
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=-1)


def jitter(name: str, rng: np.random.Generator) -> RGB:
    """One use of the named colour: its sRGB value moved by at most ``LIGHT`` + ``HUE`` in every channel, 0..255."""
    light = int(rng.integers(-LIGHT, LIGHT + 1))
    red, green, blue = (light + shift for shift in rng.integers(-HUE, HUE + 1, size=3).tolist())
    base = COLOURS[name]
    return (_clip(base[0] + red), _clip(base[1] + green), _clip(base[2] + blue))


def _clip(value: int) -> int:
    return min(255, max(0, value))
