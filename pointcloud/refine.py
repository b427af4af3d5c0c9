"""What a mask says as a whole: labels of its pixels and points, brought to one (CNS, Chen et al., NeurIPS 2023).

A mask is a set of pixels, and of the points that project into them, in which one thing is expected. Members of no mask
have the id -1 and keep what they have.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pointcloud.config import Refine

UNSURE = -1
"""Instead of a class id, where there is none."""


def votes(probabilities: Float[Tensor, "n k"], how: Refine) -> Float[Tensor, "n k"]:
    """What members say of the classes: if votes are hard, all for the best one; nothing where all are zero."""
    if how != "hard":
        return probabilities
    highest, best = probabilities.max(dim=1)
    best = best.masked_fill(highest <= 0, UNSURE)
    return votes_of_labels(best, probabilities.shape[1]).to(probabilities.dtype)


def votes_of_labels(labels: Int64[Tensor, " n"], k: int) -> Float[Tensor, "n k"]:
    """1 for the label of each member and 0 for the other classes; 0 for all of them where it is -1."""
    return F.one_hot(labels.clamp_min(0), k).float() * (labels >= 0)[:, None]


def decided(
    scores: Float[Tensor, "n k"], how: Refine, margin: float, hard_margin: float = 0.0
) -> Int64[Tensor, " n"]:
    """The class that votes are for, -1 where there are none, or where it leads too little.

    Args:
        margin: by how much it has to lead if votes are soft.
        hard_margin: the same if they are not; with 0 the lowest id wins a tie.
    """
    return leading(scores, margin if how == "soft" else hard_margin)


def mean_in_masks(scores: Float[Tensor, "n k"], mask: Int64[Tensor, " n"]) -> Float[Tensor, "n k"]:
    """The mean scores of each member's mask, or its own if it has none.

    Args:
        scores: probabilities of the classes; members with zeros have no say.
        mask: id of the mask of each member, from 0; -1 for none.

    Returns:
        Rows that sum to 1, or to 0 where nobody has a say.
    """
    sums = sums_of_masks(scores, mask)
    found, inside = scores.clone(), mask >= 0
    found[inside] = sums[mask[inside]]
    return normalised(found)


def sums_of_masks(scores: Float[Tensor, "n k"], mask: Int64[Tensor, " n"]) -> Float[Tensor, "m k"]:
    """The scores of the members of each mask, added up; those of none are left out."""
    sums = scores.new_zeros(int(mask.max()) + 1 if len(mask) else 0, scores.shape[1])
    return sums.index_add_(0, mask[mask >= 0], scores[mask >= 0])


def normalised(scores: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Rows that sum to 1; those of zeros stay."""
    return scores / scores.sum(dim=1, keepdim=True).clamp_min(torch.finfo(scores.dtype).tiny)


def leading(scores: Float[Tensor, "n k"], margin: float = 0.0) -> Int64[Tensor, " n"]:
    """The class of the highest score, of several the lowest id; -1 where all are 0, or where it leads too little.

    Args:
        margin: by how much it has to lead the next one, in 0..1.
    """
    first, label = scores.max(dim=1)
    second = scores.scatter(1, label[:, None], -torch.inf).amax(dim=1)
    return label.masked_fill((first <= 0) | (first - second < margin), UNSURE)
