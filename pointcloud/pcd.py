"""PCD, the format of the Point Cloud Library: ASCII, binary and compressed by LZF.

Written here, because readers of the format need either a large package or a compiler to install. The format:
https://pointclouds.org/documentation/tutorials/pcd_file_format.html; the compression: LibLZF by Marc Lehmann.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np

from ovs3d.errors import InputError

_HEADER = ("VERSION", "FIELDS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT", "POINTS", "DATA")
_KINDS = {"F": "f", "U": "u", "I": "i"}


def read_pcd_fields(path: Path) -> dict[str, np.ndarray]:
    """Each field of a PCD file; points without a return are NaN, as stored.

    Raises:
        InputError: not a PCD, or shorter than its header says.
    """
    with open(path, "rb") as file:
        header = _read_header(file)
        row = _row(header)
        n = (
            int(header["POINTS"][0])
            if "POINTS" in header
            else _size(header, "WIDTH") * _size(header, "HEIGHT")
        )
        data = header["DATA"][0]
        if data == "ascii":
            return _ascii(file, row, n)
        if data == "binary":
            return _split(np.frombuffer(_exactly(file, n * row.itemsize), row))
        if data == "binary_compressed":
            return _compressed(file, row, n)
    raise InputError(f"expected DATA ascii, binary or binary_compressed, found {data!r}")


def _read_header(file: BinaryIO) -> dict[str, list[str]]:
    header: dict[str, list[str]] = {}
    while "DATA" not in header:
        line = file.readline(4096)
        key, *values = line.decode("ascii", "replace").split("#")[0].split() or [""]
        if not line or (key and (key not in _HEADER or not values)):
            raise InputError(f"expected a PCD header up to a line DATA, found {line[:40]!r}")
        if key:
            header[key] = values
    return header


def _size(header: dict[str, list[str]], key: str) -> int:
    if key not in header:
        raise InputError(f"a PCD header without {key}")
    return int(header[key][0])


def _row(header: dict[str, list[str]]) -> np.dtype:
    """One point in memory. Padding is called ``_``, any number of times, so fields get their position as a name."""
    columns = [header.get(key, []) for key in ("FIELDS", "SIZE", "TYPE")]
    columns.append(header.get("COUNT", ["1"] * len(columns[0])))
    if not columns[0] or len({len(column) for column in columns}) > 1:
        raise InputError("a PCD header whose FIELDS, SIZE, TYPE and COUNT do not match")
    fields = []
    for position, (name, size, kind, count) in enumerate(zip(*columns, strict=True)):
        if kind not in _KINDS:
            raise InputError(f"expected TYPE F, U or I, found {kind!r}")
        shape = () if int(count) == 1 else (int(count),)
        fields.append((f"_{position}" if name == "_" else name, f"<{_KINDS[kind]}{size}", shape))
    return np.dtype(fields)


def _split(rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: rows[name] for name in rows.dtype.names or ()}


def _ascii(file: BinaryIO, row: np.dtype, n: int) -> dict[str, np.ndarray]:
    lines = [line for line in file.read().decode("ascii", "replace").splitlines() if line.strip()]
    if len(lines) != n:
        raise InputError(f"{len(lines)} lines of points, where the header says {n}")
    return _split(np.loadtxt(lines, row, ndmin=1) if n else np.empty(0, row))


def _compressed(file: BinaryIO, row: np.dtype, n: int) -> dict[str, np.ndarray]:
    """Field after field, all points of each, compressed as one."""
    packed, unpacked = np.frombuffer(_exactly(file, 8), "<u4").tolist()
    if unpacked != n * row.itemsize:
        raise InputError(f"{unpacked} bytes of points, where the header says {n} x {row.itemsize}")
    data, start, fields = unpack_lzf(_exactly(file, packed), unpacked), 0, {}
    for name in row.names or ():
        fields[name] = np.frombuffer(data, row[name], n, start)
        start += n * row[name].itemsize
    return fields


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise InputError(f"{len(data)} bytes of points, where the header says {size}: it is cut off")
    return data


def unpack_lzf(packed: bytes, size: int) -> bytes:
    """What LZF made smaller; ``size`` bytes.

    A control byte below 32 goes before as many literal bytes and one more. Above, its upper three bits are a length
    (7: the next byte adds to it), its lower five with the next byte how far back the same bytes stood.

    Raises:
        InputError: it does not unpack to as many bytes.
    """
    out, at = bytearray(), 0
    while at < len(packed) and len(out) <= size:
        control, at = packed[at], at + 1
        if control < 32:
            out += packed[at : at + control + 1]
            at += control + 1
            continue
        length = (control >> 5) + 2
        following = packed[at : at + 2]
        if control >> 5 == 7 and len(following) == 2:
            length, at, following = length + following[0], at + 1, following[1:]
        if not following:
            raise InputError("compressed points that end within a block")
        back, at = ((control & 31) << 8) + following[0] + 1, at + 1
        if back > len(out):
            raise InputError("compressed points that refer to before their start")
        start = len(out) - back
        run = out[start : start + length]
        out += (run * (length // len(run) + 1))[:length]  # it may overlap what it makes
    if len(out) != size:
        raise InputError(f"compressed points unpack to {len(out)} bytes, where the header says {size}")
    return bytes(out)
