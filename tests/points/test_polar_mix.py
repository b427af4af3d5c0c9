"""Two scans become one: halves by angle, and rare things at the distance and with the returns that they had."""

import numpy as np
import pytest

from pointcloud.frame import Scan
from pointcloud.index import IGNORE
from pointcloud.polar_mix import polar_mix


def scan(seed: int, base: int, rare: int, n: int = 3000) -> Scan:
    """Class ``base`` all around with intensity seed / 10, and five points of a rare class."""
    random = np.random.default_rng(seed)
    labels = np.full(n, base, np.uint8)
    labels[:5], labels[5:9] = rare, IGNORE
    angle, radius, z = random.uniform((-np.pi, 2, -2), (np.pi, 30, 3), (n, 3)).T
    xyz = np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1).astype(np.float32)
    return Scan(xyz, np.eye(4), 1.5, np.full(n, seed / 10, np.float32), None, labels)


def mixed(seeds=range(40)) -> list[Scan]:
    return [polar_mix(scan(1, 0, 7), scan(2, 1, 9), np.random.default_rng(seed)) for seed in seeds]


def test_half_of_every_second_scan_is_the_others_and_halves_meet_at_an_angle():
    swapped = [each for each in mixed() if (each.labels == 1).any()]
    assert 10 < len(swapped) < 30
    for each in swapped:
        angle = np.arctan2(each.xyz[:, 1], each.xyz[:, 0])
        own, foreign = np.exp(1j * angle[each.labels == 0]), np.exp(1j * angle[each.labels == 1])
        middle = foreign.mean() / abs(foreign.mean())
        assert (np.real(foreign / middle) > -0.1).all()
        assert (np.real(own / middle) < 0.1).all()
        assert 0.4 < len(foreign) / (len(own) + len(foreign)) < 0.6


def test_rare_things_are_pasted_three_times_with_their_height_distance_and_intensity():
    other = scan(2, 1, 9)
    for each in mixed():
        pasted = each.labels == 9
        counts = pasted.sum()
        assert 15 <= counts <= 20  # the other's half may hold some of them too
        found = each.xyz[pasted][-15:].reshape(3, 5, 3)
        for copy in found:
            np.testing.assert_allclose(copy[:, 2], other.xyz[:5, 2], rtol=1e-5)
            radii = [np.linalg.norm(x[:, :2], axis=1) for x in (copy, other.xyz[:5])]
            np.testing.assert_allclose(*radii, rtol=1e-4)
        angles = np.arctan2(found[:, 0, 1], found[:, 0, 0])
        assert len(set(np.round(angles, 3))) == 3
        assert (each.intensity[pasted] == np.float32(0.2)).all()


def test_what_is_not_annotated_is_never_pasted_and_columns_stay_together():
    for each in mixed():
        assert (each.labels == IGNORE).sum() <= 8
        assert len(each.xyz) == len(each.labels) == len(each.intensity)
        assert each.rgb is None
        assert ((each.intensity == np.float32(0.1)) == (np.isin(each.labels, (0, 7)))).sum() >= len(
            each.labels
        ) - 8


def test_a_column_that_one_of_both_lacks_is_left_out():
    bare = Scan(scan(3, 1, 9).xyz, np.eye(4), 0.0, None, None, scan(3, 1, 9).labels)
    assert polar_mix(scan(1, 0, 7), bare, np.random.default_rng(0)).intensity is None
    with pytest.raises(AssertionError):
        polar_mix(scan(1, 0, 7), Scan(bare.xyz, np.eye(4), 0.0), np.random.default_rng(0))
