"""LERF's localisation: does the most relevant pixel lie on the object?

Kerr et al., ICCV 2023, section 4.3: 72 objects with boxes in novel views of 5 scenes; a prompt is a hit if the pixel of
highest relevancy lies in a box of it.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor


def is_localized(
    relevancy: Float[Tensor, "h w"], boxes: Int[Tensor, "b 4"], ties: Literal["first", "any"] = "first"
) -> bool:
    """Whether the pixel of highest relevancy lies in any labelled box.

    Args:
        relevancy: score of one prompt in one view.
        boxes: top, left, bottom, right; half-open, in pixels, at least one.
        ties: which of several pixels that share the highest relevancy counts: the first in reading order, or any,
            so that a map without contrast always hits.

    Raises:
        ValueError: no box, or a score that is not a number.
    """
    if len(boxes) == 0:
        raise ValueError("no labelled box: leave out prompts that are not annotated in this view")
    if relevancy.isnan().any():
        raise ValueError(f"{int(relevancy.isnan().sum())} relevancies are not numbers")
    peaks = (relevancy == relevancy.max()).nonzero()
    rows, cols = (peaks[:1] if ties == "first" else peaks).to(boxes.device).T[..., None]
    top, left, bottom, right = boxes.unbind(dim=1)
    return bool(((top <= rows) & (rows < bottom) & (left <= cols) & (cols < right)).any())


def localization_accuracy(
    annotated: Iterable[tuple[Float[Tensor, "_h _w"], Int[Tensor, "_b 4"]]],
) -> float:
    """Share of the (relevancy, boxes) of all annotated views and prompts that are localised; NaN if none."""
    hits = [is_localized(relevancy, boxes) for relevancy, boxes in annotated]
    return torch.tensor(hits).double().mean().item()
