"""What networks learn without labels on worlds: CLIP by itself, distillation, CLIP2Scene and its parts; and what they
are worth as a start for training on labels.

Networks are trained on one set of worlds and measured on another, which nothing was tuned on. Each result is kept as
a line of docs/reports/clip2scene.jsonl with a digest of its settings, so that a run which was stopped goes on, what was
measured with other settings does not count, and several processes may share the seeds. `--report` writes
docs/reports/clip2scene.json from the lines; `scripts/write_results.py` makes tables.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tyro
from measured import Row, add_row, digest, gains, mean_of, mini_weights, read_rows, rows_of, run_all, spread

from ovs3d.eval.environment import environment
from ovs3d.eval.report import Report
from ovs3d.prompts.vocabulary import builtin_vocabulary
from ovs3d.worlds.rooms.command import Room
from ovs3d.worlds.streets.command import Street
from pointcloud.cli import Evaluate, Finetune
from pointcloud.config import Augment, Fit, Net, Teacher
from pointcloud.evaluate import PROTOCOL
from pointcloud.evaluate_command import evaluate
from pointcloud.index_command import Index
from pointcloud.presets import Clip2SceneSmall
from pointcloud.pretrain_command import Clip2Scene, Distill, Ppkt, Slidr

KindName = Literal["street", "room"]
LABELLED = {"the labels of 1 of 60 streets": (1.0, 300), "all labels": (100.0, 10)}
"""Shares of the labels in percent, and how often they are seen. One street is another for each seed, and 1.7 %, the
least there is."""


@dataclass(frozen=True)
class Kind:
    """Worlds, and how networks are trained on them."""

    world: Street | Room
    dataset: Literal["nuscenes", "scannet"]
    version: str
    clip2scene: Clip2Scene
    """The method as it is measured; the others have its network, its optimiser and its augmentation."""
    more: dict[str, dict[str, Any]]
    """Variants that the other kind does not have."""
    other_prompts: tuple[str, ...]
    """Vocabularies of other data sets."""

    @property
    def net(self) -> Net:
        return self.clip2scene.net

    @property
    def fit(self) -> Fit:
        return self.clip2scene.fit

    @property
    def augment(self) -> Augment:
        return self.clip2scene.augment

    @property
    def teacher(self) -> Teacher:
        return self.clip2scene.teacher


SMALL = Clip2SceneSmall(index=Path(), out=Path())
STREET = Kind(
    Street(Path(), version="v1.0-trainval", scenes=75, frames=1, sweeps=9),
    "nuscenes",
    "v1.0-trainval",
    SMALL,
    {
        "the paper's semantic consistency": {"semantic": "paper"},
        "switched self-training": {"self_training_probability": 0.5},
        "self-training alone, no switching": {"self_training_probability": 1.0},
        "the published code's agreement": {"spatial_temporal": "released"},
        "sweeps: 3": {"sweeps": 3},
        "sweeps: 5": {"sweeps": 5},
    },
    ("semantickitti19", "scannet20"),
)
ROOM = Kind(
    Room(Path(), scenes=75, views=10, color_width=640, depth_width=320),
    "scannet",
    "",
    replace(
        SMALL,
        net=replace(SMALL.net, inputs=("one", "rgb", "height"), voxel_size_m=0.08),
        fit=replace(SMALL.fit, epochs=40),
        augment=Augment(),
        balance=0.25,
        spatial_temporal="cosine",
        spatial_temporal_weight=0.2,
        teacher=Teacher(short_side=448),
    ),
    {},
    (),
)
KINDS = {"street": STREET, "room": ROOM}
ABLATIONS: dict[str, dict[str, Any]] = {
    "CLIP2Scene": {},
    "without semantic consistency": {"semantic": "none"},
    "without spatial-temporal consistency": {"spatial_temporal": "none"},
}
"""Of both kinds."""
SEEDS = {"train": 50, "test": 60}
"""Of the worlds. Settings were chosen on the validation split of those for training."""
TESTED = 20
"""Worlds of the second seed, all of them for testing."""
STARTS: dict[str, tuple[str, Literal["linear", "text"]]] = {
    "nothing": ("nothing", "linear"),
    "CLIP2Scene": ("CLIP2Scene", "linear"),
    "CLIP2Scene with its texts": ("CLIP2Scene", "text"),
    "CLIP2Scene of 3 sweeps": ("sweeps: 3", "linear"),
    "distillation": ("distillation", "linear"),
    "PPKT": ("PPKT", "linear"),
    "SLidR": ("SLidR", "linear"),
}
"""Of fine-tuning: the variant whose trunk it is, under a new linear head, or together with the head that answers to
texts already."""
CAVEATS = (
    "the mini CLIP learnt the names of the classes from other streets and rooms, the mini DINO, which PPKT and SLidR "
    "learn from, saw tabletops alone",
)


@dataclass(frozen=True)
class BenchWorlds:
    """Train and measure what has no line yet."""

    work: Path = Path("outputs/clip2scene")
    """Folder of worlds and runs."""
    rows: Path = Path("docs/reports/clip2scene.jsonl")
    """A line for each result."""
    kinds: tuple[KindName, ...] = ("street", "room")
    """Worlds."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the training."""
    only: tuple[str, ...] = ()
    """Variants; default: all."""
    worlds: bool = False
    """Do not measure: make the worlds, before several processes want them at the same time."""
    report: bool = False
    """Do not measure: write the report from the lines there are."""

    def run(self) -> None:
        if self.report:
            self._report(self.rows.with_suffix(".json"))
            return
        if self.worlds:
            for kind in self.kinds:
                self._make(kind)
            return
        run_all(self._missing())

    def _missing(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """What has no line yet, looked up when it is its turn: others may have measured it by then."""
        for seed in self.seeds:
            for kind in self.kinds:
                for variant in self._variants(kind):
                    if self.only and variant not in self.only:
                        continue
                    if self._is_fixed(variant) and seed:
                        continue
                    if not rows_of(self.rows_of_variant(kind, variant), seed=seed):
                        yield f"{kind}: {variant}, seed {seed}", partial(self._measure, kind, variant, seed)

    def _make(self, name: KindName) -> None:
        """The worlds of a kind."""
        index_of(self.work, name, "train")
        index_of(self.work, name, "test")

    def _variants(self, name: KindName) -> list[str]:
        raise NotImplementedError

    def _is_fixed(self, variant: str) -> bool:
        """Whether nothing in a variant is drawn, so that one seed is enough."""
        raise NotImplementedError

    def _digest(self, name: KindName, variant: str) -> str:
        """Of all settings of a variant."""
        raise NotImplementedError

    def rows_of_variant(self, name: KindName, variant: str) -> list[Row]:
        """What was measured of a variant with these settings."""
        return rows_of(read_rows(self.rows), kind=name, variant=variant, of=self._digest(name, variant))

    def _folder(self, name: KindName, variant: str, seed: int) -> Path:
        """Of a run, with its digest: one with other settings or other mini models is another run."""
        return self.work / name / f"seed-{seed}" / f"{variant} {self._digest(name, variant)}"

    def _measure(self, name: KindName, variant: str, seed: int) -> None:
        raise NotImplementedError

    def _report(self, path: Path) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class BenchClip2Scene(BenchWorlds):
    """Train and measure what has no line yet."""

    def _is_fixed(self, variant: str) -> bool:
        return variant == "CLIP alone"

    def _variants(self, name: KindName) -> list[str]:
        kind = KINDS[name]
        found = ["CLIP alone", "distillation", *ABLATIONS, *kind.more]
        found += [f"prompts of {other}" for other in kind.other_prompts]
        starts = STARTS if name == "street" else ()
        return found + [f"{labels}, from {each}" for labels in LABELLED for each in starts]

    def _digest(self, name: KindName, variant: str) -> str:
        kind = KINDS[name]
        settings: list[object] = [kind.world, SEEDS, TESTED, mini_weights()]
        if ", from " in variant:
            labels, start = variant.split(", from ")
            settings += [LABELLED[labels], kind.net, kind.fit, kind.augment]
            trunk, head = STARTS[start]
            settings += [] if trunk == "nothing" else [_command(kind, trunk)]
            settings += [] if head == "linear" else [head]
        else:
            settings.append(kind.teacher if variant == "CLIP alone" else _command(kind, variant))
        return digest(*settings)

    def _measure(self, name: KindName, variant: str, seed: int) -> None:
        began, out = time.perf_counter(), self._folder(name, variant, seed)
        if variant == "CLIP alone":
            found = self._evaluated(name, None, out)
        elif ", from " in variant:
            labels, start = variant.split(", from ")
            found = self._finetuned(name, labels, start, seed, out)
        else:
            self._pretrained(name, variant, seed)
            found = self._evaluated(name, out, out)
        metrics = found["metrics"]
        row: Row = {"kind": name, "variant": variant, "seed": seed, "of": self._digest(name, variant)}
        row |= {"seconds": time.perf_counter() - began}
        row |= {key: value for key, value in metrics.items() if not isinstance(value, dict)}
        add_row(self.rows, row)

    def _pretrained(self, name: KindName, variant: str, seed: int) -> Path:
        """The folder of a run, which is trained if it is not there."""
        kind, out = KINDS[name], self._folder(name, variant, seed)
        index, fit = index_of(self.work, name, "train"), replace(kind.fit, seed=seed)
        replace(_command(kind, variant), index=index, out=out, fit=fit).run()
        return out

    def _finetuned(self, name: KindName, labels: str, start: str, seed: int, out: Path) -> dict:
        kind, (percent, epochs), (trunk, head) = KINDS[name], LABELLED[labels], STARTS[start]
        Finetune(
            index=index_of(self.work, name, "train"),
            out=out,
            init=None if trunk == "nothing" else self._pretrained(name, trunk, seed),
            head=head,
            percent=percent,
            share_from=seed if percent < 100 else 0,
            net=kind.net,
            fit=replace(kind.fit, epochs=epochs, seed=seed),
            augment=kind.augment,
        ).run()
        return self._evaluated(name, out, out)

    def _evaluated(self, name: KindName, run: Path | None, out: Path) -> dict:
        """The report of a run, or of CLIP alone, on worlds that nothing was tuned on."""
        index, teacher = index_of(self.work, name, "test"), Teacher() if run else KINDS[name].teacher
        asked = Evaluate(
            run_folder=run, index=index, out=out / "test", split="test", shown=True, teacher=teacher
        )
        return json.loads(evaluate(asked).read_text())

    def _report(self, path: Path) -> None:
        metrics: dict[str, dict[str, float]] = {}
        for name in self.kinds:
            for variant in self._variants(name):
                if mine := self.rows_of_variant(name, variant):
                    metrics[f"{name}: {variant}"] = spread(mine, ("miou", "miou_shown"))
                    metrics[f"{name}: {variant}"] |= {"accuracy_shown": mean_of(mine, "accuracy_shown")}
            metrics |= self._gains(name)
        report = Report(
            task="CLIP2Scene on procedural worlds with the mini CLIP",
            protocol=f"{PROTOCOL}; *shown*: of the points that a photo shows, where CLIP by itself has an answer too",
            classes=(),
            metrics=metrics,
            split="worlds of a seed of their own; means over the seeds of training",
            weights={"clip": "mini", "dino": "mini"},
            config={name: asdict(kind) for name, kind in KINDS.items()},
            seed=0,
            seconds=sum(row["seconds"] for row in read_rows(self.rows)),
            skipped=CAVEATS,
            **environment(),
        )
        path.write_text(report.to_json())
        print(report.to_markdown())

    def _gains(self, name: KindName) -> dict[str, dict[str, float]]:
        """What is aimed at: mIoU above that of others, seed by seed."""
        aims = [("CLIP2Scene", "CLIP alone", "miou_shown", 0.05)]
        if name == "street":
            aims += [
                (f"{labels}, from {mine}", f"{labels}, from {start}", "miou", aim)
                for labels, above_nothing in zip(LABELLED, (0.08, 0.0), strict=True)
                for mine in STARTS
                if mine.startswith("CLIP2Scene")
                for start, aim in (("nothing", above_nothing), ("PPKT", 0.0), ("SLidR", 0.0))
            ]
        found = {}
        for one, other, metric, aim in aims:
            mine, others = self.rows_of_variant(name, one), self.rows_of_variant(name, other)
            if above := gains(mine, others, metric, self._is_fixed(other)):
                found[f"{name}: {one}, less {other} (target {aim:g})"] = spread(above, [metric])
        return found


def index_of(work: Path, name: KindName, part: Literal["train", "test"]) -> Path:
    """Of the worlds of a part, which are made if they are not there."""
    kind = KINDS[name]
    worlds = replace(kind.world, seed=SEEDS[part])
    if part == "test":
        worlds = replace(worlds, scenes=TESTED)
        worlds = replace(worlds, sweeps=0) if isinstance(worlds, Street) else worlds
    folder = work / name / f"{part}-{digest(worlds)}"
    index = folder / ".ovs3d" / "index.jsonl"
    if not index.exists():
        replace(worlds, out=folder, overwrite=True).run()
        Index(kind.dataset, folder, kind.version, split="test" if part == "test" else None).run()
    return index


def _command(kind: Kind, variant: str) -> Distill | Clip2Scene | Ppkt | Slidr:
    """What trains a variant, without its index, folder and seed."""
    same: dict[str, Any] = {
        "index": Path(),
        "out": Path(),
        "net": kind.net,
        "fit": kind.fit,
        "augment": kind.augment,
    }
    if variant == "distillation":
        return Distill(**same, teacher=kind.teacher)
    if variant in ("PPKT", "SLidR"):
        return (Ppkt if variant == "PPKT" else Slidr)(**same)
    if variant.startswith("prompts of "):
        names = builtin_vocabulary(variant.removeprefix("prompts of ")).names
        return replace(kind.clip2scene, prompt="; ".join(names))
    return replace(kind.clip2scene, **(ABLATIONS | kind.more)[variant])


if __name__ == "__main__":
    tyro.cli(BenchClip2Scene).run()
