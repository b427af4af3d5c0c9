"""Room worlds: closed rooms with furniture of the 20 classes of ScanNet, as a walk with a scanner sees them.

The world's z points up, the floor is z = 0, the room's middle is above the origin, and its walls have any direction.
A panel in the ceiling gives light; rays through it leave the scene.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import trimesh
from jaxtyping import Float, UInt8

from ovs3d.errors import InputError
from ovs3d.worlds.render import Material, Scene, stand
from ovs3d.worlds.rooms.furniture import CLOTHS, WOODS, any_of
from ovs3d.worlds.rooms.kinds import KINDS, Kind
from ovs3d.worlds.rooms.paint import checks, grained, plain, stripes, tiles, wood
from ovs3d.worlds.rooms.plan import Plan, furnish
from ovs3d.worlds.rooms.things import Thing, thing

_LAYOUTS = 200
_PANEL_M = 0.5
_PLASTER = (
    (0.92, 0.90, 0.84),
    (0.80, 0.86, 0.90),
    (0.86, 0.90, 0.80),
    (0.93, 0.86, 0.74),
    (0.84, 0.82, 0.82),
)


@dataclass(frozen=True, eq=False)
class RoomWorld:
    """A room: labels of its scene are positions in ``things``."""

    seed: int
    kind: str
    """What sort of room: a key of ``kinds.KINDS``."""
    plan: Plan
    world_from_room: Float[np.ndarray, "4 4"]
    """From the frame of ``plan``."""
    things: tuple[Thing, ...]
    """In the world's frame: floor, ceiling, walls, then furniture."""
    lamp: Float[np.ndarray, "3"]
    """Middle of the panel of light, in the world."""

    @property
    def nyu40(self) -> UInt8[np.ndarray, " 256"]:
        """NYU40 id of each label; 0 from the number of things on."""
        table = np.zeros(256, np.uint8)
        table[: len(self.things)] = [each.nyu40 for each in self.things]
        return table

    @cached_property
    def scene(self) -> Scene:
        """Triangles and materials for the ray caster; a part is a piece of a thing."""
        assert len(self.things) < 255
        corners, normals, classes, parts, materials = [], [], [], [], []
        for index, each in enumerate(self.things):
            rotation, shift = each.pose[:3, :3], each.pose[:3, 3]
            for piece in each.pieces:
                corners.append(piece.corners @ rotation.T + shift)
                normals.append(piece.normals @ rotation.T)
                classes.append(np.full(len(piece.corners), index, np.uint8))
                parts.append(np.full(len(piece.corners), len(materials), np.int32))
                materials.append(stand(piece.paint, each.pose))
        return Scene(
            corners=np.concatenate(corners).astype(np.float32),
            normals=np.concatenate(normals).astype(np.float32),
            classes=np.concatenate(classes),
            parts=np.concatenate(parts),
            materials=tuple(materials),
            lamp=self.lamp.astype(np.float32),
            sky=_panel,
        )


def make_room(seed: int) -> RoomWorld:
    """The world of a seed; six seeds in a row are rooms of all six kinds.

    Raises:
        InputError: the seed is negative.
    """
    if seed < 0:
        raise InputError(f"a world's seed is a whole number from 0, not {seed}")
    name = list(KINDS)[seed % len(KINDS)]
    rng = np.random.default_rng((seed, 2))
    for attempt in range(_LAYOUTS):
        plan = _plan(rng, KINDS[name], growth_m=0.01 * attempt)
        things = furnish(rng, plan, KINDS[name].items)
        if things is not None:
            return _world(rng, seed, name, plan, things)
    raise RuntimeError(f"room {seed} ({name}) does not hold its furniture")


def _world(rng: np.random.Generator, seed: int, name: str, plan: Plan, things: list[Thing]) -> RoomWorld:
    panel = np.array([plan.wide - plan.cut[0], plan.deep - plan.cut[1]]) * rng.uniform(0.42, 0.58, 2)
    yaw = rng.uniform(0, 2 * np.pi)
    turn = trimesh.transformations.rotation_matrix(yaw, [0, 0, 1])
    world_from_room = turn @ trimesh.transformations.translation_matrix([-plan.wide / 2, -plan.deep / 2, 0])
    everything = [*_shell(rng, plan, panel, KINDS[name].wet), *things]
    lamp = world_from_room @ [*panel, plan.high, 1]
    moved = tuple(each.moved(world_from_room) for each in everything)
    return RoomWorld(seed, name, plan, world_from_room, moved, lamp[:3])


def _plan(rng: np.random.Generator, kind: Kind, growth_m: float) -> Plan:
    wide, deep = rng.uniform(*kind.wide_m) + growth_m, rng.uniform(*kind.deep_m) + growth_m
    cut = (0.0, 0.0)
    if not kind.wet and rng.random() < 0.35:
        cut = (float(rng.uniform(0.2, 0.35) * wide), float(rng.uniform(0.2, 0.35) * deep))
    return Plan(float(wide), float(deep), float(rng.uniform(2.4, 2.7)), cut)


def _shell(rng: np.random.Generator, plan: Plan, panel: np.ndarray, wet: bool) -> list[Thing]:
    """Floor, ceiling and walls."""
    floor = thing("floor", ([_slab(plan, 0.0, None)], _floor_paint(rng, wet)))
    # light from the floor is not followed, so the ceiling has the brightness that it would have by it
    ceiling = thing("ceiling", ([_slab(plan, plan.high, panel)], plain((2.2, 2.2, 2.1))))
    paint = _wall_paint(rng, wet)
    walls = [thing("wall", ([_wall(start, end, plan.high)], paint)) for start, end in plan.walls]
    return [floor, ceiling, *walls]


def _floor_paint(rng: np.random.Generator, wet: bool) -> Material:
    if wet or rng.random() < 0.2:
        light, dark = (
            (0.80, 0.78, 0.74),
            any_of(rng, ((0.35, 0.37, 0.40), (0.45, 0.32, 0.28), (0.28, 0.38, 0.36))),
        )
        side = float(rng.uniform(0.2, 0.35))
        return checks(light, dark, side) if rng.random() < 0.5 else tiles(dark, light, side)
    if rng.random() < 0.55:
        return wood(rng, any_of(rng, WOODS))
    carpet = tuple(0.18 + 0.5 * np.array(any_of(rng, CLOTHS)))
    return grained("wicker table", carpet, float(rng.uniform(0, 2)), contrast=0.5)


def _wall_paint(rng: np.random.Generator, wet: bool) -> Material:
    rgb = any_of(rng, _PLASTER)
    if wet:
        return tiles(rgb, (0.60, 0.62, 0.62), 0.15)
    if rng.random() < 0.2:
        return stripes(rgb, tuple(0.93 * np.array(rgb)), 0.3, axis=int(rng.integers(2)))
    return plain(rgb)


def _slab(plan: Plan, z: float, panel: np.ndarray | None) -> trimesh.Trimesh:
    """The room's outline at a height; without the panel around a place, where one is given."""
    edges = []
    for axis, size in enumerate((plan.wide, plan.deep)):
        hole = [] if panel is None else [panel[axis] - _PANEL_M / 2, panel[axis] + _PANEL_M / 2]
        edges.append(np.unique([0, size, size - plan.cut[axis], *hole]))
    low = np.stack(np.meshgrid(edges[0][:-1], edges[1][:-1]), -1).reshape(-1, 2)
    high = np.stack(np.meshgrid(edges[0][1:], edges[1][1:]), -1).reshape(-1, 2)
    middle = (low + high) / 2
    keep = plan.inside(middle)
    if panel is not None:
        keep &= (np.abs(middle - panel) > _PANEL_M / 2).any(axis=1)
    (x0, y0), (x1, y1) = low[keep].T, high[keep].T
    corners = np.stack([np.stack(at, -1) for at in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))], axis=1)
    vertices = np.concatenate([corners, np.full((*corners.shape[:2], 1), z)], axis=-1).reshape(-1, 3)
    first = np.arange(len(corners))[:, None] * 4
    faces = np.concatenate([first + np.array(turn) for turn in ((0, 1, 2), (0, 2, 3))])
    return trimesh.Trimesh(vertices, faces, process=False)


def _wall(start: np.ndarray, end: np.ndarray, high: float) -> trimesh.Trimesh:
    corners = [(*start, 0), (*end, 0), (*end, high), (*start, high)]
    return trimesh.Trimesh(corners, [(0, 1, 2), (0, 2, 3)], process=False)


def _panel(directions: np.ndarray) -> np.ndarray:
    """What is seen through the hole in the ceiling."""
    return np.broadcast_to(np.array([1.0, 1.0, 0.96], np.float32), directions.shape)
