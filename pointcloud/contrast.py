"""``ovs3d-points pretrain ppkt`` and ``slidr``: points are matched with what a self-supervised model sees in photos.

As published but for the photos, which are looked at once and never cropped or mirrored, for cuboids, which SLidR cuts
out of scans and we do not, for hidden points, which are left out unless `Pairing.visibility` says otherwise, and for
the image model: DINO's tokens on a grid of patches stand for a ResNet's features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ovs3d.errors import check_range
from pointcloud.lightning_module import new_model
from pointcloud.model import PointModel
from pointcloud.objectives.contrastive import point_pixel_contrast, superpixel_contrast
from pointcloud.paired import PairedBatch, PairedSamples
from pointcloud.pretrain import PairedTraining, photographed, train
from pointcloud.runs import About, write_run
from pointcloud.samples import Samples
from pointcloud.superpixels import SuperpixelBatch, Superpixels, SuperpixelSamples, check_superpixels
from pointcloud.teacher import Backbone, load_backbone

if TYPE_CHECKING:
    from pointcloud.pretrain_command import Contrast, Ppkt, Slidr

IMAGE = "image_feature"
"""Name of the head whose features are matched with those of photos."""
CHANNELS = 64
"""Of the features that are matched."""


class Matched(PointModel):
    """A network, and the linear layer that brings what the image model sees to the channels of its head.

    The layer is SLidR's 1x1 convolution. It takes features of patches, or means over superpixels, where SLidR takes
    pixels: linear interpolation, means and a 1x1 convolution commute.
    """

    def __init__(self, model: PointModel, d: int) -> None:
        """
        Args:
            model: its network becomes a part of this, and is trained with it.
            d: channels of the image model.
        """
        nn.Module.__init__(self)
        self.net = model.net
        self.projection = nn.Linear(d, CHANNELS)


class Matching(PairedTraining):
    """A training of a network and of the linear layer beside it."""

    model: Matched

    def __init__(
        self, model: PointModel, samples: PairedSamples | SuperpixelSamples, command: Contrast
    ) -> None:
        super().__init__(Matched(model, samples.d), command.fit, samples)
        self.temperature = command.temperature

    def points(self, batch: PairedBatch | SuperpixelBatch) -> Tensor:
        """Features of the points of pairs."""
        return self.model(batch.scans.points, batch.point)[IMAGE].float()


class PixelMatching(Matching):
    """Points are matched with their pixels."""

    def __init__(self, model: PointModel, samples: PairedSamples, command: Ppkt) -> None:
        super().__init__(model, samples, command)
        self.matches = command.matches

    def losses(self, batch: PairedBatch) -> Mapping[str, Tensor]:
        points, seen = self.points(batch), batch.features
        drawn = self._drawn(len(points)).to(points.device)
        with self.full_precision():
            pixels = replace(seen, patches=self.model.projection(seen.patches))[drawn].rows()
            return {"contrast": point_pixel_contrast(points[drawn], pixels, self.temperature)}

    def _drawn(self, m: int) -> Tensor:
        """Some of m pairs, others in each step."""
        random = np.random.default_rng((self.fit.seed, self.global_step))
        return torch.from_numpy(random.permutation(m)[: self.matches])


class SuperpixelMatching(Matching):
    """Superpoints are matched with their superpixels."""

    def losses(self, batch: SuperpixelBatch) -> Mapping[str, Tensor]:
        points = self.points(batch)
        with self.full_precision():
            superpixels = self.model.projection(batch.features)
            return {"contrast": superpixel_contrast(points, batch.superpixel, superpixels, self.temperature)}


def ppkt(command: Ppkt) -> None:
    """PPKT, as SLidR's code has it."""
    check_range("matches", command.matches, 1, 10**9)
    scans, backbone = _looked_at(command)
    model = new_model(command, {IMAGE: CHANNELS})
    samples = PairedSamples(scans, command.pairs, command.photos, backbone)
    _train(PixelMatching(model, samples, command), model, command)


def slidr(command: Slidr) -> None:
    """SLidR."""
    check_superpixels("superpixels", command.superpixels)
    scans, backbone = _looked_at(command)
    superpixels = Superpixels(backbone, command.superpixels)
    model = new_model(command, {IMAGE: CHANNELS})
    samples = SuperpixelSamples(scans, command.pairs, command.photos, superpixels)
    _train(SuperpixelMatching(model, samples, command), model, command)


def _looked_at(command: Contrast) -> tuple[Samples, Backbone]:
    """The scans to learn from, and the model that looks at their photos."""
    check_range("temperature", command.temperature, 1e-6, 1e3)
    scans = photographed(command)
    return scans, load_backbone(command.backbone, scans.index.dataset.root)


def _train(training: Matching, model: PointModel, command: Contrast) -> None:
    """The run is the network alone: the linear layer is of no use without photos, and no class has been learnt."""
    about = About(command.net, {IMAGE: CHANNELS}, (), "", asdict(command))
    if train(training, about.settings, command.out):
        write_run(command.out, about, model)
