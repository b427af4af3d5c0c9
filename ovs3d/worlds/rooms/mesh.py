"""The mesh that a scanner makes of a room: what some shot has seen, with the colours of the shots."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32, Integer, UInt8

from ovs3d.geometry import pixel_from_camera, transform
from ovs3d.worlds.render import Scene
from ovs3d.worlds.rooms.room import RoomWorld
from ovs3d.worlds.rooms.views import REACH_M, Shot

_HIDDEN_M = 0.005
_SAME_M = 1e-3


@dataclass(frozen=True, eq=False)
class Mesh:
    """Vertices on exact surfaces, in the world's frame."""

    xyz: Float[np.ndarray, "n 3"]
    """Metres, float32."""
    rgb: UInt8[np.ndarray, "n 3"]
    """Mean over the shots that see a vertex."""
    things: UInt8[np.ndarray, " n"]
    """Position in the world's things."""
    parts: Int32[np.ndarray, " n"]
    """Which piece of all things' pieces."""
    faces: Int32[np.ndarray, "f 3"]
    """Triangles; their sides are not oriented."""


def scan(world: RoomWorld, shots: Sequence[Shot], spacing_m: float) -> Mesh:
    """The surfaces that shots with a known pose have seen.

    Args:
        spacing_m: edge of the cells of which each holds at most one vertex of a thing.
    """
    room_from_world = np.linalg.inv(world.world_from_room)
    corners, of = subdivided(world.scene.corners.astype(np.float64), spacing_m)
    xyz, of = corners.reshape(-1, 3), np.repeat(of, 3)
    first, fine = _one_per_cell(transform(room_from_world, xyz), world.scene.classes[of], _SAME_M)
    xyz, of = xyz[first], of[first]
    things = world.scene.classes[of]
    seen, rgb = _colours(world.scene, xyz, things, shots)
    first, coarse = _one_per_cell(transform(room_from_world, xyz[seen]), things[seen], spacing_m)
    kept = seen[first]
    position = np.full(len(xyz), -1)
    position[seen] = coarse
    faces = _whole(position[fine.reshape(-1, 3)])
    parts = world.scene.parts[of[kept]]
    return Mesh(xyz[kept].astype(np.float32), rgb[first], things[kept], parts, faces)


def _colours(
    scene: Scene, xyz: Float[np.ndarray, "n 3"], things: UInt8[np.ndarray, " n"], shots: Sequence[Shot]
) -> tuple[Integer[np.ndarray, " m"], UInt8[np.ndarray, "m 3"]]:
    """Which vertices are seen from a known pose, and their mean colours."""
    total, count = np.zeros((len(xyz), 3)), np.zeros(len(xyz), np.int64)
    for shot in shots:
        if shot.tracked:
            vertices, row, col = _seen(scene, xyz, things, shot)
            total[vertices] += shot.view.rgb[row, col]
            count[vertices] += 1
    seen = np.flatnonzero(count)
    return seen, (total[seen] / count[seen, None] + 0.5).astype(np.uint8)


def _seen(
    scene: Scene, xyz: Float[np.ndarray, "n 3"], things: UInt8[np.ndarray, " n"], shot: Shot
) -> tuple[Integer[np.ndarray, " m"], Integer[np.ndarray, " m"], Integer[np.ndarray, " m"]]:
    """Vertices with a free line of sight, at most ``REACH_M`` deep, whose pixel (row, col) shows their thing."""
    camera = shot.camera
    in_camera = transform(camera.camera_from_world, xyz)
    ahead = np.flatnonzero((in_camera[:, 2] > 0.05) & (in_camera[:, 2] < REACH_M))
    row, col = np.floor(pixel_from_camera(camera.intrinsics, in_camera[ahead])).astype(np.int64).T
    inside = (row >= 0) & (row < camera.height) & (col >= 0) & (col < camera.width)
    ahead, row, col = ahead[inside], row[inside], col[inside]
    same = shot.view.labels[row, col] == things[ahead]
    ahead, row, col = ahead[same], row[same], col[same]
    rays = (xyz[ahead] - camera.position).astype(np.float32)
    short_m = (1 - scene.cast(camera.position, rays)["tfar"]) * np.linalg.norm(rays, axis=1)
    free = short_m < _HIDDEN_M
    return ahead[free], row[free], col[free]


def subdivided(
    corners: Float[np.ndarray, "f 3 3"], longest_m: float
) -> tuple[Float[np.ndarray, "g 3 3"], Integer[np.ndarray, " g"]]:
    """Triangles halved at their longest edge until none is longer than this, and which triangle each is a part of."""
    done, parents, of = [], [], np.arange(len(corners))
    while len(corners):
        edges = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
        longest, small = edges.argmax(axis=1), edges.max(axis=1) <= longest_m
        done.append(corners[small])
        parents.append(of[small])
        order = (longest[~small, None] + np.arange(3)) % 3
        a, b, c = np.take_along_axis(corners[~small], order[..., None], axis=1).transpose(1, 0, 2)
        middle = (a + b) / 2
        corners = np.concatenate([np.stack([a, middle, c], axis=1), np.stack([middle, b, c], axis=1)])
        of = np.tile(of[~small], 2)
    return np.concatenate(done), np.concatenate(parents)


def _one_per_cell(
    xyz: Float[np.ndarray, "n 3"], things: UInt8[np.ndarray, " n"], cell_m: float
) -> tuple[Integer[np.ndarray, " k"], Integer[np.ndarray, " n"]]:
    """The first point of each thing in each cell of a grid, and for each point the position of its cell's."""
    cells = np.floor(xyz / cell_m + 0.5).astype(np.int64) + 1000  # walls and floor lie in the middle of cells
    keys = ((things.astype(np.int64) << 16 | cells[:, 0]) << 16 | cells[:, 1]) << 16 | cells[:, 2]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first, inverse.reshape(-1)


def _whole(faces: Integer[np.ndarray, "f 3"]) -> Int32[np.ndarray, "g 3"]:
    """Triangles of three different vertices that are there (not -1), each once."""
    low, middle, high = np.sort(faces, axis=1).T
    whole = (low >= 0) & (low < middle) & (middle < high)
    return np.unique(np.stack([low, middle, high], axis=1)[whole], axis=0).astype(np.int32)
