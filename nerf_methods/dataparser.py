"""Scenes on the disk: nerfstudio's ``transforms.json``, or the layout of 3D-OVS (LLFF's ``poses_bounds.npy``).

nerfstudio loads data parsers while its own configuration is half imported: nothing of its trainer, pipelines or
data managers may be imported from here.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from nerfstudio.cameras.camera_utils import auto_orient_and_center_poses
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.dataparsers.nerfstudio_dataparser import Nerfstudio, NerfstudioDataParserConfig
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nerf_methods.cameras import corner_rays
from nerf_methods.check import check_images, check_transforms
from nerf_methods.frustum import NEAR, Frustum
from nerf_methods.llff import average_pose, read_llff
from ovs3d.errors import InputError


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
        """A scene in the layout of 3D-OVS."""
        photos = read_llff(scene)
        poses, transform = auto_orient_and_center_poses(
            photos.poses, method=self.config.orientation_method, center_method=self.config.center_method
        )
        scale = self.config.scale_factor
        if self.config.auto_scale_poses:
            scale /= float(poses[:, :3, 3].abs().max())
        poses[:, :3, 3] *= scale
        chosen = photos.split(split, self.config.train_split_fraction)
        return DataparserOutputs(
            image_filenames=[photos.images[i] for i in chosen],
            cameras=photos.cameras(poses, chosen),
            scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3]) * self.config.scene_scale),
            dataparser_scale=scale,
            dataparser_transform=transform,
        )


@dataclass
class Ovs3dLlffDataParserConfig(DataParserConfig):
    """A forward-facing scene in the layout of 3D-OVS, to be fitted in normalised device coordinates."""

    _target: type = field(default_factory=lambda: Ovs3dLlffDataParser)
    train_split_fraction: float = 0.9
    """Share of the photos that are trained on, where no photo has masks; else those without are."""


@dataclass
class Ovs3dLlffDataParser(DataParser):
    """Puts the mean camera at the origin, looking along -z, and the near plane at depth 1, as LLFF does."""

    config: Ovs3dLlffDataParserConfig

    def _generate_dataparser_outputs(self, split: str = "train") -> DataparserOutputs:
        scene = self.config.data
        path = scene / "poses_bounds.npy"
        if not path.exists():
            raise InputError(
                f"{scene}: `ovs3d-llff` reads images/ and poses_bounds.npy, the layout of 3D-OVS, and there is no "
                "poses_bounds.npy; for transforms.json end the command with `ovs3d-data`"
            )
        photos = read_llff(scene)
        near, far = float(photos.bounds[:, 0].min()), float(photos.bounds[:, 1].max())
        if not 0 < near <= far:
            raise InputError(
                f"{path}: expected depth bounds 0 < near <= far in the last two columns, got {near:g} and {far:g}; "
                "`ovs3d-data` does without them"
            )
        mean_from_world, scale = average_pose(photos.poses).inverse(), 1 / (NEAR * near)
        poses = (mean_from_world @ photos.poses)[:, :3]
        poses[:, :, 3] *= scale
        chosen = photos.split(split, self.config.train_split_fraction)
        images, cameras = [photos.images[i] for i in chosen], photos.cameras(poses, chosen)
        check_images(images, cameras, parser="ovs3d-llff")
        return DataparserOutputs(
            image_filenames=images,
            cameras=cameras,
            metadata={"frustum": _frustum(images, cameras, (near * scale, far * scale))},
            dataparser_scale=scale,
            dataparser_transform=mean_from_world[:3],
        )


def _frustum(images: list[Path], cameras: Cameras, bounds: tuple[float, float]) -> Frustum:
    rays = corner_rays(cameras)
    sideways = (rays.directions[:, 2] >= 0).view(-1, 4).any(1).nonzero()[:, 0].tolist()
    if sideways:
        raise InputError(
            f"{images[sideways[0]]}: a part of the photo looks sideways or back from the mean view ({len(sideways)} "
            "such photos), but in NDC all must look ahead: end the command with `ovs3d-data`"
        )
    return Frustum(rays.origins, rays.directions, bounds)


ovs3d_dataparser = DataParserSpecification(
    config=Ovs3dDataParserConfig(), description="nerfstudio's transforms.json, or the layout of 3D-OVS."
)

ovs3d_llff_dataparser = DataParserSpecification(
    config=Ovs3dLlffDataParserConfig(), description="Forward-facing scenes in the layout of 3D-OVS, in NDC."
)
