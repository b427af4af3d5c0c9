"""Hard votes in masks, as labels."""

import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor

from pointcloud.refine import decided, mean_in_masks, votes


def majority(labels: Int64[Tensor, " n"], mask: Int64[Tensor, " n"], k: int) -> Int64[Tensor, " n"]:
    """Hard votes of members with labels; those with -1 have none."""
    said = F.one_hot(labels.clamp_min(0), k).float() * (labels >= 0)[:, None]
    return decided(mean_in_masks(votes(said, "hard"), mask), "hard", 0.0)
