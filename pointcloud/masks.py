"""Masks of photos: pixels of one thing, by SAM, or by their colours where SAM is not at hand. Computed once."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from segment_anything import SamAutomaticMaskGenerator
from skimage.segmentation import felzenszwalb
from torch import Tensor
from tqdm import tqdm

from ovs3d.device import usable_device
from ovs3d.errors import InputError, check_range
from ovs3d.foundation.sam import LoadedSam, load_sam
from ovs3d.foundation.store import Entry, FeatureStore, Identity
from ovs3d.foundation.weights import sam_beside
from ovs3d.images import image_bytes, read_image
from ovs3d.scene import read_settings
from pointcloud import config
from pointcloud.id_maps import ids_of_png, png_of_ids
from pointcloud.superpixels import check_superpixels, superpixels
from pointcloud.teacher import store_of

_PHOTOS_TO_TELL = 256
"""Enough to tell how much is in a mask, before hours go into the others."""
_FEW = 0.25
"""Share of the pixels in masks below which it is said how to find more."""
_MORE = (
    "SAM leaves out masks that it thinks poor; lower --masks.sam.pred-iou-thresh and "
    "--masks.sam.stability-score-thresh, or take --masks.source slic"
)


class MaskFinder(ABC):
    """Divides a photo into masks."""

    @property
    def weights(self) -> str | None:
        """Of the model that does it, if one does."""
        return None

    @property
    @abstractmethod
    def identity(self) -> Identity:
        """All that its masks depend on, but for the photo."""

    @abstractmethod
    def __call__(self, image: UInt8[Tensor, "h w 3"]) -> Int64[Tensor, "h w"]:
        """The mask of each pixel, from 0; -1: of none."""


@dataclass(frozen=True, eq=False)
class Masks:
    """The masks of photos at their own size, each pixel in one of them or in none."""

    find: MaskFinder
    store: FeatureStore

    def of(self, photo: Path) -> Int64[Tensor, "h w"]:
        """The mask of each pixel, from 0; -1: of none. Computed if it is not in the store.

        Raises:
            InputError: the photo cannot be read, or the store cannot be written.
        """
        return ids_of_png(self.store.get_or_compute(*self._entry(photo))["png"]) - 1

    def fill(self, photos: Sequence[Path]) -> None:
        """Compute what is missing, with bars of progress, and say first how much of some photos is in a mask.

        Raises:
            InputError: nothing of these is.
        """
        some = photos[:: -(-len(photos) // _PHOTOS_TO_TELL)]
        inside, pixels = 0, 0
        for photo in tqdm(some, "masks", unit="photo"):
            ids = self.of(photo)
            inside, pixels = inside + int((ids >= 0).sum()), pixels + ids.numel()
        if not inside:
            raise InputError(f"no mask in any of {len(some)} photos: {_MORE}")
        advice = f": {_MORE}" if inside < _FEW * pixels else ""
        print(f"{inside / pixels:.0%} of the pixels of {len(some)} photos are in a mask{advice}")
        if len(some) < len(photos):
            self.store.fill(map(self._entry, photos), len(photos), "all masks")

    def _entry(self, photo: Path) -> Entry:
        def compute() -> dict[str, Tensor]:
            return {"png": png_of_ids(self.find(read_image(photo)) + 1)}

        return Entry("masks", image_bytes(photo), self.find.identity, compute)


@dataclass(frozen=True, eq=False)
class _Sam(MaskFinder):
    sam: LoadedSam
    settings: config.SamMasks

    @property
    def weights(self) -> str:
        return self.sam.weights

    @property
    def identity(self) -> Identity:
        return {"by": "sam", "weights": self.sam.fingerprint, **asdict(self.settings)}

    def __call__(self, image: UInt8[Tensor, "h w 3"]) -> Int64[Tensor, "h w"]:
        how = self.settings
        generator = SamAutomaticMaskGenerator(
            self.sam.model,
            points_per_side=how.points_per_side,
            pred_iou_thresh=how.pred_iou_thresh,
            stability_score_thresh=how.stability_score_thresh,
        )
        found = [each["segmentation"] for each in generator.generate(image.numpy())]
        return partition([torch.from_numpy(mask) for mask in found], (image.shape[0], image.shape[1]))


@dataclass(frozen=True, eq=False)
class _Slic(MaskFinder):
    settings: config.Superpixels

    @property
    def identity(self) -> Identity:
        return {"by": "slic", **asdict(self.settings)}

    def __call__(self, image: UInt8[Tensor, "h w 3"]) -> Int64[Tensor, "h w"]:
        return superpixels(image, self.settings)


@dataclass(frozen=True, eq=False)
class _Felzenszwalb(MaskFinder):
    settings: config.Felzenszwalb

    @property
    def identity(self) -> Identity:
        return {"by": "felzenszwalb", **asdict(self.settings)}

    def __call__(self, image: UInt8[Tensor, "h w 3"]) -> Int64[Tensor, "h w"]:
        how = self.settings
        found = felzenszwalb(image.numpy(), how.scale, how.sigma, how.min_size, channel_axis=2)
        return torch.from_numpy(found.astype(np.int64))


def partition(masks: Sequence[Bool[Tensor, "h w"]], size: tuple[int, int]) -> Int64[Tensor, "h w"]:
    """Masks that may overlap as one map of ids: where several do, the smallest wins. -1 where there is none.

    Args:
        size: height and width, where there is no mask.
    """
    ids = torch.full(size, -1)
    areas = torch.tensor([int(mask.sum()) for mask in masks])
    for number, position in enumerate(areas.argsort(descending=True, stable=True).tolist()):
        ids[masks[position]] = number
    return ids


def check_masks(settings: config.Masks) -> None:
    """Refuse numbers that no way to find masks can have.

    Raises:
        InputError: there is one.
    """
    check_range("masks.sam.points-per-side", settings.sam.points_per_side, 1, 1024)
    check_range("masks.sam.pred-iou-thresh", settings.sam.pred_iou_thresh, 0, 1)
    check_range("masks.sam.stability-score-thresh", settings.sam.stability_score_thresh, 0, 1)
    check_superpixels("masks.slic", settings.slic)
    check_range("masks.felzenszwalb.scale", settings.felzenszwalb.scale, 0, 1e9)
    check_range("masks.felzenszwalb.sigma", settings.felzenszwalb.sigma, 0, 1e3)
    check_range("masks.felzenszwalb.min-size", settings.felzenszwalb.min_size, 0, 10**9)


def load_masks(settings: config.Masks, root: Path) -> Masks:
    """The masks of the photos of the data set in ``root``.

    Raises:
        InputError: unknown weights of SAM, or a device that is not there.
    """
    return Masks(_finder(settings, root), store_of(settings.feature_dir, root))


def _finder(settings: config.Masks, root: Path) -> MaskFinder:
    if settings.source == "slic":
        return _Slic(settings.slic)
    if settings.source == "felzenszwalb":
        return _Felzenszwalb(settings.felzenszwalb)
    weights = settings.weights or sam_beside(read_settings(root).weights)
    return _Sam(load_sam(weights, usable_device(settings.device)), settings.sam)
