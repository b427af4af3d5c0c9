"""Street worlds in SemanticKITTI's format, read back by its definition."""

import numpy as np
import pytest
from PIL import Image

from ovs3d.geometry import pixel_from_camera, transform
from ovs3d.worlds.render import render
from ovs3d.worlds.streets.kinds import KINDS, KITTI_OF_KIND
from ovs3d.worlds.streets.rig import kitti_rig
from ovs3d.worlds.streets.street import make_street, photo
from ovs3d.worlds.streets.write_semantickitti import write_sequence

INTERVAL_S = 0.3
FRAMES = 3
RAW_IDS = {
    0,
    1,
    10,
    11,
    13,
    15,
    16,
    18,
    20,
    30,
    31,
    32,
    40,
    44,
    48,
    49,
    50,
    51,
    52,
    60,
    70,
    71,
    72,
    80,
    81,
    99,
}
MOVING = {252, 253, 254, 255, 256, 257, 258, 259}


@pytest.fixture(scope="module")
def world():
    return make_street(11)


@pytest.fixture(scope="module")
def rig():
    return kitti_rig(400, azimuth_steps=700)


@pytest.fixture(scope="module")
def folder(world, rig, tmp_path_factory):
    path = tmp_path_factory.mktemp("kitti") / "sequences" / "08"
    write_sequence(path, [world], rig, FRAMES, INTERVAL_S)
    return path


def scan(folder, frame):
    points = np.fromfile(folder / "velodyne" / f"{frame:06d}.bin", np.float32).reshape(-1, 4)
    labels = np.fromfile(folder / "labels" / f"{frame:06d}.label", np.uint32)
    return points, labels & 0xFFFF, labels >> 16


def calibration(folder):
    lines = (line.split(":") for line in (folder / "calib.txt").read_text().splitlines())
    return {name: np.array(numbers.split(), float).reshape(3, 4) for name, numbers in lines}


def poses(folder):
    return [np.vstack([row.reshape(3, 4), [0, 0, 0, 1]]) for row in np.loadtxt(folder / "poses.txt")]


def test_every_kind_has_raw_ids_of_semantickitti():
    assert set(KITTI_OF_KIND[:, 0].tolist()) <= RAW_IDS
    assert set(KITTI_OF_KIND[:, 1].tolist()) <= RAW_IDS | MOVING


def test_points_and_labels_come_in_pairs(folder):
    for frame in range(FRAMES):
        points, raw, thing = scan(folder, frame)
        assert len(points) == len(raw) > 25_000
        assert 0 <= points[:, 3].min() < points[:, 3].max() <= 1
        assert set(raw.tolist()) <= RAW_IDS | MOVING
        assert set(raw[thing > 0].tolist()) <= MOVING | {10, 11, 13, 15, 18, 20, 30, 31, 32}
    assert len(np.loadtxt(folder / "times.txt")) == len(poses(folder)) == FRAMES
    assert np.diff(np.loadtxt(folder / "times.txt")) == pytest.approx(INTERVAL_S)


def test_what_moves_has_the_raw_ids_of_what_moves(folder, world):
    moving_names = {kind.kitti_moving for kind in KINDS if kind.kitti_moving > 200}
    seen = set()
    for frame in range(FRAMES):
        _, raw, thing = scan(folder, frame)
        for index in np.unique(thing[thing > 0]).tolist():
            moves = bool(np.isin(raw[thing == index], list(moving_names)).any())
            assert moves == world.things[index - 1].moves
            seen.add(moves)
    assert seen == {True, False}


def test_the_photo_sees_the_points_where_the_calibration_puts_them(folder, world, rig):
    calib = calibration(folder)
    for frame in (0, 2):
        points, raw, _ = scan(folder, frame)
        camera = (
            np.vstack([calib["Tr"], [0, 0, 0, 1]]) @ np.column_stack([points[:, :3], np.ones(len(points))]).T
        )
        col, row, depth = calib["P2"] @ camera
        view = render(
            world.at(frame * INTERVAL_S).scene, rig.cameras[0].at(world.world_from_ego(frame * INTERVAL_S))
        )
        height, width = view.labels.shape
        assert Image.open(folder / "image_2" / f"{frame:06d}.png").size == (width, height) == (400, 121)
        ahead = depth > 1
        col, row, depth, raw = col[ahead] / depth[ahead], row[ahead] / depth[ahead], depth[ahead], raw[ahead]
        inside = (col >= 0) & (col < width) & (row >= 0) & (row < height)
        assert inside.sum() > 2500
        row, col, depth, raw = row[inside].astype(int), col[inside].astype(int), depth[inside], raw[inside]
        near = np.abs(view.depth[row, col] - depth) < 0.15 + 0.03 * depth
        assert near.mean() > 0.8
        kinds = view.labels[row, col][near]
        assert (KITTI_OF_KIND[kinds] == raw[near][:, None]).any(1).mean() > 0.95


def test_the_photo_is_that_of_its_time(folder, world, rig):
    at_s = 2 * INTERVAL_S
    rgb = photo(world.at(at_s), rig.cameras[0].at(world.world_from_ego(at_s)))
    assert (np.asarray(Image.open(folder / "image_2" / "000002.png")) == rgb).all()


def test_the_calibration_is_that_of_the_camera(folder, world, rig):
    calib, points = calibration(folder), scan(folder, 1)[0][:, :3].astype(np.float64)
    camera = rig.cameras[0].at(world.world_from_ego(INTERVAL_S))
    in_world = transform(world.world_from_ego(INTERVAL_S) @ rig.ego_from_lidar, points)
    in_camera = transform(camera.camera_from_world, in_world)
    tr, p2 = (np.vstack([calib[name], [0, 0, 0, 1]]) for name in ("Tr", "P2"))
    col_row_depth = transform(p2, transform(tr, points))
    assert col_row_depth[:, 2] == pytest.approx(in_camera[:, 2], abs=1e-6)
    ahead = in_camera[:, 2] > 1
    expected = pixel_from_camera(camera.intrinsics, in_camera[ahead])
    assert col_row_depth[ahead, 1::-1] / col_row_depth[ahead, 2:] == pytest.approx(expected, abs=1e-3)


def test_the_other_cameras_have_their_own_shift(folder):
    calib = calibration(folder)
    focal = calib["P0"][0, 0]
    assert calib["P0"][:, 3] == pytest.approx(0)
    assert calib["P1"][0, 3] / focal == pytest.approx(-0.537)
    assert calib["P2"][0, 3] / focal == pytest.approx(0.06)


def test_poses_bring_what_stands_still_to_one_place(folder, world, rig):
    calib, (first, _, last) = calibration(folder), poses(folder)
    camera_from_lidar = np.vstack([calib["Tr"], [0, 0, 0, 1]])
    assert first == pytest.approx(np.eye(4), abs=1e-9)
    lidar = [world.world_from_ego(t) @ rig.ego_from_lidar for t in (0.0, 2 * INTERVAL_S)]
    expected = np.linalg.inv(lidar[0]) @ lidar[1]
    found = np.linalg.inv(camera_from_lidar) @ last @ camera_from_lidar
    assert found == pytest.approx(expected, abs=1e-6)
    assert found[0, 3] == pytest.approx(2 * INTERVAL_S * world.ego_mps, rel=0.02)


def test_a_sequence_drives_through_streets_one_after_another(folder, world, rig, tmp_path):
    path = tmp_path / "01"
    other = make_street(12)
    write_sequence(path, iter([world, other]), rig, 1, INTERVAL_S)
    first, second = poses(path)
    assert first == pytest.approx(np.eye(4), abs=1e-9)
    assert second[:3, 3] == pytest.approx([0, 0, 500], abs=1e-6)
    assert second[:3, :3] == pytest.approx(np.eye(3), abs=1e-9)
    assert np.loadtxt(path / "times.txt") == pytest.approx([0.0, INTERVAL_S])
    before, after = scan(path, 0), scan(path, 1)
    for mine, alone in zip(before, scan(folder, 0), strict=True):
        assert (mine == alone).all()
    assert len(after[0]) != len(before[0])
    assert before[2].max() <= len(world.things) < after[2][after[2] > 0].min()
    moving = np.isin(after[1], list(MOVING))
    things = [other.things[index] for index in after[2][moving] - 1 - len(world.things)]
    assert moving.any()
    assert all(thing.moves for thing in things)
