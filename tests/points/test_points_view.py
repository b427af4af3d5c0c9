"""What the page of a point cloud shows, without a browser."""

import numpy as np
import pytest

from ovs3d.outputs.palette import heat_colors, label_colors
from ovs3d.prompts.vocabulary import Vocabulary
from pointcloud.frame import Scan
from pointcloud.view import Asked, overview, plain_colors, shown_colors

XYZ = np.array([[0, 0, 0], [1, 0, 1], [2, 0, 2], [3, 0, 9]], np.float32)
PROBABILITY = np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]], np.float32)


def scan(**values: object) -> Scan:
    return Scan(XYZ, np.eye(4), 0.0, **values)


def test_points_without_colours_show_their_intensity_else_their_height():
    rgb = np.arange(12, dtype=np.uint8).reshape(4, 3)
    intensity = np.array([0.9, 0.1, 0.5, 0.2], np.float32)
    assert (plain_colors(scan(rgb=rgb, intensity=intensity)) == rgb).all()
    by_intensity = plain_colors(scan(intensity=intensity))
    assert (by_intensity[np.argsort(intensity)] == plain_colors(scan(intensity=np.sort(intensity)))).all()
    assert (plain_colors(scan()) != by_intensity).any()


def test_answer_truth_and_heat_have_their_colours_and_distractors_are_no_answer():
    asked = Asked(Vocabulary(("car", "road"), distractors=("thing",)), PROBABILITY)
    labelled = scan(labels=np.array([1, 0, 255, 1], np.uint8))
    assert (shown_colors("truth", labelled, asked) == label_colors(np.array([1, 0, 255, 1]))).all()
    assert (shown_colors("answer", labelled, asked) == label_colors(np.array([0, 1, -1, 0]))).all()
    assert (shown_colors("heat", labelled, asked, 1) == heat_colors(PROBABILITY[:, 1])).all()
    assert (shown_colors("answer", labelled, None) == plain_colors(labelled)).all()
    assert (shown_colors("truth", scan(), asked) == plain_colors(scan())).all()


@pytest.mark.parametrize("size", [0.0, 3.0, 40.0])
def test_most_points_are_within_the_reach_and_far_ones_do_not_count(size):
    random = np.random.default_rng(0)
    xyz = random.uniform(-size, size, (2000, 3)) + np.array([5.0, 6.0, 7.0])
    xyz[:20] += 1e4
    middle, reach = overview(Scan(xyz.astype(np.float32), np.eye(4), 0.0))
    np.testing.assert_allclose(middle, [5, 6, 7], atol=0.1 * size)
    assert max(1.0, size) <= reach <= max(1.0, np.sqrt(3) * size)
