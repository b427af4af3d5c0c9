"""Trainings that die, and what TensorBoard shows of those that do not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pointcloud.cli import main

SHORT = ["--net.voxel-size-m", "0.3", "--fit.batch-size", "2", "--fit.save-every", "1", "--fit.epochs", "6"]
"""Flags of a training that takes seconds and can go on from any step."""

_KILL = """
import os, signal, sys
from pointcloud.lightning_module import PointTraining
from pointcloud.cli import main
step = PointTraining.training_step
def deadly(self, batch, index):
    if self.global_step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, index)
PointTraining.training_step = deadly
main(sys.argv[1:])
"""


def killed_at(step: int, line: Sequence[str]) -> subprocess.CompletedProcess:
    """A command that kills itself in a step."""
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    script = [sys.executable, "-c", _KILL.format(step=step), *line]
    return subprocess.run(script, env=alone, capture_output=True, text=True, check=False)


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order: batch normalisation of the few voxels here makes much of the last digit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def pretrained(method: Sequence[str], index: Path, out: Path) -> Path:
    """The folder of a run without labels that nothing interrupted."""
    with one_thread():
        main(["pretrain", *method, "--index", str(index), "--out", str(out)])
    return out


def check_that_it_goes_on(step: int, line: Sequence[str], out: Path, whole: Path) -> None:
    """A command that is killed in a step and given again has the losses of one that nothing interrupted.

    Args:
        out: its folder, which is added to the line.
        whole: folder of the other.
    """
    line = [*line, "--out", str(out)]
    killed = killed_at(step, line)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (out / "run.json").exists()
    with one_thread():
        main(line)
    expected, resumed = losses(whole), losses(out)
    assert sorted(resumed) == sorted(expected)
    assert resumed == pytest.approx(expected, rel=1e-6)


def losses(out: Path, name: str = "loss") -> dict[int, float]:
    """A loss in each step of a run; what was written last counts."""
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    return {event.step: event.value for event in events.Scalars(f"train/{name}")}
