"""Files of raw class ids, one per point."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Num, UInt8

from ovs3d.errors import InputError
from pointcloud import point_files as files
from pointcloud.point_files import Columns, count_rows, reading


def read_labels(path: Path) -> Num[np.ndarray, " n"]:
    """Raw ids of a label file, one per point.

    Its suffix says what it holds: ``.bin`` a byte each, as in nuScenes; ``.label`` uint32 of which the lower 16 bits
    are the class and the upper ones an instance, as in SemanticKITTI; ``.npy`` whole numbers; ``.npz``, ``.ply`` and
    ``.pcd`` an array, a property or a field ``label``.

    Raises:
        InputError: no such file, cut off, without labels, or of another suffix.
    """
    if path.suffix not in _READERS:
        raise InputError(f"{path}: labels are read from {', '.join(_READERS)}, not from {path.suffix!r}")
    return _READERS[path.suffix](path)


def count_labels(path: Path) -> int:
    """Number of labels, by the size of the file where that says it.

    Raises:
        InputError: as ``read_labels``, where the file is read.
    """
    row_bytes = {".bin": 1, ".label": 4}.get(path.suffix)
    return len(read_labels(path)) if row_bytes is None else count_rows(path, row_bytes)


def class_ids(
    raw: Num[np.ndarray, " *n"], label_map: Mapping[int, int], path: Path
) -> UInt8[np.ndarray, " *n"]:
    """Class ids (255: ignore) of raw ids.

    Args:
        path: where the raw ids come from, for the message.

    Raises:
        InputError: a raw id that is not in the map.
    """
    ids, where = np.unique(raw, return_inverse=True)
    unknown = [f"{value:g}" for value in ids.tolist() if value not in label_map]
    if unknown:
        more = ", ..." if len(unknown) > 8 else ""
        raise InputError(
            f"{path}: raw ids {', '.join(unknown[:8])}{more} are neither of a class nor to be ignored: "
            "see the label map of the data set"
        )
    return np.array([label_map[value] for value in ids.tolist()], np.uint8)[where].reshape(raw.shape)


def _bytes(path: Path) -> np.ndarray:
    with reading(path, "labels"):
        return np.fromfile(path, np.uint8)


def _lower_halves(path: Path) -> np.ndarray:
    count_rows(path, 4)
    with reading(path, "labels"):
        return np.fromfile(path, "<u4") & 0xFFFF


def _array(path: Path) -> np.ndarray:
    with reading(path, "labels"):
        labels = np.load(path, allow_pickle=False)
        if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise InputError("expected one whole number per point")
        return labels


def _with_points(read: Callable[[Path], Columns], path: Path) -> np.ndarray:
    label = read(path).label
    if label is None:
        raise InputError(f"{path}: expected labels of its points, found none")
    return label


_READERS: Mapping[str, Callable[[Path], np.ndarray]] = {
    ".bin": _bytes,
    ".label": _lower_halves,
    ".npy": _array,
    ".npz": partial(_with_points, files.read_npz),
    ".ply": partial(_with_points, files.read_ply),
    ".pcd": partial(_with_points, files.read_pcd),
}
