"""What SAM's image encoder sees in photos, asked at pixels: a latent space that no label has shaped."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor

from ovs3d.device import usable_device
from ovs3d.foundation.sam import LoadedSam, load_sam
from ovs3d.foundation.store import Entry, FeatureStore
from ovs3d.foundation.weights import sam_beside
from ovs3d.images import image_bytes, image_size, read_image
from ovs3d.scene import read_settings
from pointcloud import config
from pointcloud.frame import Photo
from pointcloud.teacher import ModelFeatures, store_of

_PHOTOS_FOR_AXES = 32
"""Enough, whatever the size of the data set."""


@dataclass(frozen=True, eq=False)
class SamFeatures(ModelFeatures):
    """Image embeddings of SAM, without the part that only fills the square."""

    sam: LoadedSam
    store: FeatureStore | None
    name = "SAM"

    @property
    def d(self) -> int:
        return self.sam.model.prompt_encoder.embed_dim

    def entry(self, photo: Path) -> Entry:
        def compute() -> dict[str, Tensor]:
            return {"features": self._embedding(photo).half()}

        return Entry("sam", image_bytes(photo), {"weights": self.sam.fingerprint}, compute)

    def cells(
        self, photo: Photo, row_col: Int64[Tensor, "n 2"], grid: tuple[int, int]
    ) -> Float[Tensor, "n 2"]:
        longest = max(photo.camera.height, photo.camera.width)
        return (row_col + 0.5) * (self.sam.model.image_encoder.img_size / longest / self._patch)

    def bytes_of(self, photos: Iterable[Path]) -> int:
        """What all maps take on the disk."""
        return sum(2 * self.d * rows * cols for rows, cols in map(self._grid, photos))

    @property
    def _patch(self) -> int:
        encoder = self.sam.model.image_encoder
        return encoder.patch_embed.proj.kernel_size[0]

    def _grid(self, photo: Path) -> tuple[int, int]:
        """Patches that show a part of the photo."""
        height, width = image_size(photo)
        size = self.sam.model.image_encoder.img_size
        rows, cols = ResizeLongestSide.get_preprocess_shape(height, width, size)
        return -(-rows // self._patch), -(-cols // self._patch)

    @torch.no_grad()
    def _embedding(self, photo: Path) -> Float[Tensor, "gh gw d"]:
        model = self.sam.model
        image = ResizeLongestSide(model.image_encoder.img_size).apply_image(read_image(photo).numpy())
        pixels = torch.from_numpy(image).to(model.device).permute(2, 0, 1)[None].float()
        rows, cols = self._grid(photo)
        return model.image_encoder(model.preprocess(pixels))[0, :, :rows, :cols].permute(1, 2, 0).cpu()


def load_sam_features(settings: config.Latent, root: Path) -> SamFeatures:
    """SAM's features of the photos of the data set in ``root``.

    Raises:
        InputError: unknown weights, or a device that is not there.
    """
    weights = settings.weights or sam_beside(read_settings(root).weights)
    sam = load_sam(weights, usable_device(settings.device))
    return SamFeatures(sam, store_of(settings.feature_dir, root) if settings.keep else None)


def axes_of(sam: SamFeatures, photos: Sequence[Path], k: int) -> Float[Tensor, "d k"]:
    """The principal directions of SAM's features in some photos.

    Raises:
        InputError: a photo cannot be read.
    """
    some = photos[:: -(-len(photos) // _PHOTOS_FOR_AXES)]
    return principal_axes(torch.cat([sam.map(photo).flatten(0, 1).float() for photo in some]), k)


@torch.no_grad()
def principal_axes(features: Float[Tensor, "n d"], k: int) -> Float[Tensor, "d k"]:
    """The k directions in which unit features differ most, about their origin: what a cosine can see."""
    return torch.linalg.svd(F.normalize(features, dim=1), full_matrices=False).Vh[:k].T
