"""What CLIP sees in the photos of a data set, computed once and asked at pixels."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm import tqdm

from ovs3d.device import usable_device
from ovs3d.errors import InputError
from ovs3d.foundation.clip import Clip, load_clip
from ovs3d.foundation.maps import image_dense
from ovs3d.foundation.store import FeatureStore
from ovs3d.foundation.weights import CLIP_WEIGHTS
from ovs3d.scene import read_settings
from pointcloud import config
from pointcloud.frame import Photo
from pointcloud.index import Index


@dataclass(frozen=True, eq=False)
class Teacher:
    """Dense CLIP features (MaskCLIP) of photos."""

    clip: Clip
    store: FeatureStore
    short_side: int
    """Pixels of the shorter side of what CLIP looks at, at most."""

    def map(self, photo: Path) -> Float[Tensor, "gh gw d"]:
        """One feature per patch, float16; computed if it is not in the store.

        Raises:
            InputError: the photo cannot be read, or the store cannot be written.
        """
        return image_dense(self.clip, photo, self.store, self.short_side)

    def at(self, photo: Photo, row_col: Int64[Tensor, "n 2"]) -> Float[Tensor, "n d"]:
        """Features at pixels of the photo, between the centres of patches linearly, float32; not of unit length."""
        size = torch.tensor([photo.camera.height, photo.camera.width])
        # (x, y), -1 and 1 at the borders of the photo
        places = ((row_col + 0.5) / size * 2 - 1).flip(1).float()
        grid = self.map(photo.path).float().permute(2, 0, 1)[None]
        found = F.grid_sample(grid, places[None, :, None], padding_mode="border", align_corners=False)
        return found[0, :, :, 0].T

    def fill(self, photos: Iterable[Path]) -> int:
        """Compute what is missing, with a bar of progress; returns the bytes of all maps."""
        return sum(self.map(photo).nbytes for photo in tqdm(list(photos), "CLIP", unit="photo"))


def load_teacher(settings: config.Teacher, root: Path) -> Teacher:
    """The teacher of the data set in ``root``.

    Raises:
        InputError: unknown weights, or a device that is not there.
    """
    clip = load_clip(clip_weights(settings.weights, root), usable_device(settings.device))
    return Teacher(clip, FeatureStore(settings.feature_dir or root / ".ovs3d"), settings.short_side)


def clip_weights(asked: str | None, root: Path) -> str:
    """The weights that were asked for, else those that the data set's ``ovs3d.yaml`` names, else the default."""
    return asked or read_settings(root).weights or CLIP_WEIGHTS


def photos_of(index: Index, positions: Iterable[int]) -> list[Path]:
    """Files of the photos of some frames, each once.

    Raises:
        InputError: these frames have none.
    """
    found = dict.fromkeys(photo.path for position in positions for photo in index[position].photos)
    if not found:
        raise InputError(
            f"{index.dataset.root}: no frame of these has a photo, and CLIP can only look at photos"
        )
    return list(found)
