"""Point files as columns: raw float32, npy, npz, ply and pcd, as they are stored.

Nothing in a file is executed: arrays of Python objects are refused.
"""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num

from ovs3d.errors import InputError
from ovs3d.require import require
from pointcloud.pcd import read_pcd_fields

_FLOAT_BYTES = 4


@dataclass(frozen=True, eq=False)
class Columns:
    """What a point file holds, row by row, before anything is scaled, mapped or dropped."""

    xyz: Num[np.ndarray, "n 3"]
    intensity: Num[np.ndarray, " n"] | None = None
    rgb: Num[np.ndarray, "n 3"] | None = None
    label: Num[np.ndarray, " n"] | None = None


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn what goes wrong while a file is read into one line that names it.

    Raises:
        InputError: no such file, or one that does not hold what it should.
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as {what} ({error}); replace it") from error


def count_rows(path: Path, row_bytes: int) -> int:
    """Number of rows of a file of nothing but rows, by its size.

    Raises:
        InputError: no such file, or one that ends within a row.
    """
    with reading(path, "points"):
        size = path.stat().st_size
        if size % row_bytes:
            raise InputError(
                f"{size} bytes are no multiple of {row_bytes} per point: it is cut off, or of another format"
            )
    return size // row_bytes


def read_bin(path: Path, columns: int) -> Columns:
    """Little-endian float32, ``columns`` per point: x, y, z, then intensity, then what is not read.

    Raises:
        InputError: no such file, or one that ends within a point.
    """
    count_rows(path, _FLOAT_BYTES * columns)
    with reading(path, "points"):
        rows = np.fromfile(path, "<f4").reshape(-1, columns)
    return Columns(rows[:, :3], rows[:, 3] if columns > 3 else None)


def count_bin(path: Path, columns: int) -> int:
    """Number of points of such a file, by its size."""
    return count_rows(path, _FLOAT_BYTES * columns)


def read_npy(path: Path) -> Columns:
    """An array of n rows: x, y, z (3 columns), then intensity (4), then a fifth that is not read; or r, g, b (6).

    Raises:
        InputError: no such file, or no such array.
    """
    with reading(path, "an array of points"):
        rows = np.load(path, allow_pickle=False)
        if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] not in (3, 4, 5, 6):
            raise InputError(
                f"expected rows of 3 (xyz), 4 or 5 (xyz, intensity) or 6 (xyz, rgb) numbers, found {_shape(rows)}"
            )
        intensity = rows[:, 3] if rows.shape[1] in (4, 5) else None
        return Columns(rows[:, :3], intensity, rows[:, 3:] if rows.shape[1] == 6 else None)


def count_npy(path: Path) -> int:
    """Number of points by the header; the file must be as long as that says."""
    with reading(path, "an array of points"):
        return len(np.load(path, allow_pickle=False, mmap_mode="r"))


def read_npz(path: Path) -> Columns:
    """Arrays ``xyz`` and, where there are such, ``intensity``, ``rgb``, ``label``; others are not read.

    Raises:
        InputError: no such file, no ``xyz``, or arrays of different lengths.
    """
    with reading(path, "points"), np.load(path, allow_pickle=False) as arrays:
        if "xyz" not in arrays.files:
            raise InputError(f"expected an array 'xyz', found {', '.join(arrays.files) or 'nothing'}")
        found = {name: arrays[name] for name in ("xyz", "intensity", "rgb", "label") if name in arrays.files}
        return _columns(found)


def count_npz(path: Path) -> int:
    """Number of points by the header of ``xyz``, without unpacking it."""
    with reading(path, "points"), zipfile.ZipFile(path) as archive, archive.open("xyz.npy") as member:
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        return read[np.lib.format.read_magic(member)](member)[0][0]


def read_ply(path: Path) -> Columns:
    """Vertices of an ASCII or binary PLY: x, y, z and, where there are such, intensity, red, green, blue, label.

    Other properties and elements are not read. A prefix ``scalar_`` (CloudCompare's) does not count.

    Raises:
        InputError: no such file, cut off, or without vertices.
    """
    with reading(path, "PLY"):
        vertices = _ply_vertices(path)
        return _named({_plain(name): vertices[name] for name in vertices.dtype.names or ()})


def count_ply(path: Path) -> int:
    """Number of vertices; binary files must be as long as their header says."""
    with reading(path, "PLY"):
        return len(_ply_vertices(path))


def _ply_vertices(path: Path) -> np.ndarray:
    """Vertices, mapped rather than read where the file allows it."""
    plyfile = require("plyfile", "points")
    triangles = {"face": dict.fromkeys(("vertex_indices", "vertex_index"), 3)}
    try:
        try:
            content = plyfile.PlyData.read(str(path), known_list_len=triangles)
        except plyfile.PlyElementParseError:  # faces that are no triangles take the slow way
            content = plyfile.PlyData.read(str(path))
    except plyfile.PlyParseError as error:
        raise ValueError(error) from error
    if "vertex" not in content:
        raise InputError(f"expected vertices, found {', '.join(each.name for each in content) or 'nothing'}")
    return content["vertex"].data


def read_pcd(path: Path) -> Columns:
    """Fields of a PCD: x, y, z and, where there are such, intensity, rgb or rgba (packed), label.

    Raises:
        InputError: no such file, cut off, or not what its header says.
    """
    with reading(path, "PCD"):
        fields = {name.lower(): values for name, values in read_pcd_fields(path).items()}
        packed = fields.pop("rgb", fields.pop("rgba", None))
        if packed is not None:
            bits = np.ascontiguousarray(packed).view(np.uint32)
            fields |= {name: bits >> shift & 255 for name, shift in (("red", 16), ("green", 8), ("blue", 0))}
        return _named(fields)


def count_pcd(path: Path) -> int:
    """Number of points, those without a return among them."""
    return len(read_pcd(path).xyz)


def _named(fields: Mapping[str, np.ndarray]) -> Columns:
    """Columns from one array per property."""
    if not {"x", "y", "z"} <= set(fields):
        raise InputError(f"expected fields x, y, z, found {', '.join(fields) or 'nothing'}")
    found = {name: fields[name] for name in ("intensity", "label") if name in fields}
    found["xyz"] = np.stack([fields[name] for name in "xyz"], axis=1)
    if {"red", "green", "blue"} <= set(fields):
        found["rgb"] = np.stack([fields[name] for name in ("red", "green", "blue")], axis=1)
    return _columns(found)


def _columns(found: dict[str, np.ndarray]) -> Columns:
    for name, array in found.items():
        wide = name in ("xyz", "rgb")
        if array.dtype.kind not in "iuf" or array.ndim != 1 + wide or (wide and array.shape[1] != 3):
            raise InputError(f"expected {name} as {'n x 3' if wide else 'n'} numbers, found {_shape(array)}")
        if len(array) != len(found["xyz"]):
            raise InputError(f"{len(array)} values of {name} for {len(found['xyz'])} points")
    return Columns(**found)


def _plain(name: str) -> str:
    return name.lower().removeprefix("scalar_")


def _shape(array: Any) -> str:
    return f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
