"""The scene's cube holds all of space, and cameras tell where its middle is."""

import math

import numpy as np
import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.field_components.spatial_distortions import SceneContraction

from nerf_methods.space import SceneSpace, focus_of
from ovs3d.geometry import look_at, opengl_from_opencv

CENTER = torch.tensor([0.5, -1.0, 2.0])
RADIUS = 0.7


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_space() -> SceneSpace:
    return SceneSpace(CENTER, RADIUS)


def test_the_cube_moves_to_the_surfaces():
    space = make_space()
    points = CENTER + 5 + 0.1 * random(401, 3)
    depths = torch.linspace(1, 3, 401)[torch.randperm(401)]
    space.place(points, depths)
    torch.testing.assert_close(space.center, CENTER + 5, rtol=0, atol=0.05)
    assert float(space.radius) == pytest.approx(1.0)
    assert float(space.nearest) == pytest.approx(1.1, abs=0.01)


def test_one_known_depth_is_enough():
    space = make_space()
    space.place(CENTER[None], torch.tensor([4.0]))
    assert float(space.nearest) == 4.0


def test_the_inner_cube_is_only_scaled():
    inside = random(200, 3).clamp(-1, 1)
    torch.testing.assert_close(make_space()(CENTER + RADIUS * inside), inside / 2)


def test_infinity_is_the_face_of_the_cube():
    directions = random(200, 3)
    directions = directions / directions.abs().amax(1, keepdim=True)
    far = make_space()(CENTER + 1e9 * directions)
    torch.testing.assert_close(far, directions)
    assert far.abs().max() <= 1


def test_contraction_is_nerfactos_at_half_the_size():
    x = 3 * random(5, 40, 3)
    expected = SceneContraction(order=math.inf)(x) / 2
    torch.testing.assert_close(make_space()(CENTER + RADIUS * x), expected)


def test_points_keep_their_order_along_every_ray_from_the_centre():
    distances = torch.logspace(-2, 4, 300)
    for direction in random(20, 3):
        mapped = make_space()(CENTER + distances[:, None] * direction).norm(dim=1)
        assert (mapped.diff() > 0).all()


def test_positions_come_back_from_the_cube():
    positions = CENTER + RADIUS * torch.cat([random(200, 3), 30 * random(200, 3)])
    space = make_space()
    torch.testing.assert_close(space.inverse(space(positions)), positions, rtol=1e-3, atol=1e-3)
    assert space.inverse(torch.ones(3)).isfinite().all()


def test_shrinkage_is_the_derivative_along_the_way_out():
    space, step = make_space().double(), 1e-4
    out = torch.cat([0.7 * random(50, 3).clamp(-1, 1), 6 * random(200, 3)]).double()
    out = out[(out.abs().amax(1) - 1).abs() > 2 * step]
    face = out / out.abs().amax(1, keepdim=True)  # a step that adds to the L-infinity norm
    before, after = (space(CENTER + RADIUS * (out + sign * step * face)) for sign in (-0.5, 0.5))
    slope = (after - before).abs().amax(1) / (0.5 * step)
    torch.testing.assert_close(space.shrinkage(space(CENTER + RADIUS * out)), slope, rtol=1e-3, atol=1e-6)


def anywhere() -> RayBundle:
    return RayBundle(origins=torch.zeros(1, 3), directions=torch.eye(3)[:1], pixel_area=torch.ones(1, 1))


def test_spacing_and_its_inverse_undo_each_other():
    spacing, distance = make_space().spacing(anywhere())
    distances = torch.logspace(-2, 3, 200)
    spaced = spacing(distances)
    assert (spaced.diff() > 0).all()
    assert spaced[0] > 0
    assert spaced[-1] < 1
    torch.testing.assert_close(distance(spaced), distances, rtol=1e-3, atol=1e-5)


def test_half_of_the_samples_lie_before_the_focus():
    spacing, _ = make_space().spacing(anywhere())
    torch.testing.assert_close(spacing(torch.tensor(2 * RADIUS)), torch.tensor(0.5))


def test_gradient_is_finite_at_the_centre_and_on_the_border():
    points = torch.stack([CENTER, CENTER + RADIUS, CENTER + RADIUS * torch.tensor([1.0, 0, 0])])
    points.requires_grad_(True)
    make_space()(points).sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()
    assert (points.grad != 0).any(1).all()


def test_a_checkpoint_carries_the_centre_and_the_radius():
    other = SceneSpace(torch.zeros(3), 1.0)
    other.load_state_dict(make_space().state_dict())
    points = random(10, 3)
    torch.testing.assert_close(other(points), make_space()(points))


def poses_towards(positions: np.ndarray, targets: np.ndarray) -> torch.Tensor:
    pairs = zip(positions, np.broadcast_to(targets, positions.shape), strict=True)
    poses = [opengl_from_opencv(look_at(position, target)) for position, target in pairs]
    return torch.from_numpy(np.stack(poses)[:, :3]).float()


def ring(radius: float, height: float) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(12, height)], axis=1)


def test_a_ring_of_cameras_looks_at_its_target():
    target = np.array([1.0, 2.0, 0.5])
    center, radius = focus_of(poses_towards(target + ring(2.0, 1.5), target))
    assert np.linalg.norm(center.numpy() - target) < 0.01 * 2.5
    assert radius == pytest.approx(0.5 * math.hypot(2.0, 1.5), rel=0.01)


def test_the_focus_moves_with_the_world():
    target = np.array([1.0, 2.0, 0.5])
    poses = poses_towards(target + ring(2.0, 1.5)[:7], target + 0.1 * random(7, 3).numpy())
    center, radius = focus_of(poses)
    turn = torch.linalg.qr(random(3, 3))[0]
    moved = torch.cat([turn @ poses[:, :, :3], 5 * turn @ poses[:, :, 3:] + CENTER[:, None]], dim=2)
    moved_center, moved_radius = focus_of(moved)
    torch.testing.assert_close(moved_center, 5 * turn @ center + CENTER, rtol=1e-3, atol=1e-3)
    assert moved_radius == pytest.approx(5 * radius, rel=1e-3)


def test_parallel_cameras_look_at_a_point_one_baseline_ahead():
    across = np.array([[x, 0, z] for x in (-2.0, 0, 2.0) for z in (-1.0, 1.0)])
    center, radius = focus_of(poses_towards(across, across + np.array([0, 1.0, 0])))
    torch.testing.assert_close(center, torch.tensor([0.0, math.sqrt(5), 0.0]), rtol=1e-3, atol=1e-3)
    assert radius == pytest.approx(math.sqrt(5) / 2, rel=1e-3)


def test_a_single_camera_looks_one_unit_ahead():
    center, radius = focus_of(poses_towards(np.array([[1.0, 2.0, 0.5]]), np.array([1.0, 7.0, 0.5])))
    torch.testing.assert_close(center, torch.tensor([1.0, 3.0, 0.5]), rtol=1e-3, atol=1e-3)
    assert radius == pytest.approx(0.5, rel=1e-3)


def test_cameras_that_look_outwards_stand_in_the_middle_of_what_they_see():
    positions = np.array([1.0, 1.0, 0.0]) + ring(0.5, 0.0)
    center, radius = focus_of(poses_towards(positions, 2 * positions - np.array([1.0, 1.0, 0.0])))
    torch.testing.assert_close(center, torch.tensor([1.0, 1.0, 0.0]), rtol=1e-3, atol=1e-3)
    assert radius == pytest.approx(0.5, rel=1e-3)
