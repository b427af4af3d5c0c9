"""Real LiDAR and photos: what CLIP2Scene makes of a teacher that is often wrong, and what a start on worlds is worth.

The teacher: photos are cut into superpixels, each is called what most of its points truly are, and a share of them is
given another class at random. A network learns from those of the training frames; on held-out frames its answers are
compared with those of superpixels that were made in the same way. The start: a network that learnt from worlds is
fine-tuned on the labels of one frame, beside one that starts from nothing.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from bench_clip2scene import STREET
from jaxtyping import Float, Int64
from measured import digest, mean_of, mini_weights, miou_of_true
from noisy_names import Noise, noisy_names, pieces_of
from torch import Tensor

from ovs3d.eval.confusion import Confusion
from ovs3d.eval.environment import environment
from ovs3d.eval.miou import pixel_accuracy
from ovs3d.eval.report import Report
from ovs3d.prompts.vocabulary import Vocabulary
from pointcloud import config
from pointcloud.cli import Finetune
from pointcloud.evaluate import OfShown, answers, confusion_of
from pointcloud.frame import Photo
from pointcloud.index import Index, read_index
from pointcloud.paired import paired_scans
from pointcloud.pixels import PixelFeatures
from pointcloud.pretrain import consistency, heads_of, photographed, train
from pointcloud.runs import About, load_run, text_embeddings, write_run
from pointcloud.samples import Samples
from pointcloud.teacher import PhotoFeatures


@dataclass(frozen=True, eq=False)
class NoisyTruth(PhotoFeatures):
    """A teacher that sees the text of one class in each superpixel."""

    text: Float[Tensor, "k d"]
    classes: Mapping[Path, Int64[Tensor, "h w"]]
    """What the pixels of each photo are called."""

    @property
    def d(self) -> int:
        return self.text.shape[1]

    def map(self, photo: Path) -> Float[Tensor, "h w d"]:
        return self.text[self.classes[photo]]

    def at(self, photo: Photo, row_col: Int64[Tensor, "n 2"]) -> PixelFeatures:
        return PixelFeatures.of(self.text[self.classes[photo.path][row_col[:, 0], row_col[:, 1]]])

    def fill(self, photos: Sequence[Path]) -> None:
        pass  # there is nothing to compute


STAND_INS = (
    "car",
    "truck",
    "pedestrian",
    "bicycle",
    "driveable surface",
    "sidewalk",
    "terrain",
    "vegetation",
    "manmade",
    "barrier",
)
"""Words that the mini CLIP tells apart, one for each class of the folder; nothing else about them matters."""


@dataclass(frozen=True)
class BenchPandaset:
    """Measure mIoU on the held-out frames of a folder with photos and labels."""

    index: Path
    """Of the folder, for instance from scripts/pandaset_folder.py; frames of the splits train and val."""
    starts: tuple[Path, ...] = ()
    """Runs on street worlds, one for each seed, to fine-tune from."""
    wrong: float = 0.4
    """Share of the superpixels that are given another class."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the noise and of the training."""
    epochs: int = 100
    """How often the training frames are seen."""
    work: Path = Path("outputs/pandaset")
    """Folder of runs."""
    report: Path = Path("docs/reports/pandaset.json")
    """Where the figures go."""

    def run(self) -> None:
        start = time.perf_counter()
        if self.starts and len(self.starts) != len(self.seeds):
            raise SystemExit(
                f"{len(self.starts)} starts for {len(self.seeds)} seeds: give one for each, or none"
            )
        index = read_index(self.index)
        rows = {f"seed {seed}": self._noisy(index, seed) | self._start(seed) for seed in self.seeds}
        names = next(iter(rows.values()))
        means = {name: mean_of(list(rows.values()), name) for name in names}
        held_out, taught = len(index.select("val")), len(index.select("train"))
        report = Report(
            task=f"CLIP2Scene on PandaSet, {self.wrong:.0%} of the teacher's superpixels wrong; a start on worlds",
            protocol="labels of all points, or of those that a photo shows, pooled over the scans; classes that the "
            "truth lacks are skipped; means over seeds. Held-out frames follow those for training at once, at the same "
            "place",
            classes=index.dataset.classes,
            metrics={**means, "gain": means["miou_shown"] - means["teacher_miou_shown"], **rows},
            split=f"{held_out} held-out frames; {taught} for training, one of them, another for each seed, labelled "
            "to fine-tune",
            weights={"clip": "true labels of points, texts of mini"},
            config={
                "wrong": self.wrong,
                "epochs": self.epochs,
                "clip2scene": asdict(STREET.clip2scene),
                "superpixels": asdict(config.Superpixels()),
            },
            seed=0,
            seconds=time.perf_counter() - start,
            **environment(),
        )
        self.report.write_text(report.to_json())
        print(report.to_markdown())

    def _noisy(self, index: Index, seed: int) -> dict[str, float]:
        """The teacher and its pupil on the held-out frames."""
        k = len(index.dataset.classes)
        out = (
            self.work
            / f"noisy-{self.wrong:g}-{self.epochs}-{seed}-{digest(STREET.clip2scene, mini_weights())}"
        )
        vocabulary = Vocabulary(STAND_INS)
        text = text_embeddings(vocabulary, "mini", torch.device("cpu"))
        fit = replace(STREET.fit, epochs=self.epochs, seed=seed)
        command = replace(STREET.clip2scene, index=self.index, out=out, fit=fit)
        if not (out / "run.json").exists():
            scans = photographed(command)
            pieces = pieces_of(scans, k, config.Superpixels())
            teacher = NoisyTruth(text, noisy_names(pieces, Noise(self.wrong, seed, everywhere=True)))
            training = consistency(command, scans, teacher, text, k)
            about = About(STREET.net, heads_of(command, teacher), STAND_INS, "mini", asdict(command))
            if train(training, about.settings, out):
                write_run(out, about, training.model)
        held_out = Samples(index, index.select("val"), STREET.net)
        run = load_run(out)
        shown = OfShown(index, command.pairs, Confusion.empty(k))
        learnt = confusion_of(answers(run, held_out, vocabulary), k, [shown])
        taught = self._teacher(held_out, k, seed)
        return {
            "miou": miou_of_true(learnt),
            "accuracy": pixel_accuracy(learnt),
            "miou_shown": miou_of_true(shown.confusion),
            "accuracy_shown": pixel_accuracy(shown.confusion),
            "teacher_miou_shown": miou_of_true(taught),
            "teacher_accuracy_shown": pixel_accuracy(taught),
        }

    def _teacher(self, samples: Samples, k: int, seed: int) -> Confusion:
        """The teacher's own answers for points that photos show: of a point in two of them, what the later one says."""
        pieces = pieces_of(samples, k, config.Superpixels())
        classes = noisy_names(pieces, Noise(self.wrong, seed + 1000, everywhere=True))
        confusion = Confusion.empty(k)
        for frame, scan, pairs, _ in paired_scans(samples, config.Pairing()):
            answer = torch.full((len(scan.xyz),), -1)
            for number, photo in enumerate(frame.photos):
                mine = pairs.photo == number
                row, col = torch.from_numpy(pairs.row_col[mine]).T
                answer[torch.from_numpy(pairs.point[mine])] = classes[photo.path][row, col]
            assert scan.labels is not None, "frames without labels"
            shown = answer >= 0
            confusion = confusion.update(torch.from_numpy(scan.labels.astype(np.int64))[shown], answer[shown])
        return confusion

    def _start(self, seed: int) -> dict[str, float]:
        """Fine-tuned on the labels of one frame, from nothing and from a run on worlds."""
        if not self.starts:
            return {}
        found = {}
        for name, init in ("from_nothing", None), ("from_worlds", self.starts[self.seeds.index(seed)]):
            command = Finetune(
                index=self.index,
                out=self.work
                / f"{name}-{self.epochs}-{seed}-{digest(STREET.net, STREET.fit, STREET.augment, init)}",
                init=init,
                percent=100 / len(read_index(self.index).select("train")),
                share="frame",
                share_from=seed,
                net=STREET.net,
                fit=replace(STREET.fit, epochs=self.epochs * 2, seed=seed),
                augment=STREET.augment,
            )
            command.run()
            index = read_index(self.index)
            held_out = Samples(index, index.select("val"), STREET.net)
            names = Vocabulary(index.dataset.classes)
            found[f"{name}_miou"] = miou_of_true(
                confusion_of(answers(load_run(command.out), held_out, names), len(names.names))
            )
        return found


if __name__ == "__main__":
    tyro.cli(BenchPandaset).run()
