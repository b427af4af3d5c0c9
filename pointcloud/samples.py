"""Frames as a network takes them: points in voxel units with their inputs, augmented, and put together in batches."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ovs3d.errors import InputError
from pointcloud.config import Augment, Input, Net
from pointcloud.frame import Frame, Scan, ScanFile
from pointcloud.index import IGNORE, Index
from pointcloud.nets.points import Points
from pointcloud.scans import read_scan
from pointcloud.voxelize import VoxelGrid


@dataclass(frozen=True, eq=False)
class Batch:
    """Some scans, one after the other."""

    points: Points
    labels: Int64[Tensor, " n"]
    """Class ids, 255 where there is none."""
    frames: tuple[int, ...]
    """Position of each scan in the index."""

    def to(self, device: torch.device | str) -> "Batch":
        """The same on another device."""
        points = self.points
        moved = Points(points.features.to(device), points.places.to(device), points.batch.to(device))
        return replace(self, points=moved, labels=self.labels.to(device))


class TrainingSamples(Dataset, ABC):
    """What a training takes its steps from: items by (epoch, position)."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def collate(self, batches: Sequence[Any]) -> Any:
        """Several items as one step takes them."""


@dataclass(frozen=True, eq=False)
class Samples(TrainingSamples):
    """Frames of an index. An item is asked for by (epoch, position): the same pair gives the same augmentation."""

    index: Index
    positions: Sequence[int]
    """Which frames."""
    net: Net
    augment: Augment | None = None
    seed: int = 0

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        return self.batch(read_scan(scan_file(self.frame(key[1])), self.index.dataset), key)

    def frame(self, item: int) -> Frame:
        """Of an item."""
        return self.index[self.positions[item]]

    def batch(self, scan: Scan, key: tuple[int, int], number: int = 0) -> Batch:
        """A scan of the item, by itself, with the augmentation of the key; each of several numbers has its own."""
        epoch, item = key
        position = self.positions[item]
        random = None if self.augment is None else np.random.default_rng((self.seed, epoch, position, number))
        return sample(scan, self.net, position, self.augment, random)

    def collate(self, batches: Sequence[Batch]) -> Batch:
        return collate(batches)


def scan_file(frame: Frame) -> ScanFile:
    """The scan of a frame.

    Raises:
        InputError: it has none.
    """
    if frame.scan is None:
        raise InputError(f"{frame.name} has no point cloud, only photos")
    return frame.scan


def any_labelled(index: Index, positions: Sequence[int]) -> bool:
    """Whether the scan of one of these frames has labels.

    Raises:
        InputError: a frame has no scan.
    """
    return any(scan_file(index[position]).labels is not None for position in positions)


def sample(
    scan: Scan,
    net: Net,
    position: int = 0,
    augment: Augment | None = None,
    random: np.random.Generator | None = None,
) -> Batch:
    """A batch of one scan.

    Raises:
        InputError: the scan lacks an input of the network.
    """
    xyz = (
        scan.xyz
        if augment is None or random is None
        else augmented(scan.xyz, augment, net.voxel_size_m, random)
    )
    places = VoxelGrid(net.voxel_size_m, net.voxels).places(torch.from_numpy(xyz))
    features = np.concatenate([_input(scan, places.numpy(), name) for name in net.inputs], axis=1)
    labels = np.full(len(xyz), IGNORE) if scan.labels is None else scan.labels
    points = Points(torch.from_numpy(features), places, torch.zeros(len(xyz), dtype=torch.int64))
    return Batch(points, torch.from_numpy(labels.astype(np.int64)), (position,))


def _input(scan: Scan, places: Float[np.ndarray, "n 3"], name: Input) -> Float[np.ndarray, "n c"]:
    if name == "offset":
        return places - np.floor(places) - np.float32(0.5)
    if name == "one":
        return np.ones((len(scan.xyz), 1), np.float32)
    if name == "height":
        return scan.xyz[:, 2:]
    values = scan.rgb if name == "rgb" else scan.intensity
    if values is None:
        lacking = "colours" if name == "rgb" else "intensities"
        raise InputError(
            f"the scans have no {lacking}, but the network takes {name}: train one with other --net.inputs, as one "
            "height"
        )
    if name == "rgb":
        return values.astype(np.float32) / np.float32(127.5) - 1
    values = values[:, None].astype(np.float32)
    if name == "log_intensity":
        return np.log(values + np.float32(0.01))
    return values * np.float32(255 if name == "intensity255" else 1)


def augmented(
    xyz: Float[np.ndarray, "n 3"], augment: Augment, voxel_size_m: float, random: np.random.Generator
) -> Float[np.ndarray, "n 3"]:
    """Points turned about z, mirrored, scaled and shifted."""
    angle = random.uniform(0, 2 * np.pi) if augment.rotate else 0.0
    flips = random.choice([-1.0, 1.0], 2) if augment.flip else np.ones(2)
    scale = random.uniform(1 - augment.scale, 1 + augment.scale)
    shift = random.uniform(-1, 1, 3) * augment.shift_voxels * voxel_size_m
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos * flips[0], -sin * flips[1], 0], [sin * flips[0], cos * flips[1], 0], [0, 0, 1]])
    return (xyz @ (scale * turn.T) + shift).astype(np.float32)


def collate(batches: Sequence[Batch]) -> Batch:
    """Several batches as one; their scans stay apart."""
    firsts = np.cumsum([0, *(len(each.frames) for each in batches)]).tolist()
    points = Points(
        torch.cat([each.points.features for each in batches]),
        torch.cat([each.points.places for each in batches]),
        torch.cat([each.points.batch + first for each, first in zip(batches, firsts, strict=False)]),
    )
    frames = tuple(frame for each in batches for frame in each.frames)
    return Batch(points, torch.cat([each.labels for each in batches]), frames)


@dataclass
class Steps(Sampler):
    """Batches of (epoch, position) for each step of an epoch: the same for the same seed, wherever training resumes.

    Every process of several gets its share of each step. Scans that do not fill a step are filled up from the start.
    """

    n: int
    """Scans."""
    batch_size: int
    """Scans in a step of one process."""
    seed: int
    epoch: int = 0
    first: int = 0
    """Steps of the epoch that are done already."""
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        return -(-self.n // (self.batch_size * self.world))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.n)
        order = np.resize(order, len(self) * self.batch_size * self.world)
        for step in range(self.first, len(self)):
            start = (step * self.world + self.rank) * self.batch_size
            yield [(self.epoch, int(item)) for item in order[start : start + self.batch_size]]


def starts(counts: Sequence[int]) -> list[int]:
    """Where each of several parts begins."""
    return np.cumsum([0, *counts])[:-1].tolist()
