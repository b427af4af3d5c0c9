"""The losses of CLIP2Scene (Chen et al., CVPR 2023), section 3.2: semantic and spatial-temporal consistency.

Both take pairs of a point and a pixel. ``paper`` and ``released`` are the two forms that the paper and the published
code have; where the code limits a cell to eight pairs and counts its padding, neither is done here.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pointcloud.distributed import mean_over_all


def semantic_contrast(
    points: Float[Tensor, "m d"],
    labels: Int64[Tensor, " m"],
    text: Float[Tensor, "k d"],
    temperature: float = 0.5,
) -> Float[Tensor, ""]:
    """Semantic consistency as in the paper: each class draws its points, and pushes those of all others away.

    For a class c the loss is -log(sum over its points of exp(t_c p / tau) / sum over all other points of
    exp(t_c p / tau)), summed over the classes that have points. Points of one class are never each other's negatives.
    Of several processes each takes its own points.

    Args:
        points: features of the points of pairs; their direction counts.
        labels: what the pixel of each pair was called.
        text: unit embeddings of the classes.

    Returns:
        0 if there are not two classes.
    """
    scores = F.normalize(points, dim=1) @ text.T / temperature
    own = F.one_hot(labels, len(text)).bool()
    drawn = scores.masked_fill(~own, -torch.inf).logsumexp(dim=0)
    pushed = scores.masked_fill(own, -torch.inf).logsumexp(dim=0)
    both = own.any(dim=0) & ~own.all(dim=0)
    return (pushed[both] - drawn[both]).sum() + 0 * points.sum()


def semantic_cross_entropy(
    points: Float[Tensor, "m d"], labels: Int64[Tensor, " m"], text: Float[Tensor, "k d"]
) -> Float[Tensor, ""]:
    """Semantic consistency as in the published code: cross-entropy of p t against the pixel's label, mean over pairs.

    Features keep their length and nothing is divided by a temperature. Of several processes the mean is over all pairs.
    """
    total = F.cross_entropy(points @ text.T, labels, reduction="sum")
    return mean_over_all(total, len(labels))


def spatial_temporal(
    points: Float[Tensor, "m d"],
    pixels: Float[Tensor, "m d"] | None,
    labels: Int64[Tensor, " m"],
    text: Float[Tensor, "k d"],
    cell: Int64[Tensor, " m"],
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """1 - sigmoid(p f) between a point and what its cell of space fused, mean over pairs.

    A cell fuses its points p_i, and its pixels x_i if they are given: each counts as exp(t_i p_i / lambda), or
    exp(t_i x_i / lambda), with t_i the text of the pair's label, over the sum of all of them in the cell. Points of a
    cell come from several sweeps.

    Args:
        pixels: features of the pixels, as in the paper; None: points alone, as in the published code.
        cell: id of the cell of each pair, from 0.
    """
    each = text[labels]
    members = [points] if pixels is None else [points, pixels]
    features = torch.cat(members)
    where = cell.repeat(len(members))
    weights = segment_softmax((features * each.repeat(len(members), 1)).sum(dim=1) / temperature, where)
    n = int(cell.max()) + 1 if len(cell) else 0
    fused = features.new_zeros(n, features.shape[1]).index_add(0, where, weights[:, None] * features)
    total = torch.sigmoid(-(points * fused[cell]).sum(dim=1)).sum()
    return mean_over_all(total, len(labels))


def pixel_cosine(points: Float[Tensor, "m d"], pixels: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """1 - cos of the features of a point and of its pixel, mean over pairs: what the code has for ScanNet instead."""
    total = (1 - F.cosine_similarity(points, pixels, dim=1)).sum()
    return mean_over_all(total, len(points))


def segment_softmax(scores: Float[Tensor, " m"], segment: Int64[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Softmax among the entries of the same segment."""
    n = int(segment.max()) + 1 if len(segment) else 0
    highest = scores.new_full((n,), -torch.inf).scatter_reduce(0, segment, scores.detach(), "amax")
    exponentials = (scores - highest[segment]).exp()
    return exponentials / scores.new_zeros(n).index_add(0, segment, exponentials)[segment]
