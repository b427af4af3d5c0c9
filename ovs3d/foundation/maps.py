"""Features of a scene's images on the grid of a model's patches, dense CLIP and DINO, computed once.

Images are brought to whole patches, so that a grid covers all of its image and each patch the same part of it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
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
from ovs3d.foundation.store import FeatureStore, Identity
from ovs3d.images import image_bytes, read_image

DENSE, TOKENS = "clip-dense", "dino"
"""Kinds of features, in the names of their files."""
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
        yield image_dense(clip, path, store, short_side)


def image_dense(
    clip: Clip, path: Path, store: FeatureStore, short_side: int, options: DenseOptions = MASKCLIP
) -> Float[Tensor, "gh gw d"]:
    """The same of one image."""

    def compute() -> Tensor:
        return dense_features(clip, _read(path, short_side, patch_of(clip), largest_factor=1.0), options)

    return _stored(DENSE, path, dense_identity(clip, short_side, options), store, compute)


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
        yield image_dino(dino, path, store, short_side)


def image_dino(dino: Dino, path: Path, store: FeatureStore, short_side: int) -> Float[Tensor, "gh gw c"]:
    """The same of one image."""

    def compute() -> Tensor:
        return dino.tokens(_read(path, short_side, dino.patch, largest_factor=math.inf)[None])[0]

    return _stored(TOKENS, path, dino_identity(dino, short_side), store, compute)


def dino_identity(dino: Dino, short_side: int) -> Identity:
    """All that its tokens depend on besides the image."""
    return {"model": dino.name, "weights": dino.fingerprint, "short_side": short_side, **_WHOLE}


def _stored(
    kind: str, path: Path, identity: Identity, store: FeatureStore, compute: Callable[[], Tensor]
) -> Tensor:
    stored = store.get_or_compute(kind, image_bytes(path), identity, lambda: {"features": compute().half()})
    return stored["features"]


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
