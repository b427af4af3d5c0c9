"""What CNS makes of names that are often wrong: its parts at growing noise, on streets and on real LiDAR and photos.

Photos are cut into superpixels, each is called what most of its points truly are, a share of them is given another
class at random, and the names of each photo are moved by a few pixels. Networks learn from that and are measured by
the true labels of frames that were not trained on. Masks are Felzenszwalb's, which know nothing of those superpixels.
Each result is kept as a line of docs/reports/noise.jsonl, so that a run which was stopped goes on; `--report` writes
docs/reports/noise.json from the lines; `scripts/write_results.py` makes the table.
"""

import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from bench_clip2scene import KINDS, SEEDS, index_of
from bench_cns import MASKS, NO_LATENT, NO_SWITCH, PRESET, SMALL
from bench_pandaset import STAND_INS
from jaxtyping import Float, Int64
from measured import (
    add_row,
    digest,
    gains,
    mini_weights,
    miou_of_true,
    read_rows,
    rows_of,
    run_all,
    spread,
)
from noisy_names import Noise, Pieces, noisy_names, pieces_of
from torch import Tensor

from ovs3d.eval.environment import environment
from ovs3d.eval.miou import pixel_accuracy
from ovs3d.eval.report import Report
from ovs3d.prompts.vocabulary import Vocabulary
from pointcloud.cns import learn
from pointcloud.config import Fit, Superpixels, Teacher
from pointcloud.evaluate import answers, confusion_of
from pointcloud.frame import Photo
from pointcloud.index import read_index
from pointcloud.masks import load_masks
from pointcloud.pixel_labels import PixelLabels
from pointcloud.pretrain import photographed
from pointcloud.pretrain_command import Cns
from pointcloud.refine import votes_of_labels
from pointcloud.runs import load_run, text_embeddings
from pointcloud.samples import Samples
from pointcloud.teacher import load_teacher

DataName = Literal["street", "pandaset"]
LATENT = replace(PRESET.latent, weights="mini")
POINTS_ALONE = {"image": replace(SMALL, name="none"), "latent": NO_LATENT}
"""Where points learn nothing from a network of photos, there is none: their figures are the same."""
METHODS: dict[str, dict[str, Any]] = {
    "plain training": POINTS_ALONE | {"refine": "none", "switch_probs": NO_SWITCH},
    "self-training from half on": POINTS_ALONE | {"refine": "none", "switch_probs": (0.0, 0.0, 1.0)},
    "votes of masks": POINTS_ALONE | {"switch_probs": NO_SWITCH},
    "CNS": {"latent": LATENT},
}
Names = dict[Path, Int64[Tensor, "h w"]]
"""Of the pixels of each photo."""
SHIFT_PX = 4
PATCHES = Superpixels(count=600)
"""Names are wrong in pieces as small as CLIP's patches."""
FITS: dict[DataName, Fit] = {
    "street": replace(KINDS["street"].fit, epochs=10),
    "pandaset": Fit(epochs=30, batch_size=1),
}
"""60 streets make 600 steps, six frames of PandaSet 180."""
PHOTOS = 8
"""Of the one frame in a step, which has 6."""


@dataclass(frozen=True, eq=False, kw_only=True)
class NoisyLabels(PixelLabels):
    """Labels of pixels as they are given."""

    names: Names
    """-1: none."""

    def votes_of_pixels(self, photo: Photo, row_col: Int64[Tensor, "n 2"]) -> Float[Tensor, "n t"]:
        names = self.names[photo.path][row_col[:, 0], row_col[:, 1]]
        return votes_of_labels(names, len(self.text))


@dataclass(frozen=True)
class BenchNoise:
    """Train and measure what has no line yet."""

    work: Path = Path("outputs/noise")
    """Folder of runs; streets are those of scripts/bench_clip2scene.py."""
    streets: Path = Path("outputs/clip2scene")
    """Where those are, or will be made."""
    pandaset: Path | None = None
    """Index of scripts/pandaset_folder.py's folder with --train 0 20 40 41 42 43; none: streets alone."""
    rows: Path = Path("docs/reports/noise.jsonl")
    """A line for each result."""
    wrong: tuple[float, ...] = (0.2, 0.4, 0.6)
    """Shares of superpixels with another class."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the noise and of the training."""
    report: bool = False
    """Do not measure: write the report from the lines there are."""
    _cut: Annotated[dict[DataName, list[Pieces]], tyro.conf.Suppress] = field(default_factory=dict)

    def run(self) -> None:
        if self.report:
            self._report(self.rows.with_suffix(".json"))
            return
        run_all(
            (f"{data}, {wrong:.0%} wrong, seed {seed}", partial(self._measure, data, wrong, seed))
            for seed in self.seeds
            for data in (("street", "pandaset") if self.pandaset else ("street",))
            for wrong in self.wrong
        )

    def _measure(self, data: DataName, wrong: float, seed: int) -> None:
        """All methods that have no line yet, on the same names."""
        noise, names = Noise(wrong, seed, SHIFT_PX), {}
        held_out, words = self._held_out(data)
        for method in METHODS:
            how = self._digest(data, method)
            same = {"data": data, "wrong": wrong, "method": method, "seed": seed, "of": how}
            if rows_of(read_rows(self.rows), **same):
                continue
            start = time.perf_counter()
            out = self.work / data / f"{wrong:g}-wrong" / f"seed-{seed}" / f"{method}-{how}"
            command = self._command(data, method, seed, out)
            if not (command.out / "run.json").exists():
                scans = photographed(command)
                names = names or noisy_names(self._pieces(data, scans, len(words.names)), noise)
                teacher = load_teacher(command.teacher, scans.index.dataset.root)
                learn(command, scans, self._labels(command, scans, words, names), teacher, words)
            confusion = confusion_of(answers(load_run(command.out), held_out, words), len(words.names))
            found = {"miou": miou_of_true(confusion), "accuracy": pixel_accuracy(confusion)}
            add_row(self.rows, same | found | {"seconds": time.perf_counter() - start})

    def _pieces(self, data: DataName, scans: Samples, k: int) -> list[Pieces]:
        """The same for all levels and seeds."""
        if data not in self._cut:
            self._cut[data] = pieces_of(scans, k, PATCHES)
        return self._cut[data]

    def _digest(self, data: DataName, method: str) -> str:
        """Of all settings but the noise and the seed."""
        frames = SEEDS if data == "street" else read_index(self._index(data)).select("train")
        of_all = KINDS["street"].world, frames, PATCHES, SHIFT_PX
        return digest(*of_all, _settings(data, method), mini_weights())

    def _index(self, data: DataName) -> Path:
        """Of what is trained on."""
        if data == "street":
            return index_of(self.streets, "street", "train")
        assert self.pandaset is not None
        return self.pandaset

    def _labels(self, command: Cns, scans: Samples, words: Vocabulary, names: Names) -> NoisyLabels:
        text = text_embeddings(words, "mini", torch.device("cpu"))
        masks = None if command.refine == "none" else load_masks(command.masks, scans.index.dataset.root)
        return NoisyLabels(text, len(words.names), masks, command.refine, command.margin, names=names)

    def _command(self, data: DataName, method: str, seed: int, out: Path) -> Cns:
        settings = _settings(data, method)
        return replace(settings, index=self._index(data), out=out, fit=replace(settings.fit, seed=seed))

    def _held_out(self, data: DataName) -> tuple[Samples, Vocabulary]:
        """Frames to measure on, and the words for their classes."""
        if data == "street":
            index = read_index(index_of(self.streets, "street", "test"))
            return Samples(index, index.select("test"), KINDS["street"].net), Vocabulary(
                index.dataset.classes
            )
        assert self.pandaset is not None
        index = read_index(self.pandaset)
        return Samples(index, index.select("val"), KINDS["street"].net), Vocabulary(STAND_INS)

    def _report(self, path: Path) -> None:
        rows, metrics = read_rows(self.rows), defaultdict[str, dict[str, float]](dict)
        for data in ("street", "pandaset") if self.pandaset else ("street",):
            how = {method: self._digest(data, method) for method in METHODS}
            for wrong in self.wrong:
                at = {
                    method: rows_of(rows, data=data, method=method, wrong=wrong, of=how[method])
                    for method in METHODS
                }
                less = "CNS, less plain training (target at 40 % wrong 0.05)"
                at[less] = gains(at["CNS"], at["plain training"], "miou")
                for name, mine in at.items():
                    if mine:
                        found = spread(mine, [each for each in ("miou", "accuracy") if each in mine[0]])
                        runs = {"runs": found.pop("runs")}
                        at_level = {f"{wrong:.0%} wrong, {each}": value for each, value in found.items()}
                        metrics[f"{data}: {name}"] |= at_level | runs
        report = Report(
            task="mIoU of the network of points, taught names that are often wrong",
            protocol="labels of all points, pooled over the scans; classes that the truth lacks are skipped; means "
            "over seeds. PandaSet's held-out frames follow those for training at once, at the same place",
            classes=(),
            metrics=dict(metrics),
            split="street worlds of a seed of their own; PandaSet's held-out frames",
            weights={"clip": "true labels of points, texts of mini", "sam": "mini"},
            config={
                "shift_px": SHIFT_PX,
                "pieces": asdict(PATCHES),
                "masks": asdict(MASKS),
                "image": asdict(SMALL),
                "fit": {data: asdict(fit) for data, fit in FITS.items()},
                "net": asdict(KINDS["street"].net),
            },
            seed=0,
            seconds=sum(row["seconds"] for row in rows),
            **environment(),
        )
        path.write_text(report.to_json())
        print(report.to_markdown())


def _settings(data: DataName, method: str) -> Cns:
    """What trains by a method, without its index, folder and seed."""
    fit = FITS[data]
    same = {"fit": fit, "photos": PHOTOS, "switch_from": fit.epochs // 2, "teacher": Teacher("mini")}
    return replace(PRESET, **(same | METHODS[method]))


if __name__ == "__main__":
    tyro.cli(BenchNoise).run()
