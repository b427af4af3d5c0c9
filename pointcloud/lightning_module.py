"""What all trainings on points share: optimiser, schedule, data, checkpoints, resuming. The loop is Lightning's."""

import json
import math
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader

from ovs3d.atomic import atomic_file
from ovs3d.device import usable_device
from ovs3d.errors import InputError, check_range
from ovs3d.optim import Muon
from ovs3d.outputs.folder import usable_folder
from pointcloud.config import Fit, Net, Training
from pointcloud.index import Index
from pointcloud.model import PointModel
from pointcloud.nets.checkpoint import load_trunk
from pointcloud.runs import read_about
from pointcloud.samples import Steps, TrainingSamples
from pointcloud.sparse import use_backend

_DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
_SEEN = "name", "inputs", "voxels", "voxel_size_m", "first_kernel"
"""Settings of a network that its trunk depends on."""
_FREE = {("out",), ("root",), ("fit", "workers"), ("fit", "save_every")}
"""Settings that change no result: a run may go on with others."""
_NAMED = 8
"""Settings that are named where a run has others: another method has all others."""


class PointTraining(lightning.LightningModule):
    """A network in training. A subclass says what the loss of a batch is."""

    def __init__(self, model: PointModel, fit: Fit, samples: TrainingSamples) -> None:
        super().__init__()
        self.model, self.fit, self.samples = model, fit, samples

    def losses(self, batch: Any) -> Mapping[str, Tensor]:
        """The parts of the loss, each already weighted."""
        raise NotImplementedError

    def full_precision(self) -> torch.autocast:
        """A context in which products are not rounded, whatever `Fit.precision` lets the network do."""
        return torch.autocast(self.device.type, enabled=False)

    def training_step(self, batch: Any, index: int) -> Tensor:
        parts = self.losses(batch)
        total = torch.stack(list(parts.values())).sum()
        if not torch.isfinite(total):
            raise InputError(
                f"the loss is {total.item()} in step {self.global_step}: {', '.join(parts)}; use a lower --fit.lr"
            )
        shown = {f"train/{name}": value.detach() for name, value in parts.items()} | {
            "train/loss": total.detach()
        }
        self.log_dict(shown, prog_bar=False, batch_size=len(batch.frames))
        self.log("loss", total.detach(), prog_bar=True, logger=False, batch_size=len(batch.frames))
        return total

    def configure_optimizers(self) -> Any:
        fit, steps = self.fit, int(self.trainer.estimated_stepping_batches)
        groups = self.model.parameter_groups(fit.lr, fit.lr if fit.lr_head is None else fit.lr_head)
        if fit.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, momentum=0.9, dampening=0.1, weight_decay=fit.weight_decay)
            warm = 0
        else:
            kind = Muon if fit.optimizer == "muon" else torch.optim.AdamW
            optimizer = kind(groups, lr=fit.lr, weight_decay=fit.weight_decay)
            warm = max(1, steps // 10)

        def factor(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def train_dataloader(self) -> DataLoader:
        """Of the current epoch, from the step at which it stopped."""
        steps = Steps(
            len(self.samples),
            self.fit.batch_size,
            self.fit.seed,
            self.current_epoch,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
        )
        return _Loader(self, steps)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch.to(device)


class _Loader(DataLoader):
    """Batches of one epoch; a checkpoint in its middle notes how many steps are done, and resuming starts there."""

    def __init__(self, training: PointTraining, steps: Steps) -> None:
        workers = training.fit.workers
        super().__init__(
            training.samples, batch_sampler=steps, collate_fn=training.samples.collate, num_workers=workers
        )
        self.training, self.steps = training, steps

    def state_dict(self) -> dict[str, int]:
        return {"first": self.training.global_step % len(self.steps)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.steps.first = state["first"]


class _Progress(TQDMProgressBar):
    """Lightning's bar without the version of the log, which is always the same here."""

    def get_metrics(self, *args: Any) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(*args).items() if name != "v_num"}


def new_model(command: Training, heads: Mapping[str, int], kept: Collection[str] = ()) -> PointModel:
    """The network that a training starts with, its trunk from ``--init``, its back-end ready.

    Args:
        heads: name and channels of each.
        kept: heads that are taken from there too, if they are there.

    Raises:
        InputError: the trunk cannot be taken from there, or there is no such back-end.
    """
    model = PointModel(command.net, heads)
    if command.init is not None:
        if command.init.is_dir():
            _sees_alike(command.net, command.init)
        load_trunk(model.net, command.init, kept=kept)
    dtype = _DTYPES[command.fit.precision]
    use_backend(model.net, command.net.backend, torch.device(usable_device(None)), dtype)
    return model


def check(command: Training) -> None:
    """Refuse numbers that no training can have.

    Raises:
        InputError: there is one.
    """
    fit, net = command.fit, command.net
    check_range("fit.epochs", fit.epochs, 1, 10**6)
    check_range("fit.batch-size", fit.batch_size, 1, 10**6)
    check_range("fit.devices", fit.devices, 1, torch.cuda.device_count() or 10**3)
    check_range("fit.workers", fit.workers, 0, 10**3)
    check_range("fit.save-every", fit.save_every, 1, 10**9)
    check_range("fit.seed", fit.seed, 0, 2**32 - 1)
    check_range("fit.lr", fit.lr, 0, 1e3)
    check_range("fit.lr-head", fit.lr_head or 0, 0, 1e3)
    check_range("fit.weight-decay", fit.weight_decay, 0, 1e3)
    check_range("net.bn-momentum", net.bn_momentum, 0, 1)
    check_range("net.first-kernel", net.first_kernel, 1, 7)
    check_range("net.voxel-size-m", net.voxel_size_m, 1e-4, 1e3)
    check_range("augment.scale", command.augment.scale, 0, 0.99)
    check_range("augment.shift-voxels", command.augment.shift_voxels, 0, 1e6)
    if net.first_kernel % 2 == 0:
        raise InputError(f"--net.first-kernel is odd, not {net.first_kernel}")
    if not net.inputs:
        raise InputError("--net.inputs: points have to bring something, for instance one")


def check_out(out: Path, index: Index) -> None:
    """Refuse to put a run among the files of its data set.

    Raises:
        InputError: it would be.
    """
    if out.resolve() == index.dataset.root.resolve():
        raise InputError(f"{out} holds the data set itself: name a folder of its own with --out")


def _sees_alike(net: Net, init: Path) -> None:
    """A trunk knows points as they were shown to it."""
    theirs = read_about(init).net
    other = [name for name in _SEEN if getattr(theirs, name) != getattr(net, name)]
    if other:
        flags = " ".join(f"--net.{name.replace('_', '-')} {_flag(getattr(theirs, name))}" for name in other)
        raise InputError(f"{init} was trained with {flags}: give these flags, or start from something else")


def _flag(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def begin(out: Path, settings: Mapping[str, Any]) -> Path | None:
    """The checkpoint from which a run goes on; None: there is none yet, it starts anew, and its settings are noted.

    Raises:
        InputError: the folder holds a run with other settings or damaged files, or cannot be written into.
    """
    noted = out / "settings.json"
    text = json.dumps(settings, indent=2, default=lambda path: str(path.resolve()))
    last = out / "checkpoints" / "last.ckpt"
    if noted.exists() and (last.exists() or (out / "run.json").exists()):
        old, new = _flat(_noted(noted)), _flat(json.loads(text))
        other = [".".join(name) for name in {**old, **new} if old.get(name, ...) != new.get(name, ...)]
        if other:
            more = f" and {len(other) - _NAMED} more" if len(other) > _NAMED else ""
            raise InputError(
                f"{out} holds a run with other settings ({', '.join(other[:_NAMED])}{more}): name a new folder with "
                "--out, or go on with the same flags"
            )
        if not last.exists():
            return None
        if not zipfile.is_zipfile(last):
            raise InputError(f"{last} is damaged: remove it to train anew, or name another folder with --out")
        return last
    usable_folder(out)
    with atomic_file(noted) as file:
        file.write(text.encode())
    return None


def _noted(path: Path) -> dict[str, Any]:
    """Settings of the run in a folder.

    Raises:
        InputError: they cannot be read.
    """
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({error}), and with it what is known of this run: name another folder with --out"
        ) from error


def _flat(settings: Mapping[str, Any], *above: str) -> dict[tuple[str, ...], Any]:
    """Settings by their whole names, without those that are free."""
    found: dict[tuple[str, ...], Any] = {}
    for name, value in settings.items():
        path = *above, name
        if isinstance(value, dict):
            found |= _flat(value, *path)
        elif path not in _FREE:
            found[path] = value
    return found


def trainer(out: Path, fit: Fit, validate_every: int = 1) -> lightning.Trainer:
    """Lightning's loop: progress bar, TensorBoard, checkpoints in ``out/checkpoints``."""
    folder = out / "checkpoints"

    def keep(**when: Any) -> ModelCheckpoint:
        return ModelCheckpoint(folder, filename="last", save_top_k=1, enable_version_counter=False, **when)

    return lightning.Trainer(
        max_epochs=fit.epochs,
        accelerator="auto",
        devices=fit.devices,
        strategy="ddp" if fit.devices > 1 else "auto",
        precision=fit.precision,
        logger=TensorBoardLogger(out, name="", version="tensorboard"),
        callbacks=[
            keep(every_n_train_steps=fit.save_every),
            keep(every_n_epochs=1, save_on_train_epoch_end=True),
            LearningRateMonitor("step"),
            _Progress(),
        ],
        check_val_every_n_epoch=validate_every,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        enable_model_summary=False,
    )
