"""Lenses bend as OpenCV's, and see nothing far outside the photo."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from small_views import HEIGHT, INTRINSICS, LENS, UNTESTED, WIDTH, scan

from ovs3d.geometry import Camera
from pointcloud.frame import Photo
from pointcloud.lens import distorted
from pointcloud.pairing import pair, project


@pytest.mark.parametrize("coefficients", [LENS, (*LENS, 0.04), (-0.2, 0.05), ()])
def test_a_lens_bends_as_opencvs(coefficients):
    rng = np.random.default_rng(0)
    xyz = np.concatenate([rng.uniform(-0.55, 0.55, (50, 2)), np.ones((50, 1))], axis=1) * rng.uniform(
        1, 9, (50, 1)
    )
    padded = np.zeros(8)
    padded[: len(coefficients)] = coefficients
    expected, _ = cv2.projectPoints(xyz, np.zeros(3), np.zeros(3), INTRINSICS, padded)
    camera = Camera(INTRINSICS, np.eye(4), HEIGHT, WIDTH)
    assert project(xyz, camera, coefficients) == pytest.approx(expected[:, 0, ::-1], abs=1e-9)


def test_a_lens_does_not_fold_what_is_far_outside_back_into_the_photo():
    outside = np.array([[1.9, 0.1]])
    camera = Camera(INTRINSICS, np.eye(4), HEIGHT, WIDTH)
    folded, _ = cv2.projectPoints(
        np.array([[1.9, 0.1, 1]]), np.zeros(3), np.zeros(3), INTRINSICS, np.array([-0.3, 0.0, 0, 0])
    )
    assert 0 < folded[0, 0, 0] < WIDTH
    assert np.isnan(distorted(outside, (-0.3,))).all()
    cloud = scan([[9.5, 0.5, 5]], np.eye(4))
    assert len(pair(cloud, [Photo("a", Path("a"), camera, distortion=(-0.3,))], UNTESTED)) == 0


def test_more_coefficients_than_are_known_are_refused():
    with pytest.raises(ValueError, match="8 coefficients"):
        distorted(np.zeros((1, 2)), (0.1,) * 8)
