"""Sensors in a street world: what a level floor returns, that LiDAR and cameras agree, and where they are mounted."""

import dataclasses

import numpy as np
import pytest

from ovs3d.geometry import Camera, look_at, pixel_from_camera, transform
from ovs3d.worlds.lidar import Lidar, Surfaces, sweep
from ovs3d.worlds.render import Scene, render
from ovs3d.worlds.streets.kinds import KIND_ID, KINDS
from ovs3d.worlds.streets.rig import SURFACES, kitti_rig, nuscenes_rig
from ovs3d.worlds.streets.street import Moment, make_street, photo

QUIET = Surfaces(
    SURFACES.reflectivity, np.zeros(len(KINDS)), stray=KIND_ID["noise"], own=KIND_ID["ego vehicle"]
)


@pytest.fixture(scope="module")
def world():
    return make_street(5)


@pytest.fixture(scope="module")
def moment(world):
    return world.at(0.4)


@pytest.fixture(scope="module")
def returns(world, moment):
    """A sweep without noise of the range, and the LiDAR's pose."""
    rig = nuscenes_rig(400)
    lidar = dataclasses.replace(rig.lidar, range_noise_m=0.0)
    pose = world.world_from_ego(0.4) @ rig.ego_from_lidar
    return sweep(lidar, QUIET, moment.scene, pose, np.random.default_rng(0)), pose


def floor(kind="road", height_m=0.0):
    """A level square of 400 m."""
    corners = np.array([[-200, -200], [200, -200], [200, 200], [-200, 200]], np.float32)
    corners = np.column_stack([corners, np.full(4, height_m, np.float32)])[[[0, 1, 2], [0, 2, 3]]]
    up = np.broadcast_to(np.array([0, 0, 1], np.float32), (2, 3, 3)).copy()
    kinds = np.full(2, KIND_ID[kind], np.uint8)
    plain = lambda xyz, normals: np.full((len(xyz), 3), 0.5)  # noqa: E731
    return Scene(corners, up, kinds, np.zeros(2, np.int32), (plain,), np.array([0, 0, 99], np.float32))


def at_height(z):
    pose = np.eye(4)
    pose[2, 3] = z
    return pose


def test_on_a_level_floor_each_ring_is_a_circle_at_the_height_over_the_tangent():
    lidar = Lidar(np.radians([-30.0, -12.0, -6.0]), azimuth_steps=90, max_range_m=80.0, range_noise_m=0.0)
    found = sweep(lidar, QUIET, floor(), at_height(1.8), np.random.default_rng(0))
    solid = found.classes == KIND_ID["road"]
    assert solid.mean() > 0.99
    for ring, angle in enumerate((30.0, 12.0, 6.0)):
        here = found.xyz[solid & (found.ring == ring)]
        assert len(here) > 60
        assert np.hypot(here[:, 0], here[:, 1]) == pytest.approx(1.8 / np.tan(np.radians(angle)), rel=1e-4)
        assert here[:, 2] == pytest.approx(-1.8, abs=1e-3)


def test_a_sweep_turns_clockwise_from_ahead_and_lists_rings_upwards():
    lidar = Lidar(np.radians([-40.0, -20.0]), azimuth_steps=8, max_range_m=80.0, range_noise_m=0.0)
    found = sweep(lidar, QUIET, floor("sign"), at_height(2.0), np.random.default_rng(0))
    assert found.ring.tolist() == [0, 1] * 8
    assert np.degrees(np.arctan2(found.xyz[2, 1], found.xyz[2, 0])) == pytest.approx(-45)


def test_noise_of_the_range_has_the_stated_size():
    lidar = Lidar(np.radians([-35.0]), azimuth_steps=20_000, max_range_m=80.0, range_noise_m=0.02)
    found = sweep(lidar, SURFACES, floor("grass"), at_height(2.0), np.random.default_rng(0))
    error = np.linalg.norm(found.xyz[found.classes == KIND_ID["grass"]], axis=1) - 2 / np.sin(np.radians(35))
    assert error.std() == pytest.approx(np.hypot(0.02, 0.03), rel=0.05)
    assert abs(error.mean()) < 0.002


def test_returns_fade_with_incidence_and_get_lost_far_away():
    lidar = Lidar(np.radians([-45.0, -10.0, -2.0, -1.3]), azimuth_steps=500, max_range_m=100.0)
    found = sweep(lidar, QUIET, floor(), at_height(1.8), np.random.default_rng(0))
    counts = np.bincount(found.ring, minlength=4)
    assert counts[0] > 495
    assert counts[1] > 495
    assert 0 < counts[2] < 250
    assert counts[3] < 25
    steep, flat = (found.intensity[found.ring == ring].mean() for ring in (0, 1))
    assert 2 < steep / flat < 4  # (sin 45 / sin 10) ** 0.7 = 2.67
    assert found.intensity.max() <= 1


def test_strays_come_from_before_the_surface():
    lidar = Lidar(np.radians(np.linspace(-50, -30, 40)), azimuth_steps=2000, max_range_m=80.0)
    found = sweep(lidar, QUIET, floor(), at_height(2.0), np.random.default_rng(0))
    stray = found.classes == KIND_ID["noise"]
    assert 5 < stray.sum() < 60
    assert (found.xyz[stray, 2] > -2.0).all()
    assert (found.parts[stray] == -1).all()


def test_the_own_roof_hides_the_beams_that_cross_it():
    elevations = np.radians([-60.0, -35.0, -20.0])
    lidar = Lidar(elevations, 36, 80.0, range_noise_m=0.0, roof=(-0.4, 0.9, -1.1, 0.6, -0.5))
    found = sweep(lidar, QUIET, floor("sign"), at_height(2.0), np.random.default_rng(0))
    own = found.classes == KIND_ID["ego vehicle"]
    assert found.xyz[own, 2] == pytest.approx(-0.5, abs=1e-5)
    x, y = (found.xyz[:, :2] * (-0.5 / found.xyz[:, 2:])).T  # where each beam crosses the level of the roof
    assert (own == ((x > -0.4) & (x < 0.9) & (y > -1.1) & (y < 0.6))).all()
    assert 40 < own.sum() < 80
    assert len(own) == 3 * 36


@pytest.mark.parametrize("camera_index", range(6))
def test_returns_agree_with_depth_and_labels_of_the_cameras(world, moment, returns, camera_index):
    found, world_from_lidar = returns
    camera = nuscenes_rig(800).cameras[camera_index].at(world.world_from_ego(0.4))
    view = render(moment.scene, camera)
    solid = found.parts >= 0
    xyz = transform(camera.camera_from_world @ world_from_lidar, found.xyz[solid].astype(np.float64))
    labels = found.classes[solid]
    row_col = np.floor(pixel_from_camera(camera.intrinsics, xyz))
    inside = (xyz[:, 2] > 1) & (row_col >= 0).all(1) & (row_col < [camera.height, camera.width]).all(1)
    row, col = row_col[inside].astype(int).T
    assert len(row) > 1000
    near = np.abs(view.depth[row, col] - xyz[inside, 2]) < 0.02 * xyz[inside, 2] + 0.05
    assert near.mean() > 0.7  # the others are hidden from the camera, or at edges and grazing angles
    assert (view.labels[row, col] == labels[inside])[near].mean() > 0.97


def test_a_sweep_of_nuscenes_has_the_size_and_the_range_of_a_real_one(returns):
    found, _ = returns
    assert 24_000 < len(found.xyz) < 34_689
    range_m = np.linalg.norm(found.xyz, axis=1)
    assert 3 < np.median(range_m) < 14
    assert 25 < np.percentile(range_m, 95) < 70
    assert 0.1 < (found.classes == KIND_ID["ego vehicle"]).mean() < 0.3
    assert set(range(32)) == set(found.ring)


def test_a_photo_of_smooth_colours_is_that_of_the_pixels_centres():
    ramp = dataclasses.replace(floor(), materials=(lambda xyz, normals: 0.5 + xyz / [200, 300, 50],))
    down = look_at(np.array([3.0, 2.0, 40.0]), np.array([3.0, 2.1, 0.0]))
    camera = Camera(np.array([[30.0, 0, 14], [0, 30, 13], [0, 0, 1]]), down, 24, 32)
    coarse = render(ramp, camera).rgb.astype(int)
    assert np.ptp(coarse[..., 0]) > 20
    assert np.abs(photo(Moment(ramp, np.array([-1], np.int32)), camera) - coarse).max() <= 1


def test_the_six_cameras_look_around_the_vehicle():
    rig = nuscenes_rig(320)
    looks = {camera.name: camera.ego_from_camera[:3, 2] for camera in rig.cameras}
    yaw = {name: np.degrees(np.arctan2(look[1], look[0])) for name, look in looks.items()}
    assert list(yaw) == [
        "CAM_FRONT",
        "CAM_FRONT_RIGHT",
        "CAM_BACK_RIGHT",
        "CAM_BACK",
        "CAM_BACK_LEFT",
        "CAM_FRONT_LEFT",
    ]
    assert [
        yaw[name] for name in ("CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
    ] == (pytest.approx([-56.4, -110.8, 108.6, 55.2]))
    for camera in rig.cameras:
        assert camera.ego_from_camera[2, 1] < -0.99  # their y points down
        assert (camera.height, camera.width) == (180, 320)
        assert np.linalg.det(camera.ego_from_camera[:3, :3]) == pytest.approx(1)
    assert rig.ego_from_lidar[:3, 1] == pytest.approx([1, 0, 0], abs=0.03)  # the LiDAR's y points ahead


def test_a_wider_photo_shows_the_same_field_of_view():
    small, large = nuscenes_rig(400).cameras[1], nuscenes_rig(1600).cameras[1]
    assert large.intrinsics[:2] == pytest.approx(4 * small.intrinsics[:2])
    assert (large.height, large.width) == (900, 1600)


def test_the_kitti_camera_looks_ahead_beside_the_lidar():
    camera = kitti_rig(1241).cameras[0]
    assert (camera.height, camera.width) == (376, 1241)
    assert camera.ego_from_camera[:3, 2] == pytest.approx([1, 0, 0], abs=0.02)
    assert camera.ego_from_camera[2, 3] == pytest.approx(1.68, abs=0.05)
