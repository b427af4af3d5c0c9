"""A spinning LiDAR in a triangle scene: returns with range noise, intensity and drop-outs.

A sweep is cast from one pose: there is no rolling shutter.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32, UInt8

from ovs3d.worlds.render import Scene

_STRAY = 3e-4
"""Share of returns that come from rain or dust before the surface."""
_REACH_M = 900.0
"""Range at which a full reflection is lost half of the time, were there no limit."""


@dataclass(frozen=True, eq=False)
class Lidar:
    """Beams that turn about the z axis of the sensor's frame."""

    elevations: Float[np.ndarray, " k"]
    """Of the beams, in radians, from the lowest upwards; positions are ring indices."""
    azimuth_steps: int
    """Columns of a full turn."""
    max_range_m: float
    range_noise_m: float = 0.02
    roof: tuple[float, float, float, float, float] | None = None
    """What the sensor sees of its own vehicle: a level rectangle (x low, x high, y low, y high, z); None: nothing."""


@dataclass(frozen=True, eq=False)
class Surfaces:
    """How each class of a scene returns light."""

    reflectivity: Float[np.ndarray, " k"]
    """Share of the full scale that comes back from straight ahead."""
    roughness_m: Float[np.ndarray, " k"]
    """Scatter of the range, beyond the sensor's noise."""
    stray: int
    """Class of returns from no surface."""
    own: int
    """Class of the sensor's own vehicle."""


@dataclass(frozen=True, eq=False)
class Returns:
    """A sweep, in the order in which it is recorded: column after column, from the lowest ring upwards."""

    xyz: Float[np.ndarray, "n 3"]
    """Metres in the sensor's frame, float32."""
    intensity: Float[np.ndarray, " n"]
    """0..1, float32."""
    ring: UInt8[np.ndarray, " n"]
    classes: UInt8[np.ndarray, " n"]
    """Class of the triangle that was hit, exact."""
    parts: Int32[np.ndarray, " n"]
    """Part of the triangle that was hit; -1: none."""


def sweep(
    lidar: Lidar,
    surfaces: Surfaces,
    scene: Scene,
    world_from_lidar: Float[np.ndarray, "4 4"],
    rng: np.random.Generator,
) -> Returns:
    """One turn of a LiDAR at a pose."""
    directions, rings = _beams(lidar)
    hit = scene.cast(world_from_lidar[:3, 3], (directions @ world_from_lidar[:3, :3].T).astype(np.float32))
    face, range_m = hit["primID"], hit["tfar"].astype(np.float64)
    range_m[face < 0] = np.inf
    classes = np.where(face < 0, surfaces.stray, scene.classes[face]).astype(np.uint8)
    parts = np.where(face < 0, -1, scene.parts[face]).astype(np.int32)
    cosine = _incidence(scene.corners[face], directions @ world_from_lidar[:3, :3].T)
    own_range = _own_vehicle(lidar, directions)
    own = own_range < range_m
    range_m[own], classes[own], parts[own] = own_range[own], surfaces.own, -1
    cosine[own] = np.abs(directions[own, 2])
    strength = surfaces.reflectivity[classes] * cosine
    there = _returned(lidar, strength, range_m, rng)
    directions, rings, classes, parts = directions[there], rings[there], classes[there], parts[there]
    scatter = np.hypot(lidar.range_noise_m, surfaces.roughness_m[classes])
    range_m = (range_m[there] + scatter * rng.standard_normal(len(rings))).clip(0.1)
    grain = rng.gamma(9.0, 1 / 9.0, len(rings))
    intensity = surfaces.reflectivity[classes] * cosine[there] ** 0.7 * grain
    stray = rng.random(len(rings)) < _STRAY
    range_m[stray] *= rng.uniform(0.05, 0.9, int(stray.sum()))
    classes[stray], parts[stray], intensity[stray] = surfaces.stray, -1, 0.01
    xyz = (directions * range_m[:, None]).astype(np.float32)
    return Returns(xyz, intensity.clip(0, 1).astype(np.float32), rings, classes, parts)


def _beams(lidar: Lidar) -> tuple[Float[np.ndarray, "n 3"], UInt8[np.ndarray, " n"]]:
    """Unit directions and rings of a turn, clockwise seen from above as LiDARs turn."""
    azimuth = -np.arange(lidar.azimuth_steps) * (2 * np.pi / lidar.azimuth_steps)
    azimuth, elevation = np.meshgrid(azimuth, lidar.elevations, indexing="ij")
    level = np.cos(elevation)
    directions = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], axis=-1)
    rings = np.broadcast_to(np.arange(len(lidar.elevations), dtype=np.uint8), azimuth.shape)
    return directions.reshape(-1, 3), rings.reshape(-1).copy()


def _incidence(corners: np.ndarray, directions: np.ndarray) -> Float[np.ndarray, " n"]:
    """Cosine between the beam and the normal of the triangle that it hits."""
    a, b, c = corners.transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    length = np.linalg.norm(normals, axis=1).clip(1e-12)
    return np.abs(np.einsum("nc,nc->n", normals, directions)) / length


def _own_vehicle(lidar: Lidar, directions: np.ndarray) -> Float[np.ndarray, " n"]:
    """Range of the own roof on each beam, infinite where it is not seen."""
    if lidar.roof is None:
        return np.full(len(directions), np.inf)
    x_low, x_high, y_low, y_high, z = lidar.roof
    with np.errstate(divide="ignore"):
        range_m = z / directions[:, 2]
    x, y = (directions[:, :2] * np.where(np.isfinite(range_m), range_m, 0)[:, None]).T
    seen = (range_m > 0) & (x > x_low) & (x < x_high) & (y > y_low) & (y < y_high)
    return np.where(seen, range_m, np.inf)


def _returned(
    lidar: Lidar, strength: np.ndarray, range_m: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Which beams come back: the weaker the reflection, the nearer it must be."""
    reach = np.minimum(_REACH_M * np.sqrt(strength), lidar.max_range_m)
    chance = 1 / (1 + np.exp(((range_m - reach) / 3.0).clip(-50, 50)))
    return (rng.random(len(strength)) < chance) & (range_m < lidar.max_range_m)
