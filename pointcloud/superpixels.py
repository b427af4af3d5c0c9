"""Superpixels of photos by SLIC (Achanta et al., 2012), and scans with what they show of them, as SLidR takes them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Float32, Int64, UInt8
from skimage.segmentation import slic
from torch import Tensor

from ovs3d.errors import check_range
from ovs3d.foundation.store import Entry
from ovs3d.images import image_bytes, read_image
from pointcloud import config
from pointcloud.frame import Photo
from pointcloud.id_maps import ids_of_png, png_of_ids
from pointcloud.paired import PhotoBatch, PhotoSamples
from pointcloud.pairing import pair
from pointcloud.samples import collate, scan_file, starts
from pointcloud.teacher import Backbone


@dataclass(frozen=True, eq=False)
class Superpixels:
    """Superpixels of photos at their own size, and what a backbone sees in each; computed once."""

    backbone: Backbone
    how: config.Superpixels

    def of(self, photo: Path) -> tuple[Int64[Tensor, "h w"], Float32[Tensor, "s d"]]:
        """The superpixel of each pixel, from 0, and the mean of the tokens in each; computed if not in the store.

        Raises:
            InputError: the photo cannot be read, or the store cannot be written.
        """
        stored = self.backbone.store.get_or_compute(*self._entry(photo))
        return ids_of_png(stored["png"]), stored["features"].float()

    def fill(self, photos: Sequence[Path]) -> None:
        """Compute what is missing, with a bar of progress."""
        self.backbone.store.fill(map(self._entry, photos), len(photos), "DINO, SLIC")

    def _entry(self, photo: Path) -> Entry:
        def compute() -> dict[str, Tensor]:
            found = superpixels(read_image(photo), self.how)
            features = pooled(self.backbone.map(photo).float(), found)
            return {"png": png_of_ids(found), "features": features.half()}

        identity = {**self.backbone.identity, **asdict(self.how)}
        return Entry("dino-slic", image_bytes(photo), identity, compute)


def check_superpixels(flag: str, how: config.Superpixels) -> None:
    """Refuse numbers that SLIC cannot have.

    Raises:
        InputError: there is one.
    """
    check_range(f"{flag}.count", how.count, 1, 10**6)
    check_range(f"{flag}.compactness", how.compactness, 1e-6, 1e6)
    check_range(f"{flag}.sigma", how.sigma, 0, 1e3)


def superpixels(image: UInt8[Tensor, "h w 3"], how: config.Superpixels) -> Int64[Tensor, "h w"]:
    """The superpixel of each pixel of a photo, from 0."""
    found = slic(
        image.numpy(), n_segments=how.count, compactness=how.compactness, sigma=how.sigma, start_label=0
    )
    return torch.from_numpy(found)


def pooled(grid: Float32[Tensor, "gh gw d"], superpixel: Int64[Tensor, "h w"]) -> Float32[Tensor, "s d"]:
    """Mean over the pixels of each superpixel of features that are upsampled from patches to pixels linearly.

    No pixel is upsampled: both are linear, so the mean is the same sum over patches for all channels. A linear
    projection of features commutes with both as well.

    Returns:
        Not of unit length; 0 for a superpixel without pixels.
    """
    gh, gw, _ = grid.shape
    h, w = superpixel.shape
    n = int(superpixel.max()) + 1
    weights = torch.zeros(n * gh * gw)
    for row, of_row in _neighbours(h, gh):
        for col, of_col in _neighbours(w, gw):
            where = (superpixel * gh + row[:, None]) * gw + col
            weights.index_add_(0, where.flatten(), (of_row[:, None] * of_col).flatten())
    weights = weights.view(n, gh * gw)
    return weights @ grid.flatten(0, 1) / weights.sum(dim=1, keepdim=True).clamp_min(1)


def _neighbours(pixels: int, patches: int) -> list[tuple[Int64[Tensor, " n"], Float32[Tensor, " n"]]]:
    """The patches whose centres lie before and behind the centre of each pixel on a side, and their weights."""
    places = ((torch.arange(pixels) + 0.5) / pixels * patches - 0.5).clamp(0, patches - 1)
    before = places.long()
    share = places - before
    return [(before, 1 - share), ((before + 1).clamp_max(patches - 1), share)]


@dataclass(frozen=True, eq=False)
class SuperpixelBatch(PhotoBatch):
    """Some scans, and the superpixels that show their points."""

    point: Int64[Tensor, " m"]
    """Row of the point of each pair of a point and a pixel."""
    superpixel: Int64[Tensor, " m"]
    """Row of the superpixel that holds the pixel of each pair; those of each photo are rows of their own."""
    features: Float[Tensor, "s d"]
    """What the teacher sees in each superpixel that shows a point: the mean over all its pixels; not of unit length."""

    @property
    def shown(self) -> Int64[Tensor, " m"]:
        return self.point


@dataclass(frozen=True, eq=False)
class SuperpixelSamples(PhotoSamples):
    """Frames with what the teacher sees in the superpixels of their photos."""

    superpixels: Superpixels

    @property
    def d(self) -> int:
        """Channels of what the backbone sees."""
        return self.superpixels.backbone.d

    def prepare(self) -> None:
        self.superpixels.fill(self.photos())

    def __getitem__(self, key: tuple[int, int]) -> SuperpixelBatch:
        frame = self.samples.frame(key[1])
        scan = self.read(scan_file(frame))
        photos = self.drawn(frame.photos, key)
        pairs = pair(scan, photos, self.pairing)
        row_col, number = torch.from_numpy(pairs.row_col), torch.from_numpy(pairs.photo)
        seen = [self._seen(photo, row_col[number == i]) for i, photo in enumerate(photos)]
        return SuperpixelBatch(
            self.samples.batch(scan, key),
            torch.from_numpy(pairs.point),
            *_one_after_the_other(seen, self.d),
        )

    def _seen(
        self, photo: Photo, row_col: Int64[Tensor, "m 2"]
    ) -> tuple[Int64[Tensor, " m"], Float[Tensor, "s d"]]:
        """The superpixel of each pixel of a photo, and the features of all that are met."""
        superpixel, features = self.superpixels.of(photo.path)
        met, which = superpixel[row_col[:, 0], row_col[:, 1]].unique(return_inverse=True)
        return which, features[met]

    def collate(self, batches: Sequence[SuperpixelBatch]) -> SuperpixelBatch:
        rows = starts([len(each.scans.labels) for each in batches])
        return SuperpixelBatch(
            collate([each.scans for each in batches]),
            torch.cat([each.point + first for each, first in zip(batches, rows, strict=True)]),
            *_one_after_the_other([(each.superpixel, each.features) for each in batches], self.d),
        )


def _one_after_the_other(
    parts: Sequence[tuple[Int64[Tensor, " _"], Float[Tensor, "_ d"]]], d: int
) -> tuple[Int64[Tensor, " m"], Float[Tensor, "s d"]]:
    """Superpixels of pairs and features of superpixels of several photos, told apart; no photos are none."""
    rows = starts([len(features) for _, features in parts])
    which = [superpixel + first for (superpixel, _), first in zip(parts, rows, strict=True)]
    return (
        torch.cat([torch.zeros(0, dtype=torch.int64), *which]),
        torch.cat([torch.zeros(0, d), *(features for _, features in parts)]),
    )
