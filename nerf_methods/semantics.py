"""The second phase: where each ray ends, what CLIP sees there, which pixels DINO thinks alike, and the losses.

The geometry is frozen by then, so the few points of a ray that carry weight are found once and not every iteration.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor
from tqdm import tqdm

from nerf_methods.cameras import cell_centers, rays_through
from nerf_methods.datamanager import Ovs3dDataManager
from nerf_methods.field import squared_lengths
from nerf_methods.model import Ovs3dModel
from nerf_methods.objectives import (
    TINY,
    FromCenter,
    PairRule,
    class_distillation,
    clip_distillation,
    cosine,
    feature_distribution_alignment,
    probable_names,
    relevancy_distribution_alignment,
)
from nerf_methods.rendering import composite_all
from ovs3d.query import minmax_relevancy


@dataclass(frozen=True, eq=False)
class SurfaceBatch:
    """Rays with what a loss on features needs of them."""

    points: Float[Tensor, "r k 3"]
    """In the cube of the field."""
    weights: Float[Tensor, "r k"]
    teacher: Float[Tensor, "r s d"]
    """Unit features of each scale."""
    relevancy: Float[Tensor, "r s c"]
    """Of each scale and class, stretched to 0..1 over each view; no class without RDA."""
    center: Float[Tensor, "s d"]
    """Mean of each scale's features over the scene."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Where features of a training view are learnt."""

    view: int
    coords: Float[Tensor, "n 2"]
    """Centres of the cells of a grid, (row, column) in pixels."""
    known: Bool[Tensor, " n"]
    """Those where the teacher sees something."""


@dataclass(frozen=True, eq=False)
class SurfaceRays:
    """All rays of the training views at the centres of a coarse grid of cells."""

    points: Float[Tensor, "n k 3"]
    weights: Float[Tensor, "n k"]
    teacher: Float[Tensor, "n s d"]
    """float16, on the CPU."""
    relevancy: Float[Tensor, "n s c"]
    """float16, on the CPU."""
    cells: tuple[Cells, ...]
    """The rays' places."""

    def sample(self, count: int, device: torch.device) -> SurfaceBatch:
        """A random batch, with replacement."""
        chosen = torch.randint(len(self.weights), (count,))
        parts = (self.points, self.weights, self.teacher, self.relevancy)
        points, weights, teacher, relevancy = (part[chosen].to(device).float() for part in parts)
        return SurfaceBatch(points, weights, teacher, relevancy, self.center.to(device))

    @cached_property
    def center(self) -> Float[Tensor, "s d"]:
        """Mean of each scale's features over the scene."""
        return self.teacher.mean(0, dtype=torch.float)


@dataclass(frozen=True, eq=False)
class PatchBatch:
    """Patches of neighbouring pixels."""

    points: Float[Tensor, "n p k 3"]
    weights: Float[Tensor, "n p k"]
    tokens: Float[Tensor, "n p c"]
    """DINO's; zero where the photo's mask leaves a pixel out."""


@dataclass(frozen=True, eq=False)
class PatchRays:
    """The rays of the training views through the centres of DINO's patches, a grid per view."""

    points: list[Float[Tensor, "_h _w k 3"]]
    weights: list[Float[Tensor, "_h _w k"]]
    tokens: list[Float[Tensor, "_h _w c"]]
    """float16, on the CPU."""

    def sample(self, count: int, side: int, device: torch.device) -> PatchBatch:
        """Random squares of ``side`` x ``side`` rays, smaller where a view has fewer."""
        height = min(side, min(len(one) for one in self.weights))
        width = min(side, min(one.shape[1] for one in self.weights))
        places = []
        for view in torch.randint(len(self.weights), (count,)).tolist():
            rows, columns = self.weights[view].shape[:2]
            top = int(torch.randint(rows - height + 1, ()))
            left = int(torch.randint(columns - width + 1, ()))
            places.append((view, slice(top, top + height), slice(left, left + width)))
        return PatchBatch(
            *(
                torch.stack([part[view][rows, columns].flatten(0, 1) for view, rows, columns in places])
                .to(device)
                .float()
                for part in (self.points, self.weights, self.tokens)
            )
        )


@torch.no_grad()
def surface_rays(
    model: Ovs3dModel, data: Ovs3dDataManager, short_side: int, patches: PatchRays | None = None
) -> SurfaceRays:
    """Trace the training views at ``short_side`` cells along their shorter side.

    Where DINO guides the tiles, its patches are those cells, and if they were traced before it is not done again.
    """
    text = model.class_texts.cpu()
    text = text if model.losses.rda else text[:0]
    cells, taught = [], []
    for view in tqdm(data.taught, desc="Teacher of the training views", unit="view"):
        grid = data.teacher(view, short_side)
        rows, columns = grid.features.shape[:2]
        seen = grid.features.flatten(0, 1)
        known = seen.isfinite().flatten(1).all(1)
        cells.append(Cells(view, cell_centers(rows, columns, grid.cell), known))
        relevancy = minmax_relevancy((seen[known] @ text.T).transpose(0, 1)).transpose(0, 1)
        taught.append((seen[known].half(), relevancy.half()))
    teacher, relevancy = (torch.cat(parts) for parts in zip(*taught, strict=True))
    points, weights = _ends(model, data, cells, patches)
    return SurfaceRays(points, weights, teacher, relevancy, tuple(cells))


@torch.no_grad()
def traced_again(
    model: Ovs3dModel, data: Ovs3dDataManager, rays: SurfaceRays, patches: PatchRays | None = None
) -> SurfaceRays:
    """The same rays where density has changed; what the teacher sees stays."""
    points, weights = _ends(model, data, rays.cells, patches)
    return replace(rays, points=points, weights=weights)


def _ends(
    model: Ovs3dModel, data: Ovs3dDataManager, cells: Sequence[Cells], patches: PatchRays | None
) -> tuple[Float[Tensor, "n k 3"], Float[Tensor, "n k"]]:
    """Where the rays of cells end."""
    ends = []
    with _evaluating(model):
        cameras = data.train_dataset.cameras.to(model.device)
        for one in tqdm(cells, desc="Surface of the training views", unit="view"):
            if data.config.guide_tiles and patches is not None:
                points, weights = (part[one.view].flatten(0, 1) for part in (patches.points, patches.weights))
            else:
                points, weights = _trace(model, cameras, one.view, one.coords)
            ends.append((points[one.known], weights[one.known]))
    points, weights = (torch.cat(parts) for parts in zip(*ends, strict=True))
    return points, weights


@torch.no_grad()
def patch_rays(model: Ovs3dModel, data: Ovs3dDataManager) -> PatchRays:
    """Trace the training views through the centres of DINO's patches."""
    views = []
    with _evaluating(model):
        cameras = data.train_dataset.cameras.to(model.device)
        grids = tqdm(data.dino_tokens, desc="Patches of the training views", unit="view")
        for view, grid in enumerate(grids):
            size = rows, columns = grid.tokens.shape[:2]
            coords = cell_centers(rows, columns, grid.cell)
            points, weights = _trace(model, cameras, view, coords)
            shown = data.shown(view, coords)
            tokens = grid.tokens if shown.all() else grid.tokens * shown.view(*size, 1)
            views.append((points.unflatten(0, size), weights.unflatten(0, size), tokens))
    return PatchRays(*(list(parts) for parts in zip(*views, strict=True)))


def semantic_losses(model: Ovs3dModel, batch: SurfaceBatch) -> dict[str, Float[Tensor, ""]]:
    """CLIP distillation and RDA.

    Features are linear in code and opacity, and losses ask for no more than inner products: no feature is formed.
    """
    losses, field, teacher = model.losses, model.feature, batch.teacher
    code, opacity = _render_code(model, batch.points, batch.weights)
    field.observe(code, opacity)
    values = model.selection(batch.points.flatten(0, 1)).unflatten(0, batch.weights.shape)
    chosen = (composite_all(values, batch.weights) / losses.selection_temperature).softmax(-1)
    centers = batch.center if losses.centered else torch.zeros_like(batch.center)
    center, gram = centers.mean(0), teacher @ teacher.mT
    lifted, mixture = torch.cat([code, opacity], dim=1), field.columns()
    products = teacher @ torch.cat([mixture, center[:, None]], dim=1)
    own = torch.stack([field.columns(scale) for scale in range(field.scales)])
    # scales follow the mixture and do not pull at it
    agreement = _agreement(lifted.detach(), own, teacher, gram, centers)
    found = {"scale_loss": -agreement.mean()}
    if losses.selection == "agreement":
        found["selection_loss"] = -(chosen * agreement.detach()).sum(1).mean()
        chosen = chosen.detach()
    if losses.distill == "features":
        found["clip_loss"] = clip_distillation(
            (products[..., :-1] * lifted[:, None]).sum(-1),
            squared_lengths(lifted, mixture),
            gram,
            chosen,
            FromCenter(lifted @ (mixture.T @ center), products[..., -1], center.square().sum()),
        )
    else:
        text = model.class_texts
        theirs = F.normalize(teacher.mean(1), dim=-1) @ text.T
        found["fusion_loss"] = class_distillation(field.similarity(code, opacity, text), theirs)
    if batch.relevancy.shape[-1]:
        text = model.class_texts
        logits = field.similarity(code, opacity, text) if losses.rda_cosine else lifted @ (text @ mixture).T
        found["rda_loss"] = losses.rda * relevancy_distribution_alignment(logits, batch.relevancy, chosen)
    return found


def _agreement(
    lifted: Float[Tensor, "r c"],
    own: Float[Tensor, "s d c"],
    teacher: Float[Tensor, "r s d"],
    gram: Float[Tensor, "r s s"],
    centers: Float[Tensor, "s d"],
) -> Float[Tensor, "r s"]:
    """Cosines, from the centers, of what each scale's own decoder makes of rays with what the teacher sees there."""
    products = torch.einsum("rsd,sdc->rsc", teacher, torch.cat([own, centers[..., None]], dim=2))
    length = torch.einsum("rc,sce,re->rs", lifted, own.mT @ own, lifted).clamp(min=TINY).sqrt()
    ours = (products[..., :-1] * lifted[:, None]).sum(-1) / length
    theirs, middle = gram.diagonal(dim1=1, dim2=2), lifted @ (centers[:, None] @ own)[:, 0].T / length
    return cosine(ours, 1.0, theirs, middle, products[..., -1], centers.square().sum(1))


def patch_losses(model: Ovs3dModel, batch: PatchBatch) -> dict[str, Float[Tensor, ""]]:
    """FDA."""
    losses = model.losses
    code, opacity = _render_code(model, batch.points.flatten(0, 1), batch.weights.flatten(0, 1))
    cosines = model.feature.similarity(code, opacity, model.class_texts).unflatten(0, batch.weights.shape[:2])
    rule = PairRule(losses.fda_shift, losses.fda_pull, losses.fda_push, losses.fda_rebalance)
    names = probable_names(cosines, losses.fda_guard) if losses.fda_guard else None
    logits = cosines / losses.fda_temperature
    return {
        "fda_loss": feature_distribution_alignment(logits, batch.tokens, rule, losses.fda_divergence, names)
    }


def _render_code(
    model: Ovs3dModel, x: Float[Tensor, "r k 3"], weights: Float[Tensor, "r k"]
) -> tuple[Float[Tensor, "r c"], Float[Tensor, "r 1"]]:
    """Code and opacity of rays. The code is linear too in what the volume holds, so it is made once a ray."""
    values = model.feature.volume(x.flatten(0, 1)).unflatten(0, weights.shape)
    return model.feature.basis(composite_all(values, weights)), weights.sum(1, keepdim=True)


@contextmanager
def _evaluating(model: Ovs3dModel) -> Iterator[None]:
    """Without jitter: the same points each time."""
    was_training = model.training
    model.eval()
    yield
    model.train(was_training)


def _trace(
    model: Ovs3dModel, cameras: Cameras, view: int, coords: Float[Tensor, "n 2"]
) -> tuple[Float[Tensor, "n k 3"], Float[Tensor, "n k"]]:
    parts = []
    for chunk in coords.split(model.config.eval_num_rays_per_chunk):
        parts.append(model.surface(rays_through(chunk, cameras, view)))
    points, weights = (torch.cat([part[i].cpu() for part in parts]) for i in (0, 1))
    return points, weights
