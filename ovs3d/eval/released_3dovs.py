"""The metrics of the published 3D-OVS code, which differ from what their names suggest.

They are averages over annotated views, not pooled; a class that is absent from a view counts as IoU 0; and
"accuracy" asks that the whole set of masks over a pixel be right, so any class is wrong where there is none.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Integer
from torch import Tensor


@dataclass(frozen=True)
class Released3DOVS:
    """Scores of a scene."""

    miou: float
    """Mean over all pairs of view and class."""
    accuracy: float
    """Mean over views."""
    per_class: tuple[float, ...]
    """IoU of each class, mean over views."""


def jaccard(masks: Bool[Tensor, "k h w"], prediction: Integer[Tensor, "h w"]) -> Float64[Tensor, " k"]:
    """IoU of each class in one view, 0 where neither mask nor prediction has it.

    Args:
        masks: truth, one mask per class; they may overlap and leave pixels out.
        prediction: 0..k-1, or -1 for "no answer".
    """
    predicted = _one_hot(prediction, len(masks))
    hit = (masks & predicted).flatten(1).sum(dim=1).double()
    union = (masks | predicted).flatten(1).sum(dim=1)
    return hit / union.clamp(min=1)


def subset_accuracy(masks: Bool[Tensor, "k h w"], prediction: Integer[Tensor, "h w"]) -> float:
    """Share of the pixels whose masks are exactly the predicted class."""
    return (masks == _one_hot(prediction, len(masks))).all(dim=0).double().mean().item()


def released_scores(
    views: Iterable[tuple[Bool[Tensor, "k _h _w"], Integer[Tensor, "_h _w"]]],
) -> Released3DOVS:
    """Scores of a scene from (masks, prediction) of each annotated view, which may differ in size.

    Raises:
        ValueError: there is no view.
    """
    scores = [(jaccard(*view), subset_accuracy(*view)) for view in views]
    if not scores:
        raise ValueError("no annotated view to evaluate")
    per_class = torch.stack([iou for iou, _ in scores]).mean(dim=0)
    accuracy = sum(accuracy for _, accuracy in scores) / len(scores)
    return Released3DOVS(per_class.mean().item(), accuracy, tuple(per_class.tolist()))


def _one_hot(prediction: Integer[Tensor, "h w"], k: int) -> Bool[Tensor, "k h w"]:
    return prediction == torch.arange(k, device=prediction.device)[:, None, None]
