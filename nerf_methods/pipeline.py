"""Two phases: first what the scene looks like, then, on frozen geometry, what it means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig

from nerf_methods.datamanager import Ovs3dDataManager, Ovs3dDataManagerConfig
from nerf_methods.geometry import start_geometry
from nerf_methods.model import Ovs3dModel, Ovs3dModelConfig
from nerf_methods.semantics import (
    PatchRays,
    SurfaceRays,
    patch_losses,
    patch_rays,
    semantic_losses,
    surface_rays,
    traced_again,
)
from ovs3d.errors import InputError, exit_on_input_error
from ovs3d.eval.confusion import Confusion
from ovs3d.eval.miou import miou, pixel_accuracy
from ovs3d.prompts.vocabulary import parse_prompts

RETRACE_STEPS = 50
"""Iterations after which rays are traced anew while density changes under the features."""


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
    freeze_density: bool = True
    """Density stays as the first phase left it, also where colour is learnt again in the second."""


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
            if self.model.losses.distill == "classes" and not len(self.model.class_texts):
                raise InputError(
                    "plain fusion learns the answers to prompts: give some, or take another preset"
                )
            if test_mode == "val":
                _ = self.datamanager.tiles
                if self.needs_dino:
                    _ = self.datamanager.dino_tokens
        self.geometry_steps = 0
        self.alignment_step = 0
        self.joint_step = 0
        self._surface: SurfaceRays | None = None
        self._patches: PatchRays | None = None

    def set_iterations(self, total: int) -> None:
        """Fix the schedule for a run of ``total`` iterations."""
        self.geometry_steps = round(self.config.geometry_fraction * total)
        second, losses = total - self.geometry_steps, self.model.losses
        self.alignment_step = self.geometry_steps + round(losses.fda_start * second)
        self.joint_step = self.geometry_steps + round(losses.rgb_start * second)

    @property
    def aligns_features(self) -> bool:
        """Whether FDA has weights, and at least two classes to tell apart."""
        losses = self.model.losses
        return (losses.fda_pull > 0 or losses.fda_push > 0) and len(self.model.class_texts) > 1

    @property
    def needs_dino(self) -> bool:
        """Whether FDA or the tiles ask it."""
        return self.aligns_features or self.config.datamanager.guide_tiles

    def get_training_callbacks(self, attrs: TrainingCallbackAttributes) -> list[TrainingCallback]:
        before = [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION]
        callbacks = [
            *super().get_training_callbacks(attrs),
            TrainingCallback(before, self.start_geometry, iters=(0,)),
        ]
        if self.model.losses.reset_optimizers and attrs.optimizers is not None:
            reset = partial(forget_moments, attrs.optimizers)
            callbacks.append(TrainingCallback(before, reset, iters=(self.joint_step,)))
        return callbacks

    def start_geometry(self, step: int = 0) -> None:
        """Where a plane sweep finds surfaces; a resumed run has its own."""
        start_geometry(self.model, self.datamanager.train_dataset)

    def get_train_loss_dict(self, step: int) -> tuple[dict, dict, dict]:
        if step < self.geometry_steps:
            self._anneal(step)
            return super().get_train_loss_dict(step)
        joint = step >= self.joint_step
        moving = joint and not self.config.freeze_density
        if self._surface is None or (moving and (step - self.joint_step) % RETRACE_STEPS == 0):
            parts = self.model, self.datamanager
            self._patches = patch_rays(*parts) if self.aligns_features else None
            if self._surface is None:
                self._surface = surface_rays(*parts, self.config.semantic_short_side, self._patches)
            else:
                self._surface = traced_again(*parts, self._surface, self._patches)
            if step == self.geometry_steps and self.model.losses.selection == "agreement":
                self.model.selection.start()
        batch = self._surface.sample(self.config.semantic_rays_per_batch, self.device)
        losses = semantic_losses(self.model, batch)
        if self._patches is not None and step >= self.alignment_step:
            patches = self._patches.sample(self.config.patches_per_batch, self.config.patch_side, self.device)
            losses |= patch_losses(self.model, patches)
        if joint:
            frozen = self.config.freeze_density
            for volume in (self.model.proposal, self.model.density):
                volume.requires_grad_(not frozen)
            losses |= super().get_train_loss_dict(step)[1]
        return {}, losses, {"teacher_cosine": -losses["scale_loss"].detach()}

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


def forget_moments(optimizers: Optimizers, step: int) -> None:
    """As if every Adam were new."""
    for optimizer in optimizers.optimizers.values():
        optimizer.state.clear()
