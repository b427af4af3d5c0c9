"""The losses of PPKT and SLidR have the values that a pencil finds, and those of slow loops, with their gradients."""

import math

import pytest
import torch

from pointcloud.objectives.contrastive import point_pixel_contrast, superpixel_contrast


def rows(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def drawn(n: int, c: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, c, generator=generator, dtype=torch.float64, requires_grad=True)


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a @ b / (a.norm() * b.norm())


def slow_contrast(points, pixels, temperature):
    total = points.new_zeros(())
    for i, point in enumerate(points):
        terms = [(cosine(point, pixel) / temperature).exp() for pixel in pixels]
        total = total - (terms[i] / sum(terms)).log()
    return total / len(points)


def slow_superpoints(points, superpixel, s):
    means = []
    for k in range(s):
        members = [point for point, row in zip(points, superpixel.tolist(), strict=True) if row == k]
        means.append(sum(members) / len(members))
    return torch.stack(means)


def test_point_pixel_contrast_by_hand():
    value = point_pixel_contrast(rows((2, 0), (0, 3)), rows((5, 0), (1, 1)), temperature=0.5)
    r = math.sqrt(0.5)
    # unit points (1, 0) and (0, 1), unit pixels (1, 0) and (r, r): cosines 1, r and 0, r, each times 2
    first = math.log(math.exp(2) + math.exp(2 * r)) - 2
    second = math.log(1 + math.exp(2 * r)) - 2 * r
    assert value.item() == pytest.approx((first + second) / 2, abs=1e-12)


def test_points_choose_among_pixels_and_not_pixels_among_points():
    one, other = rows((1, 0), (1, 0.1)), rows((1, 0), (0, 1))
    assert point_pixel_contrast(one, other).item() != pytest.approx(point_pixel_contrast(other, one).item())


def test_point_pixel_contrast_equals_a_slow_loop_with_its_gradients():
    points, pixels = drawn(30, 6, seed=1), drawn(30, 6, seed=2)
    value, slow = point_pixel_contrast(points, pixels), slow_contrast(points, pixels, 0.07)
    torch.testing.assert_close(value, slow)
    for side in (points, pixels):
        torch.testing.assert_close(
            *(torch.autograd.grad(each, side, retain_graph=True) for each in (value, slow))
        )


def test_superpixel_contrast_by_hand():
    points, superpixel = rows((3, 0), (1, 0), (0, 1), (0, 4)), torch.tensor([1, 0, 1, 0])
    value = superpixel_contrast(points, superpixel, rows((0, 2), (1, 1)), temperature=0.5)
    # means (1, 4) / 2 and (3, 1) / 2; cosines 4 / sqrt 17 and 5 / sqrt 34 of the first, 1 / sqrt 10 and 4 / sqrt 20
    a, b = 2 * 4 / math.sqrt(17), 2 * 5 / math.sqrt(34)
    c, d = 2 * 1 / math.sqrt(10), 2 * 4 / math.sqrt(20)
    first = math.log(math.exp(a) + math.exp(b)) - a
    second = math.log(math.exp(c) + math.exp(d)) - d
    assert value.item() == pytest.approx((first + second) / 2, abs=1e-12)


def test_superpixel_contrast_equals_a_slow_loop_with_its_gradients():
    points, superpixels = drawn(40, 6, seed=3), drawn(7, 6, seed=4)
    superpixel = torch.arange(40) * 11 % 23 % 7  # of sizes that differ
    assert len(superpixel.bincount().unique()) > 1
    value = superpixel_contrast(points, superpixel, superpixels)
    slow = slow_contrast(slow_superpoints(points, superpixel, 7), superpixels, 0.07)
    torch.testing.assert_close(value, slow)
    for side in (points, superpixels):
        torch.testing.assert_close(
            *(torch.autograd.grad(each, side, retain_graph=True) for each in (value, slow))
        )


def test_a_superpixel_counts_once_however_many_points_it_has():
    points, superpixels = drawn(5, 4, seed=5), drawn(3, 4, seed=6)
    superpixel = torch.tensor([0, 1, 1, 2, 2])
    few = superpixel_contrast(points, superpixel, superpixels)
    again = superpixel == 1
    many = superpixel_contrast(
        torch.cat([points, points[again], points[again]]),
        torch.cat([superpixel, *[superpixel[again]] * 2]),
        superpixels,
    )
    torch.testing.assert_close(many, few)


def test_gradients_are_those_of_finite_differences():
    points, pixels, superpixels = drawn(6, 3, seed=7), drawn(6, 3, seed=8), drawn(3, 3, seed=9)
    superpixel = torch.tensor([2, 0, 1, 1, 2, 2])
    assert torch.autograd.gradcheck(lambda p, x: point_pixel_contrast(p, x, 0.3), (points, pixels))
    assert torch.autograd.gradcheck(
        lambda p, x: superpixel_contrast(p, superpixel, x, 0.3), (points, superpixels)
    )


def test_large_similarities_stay_finite():
    one = rows((1, 0), (0, 1)).requires_grad_()
    value = point_pixel_contrast(one, one.detach().flip(0), temperature=1e-4)
    value.backward()
    assert value.item() == pytest.approx(1e4)
    assert one.grad is not None
    assert one.grad.isfinite().all()


@pytest.mark.parametrize("pairs", [0, 1])
def test_no_pair_and_a_single_one_cost_nothing_and_pull_nowhere(pairs):
    points, pixels = drawn(pairs, 4, seed=10), drawn(pairs, 4, seed=11)
    for value in (
        point_pixel_contrast(points, pixels),
        superpixel_contrast(points, torch.zeros(pairs, dtype=torch.int64), pixels),
    ):
        points.grad = pixels.grad = None
        value.backward()
        assert value.item() == 0
        for side in (points, pixels):
            assert side.grad is not None
            assert not side.grad.any()


def test_many_points_of_a_single_superpixel_cost_nothing():
    points, superpixels = drawn(5, 4, seed=12), drawn(1, 4, seed=13)
    value = superpixel_contrast(points, torch.zeros(5, dtype=torch.int64), superpixels)
    value.backward()
    assert value.item() == 0
    assert points.grad is not None
    assert not points.grad.any()
