"""How well the mini CLIP names what streets and rooms show, for scripts/eval_mini.py."""

from collections.abc import Callable

import numpy as np
import torch
from mini_captions import SCENERY, Bank, banks
from mini_crops import Crops
from mini_views import Arrays, Views, views_of_room, views_of_street
from torch.nn import functional as F

from ovs3d.eval.confusion import Confusion
from ovs3d.eval.miou import miou, pixel_accuracy
from ovs3d.foundation.clip import Clip
from ovs3d.foundation.dense import dense_features

WORLDS: dict[str, tuple[Callable[[int], Arrays], int]] = {
    "street": (views_of_street, 4),
    "room": (views_of_room, 6),
}
"""Views of a seed, and how many seeds."""
CROPS = 1000


def scenery_views(name: str, first_seed: int) -> Views:
    """Photos of streets or of rooms."""
    of, count = WORLDS[name]
    parts = [of(seed) for seed in range(first_seed, first_seed + count)]
    return Views(**{field: np.concatenate([part[field] for part in parts]) for field in parts[0]})


def scenery_figures(clip: Clip, first_seed: int) -> dict[str, dict[str, float]]:
    """By vocabulary: top-1 of crops as the training has them, and mIoU and accuracy of dense features of whole photos.

    Photos are looked at as ``ovs3d-points features`` does, and each pixel answers by itself.
    """
    figures = {}
    for name in WORLDS:
        views = scenery_views(name, first_seed)
        crops, things, _ = next(iter(Crops({name: views}, {name: 1.0}, CROPS, clip.image_size, 0)))
        x = F.normalize(clip.encode_images(crops.float() / 255), dim=1)
        for bank in banks():
            if bank.name not in (name, *SCENERY[name].banks):
                continue
            texts, answer = clip.encode_texts(bank.prompts), torch.from_numpy(bank.answer)[things]
            right = (x @ texts.T).argmax(1) == answer
            figures[bank.name] = {
                "top1": right[answer >= 0].float().mean().item(),
                "crops": int((answer >= 0).sum()),
            }
            figures[bank.name] |= _dense(clip, views, texts, bank)
    return figures


def _dense(clip: Clip, views: Views, texts: torch.Tensor, bank: Bank) -> dict[str, float]:
    confusion = Confusion.empty(len(bank.prompts))
    for rgb, labels, things in zip(views.rgb, views.labels, views.things, strict=True):
        features = dense_features(clip, torch.from_numpy(rgb).permute(2, 0, 1) / 255)
        scores = (F.normalize(features, dim=-1) @ texts.T).permute(2, 0, 1)[None]
        found = F.interpolate(scores, labels.shape, mode="bilinear")[0].argmax(0)
        truth = np.where(things >= 0, bank.answer[things], -1)[labels]
        known = torch.from_numpy(truth >= 0)
        confusion = confusion.update(torch.from_numpy(truth)[known], found[known])
    return {"dense_miou": miou(confusion), "dense_accuracy": pixel_accuracy(confusion)}
