"""Matrix products of tall matrices with small ones, at the speed that the processor has.

PyTorch's ``mm`` calls MKL, which on some processors of other makers than its own runs at half of their rate or less,
and on others at all of it. Its convolutions call oneDNN: a 1x1 convolution of channels-last pictures that are one pixel
wide is the same product, and may take half of the time or three times as much. So both are timed, once in a process.
In a single thread PyTorch calls oneDNN for 16 pictures or more. oneDNN compiles a kernel for each new shape, which
takes longer than the product: so it gets a round number of rows, and in half precision, which is always its own, a CPU
multiplies in single precision.
"""

import time
from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

ROWS = 256
"""oneDNN gets multiples of this, and is called for four times as many or more."""
_PICTURES = 16
_TIMED = 4096, 64
"""Rows and channels of the products that are timed."""
_CLEARLY = 1.2
"""How many times faster oneDNN has to be: what is nearly equal is decided alike in each process."""


def product(
    rows: Float[Tensor, "m i"], weight: Float[Tensor, "i o"], out: Float[Tensor, "m o"]
) -> Float[Tensor, "m o"]:
    """rows @ weight"""
    if _widened(rows):
        return out.copy_(rows.float() @ weight.float())
    whole = _whole(rows)
    if whole:
        _convolve(rows[:whole], weight, out[:whole])
        torch.mm(rows[whole:], weight, out=out[whole:])
    else:
        torch.mm(rows, weight, out=out)
    return out


def add_product_of_transposed(
    rows: Float[Tensor, "m i"], others: Float[Tensor, "m o"], total: Float[Tensor, "i o"]
) -> None:
    """total += rows.T @ others: the gradient of the weight of such a convolution."""
    if _widened(rows):
        total.addmm_(rows.float().T, others.float())
        return
    whole = _whole(rows)
    if whole:
        _add_gradient(rows[:whole], others[:whole], total)
        rows, others = rows[whole:], others[whole:]
    total.addmm_(rows.T, others)


def _widened(rows: Tensor) -> bool:
    return rows.device.type == "cpu" and rows.dtype in (torch.bfloat16, torch.float16)


def _whole(rows: Tensor) -> int:
    """How many of the rows oneDNN gets."""
    if len(rows) < 4 * ROWS or rows.device.type != "cpu" or rows.dtype != torch.float32:
        return 0
    return len(rows) // ROWS * ROWS if onednn_is_faster() else 0


@cache
def onednn_is_faster() -> bool:
    """Whether this processor multiplies clearly faster through oneDNN, forward and backward together."""
    m, c = _TIMED
    rows, weight, out, total = torch.ones(m, c), torch.ones(c, c), torch.empty(m, c), torch.zeros(c, c)

    def by_mm() -> None:
        torch.mm(rows, weight, out=out)
        total.addmm_(rows.T, out)

    def by_onednn() -> None:
        _convolve(rows, weight, out)
        _add_gradient(rows, out, total)

    with torch.no_grad():
        return _seconds(by_mm) > _CLEARLY * _seconds(by_onednn)


def _seconds(work: Callable[[], None]) -> float:
    """The least of some runs, after one that compiles."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _convolve(rows: Float[Tensor, "m i"], weight: Float[Tensor, "i o"], out: Float[Tensor, "m o"]) -> None:
    """out = rows @ weight, by oneDNN; m is a multiple of the pictures."""
    pictures = functional.conv2d(_pictures(rows), weight.T[:, :, None, None])
    out.view(_PICTURES, -1, weight.shape[1]).copy_(pictures[..., 0].transpose(1, 2))


def _add_gradient(
    rows: Float[Tensor, "m i"], others: Float[Tensor, "m o"], total: Float[Tensor, "i o"]
) -> None:
    """total += rows.T @ others, by oneDNN; m is a multiple of the pictures."""
    shape = (others.shape[1], rows.shape[1], 1, 1)
    total.add_(conv2d_weight(_pictures(rows), shape, _pictures(others))[:, :, 0, 0].T)


def _pictures(rows: Float[Tensor, "m i"]) -> Float[Tensor, "p i h 1"]:
    """Rows as pixels of pictures of width 1; channels last, so nothing is copied."""
    m, i = rows.shape
    h = m // _PICTURES
    return rows.as_strided((_PICTURES, i, h, 1), (h * i, 1, i, i))
