"""Room worlds: closed, with everything in its place, and scanned meshes that agree with the pictures."""

from collections import Counter

import numpy as np
import pytest

from ovs3d.errors import InputError
from ovs3d.geometry import Camera, camera_from_pixel, look_at, pixel_centres, transform
from ovs3d.worlds.render import Scene, render
from ovs3d.worlds.rooms.kinds import KINDS
from ovs3d.worlds.rooms.labels import BENCHMARK, CATEGORIES, NYU40, label_table
from ovs3d.worlds.rooms.mesh import scan, subdivided
from ovs3d.worlds.rooms.plan import Item, Plan, furnish
from ovs3d.worlds.rooms.room import make_room
from ovs3d.worlds.rooms.things import thing
from ovs3d.worlds.rooms.views import Sizes, color_camera, sensed_depth, walk
from ovs3d.worlds.solids import block

SHELL = ("floor", "ceiling", "wall")
SPACING_M = 0.06


@pytest.fixture(scope="module")
def worlds():
    return [make_room(seed) for seed in range(12)]


@pytest.fixture(scope="module")
def kitchen(worlds):
    return worlds[2]


@pytest.fixture(scope="module")
def shots(kitchen):
    return walk(kitchen, 12, Sizes(160, 80))


@pytest.fixture(scope="module")
def mesh(kitchen, shots):
    return scan(kitchen, shots, SPACING_M)


def in_room(world, each):
    return each.moved(np.linalg.inv(world.world_from_room))


def within(outline, x, y):
    """Whether a way to the right crosses the outline an odd number of times."""
    odd = False
    for (x0, y0), (x1, y1) in zip(outline, outline[1:] + outline[:1], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            odd = not odd
    return odd


# Words


def test_the_table_names_the_twenty_classes_and_some_that_are_ignored():
    rows = [line.split("\t") for line in label_table().splitlines()]
    assert {len(row) for row in rows} == {17}
    column = {name: index for index, name in enumerate(rows[0])}
    assert [column[name] for name in ("id", "raw_category", "nyu40id", "nyu40class")] == [0, 1, 4, 7]
    nyu40 = {row[1]: int(row[4]) for row in rows[1:]}
    assert set(BENCHMARK) < set(nyu40.values())
    assert nyu40["ceiling"] == 22
    assert nyu40["armchair"] == nyu40["chair"] == 5
    assert all(NYU40[int(row[4])] == row[7] for row in rows[1:])
    assert len({row[0] for row in rows[1:]}) == len(rows) - 1 == len(CATEGORIES) - 1


def test_nyu40_ids_count_from_wall_to_otherprop():
    assert len(NYU40) == 41
    names = {
        1: "wall",
        16: "curtain",
        24: "refridgerator",
        28: "shower curtain",
        36: "bathtub",
        40: "otherprop",
    }
    assert {index: NYU40[index] for index in names} == names


# What is in rooms


def test_each_class_is_in_a_quarter_of_the_rooms_and_a_studio_has_all(worlds):
    classes = [{each.nyu40 for each in world.things} & set(BENCHMARK) for world in worlds]
    count = Counter(index for found in classes for index in found)
    assert {NYU40[index] for index in BENCHMARK if count[index] < len(worlds) / 4} == set()
    assert [world.kind for world, found in zip(worlds, classes, strict=True) if len(found) == 20] == [
        "studio"
    ] * 2
    assert [world.kind for world in worlds] == 2 * list(KINDS)


def test_some_things_are_of_no_class_of_the_benchmark_and_some_not_annotated(worlds):
    found = {each.nyu40 for world in worlds for each in world.things}
    assert {0, 22} < found - set(BENCHMARK)
    assert len(found - set(BENCHMARK)) > 5


def test_rooms_differ_by_seed_and_repeat_by_seed(worlds):
    again = make_room(7)
    assert [each.category for each in again.things] == [each.category for each in worlds[7].things]
    assert (again.scene.corners == worlds[7].scene.corners).all()
    assert len({len(world.scene.corners) for world in worlds}) == 12


def test_a_negative_seed_is_refused():
    with pytest.raises(InputError, match="-3"):
        make_room(-3)


def test_furniture_is_inside_the_outline_and_below_the_ceiling(worlds):
    assert any(world.plan.cut[0] > 0 for world in worlds)
    for world in worlds:
        for each in world.things:
            if each.category not in SHELL:
                (x0, y0, z0), (x1, y1, z1) = in_room(world, each).box
                assert z0 > -0.01
                assert z1 < world.plan.high
                corners = [(x, y) for x in (x0 + 1e-6, x1 - 1e-6) for y in (y0 + 1e-6, y1 - 1e-6)]
                assert all(within(world.plan.outline, x, y) for x, y in corners), each.category


def test_the_inside_of_a_plan_is_what_its_outline_encloses():
    plan = Plan(4.0, 5.0, 2.5, cut=(1.5, 1.0))
    xy = np.random.default_rng(0).uniform(-0.5, 5.5, (400, 2))
    slow = np.array([within(plan.outline, x, y) for x, y in xy])
    assert (plan.inside(xy) == slow).all()
    corner = np.array([[2.4, 3.9], [2.6, 4.2], [2.4, 4.2], [2.4, 3.7], [0.1, 3.0]])
    assert plan.inside(corner).tolist() == [True, False, True, True, True]
    assert plan.inside(corner, margin_m=0.2).tolist() == [False, False, False, True, False]


def blocks(category, *size):
    """Builds a block away from the origin."""
    return lambda rng: [thing(category, ([block(size, (0.2, 1.0, 0))], np.zeros_like))]


def test_furniture_stands_at_walls_with_its_front_to_the_room():
    plan = Plan(4.0, 5.0, 2.5, cut=(1.5, 1.0))
    things = furnish(np.random.default_rng(3), plan, [Item(blocks("cabinet", 0.7, 0.3, 0.9))] * 9)
    assert things is not None
    assert len(things) == 9
    for each in things:
        front, back = transform(each.pose, np.array([[0.2, 0.8, 0], [0.2, 1.2, 0]]))[:, :2]
        assert plan.inside(front[None])[0]
        assert not plan.inside(back[None])[0]


def test_furniture_stands_apart():
    for seed in range(30):
        items = [Item(blocks("cabinet", 0.7, 0.3, 0.9))] * 3 + [
            Item(blocks("table", 0.9, 0.6, 0.7), free=True)
        ]
        things = furnish(np.random.default_rng(seed), Plan(2.5, 2.2, 2.5), items)
        boxes = [each.box for each in things or []]
        for index, (low, high) in enumerate(boxes):
            for other_low, other_high in boxes[:index]:
                assert np.maximum(low - other_high, other_low - high)[:2].max() > 0.0299


def test_what_must_be_there_and_finds_no_place_makes_no_room():
    bed, plan = blocks("bed", 3.0, 2.0, 0.5), Plan(3.2, 3.2, 2.5)
    assert len(furnish(np.random.default_rng(0), plan, [Item(bed)]) or []) == 1
    assert furnish(np.random.default_rng(0), plan, [Item(bed), Item(bed)]) is None
    assert len(furnish(np.random.default_rng(0), plan, [Item(bed), Item(bed, chance=0.99)]) or []) == 1


@pytest.mark.parametrize("door_first", [True, False])
def test_floor_that_must_stay_free_is_free(door_first):
    door = Item(blocks("door", 0.9, 0.05, 2.0), clear_m=1.0)
    items = [door, Item(blocks("table", 0.5, 0.7, 0.7), free=True)]
    for seed in range(20):
        things = furnish(
            np.random.default_rng(seed), Plan(2.6, 2.9, 2.5), items if door_first else items[::-1]
        )
        made = {each.category: each for each in things or []}
        places = np.stack(np.meshgrid([-0.2, 0.2, 0.6], [0.95, 0.5, 0.0]), -1).reshape(-1, 2)
        before = transform(made["door"].pose, np.pad(places, ((0, 0), (0, 1)), constant_values=0.3))
        low, high = made["table"].box
        assert not ((low < before) & (before < high)).all(axis=1).any()


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_rays_leave_the_room_through_the_panel_of_light_only(worlds, seed):
    world, rng = worlds[seed], np.random.default_rng(seed)
    rays = rng.normal(size=(4000, 3)).astype(np.float32)
    rays[:, 2] = np.abs(rays[:, 2])
    origin = np.array([*world.lamp[:2], 1.5])
    gone = world.scene.cast(origin, rays)["primID"] < 0
    at_ceiling = origin + rays * ((world.plan.high - origin[2]) / rays[:, 2:])
    off = (at_ceiling - world.lamp)[:, :2] @ world.world_from_room[:2, :2]
    through = (np.abs(off) < 0.25).all(axis=1)
    assert 20 < through.sum() < 2000
    assert (gone == through).mean() > 0.999


# Views


def test_a_walk_is_at_eye_height_inside_the_room_and_has_lost_one_pose(kitchen, shots):
    assert len(shots) == 12
    assert sum(not shot.tracked for shot in shots) == 1
    for shot in shots:
        x, y, z = transform(np.linalg.inv(kitchen.world_from_room), shot.camera.position)
        assert 1.2 <= z <= 1.7
        assert within(kitchen.plan.outline, x, y)
        assert (shot.camera.world_from_camera == shot.depth_camera.world_from_camera).all()
        assert shot.view.rgb.shape == (120, 160, 3)
        assert shot.depth.shape == (60, 80)


@pytest.mark.parametrize("seed", [1, 4])
def test_a_walk_sees_nearly_everything(worlds, seed):
    world = worlds[seed]
    seen = Counter(
        np.concatenate([shot.view.labels.ravel() for shot in walk(world, 24, Sizes(80, 40))]).tolist()
    )
    missed = [each.category for index, each in enumerate(world.things) if seen[index] < 20]
    assert len(missed) <= 0.1 * len(world.things)


def test_the_sensor_measures_the_depth_that_its_camera_would_see(kitchen, shots):
    for shot in shots[:3]:
        exact = render(kitchen.scene, shot.depth_camera).depth
        there = shot.depth > 0
        assert there.mean() > 0.9
        assert shot.depth[there] == pytest.approx(exact[there], abs=1e-5)


def test_the_sensor_measures_nothing_far_away_edge_on_or_in_the_sky():
    corners = np.array([[[-50, -50, 0], [50, -50, 0], [0, 100, 0]]], np.float32)
    normals = np.broadcast_to(np.float32([0, 0, 1]), corners.shape)
    floor = Scene(
        corners,
        normals,
        np.zeros(1, np.uint8),
        np.zeros(1, np.int32),
        (),
        np.float32([0, 0, 9]),
        np.zeros_like,
    )
    for height in (0.3, 2.0):
        pose = look_at(np.array([0.0, 0, height]), np.array([0.0, 3, height - 0.9]))
        camera = Camera(np.array([[60.0, 0, 31], [0, 60, 25], [0, 0, 1]]), pose, 50, 64)
        rays = camera_from_pixel(camera.intrinsics, pixel_centres(50, 64)) @ pose[:3, :3].T
        with np.errstate(divide="ignore"):
            expected = -height / rays[..., 2]
        sine = -rays[..., 2] / np.linalg.norm(rays, axis=-1)
        expected[(rays[..., 2] >= 0) | (expected >= 6) | (sine <= 0.1)] = 0
        assert 0.2 < (expected > 0).mean() < 0.95
        assert sensed_depth(floor, camera) == pytest.approx(expected, abs=1e-4)


# Meshes


def areas(corners):
    a, b, c = corners.transpose(1, 0, 2)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def test_a_subdivided_triangle_has_the_same_area_and_short_edges_and_few_parts():
    sliver = [[0, 0, 0], [2.0, 0, 0], [2.0, 0.02, 0]]
    large = [[1.0, 2, 3], [1.9, 2.2, 3.4], [1.2, 2.9, 2.5]]
    small = [[0, 0, 1], [0, 0.04, 1], [0, 0, 1.02]]
    corners = np.array([sliver, large, small])
    parts, of = subdivided(corners, 0.05)
    assert np.linalg.norm(np.roll(parts, 1, axis=1) - parts, axis=2).max() <= 0.05
    for index in range(3):
        assert areas(parts[of == index]).sum() == pytest.approx(areas(corners)[index])
    counts = np.bincount(of)
    assert counts[0] < (2.0 / 0.05) ** 2 / 2  # equal parts with such edges would be twice as many
    assert counts[2] == 1


def test_vertices_lie_on_the_surfaces_of_their_things(kitchen, mesh):
    room = transform(np.linalg.inv(kitchen.world_from_room), mesh.xyz.astype(np.float64))
    category = np.array([each.category for each in kitchen.things])[mesh.things]
    assert np.abs(room[category == "floor"][:, 2]).max() < 1e-5
    assert room[category == "ceiling"][:, 2] == pytest.approx(kitchen.plan.high, abs=1e-5)
    for index, each in enumerate(kitchen.things):
        low, high = each.box
        assert (mesh.xyz[mesh.things == index] > low - 1e-4).all()
        assert (mesh.xyz[mesh.things == index] < high + 1e-4).all()
    pieces = [index for index, each in enumerate(kitchen.things) for _ in each.pieces]
    assert (np.array(pieces)[mesh.parts] == mesh.things).all()


def test_every_vertex_is_hit_by_a_ray_of_a_shot_with_a_pose(kitchen, shots, mesh):
    for vertex in np.random.default_rng(1).choice(len(mesh.xyz), 150, replace=False):
        seen = False
        for shot in shots:
            row_col_depth = transform(shot.camera.camera_from_world, mesh.xyz[vertex].astype(np.float64))
            ray = (mesh.xyz[vertex] - shot.camera.position).astype(np.float32)[None]
            hit = kitchen.scene.cast(shot.camera.position, ray)
            clear = hit["tfar"][0] * np.linalg.norm(ray) > np.linalg.norm(ray) - 0.006
            seen |= shot.tracked and row_col_depth[2] > 0 and bool(clear)
        assert seen


def test_a_mesh_has_one_vertex_per_cell_and_no_holes_in_the_floor(kitchen, shots, mesh):
    room = transform(np.linalg.inv(kitchen.world_from_room), mesh.xyz.astype(np.float64))
    floor = room[mesh.things == 0]
    cells = np.unique(np.floor(floor[:, :2] / SPACING_M + 0.5), axis=0)
    assert len(cells) >= 0.999 * len(floor)  # a vertex on the border of two cells may fall into either
    area = areas(mesh.xyz[mesh.faces[(mesh.things[mesh.faces] == 0).all(axis=1)]]).sum()
    assert 0.9 * len(floor) * SPACING_M**2 < area < 1.02 * len(floor) * SPACING_M**2


def test_colours_of_vertices_are_those_of_the_pictures(kitchen, shots, mesh):
    pose = shots[0].camera.world_from_camera
    fresh = color_camera(pose, 640)
    view = render(kitchen.scene, fresh)
    in_camera = transform(fresh.camera_from_world, mesh.xyz.astype(np.float64))
    row, col = (
        np.floor(in_camera[:, 1::-1] * 0.903 * 640 / in_camera[:, 2:] + [0.496 * 480, 0.506 * 640])
        .astype(int)
        .T
    )
    inside = (in_camera[:, 2] > 0.1) & (row >= 0) & (row < 480) & (col >= 0) & (col < 640)
    row, col = row[inside], col[inside]
    visible = np.abs(view.depth[row, col] - in_camera[inside, 2]) < 0.01
    assert visible.sum() > 1000
    assert (view.labels[row, col] == mesh.things[inside])[visible].mean() > 0.98
    off = np.abs(view.rgb[row, col].astype(int) - mesh.rgb[inside])[visible].max(axis=1)
    assert np.median(off) < 8


def test_a_lost_shot_adds_nothing_to_the_mesh(kitchen, shots):
    lost = [shot for shot in shots if not shot.tracked]
    known = [shot for shot in shots if shot.tracked]
    assert (scan(kitchen, shots, 0.2).xyz == scan(kitchen, known, 0.2).xyz).all()
    assert len(scan(kitchen, lost, 0.2).xyz) == 0
