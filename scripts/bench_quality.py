"""How good answers are, with each part of the method and without it, on worlds that nothing was tuned on.

Geometry is fitted once for each world and seed; then features are learnt in every variant and asked on held-out views.
Each result is kept as a line of docs/reports/quality.jsonl, so that a run which was stopped goes on, and several
processes may share the worlds. `--report` writes docs/reports/quality.json from the lines; `scripts/write_results.py`
makes tables.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from jaxtyping import Float, Int, UInt8
from measured import Row, add_row, mean_of, read_rows, rows_of
from torch import Tensor
from two_phases import TwoPhases

from nerf_methods.evaluate import (
    asked_truth,
    held_out_views,
    photo_tiles,
    picture_metrics,
    pooled,
    teacher_answer,
)
from nerf_methods.rendering import composite
from nerf_methods.run import Run
from ovs3d.eval.environment import environment
from ovs3d.eval.miou import miou, pixel_accuracy
from ovs3d.eval.report import Report
from ovs3d.foundation.guided import guided_features
from ovs3d.images import read_image, write_png
from ovs3d.outputs.overlay import panels
from ovs3d.outputs.palette import label_colors
from ovs3d.query import similarity
from ovs3d.worlds.command import Tabletop

FULL: dict[str, object] = {"model.losses.preset": "ovs3d"}
VARIANTS: dict[str, dict[str, object]] = {
    "full": FULL,
    "without selection volume": FULL | {"model.losses.selection_temperature": float("inf")},
    "without RDA": FULL | {"model.losses.rda": 0.0},
    "without FDA": FULL | {"model.losses.fda_pull": 0.0, "model.losses.fda_push": 0.0},
    "without the guard of names": FULL | {"model.losses.fda_guard": 0.0},
    "without re-balance": FULL | {"model.losses.fda_rebalance": False},
    "without DINO's guide": FULL | {"datamanager.guide_tiles": False},
    "angles from the origin": FULL | {"model.losses.centered": False},
    "one scale": FULL | {"datamanager.tile_scales": (7,)},
    "half of the views": FULL | {"datamanager.taught_share": 0.5},
    "a tenth of the views": FULL | {"datamanager.taught_share": 0.1},
    "released losses": {"model.losses.preset": "released"},
    "losses of the paper": {"model.losses.preset": "paper"},
    "plain fusion": {"model.losses.preset": "fusion"},
}
OURS_ALONE = (
    "without the guard of names",
    "without DINO's guide",
    "angles from the origin",
)
"""What the paper does not have: measured with the first seed only."""
OTHERS = "lerf", "raw", "raw, guided by DINO"
"""Answers that need no training of their own."""
SHOWN = "photo", "raw", "plain fusion", "full", "truth"
"""Pictures of a world, beside the table."""


@dataclass(frozen=True, eq=False)
class SeenView:
    """A held-out view with the points that its pixels show: all that answers need of the geometry."""

    photo: UInt8[Tensor, "h w 3"]
    truth: UInt8[Tensor, "h w"]
    points: Float[Tensor, "n 3"]
    """In the cube of the field."""
    weights: Float[Tensor, " n"]
    ray: Int[Tensor, " n"]
    """The pixel of each point."""
    opacity: Float[Tensor, "r 1"]

    def features(self, run: Run) -> Float[Tensor, "h w c"]:
        """As the run renders them."""
        code = composite(run.pipeline.model.feature(self.points), self.weights, self.ray, len(self.opacity))
        return torch.cat([code, self.opacity], dim=1).view(*self.truth.shape, -1)

    @torch.no_grad()
    def answer(self, run: Run) -> Int[Tensor, "h w"]:
        """The prompt that each pixel answers to."""
        return run.query.labels(run.similarity(self.features(run)))


@dataclass(frozen=True)
class BenchQuality:
    """Measure mIoU and accuracy on held-out views of worlds."""

    work: Path = Path("outputs/quality")
    """Folder of worlds, geometry and pictures."""
    rows: Path = Path("docs/reports/quality.jsonl")
    """A line for each run."""
    worlds: tuple[int, ...] = (101, 102, 103, 104, 105, 106)
    """Seeds of the worlds."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the training."""
    variants: tuple[str, ...] = field(default_factory=lambda: tuple(VARIANTS))
    """Which of them."""
    geometry_steps: int = 1500
    """Iterations of the first phase."""
    semantic_steps: int = 400
    """Iterations of the second phase."""
    report: bool = False
    """Do not measure: write the report from the lines there are."""

    def run(self) -> None:
        if self.report:
            self._report(Path("docs/reports/quality.json"))
            self._sheet(Path("docs/images/quality.png"))
            return
        for seed in self.seeds:
            for world in self.worlds:
                seen: list[SeenView] = []
                for name in self.variants:
                    if name in OURS_ALONE and seed != self.seeds[0]:
                        continue
                    if not self._rows(world=world, seed=seed, variant=name):
                        seen = self._measure(world, seed, name, seen)

    def _rows(self, **values: object) -> list[Row]:
        """Of this many steps."""
        return rows_of(read_rows(self.rows), steps=[self.geometry_steps, self.semantic_steps], **values)

    def _measure(self, world: int, seed: int, name: str, seen: list[SeenView]) -> list[SeenView]:
        """Add a row; what held-out views see of the geometry is found once for all variants."""
        start = time.perf_counter()
        scene = self.work / f"world-{world}"
        if not (scene / "transforms.json").exists():
            Tabletop(out=scene, seed=world, format="nerfstudio", overwrite=True).run()
        torch.manual_seed(seed)
        phases = TwoPhases(scene, self.geometry_steps, self.semantic_steps, VARIANTS[name])
        pipeline, optimizers = phases.set_up()
        kept = self.work / f"geometry-{world}-{seed}-{self.geometry_steps}.pt"
        phases.geometry(pipeline, optimizers, kept)
        torch.manual_seed(seed)
        phases.semantics(pipeline, optimizers)
        row = {
            "world": world,
            "seed": seed,
            "variant": name,
            "steps": [self.geometry_steps, self.semantic_steps],
        }
        run = Run(pipeline)
        if name == "full":
            views = list(held_out_views(run))
            row |= _mean([picture_metrics(view) for view in views], "psnr", "depth_error")
        seen = seen or [_seen(run, index) for index in range(len(run.photos()))]
        answers = {name: [view.answer(run) for view in seen]}
        if name == "full":
            answers |= _others(run, seen)
        for which, found in answers.items():
            confusion = pooled([view.truth for view in seen], found, len(run.query.names))
            prefix = "" if which == name else f"{which}_"
            row |= {f"{prefix}miou": miou(confusion), f"{prefix}accuracy": pixel_accuracy(confusion)}
        if seed == self.seeds[0]:
            middle = len(seen) // 2
            self._draw(world, seen[middle], {which: found[middle] for which, found in answers.items()})
        row["seconds"] = time.perf_counter() - start
        add_row(self.rows, row)
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})
        return seen

    def _draw(self, world: int, view: SeenView, answers: dict[str, Int[Tensor, "h w"]]) -> None:
        folder = self.work / "pictures" / str(world)
        write_png(folder / "photo.png", view.photo.numpy())
        for name, labels in {"truth": view.truth, **answers}.items():
            write_png(folder / f"{name}.png", label_colors(labels.numpy().astype(np.int64)))

    def _sheet(self, path: Path) -> None:
        """A held-out view of each world, half as large."""
        folders = [self.work / "pictures" / str(world) for world in self.worlds]
        shown = [
            read_image(folder / f"{name}.png").numpy()[::2, ::2]
            for folder in folders
            if all((folder / f"{name}.png").exists() for name in SHOWN)
            for name in SHOWN
        ]
        if shown:
            titles = [*SHOWN, *[""] * (len(shown) - len(SHOWN))]
            write_png(path, panels(shown, titles, columns=len(SHOWN)))

    def _report(self, path: Path) -> None:
        rows = self._rows()
        found = {name: rows_of(rows, variant=name) for name in VARIANTS}
        metrics: dict[str, dict[str, float]] = {}
        for name, mine in found.items():
            if mine:
                metrics[name] = _mean(mine, "miou", "accuracy") | {"runs": len(mine)}
        full = found["full"]
        for name in OTHERS:
            renamed = [{"miou": row[f"{name}_miou"], "accuracy": row[f"{name}_accuracy"]} for row in full]
            metrics[name] = _mean(renamed, "miou", "accuracy") | {"runs": len(full)}
        for world in self.worlds:
            mine = rows_of(full, world=world)
            fusion = rows_of(found["plain fusion"], world=world)
            if mine:
                metrics[f"world {world}"] = {
                    "full": mean_of(mine, "miou"),
                    **{name: mean_of(mine, f"{name}_miou") for name in OTHERS[1:]},
                    **({"plain fusion": mean_of(fusion, "miou")} if fusion else {}),
                    "psnr": mean_of(mine, "psnr"),
                }
        report = Report(
            task="Answers on worlds, with each part of the method and without it",
            protocol="held-out views, pixels pooled over a world, absent classes skipped; means over runs",
            classes=(),
            metrics=metrics,
            split=f"5 held-out views of each of the worlds {', '.join(map(str, self.worlds))}; seeds {self.seeds}",
            weights={"clip": "mini", "dino": "mini"},
            config={"geometry_steps": self.geometry_steps, "semantic_steps": self.semantic_steps},
            seed=0,
            seconds=sum(row["seconds"] for row in rows),
            **environment(),
        )
        path.write_text(report.to_json())
        print(report.to_markdown())


@torch.no_grad()
def _seen(run: Run, index: int) -> SeenView:
    """A held-out view, its rays traced."""
    model, data = run.pipeline.model, run.pipeline.datamanager.eval_dataset
    camera = run.cameras()[index : index + 1]
    rays = camera.generate_rays(camera_indices=0, keep_shape=True).flatten()
    parts, opacity = [], []
    for start in range(0, len(rays), model.config.eval_num_rays_per_chunk):
        chunk = model.collider(rays[start : start + model.config.eval_num_rays_per_chunk])
        sampled = model.sampler(chunk)
        seen, x = model.seen(sampled)
        weights = sampled.weights[..., 0]
        parts.append((x, weights[seen], start + seen.nonzero()[:, 0]))
        opacity.append(weights.sum(1, keepdim=True))
    points, weights, ray = (torch.cat(part) for part in zip(*parts, strict=True))
    return SeenView(
        read_image(data.image_filenames[index]),
        asked_truth(run, data[index]["labels"]),
        points,
        weights,
        ray,
        torch.cat(opacity),
    )


def _others(run: Run, views: list[SeenView]) -> dict[str, list[Int[Tensor, "h w"]]]:
    """Answers by LERF's choice of scales, and of the teacher by itself, without and with DINO's guide."""
    return {
        "lerf": [best_scales(run, view) for view in views],
        "raw": [teacher_answer(run, view.photo) for view in views],
        "raw, guided by DINO": guided_answers(run, views),
    }


def guided_answers(run: Run, views: list[SeenView]) -> list[Int[Tensor, "h w"]]:
    """The teacher's, as the field is taught it, for the held-out photos."""
    answers, text = [], run.query.text.float().cpu()
    for view, of_view in zip(views, run.pipeline.datamanager.dino_of(run.photos()), strict=True):
        height, width = view.truth.shape
        cell = height / of_view.shape[0], width / of_view.shape[1]
        features = F.normalize(guided_features(photo_tiles(run, view.photo), of_view, cell), dim=-1).mean(0)
        scores = similarity(features, text).permute(2, 0, 1)[None]
        of_pixels = F.interpolate(scores, (height, width), mode="bilinear")[0].permute(1, 2, 0)
        answers.append(run.query.best(of_pixels))
    return answers


@torch.no_grad()
def best_scales(run: Run, view: SeenView) -> Int[Tensor, "h w"]:
    """LERF's answer: each prompt at the scale where it is most relevant anywhere in the view, then the best prompt."""
    model, features, scores = run.pipeline.model, view.features(run), []
    for scale in range(model.context.scales):
        model.scale = scale
        scores.append(run.query.relevancies(run.similarity(features)))
    model.scale = None
    stacked = torch.stack(scores)  # [s, h, w, k]
    chosen = stacked.flatten(1, 2).amax(1).argmax(0)
    return stacked[chosen, :, :, torch.arange(len(chosen))].argmax(0)


def _mean(rows: list[dict], *names: str) -> dict[str, float]:
    return {name: mean_of(rows, name) for name in names}


if __name__ == "__main__":
    tyro.cli(BenchQuality).run()
