"""Photos agree on surfaces and disagree beside them; projection undoes the rays of the cameras."""

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType

from nerf_methods.consistency import photo_consistency, project
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


def agreement_of(points: torch.Tensor, cameras: Cameras, hidden: float | None = None) -> torch.Tensor:
    return photo_consistency(points, cameras, photos_of(cameras, hidden))


def plane(z: float, side: float = 0.8) -> torch.Tensor:
    axis = torch.linspace(-side, side, 15)
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y, torch.full_like(x, z)], dim=-1).view(-1, 3)


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


@pytest.mark.parametrize("distortion", [None, DISTORTION])
def test_photos_agree_on_the_surface_and_not_beside_it(distortion):
    heights = torch.tensor([-0.6, -0.3, 0.0, 0.3, 0.6])
    points = torch.cat([plane(float(z)) for z in heights])
    agreement = agreement_of(points, ring_of_cameras(distortion=distortion)).view(len(heights), -1)
    assert (agreement.argmax(0) == 2).float().mean() > 0.95
    assert agreement[2].median() > 0.9
    assert agreement[[0, 1, 3, 4]].mean() < 0.3


def test_what_a_mask_hides_is_not_compared():
    points = torch.cat([plane(0.0), plane(0.6)])
    agreement = agreement_of(points, ring_of_cameras(), hidden=0.2)[:225]
    x = plane(0.0)[:, 0]
    assert agreement[x < 0].median() > 0.8
    assert (agreement[x > 0.5] == 0).all()


def test_points_in_too_few_photos_are_not_judged():
    nowhere = torch.tensor([[0.0, 0, 50], [30, 0, 0]])
    agreement = agreement_of(torch.cat([plane(0.0), plane(0.5), nowhere]), ring_of_cameras(3))
    assert agreement[:225].median() > agreement[225:450].median()
    assert (agreement[450:] == 0).all()
    assert (agreement_of(nowhere, ring_of_cameras(3)) == 0).all()


def test_one_photo_agrees_with_itself_about_nothing():
    assert (agreement_of(plane(0.0), ring_of_cameras(1)) == 0).all()


def test_other_cameras_are_refused():
    cameras = ring_of_cameras()
    cameras.camera_type[:] = CameraType.FISHEYE.value
    with pytest.raises(ValueError, match="perspective"):
        project(plane(0.0), cameras, 0)
