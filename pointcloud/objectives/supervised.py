"""Training on labels: cross-entropy and the Lovász-softmax loss."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from pointcloud.distributed import mean_over_all
from pointcloud.index import IGNORE


def cross_entropy(
    logits: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], counts: Int64[Tensor, " n"] | None = None
) -> Float[Tensor, ""]:
    """Mean over the labelled points of all processes; 0 if there are none.

    Args:
        counts: how many points each row stands for, if not for one.
    """
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    counts = torch.ones_like(labels) if counts is None else counts
    return mean_over_all((losses * counts).sum(), counts[labels != IGNORE].sum())


def lovasz_softmax(
    logits: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], counts: Int64[Tensor, " n"] | None = None
) -> Float[Tensor, ""]:
    """Lovász-softmax loss (Berman et al., CVPR 2018, eq. 11), over the classes that are there; 0 if there are none.

    The convex extension of 1 - IoU of each class, with the errors of the softmax probabilities. Of several processes
    each takes the classes of its own scans.

    Args:
        counts: how many points each row stands for, if not for one.
    """
    labelled = labels != IGNORE
    present = labels[labelled].bincount().nonzero()[:, 0]
    if len(present) == 0:
        return logits.sum() * 0
    probabilities = logits.softmax(dim=1).T.contiguous().index_select(0, present)
    truth = labels == present[:, None]
    errors = (truth.to(logits.dtype) - probabilities).abs()
    errors = errors * labelled  # those without a label come last, and have no weight
    return lovasz_extension(errors, truth, torch.ones_like(labels) if counts is None else counts).mean()


def lovasz_extension(
    errors: Float[Tensor, "k n"], truth: Bool[Tensor, "k n"], counts: Int64[Tensor, " n"]
) -> Float[Tensor, " k"]:
    """Sorted errors times the growth of the Jaccard loss when they become mistakes one by one (eq. 8, 9).

    The loss depends on a row's place in the order alone, so points of the same error may come as one row.
    """
    growth = torch.empty_like(errors)
    for error, true, each in zip(errors.detach(), truth, growth, strict=True):
        # what one class needs fits into a cache
        order = _descending(error)
        wrong = counts.take(order)
        mistakes = wrong.cumsum(dim=0)
        hits = (wrong * true.take(order)).cumsum(dim=0)
        jaccard = 1 - (hits[-1] - hits).to(errors.dtype) / (hits[-1] + mistakes - hits)
        each.scatter_(0, order, jaccard.diff(prepend=jaccard.new_zeros(1)))
    return (errors * growth).sum(dim=1)


def _descending(values: Float[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """Their order; NumPy's sort is several times as fast on a CPU."""
    if values.is_cpu:
        return torch.from_numpy(np.argsort(-values.numpy()))
    return values.argsort(descending=True)
