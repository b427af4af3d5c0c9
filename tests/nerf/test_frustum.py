"""The cube of a forward-facing scene holds what its cameras see, and lines stay lines in it."""

import math

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle

from nerf_methods.frustum import LEAST_NEAR, MARGIN, NEAR, Frustum, FrustumSpace

ORIGINS = torch.tensor([[0.3, -0.1, 0.2], [-0.2, 0.1, -0.1], [0.0, 0.2, 0.0]])
DIRECTIONS = torch.tensor([[0.5, 0.3, -1.0], [-0.4, 0.1, -0.9], [0.1, -0.6, -1.1]])
BOUNDS = (4 / 3, 8.0)


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def make_frustum() -> Frustum:
    return Frustum(ORIGINS, torch.nn.functional.normalize(DIRECTIONS, dim=1), BOUNDS)


def make_space() -> FrustumSpace:
    return FrustumSpace(make_frustum())


def points_inside(count: int = 300, seed: int = 0) -> torch.Tensor:
    """Points of the world whose images lie well within the cube; depths from 1.05 to about 100 near planes."""
    space, x = make_space(), 1.9 * random(count, 3, seed=seed) - 0.95
    depth = space.near * 2 / (1 - x[:, 2:].clamp(min=-0.9, max=0.98))
    return torch.cat([x[:, :2] * space.extent * depth, -depth], dim=1)


def looking(*directions: tuple[float, float, float], origins: torch.Tensor | None = None) -> RayBundle:
    ahead = torch.nn.functional.normalize(torch.tensor(directions), dim=1)
    origins = torch.zeros_like(ahead) if origins is None else origins
    return RayBundle(origins=origins, directions=ahead, pixel_area=torch.ones(len(ahead), 1))


def test_positions_come_back_from_the_cube():
    positions, space = points_inside(), make_space()
    torch.testing.assert_close(space.inverse(space(positions)), positions, rtol=1e-4, atol=1e-4)
    assert space.inverse(torch.ones(3)).isfinite().all()


def test_without_surfaces_the_near_plane_is_where_llff_puts_it():
    assert float(make_space().near) == pytest.approx(NEAR * BOUNDS[0])
    assert float(make_space().nearest) == pytest.approx(BOUNDS[0])
    assert 2 * float(make_space().radius) == pytest.approx(2 / (1 / BOUNDS[0] + 1 / BOUNDS[1]))


def test_the_near_plane_and_infinity_are_the_faces_of_the_cube():
    space = make_space()
    across = 2 * random(50, 2) - 1
    for depth, face in ((space.near, -1.0), (torch.tensor(1e9), 1.0)):
        x = space(torch.cat([across * space.extent * depth, -depth.expand(50, 1)], dim=1))
        torch.testing.assert_close(x[:, 2], torch.full((50,), face))
        torch.testing.assert_close(x[:, :2], across)


def test_it_is_nerfs_ndc_but_for_signs():
    """Mildenhall et al. 2020, eq. 25: (-f/(w/2) x/z, -f/(h/2) y/z, 1 + 2n/z), here with tangents for (w/2)/f."""
    space, p = make_space(), points_inside()
    z = p[:, 2]
    expected = torch.stack(
        [-p[:, 0] / z / space.extent[0], -p[:, 1] / z / space.extent[1], 1 + 2 * space.near / z], dim=1
    )
    torch.testing.assert_close(space(p), expected)


def test_lines_stay_lines():
    starts, ends = points_inside(seed=1), points_inside(seed=2)
    middle = starts + random(300, 1, seed=3) * (ends - starts)
    a, b, c = (make_space()(points) for points in (starts, middle, ends))
    torch.testing.assert_close(torch.linalg.cross(b - a, c - a), torch.zeros(300, 3), rtol=0, atol=2e-6)
    assert ((b - a) * (c - b)).sum(1).min() >= 0


def test_what_is_outside_goes_to_the_nearest_face():
    space = make_space()
    near, (wide, high) = float(space.near), space.extent.tolist()
    points = torch.tensor(
        [[0, 0, -0.5 * near], [0, 0, 3.0], [9 * wide, 0, -2.0], [0.2 * wide, -9 * high, -2.0]]
    )
    torch.testing.assert_close(space(points)[:2], torch.tensor([[0, 0, -1.0]] * 2))
    torch.testing.assert_close(space(points)[2:, :2], torch.tensor([[1.0, 0], [0.1, -1.0]]))


def test_what_the_cameras_see_between_two_depths_is_inside():
    first, last = 0.7, 5.0
    seen = torch.cat(
        [
            ORIGINS + ((depth + ORIGINS[:, 2:]) / -DIRECTIONS[:, 2:]) * DIRECTIONS
            for depth in torch.linspace(first, last, 100)
        ]
    )
    widest = (seen[:, :2] / seen[:, 2:]).abs().amax(0)
    torch.testing.assert_close(make_frustum().tangents(first, last), widest)


def test_a_camera_before_the_near_plane_sees_from_where_it_stands():
    frustum = Frustum(torch.tensor([[0.3, 0.1, -2.0]]), torch.tensor([[0.1, 0.0, -1.0]]), BOUNDS)
    torch.testing.assert_close(frustum.tangents(1.0, 3.0), torch.tensor([0.15, 0.05]))


def test_the_cube_is_fitted_to_the_surfaces():
    space = make_space()
    depths = torch.linspace(2, 6, 401)[torch.randperm(401)]
    points = torch.stack([torch.zeros(401), torch.zeros(401), -0.5 - depths], dim=1)
    space.place(points, depths)
    assert float(space.radius) == pytest.approx(2.0)
    assert float(space.nearest) == pytest.approx(2.2, abs=0.02)
    assert float(space.near) == pytest.approx(NEAR * 2.7, abs=0.02)
    expected = MARGIN * make_frustum().tangents(NEAR * 2.7, 6.3)
    torch.testing.assert_close(space.extent, expected, rtol=0.01, atol=0)


def test_one_known_depth_is_enough():
    space = make_space()
    space.place(torch.tensor([[0.1, 0.2, -3.0]]), torch.tensor([4.0]))
    assert float(space.nearest) == 4.0
    assert float(space.near) == NEAR * 3


def test_things_beside_the_mean_camera_keep_the_near_plane_before_it():
    space = make_space()
    space.place(torch.tensor([[0.1, 0.2, 0.5]]), torch.tensor([2.0]))
    assert float(space.near) == pytest.approx(LEAST_NEAR * 2)
    assert space.extent.isfinite().all()


def test_shrinkage_is_the_derivative_along_depth():
    space, step = make_space().double(), 1e-4
    positions = points_inside().double()
    ahead = torch.tensor([0, 0, -step]).double()
    slope = (space(positions + 0.5 * ahead) - space(positions - 0.5 * ahead))[:, 2] / step
    expected = 2 * float(space.radius) * slope  # as in `SceneSpace`, where 2 radii are half the cube
    torch.testing.assert_close(space.shrinkage(space(positions)), expected, rtol=1e-6, atol=1e-9)


def test_nothing_is_before_the_near_plane_and_at_infinity():
    space = make_space()
    before = torch.stack(
        [torch.zeros(50), torch.zeros(50), torch.linspace(5, -0.99 * float(space.near), 50)], 1
    )
    assert (space.shrinkage(space(before)) == 0).all()
    assert float(space.shrinkage(torch.tensor([0.3, -0.2, 1.0]))) == 0
    assert float(space.shrinkage(space(torch.tensor([0, 0, -1.01 * float(space.near)])))) > 0


def test_gradient_is_finite_at_every_edge():
    space = make_space()
    near, (wide, high) = float(space.near), space.extent.tolist()
    edges = [
        [0, 0, 0],
        [0, 0, -near],
        [0.3, 0.2, near],
        [wide * near, -high * near, -near],
        [2 * wide, 0, -2],
        [1.0, 1.0, -1e9],
    ]
    points = torch.tensor(edges, requires_grad=True)
    x = space(points)
    (x.sum() + space.shrinkage(x).sum()).backward()
    assert x.isfinite().all()
    assert points.grad is not None
    assert points.grad.isfinite().all()
    corners = torch.tensor(
        [[s, t, u] for s in (-1.0, 1) for t in (-1.0, 1) for u in (-1.0, 1)], requires_grad=True
    )
    (space.inverse(corners).sum() + space.shrinkage(corners).sum()).backward()
    assert corners.grad is not None
    assert corners.grad.isfinite().all()


def test_spacing_and_its_inverse_undo_each_other():
    rays = looking((0, 0, -1), (0.4, -0.2, -1), (0.1, 0.5, -1), origins=ORIGINS)
    space = make_space()
    spacing, distance = space.spacing(rays)
    t = torch.logspace(math.log10(3 * float(space.near)), 3, 200)[None]
    spaced = spacing(t)
    assert (spaced.diff() > 0).all()
    assert spaced.min() > -1
    assert spaced.max() < 1
    torch.testing.assert_close(distance(spaced), t.expand(3, -1), rtol=1e-3, atol=1e-5)


def test_even_steps_are_even_in_the_cube_whatever_the_ray():
    rays, space = looking((0, 0, -1), (0.4, -0.2, -1), (0.1, 0.5, -1), origins=ORIGINS), make_space()
    spacing, distance = space.spacing(rays)
    t = distance(torch.linspace(-1, 0.95, 40)[None])
    x = space(rays.origins[:, None] + t[..., None] * rays.directions[:, None])
    torch.testing.assert_close(x[..., 2], torch.linspace(-1, 0.95, 40).expand(3, -1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(spacing(t), x[..., 2], rtol=1e-4, atol=1e-4)


def test_rays_are_sampled_from_the_near_plane_on():
    rays, space = looking((0, 0, -1), (0.4, -0.2, -1), (0.1, 0.5, -1), origins=ORIGINS), make_space()
    spacing, distance = space.spacing(rays)
    starts = distance(spacing(torch.full((3, 1), 0.01)))
    depth = -(rays.origins + starts * rays.directions)[:, 2]
    torch.testing.assert_close(depth, space.near.expand(3))


@pytest.mark.parametrize("direction", [(1.0, 0, 0), (0.2, 0.1, 1.0)])
@pytest.mark.parametrize("place", [3.0, 0.0, -5.0])
def test_rays_that_do_not_look_ahead_are_sampled_in_order(direction, place):
    rays = looking(direction, origins=torch.tensor([[0.2, 0, place]]))
    spacing, distance = make_space().spacing(rays)
    first, last = spacing(torch.tensor([[0.5]])), spacing(torch.tensor([[1000.0]]))
    t = distance(first + torch.linspace(0, 1, 65) * (last - first))
    assert t.isfinite().all()
    assert (t.diff() >= 0).all()


def test_a_checkpoint_carries_the_space_whatever_surfaces_it_was_fitted_to():
    space = make_space()
    space.place(torch.tensor([[0.1, 0.2, -3.0], [0.1, 0.2, -7.0]]), torch.tensor([3.0, 7.0]))
    other = FrustumSpace(Frustum(-ORIGINS, DIRECTIONS, (0.1, 0.3)))
    other.load_state_dict(space.state_dict())
    positions = points_inside()
    torch.testing.assert_close(other(positions), space(positions))
    assert sorted(space.state_dict()) == ["extent", "near", "nearest", "radius"]
