"""Paint of objects: a colour and a pattern as a function of place on the object.

Patterns do not depend on the view, and their edges are softened over about one pixel of a tabletop view.
"""

import numpy as np
from jaxtyping import Float

RGB = {
    "red": (0.82, 0.10, 0.10),
    "orange": (0.95, 0.48, 0.05),
    "yellow": (0.95, 0.86, 0.12),
    "green": (0.12, 0.58, 0.18),
    "blue": (0.12, 0.28, 0.82),
    "purple": (0.50, 0.16, 0.62),
    "black": (0.07, 0.07, 0.08),
    "white": (0.93, 0.93, 0.92),
}
_IVORY, _GREY, _INK = (0.95, 0.93, 0.85), (0.48, 0.48, 0.50), (0.12, 0.10, 0.10)
_SECOND = {"white": _GREY, "yellow": _INK}  # all others are patterned with ivory

_EDGE_M = 0.003


def painted(
    color: str, pattern: str, xyz: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """Colour in 0..1 of points of an object in its own frame (metres)."""
    first = np.array(RGB[color], np.float32)
    second = np.array(_SECOND.get(color, _IVORY), np.float32)
    share = _PATTERN[pattern](xyz, normals)[:, None]
    return first + (second - first) * share


def soft_step(distance_m: np.ndarray) -> np.ndarray:
    """0 outside, 1 inside of an edge at signed distance 0, with a ramp of 3 mm."""
    return np.clip(0.5 + distance_m / _EDGE_M, 0.0, 1.0)


def _plain(xyz: np.ndarray, normals: np.ndarray) -> np.ndarray:
    return np.zeros(len(xyz), np.float32)


def _striped(
    xyz: np.ndarray, normals: np.ndarray, period_m: float = 0.042, share: float = 0.42
) -> np.ndarray:
    along = xyz @ np.array([0.45, 0.30, 0.84], np.float32)
    return soft_step(share * period_m / 2 - np.abs(along % period_m - period_m / 2))


def _spotted(
    xyz: np.ndarray, normals: np.ndarray, period_m: float = 0.044, radius_m: float = 0.0135
) -> np.ndarray:
    u, v = _surface_plane(xyz, normals)
    row = np.round(v / (0.866 * period_m))
    du = (u / period_m + 0.5 * (row % 2)) % 1.0 - 0.5
    return soft_step(radius_m - np.hypot(du * period_m, v - row * 0.866 * period_m))


def _checkered(xyz: np.ndarray, normals: np.ndarray, cell_m: float = 0.03) -> np.ndarray:
    u, v = _surface_plane(xyz, normals)
    wave = np.sin(u * np.pi / cell_m) * np.sin(v * np.pi / cell_m)
    return soft_step(wave * cell_m / np.pi)


def _surface_plane(xyz: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two coordinates across the normal's main axis, shifted to keep pattern edges off symmetries."""
    axis = np.abs(normals).argmax(axis=1)
    u = np.where(axis == 0, xyz[:, 1], xyz[:, 0])
    v = np.where(axis == 2, xyz[:, 1], xyz[:, 2])
    return u + 0.008, v + 0.005


_PATTERN = {"plain": _plain, "striped": _striped, "spotted": _spotted, "checkered": _checkered}
