"""Predicted labels in the files that benchmarks take."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ovs3d.atomic import atomic_file
from ovs3d.errors import InputError
from pointcloud.evaluate import Answer
from pointcloud.frame import Frame
from pointcloud.index import Index


def writer(index: Index, out: Path, split: str) -> Callable[[Answer], None]:
    """A function that writes the labels of one scan.

    nuScenes: ``lidarseg/<split>/<token>_lidarseg.bin``, uint8 from 1. SemanticKITTI:
    ``sequences/<sequence>/predictions/<scan>.label``, uint32 raw ids. All others: ``predictions/<frame>.npy``, int16
    class ids, -1 where there is no answer.

    Raises:
        InputError: a benchmark that wants an answer for each point got none for some.
    """
    name = index.dataset.name

    def write(answer: Answer) -> None:
        frame, labels = index[answer.position], answer.prediction.numpy()
        if name == "nuscenes":
            _complete(labels, frame)
            path = out / "lidarseg" / _devkit_split(frame, split) / f"{_token(frame)}_lidarseg.bin"
            _save(path, (labels + 1).astype(np.uint8))
        elif name == "semantickitti":
            _complete(labels, frame)
            raw = np.array(
                [_raw(index, class_id) for class_id in range(len(index.dataset.classes))], np.uint32
            )
            assert frame.scan is not None
            folder = out / "sequences" / frame.scan.path.parent.parent.name / "predictions"
            _save(folder / f"{frame.scan.path.stem}.label", raw[labels])
        else:
            (out / "predictions").mkdir(parents=True, exist_ok=True)
            with atomic_file(out / "predictions" / f"{frame.name}.npy") as file:
                np.save(file, labels.astype(np.int16))

    return write


def _complete(labels: np.ndarray, frame: Frame) -> None:
    if (labels < 0).any():
        raise InputError(
            f"{frame.name}: {(labels < 0).sum()} points without an answer, but this benchmark wants a class for each: "
            "ask without distractors"
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
    """The sample data of a nuScenes scan, which names its label file."""
    assert frame.scan is not None
    if frame.scan.labels is None:
        raise InputError(f"{frame.name} has no label file, whose name says what its prediction is called")
    return frame.scan.labels.name.removesuffix("_lidarseg.bin")


def _raw(index: Index, class_id: int) -> int:
    """The smallest raw id of a class."""
    return min(raw for raw, mapped in index.dataset.label_map.items() if mapped == class_id)


def _save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(values.tobytes())
