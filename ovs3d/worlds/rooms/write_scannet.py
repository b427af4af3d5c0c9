"""Room worlds in the layout of ScanNet v2 (Dai et al. 2017). The same seed gives the same bytes.

``scans/<id>/`` holds the mesh with colours, with labels, its segments and their aggregation. Photos are there in one
of ScanNet's three ways: ``scannet_frames_25k/<id>/``, ``scans/<id>/<id>.sens``, or the files that its exporter of
``.sens`` writes into ``scans/<id>/``. As in ScanNet a pixel's centre has whole coordinates in the intrinsics of
files, and a frame whose pose is not known has one of -inf.
"""

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8, UInt16
from PIL import Image

from ovs3d.outputs.palette import label_colors
from ovs3d.worlds.rooms.labels import label_table
from ovs3d.worlds.rooms.mesh import Mesh, scan
from ovs3d.worlds.rooms.room import RoomWorld, make_room
from ovs3d.worlds.rooms.views import Shot, Sizes, walk

Layout = Literal["25k", "sens", "exported"]

_MESH, _SEGMENTS = "_vh_clean_2", "_vh_clean_2.0.010000.segs.json"
_VERTEX = [(axis, "<f4") for axis in "xyz"] + [(name, "u1") for name in ("red", "green", "blue", "alpha")]
_PLY_TYPES = {"<f4": "float", "u1": "uchar", "<u2": "ushort"}
_SENS_VERSION, _JPEG, _ZLIB_USHORT, _DEPTH_SHIFT = 4, 2, 1, 1000.0
_FRAME_US = 1_000_000


@dataclass(frozen=True)
class RoomSettings:
    """How a room is scanned and written."""

    layout: Layout
    n_frames: int
    sizes: Sizes
    spacing_m: float


def write_root(root: Path, train: Sequence[str], val: Sequence[str]) -> None:
    """What all scenes share: the lists of splits, the table of labels, and which weights suit."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "ovs3d.yaml").write_text("weights: mini\n")
    (root / "scannetv2-labels.combined.tsv").write_text(label_table())
    for split, scenes in (("train", train), ("val", val)):
        (root / f"scannetv2_{split}.txt").write_text("".join(f"{scene}\n" for scene in scenes))


def write_room(root: Path, scene_id: str, seed: int, settings: RoomSettings) -> str:
    """Make, scan and write the room of a seed; returns its kind."""
    world = make_room(seed)
    shots = walk(world, settings.n_frames, settings.sizes)
    folder = root / "scans" / scene_id
    folder.mkdir(parents=True)
    write_mesh(folder, scene_id, world, scan(world, shots, settings.spacing_m))
    if settings.layout == "25k":
        write_frames_25k(root / "scannet_frames_25k" / scene_id, world, shots)
    elif settings.layout == "sens":
        write_sens(folder / f"{scene_id}.sens", shots)
    else:
        write_exported(folder, shots)
    return world.kind


def write_mesh(folder: Path, scene_id: str, world: RoomWorld, mesh: Mesh) -> None:
    """``_vh_clean_2.ply``, ``.labels.ply`` (NYU40 ids), segments (one per piece of a thing), ``.aggregation.json``."""
    labels = world.nyu40[mesh.things].astype(np.uint16)
    _write_ply(folder / f"{scene_id}{_MESH}.ply", mesh, mesh.rgb)
    _write_ply(folder / f"{scene_id}{_MESH}.labels.ply", mesh, label_colors(labels), labels)
    segments = {"params": {}, "sceneId": scene_id, "segIndices": mesh.parts.tolist()}
    (folder / f"{scene_id}{_SEGMENTS}").write_text(json.dumps(segments) + "\n")
    groups = []
    for index, thing in enumerate(world.things):
        parts = np.unique(mesh.parts[mesh.things == index]).tolist()
        if parts and thing.nyu40:
            number = len(groups)
            groups.append({"id": number, "objectId": number, "segments": parts, "label": thing.category})
    aggregation = {
        "sceneId": f"scannet.{scene_id}",
        "appId": "Aggregator.v2",
        "segGroups": groups,
        "segmentsFile": f"scannet.{scene_id}{_SEGMENTS}",
    }
    (folder / f"{scene_id}.aggregation.json").write_text(json.dumps(aggregation) + "\n")


def write_frames_25k(folder: Path, world: RoomWorld, shots: Sequence[Shot]) -> None:
    """``color/ depth/ pose/ label/ instance/``, a frame in a hundred, and ``intrinsics_*.txt``.

    ``label`` holds NYU40 ids in 8 bits, ``instance`` 1000 times that and a number within the class in 16, both at
    the size of the colour image; 0 is not annotated.
    """
    _start(folder, "color", "depth", "pose", "label", "instance")
    instances = _instance_ids(world)
    for index, shot in enumerate(shots):
        name = f"{100 * index:06d}"
        (folder / "color" / f"{name}.jpg").write_bytes(_jpeg(shot))
        Image.fromarray(_millimetres(shot)).save(folder / "depth" / f"{name}.png")
        (folder / "pose" / f"{name}.txt").write_text(_matrix_text(_pose(shot)))
        Image.fromarray(world.nyu40[shot.view.labels]).save(folder / "label" / f"{name}.png")
        Image.fromarray(instances[shot.view.labels]).save(folder / "instance" / f"{name}.png")
    for kind, matrix in _intrinsics(shots[0]).items():
        (folder / f"intrinsics_{kind}.txt").write_text(_matrix_text(matrix))


def write_exported(folder: Path, shots: Sequence[Shot]) -> None:
    """``color/N.jpg depth/N.png pose/N.txt`` and ``intrinsic/{in,ex}trinsic_{color,depth}.txt``."""
    _start(folder, "color", "depth", "pose", "intrinsic")
    for index, shot in enumerate(shots):
        (folder / "color" / f"{index}.jpg").write_bytes(_jpeg(shot))
        Image.fromarray(_millimetres(shot)).save(folder / "depth" / f"{index}.png")
        (folder / "pose" / f"{index}.txt").write_text(_matrix_text(_pose(shot)))
    for kind, matrix in _intrinsics(shots[0]).items():
        (folder / "intrinsic" / f"intrinsic_{kind}.txt").write_text(_matrix_text(matrix))
        (folder / "intrinsic" / f"extrinsic_{kind}.txt").write_text(_matrix_text(np.eye(4)))


def write_sens(path: Path, shots: Sequence[Shot]) -> None:
    """ScanNet's stream of frames, version 4: JPEG colour, depth as zlib of 16 bits per pixel, a frame a second."""
    first, name = shots[0], b"StructureSensor"
    with path.open("wb") as file:
        file.write(struct.pack("<IQ", _SENS_VERSION, len(name)) + name)
        for matrix in _intrinsics(first).values():
            file.write(matrix.astype("<f4").tobytes() + np.eye(4, dtype="<f4").tobytes())
        file.write(struct.pack("<ii", _JPEG, _ZLIB_USHORT))
        for camera in (first.camera, first.depth_camera):
            file.write(struct.pack("<II", camera.width, camera.height))
        file.write(struct.pack("<fQ", _DEPTH_SHIFT, len(shots)))
        for index, shot in enumerate(shots):
            color, depth = _jpeg(shot), zlib.compress(_millimetres(shot).astype("<u2").tobytes())
            file.write(_pose(shot).astype("<f4").tobytes())
            file.write(struct.pack("<4Q", index * _FRAME_US, index * _FRAME_US, len(color), len(depth)))
            file.write(color + depth)


def _write_ply(
    path: Path, mesh: Mesh, rgb: UInt8[np.ndarray, "n 3"], labels: UInt16[np.ndarray, " n"] | None = None
) -> None:
    """Binary, little endian; vertices with a label where one is given, and triangles."""
    kind = _VERTEX + ([] if labels is None else [("label", "<u2")])
    vertices = np.zeros(len(mesh.xyz), kind)
    for axis, name in enumerate("xyz"):
        vertices[name] = mesh.xyz[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        vertices[name] = rgb[:, channel]
    vertices["alpha"] = 255
    if labels is not None:
        vertices["label"] = labels
    faces = np.zeros(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property {_PLY_TYPES[type_name]} {name}" for name, type_name in kind]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    path.write_bytes("\n".join(lines).encode() + vertices.tobytes() + faces.tobytes())


def _start(folder: Path, *subfolders: str) -> None:
    for name in subfolders:
        (folder / name).mkdir(parents=True)


def _instance_ids(world: RoomWorld) -> UInt16[np.ndarray, " 256"]:
    """1000 times the NYU40 id of each label, and which thing of its class it is, from 1; 0: not annotated."""
    table, count = np.zeros(256, np.uint16), dict.fromkeys(range(41), 0)
    for index, thing in enumerate(world.things):
        if thing.nyu40:
            count[thing.nyu40] += 1
            table[index] = 1000 * thing.nyu40 + count[thing.nyu40]
    return table


def _jpeg(shot: Shot) -> bytes:
    buffer = BytesIO()
    Image.fromarray(shot.view.rgb).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _millimetres(shot: Shot) -> UInt16[np.ndarray, "h w"]:
    return (shot.depth * 1000 + 0.5).astype(np.uint16)


def _pose(shot: Shot) -> Float[np.ndarray, "4 4"]:
    """Camera to world, OpenCV axes, as ScanNet has it."""
    return shot.camera.world_from_camera if shot.tracked else np.full((4, 4), -np.inf)


def _intrinsics(shot: Shot) -> dict[str, Float[np.ndarray, "4 4"]]:
    """Of both cameras, 4x4, in the convention of the files."""
    matrices = {}
    for kind, camera in (("color", shot.camera), ("depth", shot.depth_camera)):
        matrices[kind] = np.eye(4)
        matrices[kind][:3, :3] = camera.intrinsics
        matrices[kind][:2, 2] -= 0.5
    return matrices


def _matrix_text(matrix: Float[np.ndarray, "4 4"]) -> str:
    return "".join(" ".join(f"{value:.9g}" for value in row) + "\n" for row in matrix)
