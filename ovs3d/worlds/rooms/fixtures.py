"""Doors, windows, kitchens, bathrooms, and what stands about. Sizes in metres."""

import numpy as np

from ovs3d.worlds.rooms.furniture import CLOTHS, DARK, METAL, WHITE, WOODS, Rng, any_of, doors
from ovs3d.worlds.rooms.paint import checks, fabric, plain, spots, stone, stripes, view_outside, wood
from ovs3d.worlds.rooms.things import Thing, placed, sheet, thing
from ovs3d.worlds.solids import block, lathe, rod, sphere, tube

_CERAMIC, _STEEL = (0.97, 0.97, 0.98), (0.70, 0.72, 0.74)


def door(rng: Rng) -> list[Thing]:
    """A panelled door in its frame, closed."""
    wide, high = rng.uniform(0.82, 0.95), rng.uniform(1.98, 2.08)
    frame = [block((0.08, 0.07, high + 0.08), (s * (wide / 2 + 0.04), -0.035, 0)) for s in (-1, 1)]
    frame += [block((wide, 0.07, 0.08), (0, -0.035, high))]
    leaf = [block((wide, 0.035, high), (0, -0.0175, 0))]
    rows = ((0.15, 0.7), (0.98, high - 1.1))
    panels = [block((wide / 2 - 0.14, 0.05, h), (s * wide / 4, -0.025, z)) for s in (-1, 1) for z, h in rows]
    side = rng.choice([-1, 1]) * (wide / 2 - 0.07)
    handle = [sphere(0.032, (side, -0.085, 0.98)), rod((side, -0.02, 0.98), (side, -0.08, 0.98), 0.014)]
    rgb = any_of(rng, ((0.50, 0.28, 0.13), (0.62, 0.40, 0.20), (0.38, 0.21, 0.12)))
    light = wood(rng, tuple(np.clip(np.array(rgb) * 1.25, 0, 1)), upright=True)
    return [
        thing(
            "door",
            (leaf, wood(rng, rgb, upright=True)),
            (panels, light),
            (frame, plain(tuple(0.7 * np.array(rgb)))),
            (handle, plain((0.80, 0.68, 0.30))),
        )
    ]


def window(rng: Rng) -> list[Thing]:
    """Panes in a white frame with cross bars; what is behind them is painted on."""
    wide, low, high = rng.uniform(1.0, 1.5), rng.uniform(0.85, 1.0), rng.uniform(1.95, 2.1)
    frame = [block((wide, 0.06, 0.07), (0, -0.03, z)) for z in (low, high - 0.07)]
    bars = (-wide / 2 + 0.035, 0, wide / 2 - 0.035)
    frame += [block((0.07, 0.06, high - low), (x, -0.03, low)) for x in bars]
    frame += [block((wide, 0.05, 0.045), (0, -0.025, low + 0.62 * (high - low)))]
    frame += [block((wide + 0.12, 0.14, 0.035), (0, -0.07, low - 0.035))]
    panes = [block((wide - 0.04, 0.012, high - low - 0.04), (0, -0.006, low + 0.02))]
    outside = view_outside(low + rng.uniform(0.25, 0.5) * (high - low))
    return [thing("window", (frame, plain(WHITE)), (panes, outside))]


def curtained_window(rng: Rng) -> list[Thing]:
    """A window with a curtain at each side, down to the sill or to the floor."""
    things = window(rng)
    wide = float(np.ptp(things[0].box[:, 0])) / 2
    reach, bottom = rng.uniform(0.25, 0.4), rng.choice([0.06, 0.75])
    cloth = fabric(rng, any_of(rng, CLOTHS))
    for side in (-1, 1):
        x = side * (wide + 0.03)
        left, right = sorted((x - side * 0.16, x + side * reach))
        hung = sheet(left, right, bottom, 2.24, 0.07, 0.1)
        pole = block((right - left + 0.04, 0.03, 0.03), ((left + right) / 2, 0, 2.24))
        things += placed([thing("curtain", ([hung], cloth), ([pole], plain(DARK)))], 0, -0.12)
    return things


def counter(rng: Rng) -> list[Thing]:
    """A kitchen counter with a sink let into it, and cabinets above."""
    left, right = rng.uniform(0.5, 0.8), rng.uniform(0.35, 0.6)
    wide, bay, high, deep = left + 0.56 + right, 0.56, 0.9, 0.62
    middle = left + bay / 2 - wide / 2
    sides = ((left, -wide / 2 + left / 2), (right, wide / 2 - right / 2))
    base = [block((w, deep - 0.04, high - 0.04), (x, -deep / 2 + 0.02, 0)) for w, x in sides]
    base += [block((bay, deep - 0.04, 0.68), (middle, -deep / 2 + 0.02, 0))]
    base += [block((bay, 0.02, 0.2), (middle, y, 0.66)) for y in (-deep + 0.05, -0.01)]
    top = [block((w, deep, 0.04), (x, -deep / 2, high - 0.04)) for w, x in sides]
    top += [block((bay, 0.1, 0.04), (middle, y, high - 0.04)) for y in (-0.05, 0.05 - deep)]
    units = max(2, round(wide / 0.5))
    grips = (np.arange(units) + 0.5) * wide / units - wide / 2
    leaves = [block((0.92 * wide / units, 0.03, 0.72), (x, 0.03 - deep, 0.09)) for x in grips]
    grips = [block((0.2, 0.03, 0.025), (x, 0.01 - deep, 0.74)) for x in grips]
    slab = stone(rng, any_of(rng, ((0.32, 0.32, 0.34), (0.55, 0.50, 0.46), (0.20, 0.22, 0.24))))
    front = any_of(rng, ((0.90, 0.88, 0.82), (0.42, 0.52, 0.50), (0.75, 0.30, 0.22)))
    shade, gap = plain(tuple(0.65 * np.array(front))), deep - 0.2
    basin = [block((bay, gap, 0.02), (middle, -deep / 2, 0.7))]
    basin += [block((bay, 0.015, 0.21), (middle, y, 0.7)) for y in (-0.107, 0.107 - deep)]
    basin += [block((0.015, gap, 0.21), (middle + s * (bay / 2 - 0.007), -deep / 2, 0.7)) for s in (-1, 1)]
    steel = plain(_STEEL)
    things = [
        thing("counter", (base, shade), (leaves, plain(front)), (top, slab), (grips, plain(DARK))),
        thing("sink", (basin, steel), (_tap(middle, -0.06, high, 0.24), plain(METAL))),
    ]
    hung = [doors("kitchen cabinet", rng, w, 0.34, 0.65, front) for w, _ in sides if w > 0.45]
    places = [x for w, x in sides if w > 0.45]
    for each, x in zip(hung, places, strict=True):
        things += placed([each], x, 0, 1.45)
    return things


def _tap(x: float, y: float, z: float, reach: float) -> list:
    return tube([(x, y, z - 0.02), (x, y, z + 0.22), (x, y - reach * 0.8, z + 0.2)], 0.016)


def refrigerator(rng: Rng) -> list[Thing]:
    wide, high = rng.uniform(0.6, 0.72), rng.uniform(1.65, 1.85)
    split = high * rng.uniform(0.62, 0.7)
    body = [block((wide, 0.6, high - 0.06), (0, -0.3, 0.06))]
    leaves = [block((wide, 0.05, split - 0.08), (0, -0.635, 0.07))]
    leaves += [block((wide, 0.05, high - split - 0.02), (0, -0.635, split + 0.01))]
    x = rng.choice([-1, 1]) * (wide / 2 - 0.07)
    grips = [block((0.03, 0.05, h), (x, -0.68, z)) for z, h in ((split - 0.45, 0.38), (split + 0.06, 0.28))]
    rgb = any_of(rng, ((0.95, 0.95, 0.96), (0.72, 0.75, 0.78)))
    side = plain(tuple(0.8 * np.array(rgb)))
    return [thing("refrigerator", (body, side), (leaves, plain(rgb)), (grips, plain(DARK)))]


def toilet(rng: Rng) -> list[Thing]:
    high = rng.uniform(0.38, 0.42)
    foot = [
        (0, 0),
        (0.12, 0),
        (0.1, 0.15),
        (0.17, high - 0.08),
        (0.19, high),
        (0.14, high),
        (0.1, high - 0.14),
    ]
    bowl = lathe([*foot, (0, high - 0.18)]).apply_scale((1, 1.3, 1)).apply_translation((0, -0.46, 0))
    tank = [
        block((0.42, 0.18, 0.38), (0, -0.09, high - 0.02)),
        block((0.45, 0.2, 0.04), (0, -0.1, high + 0.36)),
    ]
    lid = block((0.36, 0.03, 0.42), (0, -0.22, high + 0.01))
    foot_block = block((0.2, 0.3, high - 0.06), (0, -0.2, 0))
    button = rod((0, -0.1, high + 0.4), (0, -0.1, high + 0.415), 0.03)
    seat = lathe([(0.13, high), (0.2, high), (0.2, high + 0.025), (0.13, high + 0.025), (0.13, high)])
    seat = seat.apply_scale((1, 1.3, 1)).apply_translation((0, -0.46, 0))
    rim = plain(any_of(rng, ((0.97, 0.97, 0.98), (0.25, 0.25, 0.28), (0.60, 0.38, 0.20))))
    white = plain(_CERAMIC)
    return [thing("toilet", ([bowl, *tank, foot_block], white), ([seat, lid], rim), ([button], plain(METAL)))]


def washbasin(rng: Rng) -> list[Thing]:
    """A basin on a pedestal, with a tap, and often a mirror over it."""
    high, radius = rng.uniform(0.8, 0.88), rng.uniform(0.24, 0.29)
    low = high - 0.17
    shell = [(0.06, low), (0.17, low + 0.04), (radius, high), (radius - 0.03, high), (0.14, low + 0.06)]
    bowl = lathe([*shell, (0, low + 0.05)], (0, -radius - 0.02, 0))
    stem = lathe([(0, 0), (0.12, 0), (0.08, 0.15), (0.07, low), (0.1, low + 0.02)], (0, -radius - 0.02, 0))
    shelf = block((1.4 * radius, 0.1, 0.05), (0, -0.05, high - 0.05))
    tap = _tap(0.0, -0.06, high, 0.18)
    things = [thing("sink", ([bowl, stem, shelf], plain(_CERAMIC)), (tap, plain(METAL)))]
    if rng.random() < 0.7:
        glass = [block((0.5, 0.02, 0.65), (0, -0.01, 1.2))]
        things.append(thing("mirror", (glass, plain((0.62, 0.72, 0.76)))))
    return things


def bathtub(rng: Rng) -> list[Thing]:
    """A tub along the wall, with a curtain half drawn before it."""
    long, deep, high = rng.uniform(1.5, 1.7), rng.uniform(0.7, 0.78), rng.uniform(0.5, 0.58)
    rim = 0.07
    walls = [block((long, rim, high), (0, y, 0)) for y in (-rim / 2, rim / 2 - deep)]
    walls += [block((rim, deep - 2 * rim, high), (s * (long - rim) / 2, -deep / 2, 0)) for s in (-1, 1)]
    walls += [block((long - 2 * rim, deep - 2 * rim, 0.12), (0, -deep / 2, 0))]
    end = rng.choice([-1, 1])
    tap = [
        rod(
            (end * (long / 2 - 0.03), -deep / 2, high),
            (end * (long / 2 - 0.2), -deep / 2, high + 0.05),
            0.025,
        )
    ]
    tub = thing("bathtub", (walls, plain(_CERAMIC)), (tap, plain(METAL)))
    share = rng.uniform(0.4, 0.6) * long
    left = -end * long / 2 if end > 0 else long / 2 - share
    hung = sheet(left, left + share, 0.25, 1.98, 0.09, 0.14)
    pole = [block((long, 0.025, 0.025), (0, 0, 2.0))]
    tint = any_of(rng, ((0.25, 0.60, 0.72), (0.85, 0.45, 0.55), (0.35, 0.65, 0.40)))
    cloth = spots(WHITE, tint, 0.16) if rng.random() < 0.6 else stripes(WHITE, tint, 0.12, axis=2)
    curtain = thing("shower curtain", ([hung], cloth), (pole, plain(METAL)))
    return [tub, *placed([curtain], 0, -deep - 0.06)]


def radiator(rng: Rng) -> list[Thing]:
    ribs = rng.integers(8, 15)
    fins = [block((0.05, 0.1, 0.55), (0.065 * (i - (ribs - 1) / 2), -0.09, 0.12)) for i in range(ribs)]
    pipes = [block((0.065 * ribs, 0.04, 0.04), (0, -0.09, z)) for z in (0.16, 0.58)]
    return [thing("radiator", (fins + pipes, plain((0.93, 0.91, 0.84))))]


def trash_can(rng: Rng) -> list[Thing]:
    profile = [(0, 0.01), (0.13, 0), (0.17, 0.4), (0.16, 0.4), (0.12, 0.03), (0, 0.03)]
    rgb = any_of(rng, (DARK, (0.25, 0.42, 0.62), (0.35, 0.37, 0.38)))
    return [thing("trash can", ([lathe(profile)], stripes(rgb, tuple(0.6 * np.array(rgb)), 0.1, axis=2)))]


def plant(rng: Rng) -> list[Thing]:
    pot = lathe([(0, 0), (0.13, 0), (0.18, 0.3), (0.15, 0.3), (0, 0.27)])
    leaves = []
    for angle in rng.uniform(0, 2 * np.pi, 7):
        reach, up = rng.uniform(0.1, 0.28), rng.uniform(0.55, 1.1)
        tip = (reach * np.cos(angle), reach * np.sin(angle), up)
        leaves += [rod((0, 0, 0.27), tip, 0.012), sphere(0.1, tip, (1, 1, 1.5))]
    earth = plain((0.72, 0.36, 0.22))
    return [thing("plant", ([pot], earth), (leaves, plain((0.15, 0.45, 0.16))))]


def box(rng: Rng) -> list[Thing]:
    size = rng.uniform(0.25, 0.45, 3).tolist()
    tape = block((0.06, size[1] + 0.004, size[2] + 0.003), (0, 0, 0))
    return [
        thing("box", ([block(size, (0, 0, 0))], plain((0.66, 0.50, 0.33))), ([tape], plain((0.8, 0.7, 0.5))))
    ]


def towel(rng: Rng) -> list[Thing]:
    hung = sheet(-0.25, 0.25, 0.75, 1.35, 0.03, 0.16)
    pole = [block((0.6, 0.02, 0.02), (0, 0, 1.35))]
    cloth = stripes(any_of(rng, CLOTHS), WHITE, 0.2, axis=2)
    return placed([thing("towel", ([hung], cloth), (pole, plain(METAL)))], 0, -0.05)


def toys(rng: Rng) -> list[Thing]:
    """What nobody annotated: a ball and some bricks."""
    ball = sphere(0.12, (0, 0, 0.12))
    bricks = [
        block((0.1, 0.1, 0.1), (rng.uniform(0.2, 0.4), rng.uniform(-0.2, 0.2), 0), a) for a in (0.3, 1.1)
    ]
    paint = checks(any_of(rng, CLOTHS), (0.95, 0.85, 0.2), 0.06)
    return [thing("unannotated", ([ball], paint), (bricks, plain(any_of(rng, WOODS))))]
