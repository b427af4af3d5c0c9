"""Sets of voxels: sorted, without duplicates, at one stride; and the search for voxels in them."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import torch
from jaxtyping import Int64
from torch import Tensor

from pointcloud.sparse.kernel_map import KernelMap, Region

_LARGEST_KEY = 2**63 - 1


@dataclass(frozen=True)
class Packing:
    """One integer per voxel that sorts as (batch, x, y, z) does."""

    low: tuple[int, int, int, int]
    """Smallest coordinates that have a key."""
    size: tuple[int, int, int, int]
    """How many values each coordinate may take."""

    @classmethod
    def around(cls, voxels: Int64[Tensor, "v 4"], reach: int) -> "Packing":
        """For voxels and all that lies up to ``reach`` beside them in x, y and z.

        Raises:
            ValueError: the range is too large for 63 bits.
        """
        if len(voxels) == 0:
            return cls((0, 0, 0, 0), (1, 1, 1, 1))
        low, high = voxels.min(dim=0).values.tolist(), voxels.max(dim=0).values.tolist()
        margin = (0, reach, reach, reach)
        size = tuple(h - s + 1 + 2 * m for h, s, m in zip(high, low, margin, strict=True))
        if size[0] * size[1] * size[2] * size[3] > _LARGEST_KEY:
            raise ValueError(
                f"voxels from {low} to {high} (batch, x, y, z) span more than 63 bits; remove outliers or use a larger "
                "voxel size"
            )
        low = tuple(s - m for s, m in zip(low, margin, strict=True))
        return cls(low, size)  # pyright: ignore[reportArgumentType]

    @property
    def steps(self) -> tuple[int, int, int, int]:
        """How much a key grows with each coordinate."""
        _, x, y, z = self.size
        return x * y * z, y * z, z, 1

    def keys(self, voxels: Int64[Tensor, "v 4"]) -> Int64[Tensor, " v"]:
        """Keys of voxels in range."""
        b, x, y, z = voxels.unbind(dim=1)
        start = sum(low * step for low, step in zip(self.low, self.steps, strict=True))
        return ((b * self.size[1] + x) * self.size[2] + y) * self.size[3] + (z - start)

    def voxels(self, keys: Int64[Tensor, " v"]) -> Int64[Tensor, "v 4"]:
        """Voxels of keys."""
        columns = []
        for low, size in zip(self.low[::-1], self.size[::-1], strict=True):
            columns.append(keys % size + low)
            keys = keys // size
        return torch.stack(columns[::-1], dim=1)


@dataclass(frozen=True, eq=False)
class Level:
    """Voxels at one stride. Levels of one input know each other, and keep their kernel maps."""

    voxels: Int64[Tensor, "v 4"]
    """(batch, x, y, z) in units of the finest voxels, multiples of the stride, sorted, no two the same."""
    stride: int = 1
    """Edge of a voxel, in units of the finest ones."""
    finer: "Level | None" = field(default=None, repr=False)
    """The level that this one was made from."""
    levels: WeakValueDictionary[int, "Level"] = field(default_factory=WeakValueDictionary, repr=False)
    """Levels of the input by stride, as long as they are used; a level keeps the finer ones, and is kept by none."""
    maps: dict[tuple, KernelMap] = field(default_factory=dict, repr=False)
    """Kernel maps made so far."""
    kept: dict[Hashable, Any] = field(default_factory=dict, repr=False)
    """What back-ends keep for the input."""

    def __post_init__(self) -> None:
        self.levels[self.stride] = self

    def __len__(self) -> int:
        return len(self.voxels)

    @cached_property
    def units(self) -> Int64[Tensor, "v 4"]:
        """The voxels in units of this level's stride, the batch unchanged."""
        if self.stride == 1:
            return self.voxels
        return torch.cat([self.voxels[:, :1], self.voxels[:, 1:] // self.stride], dim=1)

    def coarser(self, factor: int) -> "Level":
        """The level of voxels that are ``factor`` times as long: floor(c / stride) * stride, made once."""
        made = self.levels.get(self.stride * factor)
        return self._coarsen(factor) if made is None else made

    def _coarsen(self, factor: int) -> "Level":
        """Make the coarser level and, as it costs little now, the map of an even kernel as large as the stride."""
        units, stride = self.units, self.stride * factor
        parents = torch.cat([units[:, :1], units[:, 1:].div(factor, rounding_mode="floor")], dim=1)
        packing = Packing.around(parents, 0)
        keys, parent = torch.unique(packing.keys(parents), return_inverse=True)
        voxels = packing.voxels(keys)
        voxels[:, 1:] *= stride
        coarse = Level(voxels, stride, self, self.levels, self.maps, self.kept)
        if factor % 2:  # an odd kernel is centred, so it looks beyond its own voxel
            return coarse
        x, y, z = (units[:, 1:] - parents[:, 1:] * factor).unbind(dim=1)
        which = x + factor * (y + factor * z)
        child = torch.argsort(which, stable=True)
        counts = tuple(torch.bincount(which, minlength=factor**3).tolist())
        fine_to_coarse = KernelMap(child, parent[child], counts, len(units), len(voxels))
        self.maps[self.stride, stride, Region(factor)] = fine_to_coarse
        return coarse

    def map_to(self, other: "Level", region: Region) -> KernelMap:
        """Which of these voxels each voxel of the same or of a coarser level sees through a kernel; made once."""
        key = self.stride, other.stride, region
        if key not in self.maps:
            self.maps[key] = (
                self._mirrored(region) if other is self and region.size % 2 else self._map(other, region)
            )
        return self.maps[key]

    def _mirrored(self, region: Region) -> KernelMap:
        """Onto the level itself: half of the offsets are searched, the others are their mirror image."""
        packing = Packing.around(self.units, region.reach)
        keys = packing.keys(self.units)
        pairs = [(keys[:0], keys[:0])] * region.volume
        for x, y, positions in region.columns():
            if (x, y) <= (0, 0):
                below = positions[: region.size // 2] if (x, y) == (0, 0) else positions
                for index, (source, target) in zip(
                    below, _column(keys, keys, packing, x, y, region), strict=False
                ):
                    pairs[index] = source, target
                    pairs[region.volume - 1 - index] = target, source
        return KernelMap.of_pairs(pairs, len(self), len(self), identity=region.volume // 2)

    def _map(self, other: "Level", region: Region) -> KernelMap:
        """In general: every offset of every voxel of the other level is searched here."""
        ratio = other.stride // self.stride
        packing = Packing.around(self.units, region.reach + ratio)
        scale = torch.tensor([1, ratio, ratio, ratio], device=self.voxels.device)
        keys, seen_from = packing.keys(self.units), packing.keys(other.units * scale)
        pairs = [(keys[:0], keys[:0])] * region.volume
        for x, y, positions in region.columns():
            for index, found in zip(positions, _column(keys, seen_from, packing, x, y, region), strict=True):
                pairs[index] = found
        return KernelMap.of_pairs(pairs, len(self), len(other))


@dataclass(frozen=True, eq=False)
class Step:
    """What a convolution goes along: through a kernel onto the same or a coarser level, or back."""

    fine: Level
    coarse: Level
    """The same level, or a coarser one of the same input."""
    region: Region
    transposed: bool = False
    """Whether it goes from coarse to fine."""

    @property
    def source(self) -> Level:
        """The level that is read."""
        return self.coarse if self.transposed else self.fine

    @property
    def target(self) -> Level:
        """The level that is added to."""
        return self.fine if self.transposed else self.coarse

    @property
    def kernel_map(self) -> KernelMap:
        """Rows of the source and of the target."""
        kernel_map = self.fine.map_to(self.coarse, self.region)
        return kernel_map.transposed() if self.transposed else kernel_map


def _column(
    keys: Int64[Tensor, " v"],
    seen_from: Int64[Tensor, " w"],
    packing: Packing,
    x: int,
    y: int,
    region: Region,
) -> Iterator[tuple[Int64[Tensor, " p"], Int64[Tensor, " p"]]]:
    """Pairs (row of ``keys``, row of ``seen_from``) at (x, y, z) for each z upwards.

    Voxels of a column are neighbours in the sorted keys, so without dilation one search serves all of them.
    """
    _, step_x, step_y, _ = packing.steps
    keys = torch.cat([keys, keys.new_tensor([_LARGEST_KEY])])
    place = None
    for z in region.along:
        wanted = seen_from + (x * step_x + y * step_y + z)
        if place is None or region.dilation > 1:
            place = torch.searchsorted(keys, wanted)
        hit = keys[place] == wanted
        target = hit.nonzero().squeeze(1)
        yield place[target], target
        place = place + hit
