"""nerfstudio's trainer with checkpoints that survive being killed, and a schedule that knows the two phases."""

import io
import os
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from nerfstudio.configs.base_config import InstantiateConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig, Optimizers
from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from nerfstudio.engine.trainer import Trainer, TrainerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from nerf_methods.pipeline import Ovs3dPipeline, Ovs3dPipelineConfig
from ovs3d.errors import InputError, exit_on_input_error


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """Adam in one kernel, for the large grids of the field."""

    weight_decay: float = 0.0
    fused: bool = True
    """One pass over all state."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay of the running means of the gradient and of its square."""


@dataclass
class PhaseSchedulerConfig(SchedulerConfig):
    """Warm-up and exponential decay within one phase of the training."""

    _target: type = field(default_factory=lambda: PhaseScheduler)
    phase: Literal["geometry", "semantics"] = "geometry"
    """The phase in which the parameters learn."""
    warmup_steps: int = 50
    """Iterations of linear warm-up."""
    final_factor: float = 0.1
    """Learning rate at the end of the phase, relative to that at its start."""
    start: int = 0
    """First iteration of the phase; the trainer sets it."""
    stop: int = 1
    """Iteration after its last; the trainer sets it."""
    restart: int | None = None
    """Iteration at which the decay starts anew; the trainer sets it."""


class PhaseScheduler(Scheduler):
    """Rates are plain floats: NumPy's would make the checkpoint unreadable for `torch.load(weights_only=True)`."""

    config: PhaseSchedulerConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        # a function, not a method: LambdaLR writes what hangs on a callable object into checkpoints
        return LambdaLR(optimizer, lr_lambda=lambda step: self.factor(step))

    def factor(self, step: int) -> float:
        """Learning rate at an iteration, relative to the initial one."""
        config = self.config
        length = config.stop - config.start
        done = min(max(step - config.start, 0), length)
        warmup = min(1.0, (done + 1) / max(1, config.warmup_steps))
        if config.restart is not None and step >= config.restart:
            done = min(step - config.restart, length)
        return warmup * config.final_factor ** (done / max(1, length))


def schedule_phases(optimizers: dict[str, dict[str, Any]], pipeline: Ovs3dPipeline, total: int) -> None:
    """Tell the pipeline and the learning rates when each phase begins and ends in a run of ``total`` iterations."""
    pipeline.set_iterations(total)
    change = pipeline.geometry_steps
    for group in optimizers.values():
        scheduler: InstantiateConfig | None = group["scheduler"]
        if isinstance(scheduler, PhaseSchedulerConfig):
            scheduler.start, scheduler.stop = (
                (0, change) if scheduler.phase == "geometry" else (change, total)
            )
            if pipeline.model.losses.reset_optimizers and scheduler.phase == "semantics":
                scheduler.restart = pipeline.joint_step


@dataclass
class Ovs3dTrainerConfig(TrainerConfig):
    """nerfstudio's settings of a training run."""

    _target: type = field(default_factory=lambda: Ovs3dTrainer)
    pipeline: Ovs3dPipelineConfig = field(default_factory=Ovs3dPipelineConfig)
    """Pipeline configuration"""

    def save_config(self) -> None:
        with exit_on_input_error():
            super().save_config()


class Ovs3dTrainer(Trainer):
    """``max_num_iterations`` is the length of the whole run, also of one that was resumed."""

    config: Ovs3dTrainerConfig
    pipeline: Ovs3dPipeline  # type: ignore[assignment]

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        if self.config.prompt is not None:  # nerfstudio passes it on too, but not an empty one
            self.config.pipeline.model.prompt = self.config.prompt
        with exit_on_input_error():
            super().setup(test_mode)

    def setup_optimizers(self) -> Optimizers:
        schedule_phases(self.config.optimizers, self.pipeline, self.config.max_num_iterations)
        return super().setup_optimizers()

    def train(self) -> None:
        total = self.config.max_num_iterations
        self.config.max_num_iterations = max(0, total - self._start_step)  # nerfstudio counts from the start
        self.step = self._start_step - 1 if self._start_step >= total else self.step
        with exit_on_input_error():
            super().train()

    def _load_checkpoint(self) -> None:
        folder = self.config.load_dir
        if folder is not None and not any(folder.glob("step-*.ckpt")):
            raise InputError(f"no checkpoint in {folder} to resume from: leave out --load-dir to start anew")
        super()._load_checkpoint()

    def save_checkpoint(self, step: int) -> None:
        """Written beside and renamed, so that a killed run keeps its last whole checkpoint.

        Raises:
            InputError: it cannot be written.
        """
        if self.local_rank != 0:
            return
        path = self.checkpoint_dir / f"step-{step:09d}.ckpt"
        partial = self.checkpoint_dir.parent / f"{path.name}.partial"
        state = {
            "step": step,
            "pipeline": self.pipeline.state_dict(),
            "optimizers": {name: one.state_dict() for name, one in self.optimizers.optimizers.items()},
            "schedulers": {name: one.state_dict() for name, one in self.optimizers.schedulers.items()},
            "scalers": self.grad_scaler.state_dict(),
        }
        content = io.BytesIO()
        torch.save(state, content)  # not into the file: where a disk is full, torch says something else
        try:
            self.checkpoint_dir.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content.getbuffer())
            os.replace(partial, path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise InputError(
                f"cannot write {path} ({error.strerror}); checkpoints before it are whole: make room, then "
                f"resume with --load-dir {self.checkpoint_dir}"
            ) from error
        if self.config.save_only_latest_checkpoint:
            for old in self.checkpoint_dir.glob("*.ckpt"):
                if old != path:
                    old.unlink()
