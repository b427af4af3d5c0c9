"""The losses of CLIP2Scene (Chen et al., CVPR 2023), section 3.2: semantic and spatial-temporal consistency.

All take pairs of a point and a pixel. Points in one voxel share their features, and photos share points: features come
once, with the row of each pair, so that what is as long as a feature has no gradient for each pair. ``paper`` and
``released`` are the two forms that the paper and the published code have; where the code limits a cell to eight pairs
and counts its padding, neither is done here.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pointcloud.distributed import mean_over_all
from pointcloud.gathered import dot_rows, lengths, sum_rows
from pointcloud.objectives.labels import label_cross_entropy
from pointcloud.pixels import PixelFeatures


def semantic_contrast(
    points: Float[Tensor, "v d"],
    row: Int64[Tensor, " m"],
    labels: Int64[Tensor, " m"],
    text: Float[Tensor, "k d"],
    temperature: float = 0.5,
) -> Float[Tensor, ""]:
    """Semantic consistency as in the paper: each class draws its points, and pushes those of all others away.

    For a class c the loss is -log(sum over its points of exp(t_c p / tau) / sum over all other points of
    exp(t_c p / tau)), summed over the classes that have points. Points of one class are never each other's negatives.
    Of several processes each takes its own points.

    Args:
        points: features; their direction counts.
        row: of the point of each pair.
        labels: what the pixel of each pair was called.
        text: unit embeddings of the classes.

    Returns:
        0 if there are not two classes.
    """
    scores = (points @ text.T / (lengths(points)[:, None] * temperature))[row]
    own = F.one_hot(labels, len(text)).bool()
    drawn = scores.masked_fill(~own, -torch.inf).logsumexp(dim=0)
    pushed = scores.masked_fill(own, -torch.inf).logsumexp(dim=0)
    both = own.any(dim=0) & ~own.all(dim=0)
    return (pushed[both] - drawn[both]).sum() + 0 * points.sum()


def semantic_cross_entropy(
    points: Float[Tensor, "v d"],
    row: Int64[Tensor, " m"],
    labels: Int64[Tensor, " m"],
    text: Float[Tensor, "k d"],
    balance: float = 0.0,
) -> Float[Tensor, ""]:
    """Semantic consistency as in the published code: cross-entropy of p t against the pixel's label, mean over pairs.

    Features keep their length and nothing is divided by a temperature. Of several processes the mean is over all pairs.

    Args:
        balance: how much more the pairs of rare classes count; as published, 0 (see `label_cross_entropy`).
    """
    return label_cross_entropy((points @ text.T)[row], labels, balance)


def spatial_temporal(
    points: Float[Tensor, "v d"],
    row: Int64[Tensor, " m"],
    pixels: PixelFeatures | None,
    labels: Int64[Tensor, " m"],
    text: Float[Tensor, "k d"],
    cell: Int64[Tensor, " m"],
    temperature: float = 1.0,
    directions: bool = False,
) -> Float[Tensor, ""]:
    """1 - sigmoid(p f) between a point and what its cell of space fused, mean over pairs.

    A cell fuses its points p_i, and its pixels x_i if they are given: each counts as exp(t_i p_i / lambda), or
    exp(t_i x_i / lambda), with t_i the text of the pair's label, over the sum of all of them in the cell. Points of a
    cell come from several sweeps.

    Args:
        pixels: features of the pixels, as in the paper; None: points alone, as in the published code. They have no
            gradient.
        cell: id of the cell of each pair, from 0.
        directions: of points, too, the direction alone counts, as in the paper.
    """
    n = int(cell.max()) + 1 if len(cell) else 0
    scale = 1 / lengths(points) if directions else points.new_ones(len(points))
    of_points = (points @ text.T * scale[:, None])[row, labels] / temperature
    highest = of_points.new_full((n,), -torch.inf).scatter_reduce(0, cell, of_points.detach(), "amax")
    if pixels is not None:
        of_pixels = pixels.scores(text).gather(1, labels[:, None])[:, 0] / temperature
        highest = highest.scatter_reduce(0, cell, of_pixels, "amax")
        of_pixels = (of_pixels - highest[cell]).exp()
    of_points = (of_points - highest[cell]).exp()
    norm = of_points.new_zeros(n).index_add(0, cell, of_points)
    fused = sum_rows(points, row, of_points * scale[row], cell, n)
    if pixels is not None:
        norm = norm.index_add(0, cell, of_pixels)
        fused = fused + pixels.sums(of_pixels, cell, n)
    agreement = dot_rows(points, row, fused, cell) * scale[row] / norm[cell]
    return mean_over_all(torch.sigmoid(-agreement).sum(), len(labels))


def pixel_cosine(
    points: Float[Tensor, "v d"], row: Int64[Tensor, " m"], pixels: PixelFeatures
) -> Float[Tensor, ""]:
    """1 - cos of the features of a point and of its pixel, mean over pairs: what the code has for ScanNet instead.

    Args:
        pixels: unit features, without a gradient.
    """
    toward = pixels.sums(points.new_ones(len(row)), row, len(points))
    total = len(row) - ((points * toward).sum(dim=1) / lengths(points)).sum()
    return mean_over_all(total, len(row))
