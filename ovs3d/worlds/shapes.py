"""The triangles of a noun, brought to a common size, with smooth normals where the shape is round."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Integer

from ovs3d.worlds.nouns import BUILDERS

_CREASE_COS = float(np.cos(np.radians(40.0)))


@dataclass(frozen=True, eq=False)
class Shape:
    """Triangles of an object of size 1, standing on z = 0 around the z axis.

    Size is the geometric mean of the longest side of the bounding box and of its mean side, so that flat,
    tall and cubic things look about equally large.
    """

    corners: Float[np.ndarray, "f 3 3"]
    """Corner positions of each triangle."""
    normals: Float[np.ndarray, "f 3 3"]
    """Unit normals at the corners, smooth except across creases."""
    radius: float
    """Radius of the circle around the origin that holds the footprint."""


@cache
def shape(noun: str) -> Shape:
    """The object that a noun of ``words.NOUNS`` names."""
    corners = np.concatenate([part.triangles for part in BUILDERS[noun]()])
    low, high = corners.min((0, 1)), corners.max((0, 1))
    size = np.sqrt((high - low).max() * np.cbrt((high - low).prod()))
    corners = (corners - [*(low + high)[:2] / 2, low[2]]) / size
    radius = float(np.linalg.norm(corners[..., :2], axis=-1).max())
    return Shape(corners.astype(np.float32), smooth_normals(corners).astype(np.float32), radius)


def smooth_normals(
    corners: Float[np.ndarray, "f 3 3"], parts: Integer[np.ndarray, " f"] | None = None
) -> Float[np.ndarray, "f 3 3"]:
    """Normals per corner: the area-weighted mean over triangles at the vertex within 40 degrees.

    Args:
        parts: what each triangle belongs to; there are creases between parts. Default: all are one.
    """
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    unit = area / np.linalg.norm(area, axis=-1, keepdims=True).clip(1e-12)
    places = corners.reshape(-1, 3).round(6)
    if parts is not None:
        places = np.column_stack([places, np.repeat(parts, 3)])
    order = np.lexsort(places.T)
    first = np.r_[True, (np.diff(places[order], axis=0) != 0).any(1)]
    vertex = np.empty(len(places), np.int64)
    vertex[order] = first.cumsum() - 1
    start, degree = np.flatnonzero(first)[vertex], np.bincount(vertex)[vertex]
    here = np.repeat(np.arange(len(vertex)), degree)
    step = np.arange(len(here)) - np.repeat(np.cumsum(degree) - degree, degree)
    there = order[start[here] + step] // 3
    near = (unit[here // 3] * unit[there]).sum(-1) > _CREASE_COS
    near_area = area[there[near]]
    normals = np.stack([np.bincount(here[near], axis, len(vertex)) for axis in near_area.T], axis=1)
    normals = np.where(
        np.linalg.norm(normals, axis=-1, keepdims=True) > 0, normals, np.repeat(unit, 3, axis=0)
    )
    return (normals / np.linalg.norm(normals, axis=-1, keepdims=True).clip(1e-12)).reshape(-1, 3, 3)
