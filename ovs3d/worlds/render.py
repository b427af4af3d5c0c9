"""Ray casting of triangle scenes: colour, z-depth and class of every pixel, in a few tens of milliseconds.

Diffuse light, one lamp with a cast shadow, nothing that depends on the view.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8

from ovs3d.geometry import Camera, camera_from_pixel, pixel_centres

_AMBIENT, _SKY, _LAMP = 0.42, 0.08, 0.62
_OFFSET_M = 1e-3
_SUBPIXELS = np.array([(-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25)])

Material = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Colour in 0..1, (n, 3), of world points (n, 3) with unit normals (n, 3)."""

Sky = Callable[[np.ndarray], np.ndarray]
"""Colour in 0..1, (n, 3), of directions (n, 3), not of unit length."""
SKY = 255
"""Label of the sky: no class."""


def stand(material: Material, world_from_thing: Float[np.ndarray, "4 4"]) -> Material:
    """The material of a thing, given in the thing's own frame, where the thing stands."""
    return partial(_stand, material, world_from_thing.astype(np.float32))


def _stand(material: Material, pose: np.ndarray, xyz: np.ndarray, normals: np.ndarray) -> np.ndarray:
    return material((xyz - pose[:3, 3]) @ pose[:3, :3], normals @ pose[:3, :3])


@dataclass(frozen=True, eq=False)
class Render:
    """What a camera sees."""

    rgb: UInt8[np.ndarray, "h w 3"]
    """Colour, anti-aliased at class borders."""
    depth: Float[np.ndarray, "h w"]
    """z-depth of the pixel's centre in metres, float32; 0 in the sky."""
    labels: UInt8[np.ndarray, "h w"]
    """Class id at the pixel's centre; 255 in the sky."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Triangles with classes and materials, and a lamp above everything."""

    corners: Float[np.ndarray, "f 3 3"]
    """Corner positions in metres, float32."""
    normals: Float[np.ndarray, "f 3 3"]
    """Unit normals at the corners, float32."""
    classes: UInt8[np.ndarray, " f"]
    """Class id of each triangle."""
    parts: Int32[np.ndarray, " f"]
    """Which of the materials each triangle has."""
    materials: tuple[Material, ...]
    """Colours of parts: one part for each thing, or for each class."""
    lamp: Float[np.ndarray, "3"]
    """Position of the lamp, float32; the highest point of the scene, because shadow rays do not end at it."""
    sky: Sky | None = None
    """What is seen where there is no triangle; None: the scene is closed."""

    @cached_property
    def _embree(self):
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        scene = EmbreeScene()
        TriangleMesh(scene, self.corners)
        return scene

    @cached_property
    def _flat_normals(self) -> Float[np.ndarray, "f 3"]:
        a, b, c = self.corners.transpose(1, 0, 2)
        normals = np.cross(b - a, c - a)
        return normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)

    def cast(self, origin: np.ndarray, directions: np.ndarray) -> dict[str, np.ndarray]:
        """First triangle on each ray: ``primID`` (-1 none), ``tfar`` in direction lengths, ``u``, ``v``."""
        origins = np.broadcast_to(origin.astype(np.float32), directions.shape)
        return self._embree.run(np.ascontiguousarray(origins), directions, query="INTERSECT", output=True)

    def lit(self, xyz: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Cosine to the lamp, 0 in shadow."""
        to_lamp = self.lamp - xyz
        to_lamp /= np.linalg.norm(to_lamp, axis=1, keepdims=True)
        cosine = np.einsum("nc,nc->n", to_lamp, normals).clip(0)
        facing = np.flatnonzero(cosine)
        blocked = self._embree.run(xyz[facing], to_lamp[facing], query="OCCLUDED") == 0
        cosine[facing[blocked]] = 0
        return cosine


def render(scene: Scene, camera: Camera) -> Render:
    """Colour, depth and labels of a view. Every ray must hit something (raises ValueError)."""
    centres = pixel_centres(camera.height, camera.width)
    rgb, depth, labels = _shade(scene, camera, centres.reshape(-1, 2))
    labels = labels.reshape(camera.height, camera.width)
    border = _borders(labels)
    fine = (centres[border][:, None] + _SUBPIXELS).reshape(-1, 2)
    rgb[border.reshape(-1)] = _shade(scene, camera, fine)[0].reshape(-1, 4, 3).mean(axis=1)
    rgb = (rgb.reshape(*labels.shape, 3) * 255 + 0.5).astype(np.uint8)
    return Render(rgb, depth.reshape(labels.shape), labels)


def _borders(labels: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """True where one of the four neighbours has another label."""
    border = np.zeros(labels.shape, bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= right
    border[:, :-1] |= right
    return border


def _shade(
    scene: Scene, camera: Camera, row_col: Float[np.ndarray, "n 2"]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, " n"], UInt8[np.ndarray, " n"]]:
    """Colour in 0..1, z-depth and class at continuous pixel positions."""
    rotation = camera.world_from_camera[:3, :3]
    directions = (camera_from_pixel(camera.intrinsics, row_col) @ rotation.T).astype(np.float32)
    hit = scene.cast(camera.position, directions)
    seen = np.flatnonzero(hit["primID"] >= 0)
    if len(seen) == len(directions):
        return _surface(scene, camera, directions, hit)
    if scene.sky is None:
        raise ValueError(f"{len(directions) - len(seen)} of {len(directions)} rays leave the scene")
    colour = scene.sky(directions).astype(np.float32)
    depth, classes = np.zeros(len(directions), np.float32), np.full(len(directions), SKY, np.uint8)
    there = {name: values[seen] for name, values in hit.items()}
    colour[seen], depth[seen], classes[seen] = _surface(scene, camera, directions[seen], there)
    return colour, depth, classes


def _surface(
    scene: Scene, camera: Camera, directions: np.ndarray, hit: dict[str, np.ndarray]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, " n"], UInt8[np.ndarray, " n"]]:
    """The same where rays hit triangles."""
    face, depth = hit["primID"], hit["tfar"]  # directions have z = 1 in the camera, so tfar is z-depth
    xyz = camera.position.astype(np.float32) + directions * depth[:, None]
    flat, normals = _normals(scene, hit, directions)
    parts = scene.parts[face]
    light = _AMBIENT + _SKY * normals[:, 2] + _LAMP * scene.lit(xyz + _OFFSET_M * flat, normals)
    colour = np.empty_like(xyz)
    for index in np.unique(parts):
        here = np.flatnonzero(parts == index)
        colour[here] = scene.materials[index](xyz[here], normals[here])
    return (colour * light[:, None]).clip(0, 1), depth, scene.classes[face]


def _normals(
    scene: Scene, hit: dict[str, np.ndarray], directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Flat and smooth unit normals at the hits, on the side that is seen."""
    flat = scene._flat_normals[hit["primID"]]
    u, v = hit["u"][:, None], hit["v"][:, None]
    a, b, c = (scene.normals[hit["primID"], corner] for corner in range(3))
    smooth = a * (1 - u - v) + b * u + c * v
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True).clip(1e-12)
    side = -np.sign(np.einsum("nc,nc->n", flat, directions))[:, None]
    return flat * side, smooth * side
