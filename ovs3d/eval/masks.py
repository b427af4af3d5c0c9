"""IoU of single masks, and the two ways in which the protocols of the LERF family average it.

Neither pools counts: a small object weighs as much as a large one. Where neither truth nor prediction has a pixel
the IoU is 0 / 0, NaN, and is left out of the means, as absent classes are in `ovs3d.eval.miou`.
"""

import math
from collections.abc import Mapping

import cv2
import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

Scores = Mapping[tuple[str, str], float]
"""(view, prompt) -> score."""


def mask_iou(truth: Bool[Tensor, "h w"], prediction: Bool[Tensor, "h w"]) -> float:
    """Intersection over union; NaN where neither mask has a pixel."""
    return ((truth & prediction).sum().double() / (truth | prediction).sum()).item()


def boundary_iou(truth: Bool[Tensor, "h w"], prediction: Bool[Tensor, "h w"], ratio: float = 0.02) -> float:
    """IoU of the boundaries of two masks (Cheng et al., CVPR 2021); NaN where neither mask has a pixel."""
    return mask_iou(boundary(truth, ratio), boundary(prediction, ratio))


def boundary(mask: Bool[Tensor, "h w"], ratio: float = 0.02) -> Bool[Tensor, "h w"]:
    """The pixels of a mask with one outside it at most d rows and d columns away.

    What lies beyond the image is outside the mask.

    Args:
        mask: any mask.
        ratio: d as a share of the image's diagonal; rounded to whole pixels, at least 1.
    """
    distance = max(1, round(ratio * math.hypot(*mask.shape)))
    window = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    solid = mask.cpu().numpy().astype(np.uint8)
    inner = cv2.erode(solid, window, borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    return mask & ~torch.from_numpy(inner).bool().to(mask.device)


def flat_mean(scores: Scores) -> float:
    """Mean over all pairs of view and prompt; NaN if there is none."""
    return _mean(list(scores.values()))


def macro_mean(scores: Scores) -> float:
    """Mean over prompts of each prompt's mean over its views; NaN if there is none."""
    return _mean(list(prompt_means(scores).values()))


def prompt_means(scores: Scores) -> dict[str, float]:
    """Each prompt's mean over its views, in the order in which prompts first come."""
    prompts = dict.fromkeys(prompt for _, prompt in scores)
    return {
        prompt: _mean([score for (_, other), score in scores.items() if other == prompt])
        for prompt in prompts
    }


def _mean(scores: list[float]) -> float:
    return torch.tensor(scores, dtype=torch.float64).nanmean().item()
