"""``ovs3d world street``: write streets with exact truth in the formats of driving data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ovs3d.errors import InputError

if TYPE_CHECKING:
    from ovs3d.worlds.streets.write_nuscenes import Drive

# As in nuscenes.utils.splits: scenes for training, scenes for validation.
_MINI = (
    ("0061", "0553", "0655", "0757", "0796", "1077", "1094", "1100"),
    ("0103", "0916"),
)
_LEAST_S = {"nuscenes": 0.5, "nuimages": 0.5, "semantickitti": 0.1}
_KITTI = (("00", "01", "02", "03", "04", "05", "06", "07", "09", "10"), ("08",))


@dataclass(frozen=True)
class Street:
    """Write streets as six cameras and a LiDAR see them, in nuScenes', nuImages' or SemanticKITTI's format."""

    out: Path
    """Folder to write the data set into; new or empty."""
    seed: int = 0
    """Which streets; the same seed gives the same bytes."""
    format: Literal["nuscenes", "nuimages", "semantickitti"] = "nuscenes"
    """Layout of the data set. SemanticKITTI has one camera, a LiDAR of 64 beams, and 10 frames per second. nuImages has
    photos alone, with masks, in the versions v1.0-train and v1.0-val."""
    version: Literal["v1.0-mini", "v1.0-trainval"] = "v1.0-mini"
    """Version of nuScenes whose official scene names are used."""
    scenes: int = 10
    """Number of scenes, of which a fifth is for validation; of SemanticKITTI's sequences, 08. The devkit's own
    evaluation wants all scenes of a split: the 10 of v1.0-mini."""
    frames: int = 8
    """Labelled frames of each street: key frames, or scans."""
    streets_per_sequence: int = 1
    """SemanticKITTI: streets that each sequence drives through, one after another."""
    interval_s: float | None = None
    """Seconds from one labelled frame to the next; the more, the more of a street its frames show. Default, and least:
    0.5 and 0.1, as the formats have."""
    sweeps: int = 9
    """Unlabelled sweeps before each key frame of nuScenes, 0 to 9."""
    width: int = 400
    """Columns of a photo in pixels."""
    overwrite: bool = False
    """Replace a world that is already in the folder."""

    @property
    def spacing_s(self) -> float:
        """Seconds from one labelled frame to the next."""
        return self.interval_s or _LEAST_S[self.format]

    def run(self) -> None:
        """Render and write the data set, several streets at a time."""
        from ovs3d.worlds.command import clear_for_world

        names = self._names()
        clear_for_world(self.out, self.overwrite)
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "ovs3d.yaml").write_text("weights: mini\n")
        each = self.streets_per_sequence
        jobs = [(self, name, self.seed * 1000 + index * each) for index, name in enumerate(names)]
        if self.format == "nuscenes":
            from ovs3d.worlds.streets.tables import write_tables

            write_tables(self.out, self.version, _in_parallel(_write_scene, jobs))
        elif self.format == "nuimages":
            from ovs3d.worlds.streets.write_nuimages import write_tables

            rows = _in_parallel(_write_photos, jobs)
            train = sum(name in self._official()[0] for name in names)
            write_tables(self.out, "v1.0-train", rows[:train])
            write_tables(self.out, "v1.0-val", rows[train:])
        else:
            _in_parallel(_write_sequence, jobs)
        streets = len(names) * self.streets_per_sequence
        print(f"{streets} streets with {self.frames} labelled frames each in {self.out}: {', '.join(names)}")

    def _names(self) -> list[str]:
        """Official names: those for training, then those for validation."""
        for field, value, low, high in (
            ("seed", self.seed, 0, 10**9),
            ("frames", self.frames, 1, 200),
            ("sweeps", self.sweeps, 0, 9),
            ("width", self.width, 32, 4096),
            (
                "streets-per-sequence",
                self.streets_per_sequence,
                1,
                90 if self.format == "semantickitti" else 1,
            ),
        ):
            if not low <= value <= high:
                raise InputError(f"--{field} is a whole number from {low} to {high} here, not {value}")
        least_s = _LEAST_S[self.format]
        if self.interval_s is not None and not least_s <= self.interval_s <= 60:
            raise InputError(f"--interval-s is from {least_s} to 60 seconds here, not {self.interval_s}")
        train, val = self._official()
        n_val = min(max(1, round(self.scenes / 5)), len(val))
        most = len(train) + len(val)
        if not 2 <= self.scenes <= most:
            raise InputError(f"--scenes is a whole number from 2 to {most} here, not {self.scenes}")
        return [*train[: self.scenes - n_val], *val[:n_val]]

    def _official(self) -> tuple[list[str], list[str]]:
        if self.format == "semantickitti":
            return list(_KITTI[0]), list(_KITTI[1])
        if self.format == "nuimages":
            return [f"train-{number:04d}" for number in range(700)], [
                f"val-{number:04d}" for number in range(150)
            ]
        if self.version == "v1.0-mini":
            train, val = ([f"scene-{number}" for number in numbers] for numbers in _MINI)
            return train, val
        from ovs3d.require import require

        splits = require("nuscenes.utils.splits", "points").create_splits_scenes()
        return splits["train"], splits["val"]


def _write_scene(job: tuple[Street, str, int]) -> dict[str, list[dict[str, Any]]]:
    from ovs3d.worlds.streets.write_nuscenes import write_scene

    street, _, _ = job
    return write_scene(street.out, street.version, _drive(job))


def _write_photos(job: tuple[Street, str, int]) -> dict[str, list[dict[str, Any]]]:
    from ovs3d.worlds.streets.write_nuimages import write_photos

    return write_photos(job[0].out, _drive(job))


def _drive(job: tuple[Street, str, int]) -> Drive:
    from ovs3d.worlds.streets.rig import nuscenes_rig
    from ovs3d.worlds.streets.street import make_street
    from ovs3d.worlds.streets.write_nuscenes import Drive

    street, name, seed = job
    world = make_street(seed, seconds=street.frames * street.spacing_s)
    return Drive(name, world, nuscenes_rig(street.width), street.frames, street.sweeps, street.spacing_s)


def _write_sequence(job: tuple[Street, str, int]) -> None:
    from ovs3d.worlds.streets.rig import kitti_rig
    from ovs3d.worlds.streets.street import make_street
    from ovs3d.worlds.streets.write_semantickitti import write_sequence

    street, name, seed = job
    worlds = (
        make_street(each, seconds=street.frames * street.spacing_s)
        for each in range(seed, seed + street.streets_per_sequence)
    )
    rig = kitti_rig(street.width)
    write_sequence(street.out / "sequences" / name, worlds, rig, street.frames, street.spacing_s)


def _in_parallel(work: Callable[[Any], Any], jobs: list[Any]) -> list[Any]:
    """Results in the order of the jobs, which run in processes of their own."""
    import os
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from tqdm import tqdm

    workers = min(len(jobs), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(tqdm(pool.map(work, jobs), total=len(jobs), unit="street"))
