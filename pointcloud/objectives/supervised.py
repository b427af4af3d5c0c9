"""Training on labels: cross-entropy and the Lovász-softmax loss."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from pointcloud.distributed import mean_over_processes
from pointcloud.index import IGNORE


def cross_entropy(logits: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean over the labelled points of all processes; 0 if there are none."""
    total = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    return total / mean_over_processes((labels != IGNORE).sum()).clamp_min(1).to(total.dtype)


def lovasz_softmax(logits: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
    """Lovász-softmax loss (Berman et al., CVPR 2018, eq. 11), over the classes that are there; 0 if there are none.

    The convex extension of 1 - IoU of each class, with the errors of the softmax probabilities. Of several processes
    each takes the classes of its own scans.
    """
    labelled = labels != IGNORE
    probabilities, labels = logits[labelled].softmax(dim=1), labels[labelled]
    losses = [
        lovasz_extension((truth.to(logits.dtype) - probabilities[:, k]).abs(), truth)
        for k in labels.unique().tolist()
        for truth in [labels == k]
    ]
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def lovasz_extension(errors: Float[Tensor, " n"], truth: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
    """Sorted errors times the growth of the Jaccard loss when they become mistakes one by one (eq. 8, 9)."""
    errors, order = errors.sort(descending=True)
    hits = truth[order].to(errors.dtype)
    intersection = hits.sum() - hits.cumsum(0)
    union = hits.sum() + (1 - hits).cumsum(0)
    jaccard = 1 - intersection / union
    growth = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    return errors @ growth
