"""Tables of nuScenes: rows with tokens and links, and those that are the same for every data set.

Tokens are hashes of names, so that the same worlds give the same bytes.
"""

import json
from collections.abc import Iterable
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from ovs3d.worlds.streets.kinds import NUSCENES_CATEGORIES

TABLES = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "lidarseg",
    "log",
    "map",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
    "visibility",
)
_ATTRIBUTES = (
    "vehicle.moving",
    "vehicle.parked",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.moving",
    "pedestrian.standing",
)
_VISIBILITY = ("v0-40", "v40-60", "v60-80", "v80-100")
_MAP = "maps/street.png"

Row = dict[str, Any]


def write_tables(root: Path, version: str, scenes: Iterable[dict[str, list[Row]]]) -> None:
    """Write the tables of a data set from the rows of its scenes, and a map."""
    tables = gathered(TABLES, scenes)
    tables["category"] = [
        {"token": token(name), "name": name, "description": "", "index": index}
        for index, name in enumerate(NUSCENES_CATEGORIES)
    ]
    tables["attribute"] = [{"token": token(name), "name": name, "description": ""} for name in _ATTRIBUTES]
    tables["visibility"] = [
        {"token": str(index), "level": level, "description": ""} for index, level in enumerate(_VISIBILITY, 1)
    ]
    logs = [row["token"] for row in tables["log"]]
    tables["map"] = [
        {"token": token("map"), "category": "semantic_prior", "filename": _MAP, "log_tokens": logs}
    ]
    (root / "maps").mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), 255).save(root / _MAP)
    write_json(root / version, tables)


def gathered(names: Iterable[str], scenes: Iterable[dict[str, list[Row]]]) -> dict[str, list[Row]]:
    """The rows of all scenes by table; each sensor once."""
    tables: dict[str, list[Row]] = {name: [] for name in names}
    for rows in scenes:
        for name, more in rows.items():
            tables[name] += more
    tables["sensor"] = list({row["token"]: row for row in tables["sensor"]}.values())
    return tables


def write_json(folder: Path, tables: dict[str, list[Row]]) -> None:
    """A file for each table."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows, indent=0) + "\n")


def token(*words: object) -> str:
    """32 hex digits that belong to a name."""
    return sha256("/".join(map(str, words)).encode()).hexdigest()[:32]


def log_row(drive: str, seed: int) -> Row:
    """The log of a drive through the street of a seed."""
    return {
        "token": token(drive, "log"),
        "logfile": f"street-{seed}",
        "vehicle": "street",
        "date_captured": "2018-07-24",
        "location": "procedural street",
    }


def pose_fields(pose: Float[np.ndarray, "4 4"]) -> Row:
    """Translation in metres and rotation of a pose."""
    return {"translation": pose[:3, 3].tolist(), "rotation": quaternion(pose[:3, :3])}


def quaternion(rotation: Float[np.ndarray, "3 3"]) -> list[float]:
    """Unit quaternion (w, x, y, z) of a rotation.

    Each of the four rows below is the quaternion times four of its own components (Shepperd 1978); the longest is the
    most exact.
    """
    (a, b, c), (d, e, f), (g, h, i) = rotation.tolist()
    multiples = np.array(
        [
            [1 + a + e + i, h - f, c - g, d - b],
            [h - f, 1 + a - e - i, b + d, c + g],
            [c - g, b + d, 1 - a + e - i, f + h],
            [d - b, c + g, f + h, 1 - a - e + i],
        ]
    )
    lengths = np.linalg.norm(multiples, axis=1)
    best = int(lengths.argmax())
    return (multiples[best] / lengths[best]).tolist()


def chain(rows: list[Row]) -> None:
    """Link rows in the order of time."""
    for row, following in pairwise(rows):
        row["next"], following["prev"] = following["token"], row["token"]
