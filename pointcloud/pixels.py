"""Features at many pixels, kept as what they are mixed from: the patches of photos."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pointcloud.gathered import SHORTEST, sum_rows
from pointcloud.samples import starts


@dataclass(frozen=True, eq=False)
class PixelFeatures:
    """Features at pixels, between the centres of four patches linearly.

    There are far fewer patches than pixels, and a feature has hundreds of channels. What is linear in features is
    worked out for patches and then mixed, so that there is never a feature for each pixel; `rows` makes them.
    """

    patches: Float[Tensor, "p d"]
    """The features of all patches of some photos."""
    around: Int64[Tensor, "p 4"]
    """Rows of each patch, and of those to its right, below it, and below to its right."""
    patch: Int64[Tensor, " m"]
    """The patch whose centre is above and to the left of each pixel."""
    weight: Float[Tensor, "m 4"]
    """Of what is around that patch."""

    @classmethod
    def of(cls, rows: Float[Tensor, "m d"]) -> "PixelFeatures":
        """Features that are not mixed."""
        each = torch.arange(len(rows), device=rows.device)
        weight = torch.tensor([1.0, 0, 0, 0], dtype=rows.dtype, device=rows.device)
        return cls(rows, each[:, None].expand(-1, 4), each, weight.expand(len(rows), 4))

    @classmethod
    def at(cls, grid: Float[Tensor, "gh gw d"], cells: Float[Tensor, "m 2"]) -> "PixelFeatures":
        """Features at places on a grid of patches; beyond the outer centres, those of the border.

        Args:
            cells: (row, col) in cells, from the corner of the grid; its first centre is (0.5, 0.5).
        """
        gh, gw, _ = grid.shape
        places = (cells - 0.5).clamp_min(0).minimum(torch.tensor([gh, gw]) - 1)
        corner = places.long()
        below, right = (places - corner).to(grid).unbind(1)
        rows = torch.arange(gh * gw).view(gh, gw)
        down, across = (torch.arange(1, n + 1).clamp_max(n - 1) for n in (gh, gw))
        around = torch.stack([rows, rows[:, across], rows[down], rows[down][:, across]], dim=2)
        above, left = 1 - below, 1 - right
        weight = torch.stack([above * left, above * right, below * left, below * right], dim=1)
        return cls(grid.flatten(0, 1), around.flatten(0, 1), corner[:, 0] * gw + corner[:, 1], weight)

    @classmethod
    def cat(cls, parts: Sequence["PixelFeatures"]) -> "PixelFeatures":
        """Those of one after the other."""
        if len(parts) == 1:
            return parts[0]
        first = starts([len(part.patches) for part in parts])
        return cls(
            torch.cat([part.patches for part in parts]),
            torch.cat([part.around + begin for part, begin in zip(parts, first, strict=True)]),
            torch.cat([part.patch + begin for part, begin in zip(parts, first, strict=True)]),
            torch.cat([part.weight for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.patch)

    def __getitem__(self, which: Tensor) -> "PixelFeatures":
        """Those of some pixels."""
        return replace(self, patch=self.patch[which], weight=self.weight[which])

    def to(self, device: torch.device | str) -> "PixelFeatures":
        """The same on another device."""
        return PixelFeatures(
            *(each.to(device) for each in (self.patches, self.around, self.patch, self.weight))
        )

    def rows(self) -> Float[Tensor, "m d"]:
        """The feature of each pixel."""
        weights = self.weight.new_ones(len(self))
        return self.sums(weights, torch.arange(len(self), device=self.patch.device), len(self))

    def unit(self) -> "PixelFeatures":
        """The same with features of unit length."""
        near = self.patches[self.around]
        products = (near @ near.mT)[self.patch]
        squares = (self.weight[:, None] @ products @ self.weight[:, :, None])[:, 0]
        return replace(self, weight=self.weight / squares.clamp_min(SHORTEST**2).sqrt())

    def scores(self, text: Float[Tensor, "k d"]) -> Float[Tensor, "m k"]:
        """Products with texts."""
        return replace(self, patches=self.patches @ text.T).rows()

    def sums(self, weights: Float[Tensor, " m"], into: Int64[Tensor, " m"], n: int) -> Float[Tensor, "n d"]:
        """Add weight times the feature of a pixel to a row of the result, for each pixel."""
        p = max(len(self.patches), 1)
        once, which = (into * p + self.patch).unique(return_inverse=True)
        weight = self.weight.new_zeros(len(once), 4).index_add(0, which, weights[:, None] * self.weight)
        around, into = self.around[once % p].flatten(), (once // p).repeat_interleave(4)
        return sum_rows(self.patches, around, weight.flatten(), into, n)
