"""Pixel-point pairs: their definition by a loop, what hides what, and projections whose answer is known."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from small_views import HEIGHT, INTRINSICS, LENS, UNTESTED, WIDTH, photo, pose, scan, seen_at, triples

from ovs3d.errors import InputError
from ovs3d.geometry import Camera, look_at
from pointcloud.config import Pairing
from pointcloud.frame import DepthFile, Photo, Scan
from pointcloud.pairing import pair
from pointcloud.visibility import covered, is_inside

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "nuscenes_sample"
# Projection


def test_pairs_are_those_of_a_slow_loop_over_photos_and_points():
    rng = np.random.default_rng(3)
    cloud = scan(rng.uniform(-8, 8, (900, 3)))
    photos = [
        photo(look_at(np.array([500.0, 900, 2]), np.array([505.0, 903, 1]))),
        photo(look_at(np.array([501.0, 899, 2]), np.array([503.0, 905, 3])), distortion=LENS),
    ]
    expected = []
    for k, each in enumerate(photos):
        for p, xyz in enumerate(cloud.xyz.astype(float)):
            world = cloud.world_from_scan @ [*xyz, 1]
            x, y, z, _ = np.linalg.inv(each.camera.world_from_camera) @ world
            if z <= 1.0:
                continue
            coefficients = np.array(each.distortion or (0.0, 0, 0, 0))
            pixel, _ = cv2.projectPoints(
                np.array([[x, y, z]]), np.zeros(3), np.zeros(3), INTRINSICS, coefficients
            )
            col, row = pixel.ravel()
            if 0 <= row < HEIGHT and 0 <= col < WIDTH and np.hypot(x, y) < 1.2 * z:
                expected.append((k, p, int(row), int(col)))
    found = triples(pair(cloud, photos, UNTESTED))
    assert found == expected
    assert len({each[0] for each in found}) == 2
    assert len(found) > 60


def test_a_known_point_meets_its_pixel_although_the_car_moved_on_between_scan_and_photo():
    at_scan, at_photo = pose(0.5, 411.3, 1180.9, 0), pose(0.58, 412.4, 1181.6, 0)
    scan_in_car = pose(-1.55, 0.94, 0.1, 1.84)
    camera_in_car = look_at(np.array([1.7, 0.02, 1.5]), np.array([9.0, 0.4, 1.2]))
    view = photo(at_photo @ camera_in_car)
    row_col = [[0.2, 0.3], [30.8, 46.9], [7.5, 33.5], [22.1, 4.9]]
    world_from_scan = at_scan @ scan_in_car
    xyz = seen_at(view.camera, row_col, [4.0, 9, 15, 2], world_from_scan)
    pairs = pair(scan(xyz, world_from_scan), [view], UNTESTED)
    assert triples(pairs) == [(0, 0, 0, 0), (0, 1, 30, 46), (0, 2, 7, 33), (0, 3, 22, 4)]
    stale = pair(scan(xyz, world_from_scan), [photo(at_scan @ camera_in_car)], UNTESTED)
    assert set(triples(stale)).isdisjoint(triples(pairs))


def test_what_lies_outside_the_photo_behind_the_camera_or_too_near_is_not_paired():
    world_from_scan = pose(0.1, 3, -2, 1)
    view = photo(look_at(np.array([1.0, 2, 1]), np.array([4.0, -3, 2])))
    row_col = [[10, -0.01], [-0.01, 10], [31.01, 10], [10, 47.01], [10, 20], [10, 20], [10, 20], [10, 20]]
    xyz = seen_at(view.camera, row_col, [5, 5, 5, 5, -5, 0.99, 1.01, 7], world_from_scan)
    assert pair(scan(xyz, world_from_scan), [view], UNTESTED).point.tolist() == [6, 7]
    near = Pairing(visibility="none", min_depth_m=0.5)
    assert pair(scan(xyz, world_from_scan), [view], near).point.tolist() == [5, 6, 7]


def test_a_point_in_two_photos_has_two_pairs_and_one_in_none_has_none():
    world_from_scan = np.eye(4)
    views = [photo(look_at(np.array([0.0, y, 0]), np.array([6.0, 0.3, 0]))) for y in (-1.0, 20.0, 1.0)]
    pairs = pair(scan([[6, 0.3, 0], [-6, 0, 0]], world_from_scan), views[::2] + views[1:2])
    assert (pairs.point.tolist(), pairs.photo.tolist()) == ([0, 0, 0], [0, 1, 2])
    nothing = pair(scan([[-6, 0, 0]], world_from_scan), views[:1])
    assert (len(nothing), nothing.row_col.shape) == (0, (0, 2))
    assert len(pair(scan(np.zeros((0, 3))), [])) == 0


def test_a_photo_holds_its_top_and_left_border_but_not_the_other_two():
    row_col = np.array([[0, 0], [30.99, 46.99], [31, 5], [5, 47], [-1e-9, 5], [5, -1e-9], [np.nan, 5]])
    assert is_inside(row_col, 31, 47).tolist() == [True, True, False, False, False, False, False]


# Visibility without a depth image


@pytest.mark.parametrize("reach_px", [0.3, 1.0, 2.6, 9.0])
def test_covered_points_are_those_of_a_slow_loop(reach_px):
    rng = np.random.default_rng(5)
    row_col, depth = rng.uniform(0, [HEIGHT, WIDTH], (300, 2)), rng.uniform(1, 40, 300)
    side = max(1.0, reach_px / 4)
    cells = np.floor(row_col / side)
    expected = [
        any(
            np.abs(cells[other] - cells[each]).max() <= round(reach_px / side)
            and depth[other] < depth[each] - (1.0 + 0.05 * depth[each])
            for other in range(300)
        )
        for each in range(300)
    ]
    found = covered(row_col, depth, (HEIGHT, WIDTH), reach_px, 1.0, 0.05)
    assert found.tolist() == expected
    assert 0 < found.sum() < 300


def two_planes():
    """Points on a near plane that fills the photo's left half, and on a far one that fills all of it."""
    camera = Camera(np.array([[400.0, 0, 160], [0, 400, 120], [0, 0, 1]]), np.eye(4), 240, 320)
    rows, cols = np.mgrid[1:240:6, 2:320:6]
    far = np.stack([rows, cols], axis=-1).reshape(-1, 2) + 0.5
    near = far[far[:, 1] < 160] + 1.7
    row_col = np.concatenate([near, far])
    depth = np.repeat([5.0, 20.0], [len(near), len(far)])
    return Photo("front", Path("front.png"), camera), row_col, depth, len(near)


def test_a_near_plane_hides_the_far_one_behind_it_and_nothing_else():
    view, row_col, depth, n_near = two_planes()
    cloud = scan(seen_at(view.camera, row_col, depth, np.eye(4)), np.eye(4))
    point = pair(cloud, [view]).point
    assert set(range(n_near)) <= set(point.tolist())
    far_cols = row_col[point[point >= n_near]][:, 1]
    assert far_cols.min() > 158
    assert (far_cols < 168).sum() == 0
    assert (row_col[n_near:, 1] > 170).sum() == (far_cols > 170).sum()
    assert len(pair(cloud, [view], UNTESTED)) == len(row_col)


def test_a_difference_within_the_tolerance_hides_nothing():
    view, row_col, depth, _ = two_planes()
    shallow = np.where(depth < 10, 18.1, depth)
    cloud = scan(seen_at(view.camera, row_col, shallow, np.eye(4)), np.eye(4))
    assert len(pair(cloud, [view])) == len(row_col)
    strict = Pairing(cover_tolerance_m=0.5, cover_tolerance_share=0.05)
    assert len(pair(cloud, [view], strict)) < len(row_col)


# Visibility with a depth image


@pytest.fixture
def depth_photo(tmp_path):
    """A depth image of half the photo's size whose left half is at 2 m, the right at 4 m, the top row unknown."""
    depth = np.full((15, 23), 2000, np.uint16)
    depth[:, 12:] = 4000
    depth[0] = 0
    Image.fromarray(depth).save(tmp_path / "depth.png")
    intrinsics = np.diag([0.5, 0.5, 1]) @ INTRINSICS
    return photo(np.eye(4), depth=DepthFile(tmp_path / "depth.png", intrinsics))


def test_a_depth_image_shows_what_is_seen(depth_photo):
    row_col = [[9.5, 10.5], [9.5, 10.5], [9.5, 10.5], [9.5, 40.5], [9.5, 40.5], [1.5, 10.5], [30.6, 10.5]]
    xyz = seen_at(depth_photo.camera, row_col, [2.04, 2.06, 1.94, 2.0, 3.96, 2.0, 2.0], np.eye(4))
    cloud = scan(xyz, np.eye(4))
    assert pair(cloud, [depth_photo]).point.tolist() == [0, 4]
    assert pair(cloud, [depth_photo], UNTESTED).point.tolist() == [0, 1, 2, 3, 4, 5, 6]
    openscene = Pairing(image_tolerance_m=0.0, image_tolerance_share=0.25)
    assert pair(cloud, [depth_photo], openscene).point.tolist() == [0, 1, 2, 4]


def test_where_the_depth_image_knows_nothing_no_point_is_seen_however_near(depth_photo):
    cloud = scan(seen_at(depth_photo.camera, [[1.5, 10.5]], [0.03], np.eye(4)), np.eye(4))
    assert len(pair(cloud, [depth_photo])) == 0
    assert len(pair(cloud, [depth_photo], UNTESTED)) == 1


def test_with_a_depth_image_there_is_no_least_depth(depth_photo):
    cloud = scan(seen_at(depth_photo.camera, [[9.5, 10.5]], [0.3], np.eye(4)), np.eye(4))
    assert len(pair(cloud, [depth_photo], UNTESTED)) == 1


def test_a_missing_depth_image_is_an_error_with_its_name(depth_photo):
    depth_photo.depth.path.unlink()
    with pytest.raises(InputError, match=r"depth\.png"):
        pair(scan([[0, 0, 5]], np.eye(4)), [depth_photo])


# A real key frame


@pytest.fixture(scope="module")
def real():
    if not REAL.exists():
        pytest.skip("the real nuScenes key frame is not here")
    sample = json.loads((REAL / "sample.json").read_text())["sample"]
    world_from_scan = np.array(sample["ego2global"]) @ np.array(sample["lidar_points"]["lidar2ego"])
    points = np.fromfile(REAL / sample["lidar_points"]["lidar_path"], np.float32).reshape(-1, 5)
    photos = []
    for name, each in sample["images"].items():
        intrinsics = np.array(each["cam2img"])
        intrinsics[:2, 2] += 0.5
        world_from_camera = world_from_scan @ np.linalg.inv(np.array(each["lidar2cam"]))
        photos.append(Photo(name, REAL / each["img_path"], Camera(intrinsics, world_from_camera, 900, 1600)))
    return sample, Scan(points[:, :3].copy(), world_from_scan, 0.0), photos


def test_a_real_scan_meets_the_pixels_of_the_published_matrices(real):
    sample, cloud, photos = real
    pairs = pair(cloud, photos, UNTESTED)
    assert len(pairs) > 20_000
    for index, each in enumerate(sample["images"].values()):
        chosen = pairs.photo == index
        camera_from_scan, intrinsics = np.array(each["lidar2cam"]), np.array(each["cam2img"])
        in_camera = (
            cloud.xyz[pairs.point[chosen]].astype(float) @ camera_from_scan[:3, :3].T
            + camera_from_scan[:3, 3]
        )
        col_row = (in_camera @ intrinsics.T)[:, :2] / in_camera[:, 2:]
        assert np.abs(pairs.row_col[chosen] - col_row[:, ::-1]).max() < 0.5001


def test_behind_the_truck_of_a_real_scan_nothing_is_seen(real):
    """Its loading space fills these pixels of the front photo at 9 to 15 m; the building behind is at 20 and more."""
    _, cloud, photos = real

    def far(how):
        pairs = pair(cloud, photos[:1], how)
        row, col = pairs.row_col.T
        on_truck = (row > 330) & (row < 580) & (col > 150) & (col < 420)
        return (np.linalg.norm(cloud.xyz[pairs.point[on_truck]], axis=1) > 18).sum(), on_truck.sum()

    hidden, all_points = far(UNTESTED)
    left, seen = far(Pairing())
    assert hidden > 5
    assert left == 0
    assert seen > 0.85 * (all_points - hidden)
