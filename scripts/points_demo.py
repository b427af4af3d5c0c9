"""From nothing to scans segmented by words, with no label in training: streets, CNS, figures. `make points-demo`.

Writes outputs/points-demo/report.json, report.md and, for each held-out street, a sheet: a photo, what the network of
photos says of it, the true classes of the points on it, and the scan from above as it is answered and as it is.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from bench_cns import PRESET
from jaxtyping import Float, Int64, Integer, UInt8
from measured import digest, mini_weights
from torch import Tensor

from ovs3d.errors import command_line
from ovs3d.eval.environment import environment
from ovs3d.eval.report import Report
from ovs3d.images import read_image, write_png
from ovs3d.outputs.overlay import Picture, label_overlay, panels
from ovs3d.outputs.palette import label_colors
from ovs3d.prompts.vocabulary import Vocabulary
from ovs3d.worlds.streets.command import Street
from pointcloud import index_command
from pointcloud.cli import Evaluate
from pointcloud.evaluate import PROTOCOL, Answer, answers
from pointcloud.evaluate_command import evaluate
from pointcloud.evaluate_photos import NetworkLabels
from pointcloud.frame import Photo, Scan
from pointcloud.image_runs import load_image_run
from pointcloud.index import IGNORE, Index, read_index
from pointcloud.pairing import pair
from pointcloud.runs import load_run
from pointcloud.samples import Samples, scan_file
from pointcloud.scans import read_scan

Of = Literal["points", "both"]
PHOTO = "CAM_FRONT"
"""Which photo of a frame is drawn."""


@dataclass(frozen=True)
class PointsDemo:
    """Make streets, train CNS on them without their labels and measure what it answers on held-out streets."""

    out: Path = Path("outputs/points-demo")
    """Folder of the streets, the run, the pictures and the report."""
    seed: int = 7
    """Which streets."""
    streets: int = 50
    """Number of streets, a fifth of them held out."""
    epochs: int = 32
    """How often the others are seen."""

    def run(self) -> None:
        start = time.perf_counter()
        streets = self.out / f"{self.streets}-streets-{self.seed}"
        index = streets / ".ovs3d" / "index.jsonl"
        if not index.exists():
            version = "v1.0-trainval"
            Street(
                streets, self.seed, version=version, scenes=self.streets, frames=1, sweeps=0, overwrite=True
            ).run()
            index_command.Index("nuscenes", streets, version).run()
        made = time.perf_counter()
        how = digest(PRESET, mini_weights())
        run = self.out / f"run-{self.streets}-streets-{self.seed}-{self.epochs}-epochs-{how}"
        fit = replace(PRESET.fit, epochs=self.epochs)
        replace(PRESET, index=index, out=run, fit=fit, switch_from=self.epochs // 2).run()
        trained = time.perf_counter()
        clip = self._asked(index, "CLIP alone", None)
        points, both = self._asked(index, "points", run), self._asked(index, "both", run, "both")
        data = read_index(index)
        for number, picture in enumerate(sheets(run, data)):
            write_png(self.out / "sheets" / f"{number}.png", picture)
        report = Report(
            task="Points demo: CNS on procedural streets, with the mini CLIP and masks by colour, without labels",
            protocol=PROTOCOL,
            classes=data.dataset.classes,
            metrics={
                "miou": points["miou"],
                "accuracy": points["accuracy"],
                "both_networks_miou": both["miou"],
                "clip_alone_miou": clip["miou"],
                "miou_shown": points["miou_shown"],
                "clip_alone_miou_shown": clip["miou_shown"],
                "seconds_of_making_streets": made - start,
                "seconds_of_training": trained - made,
                "per_class": points["per_class"],
            },
            split=f"{len(data.select('val'))} held-out streets of {self.streets}",
            weights={"clip": "mini", "sam": "mini"},
            config={"epochs": self.epochs},
            seed=self.seed,
            seconds=time.perf_counter() - start,
            **environment(),
        )
        report.write(self.out)
        print(report.to_markdown())
        print(f"pictures and report in {self.out}")
        print(f"ask it yourself: .venv/bin/ovs3d-points view --index {index} --run {run}")

    def _asked(self, index: Path, name: str, run: Path | None, of: Of = "points") -> dict:
        out = self.out / "evaluated" / name
        report = evaluate(Evaluate(run_folder=run, index=index, out=out, of=of, shown=True))
        return json.loads(report.read_text())["metrics"]


def sheets(folder: Path, data: Index) -> Iterator[Picture]:
    """What a run says of each held-out frame, beside the truth."""
    run = load_run(folder)
    image, vocabulary = load_image_run(folder, run.device), Vocabulary(data.dataset.classes)
    embeddings = run.embeddings(vocabulary)
    assert embeddings is not None
    photos = NetworkLabels(embeddings, len(vocabulary.names), None, "none", run=image)
    samples = Samples(data, data.select("val"), run.about.net)
    for found in answers(run, samples, vocabulary):
        frame = data[found.position]
        photo = next(each for each in frame.photos if each.name == PHOTO)
        yield sheet(
            read_scan(scan_file(frame), data.dataset), found, photo, photos.of(photo), vocabulary.names
        )


def sheet(
    scan: Scan, found: Answer, photo: Photo, said: Int64[Tensor, " n"], names: Sequence[str]
) -> Picture:
    """What is said of a frame's points, and of the pixels of a photo."""
    colors = read_image(photo.path).numpy()
    pairs = pair(scan, [photo])
    dots = (0.5 * colors + 127).astype(np.uint8)
    row, col = pairs.row_col.T
    for down, right in np.ndindex(2, 2):
        at = np.minimum(row + down, len(dots) - 1), np.minimum(col + right, dots.shape[1] - 1)
        dots[at] = label_colors(found.truth.numpy()[pairs.point])
    above = [from_above(scan.xyz, each.numpy()) for each in (found.prediction, found.truth)]
    of_pixels = label_overlay(colors, said.view(*colors.shape[:2]).numpy(), names)
    titles = ("photo", "network of photos", "true classes of the points", "points, answer", "points, truth")
    return panels([colors, of_pixels, dots, *above], titles, columns=3)


def from_above(
    xyz: Float[np.ndarray, "n 3"], labels: Integer[np.ndarray, " n"], size_m: float = 80.0, side: int = 480
) -> UInt8[np.ndarray, "side side 3"]:
    """The points around the sensor in the colours of their classes, the highest of each pixel on top."""
    order = xyz[:, 2].argsort()
    order = order[labels[order] != IGNORE]
    place = np.floor((xyz[order, :2] / size_m + 0.5) * side).astype(np.int64)
    inside = ((place >= 0) & (place < side)).all(axis=1)
    picture = np.full((side, side, 3), 255, np.uint8)
    picture[side - 1 - place[inside, 1], place[inside, 0]] = label_colors(labels[order[inside]])
    return picture


if __name__ == "__main__":
    with command_line():
        tyro.cli(PointsDemo).run()
