"""Models of street things: painted triangles with kinds, x forward, y left, z up, on the ground z = 0."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import trimesh
from jaxtyping import Float, Int32, UInt8
from trimesh.creation import cylinder, icosphere, torus

from ovs3d.worlds.shapes import smooth_normals
from ovs3d.worlds.solids import Point
from ovs3d.worlds.streets.kinds import KIND_ID
from ovs3d.worlds.streets.paint import Paint


@dataclass(frozen=True, eq=False)
class Piece:
    """Triangles of one kind and one paint."""

    kind: str
    """A name of ``kinds.KINDS``."""
    paint: Paint
    triangles: Float[np.ndarray, "f 3 3"]


@dataclass(frozen=True, eq=False)
class Model:
    """The triangles of a thing, in its own frame in metres."""

    corners: Float[np.ndarray, "f 3 3"]
    normals: Float[np.ndarray, "f 3 3"]
    """Unit normals at the corners, smooth except across creases."""
    kinds: UInt8[np.ndarray, " f"]
    paint_ids: Int32[np.ndarray, " f"]
    """Position in ``paints`` of each triangle's paint."""
    paints: tuple[Paint, ...]

    @property
    def bounds(self) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
        """Lowest and highest corner of the box around it."""
        return self.corners.min((0, 1)), self.corners.max((0, 1))


@dataclass(frozen=True, eq=False)
class Solid:
    """Triangles without a kind; what of ``trimesh.Trimesh`` a piece is made of, in a fraction of the time."""

    triangles: Float[np.ndarray, "f 3 3"]


def piece(kind: str, paint: Paint, *solids: Solid | trimesh.Trimesh) -> Piece:
    return Piece(kind, paint, np.concatenate([solid.triangles for solid in solids]))


def assemble(pieces: Sequence[Piece]) -> Model:
    """A model of pieces; the same paint is kept once."""
    paints = tuple(dict.fromkeys(each.paint for each in pieces))
    counts = [len(each.triangles) for each in pieces]
    corners = np.concatenate([each.triangles for each in pieces])
    return Model(
        corners=corners.astype(np.float32),
        normals=smooth_normals(corners, np.repeat(np.arange(len(pieces)), counts)).astype(np.float32),
        kinds=np.repeat([KIND_ID[each.kind] for each in pieces], counts).astype(np.uint8),
        paint_ids=np.repeat([paints.index(each.paint) for each in pieces], counts).astype(np.int32),
        paints=paints,
    )


def block(size: Point, at: Point) -> Solid:
    """A box of the given size; ``at`` is the centre of its base."""
    return Solid(_unit_block() * np.array(size) + np.array(at))


def ball(radius: float, at: Point, stretch: Point = (1, 1, 1), finer: int = 0) -> Solid:
    """A sphere of 80 triangles, or of four times as many for each step finer."""
    return Solid(_unit_ball(1 + finer) * (radius * np.array(stretch)) + np.array(at))


def stick(start: Point, end: Point, radius: float, sections: int = 6) -> Solid:
    """A rod with few triangles."""
    axis = np.subtract(end, start).astype(float)
    across = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    along = np.cross(axis, across)
    sides = [radius * each / np.linalg.norm(each) for each in (across, along)]
    return Solid(_unit_rod(sections) @ np.stack([*sides, axis]) + np.add(start, end) / 2)


def wheel(x: float, y: float, radius: float, width: float) -> Solid:
    """A wheel that stands on the ground and rolls along x."""
    return stick((x, y - width / 2, radius), (x, y + width / 2, radius), radius, sections=14)


@cache
def _unit_block() -> Float[np.ndarray, "f 3 3"]:
    return np.array(trimesh.creation.box(extents=(1, 1, 1)).triangles) + np.array([0, 0, 0.5])


@cache
def _unit_ball(subdivisions: int) -> Float[np.ndarray, "f 3 3"]:
    return np.array(icosphere(subdivisions=subdivisions, radius=1.0).triangles)


@cache
def _unit_rod(sections: int) -> Float[np.ndarray, "f 3 3"]:
    """Along z, of length and radius 1 around the origin."""
    return np.array(cylinder(radius=1.0, height=1.0, sections=sections).triangles)


def tyre(x: float, radius: float, width: float) -> trimesh.Trimesh:
    """A ring of rubber that stands on the ground and rolls along x: the wheel of a bicycle."""
    ring = torus(radius - width / 2, width / 2, major_sections=18, minor_sections=4)
    turn = trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0])
    return ring.apply_transform(turn).apply_translation([x, 0, radius])


def bar(start: Point, end: Point, height: float, width: float) -> trimesh.Trimesh:
    """A beam of rectangular section between two points of the plane y = const."""
    along = np.subtract(end, start)
    length = float(np.linalg.norm(along))
    mesh = trimesh.creation.box(extents=(length, width, height))
    tilt = trimesh.transformations.rotation_matrix(-np.arctan2(along[2], along[0]), [0, 1, 0])
    return mesh.apply_transform(tilt).apply_translation(np.add(start, end) / 2)
