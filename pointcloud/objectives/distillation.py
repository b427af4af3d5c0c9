"""Distillation of photos' features into points (OpenScene; Peng et al., CVPR 2023)."""

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pointcloud.distributed import mean_over_all


def over_photos(
    features: Float[Tensor, "m d"], point: Int64[Tensor, " m"]
) -> tuple[Float[Tensor, "k d"], Int64[Tensor, " k"]]:
    """What all photos together say of each point that any of them shows (section 3.1): the mean of unit features.

    Args:
        features: of pairs.
        point: row of the point of each pair.

    Returns:
        Means, and the rows of their points, ascending.
    """
    rows, which = point.unique(return_inverse=True)
    sums = features.new_zeros(len(rows), features.shape[1])
    sums = sums.index_add(0, which, F.normalize(features, dim=1))
    return sums / which.bincount(minlength=len(rows))[:, None], rows


def distillation(
    points: Float[Tensor, "n d"], features: Float[Tensor, "m d"], point: Int64[Tensor, " m"]
) -> Float[Tensor, ""]:
    """1 - cos between the features of a point and of its photos (section 3.2), the mean over points that a photo shows.

    Of several processes the mean is over the points of all; 0 if there are none.

    Args:
        points: the network's features.
        features: of pairs, not of unit length.
        point: row of the point of each pair.
    """
    taught, rows = over_photos(features, point)
    distance = 1 - F.cosine_similarity(points[rows], taught, dim=1)
    return mean_over_all(distance.sum(), len(rows))
