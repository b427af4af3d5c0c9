"""A walk through a room with a handheld scanner: colour and depth from one pose, at two sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ovs3d.geometry import Camera, camera_from_pixel, look_at, pixel_centres, transform
from ovs3d.worlds.render import Render, Scene, render
from ovs3d.worlds.rooms.room import RoomWorld

REACH_M = 6.0
"""What is farther than this has no depth."""
_GRAZING_COS = 0.1
_FOCAL_COLOR, _FOCAL_DEPTH = 0.903, 0.893  # in widths of the image: those of ScanNet's first scenes
_EYE_M, _PITCH = (1.2, 1.7), (-0.85, 0.1)
_CANDIDATES, _CELL_M = 240, 0.25
_APART_M = 0.3
_NEAR_M, _NEAR_SHARE = 0.8, 0.3
_LOOK_HEIGHT, _LOOK_WIDTH = 24, 32
_SHELL = ("floor", "ceiling", "wall")


@dataclass(frozen=True, eq=False)
class Shot:
    """What the scanner takes at one moment. Labels are positions in the world's things; 255: the panel of light."""

    camera: Camera
    """Of the colour image."""
    depth_camera: Camera
    """Of the depth image: the same pose, other intrinsics."""
    view: Render
    """Exact truth at the colour camera."""
    depth: Float[np.ndarray, "h w"]
    """z-depth that the sensor measures, metres; 0 where it measures none: far away, or on grazing surfaces."""
    tracked: bool
    """Whether the scanner knew its pose."""


@dataclass(frozen=True)
class Sizes:
    """Of both images, in pixels; widths are multiples of four, images 4:3."""

    color_width: int = 320
    depth_width: int = 160


def walk(world: RoomWorld, n_frames: int, sizes: Sizes = Sizes()) -> list[Shot]:
    """Shots from the poses that see the most of a room; one of them has lost its pose."""
    poses, lost = _poses(world, n_frames)
    return [_shot(world.scene, pose, sizes, tracked=index != lost) for index, pose in enumerate(poses)]


def color_camera(world_from_camera: Float[np.ndarray, "4 4"], width: int) -> Camera:
    """A camera whose axis does not meet the middle of its image."""
    height = width * 3 // 4
    focal = _FOCAL_COLOR * width
    intrinsics = np.array([[focal, 0, 0.506 * width], [0, focal, 0.496 * height], [0, 0, 1]])
    return Camera(intrinsics, world_from_camera, height, width)


def depth_camera(world_from_camera: Float[np.ndarray, "4 4"], width: int) -> Camera:
    height = width * 3 // 4
    focal = _FOCAL_DEPTH * width
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Camera(intrinsics, world_from_camera, height, width)


def sensed_depth(scene: Scene, camera: Camera) -> Float[np.ndarray, "h w"]:
    """z-depth in metres, float32; 0 in the sky, beyond 6 m, and where a surface is seen edge-on."""
    rays = _rays(camera, pixel_centres(camera.height, camera.width).reshape(-1, 2))
    hit = scene.cast(camera.position, rays)
    a, b, c = scene.corners[hit["primID"]].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1) * np.linalg.norm(rays, axis=1)
    facing = np.abs(np.einsum("nc,nc->n", normals, rays)) > _GRAZING_COS * lengths
    depth = hit["tfar"]  # rays have z = 1 in the camera, so tfar is z-depth
    measured = (hit["primID"] >= 0) & facing & (depth < REACH_M)
    return np.where(measured, depth, 0).astype(np.float32).reshape(camera.height, camera.width)


def _rays(camera: Camera, row_col: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    directions = camera_from_pixel(camera.intrinsics, row_col) @ camera.world_from_camera[:3, :3].T
    return directions.astype(np.float32)


def _shot(scene: Scene, pose: np.ndarray, sizes: Sizes, tracked: bool) -> Shot:
    camera, other = color_camera(pose, sizes.color_width), depth_camera(pose, sizes.depth_width)
    return Shot(camera, other, render(scene, camera), sensed_depth(scene, other), tracked)


def _poses(world: RoomWorld, count: int) -> tuple[list[np.ndarray], int]:
    """Poses in the order of a walk, and which of them adds least to what is seen."""
    rng = np.random.default_rng((world.seed, 3))
    poses = _candidates(rng, world)
    chosen = _greedy(_coverage(world, poses), count)
    order = _tour(np.stack([poses[index][:3, 3] for index in chosen]))
    return [poses[chosen[index]] for index in order], order.index(count - 1)


def _candidates(rng: np.random.Generator, world: RoomWorld) -> list[np.ndarray]:
    """Poses at eye height, clear of walls and of what is tall."""
    room_from_world = np.linalg.inv(world.world_from_room)
    boxes = np.stack(
        [each.moved(room_from_world).box for each in world.things if each.category not in _SHELL]
    )
    tall = boxes[boxes[:, 1, 2] > _EYE_M[0] - _APART_M]
    poses = []
    while len(poses) < _CANDIDATES:
        xy = rng.uniform((0, 0), (world.plan.wide, world.plan.deep))
        beside = (xy > tall[:, 0, :2] - _APART_M) & (xy < tall[:, 1, :2] + _APART_M)
        if beside.all(axis=1).any() or not world.plan.inside(xy[None], _APART_M)[0]:
            continue
        eye = transform(world.world_from_room, np.array([*xy, rng.uniform(*_EYE_M)]))
        yaw, pitch = rng.uniform(0, 2 * np.pi), rng.uniform(*_PITCH)
        ahead = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
        poses.append(look_at(eye, eye + ahead))
    return poses


def _coverage(world: RoomWorld, poses: Sequence[np.ndarray]) -> Bool[np.ndarray, "n cells"]:
    """Which bits of the surface each pose sees; a pose with its nose at something sees none."""
    ceiling = [each.category for each in world.things].index("ceiling")
    keys = []
    for pose in poses:
        camera = color_camera(pose, _LOOK_WIDTH)
        rays = _rays(camera, pixel_centres(_LOOK_HEIGHT, _LOOK_WIDTH).reshape(-1, 2))
        hit = world.scene.cast(camera.position, rays)
        depth, things = hit["tfar"], world.scene.classes[hit["primID"]]
        too_near = np.quantile(depth, _NEAR_SHARE) < _NEAR_M
        there = (hit["primID"] >= 0) & (things != ceiling) & (depth < REACH_M) & ~too_near
        xyz = camera.position + rays[there] * depth[there, None]
        cells = np.column_stack([np.floor(xyz / _CELL_M), things[there]]).astype(np.int64)
        keys.append(np.unique(cells @ (1 << np.array([0, 12, 24, 36]))))
    every = np.unique(np.concatenate(keys))
    return np.stack([np.isin(every, mine) for mine in keys])


def _greedy(sees: Bool[np.ndarray, "n cells"], count: int) -> list[int]:
    """Poses one by one, each the one that sees most; a second look at something is worth half of the first."""
    worth, chosen = np.ones(sees.shape[1]), []
    left = np.ones(len(sees), bool)
    for _ in range(count):
        best = int(np.where(left, sees @ worth, -1).argmax())
        chosen.append(best)
        left[best] = False
        worth[sees[best]] /= 2
    return chosen


def _tour(positions: Float[np.ndarray, "n 3"]) -> list[int]:
    """From the first place on, always to the nearest that is left."""
    order, left = [0], list(range(1, len(positions)))
    while left:
        distance = np.linalg.norm(positions[left] - positions[order[-1]], axis=1)
        order.append(left.pop(int(distance.argmin())))
    return order
