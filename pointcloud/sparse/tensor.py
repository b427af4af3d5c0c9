"""Features on voxels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int64, Integer
from torch import Tensor

from pointcloud.sparse.levels import Level, Packing

Duplicates = Literal["refuse", "mean", "first"]


@dataclass(frozen=True, eq=False)
class SparseTensor:
    """A row of features for each voxel of a level."""

    features: Float[Tensor, "v c"]
    level: Level

    @property
    def voxels(self) -> Int64[Tensor, "v 4"]:
        """(batch, x, y, z) of each row."""
        return self.level.voxels

    @property
    def stride(self) -> int:
        """Edge of a voxel, in units of the finest ones."""
        return self.level.stride

    def __len__(self) -> int:
        return len(self.level)

    def with_features(self, features: Float[Tensor, "v d"]) -> "SparseTensor":
        """Other features on the same voxels."""
        return replace(self, features=features)

    def __add__(self, other: "SparseTensor") -> "SparseTensor":
        _check_same_level([self, other])
        return self.with_features(self.features + other.features)


def concatenate(tensors: Sequence[SparseTensor]) -> SparseTensor:
    """Features of the same voxels, side by side.

    Raises:
        ValueError: the voxels are not those of one level.
    """
    _check_same_level(tensors)
    return tensors[0].with_features(torch.cat([each.features for each in tensors], dim=1))


def _check_same_level(tensors: Sequence[SparseTensor]) -> None:
    if any(each.level is not tensors[0].level for each in tensors):
        sizes = ", ".join(f"{len(each)} voxels of stride {each.stride}" for each in tensors)
        raise ValueError(f"expected features on the same level, got {sizes}")


def sparse_tensor(
    features: Float[Tensor, "n c"],
    voxels: Integer[Tensor, "n 4"],
    duplicates: Duplicates = "refuse",
) -> tuple[SparseTensor, Int64[Tensor, " n"]]:
    """Features on voxels at stride 1, sorted by (batch, x, y, z).

    Args:
        features: one row per given voxel, or per point.
        voxels: whole numbers of any sign, (batch, x, y, z); the batch comes first and is not negative.
        duplicates: of rows with the same voxel the mean, or the first; or an error.

    Returns:
        the tensor, and for each given row the row of its voxel: ``tensor.features[rows]`` is back in the given order.

    Raises:
        ValueError: a negative batch, a voxel that comes twice and may not, or a range of more than 63 bits.
    """
    voxels = voxels.long()
    if len(voxels) and int(voxels[:, 0].min()) < 0:
        raise ValueError("a batch is negative; voxels are (batch, x, y, z), the batch first")
    packing = Packing.around(voxels, 0)
    keys, rows = torch.unique(packing.keys(voxels), return_inverse=True)
    if duplicates == "refuse" and len(keys) < len(voxels):
        raise ValueError(
            f"{len(voxels) - len(keys)} of {len(voxels)} voxels come twice; say with `duplicates` what to do"
        )
    level = Level(packing.voxels(keys))
    if duplicates == "mean":
        return SparseTensor(mean_by_row(features, rows, len(keys)), level), rows
    return SparseTensor(features[first_of_row(rows, len(keys))], level), rows


def first_of_row(rows: Int64[Tensor, " n"], v: int) -> Int64[Tensor, " v"]:
    """Position of the first element of each row."""
    positions = torch.arange(len(rows), device=rows.device)
    return torch.full((v,), len(rows), device=rows.device).scatter_reduce(0, rows, positions, "amin")


def mean_by_row(features: Float[Tensor, "n c"], rows: Int64[Tensor, " n"], v: int) -> Float[Tensor, "v c"]:
    """Mean of the features that fall on each row; every row has at least one."""
    sums = features.new_zeros(v, features.shape[1]).index_add(0, rows, features)
    return sums / torch.bincount(rows, minlength=v).unsqueeze(1)
