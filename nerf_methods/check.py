"""What is wrong with a scene, found before anything is computed."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nerfstudio.cameras.cameras import CAMERA_MODEL_TO_TYPE, Cameras

from ovs3d.errors import InputError
from ovs3d.images import image_size, read_image


def check_transforms(path: Path) -> None:
    """Refuse a ``transforms.json`` without frames, without images, or with poses that are no poses.

    Raises:
        InputError: says which frame, and how many.
    """
    try:
        content = json.loads(path.read_text())
        frames, model = content["frames"], content.get("camera_model", "OPENCV")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: expected JSON with a list `frames` ({error})") from error
    if model not in CAMERA_MODEL_TO_TYPE:
        raise InputError(
            f"{path}: unknown camera_model {model!r}; known are {', '.join(CAMERA_MODEL_TO_TYPE)}"
        )
    if not frames:
        raise InputError(f"{path}: no images: the list `frames` is empty")
    for frame in frames:
        if not isinstance(frame, dict) or "file_path" not in frame or "transform_matrix" not in frame:
            raise InputError(
                f"{path}: each frame needs file_path and transform_matrix, got {str(frame)[:80]}"
            )
    missing = [frame["file_path"] for frame in frames if not (path.parent / frame["file_path"]).is_file()]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(frames)} poses have no image, the first is {missing[0]}"
        )
    image_size(path.parent / frames[0]["file_path"])  # nerfstudio opens it before `check_images` can
    bad = [frame["file_path"] for frame in frames if not _is_pose(frame["transform_matrix"])]
    if bad:
        raise InputError(
            f"{path}: {len(bad)} of {len(frames)} poses are no finite 4x4 pose, the first is of {bad[0]}"
        )


def _is_pose(matrix: object) -> bool:
    try:
        pose = np.array(matrix, dtype=float)
    except (TypeError, ValueError):
        return False
    if pose.shape not in ((3, 4), (4, 4)) or not np.isfinite(pose).all():
        return False
    rotation = pose[:3, :3]
    return bool(np.allclose(rotation @ rotation.T, np.eye(3), atol=0.05))


def check_images(paths: Sequence[Path], cameras: Cameras, parser: str = "ovs3d-data") -> None:
    """Refuse images that cannot be decoded or are not of their camera's size.

    Args:
        parser: the name by which the user calls the data parser.

    Raises:
        InputError: names the image.
    """
    if not paths:
        raise InputError(
            "no images in this part of the scene: it needs views for training and held-out ones; with less than"
            f" ten photos end the command with `{parser} --train-split-fraction 0.8`"
        )
    for path, height, width in zip(paths, cameras.height.flatten(), cameras.width.flatten(), strict=True):
        image = read_image(path)
        if tuple(image.shape[:2]) != (int(height), int(width)):
            raise InputError(
                f"{path}: the image has {image.shape[1]}x{image.shape[0]} pixels, its camera {width}x{height}"
            )
