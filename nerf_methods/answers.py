"""Pictures of what a question is answered, from rendered similarities."""

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_methods.query import Query
from ovs3d.outputs.palette import heat_table, label_colors

RELEVANT = 0.5
"""Relevancy of what is as similar to a prompt as to its strongest negative."""


def answer_pictures(
    query: Query, similarity: Float[Tensor, "h w t"], rgb: Float[Tensor, "h w 3"]
) -> dict[str, Float[Tensor, "h w _c"]]:
    """``relevancy_<i>`` and ``composited_<i>`` for each prompt, and ``segmentation``, as nerfstudio shows them.

    Relevancies are in 0..1. A composite is the photo with the heat colours of what is relevant to its own prompt,
    where LERF's shows all prompts through the mask of the first. Label colours are RGB in 0..1.
    """
    scores = query.relevancies(similarity)
    heat = torch.from_numpy(heat_table().copy()).to(rgb) / 255
    pictures = {}
    for i in range(len(query.names)):
        score = scores[..., i : i + 1]
        colors = heat[(255 * (score[..., 0] - RELEVANT) / (1 - RELEVANT)).long().clamp(0, 255)]
        pictures[f"relevancy_{i}"] = score
        pictures[f"composited_{i}"] = torch.where(score > max(RELEVANT, query.threshold), colors, rgb)
    labels = torch.from_numpy(label_colors(query.labels(similarity, scores).cpu().numpy()))
    return pictures | {"segmentation": labels.to(rgb) / 255}
