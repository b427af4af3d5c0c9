"""Photos and masks on the disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ovs3d.atomic import atomic_file
from ovs3d.errors import InputError

_DEEP = ("I", "F", "I;16", "I;16B", "I;16L")


def read_image(path: Path) -> UInt8[Tensor, "h w 3"]:
    """An image file as RGB.

    Pixels are taken as stored: an EXIF orientation is not applied, since nerfstudio's poses ignore it too.
    Transparent pixels are shown on white.

    Raises:
        InputError: no such file, truncated, not an image, or of more than 8 bits per channel.
    """
    with _open(path) as image:
        _refuse_deep(path, image)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return torch.from_numpy(np.array(image.convert("RGB")))


def read_grey(path: Path) -> UInt8[Tensor, "h w"]:
    """The luminance of an image file, as stored; what is transparent is not treated apart.

    Raises:
        InputError: as `read_image`.
    """
    with _open(path) as image:
        _refuse_deep(path, image)
        return torch.from_numpy(np.array(image.convert("L")))


def read_ids(path: Path) -> UInt8[Tensor, "h w"]:
    """The numbers of a grey image, or the rows of the palette that a coloured one names, as label images have them.

    Raises:
        InputError: as `read_image`, or the pixels are colours.
    """
    with _open(path) as image:
        _refuse_deep(path, image)
        if image.mode not in ("L", "P"):
            raise InputError(
                f"{path}: expected an id per pixel, grey or with a palette, found colours ({image.mode})"
            )
        return torch.from_numpy(np.array(image))


def read_depth(path: Path) -> Float[Tensor, "h w"]:
    """The numbers of a depth image, of any depth of bits, or of a ``.npy`` file, as stored; 0 is unknown.

    Raises:
        InputError: no such file, or neither of the two.
    """
    if path.suffix == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read as depth ({error})") from error
    else:
        with _open(path) as image:
            values = np.array(image)
    if values.ndim != 2:
        raise InputError(f"{path}: expected one depth per pixel, got an array of {values.shape}")
    return torch.from_numpy(values.astype(np.float32))


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header of an image file.

    Raises:
        InputError: no such file, or not an image.
    """
    with _open(path) as image:
        return image.height, image.width


def write_png(path: Path, picture: UInt8[np.ndarray, "h w c"] | UInt8[np.ndarray, "h w"]) -> None:
    """Write a grey, RGB or RGBA picture; folders are made, a killed process leaves no half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        Image.fromarray(picture).save(file, format="PNG")


def image_bytes(path: Path) -> bytes:
    """What an image file holds, whether or not it is an image.

    Raises:
        InputError: no such file.
    """
    with _image_errors(path):
        return path.read_bytes()


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    with _image_errors(path), Image.open(path) as image:
        yield image


@contextmanager
def _image_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such image") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as an image ({error}); replace it") from error


def _refuse_deep(path: Path, image: Image.Image) -> None:
    if image.mode in _DEEP:
        raise InputError(f"{path}: {image.mode} pixels; expected an image with 8 bits per channel")
