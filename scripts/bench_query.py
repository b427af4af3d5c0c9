"""Speed of looking and of asking: rays per second of a rendered view, and seconds from a typed prompt to its picture.

The view is that of a model of default settings after some training of its geometry, so that empty space is known to be
empty. A question is asked as the viewer asks it, with its negatives, of the view that was rendered last, whose features
are random values, by a model of default settings with each CLIP: the mini one, and a ViT-B/16 of random weights, which
takes as long as a trained one. No prompt is asked twice. Writes docs/reports/query.json; `scripts/write_results.py`
makes the table.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from bench_model import model_without_scene, training_pipeline, training_step
from nerfstudio.cameras.cameras import Cameras
from random_clip import vit_of_random_weights

from nerf_methods.losses import LossConfig
from nerf_methods.model import Ovs3dModel
from nerf_methods.pipeline import Ovs3dPipeline
from ovs3d.eval.environment import environment
from ovs3d.eval.report import Report
from ovs3d.foundation.clip import load_clip
from ovs3d.worlds.command import Tabletop
from ovs3d.worlds.words import COLORS


@dataclass(frozen=True)
class BenchQuery:
    """Measure rays per second of rendering, and the time from a prompt to a picture."""

    out: Path = Path("docs/reports/query.json")
    """The report."""
    warm_up: int = 300
    """Steps of training before the first view."""
    views: int = 5
    """Views that are rendered, of 320x240 pixels each; the median counts."""
    size: tuple[int, int] = (480, 640)
    """Rows and columns of the view that is asked about."""
    things: tuple[str, ...] = ("ball", "mug", "table")
    """What is typed, in another colour each time."""
    rounds: int = 7
    """Questions of each CLIP; the median counts."""

    def run(self) -> None:
        start = time.perf_counter()
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            speeds = self._rendering(Path(folder) / "scene")
            answers = self._questions(Path(folder))
        rows, columns = self.size
        report = Report(
            task="Rays per second of rendering, and seconds from a typed prompt to its picture",
            protocol=f"rendering: median of {self.views} views of 320x240; questions: median of {self.rounds}, "
            f"of {columns}x{rows} rendered pixels",
            classes=self.things,
            metrics={"rays_per_second": statistics.median(speeds), "least_rays_per_second": min(speeds)}
            | answers,
            split="training views of tabletop world 7",
            weights={"clip": "mini; ViT-B-16 of random weights"},
            config={"warm_up": self.warm_up, "threads": torch.get_num_threads()},
            seed=0,
            seconds=time.perf_counter() - start,
            **environment(),
        )
        self.out.write_text(report.to_json())
        print(report.to_markdown())

    def _rendering(self, scene: Path) -> list[float]:
        """Rays per second of each view, with depth and the answers to the world's prompts."""
        Tabletop(out=scene, seed=7, format="nerfstudio").run()
        pipeline = training_pipeline(scene, rays=2048, device="cpu")
        step = training_step(pipeline, pipeline.model)
        for _ in range(self.warm_up):
            step()
        pipeline.eval()
        _render(pipeline, 0)
        return [_render(pipeline, 1 + view) for view in range(self.views)]

    def _questions(self, folder: Path) -> dict[str, dict[str, float]]:
        clips = {"mini CLIP": "mini", "ViT-B/16": vit_of_random_weights(folder)}
        return {name: self._question(weights) for name, weights in clips.items()}

    def _question(self, weights: str) -> dict[str, float]:
        model = model_without_scene(load_clip(weights), LossConfig()).eval()
        rows, columns = self.size
        focal = float(columns)
        camera = Cameras(torch.eye(4)[None, :3], focal, focal, columns / 2, rows / 2, columns, rows)
        features = torch.randn(rows, columns, model.config.feature_rank + 1)
        features[..., -1] = 1.0  # opaque
        shown = {
            name: torch.rand(rows, columns, n) for name, n in (("rgb", 3), ("depth", 1), ("feature_pca", 3))
        }
        model.last_view.keep(model, camera, shown | {"features": features})
        typed = [
            "; ".join(f"{color} {thing}" for thing in self.things) for color in COLORS[: self.rounds + 1]
        ]
        times = [seconds_to_answer(model, camera, prompts) for prompts in typed][1:]
        encoding, answering = (statistics.median(column) for column in zip(*times, strict=True))
        total = statistics.median(sum(pair) for pair in times)
        return {"text_seconds": encoding, "answer_seconds": answering, "seconds": total}


def seconds_to_answer(model: Ovs3dModel, camera: Cameras, text: str) -> tuple[float, float]:
    """How long a typed question takes to become embeddings, and these to become all outputs of the last view."""
    start = time.perf_counter()
    query = model.ask_text(text, model.panel.q2_negatives.value, threshold=0.0, scale=0)
    asked = time.perf_counter()
    answered = model.get_outputs_for_camera(camera)
    assert f"relevancy_{len(query.names) - 1}" in answered
    return asked - start, time.perf_counter() - asked


def _render(pipeline: Ovs3dPipeline, view: int) -> float:
    """Rays per second."""
    model, dataset = pipeline.model, pipeline.datamanager.train_dataset
    rays = dataset.cameras[view : view + 1].to(model.device).generate_rays(camera_indices=0, keep_shape=True)
    start = time.perf_counter()
    outputs = model.get_outputs_for_camera_ray_bundle(rays)
    return outputs["rgb"][..., 0].numel() / (time.perf_counter() - start)


if __name__ == "__main__":
    tyro.cli(BenchQuery).run()
