"""Posed views with exact truth, in the formats of real scenes. The same views give the same bytes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from ovs3d.geometry import Camera, opengl_from_opencv
from ovs3d.worlds.render import Render


@dataclass(frozen=True, eq=False)
class Views:
    """A scene as it is written: every view has a camera and what it sees."""

    classes: tuple[str, ...]
    """Prompts; class ids are positions."""
    cameras: Sequence[Camera]
    renders: Sequence[Render]
    held_out: tuple[int, ...]
    """Indices of the views for evaluation; the others are for training."""


def write_nerfstudio(folder: Path, views: Views) -> None:
    """``transforms.json``, ``images/``, ``depth/``, ``segmentations/`` (class ids) and ``classes.txt``.

    Depth is z-depth in uint16 millimetres, nerfstudio's default. Poses are OpenGL camera-to-world.
    Validation and test are both the held-out views.
    """
    _start(folder, prompts="classes.txt", subfolders=("images", "depth", "segmentations"))
    names = [f"frame_{index:05d}.png" for index in range(1, len(views.cameras) + 1)]
    for name, view in zip(names, views.renders, strict=True):
        Image.fromarray(view.rgb).save(folder / "images" / name)
        Image.fromarray((view.depth * 1000 + 0.5).astype(np.uint16)).save(folder / "depth" / name)
        Image.fromarray(view.labels).save(folder / "segmentations" / name)
    (folder / "classes.txt").write_text("\n".join(views.classes) + "\n")
    (folder / "transforms.json").write_text(json.dumps(_transforms(names, views), indent=1) + "\n")


def _transforms(names: list[str], views: Views) -> dict:
    camera = views.cameras[0]
    frames = [
        {
            "file_path": f"images/{name}",
            "depth_file_path": f"depth/{name}",
            "transform_matrix": opengl_from_opencv(each.world_from_camera).tolist(),
        }
        for name, each in zip(names, views.cameras, strict=True)
    ]
    held_out = [f"images/{names[index]}" for index in views.held_out]
    return {
        "camera_model": "OPENCV",
        "fl_x": camera.intrinsics[0, 0],
        "fl_y": camera.intrinsics[1, 1],
        "cx": camera.intrinsics[0, 2],
        "cy": camera.intrinsics[1, 2],
        "w": camera.width,
        "h": camera.height,
        "frames": frames,
        "train_filenames": [frame["file_path"] for frame in frames if frame["file_path"] not in held_out],
        "val_filenames": held_out,
        "test_filenames": held_out,
    }


def write_3dovs(folder: Path, views: Views) -> None:
    """``poses_bounds.npy``, ``images/``, ``segmentations/classes.txt``, ``segmentations/<NN>/<prompt>.png``.

    Masks, 255 where the class is, exist for the held-out views; NN is the image's index. Classes are sorted.
    """
    _start(folder, prompts="segmentations/classes.txt", subfolders=("images", "segmentations"))
    for index, view in enumerate(views.renders):
        Image.fromarray(view.rgb).save(folder / "images" / f"{index:02d}.png")
    for index in views.held_out:
        masks = folder / "segmentations" / f"{index:02d}"
        masks.mkdir()
        for class_id, prompt in enumerate(views.classes):
            mask = np.where(views.renders[index].labels == class_id, 255, 0).astype(np.uint8)
            Image.fromarray(mask).save(masks / f"{prompt}.png")
    (folder / "segmentations" / "classes.txt").write_text("\n".join(sorted(views.classes)) + "\n")
    rows = [llff_row(*view) for view in zip(views.cameras, views.renders, strict=True)]
    np.save(folder / "poses_bounds.npy", np.stack(rows))


def llff_row(camera: Camera, view: Render) -> Float[np.ndarray, "17"]:
    """A row of poses_bounds: 3x5 [down, right, backward, position, (h, w, focal)], then depth bounds."""
    right, down, forward = camera.world_from_camera[:3, :3].T
    size = (camera.height, camera.width, camera.intrinsics[0, 0])
    pose = np.stack([down, right, -forward, camera.position, size], axis=1)
    return np.concatenate([pose.reshape(-1), [view.depth.min(), view.depth.max()]])


def _start(folder: Path, prompts: str, subfolders: tuple[str, ...]) -> None:
    """The folders, and the file that says which weights and prompts suit the scene."""
    for name in subfolders:
        (folder / name).mkdir(parents=True)
    (folder / "ovs3d.yaml").write_text(f"weights: mini\nprompts: {prompts}\n")
