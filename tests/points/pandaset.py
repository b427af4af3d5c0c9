"""PandaSet's sequence 002 as a folder with cameras.json: a converter for tests on real data.

Scans are moved from the world into the vehicle's frame (x right, y ahead, z up). Raw labels stay as they are; the
map merges them, and ignores Reflection (4), Other Static Object (42), and what is too rare or shapeless to count
(smoke, exhaust, spray, animals, rolling containers).
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "pandaset_002"
MERGED = {
    "car": (13, 14),
    "other vehicle": (15, 16, 17, 19, 20, 22, 23, 27, 28, 29),
    "pedestrian": (30, 31),
    "two-wheeler": (18, 21, 24, 25, 26),
    "road": (7, 8, 9, 10, 12),
    "sidewalk": (11,),
    "terrain": (6,),
    "vegetation": (5,),
    "building": (41,),
    "sign or barrier": (34, 35, 36, 37, 38, 39),
}
IGNORED = (1, 2, 3, 4, 32, 33, 40, 42)
SIZE = (180, 320)


def write_folder(out: Path, frames: Sequence[int]) -> None:
    """Some of the frames, with six photos each; earlier frames among them are sweeps."""
    about = json.loads((DATA / "calibration_and_poses.json").read_text())
    scans = {}
    for frame in frames:
        scan = about["lidar"][str(frame)]
        name = f"scans/{frame:02d}.npz"
        _write_scan(out / name, frame, pose_of(scan["pose"]))
        scans[name] = {
            "scene": "002",
            "time_s": scan["timestamp"],
            "world_from_scan": pose_of(scan["pose"]).tolist(),
            "labels": name,
            "sweeps": [
                f"scans/{earlier:02d}.npz" for earlier in sorted(frames, reverse=True) if earlier < frame
            ],
            "photos": [_photo(out, camera, each, frame) for camera, each in about["cameras"].items()],
        }
    names = list(MERGED)
    label_map = {raw: names.index(name) for name, raws in MERGED.items() for raw in raws} | dict.fromkeys(
        IGNORED, 255
    )
    top = {"classes": names, "label_map": label_map, "split": "val", "scans": scans}
    (out / "cameras.json").write_text(json.dumps(top))


def pose_of(pose: dict) -> np.ndarray:
    """4x4 of a position and a quaternion."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([pose["heading"][key] for key in "xyzw"]).as_matrix()
    matrix[:3, 3] = [pose["position"][key] for key in "xyz"]
    return matrix


def _write_scan(path: Path, frame: int, world_from_ego: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with np.load(DATA / "lidar" / f"{frame:02d}.npz", allow_pickle=False) as stored:
        xyz = (stored["xyz"] - world_from_ego[:3, 3]) @ world_from_ego[:3, :3]
        np.savez(path, xyz=xyz.astype(np.float32), intensity=stored["intensity"], label=stored["label"])


def _photo(out: Path, camera: str, about: dict, frame: int) -> dict:
    path = f"camera/{camera}/{frame:02d}.jpg"
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    (out / path).write_bytes((DATA / path).read_bytes())
    fx, fy, cx, cy = (about["intrinsics"][key] for key in ("fx", "fy", "cx", "cy"))
    return {
        "name": camera,
        "path": path,
        "size": SIZE,
        "intrinsics": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]],
        "world_from_camera": pose_of(about["poses"][str(frame)]).tolist(),
        "time_s": about["timestamps"][str(frame)],
    }
