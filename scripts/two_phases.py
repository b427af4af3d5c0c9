"""The phases of a training one by one, for benchmarks that learn features in many ways on the same geometry."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers

from nerf_methods.config import ovs3d_method
from nerf_methods.pipeline import Ovs3dPipeline
from nerf_methods.trainer import Ovs3dTrainerConfig, schedule_phases

GEOMETRY = ("space", "proposal", "density", "appearance")
"""Modules that the first phase trains."""


@dataclass(frozen=True)
class TwoPhases:
    """Trains as `ns-train ovs3d` does."""

    scene: Path
    geometry_steps: int
    semantic_steps: int
    changes: Mapping[str, object]
    """Options of the pipeline, such as ``model.losses.preset``."""

    def set_up(self) -> tuple[Ovs3dPipeline, Optimizers]:
        """As the method starts."""
        config = copy.deepcopy(ovs3d_method.config)
        assert isinstance(config, Ovs3dTrainerConfig)
        total = self.geometry_steps + self.semantic_steps
        config.pipeline.datamanager.data = self.scene
        config.pipeline.geometry_fraction = self.geometry_steps / total
        for path, value in self.changes.items():
            *parents, last = path.split(".")
            target = config.pipeline
            for parent in parents:
                target = getattr(target, parent)
            setattr(target, last, value)
        pipeline = config.pipeline.setup(device="cpu", test_mode="val")
        schedule_phases(config.optimizers, pipeline, total)
        return pipeline, Optimizers(config.optimizers, pipeline.get_param_groups())

    def geometry(self, pipeline: Ovs3dPipeline, optimizers: Optimizers, path: Path) -> None:
        """Fit colour and density, or take what was fitted before and kept at ``path``."""
        if path.exists():
            pipeline.model.load_state_dict(torch.load(path, weights_only=True), strict=False)
            pipeline.model.sampler.anneal = 1.0
        else:
            _train(pipeline, optimizers, range(self.geometry_steps))
            state = pipeline.model.state_dict()
            torch.save({name: value for name, value in state.items() if name.split(".")[0] in GEOMETRY}, path)
        for scheduler in optimizers.schedulers.values():
            scheduler.last_epoch = self.geometry_steps - 1
            scheduler.step()

    def semantics(self, pipeline: Ovs3dPipeline, optimizers: Optimizers) -> None:
        """Learn features."""
        _train(pipeline, optimizers, range(self.geometry_steps, self.geometry_steps + self.semantic_steps))


def _train(pipeline: Ovs3dPipeline, optimizers: Optimizers, steps: range) -> None:
    """nerfstudio's loop without its trainer."""
    callbacks = pipeline.get_training_callbacks(TrainingCallbackAttributes(optimizers, None, pipeline, None))
    pipeline.train()
    for step in steps:
        for callback in callbacks:
            callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        optimizers.zero_grad_all()
        _, losses, _ = pipeline.get_train_loss_dict(step)
        torch.stack(list(losses.values())).sum().backward()
        optimizers.optimizer_step_all()
        optimizers.scheduler_step_all(step)
    pipeline.eval()
