"""Multi-scale CLIP features of an image: a box and an embedding per tile (3D-OVS, section 3.1).

The published code averages the embeddings of all tiles over each pixel and stores a dense map per scale. The
tiles themselves say the same in a three-hundredth of the space, and the map is made where it is asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from tqdm import tqdm

from ovs3d.foundation.crops import TileSpec, crop_and_resize, resize, tile_boxes, working_size
from ovs3d.foundation.store import FeatureStore, Identity
from ovs3d.images import image_bytes, image_size, read_image

KIND = "clip-tiles"


@runtime_checkable
class ImageEncoder(Protocol):
    """What tiles need of a CLIP."""

    @property
    def identity(self) -> Identity:
        """All that its features depend on besides the image."""
        ...

    @property
    def image_size(self) -> int:
        """Side of the square that the model takes, in pixels."""
        ...

    def encode_images(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Features of RGB images in 0..1."""
        ...


@dataclass(frozen=True, eq=False)
class Tiles:
    """The encoded tiles of one image."""

    boxes: Int[Tensor, "n 4"]
    """Top, left, bottom, right; half-open, in pixels of the full image."""
    scale: Int[Tensor, " n"]
    """Index of each tile's scale, 0 the largest tiles."""
    embeddings: Float[Tensor, "n d"]
    """What CLIP gave, float16, not of unit length."""
    height: int
    """Rows of the image."""
    width: int
    """Columns of the image."""

    def features_at(self, rows: Int[Tensor, " n"], cols: Int[Tensor, " n"]) -> Float[Tensor, "n s d"]:
        """Mean embedding, per scale, of all tiles that cover a pixel's centre; NaN where none does.

        The first call makes a table of the regions between the tiles' edges, where the mean is constant: one
        to four entries per tile for a regular grid, up to one per pixel for a jittered one.
        """
        return torch.stack(
            [regions.means[regions.at(rows, cols)] for regions in self._regions], dim=1
        ).float()

    def grid(self, rows: int, cols: int) -> Float[Tensor, "s rows cols d"]:
        """The features at the centres of ``rows`` x ``cols`` equal cells of the image."""
        # floor((i + 1/2) * height / rows): boxes end at whole pixels
        row = (2 * torch.arange(rows, device=self.boxes.device) + 1) * self.height // (2 * rows)
        col = (2 * torch.arange(cols, device=self.boxes.device) + 1) * self.width // (2 * cols)
        return torch.stack(
            [regions.means[regions.at(row[:, None], col)] for regions in self._regions]
        ).float()

    def to(self, device: torch.device | str) -> "Tiles":
        """The same tiles on another device."""
        boxes, scale, embeddings = (t.to(device) for t in (self.boxes, self.scale, self.embeddings))
        return replace(self, boxes=boxes, scale=scale, embeddings=embeddings)

    @cached_property
    def _regions(self) -> list["_Regions"]:
        of_scale = [self.scale == i for i in range(int(self.scale.max()) + 1)]
        return [_regions(self.boxes[chosen], self.embeddings[chosen]) for chosen in of_scale]


@dataclass(frozen=True, eq=False)
class _Regions:
    """The rectangles between all edges of some boxes. The last row and column lie outside of all boxes."""

    row_edges: Int[Tensor, " y"]
    col_edges: Int[Tensor, " x"]
    means: Float[Tensor, "yx d"]

    def at(self, rows: Int[Tensor, "*n"], cols: Int[Tensor, "*m"]) -> Int[Tensor, "*nm"]:
        """Row of ``means`` for pixels; -1, left of all edges, is the last region again."""
        y = torch.searchsorted(self.row_edges, rows.to(self.row_edges), right=True) - 1
        x = torch.searchsorted(self.col_edges, cols.to(self.col_edges), right=True) - 1
        return (y % len(self.row_edges)) * len(self.col_edges) + x % len(self.col_edges)


def _regions(boxes: Int[Tensor, "n 4"], embeddings: Float[Tensor, "n d"]) -> _Regions:
    """Mean embedding over the boxes that cover each region, as a difference of corners summed twice."""
    row_edges, col_edges = boxes[:, 0::2].unique(), boxes[:, 1::2].unique()
    top, bottom = torch.searchsorted(row_edges, boxes[:, 0::2].contiguous()).unbind(1)
    left, right = torch.searchsorted(col_edges, boxes[:, 1::2].contiguous()).unbind(1)
    weighted = torch.cat([embeddings.float(), torch.ones_like(embeddings[:, :1], dtype=torch.float)], dim=1)
    sums = weighted.new_zeros(len(row_edges), len(col_edges), weighted.shape[1])
    for y, x, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        sums.index_put_((y, x), sign * weighted, accumulate=True)
    total, count = sums.cumsum(0).cumsum(1).flatten(0, 1).split([weighted.shape[1] - 1, 1], dim=1)
    means = (total / count).masked_fill(count < 0.5, torch.nan)
    return _Regions(row_edges, col_edges, means.to(embeddings.dtype))


def encode_tiles(
    clip: ImageEncoder,
    image: UInt8[Tensor, "h w 3"],
    spec: TileSpec,
    batch_size: int = 256,
    progress: Callable[[int], object] = lambda count: None,
) -> Tiles:
    """Encode all tiles of one image.

    Args:
        batch_size: tiles per call of the model.
        progress: told, after each call, how many tiles it was.
    """
    height, width = image.shape[:2]
    rows, cols = working_size(height, width, spec)
    working = resize(image, rows, cols)
    boxes, scale = tile_boxes(rows, cols, spec)
    embeddings = []
    for batch in boxes.split(batch_size):
        crops = crop_and_resize(working, batch, clip.image_size, centre_crop=spec.mode == "released")
        embeddings.append(clip.encode_images(crops.float().div_(255)).half().cpu())
        progress(len(batch))
    boxes = (boxes * torch.tensor([height / rows, width / cols] * 2)).round().int()
    return Tiles(boxes, scale, torch.cat(embeddings), height, width)


def scene_tiles(
    clip: ImageEncoder,
    images: Sequence[Path],
    spec: TileSpec,
    store: FeatureStore,
    batch_size: int = 256,
) -> list[Tiles]:
    """The tiles of a scene's images, from the store or encoded now, with a progress bar.

    Raises:
        InputError: an image cannot be read, or the store cannot be written.
    """
    identity = {**clip.identity, **spec.identity()}
    counts = [len(tile_boxes(*working_size(*image_size(path), spec), spec)[0]) for path in images]
    tiles = []
    with tqdm(total=sum(counts), desc="CLIP tiles", unit="tile") as bar:
        for path in images:
            start = bar.n

            def compute(path: Path = path) -> dict[str, Tensor]:
                return _to_tensors(encode_tiles(clip, read_image(path), spec, batch_size, bar.update))

            tensors = store.get_or_compute(KIND, image_bytes(path), identity, compute)
            tiles.append(_from_tensors(tensors))
            bar.update(start + len(tiles[-1].scale) - bar.n)  # read, not encoded
    return tiles


def _to_tensors(tiles: Tiles) -> dict[str, Tensor]:
    size = torch.tensor([tiles.height, tiles.width])
    return {"boxes": tiles.boxes, "scale": tiles.scale, "embeddings": tiles.embeddings, "size": size}


def _from_tensors(tensors: dict[str, Tensor]) -> Tiles:
    height, width = tensors["size"].tolist()
    return Tiles(tensors["boxes"], tensors["scale"], tensors["embeddings"], height, width)
