"""A network with its inputs, its voxels and its heads: from points to features of points."""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ovs3d.errors import InputError
from pointcloud.config import Net
from pointcloud.nets.minkunet import ARCHITECTURES, MinkUNet
from pointcloud.nets.points import Points
from pointcloud.nets.spvcnn import SPVCNN
from pointcloud.sparse import sparse_tensor

_CHANNELS = {"rgb": 3, "offset": 3}


class PointModel(nn.Module):
    """Any of the networks, asked for points."""

    _frozen = False

    def __init__(self, config: Net, heads: Mapping[str, int]) -> None:
        super().__init__()
        c_in = sum(_CHANNELS.get(name, 1) for name in config.inputs)
        if config.name == "spvcnn":
            if config.first_kernel != 3:
                raise InputError(f"the first kernel of spvcnn is 3, not {config.first_kernel}")
            self.net: MinkUNet | SPVCNN = SPVCNN(c_in, heads, bn_momentum=config.bn_momentum)
        else:
            architecture = ARCHITECTURES[config.name]
            self.net = MinkUNet(c_in, architecture, heads, config.first_kernel, config.bn_momentum)

    def forward(
        self, points: Points, of: Int64[Tensor, " m"] | None = None
    ) -> dict[str, Float[Tensor, "m _"]]:
        """What each head says of each point.

        Args:
            of: rows of the points that are asked about, each as often as one likes; default: all.
        """
        answers, rows = self.shared(points, of)
        if of is None and isinstance(self.net, SPVCNN):
            return answers  # a row for each point already
        return {name: values[rows] for name, values in answers.items()}

    def shared(
        self, points: Points, of: Int64[Tensor, " m"] | None = None
    ) -> tuple[dict[str, Float[Tensor, "v _"]], Int64[Tensor, " m"]]:
        """What each head says, and which row of it is of each point: those in one voxel of a MinkUNet share one.

        Heads have many more channels than the trunk: they are asked once for each voxel that is asked about.
        """
        if isinstance(self.net, SPVCNN):
            features = self.net(points)
            rows = torch.arange(len(features), device=features.device)
        else:
            voxels, rows = sparse_tensor(points.features, points.voxels, "mean")
            features = self.net(voxels).features
        if of is not None:
            asked, rows = rows[of].unique(return_inverse=True)
            features = features[asked]
        return self.net.heads(features), rows

    def freeze_trunk(self) -> None:
        """Let the heads alone learn, as in a linear probe; batch normalisation keeps its means too."""
        heads = self._of_heads()
        for p in self.parameters():
            p.requires_grad_(id(p) in heads)
        self._frozen = True
        self.train(self.training)

    def train(self, mode: bool = True) -> "PointModel":
        super().train(mode)
        if self._frozen:
            self.net.eval()
        return self

    def _of_heads(self) -> set[int]:
        """Ids of the parameters of all heads."""
        return {id(p) for name in self.net.head_names for p in self.net.get_submodule(name).parameters()}

    def parameter_groups(self, lr: float, lr_head: float) -> list[dict]:
        """Trunk and heads, each with its learning rate; of the trunk, matrices are apart, as ``Muon`` wants them."""
        return self._grouped(self.named_parameters(), lr, lr_head)

    def _grouped(self, named: Iterable[tuple[str, nn.Parameter]], lr: float, lr_head: float) -> list[dict]:
        heads = self._of_heads()
        kernels, weights, others, ends = [], [], [], []
        for name, p in named:
            if id(p) in heads:
                ends.append(p)
            elif name.endswith(".kernel"):
                kernels.append(p)
            elif name.endswith(".weight") and p.dim() > 1:
                weights.append(p)
            else:
                others.append(p)
        groups = [
            {"params": kernels, "lr": lr, "outputs": -1},
            {"params": weights, "lr": lr, "outputs": 0},
            {"params": others, "lr": lr},
            {"params": ends, "lr": lr_head},
        ]
        return [group for group in groups if group["params"]]
