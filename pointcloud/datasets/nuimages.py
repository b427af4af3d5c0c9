"""nuImages: photos of cars' cameras with masks of ten kinds of things, and of the driveable surface.

Files: a folder of tables per split (``v1.0-train``, ``v1.0-val``, ``v1.0-test``, ``v1.0-mini``), and ``samples/``.
Photos are as the lens made them: each names its distortion. Masks lie in the tables as run lengths; ``frames`` paints
them once into ``.ovs3d/nuimages-1/<version>/<sample data token>.png`` under the data set's root.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from ovs3d.atomic import atomic_file, remove_stale_files
from ovs3d.prompts.vocabulary import builtin_vocabulary
from ovs3d.require import require
from pointcloud.datasets import Say
from pointcloud.datasets.devkit_tables import (
    Record,
    Table,
    category_ids,
    file_problem,
    photo_camera,
    version_folder,
)
from pointcloud.frame import Frame, Photo
from pointcloud.index import IGNORE, DataSet

_PAINTED = "nuimages-1"
"""Folder of the painted masks; the number rises when they are painted in another way."""


@dataclass(frozen=True, eq=False)
class _Tables:
    logs: Table
    data: Table
    sensors: Table
    calibrated: Table
    ego: Table


def open_dataset(root: Path, version: str) -> DataSet:
    """The eleven classes; their ids are those of nuScenes, whose last five classes nuImages does not annotate.

    Raises:
        InputError: no such version.
    """
    version_folder(root, version)
    classes = builtin_vocabulary("nuimages").names
    return DataSet("nuimages", root, classes, {})


def frames(root: Path, version: str, say: Say) -> Iterator[Frame]:
    """One frame per annotated photo; scenes are logs, the mini version counts as ``train``.

    Times are seconds since the log's first annotated photo. Photos of the test version have no labels.

    Args:
        say: told which photos were left out, because the file is missing or a mask has another size.

    Raises:
        InputError: no such version, or tables that do not fit together.
    """
    folder = version_folder(root, version)
    split = {"v1.0-val": "val", "v1.0-test": "test"}.get(version, "train")
    samples = Table(folder / "sample.json", ("timestamp", "log_token", "key_camera_token")).records
    tables = _read(folder, {sample["key_camera_token"] for sample in samples.values()})
    starts: dict[str, int] = {}
    for sample in samples.values():
        log = sample["log_token"]
        starts[log] = min(sample["timestamp"], starts.get(log, sample["timestamp"]))
    painter = None if split == "test" else _Painter(root, folder)
    for sample in samples.values():
        record = tables.data[sample["key_camera_token"]]
        path = root / record["filename"]
        problem = file_problem(path) or (painter and painter.problem(record))
        if problem:
            say(f"{problem}: photo left out")
            continue
        labels = painter and painter.paint(record)
        time_s = (record["timestamp"] - starts[sample["log_token"]]) * 1e-6
        photo = _photo(tables, record, path, time_s, labels)
        yield Frame(path.stem, tables.logs[sample["log_token"]]["logfile"], split, None, photos=(photo,))


def _read(folder: Path, tokens: set[str]) -> _Tables:
    """The tables of the photos with these tokens in ``sample_data``, which also holds what was filmed around them."""
    sensors = Table(folder / "sensor.json", ("channel",), lambda each: each["modality"] == "camera")
    fields = ("sensor_token", "translation", "rotation", "camera_intrinsic", "camera_distortion")
    path = folder / "calibrated_sensor.json"
    calibrated = Table(path, fields, lambda each: each["sensor_token"] in sensors.records)
    fields = (
        "ego_pose_token",
        "calibrated_sensor_token",
        "filename",
        "width",
        "height",
        "timestamp",
    )
    data = Table(folder / "sample_data.json", fields, lambda each: each["token"] in tokens)
    poses = {record["ego_pose_token"] for record in data.records.values()}
    ego = Table(folder / "ego_pose.json", ("translation", "rotation"), lambda each: each["token"] in poses)
    return _Tables(Table(folder / "log.json", ("logfile",)), data, sensors, calibrated, ego)


def _photo(tables: _Tables, record: Record, path: Path, time_s: float, labels: Path | None) -> Photo:
    calibrated = tables.calibrated[record["calibrated_sensor_token"]]
    camera = photo_camera(record, calibrated, tables.ego[record["ego_pose_token"]])
    channel = tables.sensors[calibrated["sensor_token"]]["channel"]
    distortion = tuple(calibrated["camera_distortion"])
    return Photo(channel, path, camera, time_s, labels=labels, distortion=distortion)


class _Painter:
    """Masks of a version as PNGs of class ids; the tables of masks are read when one has to be painted."""

    def __init__(self, root: Path, folder: Path):
        self.tables = folder
        self.into = root / ".ovs3d" / _PAINTED / folder.name
        self.into.mkdir(parents=True, exist_ok=True)
        remove_stale_files(self.into)

    @cached_property
    def class_ids(self) -> dict[str, int]:
        """Class id of each category, by its token."""
        path = self.tables / "category.json"
        names = {token: each["name"] for token, each in Table(path, ("name",)).records.items()}
        ids = category_ids(list(names.values()), builtin_vocabulary("nuimages").names, path)
        return dict(zip(names, ids, strict=True))

    @cached_property
    def masks(self) -> dict[str, list[Record]]:
        """Masks of each photo in the order of painting: surfaces, then objects by token, as the devkit has it."""
        masks: dict[str, list[Record]] = {}
        fields = ("sample_data_token", "category_token", "mask")
        surfaces = Table(self.tables / "surface_ann.json", fields).records
        objects = Table(self.tables / "object_ann.json", fields).records
        for record in (*surfaces.values(), *(objects[token] for token in sorted(objects))):
            if record["mask"] is not None:
                masks.setdefault(record["sample_data_token"], []).append(record)
        return masks

    def path(self, photo: Record) -> Path:
        """Where the painting of a photo lies."""
        return self.into / f"{photo['token']}.png"

    def problem(self, photo: Record) -> str | None:
        """What keeps a photo from being painted."""
        if self.path(photo).exists():
            return None
        sizes = {tuple(each["mask"]["size"]) for each in self.masks.get(photo["token"], ())}
        wrong = sizes - {(photo["height"], photo["width"])}
        return f"{photo['filename']} has a mask of {wrong.pop()} pixels" if wrong else None

    def paint(self, photo: Record) -> Path:
        """The painting of a photo, which is made if it is not there."""
        path = self.path(photo)
        if path.exists():
            return path
        labels = np.full((photo["height"], photo["width"]), IGNORE, np.uint8)
        for each in self.masks.get(photo["token"], ()):
            labels[_decoded(each["mask"])] = self.class_ids[each["category_token"]]
        with atomic_file(path) as file:
            Image.fromarray(labels).save(file, "PNG")
        return path


def _decoded(mask: Record) -> Bool[np.ndarray, "h w"]:
    """A mask of COCO's run lengths, whose characters the tables hold in base 64."""
    rle = {"size": mask["size"], "counts": base64.b64decode(mask["counts"])}
    return require("pycocotools.mask", "points").decode(rle).astype(bool)
