"""The losses of CLIP2Scene have the values that a pencil finds, and those of slow loops, with their gradients."""

import math

import pytest
import torch
import torch.nn.functional as F

from pointcloud.objectives.clip2scene import (
    pixel_cosine,
    semantic_contrast,
    semantic_cross_entropy,
    spatial_temporal,
)
from pointcloud.objectives.distillation import distillation, over_photos
from pointcloud.pixels import PixelFeatures

E = math.e
TEXT = torch.eye(2, dtype=torch.float64)
EACH = torch.arange(50)
"""Rows of pairs of which none shares its features."""


of = PixelFeatures.of


def rows(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def drawn(m: int, k: int, d: int, cells: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(m, d, generator=generator, dtype=torch.float64, requires_grad=True)
    pixels = F.normalize(torch.randn(m, d, generator=generator, dtype=torch.float64), dim=1)
    text = F.normalize(torch.randn(k, d, generator=generator, dtype=torch.float64), dim=1)
    labels = torch.randint(k, (m,), generator=generator)
    cell = torch.randint(cells, (m,), generator=generator)
    return points, pixels, text, labels, cell


def slow_contrast(points, labels, text, temperature):
    total = points.new_zeros(())
    for c in range(len(text)):
        own = other = 0
        for point, label in zip(points, labels, strict=True):
            term = (text[c] @ point / point.norm() / temperature).exp()
            own, other = (own + term, other) if label == c else (own, other + term)
        if torch.is_tensor(own) and torch.is_tensor(other):
            total = total - (own / other).log()
    return total


def slow_agreement(points, pixels, labels, text, cell, temperature):
    total = points.new_zeros(())
    for i, point in enumerate(points):
        fused, norm = 0, 0
        for j in (cell == cell[i]).nonzero()[:, 0].tolist():
            for feature in (points[j],) if pixels is None else (points[j], pixels[j]):
                weight = (feature @ text[labels[j]] / temperature).exp()
                fused, norm = fused + weight * feature, norm + weight
        total = total + 1 - torch.sigmoid(point @ fused / norm)
    return total / len(points)


def slow_cross_entropy(points, labels, text):
    total = points.new_zeros(())
    for point, label in zip(points, labels, strict=True):
        terms = [(point @ each).exp() for each in text]
        total = total - (terms[label] / sum(terms)).log()
    return total / len(points)


def slow_cosine(points, features, point):
    """Mean over points that have a pixel, of 1 - cos with the mean direction of their pixels' features."""
    total, count = points.new_zeros(()), 0
    for i, own in enumerate(points):
        directions = [features[j] / features[j].norm() for j in (point == i).nonzero()[:, 0].tolist()]
        if directions:
            mean = torch.stack(directions).mean(dim=0)
            total, count = total + 1 - own @ mean / own.norm() / mean.norm(), count + 1
    return total / count


def test_contrast_by_hand():
    points = rows((1, 0), (0, 3), (0, 2))  # lengths do not count
    labels = torch.tensor([0, 1, 0])
    # class 0 draws e^2 + e^0 and pushes e^0; class 1 draws e^2 and pushes e^0 + e^2
    expected = -math.log(E**2 + 1) + math.log(1 + E**2) - 2
    assert semantic_contrast(points, EACH[:3], labels, TEXT).item() == pytest.approx(expected, abs=1e-12)


def test_contrast_equals_a_slow_loop_with_its_gradient():
    points, _, text, labels, _ = drawn(40, 5, 8, 1, seed=1)
    labels[labels == 3] = 2  # a class without points
    value, slow = semantic_contrast(points, EACH[:40], labels, text), slow_contrast(points, labels, text, 0.5)
    torch.testing.assert_close(value, slow)
    torch.testing.assert_close(*(torch.autograd.grad(each, points)[0] for each in (value, slow)))


@pytest.mark.parametrize("m", [0, 4])
def test_contrast_of_one_class_or_of_nothing_is_zero_and_pulls_nowhere(m):
    points = torch.randn(m, 2, dtype=torch.float64, requires_grad=True)
    value = semantic_contrast(points, EACH[:m], torch.ones(m, dtype=torch.int64), TEXT)
    value.backward()
    assert value.item() == 0
    assert points.grad is not None
    assert not points.grad.any()


def test_contrast_does_not_compare_classes_at_a_point_but_cross_entropy_does():
    generator = torch.Generator().manual_seed(0)
    text, labels = torch.eye(3, 4), torch.arange(30) % 3
    scores = 0.3 * torch.rand(30, 3, generator=generator)
    more = scores + torch.tensor([0.2, 0.0, 0.0])  # of one class, at all points

    def unit(each):
        return torch.cat([each, (1 - each.square().sum(dim=1, keepdim=True)).sqrt()], dim=1)

    found = [semantic_contrast(unit(each), EACH[:30], labels, text) for each in (scores, more)]
    torch.testing.assert_close(*found)
    assert (scores.argmax(dim=1) != more.argmax(dim=1)).any()
    found = [semantic_cross_entropy(unit(each), EACH[:30], labels, text) for each in (scores, more)]
    assert (found[0] - found[1]).abs() > 1e-3


def test_cross_entropy_by_hand_counts_length_and_no_temperature():
    value = semantic_cross_entropy(rows((2, 0), (0, -1)), EACH[:2], torch.tensor([0, 1]), TEXT)
    expected = (math.log(1 + E**-2) + math.log(1 + E)) / 2
    assert value.item() == pytest.approx(expected, abs=1e-12)


def test_cross_entropy_and_cosines_equal_slow_loops_with_their_gradients():
    points, pixels, text, labels, point = drawn(30, 4, 6, 20, seed=6)
    loose = 3 * pixels * torch.arange(1, 31)[:, None]  # lengths of pixels' features do not count
    shown, which = point.unique(return_inverse=True)
    for value, slow in (
        (semantic_cross_entropy(points, EACH[:30], labels, text), slow_cross_entropy(points, labels, text)),
        (pixel_cosine(points, EACH[:30], of(pixels)), slow_cosine(points, pixels, EACH[:30])),
        (distillation(points, shown, of(loose), which), slow_cosine(points, loose, point)),
    ):
        torch.testing.assert_close(value, slow)
        torch.testing.assert_close(*(torch.autograd.grad(each, points)[0] for each in (value, slow)))


def test_agreement_by_hand_without_and_with_pixels():
    points, labels, cell = rows((1, 0), (0, 1)), torch.tensor([0, 0]), torch.tensor([0, 0])

    def missing(f):
        return sum(1 / (1 + math.exp(x)) for x in f) / 2

    alone = spatial_temporal(points, EACH[:2], None, labels, TEXT, cell)
    assert alone.item() == pytest.approx(missing((E / (E + 1), 1 / (E + 1))), abs=1e-12)
    both = spatial_temporal(points, EACH[:2], of(rows((1, 0), (1, 0))), labels, TEXT, cell)
    assert both.item() == pytest.approx(missing((3 * E / (3 * E + 1), 1 / (3 * E + 1))), abs=1e-12)


@pytest.mark.parametrize("with_pixels", [True, False])
def test_agreement_equals_a_slow_loop_with_its_gradient(with_pixels):
    points, pixels, text, labels, cell = drawn(50, 4, 6, 3, seed=2)  # more than eight pairs in a cell
    pixels = pixels if with_pixels else None
    shown = None if pixels is None else of(pixels)
    value = spatial_temporal(points, EACH, shown, labels, text, cell, temperature=0.7)
    slow = slow_agreement(points, pixels, labels, text, cell, temperature=0.7)
    torch.testing.assert_close(value, slow)
    torch.testing.assert_close(*(torch.autograd.grad(each, points)[0] for each in (value, slow)))


def test_agreement_of_directions_is_that_of_unit_features_with_its_gradient():
    points, pixels, text, labels, cell = drawn(50, 4, 6, 3, seed=5)
    value = spatial_temporal(points, EACH, of(pixels), labels, text, cell, directions=True)
    unit = spatial_temporal(F.normalize(points, dim=1), EACH, of(pixels), labels, text, cell)
    torch.testing.assert_close(value, unit)
    torch.testing.assert_close(*(torch.autograd.grad(each, points)[0] for each in (value, unit)))


def test_agreement_does_not_depend_on_the_order_of_pairs():
    points, pixels, text, labels, cell = drawn(30, 4, 6, 5, seed=3)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    value = spatial_temporal(points, EACH[:30], of(pixels), labels, text, cell)
    mixed = spatial_temporal(points, order, of(pixels)[order], labels[order], text, cell[order])
    torch.testing.assert_close(value, mixed)


def test_losses_of_no_pair_are_zero():
    none, labels = (
        torch.zeros(0, 2, dtype=torch.float64, requires_grad=True),
        torch.zeros(0, dtype=torch.int64),
    )
    for value in (
        semantic_cross_entropy(none, labels, labels, TEXT),
        spatial_temporal(none, labels, of(none.detach()), labels, TEXT, labels),
        pixel_cosine(none, labels, of(none.detach())),
        distillation(torch.ones(3, 2, requires_grad=True), labels, of(torch.zeros(0, 2)), labels),
    ):
        assert value.item() == 0
        value.backward()


def test_agreement_of_large_scores_is_finite():
    points, labels, cell = rows((800, 0), (801, 0)), torch.tensor([0, 0]), torch.tensor([0, 0])
    value = spatial_temporal(points, EACH[:2], of(rows((0, 1), (0, 1))), labels, TEXT, cell)
    assert value.item() == pytest.approx(0)


@pytest.mark.parametrize("loss", ["contrast", "entropy", "paper", "released", "cosine"])
def test_pairs_may_share_features(loss):
    points, pixels, text, labels, cell = drawn(40, 4, 6, 3, seed=4)
    row = torch.arange(40) % 7
    few = points[:7].detach().clone().requires_grad_()
    found = {
        "contrast": lambda p, row: semantic_contrast(p, row, labels, text),
        "entropy": lambda p, row: semantic_cross_entropy(p, row, labels, text),
        "paper": lambda p, row: spatial_temporal(p, row, of(pixels), labels, text, cell),
        "released": lambda p, row: spatial_temporal(p, row, None, labels, text, cell),
        "cosine": lambda p, row: pixel_cosine(p, row, of(pixels)),
    }[loss]
    once, each = found(few, row), found(few[row], torch.arange(40))
    torch.testing.assert_close(once, each)
    torch.testing.assert_close(*(torch.autograd.grad(value, few)[0] for value in (once, each)))


def test_pixel_cosine_by_hand():
    value = pixel_cosine(rows((2, 0), (1, 1)), torch.tensor([0, 1, 0]), of(rows((0, 1), (0, 1), (1, 0))))
    assert value.item() == pytest.approx((1 + (1 - math.sqrt(0.5)) + 0) / 3)


def test_photos_together_say_the_mean_of_their_unit_features():
    means = over_photos(of(rows((4, 0), (0, 1), (0, 7))), torch.tensor([1, 0, 1]), 2)
    torch.testing.assert_close(means, rows((0, 1), (0.5, 0.5)))


def test_distillation_by_hand_leaves_unseen_points_alone():
    points = rows((1, 0), (1, 0), (9, 9), (1, 0)).requires_grad_()
    row = torch.tensor([1, 3, 3])  # the last two points share their features
    point = torch.tensor([1, 0, 1, 2])
    value = distillation(points, row, of(rows((4, 0), (0, 1), (0, 7), (2, 2))), point)
    assert value.item() == pytest.approx((1 + 2 * (1 - math.sqrt(0.5))) / 3)
    value.backward()
    assert points.grad is not None
    assert points.grad.abs().sum(dim=1).bool().tolist() == [False, True, False, True]
