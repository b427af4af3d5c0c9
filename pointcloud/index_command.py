"""``ovs3d-points index``: look through a data set once, and write down what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pointcloud.datasets import Name

if TYPE_CHECKING:
    from pointcloud.frame import Frame
    from pointcloud.index import DataSet


@dataclass(frozen=True)
class Index:
    """Find the frames of a data set, check their files, and write the index that all other commands start from."""

    dataset: Name
    """nuscenes, nuimages, semantickitti, scannet, or folder: any folder of .bin, .npy, .npz, .ply or .pcd files."""
    root: Path
    """Folder of the data set."""
    version: str = ""
    """For nuscenes and nuimages: the folder of tables, such as v1.0-mini."""
    out: Path | None = None
    """The index. Default: .ovs3d/index.jsonl in the data set's folder."""
    split: Literal["train", "val", "test"] | None = None
    """Put all frames into this split, whatever the data set says."""
    read_all: bool = False
    """Read every scan whole, not only the first of each scene."""
    sens_every: int = 0
    """First export every such frame, for instance every 20th, of each .sens file whose photos are not there yet
    (scannet). 0: export nothing."""

    def run(self) -> None:
        """Write the index and print what is in it, and every problem.

        Raises:
            InputError: no such folder or version, or not one frame can be used.
        """
        from pointcloud.datasets import reader
        from pointcloud.index import write_index

        report = _Report()
        if self.sens_every:
            self._export_photos(report)
        module = reader(self.dataset)
        dataset = module.open_dataset(self.root, self.version)
        frames = module.frames(self.root, self.version, report.say)
        out = self.out or self.root / ".ovs3d" / "index.jsonl"
        try:
            n = write_index(out, dataset, self._checked(frames, dataset, report))
        finally:
            report.print_problems()
        print(f"{dataset.name} in {self.root}: {report.summary(n)}, {len(dataset.classes)} classes")
        print(f"index: {out}")

    def _checked(self, frames: Iterator[Frame], dataset: DataSet, report: _Report) -> Iterator[Frame]:
        """Frames that can be used."""
        from tqdm import tqdm

        from pointcloud.check import check_frame

        for frame in tqdm(frames, desc="checking", unit=" frames", disable=None):
            first = frame.scene not in report.scenes
            checked = check_frame(frame, dataset, read=self.read_all or first)
            for problem in checked.problems:
                report.say(problem)
            if checked.frame is not None:
                kept = replace(checked.frame, split=self.split or frame.split)
                report.count(kept)
                yield kept

    def _export_photos(self, report: _Report) -> None:
        """Photos of ScanNet's recordings, beside them."""
        from ovs3d.errors import InputError
        from pointcloud.datasets.scannet import photo_folder, scene_folders
        from pointcloud.datasets.scannet_sens import export_sens, is_exported

        if self.dataset != "scannet":
            raise InputError(f"--sens-every is for scannet, not for {self.dataset}: leave it out")
        for scene, folder in scene_folders(self.root).items():
            photos = photo_folder(self.root, folder)
            if photos is None or (photos == folder and not is_exported(folder)):
                try:
                    n = export_sens(folder / f"{scene}.sens", folder, self.sens_every)
                    print(f"{scene}: {n} frames exported")
                except InputError as error:
                    report.say(f"{error}; no photos exported")


@dataclass
class _Report:
    """What was found on the way."""

    problems: dict[str, None] = field(default_factory=dict)
    splits: Counter[str] = field(default_factory=Counter)
    scenes: dict[str, None] = field(default_factory=dict)
    photos: int = 0
    labelled: int = 0

    def say(self, problem: str) -> None:
        self.problems[" ".join(problem.split())] = None

    def count(self, frame: Frame) -> None:
        self.splits[frame.split] += 1
        self.scenes[frame.scene] = None
        self.photos += len(frame.photos)
        self.labelled += frame.scan is not None and frame.scan.labels is not None

    def summary(self, n: int) -> str:
        splits = ", ".join(f"{split} {count}" for split, count in self.splits.items())
        return (
            f"{n} frames ({splits}; {self.labelled} with labels of points), {len(self.scenes)} scenes, "
            f"{self.photos} photos"
        )

    def print_problems(self) -> None:
        if self.problems:
            print(f"{len(self.problems)} problems:", *self.problems, sep="\n  ")
