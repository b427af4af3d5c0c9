"""Where things stand and drive in a street: rows along the road, in each of which nothing overlaps.

Right-hand traffic: d < 0 is the side of those who drive along s.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ovs3d.worlds.solids import Point
from ovs3d.worlds.streets import figures, scenery, vehicles
from ovs3d.worlds.streets.ground import EDGE_M, Road
from ovs3d.worlds.streets.kinds import KINDS
from ovs3d.worlds.streets.model import Model, Piece, assemble

Builder = Callable[[np.random.Generator], list[Piece]]

_REACH_M = 25.0
"""How far beyond both ends of the road's stretch things stand."""
_PAVEMENT_Z = 0.15
_TRAFFIC: dict[Builder, float] = {
    vehicles.car: 0.58,
    vehicles.bus: 0.09,
    vehicles.truck: 0.1,
    figures.motorcyclist: 0.11,
    figures.bicyclist: 0.12,
}
_PARKED: dict[Builder, float] = {
    vehicles.car: 0.48,
    vehicles.trailer: 0.24,
    vehicles.truck: 0.14,
    vehicles.bus: 0.04,
    vehicles.motorcycle: 0.1,
}
_KERBSIDE: dict[Builder, float] = {
    vehicles.bicycle: 0.26,
    vehicles.motorcycle: 0.24,
    scenery.traffic_sign: 0.12,
    scenery.tree: 0.16,
    figures.bin_: 0.08,
    figures.bench: 0.07,
    scenery.traffic_light: 0.07,
}
_VERGE: dict[Builder, float] = {
    scenery.bush: 0.24,
    scenery.hedge: 0.16,
    scenery.tree: 0.26,
    scenery.conifer: 0.1,
    scenery.fence: 0.12,
    scenery.wall: 0.12,
}
_BUILT: dict[Builder, float] = {scenery.block_of_flats: 0.4, scenery.house: 0.32, scenery.tree: 0.28}


@dataclass(frozen=True, eq=False)
class Thing:
    """Something that stands in a street, or moves through it with a constant velocity."""

    model: Model
    road: Road
    s_m: float
    """Place along the road at time 0."""
    d_m: float
    z_m: float
    yaw: float
    """Turn against the direction of the road, in radians."""
    along_mps: float = 0.0
    across_mps: float = 0.0
    """Speed towards larger d."""

    @property
    def moves(self) -> bool:
        return self.along_mps != 0 or self.across_mps != 0

    @property
    def category(self) -> str:
        """What it is called in nuScenes."""
        return KINDS[np.bincount(self.model.kinds).argmax()].nuscenes

    def world_from_thing(self, time_s: float) -> np.ndarray:
        """Pose, 4x4 float64."""
        s, d = self.s_m + self.along_mps * time_s, self.d_m + self.across_mps * time_s
        return self.road.world_from_place(s, d, self.z_m, self.yaw)


@dataclass(eq=False)
class Row:
    """A strip along the road that fills from one end to the other."""

    road: Road
    rng: np.random.Generator
    d_m: float
    yaw: float
    z_m: float
    speed_mps: float = 0.0
    sway_m: float = 0.0
    """Things stand up to this far beside the strip's middle."""
    keep_out: list[tuple[float, float]] = field(default_factory=list)
    """Stretches of s that stay free."""

    def fill(self, choice: dict[Builder, float], gap_m: Point, turn: float = 0.0) -> list[Thing]:
        """Things one after the other, drawn with the given probabilities, with random gaps between them."""
        builders, weights = list(choice), np.array(list(choice.values()))
        things, s, end = [], -_REACH_M, self.road.length_m + _REACH_M
        while True:
            build = builders[self.rng.choice(len(builders), p=weights / weights.sum())]
            model = assemble(build(self.rng))
            low, high = model.bounds
            half = float(max(high[0], -low[0]))
            centre = self._free(s + half, half)
            if centre + half > end:
                return things
            things.append(self.put(model, centre, turn))
            s = centre + half + self.rng.uniform(gap_m[0], gap_m[1])

    def put(self, model: Model, s: float, turn: float = 0.0) -> Thing:
        """One thing at a place, turned by up to ``turn``."""
        d = self.d_m + self.rng.uniform(-1, 1) * self.sway_m
        yaw = self.yaw + self.rng.uniform(-1, 1) * turn
        return Thing(model, self.road, float(s), float(d), self.z_m, float(yaw), self.speed_mps)

    def _free(self, centre: float, half: float) -> float:
        """The first centre from here on where a thing of this half length keeps out of what is taken."""
        for low, high in sorted(self.keep_out):
            if centre + half > low and centre - half < high:
                centre = high + half
        return centre


def lay_out(road: Road, rng: np.random.Generator, ego_s_m: float, ego_mps: float) -> list[Thing]:
    """All things of a street; the ego vehicle's way, in the innermost lane of the right side, is free."""
    things = []
    works = int(rng.choice([-1, 1]))
    for side in (-1, 1):
        things += _lanes(road, rng, side, ego_s_m, ego_mps, works == side)
        things += _pavement(road, rng, side)
        things += _frontage(road, rng, side, works == side and road.lanes == 1)
    if road.island_m > 1.2:
        row = Row(road, rng, 0.0, 0.0, 0.18, keep_out=[_junction(road, 8.0)])
        things += row.fill({scenery.street_lamp: 0.3, scenery.bush: 0.4, scenery.traffic_sign: 0.3}, (9, 18))
    return things + _on_the_zebra(road, rng)


def _lanes(
    road: Road, rng: np.random.Generator, side: int, ego_s_m: float, ego_mps: float, works: bool
) -> list[Thing]:
    """Traffic, a stretch of road works in the outer lane of one side, and parked vehicles."""
    yaw, direction = (0.0, 1.0) if side < 0 else (np.pi, -1.0)
    ego = [(ego_s_m - 13, ego_s_m + 17)] if side < 0 else []
    speed = ego_mps if side < 0 else -rng.uniform(5, 9)
    things = Row(road, rng, side * road.lane_m(0), yaw, 0.0, speed, 0.2, ego).fill(_TRAFFIC, (11, 34))
    outer = side * road.lane_m(road.lanes - 1)
    if works:
        things += _works(road, rng, outer, yaw, side)
    elif road.lanes > 1:
        speed = direction * rng.uniform(4, 10)
        things += Row(road, rng, outer, yaw, 0.0, speed, 0.2).fill(_TRAFFIC, (9, 30))
    if road.parking_m:
        bay = side * (road.kerb_m + road.parking_m / 2 + 0.05)
        things += Row(road, rng, bay, yaw, 0.0, keep_out=[_junction(road, 10.0)]).fill(
            _PARKED, (0.9, 6), 0.015
        )
    return things


def _works(road: Road, rng: np.random.Generator, d: float, yaw: float, side: int) -> list[Thing]:
    """Machines, workers and heaps behind a row of barriers and cones."""
    line = d - side * (1.75 if road.lanes > 1 else 0.0)
    if road.lanes == 1:  # where there is one lane, beside the pavement
        d, line = side * (road.front_m + 2.9), side * (road.front_m + 0.4)
    free = [_junction(road, 7.0)]
    edge = Row(road, rng, line, yaw, 0.0 if road.lanes > 1 else _PAVEMENT_Z, sway_m=0.05, keep_out=free)
    inside = Row(road, rng, d, yaw, edge.z_m, sway_m=0.1, keep_out=free)
    machines: dict[Builder, float] = {
        vehicles.construction_vehicle: 0.5,
        figures.worker: 0.24,
        figures.rubble: 0.12,
        vehicles.truck: 0.14,
    }
    fenced = edge.fill({figures.barrier: 0.62, figures.cone: 0.38}, (0.05, 0.9))
    return fenced + inside.fill(machines, (1.5, 5), 0.1)


def _pavement(road: Road, rng: np.random.Generator, side: int) -> list[Thing]:
    """What stands along the kerb, and who walks behind it in two directions."""
    kerb, outer = road.kerb_m + road.parking_m, road.front_m
    free = [_junction(road, 2.0)]
    stand = Row(road, rng, side * (kerb + 0.62), 0.0 if side < 0 else np.pi, _PAVEMENT_Z, keep_out=free)
    masts = np.arange(rng.uniform(-10, -2), road.length_m + 20, 27.0)
    lamps = [
        stand.put(assemble(scenery.street_lamp(rng)), s) for s in masts if not free[0][0] < s < free[0][1]
    ]
    stand.keep_out += [(lamp.s_m - 0.6, lamp.s_m + 0.6) for lamp in lamps]
    stop = stand.put(assemble(scenery.bus_shelter(rng)), road.length_m * rng.uniform(0.35, 0.8))
    stops = [] if abs(stop.s_m - road.crossing_m) < 12 else [stop]
    stand.keep_out += [(each.s_m - 2.6, each.s_m + 2.6) for each in stops]
    things = lamps + stops + stand.fill(_KERBSIDE, (0.8, 7.5), 0.1)
    for way, d in ((0, side * (kerb + 1.6)), (1, side * (outer - 0.45))):
        speed = rng.uniform(1.0, 1.6) * (1 - 2 * way)
        walkers: dict[Builder, float] = {figures.adult: 0.8, figures.child: 0.2}
        row = Row(road, rng, d, np.pi * way, _PAVEMENT_Z, speed, 0.1, free)
        things += row.fill(walkers, (0.5, 22))
    return things


def _frontage(road: Road, rng: np.random.Generator, side: int, works: bool) -> list[Thing]:
    """Buildings with trees between them, trees behind, and plants and fences before where nobody works."""
    free = [_junction(road, 3.0)]
    to_road = 0.0 if side > 0 else np.pi  # -y of buildings looks at the road
    verge = Row(
        road, rng, side * (road.front_m + 1.3), to_road, _PAVEMENT_Z - 0.05, sway_m=0.3, keep_out=free
    )
    built = Row(
        road, rng, side * (road.front_m + 12.5), to_road, _PAVEMENT_Z - 0.1, sway_m=1.5, keep_out=free
    )
    lawn = Row(road, rng, side * (road.front_m + 4.6), to_road, _PAVEMENT_Z - 0.05, sway_m=1.0, keep_out=free)
    behind = Row(road, rng, side * (EDGE_M - 5), to_road, 0.3, sway_m=3.0)
    things = built.fill(_BUILT, (1.5, 9))
    if not works:
        things += verge.fill(_VERGE, (0.8, 7), 0.03)
        things += lawn.fill(
            {scenery.bush: 0.4, scenery.tree: 0.4, figures.bench: 0.05, scenery.conifer: 0.15}, (6, 20)
        )
    return things + behind.fill({scenery.tree: 0.5, scenery.conifer: 0.5}, (6, 22))


def _on_the_zebra(road: Road, rng: np.random.Generator) -> list[Thing]:
    """A few people who cross the road."""
    things = []
    for _ in range(int(rng.integers(0, 3))):
        side, s = int(rng.choice([-1, 1])), road.crossing_m - road.crossing_half_m - rng.uniform(2.5, 4.5)
        model, speed = assemble(figures.adult(rng)), rng.uniform(1.0, 1.5)
        d = side * (road.kerb_m - rng.uniform(0.5, 1.5))
        things.append(Thing(model, road, s, d, 0.0, -side * np.pi / 2, 0.0, -side * speed))
    return things


def _junction(road: Road, margin_m: float) -> tuple[float, float]:
    """The stretch of the side road."""
    half = road.crossing_half_m + margin_m
    return road.crossing_m - half, road.crossing_m + half
