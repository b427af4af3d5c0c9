"""Vehicles of streets: what tells each class apart from every side, in random sizes and colours."""

import numpy as np

from ovs3d.worlds.solids import prism
from ovs3d.worlds.streets.model import Piece, ball, bar, block, piece, stick, tyre, wheel
from ovs3d.worlds.streets.paint import RGB, Paint

Pieces = list[Piece]

_CAR: tuple[RGB, ...] = (
    (0.86, 0.87, 0.88),
    (0.62, 0.64, 0.66),
    (0.10, 0.10, 0.12),
    (0.62, 0.08, 0.09),
    (0.10, 0.22, 0.52),
    (0.30, 0.33, 0.36),
    (0.14, 0.36, 0.28),
    (0.55, 0.44, 0.28),
)
_LIVELY: tuple[RGB, ...] = (
    (0.80, 0.12, 0.10),
    (0.10, 0.35, 0.70),
    (0.12, 0.52, 0.28),
    (0.92, 0.55, 0.08),
    (0.45, 0.16, 0.50),
)
_DIGGER: tuple[RGB, ...] = ((0.95, 0.72, 0.05), (0.93, 0.62, 0.05), (0.90, 0.50, 0.06))
_GLASS = Paint((0.10, 0.13, 0.16))
_RUBBER = Paint((0.06, 0.06, 0.06))
_STEEL = Paint((0.25, 0.26, 0.27))
_WHITE_LIGHT, _RED_LIGHT = Paint((1.0, 0.98, 0.85)), Paint((0.85, 0.05, 0.05))


def choose(rng: np.random.Generator, colours: tuple[RGB, ...]) -> RGB:
    """One of some colours, a little lighter or darker."""
    tone = rng.uniform(0.9, 1.08)
    red, green, blue = (min(value * tone, 1.0) for value in colours[rng.integers(len(colours))])
    return (red, green, blue)


def car(rng: np.random.Generator) -> Pieces:
    """A saloon, a hatchback, an off-roader or a van."""
    style = int(rng.integers(4))
    half, width = (2.3, 2.0, 2.35, 2.5)[style], (1.8, 1.72, 1.9, 1.95)[style]
    belt, top = (0.88, 0.9, 1.05, 1.1)[style], (1.42, 1.48, 1.75, 2.05)[style]
    rear_top, rear, front_top, front = ((-1.15, -1.75, 0.35, 1.05), (-1.6, -1.9, 0.3, 0.95))[style % 2]
    if style > 1:
        rear_top, rear = -half + 0.35, -half + 0.1
        front_top, front = (0.35, 1.0) if style == 2 else (1.1, 1.75)
    scale = rng.uniform(0.95, 1.05)
    paint = Paint(choose(rng, _CAR))
    hull = [(-half, 0.3), (half, 0.3), (half, 0.6), (half - 0.25, belt - 0.08), (-half + 0.1, belt)]
    cabin = [(rear, belt - 0.05), (front, belt - 0.1), (front_top, top - 0.06), (rear_top, top - 0.06)]
    roof = [
        (rear_top - 0.1, top - 0.1),
        (front_top + 0.1, top - 0.1),
        (front_top - 0.1, top),
        (rear_top + 0.15, top),
    ]
    pillars = [block((0.1, width - 0.1, top - belt), (x, 0, belt - 0.05)) for x in (-0.5, rear_top - 0.1)]
    axle, radius = half - 0.85, (0.31, 0.31, 0.37, 0.34)[style]
    wheels = [wheel(x, y, radius, 0.22) for x in (-axle, axle) for y in (0.08 - width / 2, width / 2 - 0.08)]
    front_lights = [block((0.1, 0.35, 0.14), (half - 0.04, y, 0.58)) for y in (-width / 2.8, width / 2.8)]
    rear_lights = [block((0.1, 0.3, 0.16), (0.04 - half, y, 0.66)) for y in (-width / 2.6, width / 2.6)]
    pieces = [
        piece("car", paint, prism(hull, width), prism(roof, width - 0.16), *pillars),
        piece("car", _GLASS, prism(cabin, width - 0.14)),
        piece("car", _RUBBER, *wheels),
        piece("car", _WHITE_LIGHT, *front_lights),
        piece("car", _RED_LIGHT, *rear_lights),
    ]
    return [Piece(each.kind, each.paint, each.triangles * scale) for each in pieces]


def bus(rng: np.random.Generator) -> Pieces:
    """A long box with a band of windows, doors and a lit destination."""
    length, width, height = rng.uniform(10.5, 12.5), 2.55, rng.uniform(3.0, 3.3)
    half = length / 2
    posts = np.arange(-half + 0.6, half - 0.3, 1.5)
    body = [block((length, width, height - 0.75), (0, 0, 0.35))]
    body += [block((0.16, width + 0.06, 1.15), (x, 0, 1.35)) for x in posts]
    glass = [
        block((length - 0.5, width + 0.03, 1.05), (0, 0, 1.4)),
        block((0.06, width - 0.3, 1.35), (half, 0, 1.15)),
        block((0.06, width - 0.5, 0.8), (-half, 0, 1.6)),
        *[block((1.0, 0.06, 2.0), (x, -width / 2, 0.42)) for x in (half - 0.9, 0.2)],
    ]
    wheels = [
        wheel(x, y, 0.48, 0.3)
        for x in (-half + 2.6, half - 2.4)
        for y in (0.14 - width / 2, width / 2 - 0.14)
    ]
    return [
        piece("bus", Paint(choose(rng, ((0.95, 0.78, 0.10), *_LIVELY))), *body),
        piece("bus", Paint((0.92, 0.92, 0.90)), block((length, width, 0.4), (0, 0, height - 0.4))),
        piece("bus", _GLASS, *glass),
        piece("bus", Paint((1.0, 0.72, 0.1)), block((0.08, 1.5, 0.25), (half, 0, height - 0.42))),
        piece("bus", _RED_LIGHT, *[block((0.08, 0.2, 0.4), (-half, y, 0.8)) for y in (-1.1, 1.1)]),
        piece("bus", _RUBBER, *wheels),
    ]


def truck(rng: np.random.Generator) -> Pieces:
    """A coloured cab before a light box, a tank or a flat bed with a load."""
    bed, height = rng.uniform(4.6, 6.5), rng.uniform(2.3, 2.9)
    front, back = bed / 2 + 1.1, -bed / 2 - 1.1
    cab = [(front - 2.0, 0.55), (front, 0.55), (front, 1.7), (front - 0.25, 2.85), (front - 2.0, 2.85)]
    glass = (
        bar((front + 0.02, 0, 1.75), (front - 0.2, 0, 2.65), 0.1, 2.0),
        block((0.9, 2.46, 0.75), (front - 0.95, 0, 1.75)),
    )
    xs = (front - 1.0, back + 1.9, back + 0.8)
    wheels = [wheel(x, y, 0.5, 0.32) for x in xs for y in (-1.05, 1.05)]
    light = Paint(choose(rng, ((0.90, 0.90, 0.88), (0.80, 0.82, 0.84), (0.88, 0.85, 0.75))))
    middle = back + bed / 2
    load = [piece("truck", light, block((bed, 2.5, height), (middle, 0, 1.0)))]
    stripe = block((bed * 0.6, 2.54, 0.5), (middle, 0, 1.0 + height * 0.4))
    style = rng.integers(3)
    if style == 1:
        load = [piece("truck", light, ball(1.2, (middle, 0, 2.1), (bed / 2.4, 1, 1), finer=1))]
        stripe = block((bed, 2.3, 0.2), (middle, 0, 0.95))
    if style == 2:
        crates = [block((1.3, 1.8, rng.uniform(0.6, 1.5)), (back + 0.9 + 1.5 * i, 0, 1.1)) for i in range(3)]
        load = [piece("truck", Paint((0.55, 0.40, 0.22), (0.4, 0.28, 0.15), "ribbed", 0.4), *crates)]
        stripe = block((bed, 2.5, 0.3), (middle, 0, 0.9))
    return [
        piece("truck", Paint(choose(rng, _LIVELY)), prism(cab, 2.4), stripe),
        piece("truck", _GLASS, *glass),
        *load,
        piece("truck", _STEEL, block((bed + 2.0, 1.0, 0.35), (0, 0, 0.6))),
        piece("truck", _RUBBER, *wheels),
        piece("truck", _WHITE_LIGHT, *[block((0.08, 0.35, 0.2), (front, y, 0.7)) for y in (-0.9, 0.9)]),
        piece("truck", _RED_LIGHT, *[block((0.08, 0.3, 0.2), (back, y, 0.75)) for y in (-1.0, 1.0)]),
    ]


def trailer(rng: np.random.Generator) -> Pieces:
    """A parked semi-trailer with a corrugated container on legs, without anything that drives it."""
    length = rng.uniform(8.0, 11.0)
    half = length / 2
    colour = choose(rng, ((0.15, 0.30, 0.45), (0.45, 0.18, 0.13), (0.20, 0.38, 0.25), (0.50, 0.48, 0.44)))
    dark: RGB = (colour[0] * 0.55, colour[1] * 0.55, colour[2] * 0.55)
    axles = (-half + 0.8, -half + 2.0, -half + 3.2)
    wheels = [wheel(x, y, 0.5, 0.35) for x in axles for y in (-1.0, 1.0)]
    legs = [block((0.15, 0.15, 1.1), (half - 2.4, y, 0)) for y in (-0.8, 0.8)]
    posts = [block((0.12, 2.56, 2.65), (x, 0, 1.25)) for x in (-half, half)]
    return [
        piece("trailer", Paint(colour, dark, "ribbed", 0.55), block((length, 2.5, 2.6), (0, 0, 1.27))),
        piece("trailer", Paint(dark), *posts),
        piece("trailer", _STEEL, block((length, 0.9, 0.3), (0, 0, 0.95)), *legs),
        piece("trailer", _STEEL, stick((half - 0.6, 0, 0.7), (half - 0.6, 0, 1.0), 0.15)),
        piece("trailer", _RUBBER, *wheels),
        piece("trailer", _RED_LIGHT, *[block((0.08, 0.4, 0.18), (-half, y, 0.95)) for y in (-1.0, 1.0)]),
    ]


def construction_vehicle(rng: np.random.Generator) -> Pieces:
    """A yellow excavator on tracks or a wheel loader, with an arm and a bucket."""
    yellow = Paint(choose(rng, _DIGGER))
    return _excavator(rng, yellow) if rng.random() < 0.6 else _loader(yellow)


def _excavator(rng: np.random.Generator, yellow: Paint) -> Pieces:
    lift = rng.uniform(0, 0.6)
    track = [(-1.5, 0), (1.5, 0), (1.9, 0.45), (1.5, 0.9), (-1.5, 0.9), (-1.9, 0.45)]
    elbow, wrist = (2.6, 0, 3.5 + lift), (4.3, 0, 1.9 + lift)
    scoop = [(3.9, 0.75 + lift), (4.7, 0.85 + lift), (4.55, 1.9 + lift), (3.95, 1.6 + lift)]
    body = [block((3.0, 2.5, 1.0), (-0.5, 0, 1.1)), block((1.0, 2.4, 0.5), (-1.5, 0, 2.1))]
    arm = [bar((0.6, -0.3, 1.7), (2.6, -0.3, 3.5 + lift), 0.5, 0.4), bar(elbow, wrist, 0.35, 0.35)]
    kind = "construction vehicle"
    return [
        piece(
            kind,
            Paint((0.10, 0.10, 0.10), (0.22, 0.21, 0.20), "ribbed", 0.3),
            *[prism(track, 0.55, y) for y in (-1.0, 1.0)],
        ),
        piece(kind, yellow, *body, *arm, block((1.35, 1.05, 0.12), (0.5, 0.65, 2.95))),
        piece(kind, _GLASS, block((1.2, 0.95, 0.9), (0.5, 0.65, 2.08))),
        piece(kind, _STEEL, prism(scoop, 1.1), stick((0.9, -0.3, 2.2), (2.0, -0.3, 3.4 + lift), 0.08)),
    ]


def _loader(yellow: Paint) -> Pieces:
    scoop = [(2.5, 0.15), (3.6, 0.1), (3.3, 0.4), (2.7, 1.2)]
    wheels = [wheel(x, y, 0.75, 0.5) for x in (-1.3, 1.3) for y in (-0.95, 0.95)]
    arms = [bar((0.7, y, 1.9), (2.7, y, 0.7), 0.28, 0.2) for y in (-0.5, 0.5)]
    kind = "construction vehicle"
    return [
        piece(
            kind, yellow, block((2.2, 1.5, 1.2), (-1.3, 0, 0.8)), block((1.6, 1.1, 0.8), (0.8, 0, 0.8)), *arms
        ),
        piece(kind, yellow, block((1.4, 1.4, 0.15), (-0.4, 0, 3.1))),
        piece(kind, _GLASS, block((1.2, 1.3, 1.1), (-0.4, 0, 2.0))),
        piece(kind, _STEEL, prism(scoop, 2.5)),
        piece(kind, _RUBBER, *wheels),
    ]


def bicycle(rng: np.random.Generator) -> Pieces:
    """Two thin wheels, a frame of tubes, handlebars and a saddle."""
    frame = [
        stick((-0.05, 0, 0.3), (-0.2, 0, 0.9), 0.025),
        stick((-0.05, 0, 0.3), (0.38, 0, 0.8), 0.03),
        stick((-0.15, 0, 0.78), (0.38, 0, 0.82), 0.025),
        stick((-0.5, 0, 0.34), (-0.05, 0, 0.3), 0.02),
        stick((-0.5, 0, 0.34), (-0.17, 0, 0.8), 0.02),
        stick((0.52, 0, 0.34), (0.36, 0, 1.0), 0.025),
    ]
    grip = [stick((0.34, -0.28, 1.02), (0.34, 0.28, 1.02), 0.02), block((0.26, 0.14, 0.06), (-0.22, 0, 0.9))]
    return [
        piece("bicycle", Paint(choose(rng, (*_LIVELY, (0.10, 0.70, 0.70)))), *frame),
        piece("bicycle", _RUBBER, tyre(-0.5, 0.34, 0.05), tyre(0.52, 0.34, 0.05), *grip),
    ]


def motorcycle(rng: np.random.Generator) -> Pieces:
    """Two thick wheels, a tank, an engine, a seat, a fork with a lamp."""
    body = (
        ball(0.22, (0.15, 0, 0.82), (1.5, 0.75, 0.85)),
        block((0.35, 0.24, 0.1), (0.72, 0, 0.62)),
        prism([(-0.95, 0.72), (-0.5, 0.6), (-0.45, 0.78), (-0.95, 0.86)], 0.22),
    )
    fork = [stick((0.72, y, 0.32), (0.45, y, 1.0), 0.035) for y in (-0.1, 0.1)]
    engine = [block((0.6, 0.34, 0.4), (0.02, 0, 0.28)), stick((-0.9, -0.18, 0.32), (0.1, -0.18, 0.3), 0.06)]
    grip = [stick((0.4, -0.36, 1.05), (0.4, 0.36, 1.05), 0.025), block((0.62, 0.28, 0.12), (-0.4, 0, 0.76))]
    return [
        piece("motorcycle", Paint(choose(rng, _LIVELY)), *body),
        piece("motorcycle", Paint((0.55, 0.56, 0.58)), *fork, *engine),
        piece("motorcycle", _RUBBER, wheel(-0.7, 0.0, 0.32, 0.16), wheel(0.72, 0.0, 0.32, 0.14), *grip),
        piece("motorcycle", _WHITE_LIGHT, ball(0.1, (0.6, 0, 0.92))),
    ]
