"""What is learnt about meaning: losses on rendered features (3D-OVS, Liu et al. 2023, section 3).

Where the paper and its released code differ, both are here: the code's values are what its hyper-parameters were
tuned with.
"""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def clip_distillation(
    rendered: Float[Tensor, "r d"],
    teacher: Float[Tensor, "r s d"],
    selection: Float[Tensor, "r s"],
    center: Float[Tensor, " d"] | float = 0.0,
) -> Float[Tensor, ""]:
    """Minus the mean cosine of rendered features and the teacher's, mixed over scales by the selection.

    3D-OVS (Liu et al. 2023), eq. 4; the teacher's features are of unit length, the mixture is normalised again.
    Gradients flow into both ``rendered`` and ``selection``. In -1..1.

    Args:
        center: where the angle is measured from instead of the origin, such as the mean of the teacher's features,
            from which all that tells them apart is seen at full size. Ours: not in the paper.
    """
    target = (selection[..., None] * teacher).sum(1)
    ours, theirs = (F.normalize(one, dim=-1) - center for one in (rendered, target))
    return -F.cosine_similarity(ours, theirs, dim=-1).mean()


def class_distillation(
    similarity: Float[Tensor, "r k"], teacher: Float[Tensor, "r k"], temperature: float = 0.05
) -> Float[Tensor, ""]:
    """Cross-entropy, in nats, of class probabilities with the teacher's: plain fusion of 2D answers in 3D.

    Args:
        similarity: cosines of rendered features with the classes' texts.
        teacher: the same of the teacher's features.
        temperature: of both softmaxes.
    """
    target = (teacher / temperature).softmax(-1)
    return -(target * (similarity / temperature).log_softmax(-1)).sum(-1).mean()


def relevancy_distribution_alignment(
    logits: Float[Tensor, "r k"], relevancy: Float[Tensor, "r s k"], selection: Float[Tensor, "r s"]
) -> Float[Tensor, ""]:
    """RDA: mean Jensen-Shannon divergence, in nats, of class probabilities and the teacher's, mixed over scales.

    Gradients flow into ``logits`` and ``selection``. In 0..log 2.

    Args:
        logits: products of rendered features and texts. The released code leaves the features at their length, which
            then acts as an inverse temperature; the paper takes cosines.
        relevancy: of each scale, in 0..1, as `ovs3d.query.minmax_relevancy` gives them.
        selection: weights of the scales, which sum to 1.
    """
    ours = logits.log_softmax(-1)
    theirs = (selection[..., None] * relevancy).sum(1).log_softmax(-1)
    mixture = torch.logaddexp(ours, theirs) - math.log(2)
    divergence = ours.exp() * (ours - mixture) + theirs.exp() * (theirs - mixture)
    return 0.5 * divergence.sum(-1).mean()


@torch.no_grad()
def pair_weights(
    tokens: Float[Tensor, "n p c"], shift: float, positive: float, negative: float, rebalance: bool = True
) -> Float[Tensor, "n p p"]:
    """What the pixel pairs of each patch weigh in FDA: their excess over ``shift`` in cosine of DINO features.

    3D-OVS, eq. 8: pairs above the shift pull together, those below push apart; each kind is divided by its own number
    of pairs in the batch (the re-balance), a kind without pairs weighs nothing.

    Args:
        tokens: DINO features of the pixels of ``n`` patches, of any length.
        shift: cosine at which a pair is neutral, b in the paper.
        positive, negative: weights of the two kinds.
        rebalance: false divides both kinds by the number of all pairs.
    """
    unit = F.normalize(tokens, dim=-1)
    excess = unit @ unit.transpose(1, 2) - shift
    weights = torch.zeros_like(excess)
    for factor, bound in ((positive, {"min": 0}), (negative, {"max": 0})):
        if factor:
            kind = excess.clamp(**bound)
            # in the type of the tokens: a number divided by a count would be float32
            count = kind.count_nonzero().clamp(min=1).to(excess) if rebalance else excess.numel()
            weights += kind * (factor / count)
    return weights


@torch.no_grad()
def guard_pairs(
    weights: Float[Tensor, "n p p"], cosine: Float[Tensor, "n p k"], temperature: float
) -> Float[Tensor, "n p p"]:
    """Take from FDA what contradicts the names that the field gives to both pixels of a pair.

    Where DINO cannot tell an object from what is around it, alignment would give it the name of the larger of the two.
    A pair that pulls is weighed by the probability that both pixels have one name, a pair that pushes by that of two.
    Ours: not in the paper.

    Args:
        weights: from `pair_weights`.
        cosine: of rendered features with the classes' texts.
        temperature: of the probabilities, in units of how far the best class lies above the mean of the classes on
            average, so that it means the same for every CLIP.
    """
    lead = (cosine.amax(-1) - cosine.mean(-1)).mean()
    p = (cosine / (temperature * lead.clamp(min=torch.finfo(cosine.dtype).tiny))).softmax(-1)
    same = p @ p.transpose(1, 2)
    return torch.where(weights > 0, weights * same, weights * (1 - same))


def feature_distribution_alignment(
    logits: Float[Tensor, "n p k"], weights: Float[Tensor, "n p p"], divergence: Literal["kl", "js"] = "kl"
) -> Float[Tensor, ""]:
    """FDA: sum over pixel pairs of a weight times the divergence of their class probabilities, in nats.

    No pair of pixels ever holds a vector over classes.

    Args:
        logits: of the pixels of ``n`` patches, temperature applied.
        weights: symmetric, from `pair_weights`.
        divergence: ``kl`` is what the released code computes under the name of JS: its mixture is taken of a
            distribution with itself. ``js`` is the paper's.
    """
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    # sum_ij w_ij sum_c p_ic log p_ic
    own = (weights.sum(-1) * (p * log_p).sum(-1)).sum()
    if divergence == "kl":
        return own - (p * (weights @ log_p)).sum()
    return own - _MixedEntropy.apply(p, weights)


class _MixedEntropy(torch.autograd.Function):
    """sum_ij w_ij sum_c m log m with m = (p_ic + p_jc) / 2 for symmetric w; the gradient is found on the way."""

    @staticmethod
    def forward(ctx: Any, p: Float[Tensor, "n p k"], weights: Float[Tensor, "n p p"]) -> Float[Tensor, ""]:
        total, gradient = p.new_zeros(()), torch.empty_like(p)
        for c in range(p.shape[-1]):
            mixture = (p[:, :, None, c] + p[:, None, :, c]) / 2
            log = mixture.clamp(min=torch.finfo(p.dtype).tiny).log()
            total += (weights * mixture * log).sum()
            gradient[:, :, c] = (weights * (log + 1)).sum(-1)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Float[Tensor, ""]) -> tuple[Float[Tensor, "n p k"], None]:
        (gradient,) = ctx.saved_tensors
        return grads[0] * gradient, None
