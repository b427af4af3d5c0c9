"""Scans with what photos show of their points: what training without labels learns from."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor
from tqdm import tqdm

from ovs3d.errors import InputError
from pointcloud.config import Pairing
from pointcloud.crops import cropped
from pointcloud.frame import Frame, Photo, Scan, ScanFile
from pointcloud.pairing import Pairs, pair
from pointcloud.pixels import PixelFeatures
from pointcloud.samples import Batch, Samples, TrainingSamples, collate, sample, scan_file, starts
from pointcloud.scans import read_scan
from pointcloud.sweeps import MergedScan, choose_sweeps, merge_sweeps
from pointcloud.teacher import Denoising, PhotoFeatures, photos_of
from pointcloud.voxelize import VoxelGrid

_FRAMES_TO_TELL = 16
"""Enough to tell how much there is to learn from."""


@dataclass(frozen=True, eq=False)
class PhotoBatch(ABC):
    """Some scans, with what photos show of them."""

    scans: Batch
    """Without labels."""

    @property
    @abstractmethod
    def shown(self) -> Int64[Tensor, " m"]:
        """Rows of points that photos show; those in two photos are there twice."""

    def learnt_from(self) -> dict[tuple[str, str], tuple[int, int]]:
        """What can be learnt from, and what to look at where there is none: how many, and of how many."""
        of_points = len(self.shown.unique()), len(self.scans.labels)
        return {("points are shown by a photo", "look at the poses of photos and at --pairs"): of_points}

    @property
    def frames(self) -> tuple[int, ...]:
        """Position of each scan in the index."""
        return self.scans.frames

    def to(self, device: torch.device | str) -> "PhotoBatch":
        """The same on another device."""
        return replace(self, **{each.name: getattr(self, each.name).to(device) for each in fields(self)})


@dataclass(frozen=True, eq=False)
class PairedBatch(PhotoBatch):
    """Some scans, and the pixels that show their points. Sweeps of one frame are scans of their own."""

    cell: Int64[Tensor, " n"]
    """The voxel of space of each point, from 0: sweeps of one frame share them, whatever augmentation does."""
    point: Int64[Tensor, " m"]
    """Row of the point of each pair; points in two photos have two pairs."""
    features: PixelFeatures
    """What the teacher sees at the pixel of each pair; not of unit length."""
    doubted: Bool[Tensor, "m k"]
    """Texts that the photo of each pair does not show; k is 0 without `Denoising`."""

    @property
    def shown(self) -> Int64[Tensor, " m"]:
        return self.point


@dataclass(frozen=True, eq=False)
class PhotoSamples(TrainingSamples):
    """Frames of an index with their photos. Points are turned and mirrored as augmentation says; pixels stay theirs."""

    samples: Samples
    pairing: Pairing
    photos_each: int
    """Photos of a frame in one step, drawn anew in each epoch; 0: all."""

    def __len__(self) -> int:
        return len(self.samples)

    def check(self) -> None:
        """Refuse scans that lack an input of the network, before hours go into photos.

        Raises:
            InputError: the first one does.
        """
        self.samples.batch(self.read(scan_file(self.samples.frame(0))), (0, 0))

    @abstractmethod
    def prepare(self) -> None:
        """Compute what is asked of the photos and not stored yet."""

    def tell(self) -> None:
        """Say of some frames how much of what a step has can be learnt from.

        Raises:
            InputError: nothing.
        """
        items = range(0, len(self), -(-len(self) // _FRAMES_TO_TELL))
        each = [self[0, item].learnt_from() for item in items]
        for what, cure in each[0]:
            used, there = np.sum([counts[what, cure] for counts in each], axis=0)
            if not used:
                raise InputError(f"no {what} in {len(items)} frames: {cure}")
            print(f"{used / there:.0%} of the {what} in {len(items)} frames")

    def photos(self) -> list[Path]:
        """Of all frames."""
        return photos_of(self.samples.index, self.samples.positions)

    def drawn(self, photos: Sequence[Photo], key: tuple[int, int]) -> list[Photo]:
        """Those of a frame's photos that are looked at in an epoch."""
        count = min(self.photos_each or len(photos), len(photos))
        random = np.random.default_rng((self.samples.seed, *key, 4))
        return [photos[position] for position in sorted(random.permutation(len(photos))[:count])]

    def read(self, file: ScanFile) -> Scan:
        """A scan. Its label file is not even opened."""
        return read_scan(replace(file, labels=None), self.samples.index.dataset)


@dataclass(frozen=True, eq=False)
class PairedSamples(PhotoSamples):
    """Frames with what the teacher sees at the pixels of their points."""

    teacher: PhotoFeatures
    sweeps: int = 1
    """Scans of a frame: its own, and earlier ones drawn anew in each epoch, in the frame's coordinates."""
    denoising: Denoising | None = None
    crops: bool = False
    """Only pairs within a random crop of each photo, another in each epoch."""

    @property
    def d(self) -> int:
        """Channels of what the teacher sees."""
        return self.teacher.d

    def prepare(self) -> None:
        self.teacher.fill(self.photos())

    def __getitem__(self, key: tuple[int, int]) -> PairedBatch:
        frame = self.samples.frame(key[1])
        merged = self._merged(frame, key)
        scans = [
            self.samples.batch(merged.of(number), key, number) for number in range(merged.sweep.max() + 1)
        ]
        photos = self.drawn(frame.photos, key)
        pairs = pair(merged.scan, photos, self.pairing)
        if self.crops:
            random = np.random.default_rng((self.samples.seed, *key, 2))
            pairs = cropped(pairs, photos, random)
        point, features = look(self.teacher, pairs, photos)
        doubted = self._doubted(photos)[torch.from_numpy(pairs.photo)]
        return PairedBatch(collate(scans), self._cells(merged.scan.xyz), point, features, doubted)

    def collate(self, batches: Sequence[PairedBatch]) -> PairedBatch:
        rows = starts([len(each.cell) for each in batches])
        cells = starts([int(each.cell.max()) + 1 for each in batches])
        return PairedBatch(
            collate([each.scans for each in batches]),
            torch.cat([each.cell + first for each, first in zip(batches, cells, strict=True)]),
            torch.cat([each.point + first for each, first in zip(batches, rows, strict=True)]),
            PixelFeatures.cat([each.features for each in batches]),
            torch.cat([each.doubted for each in batches]),
        )

    def _merged(self, frame: Frame, key: tuple[int, int]) -> MergedScan:
        """A frame's scan with earlier sweeps."""
        random = np.random.default_rng((self.samples.seed, *key, 1))
        chosen = [scan_file(frame), *choose_sweeps(frame.sweeps, self.sweeps - 1, random)]
        scan, *earlier = (self.read(each) for each in chosen)
        return merge_sweeps(scan, earlier)

    def _doubted(self, photos: Sequence[Photo]) -> Bool[Tensor, "p k"]:
        """Texts that each photo does not show."""
        if self.denoising is None:
            return torch.zeros(len(photos), 0, dtype=torch.bool)
        return self.denoising.doubted(photo.path for photo in photos)

    def _cells(self, xyz: Float32[np.ndarray, "n 3"]) -> Int64[Tensor, " n"]:
        net = self.samples.net
        voxels = VoxelGrid(net.voxel_size_m, net.voxels).places(torch.from_numpy(xyz)).floor().long()
        voxels -= voxels.amin(dim=0)
        _, ny, nz = (voxels.amax(dim=0) + 1).tolist()
        return ((voxels[:, 0] * ny + voxels[:, 1]) * nz + voxels[:, 2]).unique(return_inverse=True)[1]


def paired_scans(samples: Samples, how: Pairing) -> Iterator[tuple[Frame, Scan, Pairs, Batch]]:
    """All scans in their order, as they are asked: with the pixels of all photos, without augmentation."""
    for item in tqdm(range(len(samples)), "scans", unit="scan", leave=False):
        frame = samples.frame(item)
        scan = read_scan(scan_file(frame), samples.index.dataset)
        yield frame, scan, pair(scan, frame.photos, how), sample(scan, samples.net, samples.positions[item])


def look(
    teacher: PhotoFeatures, pairs: Pairs, photos: Sequence[Photo]
) -> tuple[Int64[Tensor, " m"], PixelFeatures]:
    """The point of each pair, and what the teacher sees at its pixel."""
    pixels = torch.from_numpy(pairs.row_col)
    features = [
        teacher.at(photo, pixels[torch.from_numpy(pairs.photo == number)])
        for number, photo in enumerate(photos)
    ]
    return torch.from_numpy(pairs.point), PixelFeatures.cat(
        [PixelFeatures.of(torch.zeros(0, teacher.d)), *features]
    )
