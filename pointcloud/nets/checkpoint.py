"""Published and own checkpoints of the point networks."""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ovs3d.foundation.state_dict import load_strictly, read_state_dict, weights_under
from pointcloud.nets.minkunet import MinkUNet
from pointcloud.nets.spvcnn import SPVCNN

_WRAPPERS = ("state_dict", "model_points", "model")
"""Where a file keeps its weights: Lightning's, SLidR's."""
_PREFIXES = ("model_points.", "model.", "module.", "encoder.", "net.")
_OURS = "model.net."
"""What names of weights begin with in the checkpoints of our trainings."""
_EVEN_ORDER = [0, 4, 2, 6, 1, 5, 3, 7]
"""Offsets of a 2x2x2 kernel: ours, the first axis fastest, in torchsparse's, the last axis fastest."""


def load_trunk(net: MinkUNet | SPVCNN, path: Path, kept: Collection[str] = ()) -> None:
    """Load all weights but those of heads: heads in the file are left out, those of the network stay as they are.

    Args:
        path: the folder of a run, or a state dict or training checkpoint of Lightning or SLidR, in safetensors or
            torch.save's format; nothing in it is executed. Weights of other networks beside (SLidR's image network) are
            left out. In a file of torch.save that no training of ours wrote, the kernels of SPVCNN are in the order of
            torchsparse, the one library that publishes it.
        kept: heads that are taken too if the file has them with as many channels.

    Raises:
        InputError: the file is damaged or would run code; a key is missing, foreign or of another shape.
    """
    path = path / "model.safetensors" if path.is_dir() else path
    found = read_state_dict(path, _WRAPPERS)
    ours = path.suffix == ".safetensors" or any(name.startswith(_OURS) for name in found)
    state = points_only(found)
    if isinstance(net, SPVCNN) and not ours:
        state = from_torchsparse(state)
    sizes = {name: value.shape for name, value in state.items()}
    other = {name.split(".")[0] for name, value in net.state_dict().items() if sizes.get(name) != value.shape}
    heads = {head for head in net.head_names if head not in kept or head in other}
    own = {name: value for name, value in net.state_dict().items() if name.split(".")[0] in heads}
    parts = {name.split(".")[0] for name in net.state_dict()} - heads
    trunk = {name: value for name, value in state.items() if name.split(".")[0] in parts}
    load_strictly(net, own | trunk, str(path))


def points_only(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the point network, without the prefixes that training code puts before them."""
    return weights_under(state, *_PREFIXES)


def from_torchsparse(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Kernels of 2x2x2 in MinkowskiEngine's order: torchsparse lists their offsets with the last axis fastest.

    Kernels of odd size have the same order in both.
    """
    order = torch.tensor(_EVEN_ORDER)
    return {
        name: value[order] if name.endswith("kernel") and value.dim() == 3 and len(value) == 8 else value
        for name, value in state.items()
    }
