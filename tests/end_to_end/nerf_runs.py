"""Small runs of nerfstudio's commands."""

import copy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from nerfstudio.scripts import train as ns_train

from nerf_methods.config import ovs3d_method
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


def command(name: str, *parts: object, **options: object) -> subprocess.CompletedProcess:
    """Run a command of nerfstudio; options whose value holds spaces are lists."""
    line = [str(Path(sys.executable).with_name(name)), *map(str, parts), *flags(options)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)


def flags(options: Mapping[str, object]) -> list[str]:
    return [part for name, value in options.items() for part in (f"--{name}", *str(value).split())]


def small(scene: Path, out: Path, name: str) -> dict[str, object]:
    """What `ns-train ovs3d` is told for a small run, which will lie in out / name / ovs3d / run."""
    where = {"data": scene, "output-dir": out, "experiment-name": name, "timestamp": "run"}
    return {**FAST, "max-num-iterations": ITERATIONS, **where}


def train(
    scene: Path,
    out: Path,
    name: str,
    iterations: int = ITERATIONS,
    parser: Sequence[str] = (),
    **options: object,
) -> Path:
    """The folder of a finished run, trained as `ns-train ovs3d` does but in this process, which need not start.

    Args:
        parser: the name of the data parser and its flags.
    """
    options = small(scene, out, name) | {"max-num-iterations": iterations} | options
    line = [*flags(options), *parser]
    config = tyro.cli(
        type(ovs3d_method.config),
        default=copy.deepcopy(ovs3d_method.config),
        args=line,
        config=(tyro.conf.FlagConversionOff,),
    )
    ns_train.main(config)
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
