"""Compositing is a weighted sum, and leaving light samples out keeps a ray as opaque as it was."""

import torch

from nerf_methods.rendering import composite, composite_all, heaviest, visible


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_compositing_is_a_weighted_sum_over_each_rays_points():
    values, weights = random(7, 2) - 0.5, random(7, seed=1)
    ray = torch.tensor([3, 0, 0, 1, 3, 0, 3])
    found = composite(values, weights, ray, 4)
    for r in range(4):
        for channel in range(2):
            expected = sum(
                (weights[i] * values[i, channel] for i in range(7) if ray[i] == r), torch.tensor(0.0)
            )
            torch.testing.assert_close(found[r, channel], expected)
    assert found[2].tolist() == [0, 0]


def test_compositing_rays_of_as_many_points_is_the_same():
    values, weights = random(5, 3, 2) - 0.5, random(5, 3, seed=1)
    ray = torch.arange(5).repeat_interleave(3)
    expected = composite(values.flatten(0, 1), weights.flatten(), ray, 5)
    torch.testing.assert_close(composite_all(values, weights), expected)


def test_gradients_of_compositing_reach_values_and_weights():
    values, weights = random(4, 2).requires_grad_(), random(4, seed=1).requires_grad_()
    composite(values, weights, torch.tensor([1, 0, 1, 1]), 2).sum().backward()
    torch.testing.assert_close(values.grad, weights.detach()[:, None].expand(4, 2))
    torch.testing.assert_close(weights.grad, values.detach().sum(1))


def test_visible_are_samples_above_the_threshold_and_the_heaviest_of_each_ray():
    weights = torch.tensor([[0.005, 0.3, 0.02, 0.01], [0.001, 0.0, 0.003, 0.002]])
    expected = [[False, True, True, False], [False, False, True, False]]
    assert visible(weights, 0.01).tolist() == expected


def test_the_heaviest_samples_are_chosen_and_keep_the_opacity():
    weights = random(20, 10) ** 4
    index, kept = heaviest(weights, 3)
    for ray in range(20):
        expected = sorted(range(10), key=lambda i: -weights[ray, i])[:3]
        assert sorted(index[ray].tolist()) == sorted(expected)
        ratio = kept[ray] / weights[ray, index[ray]]
        torch.testing.assert_close(ratio, ratio[:1].expand(3))
    torch.testing.assert_close(kept.sum(1), weights.sum(1))


def test_as_many_as_there_are_leave_all_weights_as_they_are():
    weights = random(4, 6)
    for count in (6, 9):
        index, kept = heaviest(weights, count)
        torch.testing.assert_close(torch.zeros(4, 6).scatter(1, index, kept), weights)


def test_an_empty_ray_stays_empty():
    _, kept = heaviest(torch.zeros(2, 6), 3)
    assert torch.equal(kept, torch.zeros(2, 3))
