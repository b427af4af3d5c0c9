"""Rays learn to end where their depth was measured, whatever the unit, and holes in it teach nothing."""

import pytest
import torch
from nerfstudio.cameras.rays import Frustums, RaySamples

from nerf_methods.geometry import depth_loss

NOISE = 0.02


def samples(edges: torch.Tensor) -> RaySamples:
    """Of rays with the same edges [s + 1] each."""
    rays = 3
    ends = edges.expand(rays, -1)[..., None]
    shape = (rays, len(edges) - 1, 3)
    return RaySamples(
        Frustums(
            origins=torch.zeros(shape),
            directions=torch.ones(shape),
            starts=ends[:, :-1],
            ends=ends[:, 1:],
            pixel_area=torch.ones(*shape[:2], 1),
        )
    )


EDGES = torch.tensor([0.5, 1.0, 1.5, 1.98, 2.06, 2.5, 4.0])


def test_the_loss_is_the_cross_entropy_with_a_normal_distribution():
    torch.manual_seed(0)
    weights = torch.rand(3, 6, 1).softmax(1)
    depth = torch.tensor([[2.0], [1.51], [0.9]])
    expected = 0.0
    for ray in range(3):
        z = depth[ray].item()
        normal = torch.distributions.Normal(z, NOISE * z)
        for s in range(6):
            mass = normal.cdf(EDGES[s + 1]) - normal.cdf(EDGES[s])
            expected -= mass * weights[ray, s].log() / 3
    assert depth_loss(weights, samples(EDGES), depth, NOISE).item() == pytest.approx(
        float(expected), rel=1e-3
    )


def test_another_unit_of_length_changes_nothing():
    weights, depth = torch.full((3, 6, 1), 1 / 6), torch.full((3, 1), 1.9)
    metres = depth_loss(weights, samples(EDGES), depth, NOISE)
    feet = depth_loss(weights, samples(3.28 * EDGES), 3.28 * depth, NOISE)
    torch.testing.assert_close(metres, feet)


def test_weight_is_drawn_to_the_depth_and_rays_without_one_are_left_alone():
    weights = torch.zeros(3, 6, 1, requires_grad=True)
    depth = torch.tensor([[2.02], [0.0], [1.2]])
    depth_loss(weights, samples(EDGES), depth, NOISE).backward()
    gradient = weights.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient[0, :, 0].argmin() == 3
    assert gradient[2, :, 0].argmin() == 1
    assert (gradient[1] == 0).all()


def test_no_depth_at_all_is_no_loss():
    weights = torch.rand(3, 6, 1)
    assert depth_loss(weights, samples(EDGES), torch.zeros(3, 1), NOISE) == 0
