"""What nuScenes and nuImages share: JSON tables of records with tokens, poses, cameras and names of categories.

Fields are those of nuscenes-devkit 1.2.0, docs/schema_nuscenes.md and docs/schema_nuimages.md. The tables are read
here and not by the devkit, which keeps all 2.6 million records of ``sample_data`` and ``ego_pose`` and all boxes,
where frames need a fifth of the former and none of the latter; it also wants maps, and starts a plotting library.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ovs3d.errors import InputError
from ovs3d.geometry import Camera
from pointcloud.index import IGNORE

Record = dict[str, Any]

_CLASS_OF_CATEGORY = {
    "animal": None,
    "flat.driveable_surface": "driveable surface",
    "flat.other": "other flat",
    "flat.sidewalk": "sidewalk",
    "flat.terrain": "terrain",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.personal_mobility": None,
    "human.pedestrian.police_officer": "pedestrian",
    "human.pedestrian.stroller": None,
    "human.pedestrian.wheelchair": None,
    "movable_object.barrier": "barrier",
    "movable_object.debris": None,
    "movable_object.pushable_pullable": None,
    "movable_object.trafficcone": "traffic cone",
    "noise": None,
    "static.manmade": "manmade",
    "static.other": None,
    "static.vegetation": "vegetation",
    "static_object.bicycle_rack": None,
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction vehicle",
    "vehicle.ego": None,
    "vehicle.emergency.ambulance": None,
    "vehicle.emergency.police": None,
    "vehicle.motorcycle": "motorcycle",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
}
"""The 32 categories of nuScenes-lidarseg and the 16 classes of its challenge; None is not counted there."""


class Table:
    """Records by token, in the order of the file."""

    def __init__(self, path: Path, fields: Sequence[str], keep: Callable[[Record], bool] | None = None):
        """Read a table.

        Args:
            fields: what is used of each record beside its token; the rest is dropped while the file is read.
            keep: which records are used.

        Raises:
            InputError: no such file, no table, or a record without one of the fields.
        """

        def slim(record: Record) -> Record | None:
            if "token" not in record:  # an object inside a record
                return record
            return (
                {field: record[field] for field in ("token", *fields)}
                if keep is None or keep(record)
                else None
            )

        self.path = path
        try:
            with open(path, encoding="utf-8") as file:
                records = json.load(file, object_hook=slim)
            self.records = {record["token"]: record for record in records if record is not None}
        except FileNotFoundError:
            raise InputError(f"{path} is missing: unpack the metadata of the data set again") from None
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} is no table of this data set ({error!r}): unpack it again") from error

    def __getitem__(self, token: str) -> Record:
        """The record of a token.

        Raises:
            InputError: there is none.
        """
        if token not in self.records:
            raise InputError(
                f"{self.path} lacks the record {token!r} that another table names: unpack all again"
            )
        return self.records[token]


def version_folder(root: Path, version: str) -> Path:
    """The folder of the tables of a version.

    Raises:
        InputError: there is none; the message lists those that are there.
    """
    folder = root / version
    if version and (folder / "sample_data.json").is_file():
        return folder
    there = ", ".join(sorted(path.parent.name for path in root.glob("*/sample_data.json"))) or "none"
    asked = f"no tables of version {version!r} in {root}" if version else f"{root} wants a --version"
    raise InputError(f"{asked}; versions there: {there}")


def category_ids(names: Sequence[str], classes: Sequence[str], path: Path) -> list[int]:
    """Class id of each category, found by its name; 255 for one that is not counted, or not among the classes.

    Raises:
        InputError: an unknown category in the file ``path``.
    """
    unknown = [name for name in names if name not in _CLASS_OF_CATEGORY]
    if unknown:
        raise InputError(f"{path} has categories that nuScenes does not know: {', '.join(unknown[:5])}")
    ids: dict[str | None, int] = {name: class_id for class_id, name in enumerate(classes)}
    return [ids.get(_CLASS_OF_CATEGORY[name], IGNORE) for name in names]


def target_from_source(record: Record) -> Float[np.ndarray, "4 4"]:
    """Global from ego, of an ``ego_pose``; ego from sensor, of a ``calibrated_sensor``. Quaternions are w, x, y, z."""
    w, x, y, z = np.array(record["rotation"]) / np.linalg.norm(record["rotation"])
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = record["translation"]
    return pose


def photo_camera(data: Record, calibrated: Record, ego: Record) -> Camera:
    """The camera of a photo, with the car where it was when the photo was taken.

    The tables count pixel centres at whole numbers, as OpenCV does and as the published code's rounding takes them;
    here they lie at + 0.5, so the principal point moves by half a pixel.
    """
    intrinsics = np.array(calibrated["camera_intrinsic"], np.float64)
    intrinsics[:2, 2] += 0.5
    world_from_camera = target_from_source(ego) @ target_from_source(calibrated)
    return Camera(intrinsics, world_from_camera, data["height"], data["width"])


def file_problem(path: Path, step: int = 1) -> str | None:
    """What keeps a file from being used: it is not there, empty, or no multiple of ``step`` bytes long."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return f"{path} is missing"
    return None if size and size % step == 0 else f"{path} is broken: {size} bytes"
