"""Training on labels: cross-entropy and the Lovász-softmax loss."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from pointcloud.distributed import mean_over_all
from pointcloud.index import IGNORE


def cross_entropy(logits: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean over the labelled points of all processes; 0 if there are none."""
    total = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    return mean_over_all(total, (labels != IGNORE).sum())


def lovasz_softmax(logits: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
    """Lovász-softmax loss (Berman et al., CVPR 2018, eq. 11), over the classes that are there; 0 if there are none.

    The convex extension of 1 - IoU of each class, with the errors of the softmax probabilities. Of several processes
    each takes the classes of its own scans.
    """
    labelled = labels != IGNORE
    probabilities, labels = logits[labelled].softmax(dim=1), labels[labelled]
    present = labels.unique()
    if len(present) == 0:
        return logits.sum() * 0
    truth = labels == present[:, None]
    errors = (truth.to(logits.dtype) - probabilities[:, present].T).abs()
    return lovasz_extension(errors, truth).mean()


def lovasz_extension(errors: Float[Tensor, "k n"], truth: Bool[Tensor, "k n"]) -> Float[Tensor, " k"]:
    """Sorted errors times the growth of the Jaccard loss when they become mistakes one by one (eq. 8, 9)."""
    errors, order = errors.sort(dim=1, descending=True)
    hits = truth.gather(1, order).to(errors.dtype)
    total = hits.sum(dim=1, keepdim=True)
    jaccard = 1 - (total - hits.cumsum(dim=1)) / (total + (1 - hits).cumsum(dim=1))
    growth = jaccard.diff(dim=1, prepend=torch.zeros_like(total))
    return (errors * growth).sum(dim=1)
