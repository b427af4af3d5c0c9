"""IoU of masks and of their boundaries, and what the two means of it weigh."""

import math

import pytest
import torch

from ovs3d.eval.masks import boundary, boundary_iou, flat_mean, macro_mean, mask_iou, prompt_means


def random_blobs(height=23, width=31, seed=0, share=0.65):
    coarse = (
        torch.rand(height // 5 + 1, width // 5 + 1, generator=torch.Generator().manual_seed(seed)) < share
    )
    return coarse.repeat_interleave(5, 0).repeat_interleave(5, 1)[:height, :width]


def block(height, width, top, left, bottom, right):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


def slow_boundary(mask, distance):
    height, width = mask.shape
    solid, found = mask.tolist(), torch.zeros_like(mask)
    for row in range(height):
        for col in range(width):
            around = [
                0 <= r < height and 0 <= c < width and solid[r][c]
                for r in range(row - distance, row + distance + 1)
                for c in range(col - distance, col + distance + 1)
            ]
            found[row, col] = solid[row][col] and not all(around)
    return found


def test_iou_counts_the_pixels_of_both_masks_and_of_either():
    truth, prediction = random_blobs(seed=0), random_blobs(seed=1)
    pairs = list(zip(truth.flatten().tolist(), prediction.flatten().tolist(), strict=True))
    expected = sum(t and p for t, p in pairs) / sum(t or p for t, p in pairs)
    assert 0.2 < expected < 0.8
    assert mask_iou(truth, prediction) == pytest.approx(expected)
    assert mask_iou(truth, truth) == boundary_iou(truth, truth) == 1


@pytest.mark.parametrize(("ratio", "distance"), [(0.02, 1), (0.05, 2), (0.09, 3)])  # the diagonal is 38.6
def test_the_boundary_is_what_has_a_pixel_outside_near_it(ratio, distance):
    for seed in range(3):
        mask = random_blobs(seed=seed, share=0.8)
        expected = slow_boundary(mask, distance)
        assert 0 < expected.sum() < mask.sum()
        assert torch.equal(boundary(mask, ratio), expected)


def test_the_boundary_is_two_percent_of_the_diagonal_wide():
    # diagonal 500, so 10 pixels: a square of 100 keeps an inside of 80
    square = block(300, 400, 20, 30, 120, 130)
    assert boundary(square).sum() == 100**2 - 80**2
    # of the frames of two squares 10 columns apart, the strips along the top and the bottom meet, 10 x 90 each
    shifted = block(300, 400, 20, 40, 120, 140)
    shared = int((boundary(square) & boundary(shifted)).sum())
    assert shared == 2 * 10 * 90
    assert boundary_iou(square, shifted) == pytest.approx(1800 / (2 * 3600 - 1800))
    assert mask_iou(square, shifted) == pytest.approx(9000 / 11000)


def test_the_border_of_the_image_is_an_edge_of_the_mask():
    full = torch.ones(6, 9, dtype=torch.bool)
    assert torch.equal(boundary(full), ~block(6, 9, 1, 1, 5, 8))


def test_a_mask_thinner_than_the_boundary_is_all_boundary():
    thin = block(300, 400, 50, 60, 70, 300)
    assert torch.equal(boundary(thin), thin)


def test_without_a_pixel_in_either_mask_there_is_no_iou():
    some, none = block(5, 7, 1, 2, 3, 5), torch.zeros(5, 7, dtype=torch.bool)
    for iou in (mask_iou, boundary_iou):
        assert math.isnan(iou(none, none))
        assert iou(some, none) == iou(none, some) == 0


def test_the_flat_mean_weighs_pairs_and_the_macro_mean_prompts():
    scores = {("0", "apple"): 1.0, ("0", "old camera"): 0.0, ("1", "apple"): 0.5, ("2", "apple"): 0.0}
    assert flat_mean(scores) == pytest.approx(1.5 / 4)
    assert prompt_means(scores) == pytest.approx({"apple": 0.5, "old camera": 0})
    assert macro_mean(scores) == pytest.approx(0.25)


def test_what_has_no_iou_is_left_out_of_the_means():
    scores = {("0", "apple"): 0.5, ("1", "apple"): math.nan, ("1", "egg"): math.nan, ("0", "plate"): 0.1}
    assert flat_mean(scores) == pytest.approx(0.3)
    assert macro_mean(scores) == pytest.approx(0.3)
    assert prompt_means(scores) == pytest.approx({"apple": 0.5, "egg": math.nan, "plate": 0.1}, nan_ok=True)
    assert math.isnan(flat_mean({}))
    assert math.isnan(macro_mean({}))
