"""The sweep finds a painted plane, and the evidence of its depth maps lies there and nowhere else."""

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType

from nerf_methods.cameras import cell_centers, project
from nerf_methods.sweep import DepthMap, surface_evidence, sweep
from ovs3d.geometry import look_at, opengl_from_opencv

WIDTH, HEIGHT = 96, 64
DISTORTION = torch.tensor([0.08, -0.03, 0.01, 0.0, 0.004, -0.006])
BARREL = torch.tensor([-0.3, 0, 0, 0, 0, 0])


def ring_of_cameras(count: int = 12, distortion: torch.Tensor | None = None) -> Cameras:
    """Around the z axis, 3 above the plane z = 0, looking at the origin; with an off-centre principal point."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    origins = np.stack([2 * np.cos(angles), 2 * np.sin(angles), np.full(count, 3.0)], axis=1)
    poses = np.stack([opengl_from_opencv(look_at(origin, np.zeros(3)))[:3] for origin in origins])
    return Cameras(
        camera_to_worlds=torch.from_numpy(poses).float(),
        fx=80.0,
        fy=76.0,
        cx=50.0,
        cy=30.0,
        width=WIDTH,
        height=HEIGHT,
        distortion_params=None if distortion is None else distortion.expand(count, 6),
    )


def paint(x: torch.Tensor) -> torch.Tensor:
    """A smooth colour for each point of the plane z = 0."""
    return (
        torch.stack(
            [torch.sin(5 * x[..., 0]), torch.sin(4 * x[..., 1] + 1), torch.cos(3 * x[..., :2].sum(-1))], -1
        )
        / 2
        + 0.5
    )


def photos_of(cameras: Cameras, hidden: float | None = None) -> list[dict]:
    """What cameras see of the painted plane z = 0; where x > hidden each has another colour, behind its mask."""
    photos = []
    for view in range(len(cameras)):
        rays = cameras.generate_rays(camera_indices=view, keep_shape=True)
        ground = rays.origins - rays.origins[..., 2:] / rays.directions[..., 2:] * rays.directions
        photo = {"image": paint(ground)}
        if hidden is not None:
            photo["mask"] = ground[..., :1] <= hidden
            other = torch.rand(3, generator=torch.Generator().manual_seed(view))
            photo["image"] = torch.where(photo["mask"], photo["image"], other)
        photos.append(photo)
    return photos


def plane(z: float, side: float = 0.8) -> torch.Tensor:
    axis = torch.linspace(-side, side, 15)
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y, torch.full_like(x, z)], dim=-1).view(-1, 3)


def points_of(maps: list[DepthMap]) -> torch.Tensor:
    points = torch.cat([one.points.flatten(0, 1) for one in maps])
    return points[points.isfinite().all(1)]


@pytest.mark.parametrize("distortion", [None, DISTORTION])
def test_projection_undoes_the_rays_of_a_camera(distortion):
    cameras = ring_of_cameras(distortion=distortion)
    rays = cameras.generate_rays(camera_indices=5, keep_shape=True)
    points = (rays.origins + 2.5 * rays.directions)[4:-4, 4:-4]
    pixels, seen = project(points.reshape(-1, 3), cameras, 5)
    x, y = torch.meshgrid(torch.arange(WIDTH) + 0.5, torch.arange(HEIGHT) + 0.5, indexing="xy")
    expected = torch.stack([2 * x / WIDTH - 1, 2 * y / HEIGHT - 1], dim=-1)[4:-4, 4:-4]
    assert seen.all()
    torch.testing.assert_close(pixels, expected.reshape(-1, 2), rtol=0, atol=1e-3)


@pytest.mark.parametrize("distortion", [None, DISTORTION, BARREL])
def test_what_is_behind_or_beside_a_camera_is_not_in_its_photo(distortion):
    cameras = ring_of_cameras(distortion=distortion)
    pose = cameras.camera_to_worlds[0]
    behind = pose[:, 3] + pose[:, 2]
    beside = pose[:, 3] - pose[:, 2] + torch.linspace(1.5, 50, 40)[:, None] * pose[:, 0]
    above = pose[:, 3] - pose[:, 2] + torch.linspace(1.5, 50, 40)[:, None] * pose[:, 1]
    _, seen = project(torch.cat([behind[None], beside, above]), cameras, 0)
    assert not seen.any()


def test_rays_of_cells_go_through_their_centres():
    cameras = ring_of_cameras(distortion=DISTORTION)
    coords = cell_centers(4, 6, (HEIGHT / 4, WIDTH / 6))
    rays = cameras.generate_rays(camera_indices=torch.full((24, 1), 3), coords=coords)
    pixels, _ = project(rays.origins + 2 * rays.directions, cameras, 3)
    expected = torch.tensor(
        [[-1 + (2 * j + 1) / 6, -1 + (2 * i + 1) / 4] for i in range(4) for j in range(6)]
    )
    torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-3)


def test_the_ray_of_a_cell_is_the_mean_of_those_of_its_pixels():
    cameras, cell = ring_of_cameras(), 8.0
    pixels = torch.cartesian_prod(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5)
    (one,) = cell_centers(1, 1, (cell, cell))

    def rays(coords: torch.Tensor) -> torch.Tensor:
        """As long as reaches the plane one unit ahead."""
        found = cameras.generate_rays(torch.full((len(coords), 1), 3), coords=coords)
        return found.directions * found.metadata["directions_norm"]

    inside = (pixels < cell).all(1)
    assert inside.sum() == 64
    torch.testing.assert_close(rays(one[None])[0], rays(pixels[inside]).mean(0))


@pytest.mark.parametrize("distortion", [None, DISTORTION])
def test_the_sweep_finds_the_plane(distortion):
    cameras = ring_of_cameras(distortion=distortion)
    maps = sweep(cameras, photos_of(cameras), focus=2.5)
    points = points_of(maps)
    assert len(points) > 0.5 * sum(one.depth.numel() for one in maps)
    near = points[(points[:, :2].abs() < 0.8).all(1)]
    assert near[:, 2].abs().median() < 0.05
    assert near[:, 2].abs().quantile(0.9) < 0.3


def test_depth_is_along_the_optical_axis():
    cameras = ring_of_cameras()
    one = sweep(cameras, photos_of(cameras), focus=3.0)[4]
    pose = cameras.camera_to_worlds[one.view]
    torch.testing.assert_close(-((one.points - pose[:, 3]) @ pose[:, 2]), one.depth, equal_nan=True)


def test_photos_that_disagree_with_most_are_outvoted():
    cameras = ring_of_cameras()
    photos = photos_of(cameras)
    for view in (2, 7, 9):
        photos[view]["image"] = 1 - photos[view]["image"]
    maps = sweep(cameras, photos, focus=3.0)
    points = points_of([one for one in maps if one.view not in (2, 7, 9)])
    near = points[(points[:, :2].abs() < 0.8).all(1)]
    assert near[:, 2].abs().median() < 0.1


def test_what_a_mask_hides_has_no_depth_and_is_not_compared():
    cameras = ring_of_cameras()
    maps = sweep(cameras, photos_of(cameras, hidden=0.2), focus=3.0)
    points = points_of(maps)
    at_surface = points[points[:, 2].abs() < 0.05]
    assert len(at_surface) > 200
    assert at_surface[:, 0].max() < 0.4


def test_many_photos_are_thinned_out_evenly():
    cameras = ring_of_cameras(70)
    maps = sweep(cameras, [{"image": torch.rand(HEIGHT, WIDTH, 3)}] * 70, focus=3.0)
    views = torch.tensor([one.view for one in maps])
    assert len(maps) == 32
    assert views[0] == 0
    assert views[-1] == 69
    assert views.diff().max() <= 3


@pytest.mark.parametrize("count", [1, 12])
def test_photos_from_one_place_say_nothing(count):
    cameras = ring_of_cameras(count)
    cameras.camera_to_worlds[:] = cameras.camera_to_worlds[:1].clone()
    maps = sweep(cameras, photos_of(cameras), focus=3.0)
    assert torch.cat([one.depth.flatten() for one in maps]).isnan().all()


def test_evidence_is_on_the_plane_and_not_beside_it():
    cameras = ring_of_cameras()
    maps = sweep(cameras, photos_of(cameras), focus=3.0)
    points = torch.cat([plane(z) for z in (-0.9, 0.0, 0.6, 0.9)])
    below, on, above, higher = surface_evidence(points, cameras, maps).view(4, -1)
    assert on.median() > 0.7
    assert above.mean() < 0.15
    assert higher.mean() < 0.15
    assert below.mean() < 0.3  # behind the plane no map knows anything


def test_what_fewer_than_two_maps_see_is_not_judged():
    cameras = ring_of_cameras()
    maps = sweep(cameras, photos_of(cameras), focus=3.0)
    nowhere = torch.tensor([[0.0, 0, 50], [30, 0, 0]])
    assert (surface_evidence(nowhere, cameras, maps) == 0).all()
    assert (surface_evidence(plane(0.0), cameras, maps[:1]) == 0).all()


def test_other_cameras_are_refused():
    cameras = ring_of_cameras()
    cameras.camera_type = torch.full_like(cameras.camera_type, CameraType.FISHEYE.value)
    with pytest.raises(ValueError, match="perspective"):
        project(plane(0.0), cameras, 0)
