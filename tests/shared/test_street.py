"""Street worlds: every class, things of real size and apart, exact motion, and two layers that cast as one."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from ovs3d.errors import InputError
from ovs3d.geometry import Camera, camera_from_pixel, look_at, pixel_centres, transform
from ovs3d.worlds.render import Scene, render
from ovs3d.worlds.streets import figures, scenery, vehicles
from ovs3d.worlds.streets.ground import Road
from ovs3d.worlds.streets.kinds import CLASS_OF_KIND, CLASSES, KIND_ID, KINDS, NUSCENES_CATEGORIES
from ovs3d.worlds.streets.layout import Row
from ovs3d.worlds.streets.model import assemble
from ovs3d.worlds.streets.rig import nuscenes_rig
from ovs3d.worlds.streets.street import make_street, photo

BUILDERS = {
    "car": vehicles.car,
    "bus": vehicles.bus,
    "truck": vehicles.truck,
    "trailer": vehicles.trailer,
    "construction vehicle": vehicles.construction_vehicle,
    "bicycle": vehicles.bicycle,
    "motorcycle": vehicles.motorcycle,
    "bicyclist": figures.bicyclist,
    "motorcyclist": figures.motorcyclist,
    "adult": figures.adult,
    "child": figures.child,
    "worker": figures.worker,
    "cone": figures.cone,
    "barrier": figures.barrier,
    "bin": figures.bin_,
    "rubble": figures.rubble,
    "bench": figures.bench,
    "foliage": scenery.hedge,
    "fence": scenery.fence,
    "pole": scenery.street_lamp,
    "building": scenery.house,
}
SIZES_M = {  # length, width and height: lowest, highest
    "car": ((3.7, 5.4), (1.6, 2.1), (1.3, 2.2)),
    "bus": ((10, 13), (2.4, 2.7), (2.9, 3.4)),
    "truck": ((6, 9), (2.3, 2.6), (2.7, 4.0)),
    "trailer": ((7.9, 11.3), (2.3, 2.7), (3.5, 4.1)),
    "construction vehicle": ((4.5, 7.0), (2.2, 2.8), (2.9, 4.6)),
    "bicycle": ((1.5, 1.9), (0.4, 0.7), (0.9, 1.2)),
    "motorcycle": ((1.7, 2.3), (0.6, 0.9), (1.0, 1.3)),
    "adult": ((0.3, 1.1), (0.5, 0.8), (1.5, 1.95)),
    "child": ((0.2, 0.8), (0.3, 0.6), (1.0, 1.45)),
    "cone": ((0.3, 0.5), (0.3, 0.5), (0.6, 1.0)),
    "barrier": ((1.8, 2.0), (0.5, 0.7), (0.8, 1.0)),
}


@pytest.fixture(scope="module")
def world():
    return make_street(5)


@pytest.fixture(scope="module")
def second():
    """A wider street, with a part of it dug up."""
    return make_street(2)


@pytest.fixture(scope="module")
def moment(world):
    return world.at(0.4)


# Kinds


def test_there_are_the_16_classes_and_the_32_categories():
    assert len(CLASSES) == 16
    assert len(set(NUSCENES_CATEGORIES)) == 32
    assert set(CLASS_OF_KIND) == {*range(16), 255}
    assert len(KIND_ID) == len(KINDS)


def test_kinds_belong_to_the_class_that_they_look_like():
    classes = list(CLASSES)
    names = {kind.name: classes[each] for kind, each in zip(KINDS, CLASS_OF_KIND, strict=True) if each != 255}
    assert all(names.get(name, name) == name for name in CLASSES)
    others = {name: each for name, each in names.items() if name not in CLASSES}
    assert [name for name, each in others.items() if each == "pedestrian"] == ["adult", "child", "worker"]
    assert [name for name, each in others.items() if each == "manmade"] == [
        "building",
        "fence",
        "pole",
        "sign",
    ]
    assert [name for name, each in others.items() if each == "vegetation"] == ["trunk", "foliage"]
    assert (others["island"], others["grass"]) == ("other flat", "terrain")
    assert (others["bicyclist"], others["motorcyclist"]) == ("bicycle", "motorcycle")


# Models


@pytest.mark.parametrize("name", BUILDERS)
def test_a_model_stands_on_the_ground_and_is_of_its_kind(name):
    for seed in range(4):
        model = assemble(BUILDERS[name](np.random.default_rng(seed)))
        assert name in {KINDS[kind].name for kind in model.kinds}
        assert np.isfinite(model.corners).all()
        assert -0.35 < model.bounds[0][2] < 0.1
        assert model.paint_ids.max() == len(model.paints) - 1


@pytest.mark.parametrize("name", SIZES_M)
def test_a_model_has_the_size_of_the_real_thing(name):
    for seed in range(6):
        low, high = assemble(BUILDERS[name](np.random.default_rng(seed))).bounds
        for size, (least, most) in zip(high - low, SIZES_M[name], strict=True):
            assert least <= size <= most


def test_colours_lie_between_0_and_1():
    rng = np.random.default_rng(1)
    for build in BUILDERS.values():
        for paint in assemble(build(rng)).paints:
            assert 0 <= min(paint.first + paint.second) <= max(paint.first + paint.second) <= 1


# Roads


def test_the_axis_of_a_bent_road_is_an_arc_and_d_points_to_its_left():
    road = Road(100.0, 1 / 150, 1.0, 2, 2.5, 3.0, 50.0)
    s = np.linspace(-40, 120, 9)
    centre = np.array([0.0, 150.0])
    assert np.linalg.norm(road.xy(s, 0 * s) - centre, axis=1) == pytest.approx(150)
    assert np.linalg.norm(road.xy(s, 0 * s + 12) - centre, axis=1) == pytest.approx(138)
    step = np.linalg.norm(road.xy(s + 1e-4, 0 * s) - road.xy(s, 0 * s), axis=1)
    assert step == pytest.approx(1e-4, rel=1e-4)


def test_a_straight_road_is_the_limit_of_bent_ones():
    s, d = np.array([-30.0, 0, 90]), np.array([4.0, -7, 20])
    straight, bent = (Road(100.0, bend, 1.0, 2, 2.5, 3.0, 50.0).xy(s, d) for bend in (0.0, 1e-7))
    assert straight == pytest.approx(np.stack([s, d], axis=1))
    assert bent == pytest.approx(straight, abs=1e-3)


def test_a_pose_on_the_road_looks_along_it():
    road = Road(100.0, -1 / 140, 1.0, 2, 2.5, 3.0, 50.0)
    pose = road.world_from_place(35.0, -4.0, 0.2)
    ahead = road.xy(np.array(35.001), np.array(-4.0)) - road.xy(np.array(34.999), np.array(-4.0))
    assert pose[:2, 0] == pytest.approx(ahead / np.linalg.norm(ahead), abs=1e-6)
    assert pose[:3, 3] == pytest.approx([*road.xy(np.array(35.0), np.array(-4.0)), 0.2])


# Worlds


def test_every_class_is_in_a_world(world):
    kinds = np.concatenate([world.ground.kinds, *(thing.model.kinds for thing in world.things)])
    assert {*range(16), 255} == set(CLASS_OF_KIND[kinds])


def test_worlds_repeat_by_seed_and_differ_by_seed(world, second):
    again = make_street(5)
    assert (again.at(0.4).scene.corners == world.at(0.4).scene.corners).all()
    assert len(again.things) == len(world.things)
    assert second.road != world.road


def test_a_negative_seed_is_refused():
    with pytest.raises(InputError, match="-2"):
        make_street(-2)


def test_a_longer_drive_gets_a_longer_road(world):
    assert make_street(5, seconds=12.0).road.length_m == pytest.approx(90 + 12 * world.ego_mps)
    assert world.road.length_m == 120


@pytest.mark.parametrize("time_s", [0.0, 3.5])
def test_vehicles_do_not_drive_through_each_other_or_the_ego_vehicle(world, second, time_s):
    for each in (world, second):
        boxes = [(30.0 + each.ego_mps * time_s + 1.5, -each.road.lane_m(0), 2.5, 0.95)]
        for thing in each.things:
            if thing.category.startswith("vehicle"):
                turn = np.array(
                    [[np.cos(thing.yaw), -np.sin(thing.yaw)], [np.sin(thing.yaw), np.cos(thing.yaw)]]
                )
                low, high = (bound[:2] for bound in thing.model.bounds)
                place = np.array([thing.s_m + thing.along_mps * time_s, thing.d_m])
                boxes.append((*(place + turn @ (low + high) / 2), *(np.abs(turn) @ (high - low) / 2)))
        assert len(boxes) > 30
        for i, (s, d, length, width) in enumerate(boxes):
            for s2, d2, length2, width2 in boxes[:i]:
                assert abs(s - s2) > length + length2 or abs(d - d2) > width + width2


def test_the_ego_vehicle_has_its_lane_for_itself_nearby(world, second):
    for each in (world, second):
        lane = -each.road.lane_m(0)
        others = [thing for thing in each.things if abs(thing.d_m - lane) < 0.5 and thing.along_mps]
        assert len(others) > 1
        for thing in others:
            assert thing.along_mps == each.ego_mps
            assert not 19 < thing.s_m < 45


@pytest.mark.parametrize("seed", range(6))
def test_a_row_is_filled_with_gaps_and_without_what_is_kept_out(seed):
    road = Road(90.0, 0.0, 1.0, 2, 2.5, 3.0, 50.0)
    row = Row(
        road, np.random.default_rng(seed), -4.0, 0.0, 0.0, sway_m=0.1, keep_out=[(40.0, 52.0), (10.0, 14.0)]
    )
    things = row.fill({vehicles.car: 0.6, vehicles.bus: 0.4}, (2.0, 5.0))
    spans = [thing.s_m + thing.model.bounds[1][0] * np.array([-1, 1]) for thing in things]
    assert len(spans) > 6
    assert min(after[0] - before[1] for before, after in pairwise(spans)) > 1.9
    assert all(
        high <= low_out + 0.1 or low >= high_out - 0.1
        for low, high in spans
        for low_out, high_out in row.keep_out
    )
    assert spans[0][0] < -20
    assert 95 < spans[-1][1] < 115.1
    assert {abs(thing.d_m + 4.0) <= 0.1 for thing in things} == {True}


def test_what_moves_has_a_constant_velocity(world):
    moving = [thing for thing in world.things if thing.moves]
    assert len(moving) > 10
    for thing in moving:
        places = [thing.world_from_thing(t)[:3, 3] for t in (0.0, 0.1, 0.2)]
        speed = np.linalg.norm(places[1] - places[0]) / 0.1
        bend = 1 - world.road.curvature * thing.d_m  # the arc beside the axis is longer or shorter
        expected = np.hypot(thing.along_mps * bend, thing.across_mps)
        assert speed == pytest.approx(expected, rel=1e-3)
        assert places[2] - places[1] == pytest.approx(places[1] - places[0], abs=0.01)


def test_the_ego_vehicle_drives_along_its_lane(world):
    a, b = world.world_from_ego(1.0), world.world_from_ego(1.5)
    in_first = np.linalg.inv(a) @ b
    assert in_first[0, 3] == pytest.approx(0.5 * world.ego_mps, rel=0.05)
    assert abs(in_first[1, 3]) < 0.3


# Casting


def test_a_scene_of_two_layers_answers_as_one_scene_does(world, moment):
    layers = moment.scene
    fields = {field.name: getattr(layers, field.name) for field in dataclasses.fields(Scene)}
    one = Scene(**fields)
    camera = nuscenes_rig(160).cameras[0].at(world.world_from_ego(0.4))
    rays = camera_from_pixel(camera.intrinsics, pixel_centres(90, 160).reshape(-1, 2))
    rays = (rays @ camera.world_from_camera[:3, :3].T).astype(np.float32)
    a, b = (scene.cast(camera.position, rays) for scene in (layers, one))
    moving = layers.layers[0].corners.shape[0] <= b["primID"]
    assert 100 < moving.sum() < len(moving) / 2
    assert (a["primID"] == b["primID"]).mean() > 0.999
    hit = b["primID"] >= 0
    assert a["tfar"][hit] == pytest.approx(b["tfar"][hit], rel=1e-5)
    whole, parts = render(one, camera), render(layers, camera)
    assert (np.abs(whole.rgb.astype(int) - parts.rgb).max(-1) <= 1).mean() > 0.999


def test_a_photo_has_soft_edges_where_a_render_has_steps(world, moment):
    camera = nuscenes_rig(96).cameras[3].at(world.world_from_ego(0.4))
    fine, coarse = photo(moment, camera), render(moment.scene, camera).rgb
    assert fine.shape == coarse.shape == (54, 96, 3)
    steps = [np.abs(np.diff(rgb.astype(int), axis=1)).max(-1) > 60 for rgb in (fine, coarse)]
    assert steps[0].sum() < 0.9 * steps[1].sum()


def test_what_moves_is_where_it_is_at_the_time_of_the_photo(world):
    index = max(i for i, thing in enumerate(world.things) if thing.moves)
    thing = world.things[index]
    for time_s in (0.0, 1.0):
        moment = world.at(time_s)
        owner = moment.thing_of_part[moment.scene.parts]
        expected = transform(thing.world_from_thing(time_s), thing.model.corners)
        assert moment.scene.corners[owner == index] == pytest.approx(expected, abs=1e-4)


def test_a_camera_above_a_road_sees_its_marks(world):
    at = world.road.xy(np.array(40.0), np.array(0.0))
    pose = look_at(np.array([*at, 60.0]), np.array([at[0] + 0.01, at[1], 0.0]))
    view = render(
        world.at(0.0).scene, Camera(np.array([[90.0, 0, 60], [0, 90, 45], [0, 0, 1]]), pose, 90, 120)
    )
    seen = {KINDS[kind].name for kind in np.unique(view.labels)}
    assert {"road", "lane marking", "sidewalk", "grass"} <= seen
