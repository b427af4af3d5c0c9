"""What the method makes of a teacher that is wrong, on photos that no CLIP at hand was made for.

The tiles keep their places, but say what the true masks say: each is the embedding of the class that most of its
pixels have, and a share of the tiles is given another class at random. The field learns from those of the training
views; on held-out views its answers are compared with those of tiles which were made in the same way.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from jaxtyping import Int
from torch import Tensor
from two_phases import TwoPhases

from nerf_methods.evaluate import (
    HeldOutView,
    held_out_views,
    photo_tiles,
    picture_metrics,
    pooled,
    tiles_answer,
)
from nerf_methods.labels import read_labels
from nerf_methods.run import Run
from ovs3d.eval.confusion import IGNORE, Confusion
from ovs3d.eval.environment import environment
from ovs3d.eval.miou import iou_per_class, miou, pixel_accuracy
from ovs3d.eval.report import Report
from ovs3d.foundation.tiles import Tiles
from ovs3d.images import image_size, write_png
from ovs3d.outputs.overlay import label_overlay, panels
from ovs3d.scene import read_settings


@dataclass(frozen=True)
class BenchNoisyTruth:
    """Measure mIoU on the held-out views of a scene with true masks of all of its views."""

    scene: Path
    """A scene in nerfstudio's layout with segmentations/<image>.png, for instance from scripts/apc_scene.py."""
    stand_ins: tuple[str, ...] = ("yellow star", "blue book", "white box", "red book", "brick wall")
    """Words that the mini CLIP knows, one for each class and one for pixels without a class. Only that their
    embeddings differ matters."""
    rest: str = "shelf"
    """What pixels without a class are called in the report."""
    wrong: float = 0.3
    """Share of the tiles that are given another class."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the noise and of the training."""
    preset: str = "ovs3d"
    """Of the losses."""
    depth: bool = False
    """Learn geometry from measured depth too."""
    train_fraction: float = 0.8
    """Share of the views that are trained on."""
    geometry_steps: int = 1500
    """Iterations of the first phase."""
    semantic_steps: int = 400
    """Iterations of the second phase."""
    work: Path = Path("outputs/noisy_truth")
    """Folder of pictures and geometry."""
    report: Path = Path("docs/reports/noisy_truth.json")
    """Where the figures go."""

    def run(self) -> None:
        start = time.perf_counter()
        self.work.mkdir(parents=True, exist_ok=True)
        vocabulary = read_settings(self.scene).vocabulary
        assert vocabulary is not None, f"{self.scene} has no classes.txt"
        names = (*vocabulary.mask_names, self.rest)
        assert len(self.stand_ins) == len(names), f"{len(names)} classes, {len(self.stand_ins)} stand-ins"
        rows = {f"seed {seed}": self._measure(names, seed) for seed in self.seeds}
        means = {
            key: float(np.mean([row[key] for row in rows.values()])) for key in next(iter(rows.values()))
        }
        report = Report(
            task=f"A teacher of noisy truth on {self.scene.name}, {self.wrong:.0%} of its tiles wrong",
            protocol="held-out views, pixels pooled, absent classes skipped; means over seeds",
            classes=names,
            metrics={**means, "gain": means["miou"] - means["teacher_miou"], **rows},
            split=f"the views that nerfstudio holds out of a training share of {self.train_fraction}",
            weights={"clip": "true masks", "dino": "mini"},
            config={
                "preset": self.preset,
                "wrong": self.wrong,
                "depth": self.depth,
                "geometry_steps": self.geometry_steps,
                "semantic_steps": self.semantic_steps,
            },
            seed=self.seeds[0],
            seconds=time.perf_counter() - start,
            **environment(),
        )
        self.report.write_text(report.to_json())
        print(report.to_markdown())

    def _measure(self, names: tuple[str, ...], seed: int) -> dict[str, float]:
        torch.manual_seed(seed)
        changes = {
            "model.losses.preset": self.preset,
            "model.prompt": "; ".join(self.stand_ins),
            "datamanager.dataparser.train_split_fraction": self.train_fraction,
            "datamanager.weights": "mini",
            "datamanager.depth": self.depth,
        }
        phases = TwoPhases(self.scene, self.geometry_steps, self.semantic_steps, changes)
        pipeline, optimizers = phases.set_up()
        run, data = Run(pipeline), pipeline.datamanager
        noise = torch.Generator().manual_seed(seed)
        photos = [run.photos("train")[view] for view in data.taught]
        data.tiles = [
            self._spoilt(run, tiles, self._truth(photo, names), noise)
            for tiles, photo in zip(data.tiles, photos, strict=True)
        ]
        phases.geometry(
            pipeline,
            optimizers,
            self.work / f"geometry-{seed}-{self.geometry_steps}{'-depth' * self.depth}.pt",
        )
        phases.semantics(pipeline, optimizers)
        views = [self._with_truth(view, names) for view in held_out_views(run)]
        teacher = []
        for view in views:
            tiles = self._spoilt(run, photo_tiles(run, view.photo), self._truth(view.path, names), noise)
            teacher.append(tiles_answer(run, tiles))
        self._draw(views, teacher, names, seed)
        answers = [view.answer for view in views]
        ours, theirs = (pooled([view.truth for view in views], one, len(names)) for one in (answers, teacher))
        found = {
            "miou": miou(ours),
            "accuracy": pixel_accuracy(ours),
            "teacher_miou": miou(theirs),
            "teacher_accuracy": pixel_accuracy(theirs),
            "psnr": float(np.mean([picture_metrics(view)["psnr"] for view in views])),
        }
        print(
            f"seed {seed}:",
            {key: round(value, 3) for key, value in found.items()},
            _listed(ours, theirs, names),
        )
        return found

    def _truth(self, photo: Path, names: tuple[str, ...]) -> Int[Tensor, "h w"]:
        """Class of each pixel; the last one has no mask."""
        labels = read_labels(self.scene, photo, names[:-1], image_size(photo)).long()
        return labels.masked_fill(labels == IGNORE, len(names) - 1)

    def _with_truth(self, view: HeldOutView, names: tuple[str, ...]) -> HeldOutView:
        truth = self._truth(view.path, names)
        if view.mask is not None:
            truth = truth.masked_fill(~view.mask[..., 0], IGNORE)
        return replace(view, truth=truth.byte())

    def _spoilt(self, run: Run, tiles: Tiles, truth: Int[Tensor, "h w"], noise: torch.Generator) -> Tiles:
        """The tiles with embeddings of classes."""
        text = run.query.text.float().cpu()
        found = _majority(tiles.boxes, truth, len(text))
        wrong = torch.rand(len(found), generator=noise) < self.wrong
        shift = torch.randint(1, len(text), (len(found),), generator=noise)
        found = torch.where(wrong, (found + shift) % len(text), found)
        return replace(tiles, embeddings=text[found].half())

    def _draw(
        self, views: list[HeldOutView], teacher: list[Tensor], names: tuple[str, ...], seed: int
    ) -> None:
        for view, raw in zip(views, teacher, strict=True):
            photo, truth = view.photo.numpy(), view.truth.numpy().astype(np.int64)
            maps = [
                label_overlay(photo, one, names, opacity=1.0)
                for one in (view.answer.numpy(), raw.numpy(), truth)
            ]
            sheet = panels([photo, *maps], ["photo", "answer", "noisy teacher", "truth"], columns=2)
            write_png(self.work / f"seed-{seed}" / f"{view.path.stem}.png", sheet)


def _majority(boxes: Int[Tensor, "n 4"], truth: Int[Tensor, "h w"], k: int) -> Int[Tensor, " n"]:
    """The class that most pixels of each box have."""
    counts = torch.nn.functional.one_hot(truth, k).cumsum(0).cumsum(1)
    counts = torch.nn.functional.pad(counts, (0, 0, 1, 0, 1, 0))
    top, left, bottom, right = boxes.long().unbind(1)
    inside = counts[bottom, right] - counts[top, right] - counts[bottom, left] + counts[top, left]
    return inside.argmax(1)


def _listed(ours: Confusion, theirs: Confusion, names: tuple[str, ...]) -> str:
    pairs = zip(names, iou_per_class(ours).tolist(), iou_per_class(theirs).tolist(), strict=True)
    return ", ".join(f"{name} {mine:.2f} ({other:.2f})" for name, mine, other in pairs)


if __name__ == "__main__":
    tyro.cli(BenchNoisyTruth).run()
