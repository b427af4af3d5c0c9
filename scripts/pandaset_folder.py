"""PandaSet's sequence 002 as a folder with cameras.json, which ovs3d-points index --dataset folder reads.

PandaSet (Hesai and Scale AI, 2020) has a spinning LiDAR, six cameras and labels of points; its sequence 002 in small:
lidar/NN.npz (xyz in the world, intensity, label), camera/<name>/NN.jpg, calibration_and_poses.json. Scans are moved
into the vehicle's frame (x right, y ahead, z up). Raw labels stay as they are; the map merges them, and ignores
Reflection (4), Other Static Object (42), and what is too rare or shapeless to count (smoke, exhaust, spray, animals,
rolling containers).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from scipy.spatial.transform import Rotation

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


@dataclass(frozen=True)
class PandasetFolder:
    """Write some of the frames, with six photos each; earlier frames among them are sweeps."""

    data: Path
    """Folder of the sequence."""
    out: Path
    """Folder to write into."""
    train: tuple[int, ...] = (0, 20, 40, 41)
    """Frames to train on."""
    val: tuple[int, ...] = (44, 45)
    """Frames to measure on."""

    def run(self) -> None:
        about = json.loads((self.data / "calibration_and_poses.json").read_text())
        frames = sorted(self.train + self.val)
        scans = {}
        for frame in frames:
            scan = about["lidar"][str(frame)]
            name = f"scans/{frame:02d}.npz"
            self._write_scan(name, frame, _pose(scan["pose"]))
            scans[name] = {
                "scene": f"002 {frame:02d}",
                "split": "train" if frame in self.train else "val",
                "time_s": scan["timestamp"],
                "world_from_scan": _pose(scan["pose"]).tolist(),
                "labels": name,
                "sweeps": [f"scans/{earlier:02d}.npz" for earlier in reversed(frames) if earlier < frame],
                "photos": [self._photo(camera, each, frame) for camera, each in about["cameras"].items()],
            }
        names = list(MERGED)
        label_map = {raw: names.index(name) for name, raws in MERGED.items() for raw in raws}
        top = {"classes": names, "label_map": label_map | dict.fromkeys(IGNORED, 255), "scans": scans}
        (self.out / "cameras.json").write_text(json.dumps(top))

    def _write_scan(self, name: str, frame: int, world_from_ego: np.ndarray) -> None:
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with np.load(self.data / "lidar" / f"{frame:02d}.npz", allow_pickle=False) as stored:
            xyz = (stored["xyz"] - world_from_ego[:3, 3]) @ world_from_ego[:3, :3]
            np.savez(path, xyz=xyz.astype(np.float32), intensity=stored["intensity"], label=stored["label"])

    def _photo(self, camera: str, about: dict, frame: int) -> dict:
        path = f"camera/{camera}/{frame:02d}.jpg"
        (self.out / path).parent.mkdir(parents=True, exist_ok=True)
        (self.out / path).write_bytes((self.data / path).read_bytes())
        fx, fy, cx, cy = (about["intrinsics"][key] for key in ("fx", "fy", "cx", "cy"))
        return {
            "name": camera,
            "path": path,
            "size": SIZE,
            "intrinsics": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]],
            "world_from_camera": _pose(about["poses"][str(frame)]).tolist(),
            "time_s": about["timestamps"][str(frame)],
        }


def _pose(pose: dict) -> np.ndarray:
    """4x4 of a position and a quaternion."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([pose["heading"][key] for key in "xyzw"]).as_matrix()
    matrix[:3, 3] = [pose["position"][key] for key in "xyz"]
    return matrix


if __name__ == "__main__":
    tyro.cli(PandasetFolder).run()
