"""The losses of CNS (Chen et al., NeurIPS 2023): labels that switch between their sources, and a latent space."""

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pointcloud.distributed import mean_over_all
from pointcloud.refine import UNSURE, leading, normalised

_MOST = 10.0
"""How many times more, or less, a class can count."""


def switched(sources: Int64[Tensor, "s n"], choice: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """The label of each member from the source that was drawn for it."""
    return sources.gather(0, choice[None])[0]


def aligned(scores: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Float[Tensor, "n k"]:
    """Scores with more for classes that lead less often than labels name them: what is rare is not forgotten.

    Distribution alignment (Berthelot et al., "ReMixMatch", ICLR 2020), there of mean probabilities, here of leading
    classes among the members that have both scores and a label. Of several processes each counts its own members.
    """
    both, k = (scores.sum(dim=1) > 0) & (labels != UNSURE), scores.shape[1]
    named, led = (each[both].bincount(minlength=k) + 1 for each in (labels, leading(scores)))
    return normalised(scores * (named / led).clamp(1 / _MOST, _MOST))


def latent_consistency(
    pixels: Float[Tensor, "m d"], points: Float[Tensor, "m d"], frozen: Float[Tensor, "m d"]
) -> Float[Tensor, ""]:
    """2 - cos(pixel, frozen) - cos(point, frozen), mean over pairs (eq. 7, whose sum grows with their number).

    The norm in eq. 7 changes no cosine. Nothing flows into the frozen features.
    """
    frozen = frozen.detach()
    alike = F.cosine_similarity(pixels, frozen, dim=1) + F.cosine_similarity(points, frozen, dim=1)
    return mean_over_all((2 - alike).sum(), len(frozen))
