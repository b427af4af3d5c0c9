"""Rays per second of training: our field against nerfacto with nerfstudio's torch hash grid, in one process.

Both fit the same rays of the same world with the same optimizer. Rounds alternate, so that a slow moment of the
machine meets both. Writes docs/reports/field.json; `scripts/write_results.py` makes the table.
"""

import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unittest.mock import patch

import torch
import tyro
from bench_model import training_pipeline, training_step
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.models.base_model import Model

from nerf_methods.pipeline import Ovs3dPipeline
from ovs3d.eval.environment import environment
from ovs3d.eval.report import Report
from ovs3d.worlds.command import Tabletop


@dataclass(frozen=True)
class BenchField:
    """Measure rays per second of a training step: forward, backward and optimizer."""

    out: Path = Path("docs/reports/field.json")
    """The report."""
    rays: int = 2048
    """Rays per step."""
    rounds: int = 5
    """Rounds of each field; the median counts."""
    steps: int = 4
    """Steps of a round."""
    warm_up: int = 100
    """Steps of training before the first round, so that empty space is known to be empty."""
    device: str = "cpu"
    """Device of both."""
    implementation: Literal["torch", "tcnn"] = "torch"
    """Of nerfacto's hash grids."""

    def run(self) -> None:
        start = time.perf_counter()
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            Tabletop(out=Path(folder) / "scene", seed=7, format="nerfstudio").run()
            ours = training_pipeline(Path(folder) / "scene", self.rays, self.device)
            fields = {
                "ovs3d": training_step(ours, ours.model),
                "nerfacto": training_step(ours, self._nerfacto(ours)),
            }
            speeds: dict[str, list[float]] = {name: [] for name in fields}
            for step in fields.values():
                self._measure(step, self.warm_up)
            for _ in range(self.rounds):
                for name, step in fields.items():
                    speeds[name].append(self._measure(step, self.steps))
        ratios = [a / b for a, b in zip(speeds["ovs3d"], speeds["nerfacto"], strict=True)]
        report = Report(
            task="Rays per second of a training step",
            protocol=f"median of {self.rounds} alternating rounds of {self.steps} steps of {self.rays} rays",
            classes=(),
            metrics={
                "ovs3d": statistics.median(speeds["ovs3d"]),
                f"nerfacto_{self.implementation}": statistics.median(speeds["nerfacto"]),
                "ratio": statistics.median(ratios),
                "least_ratio": min(ratios),
            },
            split="training views of tabletop world 7",
            weights={},
            config={"rays": self.rays, "warm_up": self.warm_up, "threads": torch.get_num_threads()},
            seed=0,
            seconds=time.perf_counter() - start,
            **environment(),
        )
        self.out.write_text(report.to_json())
        print(report.to_markdown())

    def _nerfacto(self, ours: Ovs3dPipeline) -> Model:
        config = copy.deepcopy(all_methods["nerfacto"].pipeline.model)
        config.implementation = self.implementation
        data = ours.datamanager.train_dataset
        with patch("torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity"):  # it downloads weights
            return config.setup(
                scene_box=data.scene_box, num_train_data=len(data), metadata=data.metadata
            ).to(self.device)

    def _measure(self, step: Callable[[], None], count: int) -> float:
        """Rays per second."""
        synchronize = torch.cuda.synchronize if self.device.startswith("cuda") else (lambda: None)
        synchronize()
        start = time.perf_counter()
        for _ in range(count):
            step()
        synchronize()
        return count * self.rays / (time.perf_counter() - start)


if __name__ == "__main__":
    tyro.cli(BenchField).run()
