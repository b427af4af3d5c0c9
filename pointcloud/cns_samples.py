"""Scans with photos, pixels and masks: what the two networks of CNS learn from."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int16, Int64
from torch import Tensor

from ovs3d.images import read_image
from pointcloud.config import ImageNetwork
from pointcloud.frame import Frame, Scan
from pointcloud.paired import PhotoBatch, PhotoSamples
from pointcloud.pairing import Pairs, pair
from pointcloud.photo_crops import draw, in_other_light
from pointcloud.pixel_labels import PixelLabels
from pointcloud.recent import Recent
from pointcloud.refine import normalised
from pointcloud.sam_features import SamFeatures
from pointcloud.samples import collate, scan_file, starts

_LESS_THAN_A_VOTE = 1e-4
"""Of the photos of a frame: where as many say something else, there is no majority."""


@dataclass(frozen=True, eq=False)
class MemberBatch(PhotoBatch):
    """Some scans and photos, and members of masks: pixels that were drawn, and those that show points."""

    images: Float[Tensor, "p 3 h w"]
    """Photos as the network sees them, 0..1; without height and width where points learn alone."""
    photo: Int64[Tensor, " n"]
    """Which photo each member is of."""
    place: Float[Tensor, "n 2"]
    """(x, y) of each member, -1 and 1 at the borders of the image; beyond them are those that show points alone."""
    mask: Int64[Tensor, " n"]
    """The mask of each member, from 0, in all photos; -1: none."""
    label: Int64[Tensor, " n"]
    """What it is called; -1: nothing; -2: a distractor."""
    point: Int64[Tensor, " n"]
    """Row of the point that it shows; -1: none."""
    latent: Float[Tensor, "m s"]
    """What SAM sees at those that show points; s is 0 where it is not asked."""

    @property
    def inside(self) -> Bool[Tensor, " n"]:
        """Which members are in the image that the network sees, which is a crop; where points learn alone, none is."""
        return (self.place.abs().amax(dim=1) <= 1) & (self.images.numel() > 0)

    @property
    def shown(self) -> Int64[Tensor, " m"]:
        return self.point[self.point >= 0]

    def learnt_from(self) -> dict[tuple[str, str], tuple[int, int]]:
        named = int((self.label >= 0).sum()), len(self.label)
        cure = "look at the classes, and lower --margin"
        return super().learnt_from() | {("pixels have a label", cure): named}


@dataclass(frozen=True, eq=False)
class CnsSamples(PhotoSamples):
    """Frames with members of the masks of their photos."""

    called: PixelLabels
    image: ImageNetwork
    sam: SamFeatures | None
    multi_view: bool
    """Points are called what all photos of their frame together call them."""
    _of_points: Recent[str, Int16[Tensor, " n"]] = field(default_factory=lambda: Recent(1024), init=False)

    def prepare(self) -> None:
        frames = (self.samples.frame(item) for item in range(len(self)))
        photos = {photo.path: photo for frame in frames for photo in frame.photos}
        self.called.prepare(list(photos.values()))
        if self.sam is not None:
            self.sam.fill(list(photos))

    def __getitem__(self, key: tuple[int, int]) -> MemberBatch:
        frame = self.samples.frame(key[1])
        scan = self.read(scan_file(frame))
        random = np.random.default_rng((self.samples.seed, *key, 3))
        photos = self.drawn(frame.photos, key)
        pairs = pair(scan, photos, self.pairing)
        of_points = self._labels_of_points(frame, scan) if self.multi_view else None
        images, parts, first = [], [], 0
        alone = self.image.name == "none"
        drawn = 0 if alone else self.image.pixels
        for number, photo in enumerate(photos):
            crop = draw(photo.camera.height, photo.camera.width, self.image, random)
            if alone:
                images.append(torch.zeros(3, 0, 0))
            else:
                image = crop.of(read_image(photo.path), (self.image.height, self.image.width))
                images.append(in_other_light(image, self.image.jitter, random))
            mine = pairs.photo == number
            shown, point = torch.from_numpy(pairs.row_col[mine]), torch.from_numpy(pairs.point[mine])
            pixels = torch.cat([crop.pixels(drawn, random), shown])
            mask = self.called.mask_at(photo, pixels)
            label = self.called.labels(self.called.scores(photo, pixels, mask))
            if of_points is not None:
                label[drawn:] = of_points[point]
            mask = _after(mask, first)
            first = max(first, _end(mask))
            point = torch.cat([torch.full((drawn,), -1), point])
            sam = torch.zeros(len(shown), 0) if self.sam is None else self.sam.at(photo, shown).rows()
            parts.append((torch.full_like(mask, number), crop.places(pixels), mask, label, point, sam))
        members = (torch.cat(each) for each in zip(*parts, strict=True))
        return MemberBatch(self.samples.batch(scan, key), torch.stack(images), *members)

    def collate(self, batches: Sequence[MemberBatch]) -> MemberBatch:
        photos = starts([len(each.images) for each in batches])
        masks = starts([_end(each.mask) for each in batches])
        rows = starts([len(each.scans.labels) for each in batches])
        return MemberBatch(
            collate([each.scans for each in batches]),
            torch.cat([each.images for each in batches]),
            torch.cat([each.photo + first for each, first in zip(batches, photos, strict=True)]),
            torch.cat([each.place for each in batches]),
            torch.cat([_after(each.mask, first) for each, first in zip(batches, masks, strict=True)]),
            torch.cat([each.label for each in batches]),
            torch.cat([_after(each.point, first) for each, first in zip(batches, rows, strict=True)]),
            torch.cat([each.latent for each in batches]),
        )

    def _labels_of_points(self, frame: Frame, scan: Scan) -> Int64[Tensor, " n"]:
        """What all photos of a frame together call its points."""
        if frame.name not in self._of_points:
            scores = votes_for_points(self.called, frame, scan, pair(scan, frame.photos, self.pairing))
            self._of_points[frame.name] = self.called.labels(scores, hard_margin=_LESS_THAN_A_VOTE).short()
        return self._of_points[frame.name].long()


def _end(ids: Int64[Tensor, " n"]) -> int:
    """The first number after some ids."""
    return int(ids.max()) + 1 if len(ids) else 0


def _after(ids: Int64[Tensor, " n"], first: int) -> Int64[Tensor, " n"]:
    """Ids that begin at a number; -1 stays."""
    return torch.where(ids < 0, ids, ids + first)


def votes_for_points(called: PixelLabels, frame: Frame, scan: Scan, pairs: Pairs) -> Float[Tensor, "n t"]:
    """The mean of what the photos of a frame call each of its points; 0 for points that no photo shows.

    Args:
        pairs: of the scan with all photos of the frame.
    """
    scores = torch.zeros(len(scan.xyz), len(called.text))
    for number, photo in enumerate(frame.photos):
        mine = pairs.photo == number
        row_col = torch.from_numpy(pairs.row_col[mine])
        votes = called.scores(photo, row_col, called.mask_at(photo, row_col))
        scores.index_add_(0, torch.from_numpy(pairs.point[mine]), votes)
    return normalised(scores)
