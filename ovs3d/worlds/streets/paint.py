"""Paint of street things: colours and a pattern as a function of place, in the frame of the thing.

Patterns are coarse, because photos of streets are small and the ray caster takes one sample per pixel.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

RGB = tuple[float, float, float]
_TEXELS = 512


@dataclass(frozen=True)
class Paint:
    """A pattern in one or two colours."""

    first: RGB
    second: RGB = (0.0, 0.0, 0.0)
    pattern: str = "plain"
    """One of the patterns below."""
    scale_m: float = 1.0
    """Period of the pattern, or size of its grain, in metres."""

    def colour_at(
        self, xyz: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
    ) -> Float[np.ndarray, "n 3"]:
        """Colour in 0..1 of points on the surface of a thing in its own frame (metres)."""
        share = _PATTERN[self.pattern](xyz, normals, self.scale_m)[:, None].astype(np.float32)
        first, second = np.array(self.first, np.float32), np.array(self.second, np.float32)
        return first + (second - first) * share


def cloudiness(directions: Float[np.ndarray, "n 3"], seed: int) -> Float[np.ndarray, " n"]:
    """0 in blue sky, 1 in a cloud, of unit directions above the horizon."""
    texel = directions[:, :2] / (directions[:, 2:] + 0.3) * 9.0 + 37.0 * (seed % _TEXELS)
    whole = np.floor(texel).astype(np.int64)
    across, along = (texel - whole).T
    near, far = (
        _table("noise")[(whole[:, 0] + step) % _TEXELS, whole[:, 1] % _TEXELS] * (1 - along)
        + _table("noise")[(whole[:, 0] + step) % _TEXELS, (whole[:, 1] + 1) % _TEXELS] * along
        for step in (0, 1)
    )
    return np.clip((near + (far - near) * across) * 0.6 - 0.3, 0, 1)


def _plain(xyz: np.ndarray, normals: np.ndarray, scale: float) -> np.ndarray:
    return np.zeros(len(xyz))


def _grain(xyz: np.ndarray, normals: np.ndarray, scale: float) -> np.ndarray:
    """Patches and fine grain: asphalt, grass, leaves, plaster."""
    u, v = _surface_plane(xyz, normals)
    coarse, fine = _noise(u, v, scale), _noise(u, v, scale * 0.15)
    return np.clip(0.5 + 0.28 * coarse + 0.18 * fine, 0, 1)


def _striped(xyz: np.ndarray, normals: np.ndarray, scale: float) -> np.ndarray:
    """Blocks along x: kerbs, barriers."""
    return (xyz[:, 0] / scale % 1.0 < 0.5) * 1.0


def _hatched(xyz: np.ndarray, normals: np.ndarray, scale: float) -> np.ndarray:
    """Slanted stripes: warning paint."""
    u, v = _surface_plane(xyz, normals)
    return ((u + v) / scale % 1.0 < 0.4) * 1.0


def _ringed(xyz: np.ndarray, normals: np.ndarray, scale: float) -> np.ndarray:
    """Bands around the vertical: cones."""
    return (xyz[:, 2] / scale % 1.0 > 0.6) * 1.0


def _ribbed(xyz: np.ndarray, normals: np.ndarray, scale: float) -> np.ndarray:
    """Corrugated sheet with vertical ribs."""
    along = np.where(np.abs(normals[:, 0]) > 0.7, xyz[:, 1], xyz[:, 0])
    return 0.5 + 0.5 * np.sin(along * (2 * np.pi / scale))


def _tiled(xyz: np.ndarray, normals: np.ndarray, scale: float) -> np.ndarray:
    """Slabs of differing tone with joints."""
    u, v = _surface_plane(xyz, normals)
    u, v = u / scale, v / scale
    joint = np.maximum(np.abs(u % 1 - 0.5), np.abs(v % 1 - 0.5)) > 0.46
    return np.where(joint, 1.0, 0.6 * _pick(np.floor(u) + 131 * np.floor(v)))


def _bricks(xyz: np.ndarray, normals: np.ndarray, scale: float) -> np.ndarray:
    u, v = _surface_plane(xyz, normals)
    row = np.floor(v / scale)
    u = u / (2.2 * scale) + 0.5 * (row % 2)
    joint = (np.abs(v / scale % 1 - 0.5) > 0.43) | (np.abs(u % 1 - 0.5) > 0.46)
    return np.where(joint, 1.0, 0.45 * _pick(np.floor(u) + 57 * row))


def _windows(xyz: np.ndarray, normals: np.ndarray, scale: float) -> np.ndarray:
    """Storeys with a row of windows each, as high as they are apart; none in a roof."""
    u, v = _surface_plane(xyz, normals)
    u, v = u / scale + 0.5, v / scale
    glass = (np.abs(u % 1 - 0.5) < 0.3) & (np.abs(v % 1 - 0.55) < 0.27) & (np.abs(normals[:, 2]) < 0.5)
    return glass * (0.75 + 0.25 * _pick(np.floor(u) + 17 * np.floor(v)))


_PATTERN = {
    "plain": _plain,
    "grain": _grain,
    "striped": _striped,
    "hatched": _hatched,
    "ringed": _ringed,
    "ribbed": _ribbed,
    "tiled": _tiled,
    "bricks": _bricks,
    "windows": _windows,
}


def _surface_plane(xyz: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two coordinates across the normal's main axis."""
    axis = np.abs(normals).argmax(axis=1)
    return np.where(axis == 0, xyz[:, 1], xyz[:, 0]), np.where(axis == 2, xyz[:, 1], xyz[:, 2])


def _pick(index: np.ndarray) -> np.ndarray:
    """A fixed random number in 0..1 for each whole number."""
    return _table("pick").reshape(-1)[index.astype(np.int64) % _TEXELS**2]


def _noise(u: np.ndarray, v: np.ndarray, grain_m: float) -> np.ndarray:
    """Smooth noise of unit variance with features of about the given size; it repeats after 128 of them."""
    texel = 4.0 / grain_m
    return _table("noise")[(u * texel).astype(np.int64) % _TEXELS, (v * texel).astype(np.int64) % _TEXELS]


@cache
def _table(name: str) -> Float[np.ndarray, "h w"]:
    white = np.random.default_rng(0).random((_TEXELS, _TEXELS))
    if name == "pick":
        return white
    f = np.fft.fftfreq(_TEXELS)
    keep = np.exp(-2 * (np.pi * 1.6) ** 2 * (f[:, None] ** 2 + f**2))
    smooth = np.fft.ifft2(np.fft.fft2(white - 0.5) * keep).real
    return smooth / smooth.std()
