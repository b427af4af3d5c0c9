"""Paint of rooms: materials as functions of place and normal in a thing's own frame (metres, z up)."""

from collections.abc import Sequence

import numpy as np

from ovs3d.worlds.paint import soft_step
from ovs3d.worlds.render import Material
from ovs3d.worlds.textures import textured

Rgb = Sequence[float]

_BRIGHTNESS = {"wooden table": 0.39, "marble table": 0.82, "wicker table": 0.52, "tiled wall": 0.66}


def plain(rgb: Rgb) -> Material:
    """One colour with slow, faint clouds."""

    def colour(xyz: np.ndarray, normals: np.ndarray) -> np.ndarray:
        u, v = surface_plane(xyz, normals)
        cloud = 0.03 * np.sin(3 * u + 1.7 * np.sin(2 * v)) * np.sin(4 * v + np.sin(3 * u))
        return _tinted(rgb, 1 + cloud)

    return colour


def grained(
    name: str, rgb: Rgb, shift_m: float = 0.0, upright: bool = False, contrast: float = 1.0
) -> Material:
    """A texture of ``textures``, in another colour.

    Args:
        contrast: 1: as in the texture; 0: none.
        upright: turned by a right angle, so that the grain of wood runs along z.
    """

    def colour(xyz: np.ndarray, normals: np.ndarray) -> np.ndarray:
        u, v = surface_plane(xyz, normals)
        uv = np.stack([v, u] if upright else [u, v], axis=1) + np.float32(40.96 + shift_m)
        shade = textured(name, uv).mean(axis=1) / _BRIGHTNESS[name]
        return _tinted(rgb, 1 + contrast * (shade - 1))

    return colour


def wood(rng: np.random.Generator, rgb: Rgb, upright: bool = False) -> Material:
    """Timber; of what is nearly white, painted timber."""
    contrast = 0.6 if min(rgb) < 0.75 else 0.12
    return grained("wooden table", rgb, float(rng.uniform(0, 2)), upright, contrast)


def stone(rng: np.random.Generator, rgb: Rgb) -> Material:
    return grained("marble table", rgb, float(rng.uniform(0, 2)))


def tiles(rgb: Rgb, grout: Rgb, side_m: float) -> Material:
    """Square tiles, each of a slightly different shade."""

    def colour(xyz: np.ndarray, normals: np.ndarray) -> np.ndarray:
        u, v = surface_plane(xyz, normals)
        shade = 1 + 0.05 * np.sin(12.9898 * np.floor(u / side_m) + 78.233 * np.floor(v / side_m))
        return _mixed(_tinted(rgb, shade), grout, np.maximum(_lines(u, side_m), _lines(v, side_m)))

    return colour


def checks(rgb: Rgb, other: Rgb, side_m: float) -> Material:
    """A chess board."""

    def colour(xyz: np.ndarray, normals: np.ndarray) -> np.ndarray:
        u, v = surface_plane(xyz, normals)
        wave = np.sin(u * np.pi / side_m) * np.sin(v * np.pi / side_m)
        return _mixed(_tinted(rgb, np.ones(len(xyz))), other, soft_step(wave * side_m / np.pi))

    return colour


def stripes(rgb: Rgb, other: Rgb, period_m: float, axis: int = 0) -> Material:
    """Bands across an axis of the thing."""

    def colour(xyz: np.ndarray, normals: np.ndarray) -> np.ndarray:
        place = np.abs((xyz[:, axis] + 20.3 * period_m) % period_m - period_m / 2)
        return _mixed(_tinted(rgb, np.ones(len(xyz))), other, soft_step(period_m / 4 - place))

    return colour


def spots(rgb: Rgb, other: Rgb, period_m: float) -> Material:
    """Round spots in rows, seen along y."""

    def colour(xyz: np.ndarray, normals: np.ndarray) -> np.ndarray:
        row = np.floor(xyz[:, 2] / period_m)
        across = (xyz[:, 0] + 0.5 * period_m * (row % 2)) % period_m - period_m / 2
        up = xyz[:, 2] - (row + 0.5) * period_m
        share = soft_step(0.28 * period_m - np.hypot(across, up))
        return _mixed(_tinted(rgb, np.ones(len(xyz))), other, share)

    return colour


def fabric(rng: np.random.Generator, rgb: Rgb) -> Material:
    """Woven cloth: plain, with bands, or chequered, in two shades of a colour."""
    other = tuple(np.clip(np.array(rgb) * rng.uniform(0.45, 0.7), 0, 1))
    kind = rng.integers(3)
    if kind == 0:
        return grained("wicker table", rgb, float(rng.uniform(0, 2)), contrast=0.7)
    if kind == 1:
        return stripes(rgb, other, float(rng.uniform(0.08, 0.16)))
    return checks(rgb, other, float(rng.uniform(0.05, 0.09)))


def view_outside(horizon_m: float) -> Material:
    """A bright day behind a window pane: sky, hills, meadow; z is the height in the window's frame."""

    def colour(xyz: np.ndarray, normals: np.ndarray) -> np.ndarray:
        x, z = xyz[:, 0], xyz[:, 2] - horizon_m
        sky = _tinted((0.98, 1.15, 1.4), 1.25 - 0.25 * np.clip(z, 0, 1))
        hills = 0.08 * np.sin(4 * x + 1) + 0.04 * np.sin(11 * x)
        land = _mixed(_tinted((0.55, 0.95, 0.4), np.ones(len(x))), (0.3, 0.6, 0.3), soft_step(z + 0.12))
        return _mixed(land, sky, soft_step(z - hills))

    return colour


def painting(rng: np.random.Generator, middle_m: float) -> Material:
    """A picture of broad strokes around x = 0, z = ``middle_m``: two fields, leaning lines, a disc."""
    colours = rng.uniform(0.1, 0.95, (4, 3))
    slope, place, radius = rng.uniform(-0.8, 0.8), rng.uniform(-0.12, 0.12, 2), rng.uniform(0.05, 0.12)

    def colour(xyz: np.ndarray, normals: np.ndarray) -> np.ndarray:
        x, z = xyz[:, 0], xyz[:, 2] - middle_m
        out = _mixed(_tinted(colours[0], np.ones(len(x))), colours[1], soft_step(slope * x - z))
        out = _mixed(out, colours[3], soft_step(0.02 - np.abs((x + 0.6 * z) % 0.2 - 0.1)))
        return _mixed(out, colours[2], soft_step(radius - np.hypot(x - place[0], z - place[1])))

    return colour


def surface_plane(xyz: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two coordinates across the normal's main axis; the second is z on upright surfaces."""
    axis = np.abs(normals).argmax(axis=1)
    u = np.where(axis == 0, xyz[:, 1], xyz[:, 0])
    return u, np.where(axis == 2, xyz[:, 1], xyz[:, 2])


def _tinted(rgb: Rgb | np.ndarray, shade: np.ndarray) -> np.ndarray:
    return (np.array(rgb, np.float32) * shade[:, None]).astype(np.float32)


def _mixed(first: np.ndarray, second: Rgb | np.ndarray, share: np.ndarray) -> np.ndarray:
    share = share[:, None].astype(np.float32)
    return first * (1 - share) + np.asarray(second, np.float32) * share


def _lines(x: np.ndarray, period_m: float) -> np.ndarray:
    return soft_step(0.004 - np.abs((x + period_m / 2) % period_m - period_m / 2))
