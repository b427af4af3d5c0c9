"""What lines a street: plants, buildings, walls, fences, poles and signs."""

import numpy as np
import trimesh

from ovs3d.worlds.solids import Point, lathe, prism
from ovs3d.worlds.streets.model import Piece, ball, block, piece, stick
from ovs3d.worlds.streets.paint import RGB, Paint
from ovs3d.worlds.streets.vehicles import choose

Pieces = list[Piece]

_LEAVES: tuple[RGB, ...] = ((0.14, 0.34, 0.10), (0.20, 0.40, 0.12), (0.10, 0.28, 0.13), (0.30, 0.38, 0.12))
_BARK = Paint((0.33, 0.24, 0.17), (0.20, 0.14, 0.10), "grain", 0.25)
_METAL = Paint((0.42, 0.44, 0.46))
_ROOF: tuple[RGB, ...] = ((0.48, 0.20, 0.14), (0.28, 0.26, 0.26), (0.40, 0.30, 0.22))
_PLASTER: tuple[RGB, ...] = ((0.78, 0.72, 0.60), (0.72, 0.70, 0.68), (0.66, 0.52, 0.42), (0.80, 0.78, 0.72))
_BRICK: tuple[RGB, ...] = ((0.55, 0.26, 0.19), (0.48, 0.30, 0.22), (0.62, 0.40, 0.28))
_GLASS: RGB = (0.16, 0.24, 0.32)


def _leaves(
    rng: np.random.Generator, low: np.ndarray, high: np.ndarray, count: int, size_m: float
) -> np.ndarray:
    """Triangles that stand all ways in the outer part of the ellipsoid or box between two corners."""
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    reach = rng.uniform(0.72, 1.08, (count, 1))
    centre = (low + high) / 2 + direction * reach * (high - low) / 2
    return centre[:, None] + rng.uniform(-size_m, size_m, (count, 3, 3))


def _crown(rng: np.random.Generator, at: Point, half: Point, leaves: int) -> Pieces:
    """A dark heart with leaves around it."""
    green = choose(rng, _LEAVES)
    light: RGB = (green[0] * 1.5, green[1] * 1.35, green[2] * 1.3)
    centre, extent = np.array(at), np.array(half)
    heart = ball(0.8, at, half)
    return [
        piece("foliage", Paint(green, (green[0] * 0.5, green[1] * 0.5, green[2] * 0.5), "grain", 0.5), heart),
        Piece(
            "foliage",
            Paint(green, light, "grain", 0.6),
            _leaves(rng, centre - extent, centre + extent, leaves, 0.18),
        ),
    ]


def tree(rng: np.random.Generator) -> Pieces:
    """A trunk with branches under a round crown."""
    height, spread, bole = rng.uniform(5.0, 8.5), rng.uniform(1.5, 2.4), rng.uniform(1.8, 2.6)
    middle = (bole + height) / 2 + 0.2
    branches = [
        stick((0, 0, bole - 0.3), (0.6 * np.cos(a), 0.6 * np.sin(a), bole + 0.8), 0.07)
        for a in (0.4, 2.6, 4.5)
    ]
    crown = _crown(rng, (0, 0, middle), (spread, spread, (height - bole) / 2), 560)
    side = _crown(
        rng,
        (spread * 0.55, rng.uniform(-0.8, 0.8), middle - 0.5),
        (spread * 0.6, spread * 0.6, spread * 0.6),
        220,
    )
    trunk = trimesh.creation.cone(radius=rng.uniform(0.2, 0.3), height=height, sections=10)
    return [piece("trunk", _BARK, trunk, *branches), *crown, *side]


def conifer(rng: np.random.Generator) -> Pieces:
    """Three skirts of needles around a trunk."""
    height, spread = rng.uniform(5.0, 9.0), rng.uniform(1.2, 1.8)
    skirts = [
        lathe([(0.1, height * low), (spread * wide, height * low), (0.02, height * (low + 0.45))])
        for low, wide in ((0.14, 1.0), (0.36, 0.75), (0.56, 0.5))
    ]
    green = choose(rng, ((0.07, 0.24, 0.14), (0.09, 0.28, 0.12)))
    needles = Paint(green, (green[0] * 1.7, green[1] * 1.5, green[2] * 1.3), "grain", 0.35)
    return [
        piece("trunk", _BARK, stick((0, 0, 0), (0, 0, height * 0.3), 0.17)),
        piece("foliage", needles, *skirts),
    ]


def bush(rng: np.random.Generator) -> Pieces:
    wide, high = rng.uniform(0.6, 1.1), rng.uniform(0.45, 0.85)
    return _crown(rng, (0, 0, high * 0.85), (wide, wide * rng.uniform(0.8, 1.2), high), 130)


def hedge(rng: np.random.Generator) -> Pieces:
    """A row of shrubs, 4 m long."""
    green, half = choose(rng, _LEAVES), rng.uniform(0.4, 0.65)
    box = block((4.0, 0.7, 2 * half - 0.1), (0, 0, 0))
    places = rng.uniform((-2, -0.4, 0.05), (2, 0.4, 2 * half), (260, 3))
    places[:, 1] = np.where(places[:, 2] > 2 * half - 0.2, places[:, 1], np.sign(places[:, 1]) * 0.38)
    leaves = places[:, None] + rng.uniform(-0.16, 0.16, (260, 3, 3))
    light: RGB = (green[0] * 1.5, green[1] * 1.35, green[2] * 1.3)
    return [
        piece("foliage", Paint(green, light, "grain", 0.4), box),
        Piece("foliage", Paint(light, green, "grain", 0.4), leaves),
    ]


def house(rng: np.random.Generator) -> Pieces:
    """A dwelling with a gable roof, windows, a door towards the street (-y) and a chimney."""
    length, depth, high = rng.uniform(8, 12), rng.uniform(7, 9), rng.uniform(4.5, 6.0)
    wall = Paint(choose(rng, _PLASTER), _GLASS, "windows", high / 2)
    gable = prism(
        [(-depth / 2 - 0.4, high), (depth / 2 + 0.4, high), (0, high + rng.uniform(2.2, 3.2))], length + 0.6
    )
    turn = trimesh.transformations.rotation_matrix(np.pi / 2, [0, 0, 1])
    roof = choose(rng, _ROOF)
    tiles = Paint(roof, (roof[0] * 0.6, roof[1] * 0.6, roof[2] * 0.6), "bricks", 0.4)
    return [
        piece("building", wall, block((length, depth, high + 0.3), (0, 0, -0.3))),
        piece("building", tiles, gable.apply_transform(turn)),
        piece(
            "building",
            Paint((0.30, 0.16, 0.10)),
            block((1.1, 0.1, 2.1), (length * 0.1, -depth / 2 - 0.02, 0)),
        ),
        piece("building", Paint(choose(rng, _BRICK)), block((0.7, 0.7, 3.0), (length * 0.3, 0.6, high))),
    ]


def block_of_flats(rng: np.random.Generator) -> Pieces:
    """A tall building of brick, plaster or glass, with a plinth and a flat roof."""
    length, depth, floors = rng.uniform(10, 16), rng.uniform(8, 11), rng.integers(3, 8)
    high = 3.1 * float(floors)
    colour = choose(rng, (*_PLASTER, *_BRICK, (0.35, 0.45, 0.52)))
    shop = Paint(
        choose(rng, ((0.35, 0.33, 0.32), (0.55, 0.15, 0.12), (0.12, 0.28, 0.26))), _GLASS, "windows", 3.1
    )
    ledges = [block((length + 0.4, depth + 0.4, 0.25), (0, 0, z)) for z in (3.1, high)]
    balconies = [
        block((2.2, 1.0, 0.9), (x, -depth / 2 - 0.4, 3.1 * floor))
        for floor in range(2, int(floors))
        for x in (-length / 4, length / 4)
    ]
    pale: RGB = (colour[0] * 0.8 + 0.15, colour[1] * 0.8 + 0.15, colour[2] * 0.8 + 0.15)
    return [
        piece("building", shop, block((length, depth, 3.4), (0, 0, -0.3))),
        piece(
            "building", Paint(colour, _GLASS, "windows", 3.1), block((length, depth, high - 3.1), (0, 0, 3.1))
        ),
        piece("building", Paint(pale), *ledges, *balconies),
    ]


def wall(rng: np.random.Generator) -> Pieces:
    """6 m of a garden wall of brick or stone."""
    colour = choose(rng, (*_BRICK, (0.55, 0.53, 0.50)))
    masonry = Paint(colour, (0.72, 0.70, 0.66), "bricks", 0.16)
    high = rng.uniform(1.2, 2.0)
    cap = block((6.0, 0.42, 0.1), (0, 0, high))
    return [
        piece("fence", masonry, block((6.0, 0.3, high + 0.2), (0, 0, -0.2))),
        piece("fence", Paint((0.6, 0.58, 0.55)), cap),
    ]


def fence(rng: np.random.Generator) -> Pieces:
    """6 m of wooden slats or iron bars."""
    wooden = rng.random() < 0.5
    high, step = rng.uniform(1.0, 1.5), 0.3 if wooden else 0.2
    width = 0.18 if wooden else 0.035
    slats = [block((width, 0.035, high), (x, 0, 0)) for x in np.arange(-3 + step / 2, 3, step)]
    rails = [block((6.0, 0.06, 0.08), (0, 0.03, z)) for z in (0.25, high - 0.2)]
    paint = (
        Paint(choose(rng, ((0.52, 0.38, 0.24), (0.85, 0.84, 0.80)))) if wooden else Paint((0.12, 0.16, 0.14))
    )
    return [piece("fence", paint, *slats, *rails)]


def street_lamp(rng: np.random.Generator) -> Pieces:
    """A mast with an arm over the road (+y)."""
    high = rng.uniform(6.5, 8.0)
    mast = [stick((0, 0, 0), (0, 0, high), 0.09), stick((0, 0, high - 0.1), (0, 1.8, high + 0.2), 0.05)]
    return [
        piece("pole", _METAL, *mast),
        piece("pole", Paint((0.9, 0.9, 0.8)), block((0.25, 0.7, 0.14), (0, 1.9, high + 0.12))),
    ]


def traffic_sign(rng: np.random.Generator) -> Pieces:
    """A disc, a triangle or a board on a post; its face looks along -x, at who drives along x."""
    sections, colour = ((24, (0.85, 0.08, 0.08)), (3, (0.95, 0.80, 0.10)), (24, (0.08, 0.25, 0.70)))[
        rng.integers(3)
    ]
    disc = trimesh.creation.cylinder(radius=0.36, height=0.04, sections=sections)
    inner = trimesh.creation.cylinder(radius=0.22, height=0.05, sections=sections)
    turn = trimesh.transformations.rotation_matrix(np.pi / 2, [0, 1, 0])
    for plate in (disc, inner):
        plate.apply_transform(turn).apply_translation([-0.06, 0, 2.35])
    return [
        piece("pole", _METAL, stick((0, 0, 0), (0, 0, 2.6), 0.035)),
        piece("sign", Paint(colour), disc),
        piece("sign", Paint((0.95, 0.95, 0.95)), inner),
    ]


def traffic_light(rng: np.random.Generator) -> Pieces:
    """Three lamps in a dark box on a post, looking along -x."""
    lit = rng.integers(3)
    pieces = [
        piece("pole", _METAL, stick((0, 0, 0), (0, 0, 3.0), 0.06)),
        piece("pole", Paint((0.08, 0.09, 0.09)), block((0.25, 0.32, 1.0), (0, 0, 2.5))),
    ]
    for lamp, colour in enumerate(((0.1, 0.9, 0.3), (1.0, 0.75, 0.1), (1.0, 0.1, 0.1))):
        red, green, blue = (value if lamp == lit else value * 0.3 for value in colour)
        pieces.append(piece("pole", Paint((red, green, blue)), ball(0.12, (-0.1, 0, 2.68 + 0.31 * lamp))))
    return pieces


def bus_shelter(rng: np.random.Generator) -> Pieces:
    """A roof on posts with a glazed back (-y) and an advertisement."""
    posts = [stick((x, y, 0), (x, y, 2.4), 0.05) for x in (-1.8, 1.8) for y in (-0.45, 0.45)]
    return [
        piece("building", _METAL, *posts, block((4.2, 1.2, 0.12), (0, 0, 2.4))),
        piece("building", Paint((0.45, 0.55, 0.60)), block((3.4, 0.04, 1.7), (0.2, -0.45, 0.4))),
        piece(
            "building",
            Paint(choose(rng, ((0.8, 0.3, 0.5), (0.2, 0.6, 0.7)))),
            block((0.1, 0.9, 1.6), (-1.8, 0, 0.4)),
        ),
    ]
