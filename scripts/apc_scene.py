"""A scene of the APC vision toolbox, as nerfstudio's data parser and ovs3d read it.

Zeng et al., "Multi-view Self-supervised Deep Learning for 6D Pose Estimation in the Amazon Picking Challenge" (ICRA
2017), publish posed RGB-D views of shelf bins; github.com/andyzeng/apc-vision-toolbox has one with true masks under
data/sample. Views have two black pads in their top corners, and yellow tips below them, that are fixed to the camera;
they are masked out.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from ovs3d.eval.confusion import IGNORE
from ovs3d.geometry import opengl_from_opencv
from ovs3d.images import read_depth, read_grey, read_image, write_png

PADS = (
    (slice(0, 170), slice(0, 130)),
    (slice(0, 170), slice(510, None)),
    (slice(170, 250), slice(0, 40)),
    (slice(170, 250), slice(600, None)),
)
"""Rows and columns of the pads, and of the tips below them, in views of 640x480."""


@dataclass(frozen=True)
class ApcScene:
    """Write photos, masks, class ids and transforms.json."""

    data: Path
    """Folder with cam.info.txt, frame-*.color.png and segm/frame-*.segm.png."""
    out: Path
    """Folder of the scene."""
    classes: tuple[tuple[int, str], ...] = (
        (48, "pipe cleaners"),
        (114, "blue picture book"),
        (132, "teal tissue box"),
        (144, "red joke book"),
    )
    """Ids of segm/ and what they are called; other pixels have no class."""

    def run(self) -> None:
        info = (self.data / "cam.info.txt").read_text()
        intrinsics = _matrices(info, "Color camera intrinsic matrix")[0]
        poses = _matrices(info, "Camera-to-world extrinsic matrix")
        frames = []
        for photo, pose in zip(sorted(self.data.glob("frame-*.color.png")), poses, strict=True):
            name = photo.name.replace(".color", "")
            color = read_image(photo).numpy()
            ids = read_grey(self.data / "segm" / name.replace(".png", ".segm.png")).numpy()
            seen = np.full(color.shape[:2], 255, dtype=np.uint8)
            for pad in PADS:
                seen[pad] = 0
            labels = np.full_like(ids, IGNORE)
            for index, (number, _) in enumerate(self.classes):
                labels[(ids == number) & (seen > 0)] = index
            raw = read_depth(self.data / name.replace(".png", ".depth.png")).numpy().astype(np.uint16)
            tenths = (raw >> 3) | (raw << 13)  # stored with three bits turned
            depth = np.where(seen > 0, (tenths / 10).round(), 0).astype(np.uint16)
            pictures = {"images": color, "masks": seen, "segmentations": labels, "depth": depth}
            for folder, picture in pictures.items():
                write_png(self.out / folder / name, picture)
            frames.append(
                {
                    "depth_file_path": f"depth/{name}",
                    "file_path": f"images/{name}",
                    "mask_path": f"masks/{name}",
                    "transform_matrix": opengl_from_opencv(pose).tolist(),
                }
            )
        rows, columns = color.shape[:2]
        meta = {
            "camera_model": "OPENCV",
            "w": columns,
            "h": rows,
            "fl_x": intrinsics[0, 0],
            "fl_y": intrinsics[1, 1],
            "cx": intrinsics[0, 2],
            "cy": intrinsics[1, 2],
            "frames": frames,
        }
        (self.out / "transforms.json").write_text(json.dumps(meta, indent=2) + "\n")
        (self.out / "classes.txt").write_text("".join(f"{name}\n" for _, name in self.classes))


def _matrices(info: str, title: str) -> list[np.ndarray]:
    """The numbers under each heading that begins with a title."""
    blocks = re.findall(rf"# {re.escape(title)}[^\n]*\n((?:[^#\n]*\d[^\n]*\n)+)", info)
    return [np.array([[float(x) for x in line.split()] for line in block.splitlines()]) for block in blocks]


if __name__ == "__main__":
    tyro.cli(ApcScene).run()
