"""Matrix products of tall matrices with small ones, at the speed that the processor has.

PyTorch's ``mm`` calls MKL, which on processors of other makers than its own runs at half of their rate or less. Its
convolutions call oneDNN, which does not: a 1x1 convolution of channels-last pictures that are one pixel wide is the
same product. In a single thread PyTorch calls it for 16 pictures or more. oneDNN compiles a kernel for each new shape,
which takes longer than the product: so it gets a round number of rows, and in half precision, which is always its own,
a CPU multiplies in single precision.
"""

from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

ROWS = 256
"""oneDNN gets multiples of this, and is called for four times as many or more."""
_PICTURES = 16


def product(
    rows: Float[Tensor, "m i"], weight: Float[Tensor, "i o"], out: Float[Tensor, "m o"]
) -> Float[Tensor, "m o"]:
    """rows @ weight"""
    if _widened(rows):
        return out.copy_(rows.float() @ weight.float())
    whole = _whole(rows)
    if whole:
        pictures = functional.conv2d(_pictures(rows[:whole]), weight.T[:, :, None, None])
        out[:whole].view(_PICTURES, -1, weight.shape[1]).copy_(pictures[..., 0].transpose(1, 2))
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
        shape = (others.shape[1], rows.shape[1], 1, 1)
        weight = conv2d_weight(_pictures(rows[:whole]), shape, _pictures(others[:whole]))
        total.add_(weight[:, :, 0, 0].T)
        rows, others = rows[whole:], others[whole:]
    total.addmm_(rows.T, others)


def _widened(rows: Tensor) -> bool:
    return rows.device.type == "cpu" and rows.dtype in (torch.bfloat16, torch.float16)


def _whole(rows: Tensor) -> int:
    """How many of the rows oneDNN gets."""
    if len(rows) < 4 * ROWS or rows.device.type != "cpu" or rows.dtype != torch.float32 or mkl_is_at_home():
        return 0
    return len(rows) // ROWS * ROWS


@cache
def mkl_is_at_home() -> bool:
    """Whether the processor is of MKL's maker."""
    told = Path("/proc/cpuinfo")
    return not told.exists() or "GenuineIntel" in told.read_text()


def _pictures(rows: Float[Tensor, "m i"]) -> Float[Tensor, "p i h 1"]:
    """Rows as pixels of pictures of width 1; channels last, so nothing is copied."""
    m, i = rows.shape
    h = m // _PICTURES
    return rows.as_strided((_PICTURES, i, h, 1), (h * i, 1, i, i))
