"""The arithmetic of a sparse convolution in plain PyTorch: gather, multiply, add, with a backward pass of its own.

    y[t] = sum over offsets k and pairs (s, t) of k:  x[s] W[k]

Pairs are taken in portions whose gathered rows stay in a CPU's cache: a portion may be a part of an offset's pairs or
those of many offsets, so that small clouds do not pay for 27 gathers and 27 sums. What is left of the time is the
matrix product. Autograd would keep every gathered row; here nothing but the input is kept, and the backward pass
gathers again.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pointcloud.sparse.kernel_map import KernelMap
from pointcloud.sparse.products import add_product_of_transposed, product

_NUMBERS = {"cpu": 2**19}
"""Gathered and produced numbers of a portion on a kind of device: 2 MB in float32 for a CPU's cache."""
_NUMBERS_ELSEWHERE = 2**26


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
    size, kernels = _portion(x, c_in + c_out), weight.unbind()
    y = _first(x, kernels, kernel_map.identity, kernel_map.n_target)
    read, made = x.new_empty(size, c_in), x.new_empty(size, c_out)
    for source, target, offsets, counts in _portions(kernel_map, size):
        rows, products = read[: len(source)], made[: len(source)]
        torch.index_select(x, 0, source, out=rows)
        for k, of_k, product_of_k in zip(offsets, rows.split(counts), products.split(counts), strict=True):
            product(of_k, kernels[k], product_of_k)
        y.index_add_(0, target, products.to(y.dtype))
    return y.to(x.dtype)


def _backward(
    x: Tensor, weight: Tensor, grad: Tensor, kernel_map: KernelMap, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients with respect to features and kernel, as far as they are needed."""
    c_in, c_out = weight.shape[1:]
    size, kernels = _portion(x, c_in + c_out), weight.transpose(1, 2).unbind()
    grad_x = grad_weight = None
    if needed[0]:
        grad_x = _first(grad, kernels, kernel_map.identity, len(x))
    if needed[1]:
        grad_weight = weight.new_zeros(weight.shape, dtype=_sum_dtype(x))
        grad_kernels = grad_weight.unbind()
        if kernel_map.identity is not None:
            add_product_of_transposed(x, grad, grad_kernels[kernel_map.identity])
    read, made, received = (x.new_empty(size, channels) for channels in (c_in, c_in, c_out))
    for source, target, offsets, counts in _portions(kernel_map, size):
        n = len(source)
        grads = torch.index_select(grad, 0, target, out=received[:n]).split(counts)
        if grad_weight is not None:
            rows = torch.index_select(x, 0, source, out=read[:n]).split(counts)
            for k, of_k, grad_of_k in zip(offsets, rows, grads, strict=True):
                add_product_of_transposed(of_k, grad_of_k, grad_kernels[k])
        if grad_x is not None:
            products = made[:n]
            for k, grad_of_k, product_of_k in zip(offsets, grads, products.split(counts), strict=True):
                product(grad_of_k, kernels[k], product_of_k)
            grad_x.index_add_(0, source, products.to(grad_x.dtype))
    return (
        None if grad_x is None else grad_x.to(x.dtype),
        None if grad_weight is None else grad_weight.to(weight.dtype),
    )


def _first(x: Tensor, kernels: Sequence[Tensor], identity: int | None, rows: int) -> Tensor:
    """What other offsets are added to: the product of the identity, if there is one, or zeros."""
    if identity is None:
        return x.new_zeros(rows, kernels[0].shape[1], dtype=_sum_dtype(x))
    return product(x, kernels[identity], x.new_empty(rows, kernels[identity].shape[1])).to(_sum_dtype(x))


def _sum_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _portion(x: Tensor, channels: int) -> int:
    """Pairs that are taken at a time."""
    return max(1, _NUMBERS.get(x.device.type, _NUMBERS_ELSEWHERE) // channels)


def _portions(kernel_map: KernelMap, size: int) -> Iterator[tuple[Tensor, Tensor, list[int], list[int]]]:
    """Source rows and target rows of at most ``size`` pairs at a time; their offsets, and how many are of each."""
    ends, total, k = kernel_map.starts[1:], kernel_map.starts[-1], 0
    for first in range(0, total, size):
        last, offsets, counts, done = min(first + size, total), [], [], first
        while done < last:
            stop = min(ends[k], last)
            if done < stop:
                offsets.append(k)
                counts.append(stop - done)
            done = stop
            k += done == ends[k]
        yield kernel_map.source[first:last], kernel_map.target[first:last], offsets, counts
