"""ScanNet v2: meshes of rooms with labels per vertex, and the photos and depth they were made from.

    <root>/
        scannetv2_train.txt, scannetv2_val.txt, scannetv2_test.txt     scene ids, one a line
        scans/<scene>/                                                 or scans_test/<scene>/
            <scene>_vh_clean_2.ply, <scene>_vh_clean_2.labels.ply      vertices; property label: nyu40 ids
            color/<frame>.jpg, depth/<frame>.png, pose/<frame>.txt     exported from <scene>.sens
            intrinsic/intrinsic_color.txt, intrinsic_depth.txt
            label-filt/<frame>.png                                     raw ids (16 bits), if unpacked
        scannet_frames_25k/<scene>/                                    goes before exported photos; also in tasks/
            color/, depth/, pose/, label/<frame>.png                   label: nyu40 ids (8 bits)
            intrinsics_color.txt, intrinsics_depth.txt
        scannetv2-labels.combined.tsv                                  raw ids to nyu40 ids

A scene is one frame: the mesh, with all photos. Its world is the mesh's frame, z up. The lists of the splits come
from the benchmark (github.com/ScanNet/ScanNet, Tasks/Benchmark) and are not part of this package; without any of them
every scene is in split test, and that is said. ScanNet counts pixels from the centre of the first one (its depth
camera has cx = 319.5 of 640), so half a pixel is added to principal points. Depth is in millimetres.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ovs3d.errors import InputError
from ovs3d.geometry import Camera
from ovs3d.images import image_size
from ovs3d.prompts.vocabulary import builtin_vocabulary
from pointcloud.datasets import Say, expect_one_version
from pointcloud.datasets.scannet_labels import PhotoLabels
from pointcloud.frame import DepthFile, Frame, Photo, ScanFile
from pointcloud.index import IGNORE, DataSet

_NYU40_IDS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)
"""Of each class of the benchmark."""
_SPLITS = ("train", "val", "test")


def open_dataset(root: Path, version: str = "") -> DataSet:
    """The 20 classes of the benchmark; raw ids are nyu40 ids.

    Raises:
        InputError: a version was named.
    """
    expect_one_version("scannet", version)
    label_map = dict.fromkeys(range(41), IGNORE) | {nyu40: i for i, nyu40 in enumerate(_NYU40_IDS)}
    return DataSet("scannet", root, builtin_vocabulary("scannet20").names, label_map)


def frames(root: Path, version: str, say: Say) -> Iterator[Frame]:
    """Every scene, sorted, with all photos whose pose is known.

    Masks of photos are written once, as class ids, to ``<root>/.ovs3d/scannet-1/<scene>/<frame>.png``.

    Raises:
        InputError: a version was named, or there is no scene.
    """
    label_map = open_dataset(root, version).label_map
    scenes, photo_labels = scene_folders(root), PhotoLabels(root, label_map, say)
    splits = _splits(root, scenes, say)
    for scene, folder in scenes.items():
        if scene not in splits:
            say(f"{folder}: in none of the lists scannetv2_*.txt; it is left out")
            continue
        mesh, labels = folder / f"{scene}_vh_clean_2.ply", folder / f"{scene}_vh_clean_2.labels.ply"
        if not mesh.exists():
            say(f"{mesh}: no such file; the scene is left out")
            continue
        if not labels.exists() and splits[scene] != "test":
            say(f"{labels}: no such file; the scene has no labels")
        scan = ScanFile(mesh, "scannet", np.eye(4), 0.0, labels if labels.exists() else None)
        photos = tuple(_photos(root, folder, photo_labels, say))
        yield Frame(scene, scene, splits[scene], scan, photos=photos)


def scene_folders(root: Path) -> dict[str, Path]:
    """Folder of each scene, by its id, sorted.

    Raises:
        InputError: there is none.
    """
    found = sorted(path for name in ("scans", "scans_test") for path in (root / name).glob("scene*_*"))
    if not found:
        raise InputError(f"{root}: expected scans/scene0000_00 and the like, found none: name ScanNet's root")
    return {path.name: path for path in found if path.is_dir()}


def _splits(root: Path, scenes: dict[str, Path], say: Say) -> dict[str, str]:
    """Split of each scene that is in a list."""
    splits: dict[str, str] = {}
    for split in _SPLITS:
        path = root / f"scannetv2_{split}.txt"
        if path.exists():
            listed = path.read_text().split()
            missing = [scene for scene in listed if scene not in scenes]
            if missing:
                say(f"{path}: {len(missing)} of {len(listed)} scenes are not there: {', '.join(missing)}")
            splits |= dict.fromkeys(listed, split)
    if splits:
        return splits
    say(f"{root / 'scannetv2_train.txt'}, _val and _test: no such lists; every scene is in split test")
    return dict.fromkeys(scenes, "test")


def photo_folder(root: Path, scene_folder: Path) -> Path | None:
    """Where the photos of a scene lie: among the 25,000 key frames, else exported beside the mesh."""
    scene = scene_folder.name
    folders = (
        root / "scannet_frames_25k" / scene,
        root / "tasks" / "scannet_frames_25k" / scene,
        scene_folder,
    )
    return next((folder for folder in folders if (folder / "color").is_dir()), None)


def _photos(root: Path, scene_folder: Path, labels: PhotoLabels, say: Say) -> Iterator[Photo]:
    folder = photo_folder(root, scene_folder)
    if folder is None:
        sens = scene_folder / f"{scene_folder.name}.sens"
        cure = "export them with --sens-every 20" if sens.exists() else "no scannet_frames_25k, no .sens"
        say(f"{scene_folder / 'color'}: no photos ({cure})")
        return
    try:
        intrinsics = {kind: _intrinsics(folder, kind) for kind in ("color", "depth")}
    except InputError as error:
        say(f"{error}; photos of {scene_folder.name} are left out")
        return
    unplaced = 0
    paths = (path for suffix in ("jpg", "png") for path in (folder / "color").glob(f"*.{suffix}"))
    for path in sorted(paths, key=lambda path: (len(path.stem), path.stem)):  # 20 goes before 100
        try:
            pose = _matrix(folder / "pose" / f"{path.stem}.txt")
            size = image_size(path)
        except InputError as error:
            say(f"{error}; the photo is left out")
            continue
        if not np.isfinite(pose).all():
            unplaced += 1
            continue
        depth = folder / "depth" / f"{path.stem}.png"
        if not depth.exists():
            say(f"{depth}: no such file; the photo has no depth")
        yield Photo(
            name=path.stem,
            path=path,
            camera=Camera(intrinsics["color"], pose, *size),
            depth=DepthFile(depth, intrinsics["depth"]) if depth.exists() else None,
            labels=labels.of(folder, scene_folder.name, path.stem, *size),
        )
    if unplaced:
        say(f"{folder / 'pose'}: {unplaced} poses are not finite; their photos are left out")


def _intrinsics(folder: Path, kind: str) -> Float[np.ndarray, "3 3"]:
    """Of ``color`` or ``depth``, in either spelling, with the principal point from the image's corner."""
    spellings = [folder / f"intrinsics_{kind}.txt", folder / "intrinsic" / f"intrinsic_{kind}.txt"]
    path = next((path for path in spellings if path.exists()), spellings[0])
    matrix = _matrix(path)[:3, :3].copy()
    skew = abs(matrix[0, 1]) + abs(matrix[1, 0]) + np.abs(matrix[2] - [0, 0, 1]).sum()
    if not (np.isfinite(matrix).all() and min(matrix[0, 0], matrix[1, 1]) > 0 and skew < 1e-6):
        raise InputError(f"{path}: expected rows fx 0 cx, 0 fy cy, 0 0 1 of a pinhole camera")
    matrix[:2, 2] += 0.5
    return matrix


def _matrix(path: Path) -> Float[np.ndarray, "4 4"]:
    try:
        matrix = np.loadtxt(path, ndmin=2)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as numbers ({error})") from error
    if matrix.shape != (4, 4):
        raise InputError(f"{path}: expected 4 lines of 4 numbers, found {matrix.shape}")
    return matrix
