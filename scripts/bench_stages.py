"""What CNS costs: seconds and memory of each of its stages on street worlds, from photos to the answers.

Each stage is run once, as its command runs it, in the order in which they need each other; what it takes is divided by
the photos or scans there are. Writes docs/reports/stages.json; `scripts/write_results.py` makes the table.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from bench_cns import MASKS, PRESET
from peak_memory import peak_growth
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ovs3d.eval.environment import environment
from ovs3d.eval.report import Report
from ovs3d.worlds.streets.command import Street
from pointcloud.cli import Evaluate
from pointcloud.config import Latent, Masks, Teacher
from pointcloud.evaluate_command import evaluate
from pointcloud.index import read_index
from pointcloud.index_command import Index
from pointcloud.masks import load_masks
from pointcloud.sam_features import load_sam_features
from pointcloud.teacher import load_teacher, photos_of


@dataclass(frozen=True)
class BenchStages:
    """Measure seconds and memory of each stage."""

    out: Path = Path("docs/reports/stages.json")
    """The report."""
    scenes: int = 20
    """Streets of a frame with six photos; a fifth of them is asked about, the others are trained on, once each."""
    seed: int = 0
    """Of streets, weights and augmentation."""

    def run(self) -> None:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            metrics = self._measure(Path(folder))
        report = Report(
            task="Seconds and memory of the stages of CNS",
            protocol="each stage once, of training the median of its steps; memory is the growth of the resident set "
            "at its peak",
            classes=(),
            metrics=metrics,
            split=f"{self.scenes} street worlds, photos of {Street(Path()).width} columns",
            weights={"clip": "mini", "sam": "mini"},
            config={
                "image": asdict(PRESET.image),
                "net": asdict(PRESET.net),
                "scans_in_a_step": PRESET.fit.batch_size,
                "photos_of_a_scan": PRESET.photos,
                "threads": torch.get_num_threads(),
            },
            seed=self.seed,
            seconds=time.perf_counter() - start,
            **environment(),
        )
        self.out.write_text(report.to_json())
        print(report.to_markdown())

    def _measure(self, folder: Path) -> dict[str, dict[str, float]]:
        root = folder / "streets"
        Street(root, self.seed, version="v1.0-trainval", scenes=self.scenes, frames=1, sweeps=0).run()
        Index("nuscenes", root, "v1.0-trainval").run()
        path = root / ".ovs3d" / "index.jsonl"
        index = read_index(path)
        held_out, photos = index.select("val"), photos_of(index, index.select("train"))
        Street(folder / "photos", self.seed, "nuimages", scenes=self.scenes, frames=1).run()
        Index("nuimages", folder / "photos", "v1.0-val").run()
        of_photos = folder / "photos" / ".ovs3d" / "index.jsonl"
        asked = len(read_index(of_photos).select("val"))
        return {
            "CLIP, a photo": _cost(lambda: load_teacher(Teacher(), root).fill(photos), len(photos)),
            "masks by Felzenszwalb, a photo": _cost(
                lambda: load_masks(MASKS, root).fill(photos), len(photos)
            ),
            "masks by SAM, a photo": _cost(lambda: load_masks(Masks(), root).fill(photos), len(photos)),
            "SAM's features, a photo": _cost(
                lambda: load_sam_features(Latent(), root).fill(photos), len(photos)
            ),
            "first stage, a step": self._step(path, folder / "first", (1.0, 0.0, 0.0)),
            "second stage, a step": self._step(path, folder / "second", (0.0, 0.5, 0.5)),
            "answers of points, a scan": _cost(lambda: _ask(path, folder / "first", "points"), len(held_out)),
            "answers of photos, a photo": _cost(lambda: _ask(of_photos, folder / "first", "photos"), asked),
        }

    def _step(self, index: Path, out: Path, sources: tuple[float, float, float]) -> dict[str, float]:
        """Of one epoch with labels from these: the median of its steps, without what comes before them."""
        fit = replace(PRESET.fit, epochs=1, seed=self.seed)
        how = {"fit": fit, "switch_from": 0, "switch_probs": sources}
        cost = _cost(replace(PRESET, index=index, out=out, **how).run, 1)
        events = EventAccumulator(str(out / "tensorboard")).Reload()
        ends = [event.wall_time for event in events.Scalars("train/loss")]
        return cost | {"seconds": float(np.median(np.diff(ends)))}


def _ask(index: Path, run: Path, of: Literal["points", "photos"]) -> None:
    evaluate(Evaluate(run_folder=run, index=index, out=run / of, of=of))


def _cost(work: Callable[[], object], units: int) -> dict[str, float]:
    """Seconds of a unit, and MiB."""
    start = time.perf_counter()
    grown = peak_growth(work)
    return {"seconds": (time.perf_counter() - start) / units, "peak_mib": grown / 2**20}


if __name__ == "__main__":
    tyro.cli(BenchStages).run()
