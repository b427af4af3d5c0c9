"""Features of a scene's images on the grid of a model's patches, dense CLIP and DINO, computed once.

Images are brought to whole patches, so that a grid covers all of its image and each patch the same part of it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from ovs3d.errors import InputError
from ovs3d.foundation.clip import Clip
from ovs3d.foundation.crops import resize
from ovs3d.foundation.dense import dense_features, patch_of
from ovs3d.foundation.dense_options import MASKCLIP, DenseOptions
from ovs3d.foundation.dino import Dino
from ovs3d.foundation.store import Entry, FeatureStore, Identity
from ovs3d.images import image_bytes, read_image

_WHOLE = {"whole_patches": True}
"""Maps that were stored when patches left a rim of their image out are not of this identity."""


def scene_dense(
    clip: Clip, images: Sequence[Path], store: FeatureStore, short_side: int
) -> Iterator[Float[Tensor, "gh gw d"]]:
    """MaskCLIP features of each image in turn, float16.

    Args:
        short_side: larger images are made smaller until their shorter side has about as many pixels.

    Raises:
        InputError: an image cannot be read or is smaller than a patch, or the store cannot be written.
    """
    for path in tqdm(images, desc="clip-dense", unit="image"):
        yield store.get_or_compute(*dense_entry(clip, path, short_side))["features"]


def dense_entry(clip: Clip, path: Path, short_side: int, options: DenseOptions = MASKCLIP) -> Entry:
    """The same of one image, as ``features``."""

    def compute() -> dict[str, Tensor]:
        image = _read(path, short_side, patch_of(clip), largest_factor=1.0)
        return {"features": dense_features(clip, image, options).half()}

    return Entry("clip-dense", image_bytes(path), dense_identity(clip, short_side, options), compute)


def dense_identity(clip: Clip, short_side: int, options: DenseOptions) -> Identity:
    """All that dense features depend on, but for the image."""
    return {**clip.identity, "short_side": short_side, **asdict(options), **_WHOLE}


def scene_dino(
    dino: Dino, images: Sequence[Path], store: FeatureStore, short_side: int
) -> Iterator[Float[Tensor, "gh gw c"]]:
    """DINO's tokens of each image in turn, float16.

    Args:
        short_side: images are made smaller or larger until their shorter side has about as many pixels: tokens of an
            enlarged photo are finer.

    Raises:
        InputError: an image cannot be read, or the store cannot be written.
    """
    for path in tqdm(images, desc="dino", unit="image"):
        yield store.get_or_compute(*dino_entry(dino, path, short_side))["features"]


def dino_entry(dino: Dino, path: Path, short_side: int) -> Entry:
    """The same of one image, as ``features``."""

    def compute() -> dict[str, Tensor]:
        image = _read(path, short_side, dino.patch, largest_factor=math.inf)
        return {"features": dino.tokens(image[None])[0].half()}

    return Entry("dino", image_bytes(path), dino_identity(dino, short_side), compute)


def dino_identity(dino: Dino, short_side: int) -> Identity:
    """All that its tokens depend on besides the image."""
    return {"model": dino.name, "weights": dino.fingerprint, "short_side": short_side, **_WHOLE}


def _read(path: Path, short_side: int, patch: int, largest_factor: float) -> Float[Tensor, "3 h w"]:
    """An image, its shorter side about ``short_side`` pixels long, and both sides whole patches."""
    image = read_image(path)
    height, width = image.shape[:2]
    factor = min(largest_factor, short_side / min(height, width))
    if min(height, width) * factor < patch:
        raise InputError(
            f"{path}: {round(width * factor)}x{round(height * factor)} pixels; expected at least {patch}x{patch}"
        )
    rows, columns = (round(side * factor / patch) * patch for side in (height, width))
    return resize(image, rows, columns).permute(2, 0, 1) / 255
