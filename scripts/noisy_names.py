"""Names of the pixels of photos as a teacher gives them that is often wrong, made from the true labels of points."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int32, Int64
from torch import Tensor

from ovs3d.images import read_image
from pointcloud import config
from pointcloud.index import IGNORE
from pointcloud.paired import paired_scans
from pointcloud.samples import Samples
from pointcloud.superpixels import superpixels


@dataclass(frozen=True)
class Noise:
    """How names go wrong."""

    wrong: float
    """Share of the superpixels that are given another class."""
    seed: int
    """Of all that is drawn."""
    shift_px: int = 0
    """The names of a whole photo are moved by up to this along each side, so that their borders are wrong too."""
    everywhere: bool = False
    """Superpixels that show no labelled point have a class at random instead of none."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """A photo's superpixels, and the points of each class that they show."""

    path: Path
    of_pixels: Int32[np.ndarray, "h w"]
    points: Int64[np.ndarray, "s k"]


def pieces_of(samples: Samples, k: int, segments: config.Superpixels) -> list[Pieces]:
    """Of all photos."""
    found = []
    for frame, scan, pairs, _ in paired_scans(samples, config.Pairing()):
        assert scan.labels is not None, "frames without labels"
        labels = scan.labels[pairs.point]
        for number, photo in enumerate(frame.photos):
            cut = superpixels(read_image(photo.path), segments).numpy().astype(np.int32)
            mine = (pairs.photo == number) & (labels != IGNORE)
            row, col = pairs.row_col[mine].T
            points = np.zeros((cut.max() + 1, k), np.int64)
            np.add.at(points, (cut[row, col], labels[mine]), 1)
            found.append(Pieces(photo.path, cut, points))
    return found


def noisy_names(pieces: Iterable[Pieces], noise: Noise) -> dict[Path, Int64[Tensor, "h w"]]:
    """What the pixels of photos are called: each superpixel what most of its points truly are, or not; -1: none."""
    random = np.random.default_rng((noise.seed, 4))
    found = {}
    for photo in pieces:
        count, k = photo.points.shape
        names = photo.points.argmax(axis=1)
        wrong = random.random(count) < noise.wrong
        names[wrong] = ((names + random.integers(1, k, count)) % k)[wrong]
        unknown = random.integers(k, size=count) if noise.everywhere else -1
        of_pixels = np.where(photo.points.any(axis=1), names, unknown)[photo.of_pixels]
        found[photo.path] = torch.from_numpy(_moved(of_pixels, noise.shift_px, random))
    return found


def _moved(names: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
    """Names moved along both sides; what would come from outside is as the border."""
    if not most:
        return names
    down, right = random.integers(-most, most + 1, 2)
    rows, cols = (np.arange(size) - by for size, by in zip(names.shape, (down, right), strict=True))
    return names[rows.clip(0, len(rows) - 1)[:, None], cols.clip(0, len(cols) - 1)]
