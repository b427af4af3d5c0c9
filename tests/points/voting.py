"""Hard votes in masks, as labels."""

from jaxtyping import Int64
from torch import Tensor

from pointcloud.refine import decided, mean_in_masks, votes, votes_of_labels


def majority(labels: Int64[Tensor, " n"], mask: Int64[Tensor, " n"], k: int) -> Int64[Tensor, " n"]:
    """Hard votes of members with labels; those with -1 have none."""
    said = votes(votes_of_labels(labels, k), "hard")
    return decided(mean_in_masks(said, mask), "hard", 0.0)
