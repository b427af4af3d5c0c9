"""What each noun looks like: parts in free units, z up, front at -y.

Each has a silhouette of its own from every side of the camera arc.
"""

import numpy as np
import trimesh

from ovs3d.worlds.solids import block, lathe, prism, rod, sphere, spike, tube

Parts = list[trimesh.Trimesh]


def airplane() -> Parts:
    body = sphere(1.0, (0, 0, 0.45), (1.25, 0.22, 0.22))
    wings = [block((0.5, 2.3, 0.09), (0.1, 0, 0.42))]
    tail = [
        block((0.3, 0.9, 0.08), (-1.05, 0, 0.5)),
        prism([(-1.25, 0.45), (-0.7, 0.45), (-1.2, 1.15)], 0.09),
    ]
    wheels = [rod((x, y, 0), (x, y, 0.45), 0.07) for x, y in ((0.3, -0.35), (0.3, 0.35), (-0.9, 0))]
    return [body, *wings, *tail, *wheels]


def ball() -> Parts:
    return [sphere(0.5, (0, 0, 0.5))]


def boat() -> Parts:
    hull = prism([(-0.65, 0), (0.6, 0), (1.0, 0.42), (-0.9, 0.42)], 0.55)
    mast = rod((0, 0, 0.4), (0, 0, 1.9), 0.04)
    main = prism([(0.07, 0.6), (0.85, 0.6), (0.07, 1.85)], 0.08)
    fore = prism([(-0.6, 0.6), (-0.07, 0.6), (-0.07, 1.6)], 0.08)
    return [hull, mast, main, fore]


def book() -> Parts:
    parts = []
    for side in (-1, 1):
        yaw = side * np.radians(-32)
        along = np.array([np.cos(yaw) * side, np.sin(yaw) * side])
        inward = np.array([0.0, -0.09])
        parts.append(block((0.8, 0.06, 1.15), (*along * 0.4, 0), yaw))
        parts.append(block((0.7, 0.1, 1.03), (*(along * 0.36 + inward), 0.06), yaw))
    return parts


def bottle() -> Parts:
    body = [(0, 0), (0.3, 0), (0.3, 0.85), (0.27, 1.0), (0.18, 1.12), (0.1, 1.2)]
    return [lathe([*body, (0.1, 1.5), (0.13, 1.5), (0.13, 1.62), (0, 1.62)])]


def bowl() -> Parts:
    angle = np.linspace(0.3, np.pi / 2, 10)
    outer = [(np.sin(a), 1.0 - np.cos(a)) for a in angle]
    inner = [(0.92 * np.sin(a), 1.0 - 0.92 * np.cos(a)) for a in angle[::-1]]
    return [lathe([(0, -0.1), (0.42, -0.1), (0.36, 0.04), *outer, *inner, (0, 0.1)])]


def box() -> Parts:
    return [block((0.8, 0.8, 0.8), (0, 0, 0))]


def cactus() -> Parts:
    trunk = tube([(0, 0, 0.1), (0, 0, 1.5)], 0.2)
    right = tube([(0, 0, 0.6), (0.5, 0, 0.65), (0.52, 0, 1.15)], 0.13)
    left = tube([(0, 0, 0.85), (-0.47, 0, 0.9), (-0.5, 0, 1.35)], 0.13)
    return [*trunk, *right, *left, lathe([(0, 0), (0.32, 0), (0.38, 0.28), (0, 0.28)])]


def car() -> Parts:
    body = [
        block((2.0, 0.9, 0.4), (0, 0, 0.2)),
        prism([(-0.65, 0.6), (0.6, 0.6), (0.3, 1.0), (-0.45, 1.0)], 0.8),
    ]
    return body + [
        rod((x, y - 0.1, 0.22), (x, y + 0.1, 0.22), 0.24) for x in (-0.6, 0.6) for y in (-0.43, 0.43)
    ]


def chair() -> Parts:
    legs = [block((0.1, 0.1, 0.6), (x, y, 0)) for x in (-0.35, 0.35) for y in (-0.35, 0.35)]
    posts = [block((0.1, 0.1, 0.8), (x, 0.35, 0.7)) for x in (-0.35, 0.35)]
    slats = [block((0.7, 0.07, 0.16), (0, 0.35, z)) for z in (0.88, 1.12, 1.34)]
    return [*legs, block((0.84, 0.84, 0.1), (0, 0, 0.6)), *posts, *slats]


def cone() -> Parts:
    return [lathe([(0, 0), (0.5, 0), (0.0, 1.15)])]


def crown() -> Parts:
    parts = [lathe([(0.5, 0), (0.55, 0), (0.6, 0.4), (0.54, 0.4), (0.5, 0)])]
    for angle in np.arange(7) * 2 * np.pi / 7:
        x, y = np.cos(angle), np.sin(angle)
        tip = (0.7 * x, 0.7 * y, 0.85)
        parts += [spike((0.57 * x, 0.57 * y, 0.3), tip, 0.17), sphere(0.08, tip)]
    return parts


def duck() -> Parts:
    body = sphere(0.6, (0, 0, 0.48), (1.25, 0.85, 0.8))
    neck, head = rod((0.45, 0, 0.6), (0.5, 0, 1.0), 0.24), sphere(0.34, (0.52, 0, 1.12))
    beak, tail = sphere(0.2, (0.92, 0, 1.07), (1.2, 0.9, 0.4)), spike((-0.45, 0, 0.55), (-1.0, 0, 0.98), 0.3)
    return [body, neck, head, beak, tail]


def dumbbell() -> Parts:
    parts = [rod((-0.8, 0, 0.4), (0.8, 0, 0.4), 0.1)]
    for side in (-1, 1):
        parts.append(rod((side * 0.5, 0, 0.4), (side * 0.72, 0, 0.4), 0.4))
        parts.append(rod((side * 0.75, 0, 0.4), (side * 0.92, 0, 0.4), 0.28))
    return parts


def hat() -> Parts:
    return [lathe([(0, 0), (0.8, 0), (0.8, 0.06), (0.42, 0.09), (0.36, 0.62), (0.3, 0.7), (0, 0.72)])]


def house() -> Parts:
    roof = prism([(-0.62, 0.6), (0.62, 0.6), (0, 1.12)], 1.0)
    return [block((1.0, 0.85, 0.6), (0, 0, 0)), roof, block((0.16, 0.16, 0.55), (0.3, 0, 0.7))]


def lamp() -> Parts:
    stand = lathe([(0, 0), (0.3, 0), (0.28, 0.08), (0.05, 0.14), (0.05, 1.2)])
    shade = lathe([(0, 1.55), (0.4, 0.95), (0.44, 0.95), (0.2, 1.57), (0, 1.57)])
    return [stand, shade]


def mug() -> Parts:
    cup = lathe([(0, 0), (0.42, 0), (0.42, 1.0), (0.36, 1.0), (0.36, 0.08), (0, 0.08)])
    turns = np.linspace(-1.25, 1.25, 11)
    return [cup, *tube([(0.36 + 0.36 * np.cos(a), 0, 0.5 + 0.3 * np.sin(a)) for a in turns], 0.075)]


def robot() -> Parts:
    body = [block((0.62, 0.42, 0.62), (0, 0, 0.45)), block((0.44, 0.38, 0.36), (0, 0, 1.16))]
    limbs = [block((0.2, 0.3, 0.45), (x, 0, 0)) for x in (-0.18, 0.18)]
    arms = [block((0.16, 0.2, 0.62), (x, 0, 0.45)) for x in (-0.46, 0.46)]
    antenna = [rod((0, 0, 1.5), (0, 0, 1.72), 0.035), sphere(0.08, (0, 0, 1.74))]
    return [*body, *limbs, *arms, rod((0, 0, 1.0), (0, 0, 1.2), 0.1), *antenna]


def rocket() -> Parts:
    body = lathe([(0, 0.2), (0.2, 0.2), (0.3, 0.55), (0.3, 1.0), (0.24, 1.3), (0.12, 1.6), (0, 1.8)])
    fin = prism([(0.15, 0.35), (0.62, 0), (0.62, 0.3), (0.25, 0.8)], 0.08)
    turns = [trimesh.transformations.rotation_matrix(a, [0, 0, 1]) for a in np.arange(4) * np.pi / 2 + 0.3]
    return [body, *[fin.copy().apply_transform(turn) for turn in turns]]


def snowman() -> Parts:
    balls = [sphere(r, (0, 0, z)) for r, z in ((0.42, 0.38), (0.31, 0.97), (0.22, 1.42))]
    arms = [rod((0, 0, 1.0), (s * 0.68, 0, 1.25), 0.04) for s in (-1, 1)]
    return [*balls, *arms, spike((0, -0.15, 1.42), (0, -0.5, 1.4), 0.07)]


def stairs() -> Parts:
    return [block((0.3, 0.7, 0.25 * (i + 1)), (0.3 * i, 0, 0)) for i in range(4)]


def star() -> Parts:
    axes = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    diagonals = [(x * 0.62, y * 0.62, z * 0.62) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    turn = trimesh.transformations.rotation_matrix(0.35, [1, 0.6, 0.2])
    return [spike((0, 0, 0), tip, 0.28).apply_transform(turn) for tip in axes + diagonals]


def tree() -> Parts:
    trunk = [rod((0, 0, 0), (0, 0, 1.0), 0.11), rod((0, 0, 0.5), (0.3, 0, 0.9), 0.07)]
    places = [(-0.3, 0, 1.0), (0.32, 0.05, 1.05), (0, -0.28, 1.15), (0, 0.28, 1.1), (0, 0, 1.4)]
    return trunk + [sphere(0.36, place) for place in places]


_ALL = [airplane, ball, boat, book, bottle, bowl, box, cactus, car, chair, cone, crown]
_ALL += [duck, dumbbell, hat, house, lamp, mug, robot, rocket, snowman, stairs, star, tree]
BUILDERS = {build.__name__: build for build in _ALL}
