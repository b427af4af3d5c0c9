"""Street worlds: a stretch of road with the 16 classes of nuScenes, traffic that moves, and exact truth.

The world's z points up, the carriageway is z = 0, and the ego vehicle drives along x, then along the road's arc.
Labels are positions in ``kinds.KINDS``, which are finer than any data set's classes.
"""

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from jaxtyping import Float, Int32, UInt8

from ovs3d.errors import InputError
from ovs3d.geometry import Camera, transform
from ovs3d.worlds.render import Scene, Sky, render, stand
from ovs3d.worlds.streets.ground import Road, ground
from ovs3d.worlds.streets.layers import layered
from ovs3d.worlds.streets.layout import Thing, lay_out
from ovs3d.worlds.streets.model import Model, assemble
from ovs3d.worlds.streets.paint import cloudiness

_EGO_S_M, _AHEAD_M = 30.0, 60.0
_ZENITH, _HORIZON, _CLOUD = (0.30, 0.50, 0.80), (0.80, 0.86, 0.92), (0.97, 0.97, 0.97)


@dataclass(frozen=True, eq=False)
class Moment:
    """A street at one time, ready for ray casting; labels are kinds."""

    scene: Scene
    thing_of_part: Int32[np.ndarray, " p"]
    """Which of the world's things each part of the scene belongs to; -1: the ground."""


@dataclass(frozen=True, eq=False)
class StreetWorld:
    """A road, what stands and moves on it, and the way of the ego vehicle."""

    seed: int
    road: Road
    ground: Model
    things: tuple[Thing, ...]
    ego_mps: float
    sun: tuple[float, float, float]
    """Position of the lamp in metres."""

    def world_from_ego(self, time_s: float) -> Float[np.ndarray, "4 4"]:
        """Pose of the ego vehicle: x forward, z up, on the ground below its rear axle."""
        return self.road.world_from_place(_EGO_S_M + self.ego_mps * time_s, -self.road.lane_m(0))

    def at(self, time_s: float) -> Moment:
        """The triangles of everything where it is at a time."""
        still = self._still
        ids = [index for index, thing in enumerate(self.things) if thing.moves]
        if not ids:
            return still
        placed = [(self.things[index].model, self.things[index].world_from_thing(time_s)) for index in ids]
        moving, owners = _collect(placed, still.scene.lamp)
        owners = np.concatenate([still.thing_of_part, np.array(ids, np.int32)[owners]])
        return Moment(layered(still.scene, moving), owners)

    @cached_property
    def _still(self) -> Moment:
        """What never moves: the ground, then the things that stand."""
        ids = [index for index, thing in enumerate(self.things) if not thing.moves]
        standing = [(self.things[index].model, self.things[index].world_from_thing(0.0)) for index in ids]
        lamp, sky = np.array(self.sun, np.float32), partial(_sky, self.seed)
        scene, owners = _collect([(self.ground, np.eye(4)), *standing], lamp, sky)
        return Moment(scene, np.array([-1, *ids], np.int32)[owners])


def photo(moment: Moment, camera: Camera) -> UInt8[np.ndarray, "h w 3"]:
    """What a camera sees, with four samples in each pixel."""
    double = np.diag([2.0, 2.0, 1.0]) @ camera.intrinsics
    height, width = camera.height, camera.width
    fine = render(moment.scene, Camera(double, camera.world_from_camera, 2 * height, 2 * width)).rgb
    return (fine.reshape(height, 2, width, 2, 3).mean((1, 3)) + 0.5).astype(np.uint8)


def make_street(seed: int, length_m: float = 120.0, seconds: float = 4.0) -> StreetWorld:
    """The street of a seed.

    Args:
        length_m: of the stretch that is lined with things; longer where the ego vehicle needs it.
        seconds: how long the ego vehicle drives.

    Raises:
        InputError: the seed is negative.
    """
    if seed < 0:
        raise InputError(f"a world's seed is a whole number from 0, not {seed}")
    rng = np.random.default_rng((seed, 2))
    ego_mps = float(rng.uniform(5.0, 8.5))
    length = max(length_m, _EGO_S_M + ego_mps * seconds + _AHEAD_M)
    road = Road(
        length_m=length,
        curvature=float(rng.choice([0.0, 1.0]) * rng.uniform(-1, 1) / max(130.0, length)),
        island_m=float(rng.choice([0.0, 1.0, 1.6], p=[0.25, 0.3, 0.45])),
        lanes=int(rng.choice([1, 2], p=[0.25, 0.75])),
        parking_m=float(rng.choice([0.0, 2.5], p=[0.06, 0.94])),
        sidewalk_m=float(rng.uniform(3.0, 4.4)),
        crossing_m=_EGO_S_M + float(rng.uniform(15, 45)),
    )
    things = lay_out(road, rng, _EGO_S_M, ego_mps)
    azimuth = rng.uniform(0, 2 * np.pi)
    sun = (length / 2 + 160 * np.cos(azimuth), 160 * np.sin(azimuth), 260.0)
    return StreetWorld(seed, road, assemble(ground(road, rng)), tuple(things), ego_mps, sun)


def _collect(
    placed: list[tuple[Model, np.ndarray]], lamp: np.ndarray, sky: Sky | None = None
) -> tuple[Scene, Int32[np.ndarray, " p"]]:
    """Models at their poses as one scene, and the position in ``placed`` that each part belongs to."""
    materials, first = [], []
    for model, pose in placed:
        first.append(len(materials))
        materials += [stand(paint.colour_at, pose) for paint in model.paints]
    corners = [transform(pose, model.corners) for model, pose in placed]
    normals = [model.normals @ pose[:3, :3].T for model, pose in placed]
    parts = [model.paint_ids + start for (model, _), start in zip(placed, first, strict=True)]
    scene = Scene(
        corners=np.concatenate(corners).astype(np.float32),
        normals=np.concatenate(normals).astype(np.float32),
        classes=np.concatenate([model.kinds for model, _ in placed]),
        parts=np.concatenate(parts).astype(np.int32),
        materials=tuple(materials),
        lamp=lamp,
        sky=sky,
    )
    counts = [len(model.paints) for model, _ in placed]
    return scene, np.repeat(np.arange(len(placed), dtype=np.int32), counts)


def _sky(seed: int, directions: np.ndarray) -> np.ndarray:
    """Blue above, pale at the horizon, with clouds."""
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    up = unit[:, 2:].clip(0, 1)
    blue = np.array(_HORIZON) + (np.array(_ZENITH) - np.array(_HORIZON)) * np.sqrt(up)
    cloud = cloudiness(unit.clip([-1, -1, 0], 1), seed)[:, None] * np.clip(up * 6, 0, 1)
    return blue + (np.array(_CLOUD) - blue) * cloud
