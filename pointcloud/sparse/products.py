"""Matrix products of tall matrices with small ones, at the speed that the processor has.

PyTorch's ``mm`` calls MKL, which on processors of other makers than its own runs at half of their rate or less. Its
convolutions call oneDNN, which does not: a 1x1 convolution of channels-last pictures that are one pixel wide is the
same product. oneDNN compiles a kernel for each new shape, so the callers round the number of rows. In a single thread
PyTorch calls it for 16 pictures or more.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

ROWS = 256
"""Numbers of rows are multiples of this, or else ``mm`` is called."""
_PICTURES = 16


def product(rows: Float[Tensor, "m i"], weight: Float[Tensor, "o i"]) -> Float[Tensor, "m o"]:
    """rows @ weight.T"""
    if not _as_convolution(rows):
        return rows @ weight.T
    pictures = functional.conv2d(_pictures(rows), weight[:, :, None, None])
    return pictures[..., 0].transpose(1, 2).reshape(len(rows), len(weight))


def product_of_transposed(rows: Float[Tensor, "m i"], others: Float[Tensor, "m o"]) -> Float[Tensor, "i o"]:
    """rows.T @ others: the gradient of the weight of such a convolution."""
    if not _as_convolution(rows):
        return rows.T @ others
    shape = (others.shape[1], rows.shape[1], 1, 1)
    return conv2d_weight(_pictures(rows), shape, _pictures(others))[:, :, 0, 0].T


def _as_convolution(rows: Tensor) -> bool:
    return (
        rows.device.type == "cpu" and rows.dtype == torch.float32 and len(rows) % ROWS == 0 and len(rows) > 0
    )


def _pictures(rows: Float[Tensor, "m i"]) -> Float[Tensor, "p i h 1"]:
    """Rows as pixels of pictures of width 1; channels last, so nothing is copied."""
    m, i = rows.shape
    h = m // _PICTURES
    return rows.as_strided((_PICTURES, i, h, 1), (h * i, 1, i, i))
