"""The layout of 3D-OVS: LLFF's ``poses_bounds.npy``, photos, and masks of some of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.utils.dataparsers_utils import get_train_eval_split_fraction
from torch import Tensor

from nerf_methods.labels import mask_folders
from ovs3d.errors import InputError
from ovs3d.images import image_size
from ovs3d.scene import photos_in


@dataclass(frozen=True, eq=False)
class PosedPhotos:
    """All photos of a scene with their poses."""

    scene: Path
    images: list[Path]
    poses: Float[Tensor, "b 4 4"]
    """OpenGL camera-to-world."""
    focal: Float[Tensor, " b"]
    """Focal lengths in image widths."""
    bounds: Float[Tensor, "b 2"]
    """z-depth of the nearest and of the farthest thing."""

    def split(self, name: str, train_fraction: float) -> list[int]:
        """Indices of a split. Views with masks are held out; without any, nerfstudio's fraction decides."""
        held_out = sorted(set(mask_folders(self.scene)) & set(range(len(self.images))))
        if not held_out:
            train, test = get_train_eval_split_fraction(self.images, train_fraction)
            return (train if name == "train" else test).tolist()
        return [i for i in range(len(self.images)) if i not in held_out] if name == "train" else held_out

    def cameras(self, poses: Float[Tensor, "b 3 4"], chosen: list[int]) -> Cameras:
        """Some of the cameras at other poses, with the sizes that their images have."""
        sizes = torch.tensor([image_size(self.images[i]) for i in chosen], dtype=torch.long).view(-1, 2)
        return Cameras(
            camera_to_worlds=poses[chosen],
            fx=self.focal[chosen, None] * sizes[:, 1:],
            fy=self.focal[chosen, None] * sizes[:, 1:],
            cx=sizes[:, 1:] / 2,
            cy=sizes[:, :1] / 2,
            width=sizes[:, 1:],
            height=sizes[:, :1],
            camera_type=CameraType.PERSPECTIVE,
        )


def read_llff(scene: Path) -> PosedPhotos:
    """Read a scene.

    A row of ``poses_bounds.npy`` is a 3x5 matrix [down, right, backwards, position, (height, width, focal)] and the
    near and far depth.

    Raises:
        InputError: not of that shape, not finite, or not as many as there are images.
    """
    path, images = scene / "poses_bounds.npy", photos_in(scene / "images")
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path}: not a NumPy array ({error})") from error
    if rows.ndim != 2 or rows.shape[1] != 17:
        raise InputError(f"{path}: expected rows of 17 numbers, got shape {rows.shape}")
    if len(rows) != len(images):
        raise InputError(f"{path}: {len(rows)} poses for {len(images)} images in {path.parent / 'images'}")
    if len(rows) == 0:
        raise InputError(f"{path.parent}: no images")
    bad = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(bad):
        raise InputError(f"{path}: the pose of {images[bad[0]].name} is not finite ({len(bad)} such poses)")
    values = torch.from_numpy(rows).float()
    down, right, back, position, size = values[:, :15].view(-1, 3, 5).unbind(-1)
    poses = torch.eye(4).repeat(len(rows), 1, 1)
    poses[:, :3] = torch.stack([right, -down, back, position], dim=-1)
    return PosedPhotos(scene, images, poses, focal=size[:, 2] / size[:, 1], bounds=values[:, 15:])


def average_pose(poses: Float[Tensor, "b 4 4"]) -> Float[Tensor, "4 4"]:
    """The mean position, and the rotation that is nearest to the mean of the rotations."""
    average = torch.eye(4)
    u, _, v = torch.linalg.svd(poses[:, :3, :3].mean(0))
    average[:3, :3] = u @ torch.diag(torch.stack([torch.ones(()), torch.ones(()), (u @ v).det()])) @ v
    average[:3, 3] = poses[:, :3, 3].mean(0)
    return average
