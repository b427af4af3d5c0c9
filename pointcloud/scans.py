"""From files to scans: every format that a frame of an index may name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Num, UInt8

from ovs3d.errors import InputError
from pointcloud import point_files as files
from pointcloud.frame import Scan, ScanFile
from pointcloud.index import DataSet
from pointcloud.label_files import class_ids, read_labels
from pointcloud.point_files import Columns, reading

_REACH_M = 1e5
"""Farther out than this float32 has steps of a centimetre."""


@dataclass(frozen=True)
class Format:
    """How points are stored."""

    read: Callable[[Path], Columns]
    count: Callable[[Path], int]
    """Number of points without reading them, where the format allows it; raises what ``read`` would of the size."""
    intensity_max: float = 1.0
    """What the strongest return is in such files."""
    drops: bool = False
    """Points that are not finite are no returns, and left out."""


def _binary(columns: int, intensity_max: float = 1.0) -> Format:
    return Format(
        partial(files.read_bin, columns=columns), partial(files.count_bin, columns=columns), intensity_max
    )


FORMATS: Mapping[str, Format] = {
    "nuscenes": _binary(5, intensity_max=255.0),
    "semantickitti": _binary(4),
    "scannet": Format(files.read_ply, files.count_ply),
    "bin3": _binary(3),
    "bin4": _binary(4),
    "bin5": _binary(5),
    "npy": Format(files.read_npy, files.count_npy),
    "npz": Format(files.read_npz, files.count_npz),
    "ply": Format(files.read_ply, files.count_ply),
    "pcd": Format(files.read_pcd, files.count_pcd, drops=True),
}
"""By the name in ``ScanFile.format``."""


def read_scan(file: ScanFile, dataset: DataSet) -> Scan:
    """A scan of a data set, checked.

    In formats where a point that is not finite means "no return" (pcd) such points are left out, with their labels;
    in all others they are an error. The order of the points is the file's.

    Raises:
        InputError: the file is missing, cut off or without points, holds numbers that are not finite, too large for
            float32, or intensities outside 0..1, or its labels are of another length or unknown to the data set.
    """
    form = format_of(file)
    columns = form.read(file.path)
    labels = None if file.labels is None else _labels(file, columns, dataset.label_map)
    with reading(file.path, "points"):
        kept = _finite(columns.xyz, form.drops)
        return Scan(
            xyz=columns.xyz[kept].astype(np.float32),
            world_from_scan=file.world_from_scan,
            time_s=file.time_s,
            intensity=None if columns.intensity is None else _intensity(columns.intensity[kept], file),
            rgb=None if columns.rgb is None else _colours(columns.rgb[kept]),
            labels=None if labels is None else labels[kept],
        )


def format_of(file: ScanFile) -> Format:
    """How a file's points are stored.

    Raises:
        InputError: the format is unknown.
    """
    if file.format not in FORMATS:
        raise InputError(f"{file.path}: format {file.format!r} is not one of {', '.join(FORMATS)}")
    return FORMATS[file.format]


def _finite(xyz: Num[np.ndarray, "n 3"], drops: bool) -> slice | np.ndarray:
    """Which points are used."""
    finite = np.isfinite(xyz).all(axis=1)
    if not finite.any() if drops else len(xyz) == 0:
        raise InputError("no points")
    if not drops and not finite.all():
        raise InputError(
            f"{int((~finite).sum())} of {len(xyz)} points are not finite: take them out, with their labels"
        )
    reach = np.abs(xyz[finite]).max()
    if reach > _REACH_M:
        raise InputError(
            f"coordinates up to {reach:.4g} m, where float32 knows no centimetres: subtract an offset from them "
            "and put it into the pose"
        )
    return slice(None) if finite.all() else finite


def _intensity(values: Num[np.ndarray, " n"], file: ScanFile) -> Float[np.ndarray, " n"]:
    """0..1, by what the file, its type or its format says is the strongest return."""
    of_type = 255.0 if values.dtype == np.uint8 else format_of(file).intensity_max
    scaled = values.astype(np.float32) / np.float32(file.intensity_max or of_type)
    if not (scaled.min() >= 0 and scaled.max() <= 1):  # NaN is neither
        raise InputError(
            f"intensities from {values.min():.4g} to {values.max():.4g}, expected 0 to "
            f"{file.intensity_max or of_type:.4g}: another format, or say intensity_max"
        )
    return scaled


def _colours(values: Num[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    if not (values.min() >= 0 and values.max() <= 255 and (values == np.floor(values)).all()):
        raise InputError(
            f"colours from {values.min():.4g} to {values.max():.4g}, expected whole numbers from 0 to 255"
        )
    return values.astype(np.uint8)


def _labels(file: ScanFile, columns: Columns, label_map: Mapping[int, int]) -> UInt8[np.ndarray, " n"]:
    assert file.labels is not None
    within = columns.label if file.labels == file.path else None
    raw = read_labels(file.labels) if within is None else within
    if len(raw) != len(columns.xyz):
        raise InputError(f"{file.labels}: {len(raw)} labels for the {len(columns.xyz)} points of {file.path}")
    return class_ids(raw, label_map, file.labels)
