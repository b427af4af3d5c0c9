"""Labelled point clouds as binary PLY, which MeshLab, CloudCompare and Blender open."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer, UInt8

from ovs3d.atomic import atomic_file

_PLY_TYPES = {"<f4": "float", "|u1": "uchar", "<i4": "int"}


def write_ply(
    path: Path,
    xyz: Float[np.ndarray, "n 3"],
    rgb: UInt8[np.ndarray, "n 3"] | None = None,
    labels: Integer[np.ndarray, " n"] | None = None,
    scores: Float[np.ndarray, " n"] | None = None,
    names: Sequence[str] = (),
) -> None:
    """Write points with, where given, a colour, a class id (-1: no answer) and a score each.

    Args:
        xyz: metres, any frame.
        names: of the classes, written as comments of the header.

    Raises:
        ValueError: a coordinate is not finite.
    """
    if not np.isfinite(xyz).all():
        raise ValueError(f"{int((~np.isfinite(xyz)).any(axis=1).sum())} of {len(xyz)} points are not finite")
    columns = {name: xyz[:, i].astype("<f4") for i, name in enumerate("xyz")}
    if rgb is not None:
        columns |= {name: rgb[:, i] for i, name in enumerate(("red", "green", "blue"))}
    if labels is not None:
        columns["label"] = labels.astype("<i4")
    if scores is not None:
        columns["score"] = scores.astype("<f4")
    vertices = np.empty(len(xyz), dtype=[(name, column.dtype.str) for name, column in columns.items()])
    for name, column in columns.items():
        vertices[name] = column
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(_header(vertices, names).encode())
        file.write(vertices.tobytes())


def _header(vertices: np.ndarray, names: Sequence[str]) -> str:
    comments = [f"comment class {i} {' '.join(name.split())}" for i, name in enumerate(names)]
    types = [(name, vertices.dtype[name].str) for name in vertices.dtype.names or ()]
    properties = [f"property {_PLY_TYPES[kind]} {name}" for name, kind in types]
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        *comments,
        f"element vertex {len(vertices)}",
        *properties,
    ]
    return "\n".join([*lines, "end_header", ""])
