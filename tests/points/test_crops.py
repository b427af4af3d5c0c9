"""Crops keep the pairs of a rectangle of each photo, and never leave a photo without any."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ovs3d.geometry import Camera
from pointcloud.crops import cropped
from pointcloud.frame import Photo
from pointcloud.pairing import Pairs

HEIGHT, WIDTH = 90, 160


def photo(height: int = HEIGHT, width: int = WIDTH) -> Photo:
    return Photo("front", Path("nowhere.png"), Camera(np.eye(3), np.eye(4), height, width))


def every(step: int, photos: int = 1, height: int = HEIGHT, width: int = WIDTH) -> Pairs:
    """A pair at every so many-th pixel down and across of each photo."""
    place = np.stack(
        np.meshgrid(np.arange(0, height, step), np.arange(0, width, step), indexing="ij"), axis=-1
    )
    row_col = np.tile(place.reshape(-1, 2), (photos, 1))
    return Pairs(np.arange(len(row_col)), np.repeat(np.arange(photos), len(row_col) // photos), row_col)


@pytest.mark.parametrize("seed", range(20))
def test_a_crop_is_a_rectangle_of_the_published_shape(seed):
    pairs = every(1, photos=2)
    kept = cropped(pairs, [photo()] * 2, np.random.default_rng(seed))
    assert np.array_equal(kept.row_col, pairs.row_col[kept.point])
    assert np.array_equal(kept.photo, pairs.photo[kept.point])
    corners = []
    for number in range(2):
        places = kept.row_col[kept.photo == number]
        height, width = places.max(axis=0) - places.min(axis=0) + 1
        assert len(places) == height * width
        assert 0.29 < height * width / (HEIGHT * WIDTH) <= 1
        assert 14 / 9 - 0.05 < width / height < 17 / 9 + 0.05
        corners.append((*places.min(axis=0), height))
    assert corners[0] != corners[1]


@pytest.mark.parametrize("seed", range(20))
def test_of_few_pairs_three_quarters_stay(seed):
    pairs = every(10)
    kept = cropped(pairs, [photo()], np.random.default_rng(seed))
    assert len(kept) > 0.75 * len(pairs)


def test_crops_are_smaller_than_that_where_pairs_are_many():
    pairs = every(1)
    shares = [len(cropped(pairs, [photo()], np.random.default_rng(seed))) / len(pairs) for seed in range(50)]
    assert min(shares) < 0.45
    assert max(shares) > 0.8


def test_a_photo_that_no_crop_fits_stays_whole():
    pairs = every(1, height=400, width=50)
    kept = cropped(pairs, [photo(400, 50)], np.random.default_rng(0))
    assert len(kept) == len(pairs)


def test_a_photo_without_pairs_is_no_trouble():
    pairs = replace(every(1), photo=np.ones(HEIGHT * WIDTH, np.int64))
    kept = cropped(pairs, [photo(), photo()], np.random.default_rng(0))
    assert set(kept.photo) == {1}
