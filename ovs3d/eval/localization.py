"""LERF's localisation: does the most relevant pixel lie on the object?"""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor


def is_localized(relevancy: Float[Tensor, "h w"], boxes: Int[Tensor, "b 4"]) -> bool:
    """Whether the pixel of highest relevancy, the first in reading order, lies in any labelled box.

    Args:
        relevancy: score of one prompt in one view.
        boxes: top, left, bottom, right; half-open, in pixels, at least one.

    Raises:
        ValueError: no box, or a score that is not a number.
    """
    if len(boxes) == 0:
        raise ValueError("no labelled box: leave out prompts that are not annotated in this view")
    if relevancy.isnan().any():
        raise ValueError(f"{int(relevancy.isnan().sum())} relevancies are not numbers")
    row, col = divmod(int(relevancy.argmax()), relevancy.shape[1])
    top, left, bottom, right = boxes.unbind(dim=1)
    return bool(((top <= row) & (row < bottom) & (left <= col) & (col < right)).any())


def localization_accuracy(
    annotated: Iterable[tuple[Float[Tensor, "_h _w"], Int[Tensor, "_b 4"]]],
) -> float:
    """Share of the (relevancy, boxes) of all annotated views and prompts that are localised; NaN if none."""
    hits = [is_localized(relevancy, boxes) for relevancy, boxes in annotated]
    return torch.tensor(hits).double().mean().item()
