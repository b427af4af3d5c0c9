"""CNS step by step on worlds: what CLIP calls pixels and points, what masks make of it, what networks learn from it.

The worlds, the networks of points and, but for variants that say otherwise, how often scans are seen are those of
`bench_clip2scene.py`, so that the figures compare; of rooms, two are in a step, with half of their photos. Photos of
streets are measured by nuImages' eleven classes, which have masks. Each result is kept as a line of
docs/reports/cns.jsonl; `--report` writes docs/reports/cns.json from the lines; `scripts/write_results.py` makes tables.
"""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tyro
from bench_clip2scene import KINDS, SEEDS, TESTED, BenchClip2Scene, BenchWorlds, Kind, KindName, index_of
from measured import Row, add_row, digest, gains, mean_of, mini_weights, read_rows, spread

from ovs3d.eval.environment import environment
from ovs3d.eval.report import Report
from ovs3d.worlds.streets.command import Street
from pointcloud.cli import Evaluate
from pointcloud.config import Latent, Masks, SamMasks, Teacher
from pointcloud.evaluate import PROTOCOL
from pointcloud.evaluate_command import evaluate
from pointcloud.index_command import Index
from pointcloud.presets import CnsSmall
from pointcloud.pretrain_command import Cns

Of = Literal["points", "photos", "both"]
OF = "points_", "photos_", "both_", "voted_photos_", "voted_both_"
"""Of what the columns are; voted: soft votes of masks on what the network of photos says."""
CAVEATS = (
    "the mini CLIP learnt the names of the classes from other streets and rooms, and the mini SAM, whose features the "
    "latent space is of, their masks",
    "points: CLIP alone has the mean of what all photos see of them, votes are means of votes",
)
PRESET = CnsSmall(index=Path(), out=Path())
SMALL = PRESET.image
MASKS = PRESET.masks
"""By colour alone."""
OF_SAM = Masks(
    weights="mini", sam=SamMasks(points_per_side=16, pred_iou_thresh=0.3, stability_score_thresh=0.5)
)
"""The mini SAM is hardly ever surer: at SAM's own thresholds most pixels would be of no mask."""
COLOURS = "CLIP alone, colours in 0..1"
ALONE: dict[str, dict[str, Any]] = {
    COLOURS: {},
    "CLIP alone": {},
    "CLIP, votes of masks, hard": {"refine": "hard", "masks": MASKS},
    "CLIP, votes of masks, soft": {"refine": "soft", "masks": MASKS},
    "CLIP, votes of the mini SAM's masks, hard": {"refine": "hard", "masks": OF_SAM},
    "CLIP, votes of the mini SAM's masks, soft": {"refine": "soft", "masks": OF_SAM},
}
SEEN: dict[KindName, dict[str, Any]] = {
    "street": {"fit": KINDS["street"].fit, "photos": 8},
    "room": {
        "fit": replace(KINDS["room"].fit, batch_size=2),
        "photos": 5,
        "image": replace(SMALL, height=192),
    },
}
"""How often scans are seen, and with how many of their photos, of which streets have 6 and rooms 10."""
NO_LATENT, NO_SWITCH = Latent(weight=0.0), (1.0, 0.0, 0.0)
CNS = "+ latent consistency: CNS"
OF_CLIP = {"switch_probs": NO_SWITCH, "latent": NO_LATENT}
"""Labels from CLIP alone."""
TRAINED: dict[str, dict[str, Any]] = {
    "training, rare classes count no more": OF_CLIP | {"refine": "none", "balance": 0.0},
    "training": OF_CLIP | {"refine": "none"},
    "+ hard votes of masks": OF_CLIP | {"refine": "hard"},
    "+ soft votes of masks": OF_CLIP,
    "+ switching": {"latent": NO_LATENT},
    CNS: {},
    "CNS, losses and votes as published": {"refine": "hard", "latent": Latent(), "balance": 0.0},
    "CNS, votes of all photos": {"multi_view": True},
    "CNS, three equal sources": {"switch_probs": (1 / 3, 1 / 3, 1 / 3)},
}
IN_A_STEP: dict[KindName, dict[str, dict[str, Any]]] = {
    "street": {
        "CNS, two frames in a step": {"fit": PRESET.fit, "photos": PRESET.photos},
    },
    "room": {"CNS, one room in a step": {"fit": replace(KINDS["room"].fit, epochs=20), "photos": 0}},
}
"""As many steps and about as many photos in each, but of other scans. Of streets it is how cns-small trains."""


@dataclass(frozen=True)
class BenchCns(BenchWorlds):
    """Train and measure what has no line yet."""

    rows: Path = Path("docs/reports/cns.jsonl")
    others: Path = Path("docs/reports/clip2scene.jsonl")
    """Lines of CLIP2Scene and of distillation on the same worlds, which `--report` compares with."""

    def _variants(self, name: KindName) -> list[str]:
        return [*ALONE, *TRAINED, *IN_A_STEP[name]]

    def _is_fixed(self, variant: str) -> bool:
        return variant in ALONE

    def _digest(self, name: KindName, variant: str) -> str:
        kind = KINDS[name]
        how = (_teacher(kind, variant), ALONE[variant]) if variant in ALONE else _command(name, variant)
        return digest(kind.world, SEEDS, TESTED, how, mini_weights())

    def _make(self, name: KindName) -> None:
        super()._make(name)
        if name == "street":
            self._photos_of_streets()

    def _measure(self, name: KindName, variant: str, seed: int) -> None:
        start = time.perf_counter()
        out = self._folder(name, variant, seed)
        row: Row = {"kind": name, "variant": variant, "seed": seed, "of": self._digest(name, variant)}
        if variant in ALONE:
            flags = ALONE[variant] | {"teacher": _teacher(KINDS[name], variant)}
            found = {of: self._asked(name, of, out, None, flags) for of in ("points", "photos")}
        else:
            self._train(name, variant, seed, out)
            found = {of: self._asked(name, of, out, out, {}) for of in ("points", "photos", "both")}
            voted, votes = out / "voted", {"refine": "soft", "masks": MASKS}
            found |= {f"voted_{of}": self._asked(name, of, voted, out, votes) for of in ("photos", "both")}
        for of, report in found.items():
            shown = () if of.endswith("photos") else ("miou_shown", "accuracy_shown")
            row |= {f"{of}_{name}": report["metrics"][name] for name in ("miou", "accuracy", *shown)}
        add_row(self.rows, row | {"seconds": time.perf_counter() - start})

    def _train(self, name: KindName, variant: str, seed: int, out: Path) -> None:
        command, index = _command(name, variant), index_of(self.work, name, "train")
        replace(command, index=index, out=out, fit=replace(command.fit, seed=seed)).run()

    def _asked(self, kind: KindName, of: Of, out: Path, run: Path | None, flags: dict) -> dict:
        """The report of a run, or of CLIP alone, on worlds that nothing was tuned on."""
        index = index_of(self.work, kind, "test")
        if of == "photos" and kind == "street":
            index = self._photos_of_streets()
        shown = of != "photos"
        asked = Evaluate(run_folder=run, index=index, out=out / of, split="test", of=of, shown=shown, **flags)
        return json.loads(evaluate(asked).read_text())

    def _photos_of_streets(self) -> Path:
        """The index of the photos of the same streets with masks."""
        folder = self.work / "street" / "photos"
        index = folder / ".ovs3d" / "index.jsonl"
        if not index.exists():
            Street(folder, SEEDS["test"], "nuimages", scenes=TESTED * 5 // 4, frames=1, overwrite=True).run()
            Index("nuimages", folder, "v1.0-train", split="test").run()
        return index

    def _report(self, path: Path) -> None:
        metrics: dict[str, dict[str, float]] = {}
        for kind in self.kinds:
            for variant in self._variants(kind):
                if mine := self.rows_of_variant(kind, variant):
                    means = {name: mean_of(mine, name) for name in mine[0] if name.startswith(OF)}
                    shown = spread(mine, ("points_miou_shown", "photos_miou"))
                    metrics[f"{kind}: {variant}"] = means | shown
            for variant in CNS, *IN_A_STEP[kind]:
                metrics |= self._gains(kind, variant)
        report = Report(
            task="CNS on procedural worlds with the mini CLIP and SAM",
            protocol=f"{PROTOCOL}; of photos: labels of all pixels",
            classes=(),
            metrics=metrics,
            split="worlds of a seed of their own; means over the seeds of training",
            weights={"clip": "mini", "sam": "mini"},
            config={kind: _about(_command(kind, CNS)) for kind in self.kinds},
            seed=0,
            seconds=sum(row["seconds"] for row in read_rows(self.rows)),
            skipped=CAVEATS,
            **environment(),
        )
        path.write_text(report.to_json())
        print(report.to_markdown())

    def _gains(self, name: KindName, variant: str) -> dict[str, dict[str, float]]:
        """What is aimed at, seed by seed, of points above others that learnt from the same photos, and of photos."""
        parent = BenchClip2Scene(self.work, self.others)
        cns, found = self.rows_of_variant(name, variant), {}
        what = f"{name}: {variant.split(': ')[-1]}"
        for other in "CLIP2Scene", "distillation":
            theirs = [row | {"points_miou": row["miou"]} for row in parent.rows_of_variant(name, other)]
            aim = " (target 0.05)" if other == "CLIP2Scene" else ""
            if above := gains(cns, theirs, "points_miou"):
                found[f"{what}, points, less {other}{aim}"] = spread(above, ["points_miou"])
        for clip, aim in ("CLIP alone", " (target 0.04)"), ("CLIP, votes of masks, soft", ""):
            theirs = self.rows_of_variant(name, clip)
            for of, said in ("photos", "photos"), ("voted_photos", "photos with votes of masks"):
                mine = [row | {"photos_miou": row[f"{of}_miou"]} for row in cns]
                if above := gains(mine, theirs, "photos_miou", fixed=True):
                    found[f"{what}, {said}, less {clip}{aim}"] = spread(above, ["photos_miou"])
        return found


def _about(command: Cns) -> dict[str, Any]:
    """What a report says of how networks were trained."""
    parts = {"image": command.image, "masks": command.masks, "fit": command.fit}
    return {name: asdict(part) for name, part in parts.items()} | {"photos": command.photos}


def _teacher(kind: Kind, variant: str) -> Teacher:
    return replace(kind.teacher, normalize=variant != COLOURS)


def _command(name: KindName, variant: str) -> Cns:
    """What trains a variant as CLIP2Scene is trained on the same worlds, without its index, folder and seed."""
    kind = KINDS[name]
    same = {"net": kind.net, "augment": kind.augment, "teacher": kind.teacher}
    settings = same | SEEN[name] | (TRAINED | IN_A_STEP[name])[variant]
    return replace(PRESET, **settings, switch_from=settings["fit"].epochs // 2)


if __name__ == "__main__":
    tyro.cli(BenchCns).run()
