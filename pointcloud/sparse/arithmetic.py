"""The arithmetic of a sparse convolution in plain PyTorch: gather, multiply, add, with a backward pass of its own.

    y[t] = sum over offsets k and pairs (s, t) of k:  x[s] W[k]

On a CPU the pairs of an offset are taken in portions whose gathered rows stay in the cache, so what is left of the
time is the matrix product. Autograd would keep every gathered row; here nothing but the input is kept, and the
backward pass gathers again.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from pointcloud.sparse.kernel_map import KernelMap
from pointcloud.sparse.products import ROWS, product, product_of_transposed

_CACHED_NUMBERS = 2**19
"""Gathered and produced numbers of a portion on a CPU: 2 MB in float32."""


def convolve(
    x: Float[Tensor, "v c_in"], weight: Float[Tensor, "k c_in c_out"], kernel_map: KernelMap
) -> Float[Tensor, "w c_out"]:
    """Features of the target voxels, in the dtype of x. Sums of half-precision products are kept in float32."""
    if x.dtype != weight.dtype:
        raise ValueError(f"features are {x.dtype} and the kernel is {weight.dtype}; convert one of them")
    return _Convolve.apply(x, weight, kernel_map)  # pyright: ignore[reportReturnType]


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, kernel_map: KernelMap) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.kernel_map = kernel_map
        return _forward(x.contiguous(), weight, kernel_map)

    @staticmethod
    def backward(ctx, *grads: Tensor):
        x, weight = ctx.saved_tensors
        grad_x, grad_weight = _backward(
            x.contiguous(), weight, grads[0].contiguous(), ctx.kernel_map, ctx.needs_input_grad
        )
        return grad_x, grad_weight, None


def _forward(x: Tensor, weight: Tensor, kernel_map: KernelMap) -> Tensor:
    c_in, c_out = weight.shape[1:]
    transposed = weight.transpose(1, 2).contiguous()
    y = x.new_zeros(kernel_map.n_target, c_out, dtype=_sum_dtype(x))
    portion = _portion(x, c_in + c_out)
    if kernel_map.identity is not None:
        for rows, sums in zip(x.split(portion), y.split(portion), strict=True):
            sums.copy_(product(rows, transposed[kernel_map.identity]))
    read = x.new_zeros(portion, c_in)
    for k, source, target in _portions(kernel_map, portion):
        n, padded = len(source), _padded(len(source), portion)
        torch.index_select(x, 0, source, out=read[:n])
        y.index_add_(0, target, product(read[:padded], transposed[k])[:n].to(y.dtype))
    return y.to(x.dtype)


def _backward(
    x: Tensor, weight: Tensor, grad: Tensor, kernel_map: KernelMap, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients with respect to features and kernel, as far as they are needed."""
    c_in, c_out = weight.shape[1:]
    grad_x = grad_weight = None
    if needed[0]:
        grad_x = x.new_zeros(x.shape, dtype=_sum_dtype(x))
    if needed[1]:
        grad_weight = weight.new_zeros(weight.shape, dtype=_sum_dtype(x))
    portion = _portion(x, c_in + c_out)
    if (k := kernel_map.identity) is not None:
        for first in range(0, len(x), portion):
            here = slice(first, first + portion)
            if grad_x is not None:
                grad_x[here] = product(grad[here], weight[k])
            if grad_weight is not None:
                grad_weight[k].add_(product_of_transposed(x[here], grad[here]))
    read, received = x.new_zeros(portion, c_in), x.new_zeros(portion, c_out)
    for k, source, target in _portions(kernel_map, portion):
        n, padded = len(source), _padded(len(source), portion)
        torch.index_select(grad, 0, target, out=received[:n])
        received[n:padded] = 0
        if grad_weight is not None:
            torch.index_select(x, 0, source, out=read[:n])
            grad_weight[k].add_(product_of_transposed(read[:padded], received[:padded]))
        if grad_x is not None:
            grad_x.index_add_(0, source, product(received[:padded], weight[k])[:n].to(grad_x.dtype))
    return (
        None if grad_x is None else grad_x.to(x.dtype),
        None if grad_weight is None else grad_weight.to(weight.dtype),
    )


def _padded(n: int, portion: int) -> int:
    """Rows that are multiplied: few enough different numbers of them, or n itself if that wastes too much."""
    padded = -(-n // ROWS) * ROWS
    return padded if padded <= min(portion, 1.25 * n) else n


def _sum_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _portion(x: Tensor, channels: int) -> int:
    """Pairs that are taken at a time."""
    return max(1, _CACHED_NUMBERS // channels // ROWS) * ROWS if x.device.type == "cpu" else max(len(x), 1)


def _portions(kernel_map: KernelMap, size: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Offset, source rows and target rows of at most ``size`` pairs at a time."""
    for k, (start, count) in enumerate(zip(kernel_map.starts, kernel_map.counts, strict=False)):
        for first in range(start, start + count, size):
            last = min(first + size, start + count)
            yield k, kernel_map.source[first:last], kernel_map.target[first:last]
