"""Sums and products of rows that are named by pairs, without a copy of a row for each pair."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

_AT_ONCE = 1 << 19
"""Numbers of the rows that are multiplied at once: they stay in a core's cache."""
SHORTEST = 1e-12
"""Length that vectors of length 0 are taken to have, as in `torch.nn.functional.normalize`."""


def sum_rows(
    values: Float[Tensor, "v d"],
    row: Int64[Tensor, " m"],
    weights: Float[Tensor, " m"],
    into: Int64[Tensor, " m"],
    n: int,
) -> Float[Tensor, "n d"]:
    """Add weight times a row of ``values`` to a row of the result, for each pair of rows."""
    return _SumRows.apply(values, row, weights, into, n)


def dot_rows(
    a: Float[Tensor, "v d"], i: Int64[Tensor, " m"], b: Float[Tensor, "n d"], j: Int64[Tensor, " m"]
) -> Float[Tensor, " m"]:
    """The product of a row of ``a`` and a row of ``b``, for each pair of rows."""
    return _DotRows.apply(a, i, b, j)


def lengths(rows: Float[Tensor, "v d"]) -> Float[Tensor, " v"]:
    """Of rows, never 0."""
    return rows.norm(dim=1).clamp_min(SHORTEST)


class _SumRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, row: Tensor, weights: Tensor, into: Tensor, n: int) -> Tensor:
        ctx.save_for_backward(values, row, weights, into)
        order = into.argsort(stable=True)  # the same sums, to the last bit, of the same rows
        begin = into.bincount(minlength=n).cumsum(0).roll(1)
        begin[:1] = 0
        return F.embedding_bag(row[order], values, begin, mode="sum", per_sample_weights=weights[order])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, row, weights, into = ctx.saved_tensors
        grad = grad.contiguous()
        of_values, _, of_weights, *_ = ctx.needs_input_grad
        return (
            sum_rows(grad, into, weights, row, len(values)) if of_values else None,
            None,
            dot_rows(values, row, grad, into) if of_weights else None,
            None,
            None,
        )


class _DotRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, i: Tensor, b: Tensor, j: Tensor) -> Tensor:
        ctx.save_for_backward(a, i, b, j)
        found = a.new_empty(len(i))
        size = max(1, _AT_ONCE // max(1, a.shape[1]))
        for out, mine, theirs in zip(found.split(size), i.split(size), j.split(size), strict=True):
            torch.sum(a[mine] * b[theirs], dim=1, out=out)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, i, b, j = ctx.saved_tensors
        of_a, _, of_b, _ = ctx.needs_input_grad
        return (
            sum_rows(b, j, grad, i, len(a)) if of_a else None,
            None,
            sum_rows(a, i, grad, j, len(b)) if of_b else None,
            None,
        )
