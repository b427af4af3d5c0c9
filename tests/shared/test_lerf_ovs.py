"""The published way from relevancy to masks and places, step by step as slow loops, and what it does to the absent."""

import math

import numpy as np
import pytest
import torch

from ovs3d.eval.lerf_ovs import local_mean, majority, plain_mask, published_is_localized, published_mask
from ovs3d.eval.localization import is_localized


def random_map(height=47, width=66, seed=0):
    """Patches of different relevancy with noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(height // 9 + 1, width // 9 + 1, generator=generator)
    patches = coarse.repeat_interleave(9, 0).repeat_interleave(9, 1)[:height, :width]
    return 0.7 * patches + 0.3 * torch.rand(height, width, generator=generator)


def bump(height=80, width=110, row=30, col=40, low=0.1, high=0.9):
    rows, cols = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    distance = ((rows - row) ** 2 + (cols - col) ** 2).sqrt()
    return low + (high - low) * torch.exp(-((distance / 18) ** 2))


def mirrored(index, length):
    while not 0 <= index < length:
        index = -index if index < 0 else 2 * (length - 1) - index
    return index


def slow_mean(relevancy):
    height, width = relevancy.shape
    values, mean = relevancy.double().numpy(), torch.zeros(height, width, dtype=torch.float64)
    for row in range(height):
        rows = [mirrored(r, height) for r in range(row - 15, row + 15)]
        for col in range(width):
            cols = [mirrored(c, width) for c in range(col - 15, col + 15)]
            mean[row, col] = values[np.ix_(rows, cols)].mean()
    return mean


def slow_majority(mask):
    height, width = mask.shape
    solid, smooth = mask.tolist(), torch.zeros_like(mask)
    for row in range(height):
        for col in range(width):
            votes = [
                solid[r][c]
                for r in range(row - 3, row + 4)
                for c in range(col - 3, col + 4)
                if 0 <= r < height - 1 and 0 <= c < width - 1
            ]
            smooth[row, col] = votes.count(True) > votes.count(False)
    return smooth


@pytest.mark.parametrize(("height", "width"), [(47, 66), (12, 33)])  # also smaller than the window
def test_the_local_mean_is_that_of_thirty_by_thirty_pixels(height, width):
    relevancy = random_map(height, width)
    torch.testing.assert_close(local_mean(relevancy).double(), slow_mean(relevancy), rtol=0, atol=1e-6)


@pytest.mark.parametrize("share", [0.4, 0.5, 0.6])
def test_the_majority_is_counted_without_the_last_row_and_column(share):
    mask = torch.rand(17, 24, generator=torch.Generator().manual_seed(1)) < share
    mask[-1], mask[:, -1] = ~mask[-2], ~mask[:, -2]
    smooth = majority(mask)
    assert torch.equal(smooth, slow_majority(mask))
    assert 0 < smooth.sum() < smooth.numel()


def test_a_tie_is_not_in_the_mask():
    # at the top left corner 4 x 4 pixels vote
    mask = torch.zeros(9, 12, dtype=torch.bool)
    mask[:2] = True
    assert not majority(mask)[0, 0]
    mask[2, 0] = True
    assert majority(mask)[0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_the_published_mask_is_its_four_steps(seed):
    relevancy = random_map(seed=seed)
    height = (slow_mean(relevancy) + relevancy.double()) / 2
    stretched = (height - height.min()) / (height.max() - height.min()) * 2 - 1
    for threshold in (0.2, 0.4):
        expected = slow_majority(stretched.clamp(0, 1) > threshold)
        assert 0 < expected.sum() < expected.numel()
        assert torch.equal(published_mask(relevancy, threshold), expected)


def test_a_threshold_of_two_fifths_is_seven_tenths_of_the_range():
    # A ramp 0..199: half filtered, column j has j - 0.25 inside, (0 + 7.5) / 2 at the left and (199 + 191.5) / 2 at the
    # right end, so 70 % of the way is 3.75 + 0.7 * 191.5 = 137.8, first passed by column 139.
    ramp = torch.arange(200.0).expand(60, 200) / 200
    expected = (torch.arange(200) >= 139).expand(60, 200)
    assert torch.equal(published_mask(ramp), expected)


def test_the_published_mask_does_not_know_how_relevant_a_prompt_is():
    there, nowhere = bump(), bump(low=0.2, high=0.3)
    assert published_mask(there).sum() > 100
    assert torch.equal(published_mask(nowhere), published_mask(there))
    assert plain_mask(there).sum() > 100
    assert not plain_mask(nowhere).any()


@pytest.mark.parametrize("seed", range(3))
def test_the_plain_mask_is_the_same_without_the_stretch(seed):
    relevancy = random_map(seed=seed)
    expected = slow_majority((slow_mean(relevancy) + relevancy.double()) / 2 >= 0.5)
    assert 0 < expected.sum() < expected.numel()
    assert torch.equal(plain_mask(relevancy), expected)


def test_a_map_without_contrast_gives_no_published_mask():
    flat = torch.full((40, 50), 0.7)
    assert not published_mask(flat).any()
    assert plain_mask(flat).all()
    assert plain_mask(flat, threshold=0.7).all(), "reached is enough"
    assert not plain_mask(flat, threshold=0.71).any()


def test_the_published_place_is_the_top_of_the_local_mean():
    relevancy = bump()
    relevancy[70, 100] = 1.0  # one hot pixel
    on_object, on_pixel = torch.tensor([[25, 35, 36, 46]]), torch.tensor([[69, 99, 72, 102]])
    assert published_is_localized(relevancy, on_object)
    assert not published_is_localized(relevancy, on_pixel)
    assert is_localized(relevancy, on_pixel)
    assert published_is_localized(relevancy, torch.cat([on_pixel, on_object])), "any box"


def test_of_tied_places_any_is_enough_as_published():
    assert published_is_localized(torch.full((40, 50), 0.7), torch.tensor([[20, 30, 21, 31]]))


def test_relevancies_are_left_as_they_were():
    relevancy = random_map()
    before = relevancy.clone()
    published_mask(relevancy), plain_mask(relevancy), local_mean(relevancy)
    assert torch.equal(relevancy, before)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused(value):
    relevancy = random_map()
    relevancy[3, 4] = value
    for mask in (published_mask, plain_mask):
        with pytest.raises(ValueError, match="1 relevancies are not finite"):
            mask(relevancy)
    with pytest.raises(ValueError, match="1 relevancies are not finite"):
        published_is_localized(relevancy, torch.tensor([[0, 0, 1, 1]]))
    with pytest.raises(ValueError, match="no labelled box"):
        published_is_localized(random_map(), torch.zeros(0, 4, dtype=torch.int64))
