"""The solids that objects are put together from, as trimesh meshes with z up."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import trimesh
from trimesh.creation import cylinder, icosphere, revolve

Point = Sequence[float | int]


def block(size: Point, at: Point, yaw: float = 0.0) -> trimesh.Trimesh:
    """A box of the given size; ``at`` is the centre of its base."""
    mesh = trimesh.creation.box(extents=size)
    mesh.apply_translation([0, 0, size[2] / 2])
    mesh.apply_transform(trimesh.transformations.rotation_matrix(yaw, [0, 0, 1]))
    return mesh.apply_translation(at)


def sphere(radius: float, at: Point, stretch: Point = (1, 1, 1)) -> trimesh.Trimesh:
    mesh = icosphere(subdivisions=3, radius=radius)
    return mesh.apply_scale(stretch).apply_translation(at)


def lathe(profile: Sequence[Point], at: Point = (0, 0, 0)) -> trimesh.Trimesh:
    """The surface of revolution of (radius, z) points, listed from the bottom upwards on the outside."""
    return revolve(np.array(profile, float), sections=40).apply_translation(at)


def rod(start: Point, end: Point, radius: float) -> trimesh.Trimesh:
    return cylinder(radius=radius, segment=[start, end], sections=24)


def tube(path: Sequence[Point], radius: float) -> list[trimesh.Trimesh]:
    """Rods along a path with rounded joints."""
    rods = [rod(a, b, radius) for a, b in pairwise(path)]
    return rods + [sphere(radius, point) for point in path]


def spike(base: Point, tip: Point, radius: float) -> trimesh.Trimesh:
    """A cone from the centre of its base to its tip."""
    axis = np.subtract(tip, base)
    mesh = revolve(np.array([[0, 0], [radius, 0], [0, np.linalg.norm(axis)]], float), sections=24)
    return mesh.apply_transform(trimesh.geometry.align_vectors([0, 0, 1], axis)).apply_translation(base)


def prism(polygon: Sequence[Point], depth: float, y: float = 0.0) -> trimesh.Trimesh:
    """A convex polygon of (x, z), counter-clockwise seen from the front, drawn out in y to ``depth``."""
    n = len(polygon)
    front = [(x, y - depth / 2, z) for x, z in polygon]
    back = [(x, y + depth / 2, z) for x, z in polygon]
    fan = [(0, i, i + 1) for i in range(1, n - 1)]
    faces = fan + [(n + a, n + c, n + b) for a, b, c in fan]
    for i in range(n):
        j = (i + 1) % n
        faces += [(i, n + i, n + j), (i, n + j, j)]
    return trimesh.Trimesh(front + back, faces, process=False)
