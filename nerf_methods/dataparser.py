"""Scenes on the disk: nerfstudio's ``transforms.json``, or the layout of 3D-OVS (LLFF's ``poses_bounds.npy``).

nerfstudio loads data parsers while its own configuration is half imported: nothing of its trainer, pipelines or
data managers may be imported from here.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.camera_utils import auto_orient_and_center_poses
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.nerfstudio_dataparser import Nerfstudio, NerfstudioDataParserConfig
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.data.utils.dataparsers_utils import get_train_eval_split_fraction
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from torch import Tensor

from nerf_methods.check import check_images, check_transforms
from nerf_methods.labels import mask_folders
from ovs3d.errors import InputError
from ovs3d.images import image_size
from ovs3d.scene import photos_in


@dataclass
class Ovs3dDataParserConfig(NerfstudioDataParserConfig):
    """A scene in nerfstudio's format or in the layout of 3D-OVS, told apart by what the folder holds."""

    _target: type = field(default_factory=lambda: Ovs3dDataParser)
    center_method: Literal["poses", "focus", "none"] = "focus"
    """The method to use to center the poses."""


@dataclass
class Ovs3dDataParser(Nerfstudio):
    """Checks a scene before anything is computed, then reads it."""

    config: Ovs3dDataParserConfig

    def _generate_dataparser_outputs(self, split: str = "train") -> DataparserOutputs:
        data = self.config.data
        if not data.exists():
            raise InputError(
                f"no scene at {data}: --data takes a folder with transforms.json or poses_bounds.npy"
            )
        transforms = data if data.suffix == ".json" else data / "transforms.json"
        if transforms.exists():
            check_transforms(transforms)
            try:
                outputs = super()._generate_dataparser_outputs(split)
            except (AssertionError, RuntimeError) as error:  # how nerfstudio refuses a scene
                raise InputError(f"{transforms}: {' '.join(str(error).split())}") from error
        elif (data / "poses_bounds.npy").exists():
            outputs = self._llff(data, split)
        else:
            raise InputError(f"{data} holds neither transforms.json nor poses_bounds.npy")
        check_images(outputs.image_filenames, outputs.cameras)
        return outputs

    def _llff(self, scene: Path, split: str) -> DataparserOutputs:
        """A 3D-OVS scene. Views with masks are held out; without any, nerfstudio's fraction decides."""
        images = photos_in(scene / "images")
        poses, focal = read_poses_bounds(scene / "poses_bounds.npy", images)
        poses, transform = auto_orient_and_center_poses(
            poses, method=self.config.orientation_method, center_method=self.config.center_method
        )
        scale = self.config.scale_factor
        if self.config.auto_scale_poses:
            scale /= float(poses[:, :3, 3].abs().max())
        poses[:, :3, 3] *= scale
        chosen = self._llff_split(scene, images, split)
        sizes = torch.tensor([image_size(images[i]) for i in chosen])
        cameras = Cameras(
            camera_to_worlds=poses[chosen, :3],
            fx=focal[chosen, None] * sizes[:, 1:],
            fy=focal[chosen, None] * sizes[:, 1:],
            cx=sizes[:, 1:] / 2,
            cy=sizes[:, :1] / 2,
            width=sizes[:, 1:],
            height=sizes[:, :1],
            camera_type=CameraType.PERSPECTIVE,
        )
        return DataparserOutputs(
            image_filenames=[images[i] for i in chosen],
            cameras=cameras,
            scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3]) * self.config.scene_scale),
            dataparser_scale=scale,
            dataparser_transform=transform,
        )

    def _llff_split(self, scene: Path, images: list[Path], split: str) -> list[int]:
        held_out = sorted(set(mask_folders(scene)) & set(range(len(images))))
        if not held_out:
            train, test = get_train_eval_split_fraction(images, self.config.train_split_fraction)
            return (train if split == "train" else test).tolist()
        return [i for i in range(len(images)) if i not in held_out] if split == "train" else held_out


def read_poses_bounds(path: Path, images: list[Path]) -> tuple[Float[Tensor, "b 4 4"], Float[Tensor, " b"]]:
    """LLFF poses as OpenGL camera-to-world, and focal lengths in image widths.

    A row is a 3x5 matrix [down, right, backwards, position, (height, width, focal)] and the near and far depth.

    Raises:
        InputError: not of that shape, not finite, or not as many as there are images.
    """
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
    matrices = torch.from_numpy(rows[:, :15].reshape(-1, 3, 5)).float()
    down, right, back, position, size = matrices.unbind(-1)
    poses = torch.eye(4).repeat(len(rows), 1, 1)
    poses[:, :3] = torch.stack([right, -down, back, position], dim=-1)
    return poses, size[:, 2] / size[:, 1]


ovs3d_dataparser = DataParserSpecification(
    config=Ovs3dDataParserConfig(), description="nerfstudio's transforms.json, or the layout of 3D-OVS."
)
