"""Two phases: first what the scene looks like, then, on frozen geometry, what it means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nerf_methods.datamanager import Ovs3dDataManager, Ovs3dDataManagerConfig
from nerf_methods.model import Ovs3dModel, Ovs3dModelConfig
from nerf_methods.semantics import (
    PatchRays,
    SurfaceRays,
    patch_losses,
    patch_rays,
    semantic_losses,
    surface_rays,
)
from nerf_methods.sweep import surface_evidence, sweep
from ovs3d.errors import InputError, exit_on_input_error
from ovs3d.eval.confusion import Confusion
from ovs3d.eval.miou import miou, pixel_accuracy
from ovs3d.prompts.vocabulary import parse_prompts


@dataclass
class Ovs3dPipelineConfig(VanillaPipelineConfig):
    """Data, model, and the schedule of the two phases."""

    _target: type = field(default_factory=lambda: Ovs3dPipeline)
    datamanager: Ovs3dDataManagerConfig = field(default_factory=Ovs3dDataManagerConfig)
    """specifies the datamanager config"""
    model: Ovs3dModelConfig = field(default_factory=Ovs3dModelConfig)
    """specifies the model config"""
    geometry_fraction: float = 0.8
    """Share of the iterations that fit colour and density; the others fit features to the frozen geometry."""
    proposal_anneal_fraction: float = 0.3
    """Share of the first phase in which samples are spread more widely than the proposal says."""
    semantic_rays_per_batch: int = 4096
    """Rays per iteration of the second phase."""
    semantic_short_side: int = 80
    """Cells along the shorter side of a photo, at whose centres features are learnt."""
    patches_per_batch: int = 8
    """Patches per iteration that features are aligned on."""
    patch_side: int = 32
    """Rays along the side of a patch, one for each of DINO's."""


class Ovs3dPipeline(VanillaPipeline):
    """Trains one phase after the other; a mistake of the user ends it with one line and exit status 2."""

    config: Ovs3dPipelineConfig
    datamanager: Ovs3dDataManager
    model: Ovs3dModel

    def __init__(
        self, config: Ovs3dPipelineConfig, device: str | torch.device, test_mode: str = "val", **kwargs: Any
    ):
        with exit_on_input_error():
            if config.model.prompt is not None:
                parse_prompts(config.model.prompt)  # before minutes are spent on features
            super().__init__(config, device, test_mode=test_mode, **kwargs)  # type: ignore[arg-type]
            if test_mode == "val":
                _ = self.datamanager.tiles
                if self.aligns_features:
                    _ = self.datamanager.dino_tokens
        self.geometry_steps = 0
        self.alignment_step = 0
        self._surface: SurfaceRays | None = None
        self._patches: PatchRays | None = None

    def set_iterations(self, total: int) -> None:
        """Fix the schedule for a run of ``total`` iterations."""
        self.geometry_steps = round(self.config.geometry_fraction * total)
        self.alignment_step = total
        if self.aligns_features:
            share = self.model.losses.fda_start
            self.alignment_step = self.geometry_steps + round(share * (total - self.geometry_steps))

    @property
    def aligns_features(self) -> bool:
        """Whether FDA has weights, and at least two classes to tell apart."""
        losses = self.model.losses
        return (losses.fda_pull > 0 or losses.fda_push > 0) and len(self.model.class_texts()) > 1

    def get_training_callbacks(self, attrs: TrainingCallbackAttributes) -> list[TrainingCallback]:
        before = [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION]
        return [
            *super().get_training_callbacks(attrs),
            TrainingCallback(before, self.start_geometry, iters=(0,)),
        ]

    def start_geometry(self, step: int = 0) -> None:
        """Place the cube and start both densities where a plane sweep finds surfaces; a resumed run has its own."""
        dataset, space = self.datamanager.train_dataset, self.model.space
        if (dataset.cameras.camera_type != CameraType.PERSPECTIVE.value).any():
            CONSOLE.print("not all cameras are perspective: density starts uniform, geometry may need longer")
            return
        cameras = dataset.cameras.to(self.device)
        maps = sweep(cameras, dataset, focus=2 * float(space.radius))
        depths = torch.cat([one.depth.flatten() for one in maps])
        points = torch.cat([one.points.flatten(0, 1) for one in maps])
        known = depths.isfinite()
        if not known.any():
            return
        space.place(points[known], depths[known])

        def evidence(x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
            return surface_evidence(space.inverse(x), cameras, maps)

        self.model.proposal.start(evidence)
        self.model.density.start(evidence)

    def get_train_loss_dict(self, step: int) -> tuple[dict, dict, dict]:
        if step < self.geometry_steps:
            self._anneal(step)
            return super().get_train_loss_dict(step)
        if self._surface is None:
            self._surface = surface_rays(self.model, self.datamanager, self.config.semantic_short_side)
        batch = self._surface.sample(self.config.semantic_rays_per_batch, self.device)
        losses = semantic_losses(self.model, batch)
        cosine = -losses["clip_loss"].detach()
        if step >= self.alignment_step:
            if self._patches is None:
                self._patches = patch_rays(self.model, self.datamanager)
            patches = self._patches.sample(self.config.patches_per_batch, self.config.patch_side, self.device)
            losses |= patch_losses(self.model, patches)
        return {}, losses, {"teacher_cosine": cosine}

    def _anneal(self, step: int) -> None:
        """Mip-NeRF 360, eq. 18: the exponent of the proposal's weights goes to 1."""
        t = min(1.0, step / max(1.0, self.config.proposal_anneal_fraction * self.geometry_steps))
        self.model.sampler.anneal = 10 * t / (9 * t + 1)

    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        self.model.update_to_step(step)
        self.model.sampler.anneal = 1.0
        state = {key.removeprefix("module."): value for key, value in loaded_state.items()}
        with exit_on_input_error():
            self.load_state_dict(state, strict=True)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool | None = True) -> None:
        """Strictly: nerfstudio's own retries without a word and leaves parts of the field random."""
        try:
            super().load_state_dict(state_dict, strict=True)
        except RuntimeError as error:
            raise InputError(f"the checkpoint is not of this scene and configuration: {error}") from error

    def get_average_eval_image_metrics(
        self, step: int | None = None, output_path: Path | None = None, get_std: bool = False
    ) -> dict[str, float]:
        """nerfstudio's averages over the held-out views, and mIoU and accuracy pooled over them."""
        query = self.model.query
        self.model.confusion = Confusion.empty(len(query.names)) if query is not None else None
        metrics = super().get_average_eval_image_metrics(step, output_path, get_std)
        confusion, self.model.confusion = self.model.confusion, None
        if confusion is not None and int(confusion.counts.sum()) > 0:
            metrics |= {"miou": miou(confusion), "accuracy": pixel_accuracy(confusion)}
        return metrics
