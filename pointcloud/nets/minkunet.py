"""MinkUNet (Choy et al., CVPR 2019): a U-Net of sparse convolutions, in the layers and names of its published weights.

Four stages halve the resolution, four bring it back with skip connections. Published checkpoints of
MinkowskiEngine's networks and of SLidR load key by key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from pointcloud.sparse import BatchNorm, Convolution, SparseTensor, TransposedConvolution, concatenate
from pointcloud.sparse.modules import ReLU


@dataclass(frozen=True)
class Architecture:
    """Width and depth of a MinkUNet."""

    planes: tuple[int, int, int, int, int, int, int, int]
    """Channels of the four stages down and of the four up."""
    blocks: tuple[int, int, int, int, int, int, int, int]
    """Residual blocks of each stage."""
    stem: int = 32
    """Channels at full resolution."""


_DEEP = (2, 3, 4, 6, 2, 2, 2, 2)
_ONE = (1, 1, 1, 1, 1, 1, 1, 1)
_A = (32, 64, 128, 256, 128, 128, 96, 96)
ARCHITECTURES = {
    "minkunet14a": Architecture(_A, _ONE),
    "minkunet18a": Architecture(_A, (2, 2, 2, 2, 2, 2, 2, 2)),
    "minkunet34a": Architecture((32, 64, 128, 256, 256, 128, 64, 64), _DEEP),
    "minkunet34c": Architecture((32, 64, 128, 256, 256, 128, 96, 96), _DEEP),
    "minkunet-small": Architecture((16, 32, 64, 96, 64, 48, 32, 32), _ONE, stem=16),
}
"""The published ones, and ``minkunet-small`` for two cores."""


class BasicBlock(nn.Module):
    """Two convolutions and a short cut (He et al., CVPR 2016)."""

    def __init__(self, c_in: int, c_out: int, bn_momentum: float) -> None:
        super().__init__()
        self.conv1 = Convolution(c_in, c_out, 3)
        self.norm1 = BatchNorm(c_out, bn_momentum)
        self.conv2 = Convolution(c_out, c_out, 3)
        self.norm2 = BatchNorm(c_out, bn_momentum)
        self.relu = ReLU(inplace=True)
        self.downsample = (
            None
            if c_in == c_out
            else nn.Sequential(Convolution(c_in, c_out, 1), BatchNorm(c_out, bn_momentum))
        )

    def forward(self, x: SparseTensor) -> SparseTensor:
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class MinkUNet(nn.Module):
    """A U-Net whose last features, at full resolution, go through any number of linear heads."""

    def __init__(
        self,
        c_in: int,
        architecture: Architecture,
        heads: Mapping[str, int] | None = None,
        kernel_size: int = 3,
        bn_momentum: float = 0.1,
    ) -> None:
        """
        Args:
            heads: name and channels of each; ``final`` is the published one.
            kernel_size: of the first layer: 3 in SLidR and CLIP2Scene, 5 in MinkowskiEngine's examples and OpenScene.
            bn_momentum: of all norms. The published code leaves those inside blocks at 0.1.
        """
        super().__init__()
        planes, stem = architecture.planes, architecture.stem
        down = (stem, *planes[:4])
        skips = (planes[2], planes[1], planes[0], stem)
        self.c_out = planes[7]
        self.head_names = tuple(heads or {})
        self.relu = ReLU(inplace=True)
        self.conv0p1s1, self.bn0 = Convolution(c_in, stem, kernel_size), BatchNorm(stem, bn_momentum)
        for i, (name, c) in enumerate(zip(_DOWN, down, strict=False)):
            self.add_module(name, Convolution(c, c, 2, stride=2))
            self.add_module(f"bn{i + 1}", BatchNorm(c, bn_momentum))
            blocks = _blocks(c, planes[i], architecture.blocks[i], bn_momentum)
            self.add_module(f"block{i + 1}", blocks)
        for i, (name, c, skip) in enumerate(zip(_UP, planes[3:], skips, strict=False)):
            c_out = planes[4 + i]
            self.add_module(name, TransposedConvolution(c, c_out))
            self.add_module(f"bntr{i + 4}", BatchNorm(c_out, bn_momentum))
            blocks = _blocks(c_out + skip, c_out, architecture.blocks[4 + i], bn_momentum)
            self.add_module(f"block{i + 5}", blocks)
        for name, c in (heads or {}).items():
            self.add_module(name, Convolution(self.c_out, c, 1, bias=True))

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features of ``c_out`` channels on the input's voxels, before the heads."""
        x = self.relu(self.bn0(self.conv0p1s1(x)))
        skips = [x]
        for i, name in enumerate(_DOWN):
            x = self.relu(self._normed(x, name, f"bn{i + 1}"))
            x = self.get_submodule(f"block{i + 1}")(x)
            skips.append(x)
        skips.pop()
        for i, name in enumerate(_UP):
            x = self._normed(x, name, f"bntr{i + 4}")
            x = self.relu(
                concatenate([x, skips.pop()])
            )  # of skips, no change; one copy of x is kept, not two
            x = self.get_submodule(f"block{i + 5}")(x)
        return x

    def heads(self, features: Float[Tensor, "v c"]) -> dict[str, Float[Tensor, "v _"]]:
        """What each head makes of features, those of all voxels or of some."""
        heads = {name: cast(Convolution, self.get_submodule(name)) for name in self.head_names}
        return {name: head.of_rows(features) for name, head in heads.items()}

    def _normed(self, x: SparseTensor, convolution: str, norm: str) -> SparseTensor:
        return self.get_submodule(norm)(self.get_submodule(convolution)(x))


_DOWN = ("conv1p1s2", "conv2p2s2", "conv3p4s2", "conv4p8s2")
_UP = ("convtr4p16s2", "convtr5p8s2", "convtr6p4s2", "convtr7p2s2")


def _blocks(c_in: int, c_out: int, count: int, bn_momentum: float) -> nn.Sequential:
    return nn.Sequential(*(BasicBlock(c_in if i == 0 else c_out, c_out, bn_momentum) for i in range(count)))
