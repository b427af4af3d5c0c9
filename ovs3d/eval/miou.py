"""IoU and accuracy from pooled counts.

The same predictions get five different "mean IoUs" from five code bases, mostly by what they do with an
absent class: one that is neither in the truth nor predicted anywhere, so that its IoU is 0 / 0.
"""

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float64
from torch import Tensor

from ovs3d.eval.confusion import Confusion

Absent = Literal["skip", "zero", "one"]
"""skip: left out of the mean (ours). zero: counts as 0 (Pointcept; 3D-OVS in each view; OpenScene, which
skips it but divides by K). one: counts as 1 (SLidR, CLIP2Scene)."""


def iou_per_class(confusion: Confusion) -> Float64[Tensor, " k"]:
    """TP / (TP + FP + FN) of each class, NaN where it is absent; "no answer" is a false negative."""
    counts = confusion.counts.double()
    hit = counts.diagonal()
    return hit / (counts.sum(dim=1) + counts.sum(dim=0)[: confusion.k] - hit)


def miou(confusion: Confusion, absent: Absent = "skip") -> float:
    """Mean IoU over classes; NaN if there is no class to average."""
    iou = iou_per_class(confusion)
    if absent == "skip":
        return iou.nanmean().item()
    return iou.nan_to_num(nan={"zero": 0.0, "one": 1.0}[absent]).mean().item()


def pixel_accuracy(confusion: Confusion) -> float:
    """Share of the counted pixels or points with the right class; NaN if there are none."""
    counts = confusion.counts.double()
    return (counts.diagonal().sum() / counts.sum()).item()


def accuracy_per_class(confusion: Confusion) -> Float64[Tensor, " k"]:
    """Share of each true class that was found (recall), NaN where it is not in the truth."""
    counts = confusion.counts.double()
    return counts.diagonal() / counts.sum(dim=1)


def segmentation_metrics(
    confusion: Confusion, classes: Sequence[str], absent: Absent = "skip"
) -> dict[str, float | dict[str, float]]:
    """``miou``, ``accuracy`` and ``per_class`` (name -> IoU, NaN where absent) of a report."""
    per_class = dict(zip(classes, iou_per_class(confusion).tolist(), strict=True))
    return {"miou": miou(confusion, absent), "accuracy": pixel_accuracy(confusion), "per_class": per_class}
