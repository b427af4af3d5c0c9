"""The losses on features as 3D-OVS's code forms them, to measure ours against and to test it with.

512 channels are composited at every sample of a ray, and every pair of pixels of a patch gets a vector over classes.
Arguments and values are those of `nerf_methods.semantics`, but rays come with all their samples. Where the code does
something twice (both directions of a divergence that is the same in both, a selection that FDA does not use), it is
done once here.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nerf_methods.model import Ovs3dModel
from nerf_methods.semantics import PatchBatch, SurfaceBatch

SHADED_WEIGHT = 1e-4
"""Samples of at most this weight are not looked up; their features are zero, and composited like all others."""
CHUNK = 4096
"""Rays that are rendered at once."""


def semantic_losses(model: Ovs3dModel, batch: SurfaceBatch) -> dict[str, Float[Tensor, ""]]:
    """CLIP distillation and RDA (3D-OVS, sections 3.2 and 3.3)."""
    rendered = _features(model, batch.points, batch.weights)
    selection = _selection(model, batch.points, batch.weights)[..., None]
    target = F.normalize((selection * batch.teacher).sum(1), dim=-1)
    ours = (rendered @ model.class_texts.T).log_softmax(-1)
    theirs = (selection * batch.relevancy).sum(1).log_softmax(-1)
    mixture = ((ours.exp() + theirs.exp()) / 2).log()
    divergences = [(p.exp() * (p - mixture)).sum(-1) for p in (ours, theirs)]
    return {
        "clip_loss": -F.cosine_similarity(rendered, target, dim=-1).mean(),
        "rda_loss": model.losses.rda * 0.5 * (divergences[0] + divergences[1]).mean(),
    }


def patch_losses(model: Ovs3dModel, batch: PatchBatch) -> dict[str, Float[Tensor, ""]]:
    """FDA (3D-OVS, section 3.3), with the Kullback-Leibler divergence that the code has for Jensen-Shannon's."""
    losses = model.losses
    rendered = _features(model, batch.points.flatten(0, 1), batch.weights.flatten(0, 1))
    cosine = F.normalize(rendered, dim=-1) @ model.class_texts.T
    log_p = (cosine / losses.fda_temperature).log_softmax(-1).unflatten(0, batch.weights.shape[:2])
    with torch.no_grad():
        unit = F.normalize(batch.tokens, dim=-1)
        excess = unit @ unit.transpose(1, 2) - losses.fda_shift
        pull, push = excess.clamp(min=0), excess.clamp(max=0)
    difference = log_p[:, :, None] - log_p[:, None]  # [n, p, p, k]
    divergence = (log_p.exp()[:, :, None] * difference).sum(-1)
    pulling = (pull * divergence).sum() / pull.count_nonzero()
    pushing = (push * divergence).sum() / push.count_nonzero()
    return {"fda_loss": losses.fda_pull * pulling + losses.fda_push * pushing}


def shaded(
    points: Float[Tensor, "*n s 3"], weights: Float[Tensor, "*n s"]
) -> tuple[Float[Tensor, "*n k 3"], Float[Tensor, "*n k"]]:
    """The samples that are looked up, as our losses take them: as many per ray as the fullest has.

    Rays with fewer are filled up with samples of weight 0.
    """
    weights = weights * (weights > SHADED_WEIGHT)
    count = int(weights.count_nonzero(dim=-1).max())
    kept, index = weights.topk(count, dim=-1)
    return points.gather(-2, index[..., None].expand(*index.shape, 3)), kept


def _features(
    model: Ovs3dModel, points: Float[Tensor, "r s 3"], weights: Float[Tensor, "r s"]
) -> Float[Tensor, "r d"]:
    chunks = zip(points.split(CHUNK), weights.split(CHUNK), strict=True)
    return torch.cat([_features_of_chunk(model, *chunk) for chunk in chunks])


def _features_of_chunk(
    model: Ovs3dModel, points: Float[Tensor, "r s 3"], weights: Float[Tensor, "r s"]
) -> Float[Tensor, "r d"]:
    mask = weights > SHADED_WEIGHT
    features = points.new_zeros(*weights.shape, model.feature.decoder.out_features)
    features[mask] = model.feature.decoder(model.feature(points[mask]))
    return (weights[..., None] * features).sum(1)


def _selection(
    model: Ovs3dModel, points: Float[Tensor, "r s 3"], weights: Float[Tensor, "r s"]
) -> Float[Tensor, "r c"]:
    mask = weights > SHADED_WEIGHT
    values = points.new_zeros(*weights.shape, model.selection.head.out_features)
    values[mask] = model.selection(points[mask])
    return (weights[..., None] * values).sum(1).softmax(-1)
