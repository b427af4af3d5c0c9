"""Layers whose parameters are named and laid out as MinkowskiEngine's, so that its checkpoints load key by key."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pointcloud.distributed import BatchNorm1d
from pointcloud.sparse.backends import check_backend, convolve_with
from pointcloud.sparse.kernel_map import Region
from pointcloud.sparse.levels import Step
from pointcloud.sparse.tensor import SparseTensor


class _Kernel(nn.Module):
    """A kernel and a bias: ``kernel`` is (k, c_in, c_out), or (c_in, c_out) for one offset without stride."""

    backend: str = "torch"

    def __init__(self, c_in: int, c_out: int, region: Region, stride: int, bias: bool, fan: int) -> None:
        super().__init__()
        self.c_in, self.c_out, self.region, self.stride = c_in, c_out, region, stride
        pointwise = region.volume == 1 and stride == 1
        self.kernel = nn.Parameter(torch.empty((c_in, c_out) if pointwise else (region.volume, c_in, c_out)))
        self.bias = nn.Parameter(torch.empty(1, c_out)) if bias else None
        bound = 1 / math.sqrt(region.volume * fan)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def extra_repr(self) -> str:
        return f"{self.c_in}, {self.c_out}, kernel_size={self.region.size}, stride={self.stride}"

    def _with_bias(self, features: Tensor) -> Tensor:
        return features if self.bias is None else features + self.bias

    def _along(self, x: SparseTensor, step: Step) -> SparseTensor:
        features, kernel = x.features, self.kernel
        device = features.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            features, kernel = features.to(dtype), kernel.to(dtype)
        y = convolve_with(self.backend, features, kernel, step)
        return SparseTensor(self._with_bias(y), step.target)


class Convolution(_Kernel):
    """Sparse convolution: submanifold at stride 1 (no new voxels), onto the coarser level otherwise.

    Offsets are in ``kernel_map.Region``'s order. With stride 1 an odd kernel is centred. Coarser voxels are those of
    floor(c / stride) * stride.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__(c_in, c_out, Region(kernel_size, dilation), stride, bias, fan=c_in)

    def forward(self, x: SparseTensor) -> SparseTensor:
        if self.kernel.dim() == 2:
            return x.with_features(self.of_rows(x.features))
        level = x.level if self.stride == 1 else x.level.coarser(self.stride)
        return self._along(x, Step(x.level, level, self.region))

    def of_rows(self, features: Float[Tensor, "n c_in"]) -> Float[Tensor, "n c_out"]:
        """What a convolution of one offset makes of features, wherever they are."""
        return self._with_bias(features @ self.kernel)


class TransposedConvolution(_Kernel):
    """The adjoint of a strided convolution: back onto the finer level that the input came from."""

    def __init__(
        self, c_in: int, c_out: int, kernel_size: int = 2, stride: int = 2, bias: bool = False
    ) -> None:
        super().__init__(c_in, c_out, Region(kernel_size), stride, bias, fan=c_out)

    def forward(self, x: SparseTensor) -> SparseTensor:
        fine = x.level.levels.get(x.stride // self.stride)
        if fine is None or fine.stride * self.stride != x.stride:
            there = sorted(x.level.levels)
            raise ValueError(
                f"no level of stride {x.stride / self.stride:g} to return to; this input has {there}"
            )
        return self._along(x, Step(fine, x.level, self.region, transposed=True))


class BatchNorm(nn.Module):
    """Batch normalisation over all voxels of a batch; parameters lie under ``bn``."""

    def __init__(self, c: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.bn = BatchNorm1d(c, momentum=momentum)

    def forward(self, x: SparseTensor) -> SparseTensor:
        return x.with_features(self.bn(x.features))


class ReLU(nn.ReLU):
    """Rectified linear unit of the features."""

    def forward(self, x: SparseTensor) -> SparseTensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return x.with_features(super().forward(x.features))


def use_backend(
    net: nn.Module, name: str, device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> None:
    """Let all convolutions of a network be computed by this back-end: "torch", "spconv" or "minkowski".

    Args:
        device: where the network will run; by default where it is now.
        dtype: in what it will compute.

    Raises:
        InputError: no back-end has this name, or it cannot be used on the device, or not in the dtype.
        ImportError: its package is missing.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, _Kernel)]
    for place in {device} if device else {layer.kernel.device for layer in layers}:
        check_backend(name, place, dtype)
    for layer in layers:
        layer.backend = name
