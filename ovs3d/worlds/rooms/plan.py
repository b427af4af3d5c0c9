"""Outlines of rooms, and furniture put into them: against walls or free, nothing through anything else.

The room's frame: x and y along the walls, the first corner at the origin, z up, metres.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ovs3d.worlds.rooms.things import Build, Thing, bounds, placed

_TRIES, _GAP_M = 60, 0.03


@dataclass(frozen=True)
class Plan:
    """A rectangle, from which a corner may be missing."""

    wide: float
    deep: float
    high: float
    cut: tuple[float, float] = (0.0, 0.0)
    """Extent in x and y of the corner at (wide, deep) that is missing; both 0 or none."""

    @property
    def outline(self) -> list[tuple[float, float]]:
        """Corners, counter-clockwise."""
        (w, d), (a, b) = (self.wide, self.deep), self.cut
        far = [(w, d - b), (w - a, d - b), (w - a, d)] if a > 0 else [(w, d)]
        return [(0.0, 0.0), (w, 0.0), *far, (0.0, d)]

    @property
    def walls(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Both ends of each wall; the room is on the left of the way from the first to the second."""
        corners = np.array(self.outline)
        return list(zip(corners, np.roll(corners, -1, axis=0), strict=True))

    def inside(self, xy: Float[np.ndarray, "n 2"], margin_m: float = 0.0) -> Bool[np.ndarray, " n"]:
        """Whether places are in the room, at least ``margin_m`` from its walls."""
        size, inner = np.array([self.wide, self.deep]), np.array([self.wide, self.deep]) - self.cut
        within = ((xy >= margin_m) & (xy <= size - margin_m)).all(axis=-1)
        return within & (xy <= inner - margin_m).any(axis=-1) if self.cut[0] > 0 else within


@dataclass(frozen=True)
class Item:
    """Something to put into a room."""

    build: Build
    chance: float = 1.0
    """How likely it is there; 1: a room without it is none of its kind."""
    free: bool = False
    """Stands away from the walls."""
    clear_m: float = 0.0
    """Floor that stays free in front of it."""


def furnish(rng: np.random.Generator, plan: Plan, items: Sequence[Item]) -> list[Thing] | None:
    """Things of all items that find a place, in order; None if an item that must be there finds none."""
    things: list[Thing] = []
    clear: list[np.ndarray] = []
    for item in items:
        if rng.random() >= item.chance:
            continue
        group = item.build(rng)
        (left, _, _), (right, back, _) = bounds(group)
        group = placed(group, -(left + right) / 2, -back)
        found = _place(rng, plan, item, group, [each.box for each in things], clear)
        if found is not None:
            things += found[0]
            clear.append(found[1])
        elif item.chance >= 1:
            return None
    return things


def _place(
    rng: np.random.Generator,
    plan: Plan,
    item: Item,
    group: Sequence[Thing],
    taken: Sequence[np.ndarray],
    clear: Sequence[np.ndarray],
) -> tuple[list[Thing], np.ndarray] | None:
    """The group where it fits, with the floor before it that stays free; None after some tries."""
    low, high = bounds(group)
    for _ in range(_TRIES):
        pose = _somewhere(rng, plan) if item.free else _at_a_wall(rng, plan, high[0] - low[0])
        if pose is None:
            continue
        moved = placed(group, *pose[:2], yaw=pose[2])
        front = _turned_box((low[0], low[1] - item.clear_m, 0.02), (high[0], low[1], 1.0), pose)
        boxes = [each.box for each in moved]
        fits = all(_in_room(plan, box) for box in boxes)
        blocked = _any_overlap(boxes, [*taken, *clear], _GAP_M) or (
            item.clear_m > 0 and _any_overlap([front], taken, 0.0)
        )
        if fits and not blocked:
            return moved, front
    return None


def _at_a_wall(rng: np.random.Generator, plan: Plan, wide: float) -> tuple[float, float, float] | None:
    """x, y and yaw with the back at a wall that is wide enough."""
    fits = [(a, b) for a, b in plan.walls if np.linalg.norm(b - a) > wide]
    if not fits:
        return None
    start, end = fits[rng.integers(len(fits))]
    length = np.linalg.norm(end - start)
    along = (end - start) / length
    x, y = start + along * rng.uniform(wide / 2, length - wide / 2) + 0.004 * np.array([-along[1], along[0]])
    return float(x), float(y), float(np.arctan2(-along[1], -along[0]))


def _somewhere(rng: np.random.Generator, plan: Plan) -> tuple[float, float, float]:
    x, y = rng.uniform((0.0, 0.0), (plan.wide, plan.deep))
    return float(x), float(y), float(rng.integers(4) * np.pi / 2)


def _turned_box(
    low: Sequence[float], high: Sequence[float], pose: tuple[float, float, float]
) -> Float[np.ndarray, "2 3"]:
    """A box of the group's frame in the room's; the yaw is a multiple of a right angle."""
    cos, sin = np.round([np.cos(pose[2]), np.sin(pose[2])])
    corners = np.array([low, high], dtype=np.float64)
    x, y = corners[:, 0].copy(), corners[:, 1].copy()
    corners[:, 0], corners[:, 1] = cos * x - sin * y + pose[0], sin * x + cos * y + pose[1]
    return np.sort(corners, axis=0)


def _in_room(plan: Plan, box: Float[np.ndarray, "2 3"]) -> bool:
    (x0, y0, _), (x1, y1, z1) = box
    corners = np.array([(x0, y0), (x1, y0), (x0, y1), (x1, y1)])
    return bool(plan.inside(corners, margin_m=0.001).all() and z1 < plan.high)


def _any_overlap(boxes: Sequence[np.ndarray], others: Sequence[np.ndarray], gap_m: float) -> bool:
    """Whether a box comes nearer than ``gap_m`` to another, sideways."""
    if not others:
        return False
    first, second = np.stack(boxes)[:, None], np.stack(others)[None]
    gap = np.array([gap_m, gap_m, 0])
    return bool(
        ((first[..., 0, :] - gap < second[..., 1, :]) & (second[..., 0, :] - gap < first[..., 1, :]))
        .all(-1)
        .any()
    )
