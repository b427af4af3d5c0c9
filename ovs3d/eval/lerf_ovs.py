"""LERF-OVS: from a relevancy map to a mask and to a place, as LangSplat was published (Qin et al., CVPR 2024).

Source: ``eval/evaluate_iou_loc.py`` and ``eval/utils.py`` of github.com/minghanqin/LangSplat. Four scenes of LERF
(figurines, ramen, teatime, waldo_kitchen) with polygons on some of their *training* photos, which
`ovs3d.eval.lerf_ovs_frames` reads. The scores of a scene are `ovs3d.eval.masks.flat_mean` of the IoU of each (frame,
prompt), and the share of these pairs that are localised. LangSplat has maps at three levels and keeps the one that is
highest after filtering; who renders one map per prompt has nothing to choose.
"""

import cv2
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ovs3d.eval.localization import is_localized

FILTER = 30
"""Side in pixels of the window of the mean."""
VOTERS = 7
"""Side in pixels of the window of the majority."""


def published_mask(relevancy: Float[Tensor, "h w"], threshold: float = 0.4) -> Bool[Tensor, "h w"]:
    """The published mask of one prompt in one view, whether it is there or not.

    Half the map and half its local mean are stretched from the map's own minimum and maximum to -1..1 and cut at 0.
    So 0.4 asks for 70 % of the way from the least to the most relevant pixel, whatever their relevancy: the mask of
    a prompt that is nowhere in the view is not empty. `plain_mask` has no such stretch.

    Args:
        relevancy: score of the prompt, 0..1.
        threshold: of the stretched map, 0..1; a pixel must lie above it.

    Raises:
        ValueError: a score is not finite.
    """
    height = _half_filtered(relevancy)
    height = height - height.min()
    stretched = (2 * (height / (height.max() + 1e-9)) - 1).clamp(0, 1)
    return majority(stretched > threshold)


def plain_mask(relevancy: Float[Tensor, "h w"], threshold: float = 0.5) -> Bool[Tensor, "h w"]:
    """The mask of one prompt in one view from relevancy as it is, empty where the prompt is not found.

    The filters are those of `published_mask`; only the stretch to the map's own range is left out.

    Args:
        relevancy: score of the prompt, 0..1.
        threshold: of relevancy; 0.5 means as similar as the strongest negative. A pixel must reach it.

    Raises:
        ValueError: a score is not finite.
    """
    return majority(_half_filtered(relevancy) >= threshold)


def published_is_localized(relevancy: Float[Tensor, "h w"], boxes: Int[Tensor, "b 4"]) -> bool:
    """Whether a pixel with the highest local mean of relevancy lies in any labelled box; any of several counts.

    Args:
        relevancy: score of the prompt, 0..1.
        boxes: top, left, bottom, right; half-open, in pixels, at least one.

    Raises:
        ValueError: no box, or a score that is not finite.
    """
    return is_localized(local_mean(relevancy), boxes, ties="any")


def local_mean(relevancy: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Mean over 30 x 30 pixels: of row i, rows i - 15 to i + 14; the image goes on mirrored at its outermost pixels.

    Raises:
        ValueError: a score is not finite.
    """
    if not relevancy.isfinite().all():
        raise ValueError(f"{int((~relevancy.isfinite()).sum())} relevancies are not finite")
    mean = cv2.blur(relevancy.cpu().float().numpy(), (FILTER, FILTER))
    return torch.from_numpy(mean).to(relevancy)


def majority(mask: Bool[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    """Each pixel as most pixels of the 7 x 7 around it are; not in the mask if as many are as are not.

    As published, the last row and the last column of the image have no vote.
    """
    voters = torch.ones_like(mask, dtype=torch.float32)
    voters[-1], voters[:, -1] = 0, 0
    return 2 * _votes(mask * voters) > _votes(voters)


def _half_filtered(relevancy: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    return 0.5 * (local_mean(relevancy) + relevancy)


def _votes(values: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Sum over the window around each pixel, exact for votes."""
    summed = F.avg_pool2d(values[None, None], VOTERS, stride=1, padding=VOTERS // 2, divisor_override=1)
    return summed[0, 0]
