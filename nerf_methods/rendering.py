"""Compositing of point values along rays."""

from jaxtyping import Float, Int
from torch import Tensor


def composite(values: Float[Tensor, "r k c"], weights: Float[Tensor, "r k"]) -> Float[Tensor, "r c"]:
    """Weighted sums of the values of each ray's points: sum_i w_i v_i."""
    return (weights[..., None] * values).sum(1)


def heaviest(weights: Float[Tensor, "r s"], count: int) -> tuple[Int[Tensor, "r k"], Float[Tensor, "r k"]]:
    """The ``count`` heaviest samples of each ray and their weights, scaled so that the ray's opacity stays.

    Most samples of a ray lie in empty space or behind its surface: colour and features are looked up at these only.
    """
    top, index = weights.topk(min(count, weights.shape[1]), dim=1)
    return index, top * (weights.sum(1, keepdim=True) / top.sum(1, keepdim=True).clamp(min=1e-8))
