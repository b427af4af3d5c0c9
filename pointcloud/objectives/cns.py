"""The losses of CNS (Chen et al., NeurIPS 2023): labels that switch between their sources, and a latent space."""

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pointcloud.distributed import mean_over_all


def switched(sources: Int64[Tensor, "s n"], choice: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """The label of each member from the source that was drawn for it."""
    return sources.gather(0, choice[None])[0]


def latent_consistency(
    pixels: Float[Tensor, "m d"], points: Float[Tensor, "m d"], frozen: Float[Tensor, "m d"]
) -> Float[Tensor, ""]:
    """2 - cos(pixel, frozen) - cos(point, frozen), mean over pairs (eq. 7, whose sum grows with their number).

    The norm in eq. 7 changes no cosine. Nothing flows into the frozen features.
    """
    frozen = frozen.detach()
    alike = F.cosine_similarity(pixels, frozen, dim=1) + F.cosine_similarity(points, frozen, dim=1)
    return mean_over_all((2 - alike).sum(), len(frozen))
