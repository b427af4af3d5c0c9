"""What is learnt about meaning: losses on rendered features (3D-OVS, Liu et al. 2023, section 3).

Where the paper and its released code differ, both are here: the code's values are what its hyper-parameters were
tuned with.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

TINY = 1e-12
"""Least squared length that a feature is divided by."""
ROWS_AT_ONCE = 64
"""Of a patch's pairs, whose logarithms stay in a cache of the second level."""


@dataclass(frozen=True, eq=False)
class FromCenter:
    """Inner products with a point from which angles are measured instead of from the origin, and of it with itself."""

    rendered: Float[Tensor, " r"]
    teacher: Float[Tensor, "r s"]
    squared: Float[Tensor, ""]


def clip_distillation(
    products: Float[Tensor, "r s"],
    squared: Float[Tensor, " r"],
    gram: Float[Tensor, "r s s"],
    selection: Float[Tensor, "r s"],
    center: FromCenter | None = None,
) -> Float[Tensor, ""]:
    """Minus the mean cosine of rendered features and the teacher's, mixed over scales by the selection.

    3D-OVS (Liu et al. 2023), eq. 4, of inner products, so that no feature need be formed. The mixture is normalised
    again. Gradients flow into the rendered features' products and into ``selection``. In -1..1.

    Args:
        products: of rendered features with the teacher's features of each scale.
        squared: squared lengths of rendered features.
        gram: of the teacher's features with each other.
        center: where angles are measured from, such as the mean of the teacher's features, from which all that tells
            them apart is seen at full size; rendered features and mixture are of unit length before. Ours: not in the
            paper. Default: the origin.
    """
    length = squared.clamp(min=TINY).sqrt()
    mixed = torch.einsum("rs,rst,rt->r", selection, gram, selection).clamp(min=TINY).sqrt()
    ab = (selection * products).sum(1) / (length * mixed)
    if center is None:
        return -ab.mean()
    am, bm = center.rendered / length, (selection * center.teacher).sum(1) / mixed
    return -cosine(ab, 1.0, 1.0, am, bm, center.squared).mean()


def cosine(
    ab: Float[Tensor, "*n"],
    aa: Float[Tensor, "*n"] | float,
    bb: Float[Tensor, "*n"] | float,
    am: Float[Tensor, "*n"],
    bm: Float[Tensor, "*n"],
    mm: Float[Tensor, "..."],
) -> Float[Tensor, "*n"]:
    """Cosine of a - m and b - m from the inner products of a, b and m.

    Digits are lost where a or b are nearly m: in float32, lengths of 0.05 leave four of them.
    """
    lengths = (aa - 2 * am + mm) * (bb - 2 * bm + mm)
    return (ab - am - bm + mm) / lengths.clamp(min=TINY**2).sqrt()


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


@dataclass(frozen=True)
class PairRule:
    """What a pair of pixels weighs in FDA: its excess over ``shift`` in cosine of DINO features (3D-OVS, eq. 8).

    Pairs above the shift pull together, those below push apart.
    """

    shift: float
    """Cosine at which a pair is neutral, b in the paper."""
    pull: float
    """Weight of the pairs above it."""
    push: float
    """Weight of the pairs below it."""
    rebalance: bool = True
    """Divide each kind by its own number of pairs in the batch; false: both by the number of all pairs."""


@torch.no_grad()
def probable_names(cosine: Float[Tensor, "n p k"], temperature: float) -> Float[Tensor, "n p k"]:
    """Probabilities of the names that the field gives to pixels, to guard FDA with.

    Where DINO cannot tell an object from what is around it, alignment would give it the name of the larger of the two.
    Ours: not in the paper.

    Args:
        cosine: of rendered features with the classes' texts.
        temperature: in units of how far the best class lies above the mean of the classes on average, so that it
            means the same for every CLIP.
    """
    lead = (cosine.amax(-1) - cosine.mean(-1)).mean()
    return (cosine / (temperature * lead.clamp(min=torch.finfo(cosine.dtype).tiny))).softmax(-1)


def feature_distribution_alignment(
    logits: Float[Tensor, "n p k"],
    tokens: Float[Tensor, "n p c"],
    rule: PairRule,
    divergence: Literal["kl", "js"] = "kl",
    names: Float[Tensor, "n p k"] | None = None,
) -> Float[Tensor, ""]:
    """FDA: sum over pixel pairs of each patch of a weight times the divergence of their class probabilities, in nats.

    No pair of pixels ever holds a vector over classes, and weights are held of one patch at a time.

    Args:
        logits: of the pixels of ``n`` patches, temperature applied.
        tokens: DINO features of the pixels, of any length; no gradient flows into them. A pixel whose feature is zero
            is in no pair.
        divergence: ``kl`` is what the released code computes under the name of JS: its mixture is taken of a
            distribution with itself. ``js`` is the paper's.
        names: from `probable_names`: a pair that pulls is weighed by the probability that both pixels have one name,
            a pair that pushes by that of two.
    """
    return _Alignment.apply(logits.log_softmax(-1), tokens, rule, divergence, names)


class _Alignment(torch.autograd.Function):
    """The value and, on the way, its gradient by the logarithms of the probabilities.

    A patch's matrices of pairs fit into a cache; those of a batch would go through memory many times.
    """

    @staticmethod
    def forward(
        ctx: Any,
        log_p: Float[Tensor, "n p k"],
        tokens: Float[Tensor, "n p c"],
        rule: PairRule,
        divergence: Literal["kl", "js"],
        names: Float[Tensor, "n p k"] | None,
    ) -> Float[Tensor, ""]:
        aligned = _kullback_leibler if divergence == "kl" else _jensen_shannon
        kinds = [(pulls, factor) for pulls, factor in ((True, rule.pull), (False, rule.push)) if factor]
        if not kinds:
            ctx.save_for_backward(torch.zeros_like(log_p))
            return log_p.new_zeros(())
        patches, pixels, _ = log_p.shape
        weights = log_p.new_empty(len(kinds), pixels, pixels)
        excess = weights[-1]  # until the last kind of weight is made in its place
        totals, pairs = (log_p.new_zeros(len(kinds)) for _ in range(2))
        gradients = log_p.new_empty(len(kinds), *log_p.shape)
        for i, one in enumerate(tokens):
            unit = F.normalize(one, dim=-1)
            torch.mm(unit, unit.T, out=excess).sub_(rule.shift)
            left_out = ~one.any(-1)
            excess[left_out] = excess[:, left_out] = 0.0
            same = None if names is None else names[i] @ names[i].T
            for kind, (pulls, _) in enumerate(kinds):
                weight = torch.clamp(excess, *((0, None) if pulls else (None, 0)), out=weights[kind])
                pairs[kind] += weight.count_nonzero()
                if same is not None:
                    weight.mul_(same) if pulls else weight.addcmul_(weight, same, value=-1)
            del unit, same
            parts, gradients[:, i] = aligned(log_p[i], weights)
            totals += parts
        number = pairs.clamp(min=1) if rule.rebalance else patches * pixels**2
        shares = log_p.new_tensor([factor for _, factor in kinds]) / number
        ctx.save_for_backward(torch.einsum("t,tnpk->npk", shares, gradients))
        return shares @ totals

    @staticmethod
    def backward(
        ctx: Any, *grads: Float[Tensor, ""]
    ) -> tuple[Float[Tensor, "n p k"], None, None, None, None]:
        (slope,) = ctx.saved_tensors
        return grads[0] * slope, None, None, None, None


def _kullback_leibler(
    log_p: Float[Tensor, "p k"], weights: Float[Tensor, "t p p"]
) -> tuple[Float[Tensor, " t"], Float[Tensor, "t p k"]]:
    """sum_ij w_ij sum_c p_ic (log p_ic - log p_jc) for each of some symmetric w, and its gradients by log p."""
    p = log_p.exp()
    sums = weights @ torch.cat([log_p, p, torch.ones_like(p[:, :1])], dim=1)
    others, others_p, own = sums.split([p.shape[1], p.shape[1], 1], dim=2)
    terms = p * (own * log_p - others)
    return terms.sum((1, 2)), terms + own * p - others_p


def _jensen_shannon(
    log_p: Float[Tensor, "p k"], weights: Float[Tensor, "t p p"]
) -> tuple[Float[Tensor, " t"], Float[Tensor, "t p k"]]:
    """sum_ij w_ij sum_c (p_ic log p_ic - m log m) with m = (p_ic + p_jc) / 2, and the same.

    As w is symmetric, p_ic log m may stand for m log m in the sum; it is the gradient then.
    """
    p = log_p.exp()
    slope = weights.sum(-1, keepdim=True) * log_p
    half = (p / 2).T.contiguous()
    for start in range(0, len(p), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        log, product = (p.new_empty(len(p[rows]), len(p)) for _ in range(2))
        for c, all_rows in enumerate(half):
            torch.add(all_rows[rows, None], all_rows, out=log)
            log.clamp_(min=torch.finfo(p.dtype).tiny).log_()
            for one, weight in zip(slope, weights, strict=True):
                one[rows, c] -= torch.mul(log, weight[rows], out=product).sum(-1)
    gradients = p * slope
    return gradients.sum((1, 2)), gradients
