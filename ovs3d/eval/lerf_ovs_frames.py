"""Annotations of LERF-OVS: one JSON file a frame, with the entries that the annotation tool ISAT writes.

``info`` holds ``name`` (of the photo), ``width`` and ``height``; ``objects`` is a list of instances with ``category``
(the prompt), ``segmentation`` (a polygon, [[x, y], ...]) and ``bbox`` ([x1, y1, x2, y2]). As in LangSplat's
``evaluate_iou_loc.py``, vertices are cut to whole pixels, the outline of a polygon belongs to it, both corners of a box
are inside, and the instances of one category are one mask with several boxes.

LangSplat finds the rendered map of a frame by the number in its name, as a position in the list of training views; here
a frame belongs to the photo of the same stem.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ovs3d.errors import InputError
from ovs3d.images import image_size


@dataclass(frozen=True, eq=False)
class Annotation:
    """Where a prompt is in a frame."""

    mask: Bool[Tensor, "h w"]
    boxes: Int[Tensor, "b 4"]
    """One per instance: top, left, bottom, right; half-open, in pixels."""


@dataclass(frozen=True, eq=False)
class Frame:
    """An annotated photo."""

    name: str
    """Stem of the photo's file."""
    size: tuple[int, int]
    """(height, width)."""
    prompts: Mapping[str, Annotation]


def read_frames(folder: Path) -> list[Frame]:
    """The annotated frames of a scene, from the JSON files of a folder, sorted by their names.

    Raises:
        InputError: no such files; one that is not JSON or lacks an entry; a polygon with less than 3 vertices or
            outside the image; two files about one photo.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InputError(f"no annotations in {folder}: expected files such as frame_00001.json")
    read: dict[str, Path] = {}
    frames = []
    for path in files:
        frame = _read_frame(path)
        if frame.name in read:
            raise InputError(f"{path} is about {frame.name}, as {read[frame.name]} is: remove one of them")
        read[frame.name] = path
        frames.append(frame)
    return frames


def photos_of_frames(frames: Sequence[Frame], photos: Sequence[Path]) -> list[Path]:
    """The photo of each frame, found by its stem.

    Raises:
        InputError: a frame without a photo or with two, or a photo of another size.
    """
    return [_photo_of(frame, [path for path in photos if path.stem == frame.name]) for frame in frames]


def _photo_of(frame: Frame, found: list[Path]) -> Path:
    if len(found) != 1:
        names = ", ".join(map(str, found)) or "none"
        raise InputError(f"expected one photo named {frame.name} for the annotation of it, found {names}")
    (photo,) = found
    size = image_size(photo)
    if size != frame.size:
        raise InputError(
            f"{photo} has {size[0]} x {size[1]} pixels (h x w), its annotation {frame.size[0]} x {frame.size[1]}"
        )
    return photo


def _read_frame(path: Path) -> Frame:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        info = content["info"]
        size = _size(info)
        annotations: dict[str, Annotation] = {}
        for instance in content["objects"]:
            annotation = _annotation(instance, size)
            before = annotations.get(instance["category"])
            annotations[instance["category"]] = _joined(before, annotation) if before else annotation
        return Frame(Path(info["name"]).stem, size, annotations)
    except KeyError as error:
        raise InputError(f"{path}: there is no entry {error}") from error
    except TypeError as error:
        raise InputError(
            f"{path}: expected an entry `info` and a list `objects`, as ISAT writes them"
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error


def _size(info: Mapping[str, Any]) -> tuple[int, int]:
    height, width = info["height"], info["width"]
    if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
        raise InputError(f"expected height and width in pixels, got {height!r} and {width!r}")
    return height, width


def _annotation(instance: Mapping[str, Any], size: tuple[int, int]) -> Annotation:
    prompt = instance["category"]
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(f"a category must be a word, got {prompt!r}")
    polygon = _numbers(instance["segmentation"], f"the polygon of {prompt!r}")
    if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
        raise InputError(f"the polygon of {prompt!r} needs at least 3 vertices [x, y]")
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [polygon.astype(np.int32)], (1,))
    if not mask.any():
        raise InputError(f"the polygon of {prompt!r} lies outside the image")
    box = _numbers(instance["bbox"], f"the box of {prompt!r}")
    if box.shape != (4,):
        raise InputError(f"the box of {prompt!r} must be [x1, y1, x2, y2], got {instance['bbox']!r}")
    return Annotation(torch.from_numpy(mask).bool(), _half_open(box)[None])


def _numbers(values: Any, name: str) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{name} must hold numbers, as many for each vertex") from error
    if not (np.abs(array) < 1e6).all():  # nor is NaN
        raise InputError(f"{name} holds a number that is no position in an image")
    return array


def _half_open(box: np.ndarray) -> Int[Tensor, "4"]:
    """The pixels at whole positions between two corners, both of them included."""
    (left, right), (top, bottom) = sorted(box[::2]), sorted(box[1::2])
    return torch.tensor([math.ceil(top), math.ceil(left), math.floor(bottom) + 1, math.floor(right) + 1])


def _joined(one: Annotation, other: Annotation) -> Annotation:
    return Annotation(one.mask | other.mask, torch.cat([one.boxes, other.boxes]))
