"""Rays are sampled from near to far, and a surface is found where it is."""

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn

from nerf_methods.frustum import Frustum, FrustumSpace
from nerf_methods.sampling import ProposalSampler
from nerf_methods.space import SceneSpace

RADIUS, NEAR, FAR = 1.5, 0.1, 100.0


class Slab(nn.Module):
    """Opaque where ``low`` <= first axis of the cube <= ``high``, empty elsewhere."""

    def __init__(self, low: float, high: float, density: float = 1e4):
        super().__init__()
        self.low, self.high, self.density = low, high, density

    def forward(self, x: Tensor) -> Tensor:
        return self.density * ((x[:, 0] >= self.low) & (x[:, 0] <= self.high)).float()


def make_sampler(field: nn.Module, counts: tuple[int, int] = (64, 32)) -> ProposalSampler:
    return ProposalSampler(SceneSpace(torch.zeros(3), RADIUS), field, field, counts).eval()


def rays_along_x(count: int = 5) -> RayBundle:
    """Rays from x = -3 towards +x, side by side in y."""
    origins = torch.stack([torch.full((count,), -3.0), torch.linspace(-1, 1, count), torch.zeros(count)], 1)
    return RayBundle(
        origins=origins,
        directions=torch.tensor([[1.0, 0, 0]]).expand(count, 3),
        pixel_area=torch.ones(count, 1),
        nears=torch.full((count, 1), NEAR),
        fars=torch.full((count, 1), FAR),
    )


def test_samples_follow_each_other_from_near_to_far():
    sampled = make_sampler(Slab(-0.1, 0.1))(rays_along_x())
    for samples, count in ((sampled.proposal, 64), (sampled.samples, 32)):
        starts, ends = samples.frustums.starts[..., 0], samples.frustums.ends[..., 0]
        assert starts.shape == (5, count)
        assert (starts < ends).all()
        torch.testing.assert_close(starts[:, 1:], ends[:, :-1])
        assert starts.min() >= NEAR * 0.999
        assert ends.max() <= FAR * 1.001


@pytest.mark.parametrize("density", [1e-3, 1.0, 1e4])
def test_weights_never_sum_to_more_than_one(density):
    sampled = make_sampler(Slab(-0.3, 0.3, density))(rays_along_x())
    for weights in (sampled.proposal_weights, sampled.weights):
        assert weights.min() >= 0
        assert weights.sum(1).min() > 0
        assert weights.sum(1).max() <= 1 + 1e-5


@pytest.mark.parametrize("coarse", [64, 256])
@pytest.mark.parametrize(("face", "depth"), [(-0.25, 2.25), (0.0, 3.0), (0.3, 3.9)])
def test_a_thin_opaque_slab_is_found_within_a_bin_of_the_proposal(face, depth, coarse):
    sampled = make_sampler(Slab(face, face + 0.05), counts=(coarse, 32))(rays_along_x())
    starts, ends = sampled.samples.frustums.starts, sampled.samples.frustums.ends
    found = (sampled.weights * (starts + ends) / 2).sum(1) / sampled.weights.sum(1)
    bins = sampled.proposal.frustums.ends - sampled.proposal.frustums.starts
    hit = bins.gather(1, sampled.proposal_weights.argmax(1, keepdim=True))[:, 0]
    assert (sampled.weights.sum(1) > 0.99).all()
    assert ((found - depth).abs() <= hit).all()
    assert (hit < 12 / coarse).all()


def test_density_is_per_unit_of_the_world_in_the_inner_cube():
    rays = rays_along_x()
    rays.origins[:, 0], rays.fars[:] = -RADIUS - NEAR, 2 * RADIUS + NEAR
    fog = Slab(-1, 1, density=0.05 * RADIUS)  # 0.05 per world unit
    sampled = make_sampler(fog, counts=(256, 128))(rays)
    length = sampled.samples.frustums.ends[:, -1] - sampled.samples.frustums.starts[:, 0]
    torch.testing.assert_close(sampled.weights.sum(1), 1 - torch.exp(-0.05 * length), rtol=1e-3, atol=1e-4)


def test_beyond_the_inner_cube_density_is_per_length_in_the_cube():
    rays = rays_along_x()
    rays.origins[:, 0], rays.nears[:] = 0.0, RADIUS
    sampled = make_sampler(Slab(-1, 1, density=0.8), counts=(1024, 512))(rays)
    frustums = sampled.samples.frustums
    first, last = frustums.starts[:, 0] / RADIUS, frustums.ends[:, -1] / RADIUS
    optical_depth = 0.8 * (
        1 / first - 1 / last
    )  # the integral of 0.8 / x^2: at most 0.8, however far it goes
    torch.testing.assert_close(sampled.weights.sum(1), 1 - torch.exp(-optical_depth), rtol=0.01, atol=1e-3)


def test_gradients_reach_both_densities():
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.tensor(0.3))

        def forward(self, x: Tensor) -> Tensor:
            return self.value.expand(len(x))

    proposal, density = Constant(), Constant()
    sampler = ProposalSampler(SceneSpace(torch.zeros(3), RADIUS), proposal, density, (16, 8))
    sampled = sampler(rays_along_x())
    (sampled.proposal_weights[:, 0].sum() + sampled.weights[:, 0].sum()).backward()
    for field in (proposal, density):
        assert field.value.grad is not None
        assert field.value.grad.abs() > 0


def test_gradients_fade_towards_the_camera_and_weights_do_not():
    class PerSample(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.rand(5 * 32, generator=torch.Generator().manual_seed(0)))

        def forward(self, x: Tensor) -> Tensor:
            return self.value

    field, wanted = PerSample(), torch.rand(5, 32, 1, generator=torch.Generator().manual_seed(1))
    fog = Slab(-1, 1, density=0.3)
    sampled = ProposalSampler(SceneSpace(torch.zeros(3), RADIUS), fog, field, (64, 32)).eval()(rays_along_x())
    (found,) = torch.autograd.grad((sampled.weights * wanted).sum(), field.value)

    space = SceneSpace(torch.zeros(3), RADIUS)
    scale = space.shrinkage(space(sampled.samples.frustums.get_positions()))[..., None] / RADIUS
    plain = (field.value.detach().view(5, 32, 1) * scale).requires_grad_()
    weights = sampled.samples.get_weights(plain)
    torch.testing.assert_close(sampled.weights, weights)
    (gradient,) = torch.autograd.grad((weights * wanted).sum(), plain)
    middle = (sampled.samples.frustums.starts + sampled.samples.frustums.ends) / 2
    fading = (middle / (2 * RADIUS)).square().clamp(max=1)
    assert fading.min() < 0.2
    assert fading.max() == 1
    torch.testing.assert_close(found.view(5, 32, 1), gradient * fading * scale)


@pytest.mark.parametrize("coarse", [64, 256])
@pytest.mark.parametrize(("face", "depth"), [(-0.5, 4 / 3), (0.0, 2.0), (0.6, 5.0)])
def test_a_wall_of_a_forward_facing_scene_is_found_within_a_bin_of_the_proposal(face, depth, coarse):
    class Wall(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 1e4 * ((x[:, 2] >= face) & (x[:, 2] <= face + 0.05)).float()

    rays = rays_along_x()
    rays.origins = torch.linspace(-0.3, 0.3, 5)[:, None] * torch.tensor([1.0, -0.5, 0.2])
    rays.directions = torch.nn.functional.normalize(torch.tensor([0.2, 0.1, -1.0]), dim=0).expand(5, 3)
    space = FrustumSpace(Frustum(rays.origins, rays.directions, (4 / 3, 8.0)))  # near plane at 1
    sampled = ProposalSampler(space, Wall(), Wall(), (coarse, 32)).eval()(rays)
    middle = (sampled.samples.frustums.starts + sampled.samples.frustums.ends) / 2
    found = (sampled.weights * middle).sum(1) / sampled.weights.sum(1)
    hit = (rays.origins + found * rays.directions)[:, 2]
    assert (sampled.weights.sum(1) > 0.99).all()
    bin_there = 2 / coarse * depth**2 / 2  # two faces apart, in even steps of the cube
    assert ((-hit - depth).abs() <= bin_there).all()


def test_density_of_a_forward_facing_scene_is_per_length_in_the_cube():
    rays = rays_along_x()
    rays.origins, rays.directions = torch.zeros(5, 3), torch.tensor([[0, 0, -1.0]]).expand(5, 3)
    wide = torch.nn.functional.normalize(torch.tensor([[0.5, 0.3, -1.0]]), dim=1)
    space = FrustumSpace(Frustum(torch.zeros(1, 3), wide, (4 / 3, 8.0)))
    fog = Slab(-1, 1, density=0.2)
    sampled = ProposalSampler(space, fog, fog, (1024, 512)).eval()(rays)
    length = (
        space(torch.tensor([0, 0, -FAR]))[2] + 1
    )  # nearly 2, of which the inner cube of `SceneSpace` is half
    expected = 1 - torch.exp(-2 * 0.2 * length)
    torch.testing.assert_close(sampled.weights.sum(1), expected.expand(5, 1), rtol=0.01, atol=0)
