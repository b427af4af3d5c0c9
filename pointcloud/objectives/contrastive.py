"""The losses of PPKT (Liu et al., 2021) and SLidR (Sautier et al., CVPR 2022): what photos show finds its points.

Both are the contrast of PointInfoNCE, PPKT's between points and pixels, SLidR's between superpoints and superpixels.
"""

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pointcloud.distributed import mean_over_all

TEMPERATURE = 0.07
"""Of both, in SLidR's code, which holds PPKT as well."""


def point_pixel_contrast(
    points: Float[Tensor, "m c"], pixels: Float[Tensor, "m c"], temperature: float = TEMPERATURE
) -> Float[Tensor, ""]:
    """-log(exp(p_i x_i / tau) / sum over j of exp(p_i x_j / tau)) of unit features, mean over the pairs.

    Each point p_i is to tell its own pixel x_i from the pixels of all other pairs. Of several processes each contrasts
    its own pairs, as in SLidR's code, and the mean is over all.

    Args:
        points: features of the points of pairs; their direction counts.
        pixels: features of their pixels; their direction counts.

    Returns:
        0 if there is no pair, or a single one.
    """
    logits = F.normalize(points, dim=1) @ F.normalize(pixels, dim=1).T / temperature
    total = (logits.logsumexp(dim=1) - logits.diagonal()).sum()
    return mean_over_all(total, len(points))


def superpixel_contrast(
    points: Float[Tensor, "m c"],
    superpixel: Int64[Tensor, " m"],
    superpixels: Float[Tensor, "s c"],
    temperature: float = TEMPERATURE,
) -> Float[Tensor, ""]:
    """The same between superpixels and their superpoints: means of the features of the points that lie in each.

    Every superpixel counts once, however many points it has. Means become unit vectors; SLidR's code makes unit vectors
    of points and pixels instead and leaves the means shorter, by how much their members differ.

    Args:
        points: features of the points of pairs.
        superpixel: row of the superpixel that holds the pixel of each pair.
        superpixels: mean feature of each; all have points. Those of other photos are other rows.

    Returns:
        0 if there is no superpixel, or a single one.
    """
    sums = points.new_zeros(len(superpixels), points.shape[1]).index_add(0, superpixel, points)
    return point_pixel_contrast(sums, superpixels, temperature)  # a mean has the direction of its sum
