"""Tabletop worlds: five to seven painted objects on a table before a wall, seen by 30 cameras on an arc.

The world's z points up, the table is the plane z = 0, the cameras stand at negative y. Table and walls close
the scene: every ray of every camera hits something.
"""

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from ovs3d.errors import InputError
from ovs3d.geometry import Camera, look_at
from ovs3d.worlds import render as raycast
from ovs3d.worlds.paint import painted
from ovs3d.worlds.render import Render, Scene
from ovs3d.worlds.shapes import shape, smooth_normals
from ovs3d.worlds.textures import textured
from ovs3d.worlds.words import COLORS, NOUNS, PATTERNS, TABLES, WALLS, phrase

HEIGHT, WIDTH, N_VIEWS = 240, 320, 30
HELD_OUT = (3, 9, 15, 21, 27)
"""Indices of the views that are kept from training, inside the arc."""

_AZIMUTH, _ELEVATION, _DISTANCE_M = (-50.0, 50.0), (15.0, 40.0), (1.14, 1.26)
_SIZE_M, _SPREAD_M, _GAP_M = (0.155, 0.19), (0.36, 0.28), 0.025
_LEFT, _RIGHT, _FRONT, _BACK, _TOP = -1.15, 1.15, -1.6, 0.58, 1.5


@dataclass(frozen=True, eq=False)
class TabletopObject:
    """One object and where it stands."""

    noun: str
    color: str
    pattern: str
    size_m: float
    """Size in metres, as ``shapes.Shape`` defines it."""
    x_m: float
    y_m: float
    yaw: float
    """Turn about the vertical, in radians; 0 shows the front to the middle of the arc."""

    @property
    def prompt(self) -> str:
        """What it is called: "red striped mug"."""
        return phrase(self.color, self.pattern, self.noun)

    @property
    def world_from_object(self) -> np.ndarray:
        """4x4 transform without scale: both frames are in metres."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        pose = np.eye(4, dtype=np.float32)
        pose[:2, :2] = [[cos, -sin], [sin, cos]]
        pose[:2, 3] = self.x_m, self.y_m
        return pose

    def colour_at(self, xyz: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Colour in 0..1 of world points on its surface."""
        pose = self.world_from_object
        return painted(self.color, self.pattern, (xyz - pose[:3, 3]) @ pose[:3, :3], normals @ pose[:3, :3])


@dataclass(frozen=True, eq=False)
class TabletopWorld:
    """A scene with its objects, table and wall; class ids are positions in ``classes``."""

    seed: int
    objects: tuple[TabletopObject, ...]
    table: str
    wall: str
    lamp: tuple[float, float, float]
    """Position of the lamp in metres."""
    texture_shift_m: tuple[float, float]
    """Where the table's and the wall's texture begin."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Prompts: the objects in order, then the table, then the wall."""
        return (*(each.prompt for each in self.objects), self.table, self.wall)

    @cached_property
    def scene(self) -> Scene:
        """Triangles and materials for the ray caster."""
        parts = [_object_triangles(each) for each in self.objects] + [_table_triangles(), _wall_triangles()]
        classes = [np.full(len(corners), index, np.int32) for index, (corners, _) in enumerate(parts)]
        floor = partial(_textured_plane, self.table, self.texture_shift_m)
        wall = partial(_textured_plane, self.wall, self.texture_shift_m)
        return Scene(
            corners=np.concatenate([corners for corners, _ in parts]).astype(np.float32),
            normals=np.concatenate([normals for _, normals in parts]).astype(np.float32),
            classes=np.concatenate(classes).astype(np.uint8),
            parts=np.concatenate(classes),
            materials=(*(each.colour_at for each in self.objects), floor, wall),
            lamp=np.array(self.lamp, np.float32),
        )

    def cameras(self) -> tuple[Camera, ...]:
        """The 30 views: a sweep of the arc from left to right at changing heights, 320x240."""
        rng = np.random.default_rng((self.seed, 1))
        azimuths = np.linspace(*_AZIMUTH, N_VIEWS)
        steps = rng.permutation(N_VIEWS) + rng.random(N_VIEWS)
        elevations = _ELEVATION[0] + (_ELEVATION[1] - _ELEVATION[0]) * steps / N_VIEWS
        return tuple(
            _camera(rng, azimuth, elevation, HEIGHT, WIDTH)
            for azimuth, elevation in zip(azimuths, elevations, strict=True)
        )

    def random_camera(self, rng: np.random.Generator, height: int = HEIGHT, width: int = WIDTH) -> Camera:
        """A view from anywhere on the arc."""
        return _camera(rng, rng.uniform(*_AZIMUTH), rng.uniform(*_ELEVATION), height, width)


def render(world: TabletopWorld, camera: Camera) -> Render:
    """Colour, z-depth and class ids of a view."""
    return raycast.render(world.scene, camera)


def make_tabletop(seed: int) -> TabletopWorld:
    """The world of a seed: objects of five to seven different nouns that do not touch.

    Raises:
        InputError: the seed is negative.
    """
    if seed < 0:
        raise InputError(f"a world's seed is a whole number from 0, not {seed}")
    rng = np.random.default_rng((seed, 0))
    nouns = [NOUNS[index] for index in rng.permutation(len(NOUNS))[: rng.integers(5, 8)]]
    sizes = rng.uniform(*_SIZE_M, len(nouns))
    radii = sizes * [shape(noun).radius for noun in nouns]
    objects = tuple(
        TabletopObject(
            noun=noun,
            color=str(rng.choice(COLORS)),
            pattern=str(rng.choice(PATTERNS)),
            size_m=float(size),
            x_m=float(x),
            y_m=float(y),
            yaw=float(rng.uniform(-0.7, 0.7)),
        )
        for noun, size, (x, y) in zip(nouns, sizes, _place(rng, radii), strict=True)
    )
    return TabletopWorld(
        seed=seed,
        objects=objects,
        table=str(rng.choice(TABLES)),
        wall=str(rng.choice(WALLS)),
        lamp=(float(rng.uniform(-0.7, 0.7)), float(rng.uniform(-1.1, -0.5)), 1.7),
        texture_shift_m=(float(rng.uniform(0, 2)), float(rng.uniform(0, 2))),
    )


def _place(rng: np.random.Generator, radii: np.ndarray) -> np.ndarray:
    """Centres (n, 2) in an ellipse, circles apart by a gap: random tries, begun anew when none fits."""
    while True:
        centres = np.full((len(radii), 2), np.inf)
        for index in np.argsort(-radii, kind="stable"):
            angle, reach = rng.uniform(0, 2 * np.pi, 40), np.sqrt(rng.random(40))
            tries = np.stack([np.cos(angle), np.sin(angle)], 1) * reach[:, None] * _SPREAD_M
            apart = np.linalg.norm(tries[:, None] - centres, axis=-1) - radii - radii[index] - _GAP_M
            fits = np.flatnonzero((apart > 0).all(axis=1))
            if len(fits) == 0:
                break
            centres[index] = tries[fits[0]]
        else:
            return centres


def _camera(rng: np.random.Generator, azimuth: float, elevation: float, height: int, width: int) -> Camera:
    """A camera on the arc (degrees) that looks near the table's middle; 0.2 m there are 28 % of its rows."""
    phi, theta = np.radians([azimuth, elevation])
    away = np.array([np.sin(phi) * np.cos(theta), -np.cos(phi) * np.cos(theta), np.sin(theta)])
    target = np.array([0.0, 0.0, 0.06]) + rng.uniform(-0.025, 0.025, 3)
    focal = max(1.7 * height, 1.275 * width)
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Camera(intrinsics, look_at(target + rng.uniform(*_DISTANCE_M) * away, target), height, width)


def _object_triangles(thing: TabletopObject) -> tuple[np.ndarray, np.ndarray]:
    unit, pose = shape(thing.noun), thing.world_from_object
    return unit.corners * thing.size_m @ pose[:3, :3].T + pose[:3, 3], unit.normals @ pose[:3, :3].T


def _table_triangles() -> tuple[np.ndarray, np.ndarray]:
    corners = _quad((_LEFT, _FRONT, 0), (_RIGHT, _FRONT, 0), (_RIGHT, _BACK, 0), (_LEFT, _BACK, 0))
    return corners, smooth_normals(corners)


def _wall_triangles() -> tuple[np.ndarray, np.ndarray]:
    left = _quad((_LEFT, _FRONT, 0), (_LEFT, _BACK, 0), (_LEFT, _BACK, _TOP), (_LEFT, _FRONT, _TOP))
    back = _quad((_LEFT, _BACK, 0), (_RIGHT, _BACK, 0), (_RIGHT, _BACK, _TOP), (_LEFT, _BACK, _TOP))
    right = _quad((_RIGHT, _BACK, 0), (_RIGHT, _FRONT, 0), (_RIGHT, _FRONT, _TOP), (_RIGHT, _BACK, _TOP))
    corners = np.concatenate([left, back, right])
    return corners, smooth_normals(corners)


def _quad(*corners: tuple[float, float, float | int]) -> np.ndarray:
    a, b, c, d = corners
    return np.array([[a, b, c], [a, c, d]])


def _textured_plane(
    name: str, shift_m: tuple[float, float], xyz: np.ndarray, normals: np.ndarray
) -> np.ndarray:
    """Table: texture over (x, y); walls: over (x, z) at the back and (y, z) at the sides."""
    u = np.where(np.abs(normals[:, 0]) > 0.5, xyz[:, 1], xyz[:, 0])
    v = np.where(normals[:, 2] > 0.5, xyz[:, 1], xyz[:, 2])
    return textured(name, np.stack([u + (2.1 + shift_m[0]), v + (2.1 + shift_m[1])], axis=1))
