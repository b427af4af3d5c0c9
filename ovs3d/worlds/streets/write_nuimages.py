"""Street worlds in nuImages' format, as its devkit reads it: photos with a mask for each thing and surface.

Fields and file layout: the schema of nuImages v1.0. Each photo of a frame is a sample of its own; photos are without
distortion. Tokens are hashes of names, so the same worlds give the same bytes.
"""

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from ovs3d.geometry import Camera, camera_from_pixel, pixel_centres
from ovs3d.require import require
from ovs3d.worlds.streets.kinds import KINDS, NUSCENES_CATEGORIES
from ovs3d.worlds.streets.street import Moment, photo
from ovs3d.worlds.streets.tables import Row, chain, gathered, log_row, pose_fields, token, write_json
from ovs3d.worlds.streets.write_nuscenes import Drive

TABLES = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "log",
    "object_ann",
    "sample",
    "sample_data",
    "sensor",
    "surface_ann",
)
SURFACES = ("flat.driveable_surface", "vehicle.ego")
CATEGORIES = (
    *(
        name
        for name in NUSCENES_CATEGORIES
        if name.split(".")[0] in ("animal", "human", "movable_object", "vehicle", "static_object")
        and name not in SURFACES
    ),
    *SURFACES,
)
"""Names of nuImages; nothing else has masks."""
_LEAST_PIXELS = 20
"""Of the mask of a thing."""


def write_photos(root: Path, drive: Drive) -> dict[str, list[Row]]:
    """Write the photos of a street; returns its rows of each table."""
    rows: dict[str, list[Row]] = {name: [] for name in TABLES}
    rows["log"].append(log_row(drive.name, drive.world.seed))
    for camera in drive.rig.cameras:
        rows["sensor"].append({"token": token(camera.name), "channel": camera.name, "modality": "camera"})
        rows["calibrated_sensor"].append(
            {
                "token": token(drive.name, camera.name),
                "sensor_token": token(camera.name),
                **pose_fields(camera.ego_from_camera),
                "camera_intrinsic": camera.intrinsics.tolist(),
                "camera_distortion": [0.0] * 5,
            }
        )
    for frame in range(drive.frames):
        for camera in drive.rig.cameras:
            at_s = frame * drive.interval_s + camera.delay_s
            moment, pose = drive.world.at(at_s), camera.at(drive.world.world_from_ego(at_s))
            row = _sample(drive, rows, camera.name, at_s)
            row |= {"height": pose.height, "width": pose.width}
            rows["sample_data"].append(row)
            path = root / row["filename"]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo(moment, pose)).save(path, quality=92)
            for number, (category, mask) in enumerate(_masks(drive, moment, pose)):
                _annotate(rows, row["token"], number, category, mask)
    for camera in drive.rig.cameras:
        mine = token(drive.name, camera.name)
        chain([row for row in rows["sample_data"] if row["calibrated_sensor_token"] == mine])
    return rows


def write_tables(root: Path, version: str, streets: Iterable[dict[str, list[Row]]]) -> None:
    """Write the tables of a version from the rows of its streets."""
    tables = gathered(TABLES, streets)
    tables["category"] = [{"token": token(name), "name": name, "description": ""} for name in CATEGORIES]
    write_json(root / version, tables)


def _sample(drive: Drive, rows: dict[str, list[Row]], channel: str, time_s: float) -> Row:
    """The row of a photo, whose sample and pose are added to their tables."""
    stamp = drive.microseconds(time_s)
    data = token(drive.name, channel, stamp)
    rows["sample"].append(
        {
            "token": token(data, "sample"),
            "timestamp": stamp,
            "log_token": token(drive.name, "log"),
            "key_camera_token": data,
        }
    )
    pose = drive.global_from_world @ drive.world.world_from_ego(time_s)
    rows["ego_pose"].append(
        {
            "token": data,
            "timestamp": stamp,
            **pose_fields(pose),
            "rotation_rate": [0.0] * 3,
            "acceleration": [0.0] * 3,
            "speed": drive.world.ego_mps,
        }
    )
    return {
        "token": data,
        "sample_token": token(data, "sample"),
        "ego_pose_token": data,
        "calibrated_sensor_token": token(drive.name, channel),
        "timestamp": stamp,
        "fileformat": "jpg",
        "is_key_frame": True,
        "filename": f"samples/{channel}/{drive.name}__{channel}__{stamp}.jpg",
        "prev": "",
        "next": "",
    }


def _masks(drive: Drive, moment: Moment, camera: Camera) -> Iterator[tuple[str, Bool[np.ndarray, "h w"]]]:
    """What each thing and each surface covers, and its category."""
    size = camera.height, camera.width
    rays = camera_from_pixel(camera.intrinsics, pixel_centres(*size).reshape(-1, 2))
    directions = (rays @ camera.world_from_camera[:3, :3].T).astype(np.float32)
    face = moment.scene.cast(camera.position, directions)["primID"]
    category = np.array([kind.nuscenes for kind in KINDS])[moment.scene.classes[face]]
    category[face < 0] = ""
    thing = np.where(face < 0, -1, moment.thing_of_part[moment.scene.parts[face]])
    for name in SURFACES:
        if (category == name).any():
            yield name, (category == name).reshape(size)
    for index in np.unique(thing[thing >= 0]).tolist():
        name = drive.world.things[index].category
        mask = (thing == index) & (category == name)
        if name in CATEGORIES and mask.sum() >= _LEAST_PIXELS:
            yield name, mask.reshape(size)


def _annotate(
    rows: dict[str, list[Row]], photo: str, number: int, category: str, mask: Bool[np.ndarray, "h w"]
) -> None:
    encoded = require("pycocotools.mask", "points").encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = base64.b64encode(encoded["counts"]).decode()
    row = {
        "token": token(photo, number),
        "sample_data_token": photo,
        "category_token": token(category),
        "mask": {"size": list(mask.shape), "counts": counts},
    }
    if category in SURFACES:
        rows["surface_ann"].append(row)
        return
    (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis=axis))[[0, -1]].tolist() for axis in (1, 0))
    rows["object_ann"].append(row | {"attribute_tokens": [], "bbox": [left, top, right + 1, bottom + 1]})
