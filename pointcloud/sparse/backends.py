"""What does the arithmetic of a convolution: our own in PyTorch, or another library on request."""

from jaxtyping import Float
from torch import Tensor

from pointcloud.sparse import arithmetic
from pointcloud.sparse.kernel_map import KernelMap


def convolve_with(
    backend: str, x: Float[Tensor, "v c_in"], weight: Float[Tensor, "k c_in c_out"], kernel_map: KernelMap
) -> Float[Tensor, "w c_out"]:
    """Convolve along a kernel map."""
    return arithmetic.convolve(x, weight, kernel_map)
