"""Textured planes: tables and walls with enough structure at every scale for a NeRF to find them.

A texture is one square image that repeats without a seam, made once in a process.
"""

from functools import cache

import numpy as np
from jaxtyping import Float

from ovs3d.worlds.paint import soft_step

_TEXEL_M = 0.002
_TEXELS = 1024


def textured(name: str, uv_m: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Colour in 0..1 of a table or wall of ``words.TABLES`` or ``words.WALLS`` at a place on its plane."""
    texels = (uv_m * (1.0 / _TEXEL_M)).astype(np.int32) % _TEXELS
    return _texture(name)[texels[:, 1], texels[:, 0]]


@cache
def _texture(name: str) -> Float[np.ndarray, "h w 3"]:
    """A square of 2.05 m that repeats without a seam; first axis up the wall or away on the table."""
    v, u = np.mgrid[:_TEXELS, :_TEXELS].astype(np.float32) * _TEXEL_M
    return _blur(np.clip(_TEXTURE[name](u, v), 0, 1)).astype(np.float32)


def _wood(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    plank = np.floor(v / _cells(0.128))
    warp = 0.02 * _noise(0.25, seed=1) + 0.004 * _noise((0.2, 0.02), seed=2)
    rings = np.sin((v + warp + 0.37 * plank) * 2 * np.pi / 0.016)
    tone = 0.55 + 0.10 * _pick(plank, seed=3) + 0.06 * rings + 0.07 * _noise((0.15, 0.01), seed=4)
    gap = _line(v, _cells(0.128), 0.004)
    return _mix((0.24, 0.15, 0.09), (0.74, 0.57, 0.40), tone) * (1 - 0.65 * gap[..., None])


def _marble(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    cloud = _noise(0.2, seed=5) + 0.5 * _noise(0.08, seed=6) + 0.3 * _noise(0.03, seed=7)
    veins = np.exp(-np.abs(cloud) * 9) + 0.6 * np.exp(-np.abs(_noise(0.1, seed=8) - 0.3) * 12)
    grain = 0.06 * _noise(0.012, seed=9) + 0.05 * _noise(0.05, seed=10)
    return _mix((0.42, 0.45, 0.47), (0.88, 0.89, 0.87), 0.95 - 0.75 * veins + grain)


def _wicker(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    pitch = _cells(0.032)
    i, j = np.floor(u / pitch), np.floor(v / pitch)
    over = (i + j) % 2 == 0
    across = np.where(over, v, u) / pitch % 1.0 - 0.5
    along = np.where(over, u, v) / pitch % 1.0 - 0.5
    tone = (
        0.9
        - 1.3 * across**2
        - 0.9 * along**2
        + 0.25 * (_pick(i + 71 * j, seed=11) - 0.5)
        + 0.12 * _noise(0.3, seed=12)
    )
    return _mix((0.22, 0.17, 0.09), (0.80, 0.72, 0.50), tone)


def _brick(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    high, wide = _cells(0.064), _cells(0.146)
    row = np.floor(v / high)
    shifted = u + 0.5 * wide * (row % 2)
    mortar = np.maximum(_line(v, high, 0.01), _line(shifted, wide, 0.01))
    tone = 0.7 * _pick(row * 57 + np.floor(shifted / wide) % round(_TEXELS * _TEXEL_M / wide), seed=13)
    tone = tone + 0.15 + 0.12 * _noise(0.02, seed=14) + 0.08 * _noise(0.3, seed=15)
    clay = _mix((0.42, 0.17, 0.12), (0.76, 0.38, 0.27), tone)
    return clay + (np.array((0.74, 0.71, 0.66)) - clay) * mortar[..., None]


def _stone(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    first, second, cell = _voronoi(u, v, pitch_m=0.128)
    joint = np.clip(1.4 - (second - first) / 0.008, 0, 1)
    tone = 0.8 * _pick(cell, seed=16) + 0.1 + 0.18 * _noise(0.03, seed=17) + 0.12 * _noise(0.012, seed=18)
    rock = _mix((0.33, 0.34, 0.36), (0.68, 0.66, 0.62), tone)
    return rock * (1 - 0.6 * joint[..., None])


def _tiled(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    side = _cells(0.102)
    grout = np.maximum(_line(u, side, 0.008), _line(v, side, 0.008))
    tile = np.floor(u / side) + 131 * np.floor(v / side)
    tone = _pick(tile, seed=19) + 0.12 * _noise(0.04, seed=20) + 0.08 * _noise(0.015, seed=21)
    glaze = _mix((0.30, 0.55, 0.55), (0.68, 0.82, 0.78), tone)
    return glaze + (np.array((0.90, 0.90, 0.88)) - glaze) * grout[..., None]


_TEXTURE = {
    "wooden table": _wood,
    "marble table": _marble,
    "wicker table": _wicker,
    "brick wall": _brick,
    "stone wall": _stone,
    "tiled wall": _tiled,
}


def _cells(size_m: float) -> float:
    """The size nearest to ``size_m`` of which an even number fits the texture."""
    whole = _TEXELS * _TEXEL_M
    return whole / (2 * round(whole / size_m / 2))


def _line(x: np.ndarray, period_m: float, width_m: float) -> np.ndarray:
    """1 on lines at the multiples of a period, 0 elsewhere."""
    return soft_step(width_m / 2 - np.abs((x + period_m / 2) % period_m - period_m / 2))


def _mix(dark: tuple[float, ...], light: tuple[float, ...], tone: np.ndarray) -> np.ndarray:
    tone = np.clip(tone, 0, 1)[..., None]
    return np.array(dark) * (1 - tone) + np.array(light) * tone


def _pick(index: np.ndarray, seed: int) -> np.ndarray:
    """A fixed random number in 0..1 for each integer."""
    return np.random.default_rng(seed).random(8192)[index.astype(np.int64) % 8192]


def _noise(size_m: float | tuple[float, float], seed: int) -> np.ndarray:
    """Smooth periodic noise of unit variance with features of the given size (along u, along v)."""
    size_u, size_v = size_m if isinstance(size_m, tuple) else (size_m, size_m)
    white = np.random.default_rng(seed).standard_normal((_TEXELS, _TEXELS))
    freq_v, freq_u = np.fft.fftfreq(_TEXELS, _TEXEL_M)[:, None], np.fft.rfftfreq(_TEXELS, _TEXEL_M)[None]
    keep = np.exp(-2 * ((freq_u * size_u) ** 2 + (freq_v * size_v) ** 2))
    noise = np.fft.irfft2(np.fft.rfft2(white) * keep, s=white.shape)
    return noise / noise.std()


def _blur(image: np.ndarray) -> np.ndarray:
    """A [1 2 1] filter on both axes, so that the nearest texel is a fair sample."""
    for axis in (0, 1):
        image = (np.roll(image, 1, axis) + 2 * image + np.roll(image, -1, axis)) / 4
    return image


def _voronoi(u: np.ndarray, v: np.ndarray, pitch_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances to the nearest and second nearest point of a jittered grid, and the nearest one's index."""
    pitch = _cells(pitch_m)
    count = round(_TEXELS * _TEXEL_M / pitch)
    first, second = np.full(u.shape, np.inf), np.full(u.shape, np.inf)
    cell = np.zeros(u.shape)
    for du, dv in np.ndindex(3, 3):
        i, j = np.floor(u / pitch) + du - 1, np.floor(v / pitch) + dv - 1
        index = i % count + count * (j % count)
        distance = np.hypot(u - (i + _pick(index, seed=22)) * pitch, v - (j + _pick(index, seed=23)) * pitch)
        second = np.minimum(second, np.maximum(first, distance))
        cell = np.where(distance < first, index, cell)
        first = np.minimum(first, distance)
    return first, second, cell
