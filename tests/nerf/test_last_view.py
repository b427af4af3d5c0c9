"""A picture is kept for the camera and the weights that made it, and for no other."""

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import nn

from nerf_methods.last_view import LastView


def make_camera(height: int = 20, width: int = 30, shift: float = 0.0, fov: float = 1.0) -> Cameras:
    pose = torch.eye(4)[None, :3].clone()
    pose[0, 0, 3] = shift
    focal = fov * height
    return Cameras(pose, focal, focal, width / 2, height / 2, width, height)


def make_kept() -> tuple[LastView, nn.Module, torch.Tensor]:
    module, last = nn.Linear(2, 2), LastView()
    picture = torch.arange(20 * 30.0).view(20, 30, 1)
    last.keep(module, make_camera(), {"rgb": picture})
    return last, module, picture


def test_the_same_camera_finds_its_picture():
    last, module, picture = make_kept()
    found = last.find(module, make_camera())
    assert found is not None
    assert torch.equal(found["rgb"], picture)


def test_a_smaller_picture_is_read_from_the_larger():
    last, module, picture = make_kept()
    found = last.find(module, make_camera(10, 15))
    assert found is not None
    assert torch.equal(found["rgb"], picture[1::2, 1::2])


@pytest.mark.parametrize(
    "camera",
    [
        make_camera(shift=0.01),
        make_camera(fov=1.1),
        make_camera(40, 60),
        make_camera(20, 25),
    ],
    ids=["moved", "zoomed", "larger", "narrower"],
)
def test_another_camera_finds_nothing(camera):
    last, module, _ = make_kept()
    assert last.find(module, camera) is None


def test_rounding_to_whole_pixels_is_no_other_camera():
    last, module, _ = make_kept()
    assert last.find(module, make_camera(13, 19)) is not None  # 19.5 columns would be as wide


def test_changed_weights_find_nothing():
    last, module, _ = make_kept()
    with torch.no_grad():
        module.bias.add_(0.0)
    assert last.find(module, make_camera()) is None
    assert LastView().find(module, make_camera()) is None
