"""``ovs3d-points pretrain`` with settings for a data set or a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from ovs3d.foundation.dense_options import DenseOptions
from pointcloud.config import Augment, Fit, ImageNetwork, Latent, Masks, Net, Pairing, Refine, Teacher
from pointcloud.pretrain_command import Clip2Scene, Cns, Distill, Ppkt, Slidr

_TURN_AND_FLIP = Augment(scale=0.0, shift_voxels=0.0)
_NUSCENES_NET = Net("spvcnn", ("intensity255",), bn_momentum=0.05)
_NUSCENES_FIT = Fit(20, 4, "sgd", lr=0.1, weight_decay=1e-4)
_SLIDR_NET = Net("minkunet34c", ("intensity255",), voxels="cylindrical", bn_momentum=0.05)
_SLIDR_FIT = Fit(50, 4, "sgd", lr=0.5, weight_decay=1e-4)
_SCANNET_NET = Net("minkunet14a", ("rgb",), voxel_size_m=0.05, bn_momentum=0.05)
_SCANNET_FIT = Fit(30, 8, "sgd", lr=0.1, weight_decay=1e-4)
_SMALL_NET, _FLIP, _SMALL_FIT = Net(voxel_size_m=0.15, bn_momentum=0.03), Augment(rotate=False), Fit(20, 1)
_SMALL_CNS_FIT = Fit(40, 2)
_PUBLISHED_TEXTS = Teacher(template="clip2scene")
_RELEASED_TEACHER = Teacher(
    normalize=False, template="clip2scene", dense=DenseOptions(residual=True, mlp=True)
)
_UNTESTED = Pairing(visibility="none")
_SMALL_IMAGES = ImageNetwork("lraspp-mobilenet", height=144, width=256, crops="largest", pixels=1024)
_WEAKLY = Latent(weight=0.1)
_BY_COLOR = Masks("felzenszwalb")


@dataclass(frozen=True, kw_only=True)
class Clip2SceneNuScenes(Clip2Scene):
    """CLIP2Scene with the texts, the network, the optimiser and the augmentation that were published for nuScenes."""

    crops: bool = True
    self_training_from: int = 11
    teacher: Teacher = _PUBLISHED_TEXTS
    net: Net = _NUSCENES_NET
    augment: Augment = _TURN_AND_FLIP
    fit: Fit = _NUSCENES_FIT


@dataclass(frozen=True, kw_only=True)
class Clip2SceneReleased(Clip2SceneNuScenes):
    """CLIP2Scene as published for nuScenes, by the code where the paper says otherwise: losses, texts, colours."""

    semantic: Literal["paper", "released", "none"] = "released"
    spatial_temporal: Literal["paper", "released", "cosine", "none"] = "released"
    pairs: Pairing = _UNTESTED
    teacher: Teacher = _RELEASED_TEACHER


@dataclass(frozen=True, kw_only=True)
class Clip2SceneScanNet(Clip2Scene):
    """CLIP2Scene with the texts, the network, the optimiser and the augmentation that were published for ScanNet."""

    crops: bool = True
    sweeps: int = 1
    spatial_temporal: Literal["paper", "released", "cosine", "none"] = "cosine"
    teacher: Teacher = _PUBLISHED_TEXTS
    net: Net = _SCANNET_NET
    augment: Augment = _TURN_AND_FLIP
    fit: Fit = _SCANNET_FIT


@dataclass(frozen=True, kw_only=True)
class Clip2SceneSmall(Clip2Scene):
    """CLIP2Scene for two cores: a small network on larger voxels, a scan at a time."""

    sweeps: int = 1
    self_training_probability: float = 0.0
    net: Net = _SMALL_NET
    augment: Augment = _FLIP
    fit: Fit = _SMALL_FIT


@dataclass(frozen=True, kw_only=True)
class PpktNuScenes(Ppkt):
    """PPKT with the network, the optimiser and the augmentation of SLidR's code for nuScenes."""

    pairs: Pairing = _UNTESTED
    net: Net = _SLIDR_NET
    augment: Augment = _TURN_AND_FLIP
    fit: Fit = _SLIDR_FIT


@dataclass(frozen=True, kw_only=True)
class SlidrNuScenes(Slidr):
    """SLidR with the network, the optimiser and the augmentation that were published for nuScenes."""

    pairs: Pairing = _UNTESTED
    net: Net = _SLIDR_NET
    augment: Augment = _TURN_AND_FLIP
    fit: Fit = _SLIDR_FIT


@dataclass(frozen=True, kw_only=True)
class CnsNuScenes(Cns):
    """CNS on nuScenes; what the paper does not say is as CLIP2Scene's, its parent: texts, network, optimiser,
    augmentation."""

    switch_from: int = 11
    teacher: Teacher = _PUBLISHED_TEXTS
    net: Net = _NUSCENES_NET
    augment: Augment = _TURN_AND_FLIP
    fit: Fit = _NUSCENES_FIT


@dataclass(frozen=True, kw_only=True)
class CnsScanNet(Cns):
    """CNS on ScanNet; what the paper does not say is as CLIP2Scene's, its parent: texts, network, optimiser,
    augmentation."""

    teacher: Teacher = _PUBLISHED_TEXTS
    net: Net = _SCANNET_NET
    augment: Augment = _TURN_AND_FLIP
    fit: Fit = _SCANNET_FIT


@dataclass(frozen=True, kw_only=True)
class CnsSmall(Cns):
    """CNS for two cores: small networks, larger voxels, masks by colour, which name what they are sure of, rare classes
    that count more, a latent space that counts little, and in a step few photos of each of two frames: those of one
    frame are too much alike for batch normalisation."""

    photos: int = 3
    refine: Refine = "soft"
    balance: float = 0.5
    switch_from: int = 20
    latent: Latent = _WEAKLY
    image: ImageNetwork = _SMALL_IMAGES
    masks: Masks = _BY_COLOR
    net: Net = _SMALL_NET
    augment: Augment = _FLIP
    fit: Fit = _SMALL_CNS_FIT


Method = (
    Annotated[Distill, tyro.conf.subcommand("distill")]
    | Annotated[Clip2Scene, tyro.conf.subcommand("clip2scene")]
    | Annotated[Clip2SceneNuScenes, tyro.conf.subcommand("clip2scene-nuscenes")]
    | Annotated[Clip2SceneReleased, tyro.conf.subcommand("clip2scene-released")]
    | Annotated[Clip2SceneScanNet, tyro.conf.subcommand("clip2scene-scannet")]
    | Annotated[Clip2SceneSmall, tyro.conf.subcommand("clip2scene-small")]
    | Annotated[Cns, tyro.conf.subcommand("cns")]
    | Annotated[CnsNuScenes, tyro.conf.subcommand("cns-nuscenes")]
    | Annotated[CnsScanNet, tyro.conf.subcommand("cns-scannet")]
    | Annotated[CnsSmall, tyro.conf.subcommand("cns-small")]
    | Annotated[Ppkt, tyro.conf.subcommand("ppkt")]
    | Annotated[PpktNuScenes, tyro.conf.subcommand("ppkt-nuscenes")]
    | Annotated[Slidr, tyro.conf.subcommand("slidr")]
    | Annotated[SlidrNuScenes, tyro.conf.subcommand("slidr-nuscenes")]
)


@dataclass(frozen=True)
class Pretrain:
    """Train a network without labels, on photos and the points that they show; a run that was interrupted goes on."""

    method: Method

    def run(self) -> None:
        """Train, and say what to do with the run."""
        from lightning.pytorch.utilities import rank_zero_only

        self.method.run()
        rank_zero_only(print)(self.method.next_step())
