"""Features of a scene's images on the grid of a model's patches, dense CLIP and DINO, computed once."""

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
from ovs3d.foundation.dense import dense_features
from ovs3d.foundation.dense_options import MASKCLIP, DenseOptions
from ovs3d.foundation.dino import Dino
from ovs3d.foundation.store import FeatureStore, Identity
from ovs3d.images import read_image

_LARGEST_PATCH = 32
"""Pixels, of all CLIPs and DINOs."""


def scene_dense(
    clip: Clip, images: Sequence[Path], store: FeatureStore, short_side: int
) -> Iterator[Float[Tensor, "gh gw d"]]:
    """MaskCLIP features of each image in turn, float16.

    Args:
        short_side: larger images are made smaller until their shorter side has as many pixels.

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
        return dense_features(clip, _read(path, short_side, largest_factor=1.0), options)

    identity = {**clip.identity, "short_side": short_side, **asdict(options)}
    return _stored("clip-dense", path, identity, store, compute)


def scene_dino(
    dino: Dino, images: Sequence[Path], store: FeatureStore, short_side: int
) -> Iterator[Float[Tensor, "gh gw c"]]:
    """DINO's tokens of each image in turn, float16.

    Args:
        short_side: images are made smaller or larger until their shorter side has as many pixels: tokens of an enlarged
            photo are finer.

    Raises:
        InputError: an image cannot be read, or the store cannot be written.
    """
    for path in tqdm(images, desc="dino", unit="image"):
        yield image_dino(dino, path, store, short_side)


def image_dino(dino: Dino, path: Path, store: FeatureStore, short_side: int) -> Float[Tensor, "gh gw c"]:
    """The same of one image."""

    def compute() -> Tensor:
        return dino.tokens(_read(path, short_side, largest_factor=math.inf)[None])[0]

    identity = {"model": dino.name, "weights": dino.fingerprint, "enlarged": True, "short_side": short_side}
    return _stored("dino", path, identity, store, compute)


def _stored(
    kind: str, path: Path, identity: Identity, store: FeatureStore, compute: Callable[[], Tensor]
) -> Tensor:
    stored = store.get_or_compute(kind, path.read_bytes(), identity, lambda: {"features": compute().half()})
    return stored["features"]


def size_with(height: int, width: int, short_side: int, largest_factor: float = math.inf) -> tuple[int, int]:
    """The size at which an image is looked at: its shorter side is brought to ``short_side`` pixels."""
    factor = min(largest_factor, short_side / min(height, width))
    return round(height * factor), round(width * factor)


def _read(path: Path, short_side: int, largest_factor: float) -> Float[Tensor, "3 h w"]:
    image = read_image(path)
    rows, cols = size_with(image.shape[0], image.shape[1], short_side, largest_factor)
    if min(rows, cols) < _LARGEST_PATCH:
        raise InputError(f"{path}: {cols}x{rows} pixels; expected at least {_LARGEST_PATCH}x{_LARGEST_PATCH}")
    return resize(image, rows, cols).permute(2, 0, 1) / 255
