"""Memory of training with each size of the method: the peak of the whole process, on the CPU, and the checkpoint.

Each is run by `ns-train` for a few iterations of both phases on the same world. Writes docs/reports/presets.json;
`scripts/write_results.py` makes the table.
"""

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from ns_train import ns_train

from ovs3d.eval.environment import environment
from ovs3d.eval.report import Report
from ovs3d.worlds.command import Tabletop

METHODS = "ovs3d-lite", "ovs3d", "ovs3d-big"


@dataclass(frozen=True)
class BenchPresets:
    """Measure the peak memory of training and the size of a checkpoint."""

    out: Path = Path("docs/reports/presets.json")
    """The report."""
    world: int = 7
    """Seed of the world."""
    iterations: int = 12
    """Half of them of each phase."""

    def run(self) -> None:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            scene = Path(folder) / "scene"
            Tabletop(out=scene, seed=self.world, format="nerfstudio", overwrite=True).run()
            metrics = {method: self._measure(method, scene, Path(folder)) for method in METHODS}
        report = Report(
            task="Memory of training",
            protocol=f"peak resident memory of `ns-train` on the CPU, all of Python's included; {self.iterations} "
            "iterations, half of them of each phase; checkpoints with the moments of Adam",
            classes=(),
            metrics=metrics,
            split=f"25 photos of 320x240 of tabletop world {self.world}",
            weights={"clip": "mini", "dino": "mini"},
            config={"iterations": self.iterations},
            seed=0,
            seconds=time.perf_counter() - start,
            **environment(),
        )
        self.out.write_text(report.to_json())
        print(report.to_markdown())

    def _measure(self, method: str, scene: Path, folder: Path) -> dict[str, float]:
        options = {
            "data": scene,
            "output-dir": folder,
            "experiment-name": "memory",
            "timestamp": "run",
            "vis": "tensorboard",
            "machine.device-type": "cpu",
            "max-num-iterations": self.iterations,
            "pipeline.geometry-fraction": 0.5,
        }
        process = subprocess.Popen(ns_train(method, options))
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0, f"{method} ended with status {os.waitstatus_to_exitcode(status)}"
        (checkpoint,) = (folder / "memory" / method / "run" / "nerfstudio_models").glob("*.ckpt")
        return {"peak_mib": usage.ru_maxrss / 2**10, "checkpoint_mib": checkpoint.stat().st_size / 2**20}


if __name__ == "__main__":
    tyro.cli(BenchPresets).run()
