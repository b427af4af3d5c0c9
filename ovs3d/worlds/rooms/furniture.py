"""Furniture of living rooms, bedrooms and offices, with what lies on it. Sizes in metres."""

import numpy as np

from ovs3d.worlds.rooms.paint import fabric, painting, plain, stripes, wood
from ovs3d.worlds.rooms.things import Thing, placed, thing
from ovs3d.worlds.solids import block, lathe, rod, sphere

WOODS = ((0.62, 0.42, 0.24), (0.45, 0.28, 0.15), (0.80, 0.62, 0.42), (0.33, 0.20, 0.13))
CLOTHS = (
    *((0.65, 0.15, 0.15), (0.16, 0.26, 0.52), (0.20, 0.42, 0.30), (0.55, 0.54, 0.52), (0.82, 0.70, 0.45)),
    *((0.45, 0.22, 0.45), (0.80, 0.45, 0.22), (0.25, 0.48, 0.55)),
)
METAL, DARK, WHITE = (0.62, 0.64, 0.66), (0.09, 0.09, 0.10), (0.92, 0.92, 0.90)
Rng = np.random.Generator


def any_of(rng: Rng, colours: tuple[tuple[float, ...], ...]) -> tuple[float, ...]:
    """One of the colours, a little lighter or darker."""
    return tuple(np.clip(np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.85, 1.12), 0, 1))


def legs(width: float, depth: float, height: float, thick: float) -> list:
    """Four legs under the corners of a board around the origin."""
    x, y = (width - thick) / 2, (depth - thick) / 2
    return [block((thick, thick, height), (sx * x, sy * y, 0)) for sx in (-1, 1) for sy in (-1, 1)]


def bed(rng: Rng) -> list[Thing]:
    wide, long, high = rng.uniform(1.0, 1.7), rng.uniform(1.95, 2.1), rng.uniform(0.42, 0.55)
    timber = wood(rng, any_of(rng, WOODS))
    frame = [block((wide + 0.08, 0.06, high + rng.uniform(0.4, 0.6)), (0, -0.03, 0))]
    frame += [block((wide + 0.06, long, 0.14), (0, -0.06 - long / 2, 0.14))]
    frame += [mesh.apply_translation((0, -0.06 - long / 2, 0)) for mesh in legs(wide, long, 0.14, 0.08)]
    mattress = [block((wide, long - 0.02, high - 0.28), (0, -0.06 - long / 2, 0.28))]
    duvet = [block((wide + 0.05, long * 0.68, high - 0.3), (0, -0.09 - long * 0.66, 0.33))]
    cover = fabric(rng, any_of(rng, CLOTHS))
    things = [thing("bed", (frame, timber), (mattress, plain(WHITE)), (duvet, cover))]
    for x in (-wide / 4, wide / 4) if wide > 1.3 else (0.0,):
        soft = sphere(0.2, (x, -0.3, high + 0.07), (1.5, 0.95, 0.4))
        things.append(thing("pillow", ([soft], plain((0.88, 0.88, 0.92)))))
    return things


def chair(rng: Rng) -> list[Thing]:
    seat, back = rng.uniform(0.43, 0.47), rng.uniform(0.4, 0.5)
    timber = wood(rng, any_of(rng, WOODS), upright=True)
    frame = [*legs(0.42, 0.42, seat, 0.045)]
    frame += [block((0.04, 0.04, back), (x, 0.19, seat)) for x in (-0.19, 0.19)]
    rails = rng.integers(2, 5)
    frame += [block((0.34, 0.025, 0.07), (0, 0.19, seat + back * (i + 0.8) / rails)) for i in range(rails)]
    cushion = plain(any_of(rng, CLOTHS))
    board = [block((0.44, 0.44, 0.045), (0, 0, seat))]
    return [thing("chair", (frame, timber), (board, cushion if rng.random() < 0.5 else timber))]


def office_chair(rng: Rng) -> list[Thing]:
    cloth = plain(any_of(rng, (DARK, *CLOTHS[:4])))
    arms = [block((0.05, 0.28, 0.03), (x, 0.02, 0.68)) for x in (-0.27, 0.27)]
    arms += [block((0.04, 0.05, 0.2), (x, 0.1, 0.48)) for x in (-0.27, 0.27)]
    turns = np.arange(5) * 2 * np.pi / 5
    star = [rod((0, 0, 0.09), (0.28 * np.cos(a), 0.28 * np.sin(a), 0.06), 0.022) for a in turns]
    star += [sphere(0.035, (0.28 * np.cos(a), 0.28 * np.sin(a), 0.035)) for a in turns]
    seat = [block((0.5, 0.48, 0.09), (0, 0, 0.43)), block((0.46, 0.07, 0.55), (0, 0.25, 0.55))]
    frame = [*arms, *star, rod((0, 0, 0.08), (0, 0, 0.44), 0.03), block((0.08, 0.04, 0.2), (0, 0.25, 0.42))]
    return [thing("office chair", (seat, cloth), (frame, plain(DARK)))]


def armchair(rng: Rng) -> list[Thing]:
    return _upholstered(rng, "armchair", 0.85)


def sofa(rng: Rng) -> list[Thing]:
    things = _upholstered(rng, "couch", rng.uniform(1.6, 2.1))
    if rng.random() < 0.6:
        soft = sphere(0.19, (rng.choice([-0.5, 0.5]), -0.32, 0.58), (1.1, 0.45, 0.95))
        things.append(thing("pillow", ([soft], fabric(rng, any_of(rng, CLOTHS)))))
    return things


def _upholstered(rng: Rng, category: str, wide: float) -> list[Thing]:
    deep, seat, high = rng.uniform(0.8, 0.92), rng.uniform(0.38, 0.44), rng.uniform(0.75, 0.88)
    count = max(1, round((wide - 0.3) / 0.65))
    each = (wide - 0.36) / count
    body = [block((wide, deep, seat - 0.18), (0, -deep / 2, 0.07)), block((wide, 0.2, high), (0, -0.1, 0))]
    body += [block((0.17, deep, seat + 0.2), (side * (wide - 0.17) / 2, -deep / 2, 0)) for side in (-1, 1)]
    places = (np.arange(count) - (count - 1) / 2) * each
    cushions = [
        block((each - 0.02, deep - 0.2, 0.15), (x, -0.2 - (deep - 0.2) / 2, seat - 0.1)) for x in places
    ]
    cushions += [block((each - 0.03, 0.14, high - seat), (x, -0.27, seat + 0.06)) for x in places]
    cloth = any_of(rng, CLOTHS)
    lighter = tuple(np.clip(np.array(cloth) * 1.18, 0, 1))
    return [thing(category, (body, fabric(rng, cloth)), (cushions, plain(lighter)))]


def coffee_table(rng: Rng) -> list[Thing]:
    wide, deep, high = rng.uniform(0.8, 1.1), rng.uniform(0.5, 0.6), rng.uniform(0.4, 0.46)
    timber = wood(rng, any_of(rng, WOODS))
    parts = [block((wide, deep, 0.05), (0, 0, high)), *legs(wide, deep, high, 0.06)]
    parts += [block((wide - 0.1, deep - 0.1, 0.025), (0, 0, 0.14))]
    return [
        thing("coffee table", (parts, timber)),
        *placed(books(rng), rng.uniform(-0.2, 0.2), 0, high + 0.05),
    ]


def dining_table(rng: Rng) -> list[Thing]:
    """A table with two to four chairs at its sides."""
    timber, high = wood(rng, any_of(rng, WOODS)), rng.uniform(0.72, 0.78)
    if rng.random() < 0.4:
        radius = rng.uniform(0.45, 0.55)
        reach, wide = radius, 0.0
        stand = [(0, 0), (0.28, 0), (0.26, 0.04), (0.06, 0.1), (0.06, high), (radius, high)]
        parts = [lathe([*stand, (radius, high + 0.04), (0, high + 0.04)])]
    else:
        wide, deep = rng.uniform(1.1, 1.5), rng.uniform(0.7, 0.85)
        reach = deep / 2
        parts = [block((wide, deep, 0.04), (0, 0, high)), *legs(wide - 0.04, deep - 0.04, high, 0.07)]
        parts += [block((wide - 0.2, deep - 0.2, 0.08), (0, 0, high - 0.08))]
    things = [thing("table", (parts, timber))]
    for side in (-1, 1):
        for x in (-wide / 4, wide / 4) if wide > 1.25 else (0.0,):
            yaw = (0 if side > 0 else np.pi) + rng.uniform(-0.25, 0.25)
            things += placed(chair(rng), x, side * (reach + rng.uniform(0.12, 0.25)), yaw=yaw)
    return things


def desk(rng: Rng) -> list[Thing]:
    """A desk with drawers and a screen, and a chair before it."""
    wide, deep, high = rng.uniform(1.1, 1.5), rng.uniform(0.6, 0.7), rng.uniform(0.71, 0.76)
    side = rng.choice([-1, 1])
    top = [block((wide, deep, 0.035), (0, -deep / 2, high))]
    top += [block((0.4, deep - 0.06, high - 0.1), (side * (wide / 2 - 0.21), -deep / 2, 0.05))]
    top += [block((0.03, deep - 0.06, high), (-side * (wide / 2 - 0.03), -deep / 2, 0))]
    fronts = [
        block((0.36, 0.015, 0.17), (side * (wide / 2 - 0.21), 0.02 - deep, 0.08 + 0.2 * i)) for i in range(3)
    ]
    knobs = [block((0.12, 0.02, 0.02), (side * (wide / 2 - 0.21), -deep, 0.17 + 0.2 * i)) for i in range(3)]
    board = any_of(rng, ((0.86, 0.74, 0.56), (0.90, 0.88, 0.84), (0.70, 0.55, 0.38)))
    darker = tuple(0.75 * np.array(board))
    body = thing("desk", (top, wood(rng, board)), (fronts, plain(darker)), (knobs, plain(METAL)))
    screen = [block((0.55, 0.03, 0.33), (0, 0, 0.12)), block((0.06, 0.03, 0.16), (0, 0.03, 0))]
    foot = [block((0.22, 0.16, 0.015), (0, 0.02, 0))]
    monitor = thing("monitor", (screen + foot, plain(DARK)))
    seat = office_chair(rng) if rng.random() < 0.7 else chair(rng)
    turned = placed(seat, -0.12 * side, -deep - rng.uniform(0.15, 0.3), yaw=np.pi + rng.uniform(-0.5, 0.5))
    return [body, *placed([monitor], -0.1 * side, -0.17, high + 0.035), *turned]


def cabinet(rng: Rng) -> list[Thing]:
    """Doors with knobs in a carcass, low or tall; sometimes with a lamp on it."""
    high = rng.uniform(0.75, 1.05) if rng.random() < 0.5 else rng.uniform(1.7, 2.0)
    wide, deep = rng.uniform(0.8, 1.2), rng.uniform(0.4, 0.55)
    things = [doors("cabinet", rng, wide, deep, high, any_of(rng, (*WOODS, WHITE)))]
    if high < 1.1 and rng.random() < 0.7:
        things += placed(lamp(rng), rng.uniform(-0.25, 0.25), -deep / 2, high)
    return things


def doors(category: str, rng: Rng, wide: float, deep: float, high: float, rgb: tuple[float, ...]) -> Thing:
    """A carcass whose front is two doors with knobs."""
    carcass = [block((wide, deep - 0.02, high), (0, -(deep - 0.02) / 2, 0))]
    leaf = wide / 2 - 0.035
    fronts = [block((leaf, 0.02, high - 0.12), (s * (leaf / 2 + 0.012), 0.01 - deep, 0.08)) for s in (-1, 1)]
    knobs = [sphere(0.022, (s * 0.06, -deep - 0.015, high * 0.55)) for s in (-1, 1)]
    shade = tuple(0.72 * np.array(rgb))
    front = (fronts, wood(rng, rgb, upright=True))
    return thing(category, (carcass, plain(shade)), front, (knobs, plain(METAL)))


def bookshelf(rng: Rng) -> list[Thing]:
    wide, deep, high = rng.uniform(0.75, 1.1), rng.uniform(0.26, 0.32), rng.uniform(1.5, 2.0)
    count = rng.integers(4, 6)
    levels = np.arange(count) * (high - 0.03) / (count - 1)
    frame = [block((0.03, deep, high), (s * (wide - 0.03) / 2, -deep / 2, 0)) for s in (-1, 1)]
    frame += [block((wide - 0.05, deep - 0.02, 0.03), (0, -deep / 2, z)) for z in levels]
    frame += [block((wide, 0.015, high), (0, -0.0075, 0))]
    rows: list[list] = [[], [], [], []]
    for z in levels[:-1]:
        x = 0.03 - wide / 2
        while x < wide / 2 - 0.12:
            thick, tall = rng.uniform(0.025, 0.06), rng.uniform(0.6, 0.85) * (levels[1] - 0.04)
            book = block((thick, deep * 0.7, tall), (x + thick / 2, -deep * 0.45, z + 0.03))
            rows[rng.integers(4)].append(book)
            x += thick + (0.002 if rng.random() < 0.92 else 0.12)
    colours = rng.permutation(np.array(CLOTHS))[:4].tolist()
    spines = [(row, plain(rgb)) for row, rgb in zip(rows, colours, strict=True) if row]
    return [thing("bookshelf", (frame, wood(rng, any_of(rng, WOODS))), *spines)]


def nightstand(rng: Rng) -> list[Thing]:
    high = rng.uniform(0.45, 0.55)
    body = [block((0.42, 0.38, high), (0, -0.19, 0))]
    drawers = [block((0.38, 0.015, 0.16), (0, -0.385, z)) for z in (0.06, 0.25)]
    rgb = any_of(rng, WOODS)
    made = thing("nightstand", (body, wood(rng, rgb)), (drawers, plain(tuple(0.7 * np.array(rgb)))))
    return [made, *placed(lamp(rng), 0, -0.19, high)]


def ottoman(rng: Rng) -> list[Thing]:
    round_seat = lathe([(0, 0.05), (0.27, 0.05), (0.31, 0.12), (0.31, 0.34), (0.27, 0.41), (0, 0.43)])
    return [thing("ottoman", ([round_seat], stripes(any_of(rng, CLOTHS), WHITE, 0.12)))]


def lamp(rng: Rng) -> list[Thing]:
    stand = lathe([(0, 0), (0.08, 0), (0.08, 0.02), (0.015, 0.04), (0.015, 0.26)])
    shade = lathe([(0.13, 0.2), (0.08, 0.4), (0.078, 0.4), (0.128, 0.2)])
    return [thing("lamp", ([stand], plain(DARK)), ([shade], plain((1.3, 1.2, 0.85))))]


def books(rng: Rng) -> list[Thing]:
    covers = rng.permutation(np.array(CLOTHS)).tolist()
    pieces, z = [], 0.0
    for index in range(rng.integers(1, 4)):
        pieces.append(([block((0.2, 0.28, 0.04), (0, 0, z), rng.uniform(-0.4, 0.4))], plain(covers[index])))
        z += 0.04
    return [thing("book", *pieces)]


def picture(rng: Rng) -> list[Thing]:
    """A painting in a frame, at eye level."""
    wide, high, middle = rng.uniform(0.45, 0.9), rng.uniform(0.4, 0.65), rng.uniform(1.5, 1.62)
    low = middle - high / 2
    frame = [block((wide, 0.03, 0.05), (0, -0.015, z)) for z in (low, low + high - 0.05)]
    frame += [block((0.05, 0.03, high), (s * (wide - 0.05) / 2, -0.015, low)) for s in (-1, 1)]
    canvas = [block((wide - 0.06, 0.015, high - 0.06), (0, -0.0075, low + 0.03))]
    rim = plain(any_of(rng, (*WOODS, (0.75, 0.62, 0.25), DARK)))
    return [thing("picture", (frame, rim), (canvas, painting(rng, middle)))]
