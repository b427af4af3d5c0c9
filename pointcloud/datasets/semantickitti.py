"""SemanticKITTI: labelled scans of KITTI's odometry sequences, with the left colour camera.

    <root>/[dataset/]sequences/<00 to 21>/
        velodyne/<000000>.bin     x, y, z, remission
        labels/<000000>.label     raw ids; sequences 00 to 10
        calib.txt                 P2: pixels of image_2 from camera 0; Tr: camera 0 from the LiDAR
        poses.txt, times.txt      camera 0 in the first one's frame; seconds
        image_2/<000000>.png      colour photos (KITTI odometry, a download of its own)

A scene is a sequence. Its world is the LiDAR's frame at the first scan: x ahead, y left, z up. KITTI counts pixels
from the centre of the first one, so half a pixel is added to its principal point. Classes, splits and the map of raw
ids are the single-scan benchmark's (Behley et al., ICCV 2019; semantic-kitti.yaml).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ovs3d.errors import InputError
from ovs3d.geometry import Camera
from ovs3d.images import image_size
from ovs3d.prompts.vocabulary import builtin_vocabulary
from pointcloud.datasets import Say, existing, expect_one_version
from pointcloud.frame import Frame, Photo, ScanFile
from pointcloud.index import IGNORE, DataSet

_SPLITS = {"val": (8,), "test": tuple(range(11, 22))}
# fmt: off
_RAW_IDS = (
    (10, 252), (11,), (15,), (18, 258), (13, 16, 20, 256, 257, 259), (30, 254), (31, 253), (32, 255), (40, 60), (44,),
    (48,), (49,), (50,), (51,), (70,), (71,), (72,), (80,), (81,),
)
# fmt: on
"""Of each class; those above 250 move."""
_IGNORED = (0, 1, 52, 99)
_SWEEPS = 9


def open_dataset(root: Path, version: str = "") -> DataSet:
    """The 19 classes of the benchmark.

    Raises:
        InputError: a version was named.
    """
    expect_one_version("semantickitti", version)
    label_map = {raw: class_id for class_id, raws in enumerate(_RAW_IDS) for raw in raws}
    classes = builtin_vocabulary("semantickitti19").names
    return DataSet("semantickitti", root, classes, label_map | dict.fromkeys(_IGNORED, IGNORE))


def frames(root: Path, version: str, say: Say) -> Iterator[Frame]:
    """Every scan of every sequence, in order, with up to nine earlier ones.

    Without poses.txt each scan has a world of its own, and no earlier scans; that is said, as are missing files.

    Raises:
        InputError: a version was named, or there is no sequence.
    """
    expect_one_version("semantickitti", version)
    folder = existing([root / "sequences", root / "dataset" / "sequences"], "the folder sequences")
    sequences = sorted(path for path in folder.iterdir() if path.is_dir() and path.name.isdecimal())
    if not sequences:
        raise InputError(f"{folder}: expected folders 00 to 21, found none")
    for sequence in sequences:
        yield from _sequence(sequence, say)


def _sequence(folder: Path, say: Say) -> Iterator[Frame]:
    scans = sorted((folder / "velodyne").glob("*.bin"))
    if not scans:
        say(f"{folder / 'velodyne'}: no scans")
        return
    poses = _poses(folder, say)
    files = _scan_files(folder, scans, poses, say)
    calibration = _calibration_of_photos(folder, say)
    for position, file in enumerate(files):
        earlier = [] if poses is None else files[max(0, position - _SWEEPS) : position][::-1]
        yield Frame(
            name=f"{folder.name}_{file.path.stem}",
            scene=folder.name,
            split=_split(folder.name),
            scan=file,
            sweeps=tuple(_unlabelled(each) for each in earlier),
            photos=() if calibration is None else _photos(folder, file, calibration, say),
        )


def _split(sequence: str) -> str:
    return next((split for split, numbers in _SPLITS.items() if int(sequence) in numbers), "train")


def _unlabelled(file: ScanFile) -> ScanFile:
    return ScanFile(file.path, file.format, file.world_from_scan, file.time_s)


def _scan_files(folder: Path, scans: list[Path], poses: np.ndarray | None, say: Say) -> list[ScanFile]:
    """All scans of a sequence whose number has a pose and a time, where there are such at all."""
    times = _times(folder, say)
    annotated = (folder / "labels").is_dir()
    if not annotated and _split(folder.name) != "test":
        say(f"{folder / 'labels'}: no such folder; scans of this sequence have no labels")
    files = []
    for path in scans:
        labels = folder / "labels" / f"{path.stem}.label"
        try:
            pose = np.eye(4) if poses is None else poses[int(path.stem)]
            time_s = 0.0 if times is None else float(times[int(path.stem)])
        except (IndexError, ValueError):
            say(f"{path}: no line of poses.txt or times.txt for it; it is left out")
            continue
        if annotated and not labels.exists():
            say(f"{labels}: no such file; the scan has no labels")
        files.append(ScanFile(path, "semantickitti", pose, time_s, labels if labels.exists() else None))
    return files


def _poses(folder: Path, say: Say) -> Float[np.ndarray, "n 4 4"] | None:
    """world_from_scan of each scan."""
    try:
        rows = _rows(folder / "poses.txt", 12)
        camera_from_scan = read_calibration(folder / "calib.txt").camera0_from_scan
    except InputError as error:
        say(f"{error}; each scan of the sequence has a world of its own, and no earlier scans")
        return None
    camera0_poses = np.tile(np.eye(4), (len(rows), 1, 1))
    camera0_poses[:, :3] = rows.reshape(-1, 3, 4)
    return np.linalg.inv(camera_from_scan) @ camera0_poses @ camera_from_scan


def _times(folder: Path, say: Say) -> Float[np.ndarray, " n"] | None:
    try:
        return _rows(folder / "times.txt", 1)[:, 0]
    except InputError as error:
        say(f"{error}; scans of the sequence have no time")
        return None


def _rows(path: Path, columns: int) -> Float[np.ndarray, "n c"]:
    try:
        rows = np.loadtxt(path, ndmin=2)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as numbers ({error})") from error
    if rows.shape[1:] != (columns,) or not np.isfinite(rows).all():
        raise InputError(f"{path}: expected lines of {columns} finite numbers")
    return rows


@dataclass(frozen=True, eq=False)
class Calibration:
    """Where the left colour camera sits, and how it sees."""

    intrinsics: Float[np.ndarray, "3 3"]
    """Pixels from camera 2, principal point from the image's corner."""
    camera0_from_scan: Float[np.ndarray, "4 4"]
    camera2_from_scan: Float[np.ndarray, "4 4"]


def read_calibration(path: Path) -> Calibration:
    """A calib.txt of KITTI odometry: lines ``P2:`` and ``Tr:`` of 12 numbers each, metres and pixels.

    P2 = K [I | t] tells intrinsics K and shift t of camera 2 from camera 0, whose frame is rectified.

    Raises:
        InputError: no such file, or lines that are not so.
    """
    try:
        lines = [line.split(":", 1) for line in path.read_text().splitlines() if ":" in line]
        found = {key.strip(): np.array(values.split(), float) for key, values in lines}
        p2, tr = found["P2"].reshape(3, 4), found["Tr"].reshape(3, 4)
        shift = np.linalg.solve(p2[:, :3], p2[:, 3])
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, np.linalg.LinAlgError) as error:
        raise InputError(f"{path}: expected lines P2: and Tr: of 12 numbers each ({error})") from error
    intrinsics = p2[:, :3].copy()
    intrinsics[:2, 2] += 0.5
    camera0_from_scan, camera2_from_camera0 = np.eye(4), np.eye(4)
    camera0_from_scan[:3], camera2_from_camera0[:3, 3] = tr, shift
    return Calibration(intrinsics, camera0_from_scan, camera2_from_camera0 @ camera0_from_scan)


def _calibration_of_photos(folder: Path, say: Say) -> Calibration | None:
    """None where a sequence has no photos that can be used."""
    if not (folder / "image_2").is_dir():
        say(f"{folder / 'image_2'}: no such folder (KITTI odometry, colour); the sequence has no photos")
        return None
    try:
        return read_calibration(folder / "calib.txt")
    except InputError as error:
        say(f"{error}; photos of the sequence are left out")
        return None


def _photos(folder: Path, file: ScanFile, calibration: Calibration, say: Say) -> tuple[Photo, ...]:
    """The photo of a scan; the LiDAR passes the front at the moment the shutter opens."""
    path = folder / "image_2" / f"{file.path.stem}.png"
    try:
        size = image_size(path)
    except InputError as error:
        say(str(error))
        return ()
    world_from_camera = file.world_from_scan @ np.linalg.inv(calibration.camera2_from_scan)
    return (Photo("image_2", path, Camera(calibration.intrinsics, world_from_camera, *size), file.time_s),)
