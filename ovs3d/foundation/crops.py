"""Where the tiles of an image lie, and their pixels at the size that a model wants."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from torch import Tensor

from ovs3d.errors import InputError


@dataclass(frozen=True)
class TileSpec:
    """Which crops of an image are encoded (3D-OVS, section 3.1 and its released code)."""

    scales: tuple[int, ...] = (5, 7, 10)
    """Tile sides, as fractions of the image's short side: 5 means a fifth."""
    mode: Literal["clean", "released"] = "clean"
    """clean: a regular grid of squares, seen whole. released: jittered, of a small image, centre-cropped."""
    seed: int = 0
    """Seed of the jitter (released only); the same in every image of one size."""
    downscale: int = 8
    """The image is first made smaller by this factor (released only)."""

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) < 1:
            raise InputError(f"tile scales must be positive and at least one, got {self.scales}")
        if self.mode not in ("clean", "released"):
            raise InputError(f"tile mode must be clean or released, got {self.mode!r}")

    def identity(self) -> dict[str, str | int | list]:
        """The fields that the tiles depend on."""
        used = {"mode": self.mode, "scales": list(self.scales)}
        return used if self.mode == "clean" else used | {"seed": self.seed, "downscale": self.downscale}


def working_size(height: int, width: int, spec: TileSpec) -> tuple[int, int]:
    """Height and width at which an image is cut into tiles."""
    factor = spec.downscale if spec.mode == "released" else 1
    return height // factor, width // factor


def tile_boxes(height: int, width: int, spec: TileSpec) -> tuple[Int[Tensor, "n 4"], Int[Tensor, " n"]]:
    """Boxes (top, left, bottom, right; half-open) that cover an image, and the index of each one's scale.

    At each scale the side is p = min(height, width) // scale and the stride p // 4. ``clean`` moves the last
    row and column inwards, to the edge; ``released`` moves every side outwards by up to p // 4 and clips.

    Raises:
        InputError: the image is smaller than a tile of one pixel.
    """
    if min(height, width) < max(spec.scales):
        raise InputError(
            f"an image of {height} x {width} pixels has no room for tiles of 1/{max(spec.scales)} of its side"
        )
    jitter = torch.Generator().manual_seed(spec.seed) if spec.mode == "released" else None
    sides = [min(height, width) // scale for scale in spec.scales]
    boxes = [_boxes_of_side(height, width, side, jitter) for side in sides]
    scale = torch.arange(len(sides)).repeat_interleave(torch.tensor([len(of_scale) for of_scale in boxes]))
    return torch.cat(boxes).int(), scale.int()


def _boxes_of_side(height: int, width: int, side: int, jitter: torch.Generator | None) -> Int[Tensor, "n 4"]:
    tops, lefts = (_offsets(length, side, keep_inside=jitter is None) for length in (height, width))
    top, left = (grid.reshape(-1) for grid in torch.meshgrid(tops, lefts, indexing="ij"))
    boxes = torch.stack([top, left, top + side, left + side], dim=1)
    if jitter is None:
        return boxes
    outwards = torch.randint(0, side // 4 + 1, boxes.shape, generator=jitter)
    boxes += outwards * torch.tensor([-1, -1, 1, 1])
    return boxes.clamp(min=0).minimum(torch.tensor([height, width, height, width]))


def _offsets(length: int, side: int, keep_inside: bool) -> Int[Tensor, " n"]:
    stride = max(side // 4, 1)
    offsets = torch.arange(-(-(length - side) // stride) + 1) * stride
    return offsets.clamp(max=length - side) if keep_inside else offsets


def crop_and_resize(
    image: UInt8[Tensor, "h w 3"], boxes: Int[Tensor, "n 4"], size: int, centre_crop: bool = False
) -> UInt8[Tensor, "n 3 size size"]:
    """Crops of an image as squares, by antialiased bicubic interpolation.

    Args:
        boxes: top, left, bottom, right; half-open, in pixels. Those of one shape are resized together.
        size: side of the squares in pixels.
        centre_crop: scale the short side to ``size`` and cut off the rest of the long one, as CLIP's own
            preprocessing does; else the whole crop is resized.
    """
    shapes, group = (boxes[:, 2:] - boxes[:, :2]).unique(dim=0, return_inverse=True)
    squares = image.new_empty(len(boxes), 3, size, size)
    for i, (height, width) in enumerate(shapes.tolist()):
        of_shape = group == i
        windows = image.unfold(0, height, 1).unfold(1, width, 1)  # a view, [top, left, 3, height, width]
        crops = windows[boxes[of_shape, 0].long(), boxes[of_shape, 1].long()]
        squares[of_shape] = _centre_resize(crops, size) if centre_crop else _resize(crops, size, size)
    return squares


def resize(image: UInt8[Tensor, "h w 3"], height: int, width: int) -> UInt8[Tensor, "h2 w2 3"]:
    """An image at another size, by antialiased bicubic interpolation."""
    return _resize(image.permute(2, 0, 1)[None], height, width)[0].permute(1, 2, 0)


def _resize(images: UInt8[Tensor, "n 3 h w"], height: int, width: int) -> UInt8[Tensor, "n 3 h2 w2"]:
    if images.shape[-2:] == (height, width):
        return images
    images = images.contiguous(memory_format=torch.channels_last)  # bytes in this layout have a fast path
    return F.interpolate(images, (height, width), mode="bicubic", antialias=True)


def _centre_resize(images: UInt8[Tensor, "n 3 h w"], size: int) -> UInt8[Tensor, "n 3 size size"]:
    height, width = images.shape[-2:]
    short = min(height, width)
    images = _resize(images, size * height // short, size * width // short)
    top, left = (round((length - size) / 2) for length in images.shape[-2:])
    return images[..., top : top + size, left : left + size]
