"""From nothing to a 3D scene segmented by words: make a world, train, ask, measure. `make demo` runs this.

Writes outputs/demo/report.json, report.md and, for each held-out view, PNGs of colour, depth, answer, truth and one
heat map per prompt.
"""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from ns_train import ns_train

from nerf_methods.evaluate import (
    HeldOutView,
    held_out_views,
    picture_metrics,
    pooled,
    teacher_answer,
)
from nerf_methods.run import Run, load_run
from ovs3d.errors import command_line
from ovs3d.eval.environment import environment
from ovs3d.eval.miou import miou, pixel_accuracy, segmentation_metrics
from ovs3d.eval.report import Report
from ovs3d.images import write_png
from ovs3d.outputs.overlay import heat_overlay, label_overlay, panels
from ovs3d.outputs.palette import heat_colors
from ovs3d.worlds.command import Tabletop


@dataclass(frozen=True)
class Demo:
    """Make a tabletop world, train `ovs3d` on it and measure what it answers on held-out views."""

    out: Path = Path("outputs/demo")
    """Folder of the world, the run, the pictures and the report."""
    seed: int = 7
    """Which world."""
    iterations: int = 2000
    """Length of the training."""

    def run(self) -> None:
        start = time.perf_counter()
        scene = self.out / "scene"
        Tabletop(out=scene, seed=self.seed, format="nerfstudio", overwrite=True).run()
        config = self._train(scene)
        trained = time.perf_counter()
        trained_run = load_run(config)
        views = list(held_out_views(trained_run))
        self._draw(trained_run, views)
        report = self._report(trained_run, views, trained - start, time.perf_counter() - start)
        report.write(self.out)
        print(report.to_markdown())
        print(f"pictures and report in {self.out}")
        print(f"ask it yourself: .venv/bin/ns-viewer --load-config {config}")

    def _train(self, scene: Path) -> Path:
        options = {
            "data": scene,
            "output-dir": self.out / "runs",
            "vis": "tensorboard",
            "experiment-name": "demo",
            "timestamp": f"seed-{self.seed}",
            "max-num-iterations": self.iterations,
        }
        subprocess.run(ns_train("ovs3d", options), check=True)
        return self.out / "runs" / "demo" / "ovs3d" / f"seed-{self.seed}" / "config.yml"

    def _draw(self, run: Run, views: list[HeldOutView]) -> None:
        names = run.query.names
        for view in views:
            folder = self.out / "views" / view.path.stem
            photo = view.photo.numpy()
            color = (view.rgb * 255).round().byte().numpy()
            near, far = np.percentile(view.depth.numpy(), [1, 99])
            depth = heat_colors(view.depth.numpy(), float(near), float(far))
            answer = label_overlay(photo, view.answer.numpy(), names, opacity=1.0)
            truth = label_overlay(photo, view.truth.numpy().astype(np.int64), names, opacity=1.0)
            for name, picture in (("color", color), ("depth", depth), ("answer", answer), ("truth", truth)):
                write_png(folder / f"{name}.png", picture)
            sheet = [photo, color, depth, answer, truth]
            titles = [
                "photo",
                f"rendered, {picture_metrics(view)['psnr']:.1f} dB",
                "depth",
                "answer",
                "truth",
            ]
            write_png(folder / "sheet.png", panels(sheet, titles, columns=3))
            for index, name in enumerate(names):
                heat = heat_overlay(photo, view.relevancies[..., index].numpy())
                write_png(folder / f"heat {name}.png", heat)

    def _report(self, run: Run, views: list[HeldOutView], training: float, seconds: float) -> Report:
        names = run.query.names
        truths = [view.truth for view in views]
        ours = segmentation_metrics(pooled(truths, [view.answer for view in views], len(names)), names)
        raw = pooled(truths, [teacher_answer(run, view.photo) for view in views], len(names))
        pictures = [picture_metrics(view) for view in views]
        means = {key: float(np.mean([picture[key] for picture in pictures])) for key in pictures[0]}
        return Report(
            task=f"Demo: tabletop world {self.seed}, procedural, with the mini CLIP",
            protocol="held-out views, pixels pooled, absent classes skipped",
            classes=names,
            metrics={
                "miou": ours["miou"],
                "accuracy": ours["accuracy"],
                "raw_2d_miou": miou(raw),
                "raw_2d_accuracy": pixel_accuracy(raw),
                **means,
                "seconds_of_training": training,
                "per_class": ours["per_class"],
            },
            split=f"{len(views)} held-out views",
            weights={"clip": run.pipeline.model.context.clip.weights},
            config={"iterations": self.iterations},
            seed=self.seed,
            seconds=seconds,
            **environment(),
        )


if __name__ == "__main__":
    torch.manual_seed(0)
    with command_line():
        tyro.cli(Demo).run()
