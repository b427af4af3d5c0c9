"""The arithmetic of MinkowskiEngine 0.5 (Choy et al., CVPR 2019) on our voxels.

It is given the voxels of each level and searches kernel maps of its own. Its kernels are laid out as ours.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ovs3d.errors import InputError
from ovs3d.require import require
from pointcloud.sparse import arithmetic
from pointcloud.sparse.levels import Level, Step


def check(device: torch.device) -> None:
    """Make sure that MinkowskiEngine can be used on a device.

    Raises:
        InputError: the installed one was not built for the device.
        ImportError: it is not installed.
    """
    engine = require("MinkowskiEngine", "minkowski")
    if device.type != "cpu" and not (device.type == "cuda" and engine.is_cuda_available()):
        raise InputError(
            f"expected a MinkowskiEngine built for {device.type}, found one without; use the back-end torch"
        )


def convolve(
    x: Float[Tensor, "v c_in"], weight: Float[Tensor, "k c_in c_out"], step: Step
) -> Float[Tensor, "w c_out"]:
    """Features of the target voxels.

    Raises:
        InputError: a voxel's coordinate has more than 32 bits.
    """
    if len(x) == 0:  # MinkowskiEngine would return a reference to a map that is gone
        return arithmetic.convolve(x, weight, step.kernel_map)
    engine = require("MinkowskiEngine", "minkowski")
    source, target = _voxels(step.source), _voxels(step.target)
    generator = engine.KernelGenerator(
        kernel_size=step.region.size,
        stride=step.coarse.stride // step.fine.stride,
        dilation=step.region.dilation,
        dimension=3,
    )
    function = (
        engine.MinkowskiConvolutionTransposeFunction
        if step.transposed
        else engine.MinkowskiConvolutionFunction
    )
    modes = require("MinkowskiEngineBackend._C", "minkowski").ConvolutionMode
    y = function.apply(
        source.from_ours(x),
        weight.contiguous(),
        generator,
        modes.DEFAULT,
        source.key,
        target.key,
        _manager(step.fine),
    )
    return target.to_ours(y)


@dataclass(frozen=True, eq=False)
class _Voxels:
    """A level as MinkowskiEngine knows it."""

    key: Any
    order: Int64[Tensor, " v"] | None
    """Our row of each of its rows; none if they are the same."""

    def from_ours(self, x: Tensor) -> Tensor:
        return x if self.order is None else x[self.order]

    def to_ours(self, y: Tensor) -> Tensor:
        return y if self.order is None else torch.zeros_like(y).index_copy(0, self.order, y)


def _voxels(level: Level) -> _Voxels:
    key = "minkowski", level.stride
    if key not in level.kept:
        voxels = level.voxels.int().contiguous()
        if not torch.equal(voxels.long(), level.voxels):
            raise InputError("expected voxels within 32 bits, found larger ones; use the back-end torch")
        known_as, (order, _) = _manager(level).insert_and_map(voxels, level.stride)
        in_order = torch.equal(order, torch.arange(len(voxels), device=order.device))
        level.kept[key] = _Voxels(known_as, None if in_order else order)
    return level.kept[key]


def _manager(level: Level) -> Any:
    """Keeps the levels and kernel maps of one input."""
    if "minkowski" not in level.kept:
        engine = require("MinkowskiEngine", "minkowski")
        kinds = engine.CoordinateMapType
        kind = kinds.CUDA if level.voxels.is_cuda else kinds.CPU
        level.kept["minkowski"] = engine.CoordinateManager(D=3, coordinate_map_type=kind)
    return level.kept["minkowski"]
