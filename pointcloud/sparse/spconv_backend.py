"""The arithmetic of spconv 2 along our kernel maps, which become its tables of pairs. For CUDA only.

Its kernels are (c_out, offset, c_in); the order of the offsets is that of the table, so it is ours.
"""

from dataclasses import dataclass
from types import ModuleType

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from ovs3d.errors import InputError
from ovs3d.require import require
from pointcloud.sparse import arithmetic
from pointcloud.sparse.kernel_map import KernelMap
from pointcloud.sparse.levels import Step


def check(device: torch.device) -> None:
    """Make sure that spconv can be used on a device.

    Raises:
        InputError: the device is no CUDA device, or the installed spconv is not made for CUDA.
        ImportError: it is not installed.
    """
    if device.type != "cuda":
        raise InputError(
            f"spconv is for CUDA only, found {device.type}: on a CPU its threads add rows without waiting for each "
            "other, which is silently wrong, and it has no gradients; use the back-end torch"
        )
    if require("spconv.cppconstants", "spconv").CPU_ONLY_BUILD:
        raise InputError(
            "expected a spconv made for CUDA, found its CPU wheel; replace spconv by spconv-cu126 or alike"
        )


@dataclass(frozen=True, eq=False)
class PairTable:
    """A kernel map as spconv's native algorithm reads it."""

    rows: Int32[Tensor, "2 k n"]
    """Source and target rows of each offset's pairs, filled up with -1."""
    counts: Int32[Tensor, " k"]
    """Pairs of each offset."""
    submanifold: bool
    """The offset in the middle pairs each row with itself, and its pairs are not in the table."""

    @classmethod
    def of_map(cls, kernel_map: KernelMap) -> "PairTable":
        """The table of a map whose identity, if it has one, is the offset in the middle."""
        device, k = kernel_map.source.device, len(kernel_map.counts)
        counts = torch.tensor(kernel_map.counts, device=device)
        offset = torch.repeat_interleave(torch.arange(k, device=device), counts)
        starts = torch.tensor(kernel_map.starts[:-1], device=device)
        place = torch.arange(len(offset), device=device) - starts[offset]
        rows = torch.full((2, k, max(1, *kernel_map.counts)), -1, dtype=torch.int32, device=device)
        rows[:, offset, place] = torch.stack([kernel_map.source, kernel_map.target]).int()
        return cls(rows, counts.int(), kernel_map.identity is not None)


def convolve(
    x: Float[Tensor, "v c_in"], weight: Float[Tensor, "k c_in c_out"], step: Step
) -> Float[Tensor, "w c_out"]:
    """Features of the target voxels. Sums are kept in the dtype of x."""
    kernel_map = step.fine.map_to(step.coarse, step.region)
    if kernel_map.n_pairs == 0:  # spconv wants at least one
        return arithmetic.convolve(x, weight, step.kernel_map)
    key = "spconv", step.fine.stride, step.coarse.stride, step.region
    if key not in step.fine.kept:
        step.fine.kept[key] = PairTable.of_map(kernel_map)
    operations = require("spconv.pytorch.ops", "spconv")
    table, n_target = step.fine.kept[key], len(step.target)
    return _Convolve.apply(x, weight, operations, table, n_target, step.transposed)  # pyright: ignore[reportReturnType]


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x: Tensor, weight: Tensor, operations: ModuleType, table: PairTable, n_target: int, inverse: bool
    ) -> Tensor:
        filters = weight.permute(2, 0, 1).contiguous()
        ctx.save_for_backward(x, filters)
        ctx.operations, ctx.table, ctx.inverse = operations, table, inverse
        return operations.indice_conv(
            x, filters, table.rows, table.counts, n_target, inverse=inverse, subm=table.submanifold
        )

    @staticmethod
    def backward(ctx, *grads: Tensor):
        x, filters = ctx.saved_tensors
        table = ctx.table
        grad_x, grad_filters = ctx.operations.indice_conv_backward(
            x,
            filters,
            grads[0].contiguous(),
            table.rows,
            table.counts,
            inverse=ctx.inverse,
            subm=table.submanifold,
        )
        return grad_x, grad_filters.permute(1, 2, 0), None, None, None, None
