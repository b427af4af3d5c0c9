"""Several sweeps as one cloud: where their points lie, what is dropped, what they keep."""

import numpy as np
import pytest
from small_views import UNTESTED, photo, pose, scan, triples

from ovs3d.geometry import look_at, transform
from pointcloud.pairing import pair
from pointcloud.sweeps import choose_sweeps, merge_sweeps


def test_a_sweep_meets_the_same_pixels_through_its_own_pose_and_merged():
    rng = np.random.default_rng(2)
    world = rng.uniform([505, 898, 0], [515, 906, 5], (80, 3))
    poses = pose(0.4, 500, 900, 1.8), pose(0.31, 499.2, 899.7, 1.8)
    key, sweep = (
        scan(transform(np.linalg.inv(each), world), each, time_s)
        for each, time_s in zip(poses, (3.0, 2.95), strict=True)
    )
    view = photo(look_at(np.array([500.5, 900, 1.6]), np.array([510.0, 902, 2])))
    expected = triples(pair(key, [view], UNTESTED))
    assert len(expected) > 20
    assert triples(pair(sweep, [view], UNTESTED)) == expected
    merged = merge_sweeps(key, [sweep])
    assert merged.scan.xyz[80:] == pytest.approx(key.xyz, abs=1e-4)
    assert merged.sweep.tolist() == [0] * 80 + [1] * 80
    assert merged.time_offset_s == pytest.approx(np.repeat([0, -0.05], 80), abs=1e-6)
    assert triples(pair(merged.scan, [view], UNTESTED)) == [
        (k, p + shift, r, c) for shift in (0, 80) for k, p, r, c in expected
    ]


def test_returns_of_the_car_are_dropped_from_sweeps_in_their_own_frame_but_not_from_the_key_frame():
    xyz = [[0.9, -0.9, 0], [1.1, 0, 0], [0, -1.1, 0], [-0.9, 0.9, 5], [1.0, 0, 1]]
    sweep_pose = pose(0, -7, 0, 0)
    merged = merge_sweeps(scan(xyz, np.eye(4)), [scan(xyz, sweep_pose)])
    assert merged.scan.xyz[:5] == pytest.approx(np.array(xyz))
    assert merged.scan.xyz[5:] == pytest.approx(np.array(xyz)[[1, 2, 4]] - [7, 0, 0])
    longer = merge_sweeps(scan(xyz, np.eye(4)), [scan(xyz, sweep_pose)], ego_half_m=(0.95, 2.5))
    assert longer.scan.xyz[5:] == pytest.approx(np.array(xyz)[[1, 4]] - [7, 0, 0])


def test_values_of_points_follow_them_and_sweeps_have_no_labels():
    def cloud(level, labels):
        return scan(
            [[3, level, 0], [0.5, 0, 0], [0, 2, level]],
            intensity=np.array([0.1, 0.2, 0.3], np.float32) + np.float32(level),
            labels=labels,
        )

    labels = np.array([4, 255, 9], np.uint8)
    merged = merge_sweeps(cloud(0.5, labels), [cloud(0.25, labels), cloud(0.125, None)]).scan
    assert merged.intensity == pytest.approx([0.6, 0.7, 0.8, 0.35, 0.55, 0.225, 0.425])
    assert merged.labels.tolist() == [4, 255, 9, 255, 255, 255, 255]
    assert merged.rgb is None
    bare = merge_sweeps(cloud(0.5, None), [scan([[5, 5, 5]])])
    assert (bare.scan.labels, bare.scan.intensity, len(bare.scan.xyz)) == (None, None, 4)


def test_the_latest_sweeps_are_chosen_or_random_ones_in_their_order():
    assert choose_sweeps("abcdefghi", 2) == ("a", "b")
    assert choose_sweeps("ab", 5) == ("a", "b")
    rng = np.random.default_rng(0)
    draws = [choose_sweeps("abcdefghi", 2, rng) for _ in range(200)]
    assert {each for draw in draws for each in draw} == set("abcdefghi")
    assert all(first < second for first, second in draws)
    assert draws[:9] == [
        choose_sweeps("abcdefghi", 2, each) for each in [np.random.default_rng(0)] for _ in range(9)
    ]
