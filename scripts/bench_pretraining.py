"""Scans per second of CLIP2Scene's pre-training on street worlds, with features of photos kept and without.

In the published code CLIP looks at all photos of a frame again in each step, once for each sweep, since each sweep has
crops of its own; here it looks once, and crops and sweeps ask what is kept. Between the two: once for all sweeps of a
step. One step of each way in turn: reading, pairing, forward, backward and the optimiser. With the mini CLIP, and with
a ViT-B/16 of random weights, which takes as long as a trained one.
Writes docs/reports/pretraining.json; `scripts/write_results.py` makes the table.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from bench_clip2scene import STREET
from random_clip import vit_of_random_weights
from torch import Tensor

from ovs3d.eval.environment import environment
from ovs3d.eval.report import Report
from ovs3d.foundation.store import FeatureStore, Identity
from ovs3d.optim import Muon
from ovs3d.prompts.vocabulary import Vocabulary
from ovs3d.worlds.streets.command import Street
from pointcloud import config
from pointcloud.config import Fit
from pointcloud.index_command import Index
from pointcloud.pretrain import consistency, photographed
from pointcloud.pretrain_command import Clip2Scene
from pointcloud.runs import text_embeddings
from pointcloud.teacher import load_teacher

SWEEPS = 3
"""Of a frame, as published."""


class ForgetfulStore(FeatureStore):
    """Computes each time, as often as it is told."""

    def __init__(self, folder: Path, looks: int) -> None:
        super().__init__(folder)
        self.looks = looks

    def get_or_compute(
        self, kind: str, image: bytes, identity: Identity, compute: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        found = [compute() for _ in range(self.looks)]
        return {name: value.detach().cpu() for name, value in found[-1].items()}


@dataclass(frozen=True)
class BenchPretraining:
    """Measure scans per second."""

    out: Path = Path("docs/reports/pretraining.json")
    """The report."""
    scenes: int = 8
    """Streets, of which a fifth is not trained on."""
    rounds: int = 7
    """Steps of each way; medians are reported."""
    seed: int = 0
    """Of streets, weights and augmentation."""

    def run(self) -> None:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "streets"
            Street(root, self.seed, scenes=self.scenes, frames=1, sweeps=2).run()
            Index("nuscenes", root, "v1.0-mini").run()
            clips = {"mini CLIP": "mini", "ViT-B/16": vit_of_random_weights(Path(folder))}
            index = root / ".ovs3d" / "index.jsonl"
            metrics = {name: self._compare(index, weights) for name, weights in clips.items()}
        report = Report(
            task="Pre-training by CLIP2Scene, with features of photos kept and without",
            protocol=f"median of {self.rounds} steps of one frame of {SWEEPS} sweeps and 6 photos, each way in turn",
            classes=(),
            metrics=metrics,
            split="street worlds",
            weights={"clip": "mini; ViT-B-16 of random weights"},
            config={"net": "minkunet-small", "threads": torch.get_num_threads()},
            seed=self.seed,
            seconds=time.perf_counter() - start,
            **environment(),
        )
        self.out.write_text(report.to_json())
        print(report.to_markdown())

    def _compare(self, index: Path, weights: str) -> dict[str, float]:
        command = Clip2Scene(
            index=index,
            out=index.parent / "unused",
            net=STREET.net,
            sweeps=SWEEPS,
            fit=Fit(batch_size=1, seed=self.seed),
            teacher=config.Teacher(weights),
        )
        scans = photographed(command)
        dataset = scans.index.dataset
        kept = load_teacher(command.teacher, dataset.root)
        vocabulary = Vocabulary(dataset.classes)
        text = text_embeddings(vocabulary, weights, torch.device("cpu"))
        training = consistency(command, scans, kept, text, len(vocabulary.names))
        fit, groups = command.fit, training.model.parameter_groups(command.fit.lr, command.fit.lr)
        optimizer = Muon(groups, lr=fit.lr, weight_decay=fit.weight_decay)
        samples = {"kept": training.samples}
        for name, looks in (("each step", 1), ("each sweep", SWEEPS)):
            asked = replace(kept, store=ForgetfulStore(kept.store.folder, looks))
            samples[name] = replace(training.samples, teacher=asked)
        began = time.perf_counter()
        samples["kept"].prepare()
        filled = (time.perf_counter() - began) / len(samples["kept"].photos())

        def step(which: str, number: int) -> float:
            start = time.perf_counter()
            one = samples[which]
            batch = one.collate([one[number, number % len(one)]])
            optimizer.zero_grad()
            torch.stack(list(training.losses(batch).values())).sum().backward()
            optimizer.step()
            return time.perf_counter() - start

        seconds: dict[str, list[float]] = {name: [] for name in samples}
        for number in range(self.rounds + 1):
            for name, times in seconds.items():
                times.append(step(name, number))
        return {
            "scans per second": SWEEPS / statistics.median(seconds["kept"][1:]),
            "looking in each step": SWEEPS / statistics.median(seconds["each step"][1:]),
            "looking for each sweep": SWEEPS / statistics.median(seconds["each sweep"][1:]),
            "times faster than in each step": _ratio(seconds["each step"], seconds["kept"]),
            "times faster than for each sweep": _ratio(seconds["each sweep"], seconds["kept"]),
            "seconds per photo, once": filled,
        }


def _ratio(slow: list[float], fast: list[float]) -> float:
    """Of steps that were made one after the other; the first of each warms up."""
    return statistics.median(a / b for a, b in zip(slow[1:], fast[1:], strict=True))


if __name__ == "__main__":
    tyro.cli(BenchPretraining).run()
