"""The ground of a street: a road with lanes, an island, pavements and grass, straight or along an arc.

Places on it are (s, d): metres along the road's axis and to the left of it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ovs3d.worlds.streets.model import Piece
from ovs3d.worlds.streets.paint import Paint

LANE_M = 3.5
EDGE_M = 44.0
"""How far the ground reaches to both sides."""
_MARGIN_M = 60.0
_STEP_M = 2.0
_ROAD, _PAVEMENT, _ISLAND = 0.0, 0.15, 0.18
_MARK_Z, _MARK_M = 0.008, 0.16

_PAINT = {
    "road": Paint((0.24, 0.24, 0.25), (0.33, 0.33, 0.34), "grain", 1.6),
    "parking": Paint((0.42, 0.36, 0.34), (0.28, 0.24, 0.23), "bricks", 0.3),
    "island": Paint((0.80, 0.62, 0.16), (0.36, 0.33, 0.30), "hatched", 1.6),
    "sidewalk": Paint((0.66, 0.64, 0.61), (0.42, 0.41, 0.40), "tiled", 0.9),
    "grass": Paint((0.30, 0.44, 0.14), (0.56, 0.55, 0.27), "grain", 2.2),
}
_KERB = {
    "island": Paint((0.08, 0.08, 0.08), (0.90, 0.90, 0.88), "striped", 2.4),
    "sidewalk": Paint((0.58, 0.57, 0.55)),
    "grass": Paint((0.36, 0.28, 0.18)),
}
_WHITE, _YELLOW = Paint((0.92, 0.92, 0.90)), Paint((0.90, 0.70, 0.12))


@dataclass(frozen=True)
class Road:
    """The axis and the cross-section, the same on both sides."""

    length_m: float
    curvature: float
    """1 / radius of the arc in 1/m, positive to the left; 0: straight."""
    island_m: float
    """Half the width of the island in the middle; 0: none."""
    lanes: int
    """On each side."""
    parking_m: float
    sidewalk_m: float
    crossing_m: float
    """Where the middle of a side road is."""
    crossing_half_m: float = 4.5

    @property
    def kerb_m(self) -> float:
        """Distance of the carriageway's outer edge from the axis, before the parking bays."""
        return self.island_m + self.lanes * LANE_M

    @property
    def front_m(self) -> float:
        """Distance of the pavement's outer edge from the axis."""
        return self.kerb_m + self.parking_m + self.sidewalk_m

    def lane_m(self, lane: int) -> float:
        """Distance of the middle of a lane (0: the innermost) from the axis."""
        return self.island_m + (lane + 0.5) * LANE_M

    def xy(self, s: Float[np.ndarray, "*n"], d: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n 2"]:
        """World x and y of places on the road."""
        angle = self.curvature * s
        along = s * np.sinc(angle / np.pi)  # sin(angle) / curvature, also for 0
        aside = s * np.sinc(angle / (2 * np.pi)) * np.sin(angle / 2)
        return np.stack([along - d * np.sin(angle), aside + d * np.cos(angle)], axis=-1)

    def world_from_place(self, s: float, d: float, z: float = 0.0, yaw: float = 0.0) -> np.ndarray:
        """Pose (4x4, float64) of what stands at a place, turned against the road's direction by ``yaw``."""
        heading = self.curvature * s + yaw
        cos, sin = np.cos(heading), np.sin(heading)
        pose = np.eye(4)
        pose[:2, :2] = [[cos, -sin], [sin, cos]]
        pose[:2, 3] = self.xy(np.array(s), np.array(d))
        pose[2, 3] = z
        return pose


def ground(road: Road, rng: np.random.Generator) -> list[Piece]:
    """Everything flat, with kerbs and marks, in the world's frame."""
    edges, kinds, levels = _columns(road)
    rows = np.arange(-_MARGIN_M, road.length_m + _MARGIN_M + _STEP_M, _STEP_M)
    beside = np.abs((rows[:-1] + rows[1:]) / 2 - road.crossing_m) < road.crossing_half_m
    paved = np.isin(kinds, ["island", "sidewalk", "grass", "parking"])
    cell_kinds = np.where(beside[:, None] & paved, "road", kinds)
    cell_levels = np.where(beside[:, None] & paved, _ROAD, levels)
    bumps = _bumps(rows, edges, road.front_m, rng)
    pieces = [
        _tops(road, rows, edges, cell_levels, bumps, cell_kinds, kind)
        for kind in _PAINT
        if kind in cell_kinds
    ]
    pieces += _kerbs(road, rows, edges, cell_kinds, cell_levels)
    return [*pieces, *_marks(road), _plain_beyond()]


def _columns(road: Road) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges in d from left to right of equal strips, with the kind and the level of each."""
    half = [(0.0, "island", _ISLAND)] if road.island_m else []
    half += [(road.island_m, "road", _ROAD)]
    if road.parking_m:
        half.append((road.kerb_m, "parking", _ROAD))
    half.append((road.kerb_m + road.parking_m, "sidewalk", _PAVEMENT))
    half += [(d, "grass", _PAVEMENT) for d in np.linspace(road.front_m, EDGE_M, 14)[:-1]]
    starts = np.array([d for d, _, _ in half] + [EDGE_M])
    edges = np.concatenate([-starts[::-1], starts[1:]])
    kinds, levels = np.array([kind for _, kind, _ in half]), np.array([level for _, _, level in half])
    return edges, np.concatenate([kinds[::-1], kinds]), np.concatenate([levels[::-1], levels])


def _bumps(rows: np.ndarray, edges: np.ndarray, front_m: float, rng: np.random.Generator) -> np.ndarray:
    """Heights of the corners of the grid: none on what is paved, waves and a slope beyond."""
    beyond = (np.abs(edges) - front_m).clip(0)
    wave = rng.normal(0, 0.07, (len(rows), len(edges)))
    slope = rng.uniform(0.0, 0.05, 2)[(edges > 0).astype(int)]
    return (beyond > 0.1) * wave + (slope * beyond)[None]


def _tops(
    road: Road,
    rows: np.ndarray,
    edges: np.ndarray,
    levels: np.ndarray,
    bumps: np.ndarray,
    kinds: np.ndarray,
    kind: str,
) -> Piece:
    i, j = np.nonzero(kinds == kind)
    corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
    heights = [levels[i, j] + bumps[a, b] * (kind == "grass") for a, b in corners]
    xyz = [_xyz(road, rows[a], edges[b], z) for (a, b), z in zip(corners, heights, strict=True)]
    return Piece(kind, _PAINT[kind], _quads(*xyz))


def _kerbs(
    road: Road, rows: np.ndarray, edges: np.ndarray, kinds: np.ndarray, levels: np.ndarray
) -> list[Piece]:
    """Upright faces between cells of different levels; they belong to the higher one."""
    found: dict[str, list[np.ndarray]] = {}

    def add(high: np.ndarray, s: tuple, d: tuple, low: np.ndarray, top: np.ndarray) -> None:
        for kind in np.unique(high):
            at = high == kind
            ends = [(s[0][at], d[0][at]), (s[1][at], d[1][at])]
            (a, b), (e, f) = ([_xyz(road, *end, z[at]) for z in (low, top)] for end in ends)
            found.setdefault(str(kind), []).append(_quads(a, e, f, b))

    i, j = np.nonzero(levels[:, 1:] != levels[:, :-1])
    high = np.where(levels[i, j] > levels[i, j + 1], kinds[i, j], kinds[i, j + 1])
    pair = np.stack([levels[i, j], levels[i, j + 1]])
    add(high, (rows[i], rows[i + 1]), (edges[j + 1], edges[j + 1]), pair.min(0), pair.max(0))
    i, j = np.nonzero(levels[1:] != levels[:-1])
    high = np.where(levels[i, j] > levels[i + 1, j], kinds[i, j], kinds[i + 1, j])
    pair = np.stack([levels[i, j], levels[i + 1, j]])
    add(high, (rows[i + 1], rows[i + 1]), (edges[j], edges[j + 1]), pair.min(0), pair.max(0))
    return [Piece(kind, _KERB[kind], np.concatenate(parts)) for kind, parts in found.items()]


def _marks(road: Road) -> list[Piece]:
    """Edge lines, dashes between lanes, the line in the middle, and a zebra before the side road."""
    begin, end = -_MARGIN_M, road.length_m + _MARGIN_M
    white, yellow = [], []
    for side in (-1, 1):
        white.append(_strip(road, begin, end, side * (road.kerb_m - 0.25), _MARK_M))
        for lane in range(1, road.lanes):
            d = side * (road.island_m + lane * LANE_M)
            white += [_strip(road, s, s + 3.0, d, _MARK_M) for s in np.arange(begin, end, 9.0)]
        if not road.island_m:
            yellow.append(_strip(road, begin, end, side * 0.18, _MARK_M))
    zebra = road.crossing_m - road.crossing_half_m - 5.0
    bars = np.arange(-road.kerb_m + 0.6, road.kerb_m - 0.3, 1.0)
    white += [_strip(road, zebra, zebra + 3.0, d, 0.5) for d in bars if abs(d) > road.island_m + 0.3]
    pieces = [Piece("lane marking", _WHITE, np.concatenate(white))]
    if yellow:
        pieces.append(Piece("lane marking", _YELLOW, np.concatenate(yellow)))
    return pieces


def _strip(road: Road, begin: float, end: float, d: float, width: float) -> np.ndarray:
    s = np.linspace(begin, end, int((end - begin) // _STEP_M) + 2)
    left, right = (
        _xyz(road, s, np.full_like(s, d + side * width / 2), np.full_like(s, _MARK_Z)) for side in (1, -1)
    )
    return _quads(right[:-1], right[1:], left[1:], left[:-1])


def _plain_beyond() -> Piece:
    """Grass to the horizon, below everything else."""
    far = 600.0
    corners = np.array([[-far, -far, -0.3], [far, -far, -0.3], [far, far, -0.3], [-far, far, -0.3]])
    return Piece("grass", _PAINT["grass"], _quads(*corners[:, None]))


def _xyz(road: Road, s: np.ndarray, d: np.ndarray, z: np.ndarray) -> Float[np.ndarray, "n 3"]:
    return np.concatenate([road.xy(s, d), z[:, None]], axis=-1)


def _quads(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> Float[np.ndarray, "f 3 3"]:
    return np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
