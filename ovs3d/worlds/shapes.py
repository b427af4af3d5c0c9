"""Objects from primitives. Each noun has a silhouette of its own from every side of the camera arc.

Parts are built in free units with z up and the object's front at -y; ``shape`` brings them to size 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import trimesh
from jaxtyping import Float
from trimesh.creation import cylinder, icosphere, revolve, torus

_CREASE_COS = float(np.cos(np.radians(40.0)))
_BUILDERS: dict[str, Callable[[], list[trimesh.Trimesh]]] = {}
Point = Sequence[float]


@dataclass(frozen=True, eq=False)
class Shape:
    """Triangles of an object whose larger of width and height is 1, standing on z = 0 around the z axis."""

    corners: Float[np.ndarray, "f 3 3"]
    """Corner positions of each triangle."""
    normals: Float[np.ndarray, "f 3 3"]
    """Unit normals at the corners, smooth except across creases."""
    radius: float
    """Radius of the circle around the origin that holds the footprint."""


@cache
def shape(noun: str) -> Shape:
    """The object that a noun of ``words.NOUNS`` names."""
    corners = np.concatenate([part.triangles for part in _BUILDERS[noun]()])
    low, high = corners.min((0, 1)), corners.max((0, 1))
    origin = np.array([*(low + high)[:2] / 2, low[2]])
    corners = (corners - origin) / max(np.linalg.norm((high - low)[:2]) / np.sqrt(1.6), (high - low)[2])
    radius = float(np.linalg.norm(corners[..., :2], axis=-1).max())
    return Shape(corners.astype(np.float32), smooth_normals(corners).astype(np.float32), radius)


def smooth_normals(corners: Float[np.ndarray, "f 3 3"]) -> Float[np.ndarray, "f 3 3"]:
    """Normals per corner: the area-weighted mean over the triangles at that vertex within 40 degrees of its own."""
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    unit = area / np.linalg.norm(area, axis=-1, keepdims=True).clip(1e-12)
    _, vertex = np.unique(corners.reshape(-1, 3).round(6), axis=0, return_inverse=True)
    vertex = vertex.reshape(-1)
    order = np.argsort(vertex, kind="stable")
    start, degree = np.searchsorted(vertex[order], vertex), np.bincount(vertex)[vertex]
    here = np.repeat(np.arange(len(vertex)), degree)
    step = np.arange(len(here)) - np.repeat(np.cumsum(degree) - degree, degree)
    there = order[start[here] + step] // 3
    near = (unit[here // 3] * unit[there]).sum(-1) > _CREASE_COS
    normals = np.zeros((len(vertex), 3))
    np.add.at(normals, here[near], area[there[near]])
    normals = np.where(
        np.linalg.norm(normals, axis=-1, keepdims=True) > 0, normals, np.repeat(unit, 3, axis=0)
    )
    return (normals / np.linalg.norm(normals, axis=-1, keepdims=True).clip(1e-12)).reshape(-1, 3, 3)


# Primitives


def _block(size: Point, at: Point, yaw: float = 0.0) -> trimesh.Trimesh:
    """A box of the given size; ``at`` is the centre of its base."""
    mesh = trimesh.creation.box(extents=size)
    mesh.apply_translation([0, 0, size[2] / 2])
    mesh.apply_transform(trimesh.transformations.rotation_matrix(yaw, [0, 0, 1]))
    return mesh.apply_translation(at)


def _ball(radius: float, at: Point, stretch: Point = (1, 1, 1)) -> trimesh.Trimesh:
    mesh = icosphere(subdivisions=3, radius=radius)
    return mesh.apply_scale(stretch).apply_translation(at)


def _lathe(profile: Sequence[Point], at: Point = (0, 0, 0)) -> trimesh.Trimesh:
    """The surface of revolution of (radius, z) points, listed from the bottom upwards on the outside."""
    return revolve(np.array(profile, float), sections=40).apply_translation(at)


def _rod(start: Point, end: Point, radius: float) -> trimesh.Trimesh:
    return cylinder(radius=radius, segment=[start, end], sections=24)


def _tube(path: Sequence[Point], radius: float) -> list[trimesh.Trimesh]:
    """Rods along a path with rounded joints."""
    rods = [_rod(a, b, radius) for a, b in zip(path[:-1], path[1:], strict=True)]
    return rods + [_ball(radius, point) for point in path]


def _spike(base: Point, tip: Point, radius: float) -> trimesh.Trimesh:
    """A cone from the centre of its base to its tip."""
    axis = np.subtract(tip, base)
    mesh = revolve(np.array([[0, 0], [radius, 0], [0, np.linalg.norm(axis)]], float), sections=24)
    return mesh.apply_transform(trimesh.geometry.align_vectors([0, 0, 1], axis)).apply_translation(base)


def _prism(polygon: Sequence[Point], depth: float, y: float = 0.0) -> trimesh.Trimesh:
    """A convex polygon of (x, z), counter-clockwise seen from the front, drawn out to ``depth`` about ``y``."""
    n = len(polygon)
    front = [(x, y - depth / 2, z) for x, z in polygon]
    back = [(x, y + depth / 2, z) for x, z in polygon]
    fan = [(0, i, i + 1) for i in range(1, n - 1)]
    faces = fan + [(n + a, n + c, n + b) for a, b, c in fan]
    for i in range(n):
        j = (i + 1) % n
        faces += [(i, n + i, n + j), (i, n + j, j)]
    return trimesh.Trimesh(front + back, faces, process=False)


# Nouns


def _noun(build: Callable[[], list[trimesh.Trimesh]]) -> Callable[[], list[trimesh.Trimesh]]:
    _BUILDERS[build.__name__.strip("_")] = build
    return build


@_noun
def _airplane() -> list[trimesh.Trimesh]:
    body = _ball(1.0, (0, 0, 0.45), (1.25, 0.22, 0.22))
    wings = [_block((0.5, 2.3, 0.09), (0.1, 0, 0.42))]
    tail = [
        _block((0.3, 0.9, 0.08), (-1.05, 0, 0.5)),
        _prism([(-1.25, 0.45), (-0.7, 0.45), (-1.2, 1.15)], 0.09),
    ]
    wheels = [_rod((x, y, 0), (x, y, 0.45), 0.07) for x, y in ((0.3, -0.35), (0.3, 0.35), (-0.9, 0))]
    return [body, *wings, *tail, *wheels]


@_noun
def _ball_() -> list[trimesh.Trimesh]:
    return [icosphere(subdivisions=4, radius=0.5)]


@_noun
def _boat() -> list[trimesh.Trimesh]:
    hull = _prism([(-0.65, 0), (0.6, 0), (1.0, 0.42), (-0.9, 0.42)], 0.55)
    return [
        hull,
        _rod((0, 0, 0.4), (0, 0, 1.9), 0.04),
        _prism([(0.07, 0.6), (0.85, 0.6), (0.07, 1.85)], 0.08),
    ] + [_prism([(-0.6, 0.6), (-0.07, 0.6), (-0.07, 1.6)], 0.08)]


@_noun
def _book() -> list[trimesh.Trimesh]:
    parts = []
    for side in (-1, 1):
        yaw = side * np.radians(-32)
        along = np.array([np.cos(yaw) * side, np.sin(yaw) * side])
        inward = np.array([0.0, -0.09])
        parts.append(_block((0.8, 0.06, 1.15), (*along * 0.4, 0), yaw))
        parts.append(_block((0.7, 0.1, 1.03), (*(along * 0.36 + inward), 0.06), yaw))
    return parts


@_noun
def _bottle() -> list[trimesh.Trimesh]:
    return [
        _lathe(
            [
                (0, 0),
                (0.3, 0),
                (0.3, 0.85),
                (0.27, 1.0),
                (0.18, 1.12),
                (0.1, 1.2),
                (0.1, 1.5),
                (0.13, 1.5),
                (0.13, 1.62),
                (0, 1.62),
            ]
        )
    ]


@_noun
def _bowl() -> list[trimesh.Trimesh]:
    angle = np.linspace(0.3, np.pi / 2, 10)
    outer = [(np.sin(a), 1.0 - np.cos(a)) for a in angle]
    inner = [(0.92 * np.sin(a), 1.0 - 0.92 * np.cos(a)) for a in angle[::-1]]
    return [_lathe([(0, -0.1), (0.42, -0.1), (0.36, 0.04), *outer, *inner, (0, 0.1)])]


@_noun
def _box() -> list[trimesh.Trimesh]:
    return [_block((0.8, 0.8, 0.8), (0, 0, 0))]


@_noun
def _cactus() -> list[trimesh.Trimesh]:
    trunk = _tube([(0, 0, 0.1), (0, 0, 1.5)], 0.2)
    right = _tube([(0, 0, 0.6), (0.5, 0, 0.65), (0.52, 0, 1.15)], 0.13)
    left = _tube([(0, 0, 0.85), (-0.47, 0, 0.9), (-0.5, 0, 1.35)], 0.13)
    return [*trunk, *right, *left, _lathe([(0, 0), (0.32, 0), (0.38, 0.28), (0, 0.28)])]


@_noun
def _car() -> list[trimesh.Trimesh]:
    body = [
        _block((2.0, 0.9, 0.4), (0, 0, 0.2)),
        _prism([(-0.65, 0.6), (0.6, 0.6), (0.3, 1.0), (-0.45, 1.0)], 0.8),
    ]
    return body + [
        _rod((x, y - 0.1, 0.22), (x, y + 0.1, 0.22), 0.24) for x in (-0.6, 0.6) for y in (-0.43, 0.43)
    ]


@_noun
def _chair() -> list[trimesh.Trimesh]:
    legs = [_block((0.1, 0.1, 0.6), (x, y, 0)) for x in (-0.35, 0.35) for y in (-0.35, 0.35)]
    posts = [_block((0.1, 0.1, 0.8), (x, 0.35, 0.7)) for x in (-0.35, 0.35)]
    slats = [_block((0.7, 0.07, 0.16), (0, 0.35, z)) for z in (0.88, 1.12, 1.34)]
    return [*legs, _block((0.84, 0.84, 0.1), (0, 0, 0.6)), *posts, *slats]


@_noun
def _cone() -> list[trimesh.Trimesh]:
    return [_lathe([(0, 0), (0.5, 0), (0.0, 1.15)])]


@_noun
def _crown() -> list[trimesh.Trimesh]:
    band = _lathe([(0.5, 0), (0.55, 0), (0.6, 0.4), (0.54, 0.4), (0.5, 0)])
    angles = np.arange(7) * 2 * np.pi / 7
    tips = [(0.7 * np.cos(a), 0.7 * np.sin(a), 0.85) for a in angles]
    spikes = [
        _spike((0.57 * np.cos(a), 0.57 * np.sin(a), 0.3), t, 0.17) for a, t in zip(angles, tips, strict=True)
    ]
    return [band, *spikes, *[_ball(0.08, t) for t in tips]]


@_noun
def _duck() -> list[trimesh.Trimesh]:
    body = _ball(0.6, (0, 0, 0.48), (1.25, 0.85, 0.8))
    head = _ball(0.34, (0.52, 0, 1.12))
    beak = _ball(0.2, (0.92, 0, 1.07), (1.2, 0.9, 0.4))
    return [
        body,
        head,
        beak,
        _rod((0.45, 0, 0.6), (0.5, 0, 1.0), 0.24),
        _spike((-0.45, 0, 0.55), (-1.0, 0, 0.98), 0.3),
    ]


@_noun
def _dumbbell() -> list[trimesh.Trimesh]:
    return [_rod((-0.8, 0, 0.4), (0.8, 0, 0.4), 0.1)] + [
        _rod((x - w, 0, 0.4), (x + w, 0, 0.4), r)
        for s in (-1, 1)
        for x, w, r in ((s * 0.62, 0.1, 0.4), (s * 0.85, 0.08, 0.28))
    ]


@_noun
def _hat() -> list[trimesh.Trimesh]:
    return [_lathe([(0, 0), (0.8, 0), (0.8, 0.06), (0.42, 0.09), (0.36, 0.62), (0.3, 0.7), (0, 0.72)])]


@_noun
def _house() -> list[trimesh.Trimesh]:
    roof = _prism([(-0.62, 0.6), (0.62, 0.6), (0, 1.12)], 1.0)
    return [_block((1.0, 0.85, 0.6), (0, 0, 0)), roof, _block((0.16, 0.16, 0.55), (0.3, 0, 0.7))]


@_noun
def _lamp() -> list[trimesh.Trimesh]:
    base = _lathe([(0, 0), (0.36, 0), (0.34, 0.08), (0.05, 0.14), (0.05, 0.95)])
    return [base, _lathe([(0.52, 0.75), (0.26, 1.35), (0.23, 1.35), (0.49, 0.75), (0.52, 0.75)])]


@_noun
def _mug() -> list[trimesh.Trimesh]:
    cup = _lathe([(0, 0), (0.42, 0), (0.42, 1.0), (0.36, 1.0), (0.36, 0.08), (0, 0.08)])
    handle = torus(major_radius=0.28, minor_radius=0.075, major_sections=32, minor_sections=12)
    handle.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0]))
    return [cup, handle.apply_translation([0.48, 0, 0.5])]


@_noun
def _robot() -> list[trimesh.Trimesh]:
    body = [_block((0.62, 0.42, 0.62), (0, 0, 0.45)), _block((0.44, 0.38, 0.36), (0, 0, 1.16))]
    limbs = [_block((0.2, 0.3, 0.45), (x, 0, 0)) for x in (-0.18, 0.18)]
    arms = [_block((0.16, 0.2, 0.62), (x, 0, 0.45)) for x in (-0.46, 0.46)]
    antenna = [_rod((0, 0, 1.5), (0, 0, 1.72), 0.035), _ball(0.08, (0, 0, 1.74))]
    return [*body, *limbs, *arms, _rod((0, 0, 1.0), (0, 0, 1.2), 0.1), *antenna]


@_noun
def _rocket() -> list[trimesh.Trimesh]:
    body = _lathe([(0, 0.2), (0.2, 0.2), (0.3, 0.55), (0.3, 1.0), (0.24, 1.3), (0.12, 1.6), (0, 1.8)])
    fin = _prism([(0.15, 0.35), (0.62, 0), (0.62, 0.3), (0.25, 0.8)], 0.08)
    turns = [trimesh.transformations.rotation_matrix(a, [0, 0, 1]) for a in np.arange(4) * np.pi / 2 + 0.3]
    return [body, *[fin.copy().apply_transform(turn) for turn in turns]]


@_noun
def _snowman() -> list[trimesh.Trimesh]:
    balls = [_ball(r, (0, 0, z)) for r, z in ((0.42, 0.38), (0.31, 0.97), (0.22, 1.42))]
    arms = [_rod((0, 0, 1.0), (s * 0.68, 0, 1.25), 0.04) for s in (-1, 1)]
    return [*balls, *arms, _spike((0, -0.15, 1.42), (0, -0.5, 1.4), 0.07)]


@_noun
def _stairs() -> list[trimesh.Trimesh]:
    return [_block((0.3, 0.7, 0.25 * (i + 1)), (0.3 * i, 0, 0)) for i in range(4)]


@_noun
def _star() -> list[trimesh.Trimesh]:
    axes = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    diagonals = [(x * 0.62, y * 0.62, z * 0.62) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    turn = trimesh.transformations.rotation_matrix(0.35, [1, 0.6, 0.2])
    return [_spike((0, 0, 0), tip, 0.28).apply_transform(turn) for tip in axes + diagonals]


@_noun
def _tree() -> list[trimesh.Trimesh]:
    crown = [
        _lathe([(0, 0), (r, 0), (0, h)], (0, 0, z))
        for r, h, z in ((0.58, 0.6, 0.35), (0.46, 0.55, 0.72), (0.33, 0.5, 1.08))
    ]
    return [_rod((0, 0, 0), (0, 0, 0.4), 0.1), *crown]
