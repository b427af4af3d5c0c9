"""Which voxel contributes to which, for each offset of a kernel: all the geometry that a convolution needs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int64
from torch import Tensor


@dataclass(frozen=True)
class Region:
    """The offsets of a cubic kernel in MinkowskiEngine's order: the first spatial axis runs fastest.

    Along each axis they are -(size // 2) .. size // 2 for an odd size, and 0 .. size - 1 for an even one, in units of
    the finer level's stride times the dilation.
    """

    size: int
    """Voxels along an edge."""
    dilation: int = 1

    def __post_init__(self) -> None:
        if self.size < 1 or self.dilation < 1:
            raise ValueError(f"kernel size and dilation are at least 1, got {self.size} and {self.dilation}")

    @property
    def volume(self) -> int:
        """How many offsets there are."""
        return self.size**3

    @property
    def reach(self) -> int:
        """Largest offset along an axis."""
        return (self.size if self.size % 2 == 0 else self.size // 2 + 1) * self.dilation

    @property
    def along(self) -> range:
        """Offsets along one axis."""
        first = -(self.size // 2) if self.size % 2 else 0
        return range(first * self.dilation, (first + self.size) * self.dilation, self.dilation)

    @property
    def offsets(self) -> list[tuple[int, int, int]]:
        """(x, y, z) of each offset."""
        return [(x, y, z) for z in self.along for y in self.along for x in self.along]

    def columns(self) -> Iterator[tuple[int, int, list[int]]]:
        """x, y, and the positions in ``offsets`` of all z, upwards."""
        n = self.size
        for j, y in enumerate(self.along):
            for i, x in enumerate(self.along):
                yield x, y, [i + n * (j + n * k) for k in range(n)]


@dataclass(frozen=True, eq=False)
class KernelMap:
    """Pairs of rows (source, target), offset by offset. Within one offset no row comes twice on either side."""

    source: Int64[Tensor, " p"]
    """Rows that are read."""
    target: Int64[Tensor, " p"]
    """Rows that are added to."""
    counts: tuple[int, ...]
    """Pairs of each offset; an offset that is the identity counts none."""
    n_source: int
    n_target: int
    identity: int | None = None
    """The offset, if there is one, that pairs each row with itself."""

    @classmethod
    def of_pairs(
        cls,
        pairs: Sequence[tuple[Tensor, Tensor]],
        n_source: int,
        n_target: int,
        identity: int | None = None,
    ) -> "KernelMap":
        """A map from the (source, target) rows of each offset."""
        source, target = (torch.cat(side) for side in zip(*pairs, strict=True))
        return cls(source, target, tuple(len(each) for each, _ in pairs), n_source, n_target, identity)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Where each offset's pairs begin, and the end."""
        starts = [0]
        for count in self.counts:
            starts.append(starts[-1] + count)
        return tuple(starts)

    @property
    def n_pairs(self) -> int:
        """Of all offsets, the identity's too."""
        return self.starts[-1] + (self.n_target if self.identity is not None else 0)

    def transposed(self) -> "KernelMap":
        """The same pairs the other way round: what a transposed convolution goes along."""
        return KernelMap(self.target, self.source, self.counts, self.n_target, self.n_source, self.identity)
