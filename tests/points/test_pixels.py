"""Features at pixels are what slow loops find, though no pixel has a feature of its own until it is asked for."""

import pytest
import torch
import torch.nn.functional as F

from pointcloud.gathered import dot_rows, sum_rows
from pointcloud.pixels import PixelFeatures

SUMS = torch.tensor([2, 0, 2, 2, 4])
"""Rows of results that pixels are added to; 1 and 3 of 5 get none."""


def grid_of(gh: int, gw: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(gh, gw, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("size", [(3, 5), (1, 4), (4, 1), (1, 1)])
def test_features_are_mixed_between_centres_and_those_of_the_border_beyond(size):
    grid, extent = grid_of(*size), torch.tensor(size, dtype=torch.float64)
    corners = torch.cartesian_prod(*(torch.tensor([-0.1, 0.0, 0.4, 1.0, 1.2]).double() * n for n in size))
    cells = torch.cat([corners, torch.rand(30, 2, generator=torch.Generator().manual_seed(1)) * extent])
    found = PixelFeatures.at(grid, cells).rows()
    places = (cells / extent * 2 - 1).flip(1)[None, :, None]
    expected = F.grid_sample(grid.permute(2, 0, 1)[None], places, padding_mode="border", align_corners=False)
    torch.testing.assert_close(found, expected[0, :, :, 0].T)


def seen(m: int = 5) -> PixelFeatures:
    """At pixels of two photos."""
    grids = grid_of(3, 5), grid_of(2, 2, seed=1)
    cells = torch.rand(m, 2, generator=torch.Generator().manual_seed(2)).double()
    return PixelFeatures.cat(
        [PixelFeatures.at(grids[0], cells[:3] * 4), PixelFeatures.at(grids[1], cells[3:] * 2)]
    )


def test_what_is_asked_of_features_is_asked_of_each():
    found, text = seen(), torch.randn(4, 6, dtype=torch.float64)
    rows, weights = found.rows(), torch.tensor([0.5, -1, 2, 3, 1], dtype=torch.float64)
    torch.testing.assert_close(found.unit().rows(), F.normalize(rows, dim=1))
    torch.testing.assert_close(found.scores(text), rows @ text.T)
    expected = rows.new_zeros(5, 6)
    for row, weight, into in zip(rows, weights, SUMS.tolist(), strict=True):
        expected[into] += weight * row
    torch.testing.assert_close(found.sums(weights, SUMS, 5), expected)
    some = torch.tensor([4, 0, 4])
    torch.testing.assert_close(found[some].rows(), rows[some])
    torch.testing.assert_close(PixelFeatures.of(rows).unit().rows(), F.normalize(rows, dim=1))


def test_pixels_of_one_patch_that_go_into_one_row_are_all_counted():
    found = PixelFeatures.at(grid_of(1, 2), torch.tensor([[0.5, 0.7], [0.5, 0.9], [0.5, 0.7]]).double())
    weights = torch.tensor([1.0, 2, 4], dtype=torch.float64)
    expected = (found.rows() * weights[:, None]).sum(dim=0, keepdim=True)
    torch.testing.assert_close(found.sums(weights, torch.zeros(3, dtype=torch.int64), 1), expected)


def test_no_pixel_adds_nothing():
    none = PixelFeatures.of(torch.zeros(0, 6))
    nowhere = torch.zeros(0, dtype=torch.int64)
    assert not none.sums(torch.zeros(0), nowhere, 3).any()
    assert none.sums(torch.zeros(0), nowhere, 0).shape == none.rows().shape == (0, 6)
    assert none.unit().scores(torch.ones(2, 6)).shape == (0, 2)


def test_the_feature_of_zeros_stays_zero_when_it_is_brought_to_unit_length():
    assert not PixelFeatures.of(torch.zeros(2, 6)).unit().rows().any()


@pytest.mark.parametrize("d", [3, 1 << 18])  # few rows of the larger are multiplied at once
def test_sums_and_products_of_rows_are_those_of_a_loop(d):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(4, d, generator=generator), torch.randn(5, d, generator=generator)
    i, weights = torch.tensor([3, 0, 0, 2, 3]), torch.randn(5, generator=generator)
    expected = torch.zeros(5, d)
    for row, weight, into in zip(i.tolist(), weights, SUMS.tolist(), strict=True):
        expected[into] += weight * a[row]
    torch.testing.assert_close(sum_rows(a, i, weights, SUMS, 5), expected)
    products = torch.stack([a[x] @ b[y] for x, y in zip(i.tolist(), SUMS.tolist(), strict=True)])
    torch.testing.assert_close(dot_rows(a, i, b, SUMS), products, rtol=1e-4, atol=1e-3)


def test_gradients_of_sums_and_products_are_those_of_differences():
    generator = torch.Generator().manual_seed(0)
    a, b, weights = (
        torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((4, 3), (5, 3), (5,))
    )
    i = torch.tensor([3, 0, 0, 2, 3])
    assert torch.autograd.gradcheck(lambda a, w: sum_rows(a, i, w, SUMS, 5), (a, weights))
    assert torch.autograd.gradcheck(lambda a, b: dot_rows(a, i, b, SUMS), (a, b))
