"""Predicted labels in the files that benchmarks take."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt32
from PIL import Image

from ovs3d.atomic import atomic_file
from ovs3d.errors import InputError
from ovs3d.geometry import Camera
from ovs3d.outputs.palette import label_colors
from pointcloud.evaluate import Answer
from pointcloud.frame import Frame
from pointcloud.index import IGNORE, Index


def writer(index: Index, out: Path, split: str) -> Callable[[Answer], None]:
    """A function that writes the labels of one scan, or of one photo.

    nuScenes: ``lidarseg/<split>/<token>_lidarseg.bin``, uint8 from 1. SemanticKITTI:
    ``sequences/<sequence>/predictions/<scan>.label``, uint32 raw ids. ScanNet: ``predictions/<scene>.txt``, a nyu40 id
    per line, 0 where there is no answer. All others: ``predictions/<frame>.npy``, int16 class ids, -1 where there is no
    answer. Photos of all: ``predictions/<frame>/<photo>.png``, class ids in colours of a palette, 255 where there is no
    answer.

    Raises:
        InputError: a benchmark that wants an answer for each point got none for some.
    """
    name = index.dataset.name

    def write(answer: Answer) -> None:
        frame, labels = index[answer.position], answer.prediction.numpy()
        if answer.photo is not None:
            name_of_photo = answer.photo.name.removesuffix(answer.photo.path.suffix)
            path = out / "predictions" / frame.name / f"{name_of_photo}.png"
            _save(path, _label_map(labels, answer.photo.camera))
        elif name == "nuscenes":
            _complete(labels, frame)
            path = out / "lidarseg" / _devkit_split(frame, split) / f"{_token(frame)}_lidarseg.bin"
            _save(path, (labels + 1).astype(np.uint8).tobytes())
        elif name == "semantickitti":
            _complete(labels, frame)
            raw = _raw_ids(index)
            assert frame.scan is not None
            folder = out / "sequences" / frame.scan.path.parent.parent.name / "predictions"
            _save(folder / f"{frame.scan.path.stem}.label", raw[labels].tobytes())
        elif name == "scannet":
            found = np.append(_raw_ids(index), 0)[labels]  # the last row is of -1
            text = "".join(f"{raw}\n" for raw in found)
            _save(out / "predictions" / f"{frame.name}.txt", text.encode())
        else:
            (out / "predictions").mkdir(parents=True, exist_ok=True)
            with atomic_file(out / "predictions" / f"{frame.name}.npy") as file:
                np.save(file, labels.astype(np.int16))

    return write


def _label_map(labels: np.ndarray, camera: Camera) -> bytes:
    """The bytes of a PNG of class ids with a palette."""
    ids = np.where(labels < 0, IGNORE, labels).astype(np.uint8)
    image = Image.fromarray(ids.reshape(camera.height, camera.width))
    image.putpalette(label_colors(np.arange(IGNORE + 1)).flatten().tolist())
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _complete(labels: np.ndarray, frame: Frame) -> None:
    if (labels < 0).any():
        raise InputError(
            f"{frame.name}: {(labels < 0).sum()} points without an answer, but this benchmark wants a class for each: "
            "ask without distractors, and a run: CLIP alone has none where no photo shows a point"
        )


def _devkit_split(frame: Frame, split: str) -> str:
    """The name of the split that the devkit scores: those of v1.0-mini are called mini_train and mini_val."""
    mini = (
        frame.scan is not None
        and frame.scan.labels is not None
        and frame.scan.labels.parent.name == "v1.0-mini"
    )
    return f"mini_{split}" if mini else split


def _token(frame: Frame) -> str:
    """The sample data of a nuScenes scan, by which its prediction is called."""
    if not frame.token:
        raise InputError(
            f"the index does not say what the prediction of {frame.name} is called: make it again"
        )
    return frame.token


def _raw_ids(index: Index) -> UInt32[np.ndarray, " k"]:
    """The smallest raw id of each class."""
    mapped = index.dataset.label_map.items()
    ids = [
        min(raw for raw, each in mapped if each == class_id) for class_id in range(len(index.dataset.classes))
    ]
    return np.array(ids, np.uint32)


def _save(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(content)
