"""Things in rooms: triangles with materials, in a frame of their own, and where they stand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import trimesh
from jaxtyping import Float

from ovs3d.geometry import transform
from ovs3d.worlds.render import Material
from ovs3d.worlds.rooms.labels import CATEGORIES
from ovs3d.worlds.shapes import smooth_normals


@dataclass(frozen=True, eq=False)
class Piece:
    """Triangles of one material, in the thing's frame."""

    corners: Float[np.ndarray, "f 3 3"]
    normals: Float[np.ndarray, "f 3 3"]
    """Unit normals at the corners."""
    paint: Material
    """Colour as a function of place and normal in the thing's frame."""


@dataclass(frozen=True, eq=False)
class Thing:
    """One object, or one wall: an instance with a class."""

    category: str
    """A key of ``labels.CATEGORIES``."""
    pieces: tuple[Piece, ...]
    pose: Float[np.ndarray, "4 4"]
    """Target from thing, without scale; the target is whatever frame the thing has been moved to."""

    @property
    def nyu40(self) -> int:
        """NYU40 id of its class."""
        return CATEGORIES[self.category].nyu40

    @cached_property
    def box(self) -> Float[np.ndarray, "2 3"]:
        """Lowest and highest corner of its bounding box in the target frame."""
        points = np.concatenate([piece.corners.reshape(-1, 3) for piece in self.pieces])
        moved = transform(self.pose, points)
        return np.stack([moved.min(axis=0), moved.max(axis=0)])

    def moved(self, target_from_here: Float[np.ndarray, "4 4"]) -> "Thing":
        """The same thing in another frame, or elsewhere."""
        return replace(self, pose=target_from_here @ self.pose)


Number = float | int

Build = Callable[[np.random.Generator], list[Thing]]
"""Makes a piece of furniture with what belongs to it. z up, on z = 0; the front looks along -y."""


def thing(category: str, *pieces: tuple[Sequence[trimesh.Trimesh], Material]) -> Thing:
    """A thing of solids with a material each, where they are."""
    made = []
    for meshes, paint in pieces:
        corners = np.concatenate([mesh.triangles for mesh in meshes])
        made.append(Piece(corners, smooth_normals(corners), paint))
    return Thing(category, tuple(made), np.eye(4))


def placed(things: Sequence[Thing], x: Number, y: Number, z: Number = 0, yaw: Number = 0) -> list[Thing]:
    """Things turned about the vertical through the origin, then shifted."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    pose = np.array([[cos, -sin, 0, x], [sin, cos, 0, y], [0, 0, 1, z], [0, 0, 0, 1]], dtype=np.float64)
    return [each.moved(pose) for each in things]


def bounds(things: Sequence[Thing]) -> Float[np.ndarray, "2 3"]:
    """Lowest and highest corner of the box around all things."""
    boxes = np.stack([each.box for each in things])
    return np.stack([boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)])


def sheet(
    left: float, right: float, bottom: float, top: float, wave_m: float, fold_m: float
) -> trimesh.Trimesh:
    """Hanging cloth in folds ``wave_m`` deep and about ``fold_m`` wide, around y = 0."""
    folds = max(2, round((right - left) / fold_m))
    x = np.linspace(left, right, 10 * folds + 1)
    z = np.linspace(bottom, top, max(2, round((top - bottom) / 0.12)) + 1)
    xx, zz = np.meshgrid(x, z)
    yy = wave_m / 2 * np.sin((xx - left) / (right - left) * folds * 2 * np.pi)
    index = np.arange(xx.size).reshape(xx.shape)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return trimesh.Trimesh(np.stack([xx, yy, zz], -1).reshape(-1, 3), faces, process=False)
