"""Cross-entropy with what pixels were called, of which much is wrong and some classes are rare."""

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pointcloud.distributed import mean_over_all, mean_over_processes
from pointcloud.refine import UNSURE


def label_cross_entropy(
    logits: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], balance: float = 0.0
) -> Float[Tensor, ""]:
    """Mean over the members that have a label (of all processes); 0 if there are none.

    Args:
        balance: members count by the share of their class to the power of minus this: 0: all alike; 1: all classes
            alike, however rare.
    """
    own = labels[labels != UNSURE].bincount(minlength=logits.shape[1])
    counts = mean_over_processes(own).to(logits.dtype)
    shares = counts / counts.sum().clamp_min(1)
    weights = shares.where(counts > 0, 1) ** -balance
    total = F.cross_entropy(logits, labels, weights, ignore_index=UNSURE, reduction="sum")
    return mean_over_all(total, (weights * own).sum())
