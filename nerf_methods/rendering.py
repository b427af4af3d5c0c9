"""Compositing of point values along rays."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def composite(
    values: Float[Tensor, "n c"], weights: Float[Tensor, " n"], ray: Int[Tensor, " n"], rays: int
) -> Float[Tensor, "r c"]:
    """Weighted sums of point values by ray: sum_i w_i v_i. A ray without points gives zero."""
    return values.new_zeros(rays, values.shape[1]).index_add(0, ray, weights[:, None] * values)


def composite_all(values: Float[Tensor, "r k c"], weights: Float[Tensor, "r k"]) -> Float[Tensor, "r c"]:
    """The same where each ray has as many points."""
    return torch.bmm(weights[:, None], values)[:, 0]


def visible(weights: Float[Tensor, "r s"], threshold: float) -> Bool[Tensor, "r s"]:
    """Samples that matter to the picture: weight above ``threshold``, and the heaviest of each ray.

    Most samples of a ray lie in empty space or behind its surface: colour and features are looked up at these only
    (TensoRF does the same).
    """
    return (weights > threshold) | (weights == weights.amax(dim=1, keepdim=True))


def heaviest(weights: Float[Tensor, "r s"], count: int) -> tuple[Int[Tensor, "r k"], Float[Tensor, "r k"]]:
    """The ``count`` heaviest samples of each ray and their weights, scaled so that the ray's opacity stays."""
    top, index = weights.topk(min(count, weights.shape[1]), dim=1)
    return index, top * (weights.sum(1, keepdim=True) / top.sum(1, keepdim=True).clamp(min=1e-8))
