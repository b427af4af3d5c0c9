"""``ovs3d-points infer``: any scan, any words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ovs3d.errors import InputError, check_range
from ovs3d.outputs.folder import usable_folder
from ovs3d.outputs.palette import label_colors
from ovs3d.outputs.ply import write_ply
from ovs3d.query import labels
from pointcloud.frame import ScanFile
from pointcloud.index import DataSet
from pointcloud.runs import load_run
from pointcloud.samples import sample
from pointcloud.scans import read_scan

if TYPE_CHECKING:
    from pointcloud.cli import Infer

_SUFFIXES = (".bin", ".npy", ".npz", ".ply", ".pcd")


def infer(command: Infer) -> None:
    """Write a PLY for each file of points.

    Raises:
        InputError: no file, or one that cannot be read; two files would get the same name, or one its own.
    """
    if command.threshold is not None:
        check_range("threshold", command.threshold, 0, 1)
    if command.intensity_max is not None and command.intensity_max <= 0:
        raise InputError(f"--intensity-max is above 0, not {command.intensity_max}")
    scans = [_scan_file(path, command.intensity_max) for path in point_files(command.points)]
    for scan in scans:
        if (out := _labelled(command.out, scan.path)).resolve() == scan.path.resolve():
            raise InputError(f"{out} is a scan to be labelled itself: write into another folder with --out")
    usable_folder(command.out)
    run = load_run(command.run_folder, command.device)
    vocabulary, embeddings = run.question(command.vocabulary())
    for file in scans:
        scan = read_scan(file, DataSet("files", file.path.parent, vocabulary.names, {}))
        batch = sample(scan, run.about.net).to(run.device)
        probability = run.logits(batch.points, vocabulary, embeddings).softmax(dim=1).cpu()
        found = labels(probability, len(vocabulary.distractors), command.threshold).numpy()
        colors = label_colors(found)
        out = _labelled(command.out, file.path)
        write_ply(out, scan.xyz, colors, found, probability.max(dim=1).values.numpy(), vocabulary.names)
        names = [vocabulary.names[i] for i in np.unique(found[found >= 0])]
        print(f"{out}: {len(found)} points, {', '.join(names) or 'no answer'}")


def point_files(given: tuple[Path, ...]) -> list[Path]:
    """The files that are named, and those in the folders that are named.

    Raises:
        InputError: there is none, one is missing, or two would be written to the same PLY.
    """
    files: list[Path] = []
    for path in given:
        if path.is_dir():
            files += sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES)
        elif path.exists():
            files.append(path)
        else:
            raise InputError(f"{path}: no such file of points")
    if not files:
        raise InputError(
            f"no points in {', '.join(map(str, given))} itself: expected files such as {', '.join(_SUFFIXES)}"
        )
    names = [_stem(path) for path in files]
    twice = [str(path) for path, name in zip(files, names, strict=True) if names.count(name) > 1]
    if twice:
        raise InputError(
            f"{', '.join(twice[:2])} would be written to the same file: label them one after the other"
        )
    return files


def _labelled(folder: Path, scan: Path) -> Path:
    """Where the labels of a file of points are written."""
    return folder / f"{_stem(scan)}.ply"


def _stem(path: Path) -> str:
    return path.name.removesuffix(path.suffix).removesuffix(".pcd")


def _scan_file(path: Path, intensity_max: float | None) -> ScanFile:
    """Formats by suffix: .pcd.bin is nuScenes', any other .bin KITTI's."""
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path}: expected a file of points, one of {', '.join(_SUFFIXES)}")
    binary = "nuscenes" if path.name.endswith(".pcd.bin") else "semantickitti"
    form = binary if path.suffix == ".bin" else path.suffix[1:]
    return ScanFile(path, form, np.eye(4), 0.0, intensity_max=intensity_max)
