"""Colours for classes and scores, chosen in Oklab, where equal distances look equal."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Integer, UInt8

NO_ANSWER_COLOR = (128, 128, 128)
"""Of label -1."""
IGNORE_COLOR = (0, 0, 0)
"""Of label 255."""

_CONE_FROM_LINEAR = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB_FROM_CONE = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def lab_from_rgb(rgb: UInt8[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Oklab (lightness 0..1, green-red, blue-yellow) of sRGB colours (Ottosson 2020)."""
    value = rgb / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _CONE_FROM_LINEAR.T) @ _LAB_FROM_CONE.T


def rgb_from_lab(lab: Float[np.ndarray, "*n 3"]) -> UInt8[np.ndarray, "*n 3"]:
    """sRGB of Oklab colours; what a screen cannot show is clipped."""
    cone = (lab @ np.linalg.inv(_LAB_FROM_CONE).T) ** 3
    linear = (cone @ np.linalg.inv(_CONE_FROM_LINEAR).T).clip(0, 1)
    value = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (255 * value).round().astype(np.uint8)


@lru_cache
def palette() -> UInt8[np.ndarray, "255 3"]:
    """One colour per class id; each is as far as can be from those before it, and from black, white and grey."""
    level = np.linspace(0, 255, 16).astype(np.uint8)
    candidates = np.stack(np.meshgrid(level, level, level), axis=-1).reshape(-1, 3)
    lab = lab_from_rgb(candidates)
    candidates, lab = candidates[lab[:, 0] > 0.35], lab[lab[:, 0] > 0.35]  # two dark colours look alike
    taken = lab_from_rgb(np.array([IGNORE_COLOR, (255, 255, 255), NO_ANSWER_COLOR], dtype=np.uint8))
    distance = np.linalg.norm(lab[:, None] - taken, axis=-1).min(axis=1)
    chosen = []
    for _ in range(255):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=-1))
    colors = candidates[chosen]
    colors.setflags(write=False)
    return colors


def label_colors(labels: Integer[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n 3"]:
    """Colours of labels 0..254; -1 ("no answer") is grey and 255 (ignored) black."""
    if labels.size and not -1 <= int(labels.min()) <= int(labels.max()) <= 255:
        raise ValueError(f"expected labels -1..255, got {labels.min()}..{labels.max()}")
    table = np.concatenate([palette(), [IGNORE_COLOR, NO_ANSWER_COLOR]]).astype(np.uint8)
    return table[labels.astype(np.int64)]


@lru_cache
def heat_table() -> UInt8[np.ndarray, "256 3"]:
    """From dark violet over red to pale yellow, with lightness rising evenly."""
    t = np.linspace(0, 1, 256)
    lightness = 0.15 + 0.8 * t
    hue = np.deg2rad(290 + 180 * t)
    chroma = 0.05 + 0.14 * np.sin(np.pi * t) ** 0.75
    colors = rgb_from_lab(np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1))
    colors.setflags(write=False)
    return colors


def heat_colors(
    scores: Float[np.ndarray, "*n"], low: float = 0.0, high: float = 1.0
) -> UInt8[np.ndarray, "*n 3"]:
    """Colours of scores, from ``low`` (dark) to ``high`` (bright), clipped; what is not a number is grey."""
    if not low < high:
        raise ValueError(f"expected low < high, got {low} and {high}")
    level = np.nan_to_num((scores - low) / (high - low)).clip(0, 1)
    colors = heat_table()[(255 * level).round().astype(np.int64)]
    return np.where(np.isnan(scores)[..., None], np.uint8(NO_ANSWER_COLOR[0]), colors)
