"""What is wrong with a scene is found before anything is computed, and named."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from PIL import Image

from nerf_methods.check import check_images, check_transforms
from ovs3d.errors import InputError

POSE = np.eye(4).tolist()


def make_scene(folder: Path, **fields) -> Path:
    """Two frames, each with its image; ``fields`` replace entries of the JSON."""
    frames = []
    for name in ("a.png", "b.png"):
        Image.new("RGB", (6, 4)).save(folder / name)
        frames.append({"file_path": name, "transform_matrix": POSE})
    content = {"fl_x": 5.0, "fl_y": 5.0, "cx": 3.0, "cy": 2.0, "w": 6, "h": 4, "frames": frames}
    path = folder / "transforms.json"
    path.write_text(json.dumps(content | fields))
    return path


def frames_with(**second) -> list[dict]:
    frames = [{"file_path": name, "transform_matrix": POSE} for name in ("a.png", "b.png")]
    frames[1] |= second
    return frames


def test_a_sound_scene_passes(tmp_path):
    check_transforms(make_scene(tmp_path))


def test_a_pose_may_leave_out_its_last_row(tmp_path):
    check_transforms(make_scene(tmp_path, frames=frames_with(transform_matrix=POSE[:3])))


NAN = [[1.0, 0, 0, float("nan")], *POSE[1:]]
BENT = [[1.0, 0.5, 0, 0], *POSE[1:]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frames": []}, "no images"),
        ({"frames": None}, "no images"),
        ({"frames": ["a.png"]}, "each frame needs file_path and transform_matrix"),
        ({"frames": [{"file_path": "a.png"}]}, "each frame needs file_path and transform_matrix"),
        ({"camera_model": "BOX"}, "unknown camera_model 'BOX'; known are .*OPENCV"),
        ({"frames": frames_with(file_path="c.png")}, "1 of 2 poses have no image, the first is c.png"),
        ({"frames": frames_with(transform_matrix=NAN)}, "1 of 2 poses .* the first is of b.png"),
        ({"frames": frames_with(transform_matrix=BENT)}, "1 of 2 poses .* the first is of b.png"),
        ({"frames": frames_with(transform_matrix="up")}, "1 of 2 poses .* the first is of b.png"),
        ({"frames": frames_with(transform_matrix=POSE[:2])}, "1 of 2 poses .* the first is of b.png"),
    ],
)
def test_what_is_wrong_is_said_with_the_first_that_is(tmp_path, fields, message):
    with pytest.raises(InputError, match=message) as raised:
        check_transforms(make_scene(tmp_path, **fields))
    assert str(tmp_path / "transforms.json") in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"frames"'])
def test_a_file_that_is_no_scene_is_refused(tmp_path, text):
    (tmp_path / "transforms.json").write_text(text)
    with pytest.raises(InputError, match=r"transforms\.json: expected JSON with a list `frames`"):
        check_transforms(tmp_path / "transforms.json")


def make_cameras(count: int, height: int, width: int) -> Cameras:
    poses = torch.eye(4)[:3].repeat(count, 1, 1)
    return Cameras(poses, 5.0, 5.0, width / 2, height / 2, width, height, camera_type=CameraType.PERSPECTIVE)


def test_images_of_their_cameras_size_pass(tmp_path):
    make_scene(tmp_path)
    check_images([tmp_path / "a.png", tmp_path / "b.png"], make_cameras(2, 4, 6))


def test_an_image_of_another_size_is_refused(tmp_path):
    make_scene(tmp_path)
    with pytest.raises(InputError, match=r"a\.png: the image has 6x4 pixels, its camera 4x6"):
        check_images([tmp_path / "a.png"], make_cameras(1, 6, 4))


def test_a_truncated_photo_is_named(tmp_path):
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match=r"a\.jpg: cannot be read as an image"):
        check_images([path], make_cameras(1, 64, 64))


def test_a_first_photo_that_is_none_is_refused_before_nerfstudio_opens_it(tmp_path):
    scene = make_scene(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.png: cannot be read as an image"):
        check_transforms(scene)


def test_no_images_at_all_are_refused():
    with pytest.raises(InputError, match="no images"):
        check_images([], make_cameras(1, 4, 6))
