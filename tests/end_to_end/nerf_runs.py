"""Small runs of nerfstudio's commands."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ovs3d.geometry import Camera

ITERATIONS = 40
HELD_OUT = (2, 7)
FAST = {
    "vis": "tensorboard",
    "pipeline.datamanager.tile-scales": "2 3",
    "pipeline.datamanager.train-num-rays-per-batch": 512,
    "pipeline.geometry-fraction": 0.7,
    "pipeline.semantic-short-side": 24,
    "pipeline.semantic-rays-per-batch": 512,
    "pipeline.model.density-resolutions": "8 16 32",
    "pipeline.model.appearance": "4 32",
    "pipeline.model.features": "4 32",
}


def command(
    name: str, *parts: object, last: Sequence[str] = (), **options: object
) -> subprocess.CompletedProcess:
    """Run a command of nerfstudio; options whose value holds spaces are lists, ``last`` goes behind them."""
    line = [str(Path(sys.executable).with_name(name)), *map(str, parts)]
    for option, value in options.items():
        line += [f"--{option}", *str(value).split()]
    line += last
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)


def train(
    scene: Path,
    out: Path,
    name: str,
    iterations: int = ITERATIONS,
    parser: Sequence[str] = (),
    **options: object,
) -> Path:
    """The folder of a finished run.

    Args:
        parser: the name of the data parser and its flags.
    """
    where = {"data": scene, "output-dir": out, "experiment-name": name, "timestamp": "run"}
    options = {**FAST, "max-num-iterations": iterations, **options}
    done = command("ns-train", "ovs3d", last=parser, **where, **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return out / name / "ovs3d" / "run"


def checkpoint(run: Path, step: int) -> dict:
    return torch.load(run / "nerfstudio_models" / f"step-{step:09d}.ckpt", weights_only=True)


def checkpoints(run: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("step-")) for path in (run / "nerfstudio_models").iterdir())


@dataclass(frozen=True)
class Trained:
    """A small world in both layouts, and a run on nerfstudio's."""

    scene: Path
    llff: Path
    run: Path
    classes: tuple[str, ...]

    @property
    def config(self) -> Path:
        return self.run / "config.yml"


def half_size(camera: Camera) -> Camera:
    intrinsics = camera.intrinsics * np.array([[0.5], [0.5], [1.0]])
    return Camera(intrinsics, camera.world_from_camera, camera.height // 2, camera.width // 2)
