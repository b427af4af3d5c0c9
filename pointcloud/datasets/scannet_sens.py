"""ScanNet's recordings: one ``.sens`` file of all photos, depth images and poses of a walk, version 4.

The layout, little-endian: version (uint32), name (uint64 length, bytes), four 4x4 float32 matrices (colour intrinsics,
colour extrinsics, depth intrinsics, depth extrinsics), codecs of colour and depth (int32), width and height of colour
and of depth (uint32), steps of depth in a metre (float32), number of frames (uint64); per frame world_from_camera
(4x4 float32), times of colour and depth (uint64), sizes of both (uint64), and their bytes. Source: ScanNet's
SensReader.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float, UInt16
from PIL import Image

from ovs3d.atomic import atomic_file
from ovs3d.errors import InputError

_VERSION = 4
_MOST = 1 << 28
"""Bytes of an image; what a damaged file says is more."""
_COLOUR, _DEPTH = {1: "png", 2: "jpg"}, {0: "raw", 1: "zlib"}


@dataclass(frozen=True, eq=False)
class SensHeader:
    """What all frames of a recording share."""

    intrinsics_color: Float[np.ndarray, "4 4"]
    intrinsics_depth: Float[np.ndarray, "4 4"]
    """As ScanNet counts pixels: from the centre of the first one."""
    colour_suffix: str
    depth_codec: str
    depth_size: tuple[int, int]
    """Height, width."""
    depth_steps: float
    """In a metre."""
    n: int
    """Frames."""


@dataclass(frozen=True, eq=False)
class SensFrame:
    """One frame of a recording."""

    index: int
    world_from_camera: Float[np.ndarray, "4 4"]
    """Not finite where the camera was lost."""
    colour: bytes
    """An image file."""
    depth_mm: UInt16[np.ndarray, "h w"]
    """z-depth in millimetres, 0 where unknown."""


def export_sens(path: Path, folder: Path, every: int) -> int:
    """Write each ``every``-th frame as ScanNet's exporter does; returns their number. The file is streamed.

    Writes ``color/<index>.jpg``, ``depth/<index>.png`` (uint16, mm), ``pose/<index>.txt`` and, last of all, so that
    they tell a whole export, ``intrinsic/intrinsic_color.txt`` and ``intrinsic_depth.txt``.

    Raises:
        InputError: no such file, cut off, or of another version or codec; or ``every`` is not positive.
    """
    if every < 1:
        raise InputError(f"every {every}-th frame cannot be exported; use 1 for all, 20 for a few")
    count = 0
    try:
        with open(path, "rb") as file:
            header = read_header(file)
            for frame in read_frames(file, header, every):
                _write_frame(folder, frame, header.colour_suffix)
                count += 1
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    for kind, matrix in (("color", header.intrinsics_color), ("depth", header.intrinsics_depth)):
        _write_matrix(folder / "intrinsic" / f"intrinsic_{kind}.txt", matrix)
    return count


def is_exported(folder: Path) -> bool:
    """Whether a whole export lies in a scene's folder."""
    return (folder / "intrinsic" / "intrinsic_depth.txt").exists()


def read_header(file: BinaryIO) -> SensHeader:
    """What stands before the frames.

    Raises:
        InputError: another version or codec, or cut off.
    """
    (version,) = _numbers(file, "I")
    if version != _VERSION:
        raise InputError(f"expected a .sens file of version {_VERSION}, found {version}")
    (length,) = _numbers(file, "Q")
    file.seek(length, os.SEEK_CUR)  # the name of the sensor
    matrices = [np.array(_numbers(file, "16f"), float).reshape(4, 4) for _ in range(4)]
    colour, depth, _, _, width, height = _numbers(file, "iiIIII")
    steps, n = _numbers(file, "fQ")
    if colour not in _COLOUR or depth not in _DEPTH or not steps > 0:
        raise InputError(
            f"expected PNG or JPEG colour, raw or zlib depth and positive steps of it, "
            f"found codecs {colour} and {depth}, {steps} steps"
        )
    return SensHeader(matrices[0], matrices[2], _COLOUR[colour], _DEPTH[depth], (height, width), steps, n)


def read_frames(file: BinaryIO, header: SensHeader, every: int) -> Iterator[SensFrame]:
    """Each ``every``-th frame from the first one on; bytes of the others are skipped.

    Raises:
        InputError: the file ends before the last frame, or depth is not what the header says.
    """
    for index in range(header.n):
        pose = np.array(_numbers(file, "16f", index), float).reshape(4, 4)
        _, _, colour_size, depth_size = _numbers(file, "4Q", index)
        if index % every:
            file.seek(min(colour_size + depth_size, _MOST), os.SEEK_CUR)
            continue
        colour = _exactly(file, colour_size, index)
        yield SensFrame(index, pose, colour, _depth_mm(_exactly(file, depth_size, index), header, index))


def _depth_mm(data: bytes, header: SensHeader, index: int) -> UInt16[np.ndarray, "h w"]:
    height, width = header.depth_size
    try:
        steps = np.frombuffer(zlib.decompress(data) if header.depth_codec == "zlib" else data, "<u2")
        steps = steps.reshape(height, width)
    except (zlib.error, ValueError) as error:
        raise InputError(f"depth of frame {index} is not {height} x {width} numbers ({error})") from error
    return np.minimum(np.rint(steps * (1000.0 / header.depth_steps)), 65535).astype(np.uint16)


def _write_frame(folder: Path, frame: SensFrame, suffix: str) -> None:
    for name in ("color", "depth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / "color" / f"{frame.index}.{suffix}") as file:
        file.write(frame.colour)
    with atomic_file(folder / "depth" / f"{frame.index}.png") as file:
        Image.fromarray(frame.depth_mm).save(file, format="PNG")
    _write_matrix(folder / "pose" / f"{frame.index}.txt", frame.world_from_camera)


def _write_matrix(path: Path, matrix: Float[np.ndarray, "4 4"]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        np.savetxt(file, matrix, fmt="%.9g")


def _numbers(file: BinaryIO, kinds: str, index: int | None = None) -> tuple:
    kinds = f"<{kinds}"
    return struct.unpack(kinds, _exactly(file, struct.calcsize(kinds), index))


def _exactly(file: BinaryIO, size: int, index: int | None) -> bytes:
    data = file.read(min(size, _MOST))
    if len(data) < size:
        where = "its header" if index is None else f"frame {index}"
        raise InputError(f"it ends within {where}: fetch it again")
    return data
