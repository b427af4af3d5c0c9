"""People, and the small things that stand about in streets."""

import numpy as np

from ovs3d.worlds.solids import Point, lathe, prism
from ovs3d.worlds.streets.model import Piece, ball, block, piece, stick
from ovs3d.worlds.streets.paint import RGB, Paint
from ovs3d.worlds.streets.vehicles import bicycle, choose, motorcycle

Pieces = list[Piece]

_SKIN: tuple[RGB, ...] = ((0.85, 0.65, 0.52), (0.68, 0.48, 0.36), (0.40, 0.26, 0.18))
_HAIR: tuple[RGB, ...] = ((0.08, 0.06, 0.05), (0.30, 0.18, 0.08), (0.65, 0.52, 0.28), (0.6, 0.6, 0.6))
_TOP: tuple[RGB, ...] = (
    (0.75, 0.15, 0.20),
    (0.15, 0.30, 0.65),
    (0.90, 0.88, 0.85),
    (0.20, 0.50, 0.35),
    (0.85, 0.65, 0.20),
    (0.50, 0.25, 0.55),
    (0.12, 0.12, 0.14),
)
_TROUSERS: tuple[RGB, ...] = ((0.12, 0.16, 0.30), (0.10, 0.10, 0.11), (0.42, 0.36, 0.26), (0.30, 0.31, 0.33))
_VEST, _HELMET = Paint((1.0, 0.55, 0.05)), Paint((1.0, 0.85, 0.10))
_SHOES = Paint((0.08, 0.07, 0.07))


def adult(rng: np.random.Generator) -> Pieces:
    return _walker(rng, "adult", rng.uniform(1.58, 1.9))


def child(rng: np.random.Generator) -> Pieces:
    return _walker(rng, "child", rng.uniform(1.1, 1.35))


def worker(rng: np.random.Generator) -> Pieces:
    """A person with an orange vest and a helmet."""
    return _walker(rng, "worker", rng.uniform(1.65, 1.85))


def _walker(rng: np.random.Generator, kind: str, height: float) -> Pieces:
    """Someone in mid-step, arms against legs; built 1.75 m tall, then scaled."""
    step, swing = rng.uniform(0.12, 0.34), rng.uniform(0.1, 0.3)
    top = _VEST if kind == "worker" else Paint(choose(rng, _TOP))
    legs, shoes, arms, hands = [], [], [], []
    for side in (-1, 1):
        hip, knee, foot = (0, side * 0.1, 0.9), (side * step * 0.55, side * 0.1, 0.48), side * step
        legs += [stick(hip, knee, 0.095), stick(knee, (foot - 0.03, side * 0.1, 0.08), 0.075)]
        shoes.append(block((0.28, 0.11, 0.09), (foot + 0.05, side * 0.1, 0)))
        shoulder, elbow = (0, side * 0.24, 1.42), (-side * swing * 0.5, side * 0.29, 1.15)
        wrist = (-side * swing + 0.08, side * 0.29, 0.92)
        arms += [stick(shoulder, elbow, 0.065), stick(elbow, wrist, 0.05)]
        hands.append(ball(0.06, wrist, finer=-1))
    torso = [ball(0.3, (0, 0, 1.2), (0.45, 0.75, 1.05)), ball(0.24, (0, 0, 1.38), (0.5, 1.0, 0.5), finer=-1)]
    hat = _HELMET if kind == "worker" else Paint(choose(rng, _HAIR))
    pieces = [
        piece(
            kind, Paint(choose(rng, _TROUSERS)), *legs, ball(0.17, (0, 0, 0.93), (0.7, 1.05, 0.8), finer=-1)
        ),
        piece(kind, top, *torso, *arms),
        piece(kind, Paint(choose(rng, _SKIN)), ball(0.12, (0.01, 0, 1.63), (0.9, 0.8, 1.05)), *hands),
        piece(kind, hat, ball(0.125, (-0.025, 0, 1.67), (0.95, 0.9, 0.75))),
        piece(kind, _SHOES, *shoes),
    ]
    return [Piece(each.kind, each.paint, each.triangles * (height / 1.75)) for each in pieces]


def bicyclist(rng: np.random.Generator) -> Pieces:
    """A bicycle with somebody on it."""
    return [*bicycle(rng), *_rider(rng, "bicyclist", saddle=0.95, pedal=0.35, grip=(0.34, 0.26, 1.04))]


def motorcyclist(rng: np.random.Generator) -> Pieces:
    """A motorcycle with somebody on it."""
    return [*motorcycle(rng), *_rider(rng, "motorcyclist", saddle=0.9, pedal=0.3, grip=(0.4, 0.32, 1.07))]


def _rider(rng: np.random.Generator, kind: str, saddle: float, pedal: float, grip: Point) -> Pieces:
    top, legs, arms = Paint(choose(rng, _TOP)), [], []
    for side in (-1, 1):
        knee = (0.18, side * 0.16, (saddle + pedal) / 2 + 0.12)
        legs += [stick((-0.22, side * 0.1, saddle), knee, 0.09), stick(knee, (0.0, side * 0.14, pedal), 0.07)]
        arms.append(stick((-0.02, side * 0.2, saddle + 0.5), (grip[0], side * grip[1], grip[2]), 0.055))
    back = stick((-0.24, 0, saddle + 0.02), (-0.02, 0, saddle + 0.52), 0.17)
    head = (0.08, 0, saddle + 0.75)
    return [
        piece(kind, Paint(choose(rng, _TROUSERS)), *legs),
        piece(kind, top, back, *arms),
        piece(kind, Paint(choose(rng, _SKIN)), ball(0.12, head)),
        piece(kind, Paint(choose(rng, _TOP)), ball(0.14, (head[0] - 0.02, 0, head[2] + 0.04), (1, 0.9, 0.8))),
    ]


def cone(rng: np.random.Generator) -> Pieces:
    """Orange with white bands, on a square foot."""
    height = rng.uniform(0.65, 0.95)
    shell = [(0, 0.03), (0.17, 0.03), (0.16, 0.08), (0.035, height), (0, height)]
    bands = Paint((1.0, 0.36, 0.03), (0.96, 0.96, 0.94), "ringed", height / 2.2)
    return [
        piece("cone", bands, lathe(shell)),
        piece("cone", Paint((0.9, 0.3, 0.03)), block((0.42, 0.42, 0.04), (0, 0, 0))),
    ]


def barrier(rng: np.random.Generator) -> Pieces:
    """A piece of a row of water-filled or concrete barriers, 2 m long, in red and white or grey and black."""
    profile = [(-0.3, 0), (0.3, 0), (0.28, 0.25), (0.12, 0.9), (-0.12, 0.9), (-0.28, 0.25)]
    colours: tuple[tuple[RGB, RGB], ...] = (
        ((0.85, 0.16, 0.10), (0.94, 0.93, 0.90)),
        ((0.92, 0.40, 0.06), (0.94, 0.93, 0.90)),
    )
    first, second = colours[rng.integers(len(colours))]
    wall = prism(profile, 1.96)  # drawn along y, turned to lie along x
    turned = wall.triangles[..., [1, 0, 2]] * np.array([1.0, -1.0, 1.0])
    return [Piece("barrier", Paint(first, second, "striped", 1.3), turned)]


def bin_(rng: np.random.Generator) -> Pieces:
    """A dustbin on wheels."""
    colour = choose(rng, ((0.15, 0.32, 0.20), (0.25, 0.27, 0.30), (0.30, 0.22, 0.12)))
    box = prism([(-0.26, 0.08), (0.24, 0.08), (0.32, 1.0), (-0.3, 1.0)], 0.55)
    return [piece("bin", Paint(colour), box, block((0.68, 0.6, 0.08), (0, 0, 1.0)))]


def rubble(rng: np.random.Generator) -> Pieces:
    """A heap of stones."""
    stones = [
        ball(
            rng.uniform(0.15, 0.3),
            (*rng.normal(0, 0.35, 2), rng.uniform(0.05, 0.3)),
            tuple(rng.uniform(0.6, 1.2, 3)),
        )
        for _ in range(9)
    ]
    return [piece("rubble", Paint((0.50, 0.45, 0.40), (0.32, 0.29, 0.26), "grain", 0.2), *stones)]


def bench(rng: np.random.Generator) -> Pieces:
    seat = [block((1.6, 0.13, 0.05), (0, y, 0.45)) for y in (-0.17, 0, 0.17)]
    back = [block((1.6, 0.05, 0.12), (0, 0.27, z)) for z in (0.6, 0.78)]
    legs = [
        stick((x, y, 0.0), (x, y * 1.3, high), 0.03)
        for x in (-0.65, 0.65)
        for y, high in ((-0.2, 0.45), (0.2, 0.9))
    ]
    return [
        piece("bench", Paint((0.50, 0.32, 0.17)), *seat, *back),
        piece("bench", Paint((0.15, 0.15, 0.15)), *legs),
    ]
