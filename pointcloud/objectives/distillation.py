"""Distillation of photos' features into points (OpenScene; Peng et al., CVPR 2023)."""

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pointcloud.objectives.clip2scene import pixel_cosine
from pointcloud.pixels import PixelFeatures


def over_photos(features: PixelFeatures, point: Int64[Tensor, " m"], n: int) -> Float[Tensor, "n d"]:
    """What all photos together say of each of n points that they show (section 3.1): the mean of unit features.

    Args:
        features: of pairs.
        point: of each pair.
    """
    share = 1 / point.bincount(minlength=n).to(features.weight)
    return features.unit().sums(share[point], point, n)


def distillation(
    points: Float[Tensor, "v d"],
    row: Int64[Tensor, " s"],
    features: PixelFeatures,
    point: Int64[Tensor, " m"],
) -> Float[Tensor, ""]:
    """1 - cos between the features of a point and of its photos (section 3.2), the mean over points that a photo shows.

    Of several processes the mean is over the points of all; 0 if there are none.

    Args:
        points: the network's features, which points in one voxel share.
        row: of each point that a photo shows.
        features: of pairs, not of unit length.
        point: which of those points is of each pair.
    """
    taught = F.normalize(over_photos(features, point, len(row)), dim=1)
    return pixel_cosine(points, row, PixelFeatures.of(taught))
