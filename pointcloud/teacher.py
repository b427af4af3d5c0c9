"""What frozen models see in the photos of a data set, computed once and asked at pixels."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ovs3d.device import usable_device
from ovs3d.errors import InputError, check_range
from ovs3d.foundation.clip import Clip, load_clip
from ovs3d.foundation.dense_options import MASKCLIP, DenseOptions
from ovs3d.foundation.dino import Dino, load_dino
from ovs3d.foundation.maps import dense_entry, dense_identity, dino_entry, dino_identity
from ovs3d.foundation.store import Entry, FeatureStore, Identity
from ovs3d.foundation.weights import CLIP_WEIGHTS, dino_beside
from ovs3d.query import probabilities
from ovs3d.scene import read_settings
from pointcloud import config
from pointcloud.frame import Photo
from pointcloud.index import Index
from pointcloud.pixels import PixelFeatures


class PhotoFeatures(ABC):
    """Features of photos on a grid."""

    @property
    @abstractmethod
    def d(self) -> int:
        """Channels of a feature."""

    @abstractmethod
    def map(self, photo: Path) -> Float[Tensor, "gh gw d"]:
        """One feature per cell of the grid, float16.

        Raises:
            InputError: the photo cannot be read, or what is found cannot be kept.
        """

    @abstractmethod
    def fill(self, photos: Sequence[Path]) -> None:
        """Compute what is missing of all that is kept, with a bar of progress.

        Raises:
            InputError: as above.
        """

    def at(self, photo: Photo, row_col: Int64[Tensor, "n 2"]) -> PixelFeatures:
        """Features at pixels of the photo, float32; not of unit length. The model need not look where none is asked."""
        if not len(row_col):
            return PixelFeatures.of(torch.zeros(0, self.d))
        grid = self.map(photo.path).float()
        gh, gw, _ = grid.shape
        return PixelFeatures.at(grid, self.cells(photo, row_col, (gh, gw)))

    def cells(
        self, photo: Photo, row_col: Int64[Tensor, "n 2"], grid: tuple[int, int]
    ) -> Float[Tensor, "n 2"]:
        """(row, col) of the centres of pixels in cells of a grid that covers the photo, from its corner."""
        return _shares(photo, row_col) * torch.tensor(grid)


class ModelFeatures(PhotoFeatures):
    """What a frozen model sees in the patches of photos, computed once."""

    name: ClassVar[str]
    """Of the model, as people say it."""
    store: FeatureStore | None
    """None: nothing is kept, and each photo is looked at again whenever it is asked."""

    @abstractmethod
    def entry(self, photo: Path) -> Entry:
        """Its map in the store, as ``features``.

        Raises:
            InputError: the photo cannot be read.
        """

    def map(self, photo: Path) -> Float[Tensor, "gh gw d"]:
        entry = self.entry(photo)
        tensors = entry.compute() if self.store is None else self.store.get_or_compute(*entry)
        return tensors["features"]

    def fill(self, photos: Sequence[Path]) -> None:
        if self.store is not None:
            self.store.fill(map(self.entry, photos), len(photos), self.name)


def sample(
    grid: Float[Tensor, "d gh gw"], photo: Photo, row_col: Int64[Tensor, "n 2"]
) -> Float[Tensor, "n d"]:
    """Values of a grid that covers a photo at some of its pixels, between the centres of cells linearly."""
    # (x, y), -1 and 1 at the borders of the photo
    places = (_shares(photo, row_col) * 2 - 1).flip(1).float()
    return at_places(grid, places)


def _shares(photo: Photo, row_col: Int64[Tensor, "n 2"]) -> Float[Tensor, "n 2"]:
    """Where the centres of pixels are, as shares of the height and the width of their photo."""
    return (row_col + 0.5) / torch.tensor([photo.camera.height, photo.camera.width])


def pixels_of(photo: Photo) -> Int64[Tensor, "n 2"]:
    """(row, col) of all of a photo, row by row."""
    return torch.cartesian_prod(torch.arange(photo.camera.height), torch.arange(photo.camera.width))


def at_places(grid: Float[Tensor, "d gh gw"], places: Float[Tensor, "n 2"]) -> Float[Tensor, "n d"]:
    """Values of a grid at (x, y), -1 and 1 at its borders, between the centres of cells linearly."""
    found = F.grid_sample(grid[None], places[None, :, None], padding_mode="border", align_corners=False)
    return found[0, :, :, 0].T


@dataclass(frozen=True, eq=False)
class Teacher(ModelFeatures):
    """Dense CLIP features (MaskCLIP)."""

    clip: Clip
    store: FeatureStore
    short_side: int
    """Pixels of the shorter side of what CLIP looks at, at most."""
    options: DenseOptions = MASKCLIP
    temperature: float = field(init=False)
    """CLIP's own, of the softmax over texts that it was trained with. Read now: a process that only loads photos must
    not touch a GPU."""
    name = "CLIP"

    @property
    def identity(self) -> Identity:
        """All that its features depend on, but for the photo."""
        return dense_identity(self.clip, self.short_side, self.options)

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", 1 / float(self.clip.model.logit_scale.detach().exp()))

    @property
    def d(self) -> int:
        return self.clip.d

    def entry(self, photo: Path) -> Entry:
        return dense_entry(self.clip, photo, self.short_side, self.options)


@dataclass(frozen=True, eq=False)
class Denoising:
    """Texts that CLIP is nowhere sure of in a photo are not said of its pixels (MaskCLIP, section 3.3)."""

    teacher: Teacher
    text: Float[Tensor, "k d"]
    """All that pixels may be called."""
    confidence: float
    """Probability among the texts, at CLIP's own temperature, that some patch has to reach."""
    _found: dict[Path, Bool[Tensor, " k"]] = field(default_factory=dict, init=False)

    def doubted(self, photos: Iterable[Path]) -> Bool[Tensor, "p k"]:
        """Texts that each photo does not show; none where that would be all of them."""
        found = []
        for photo in photos:
            if photo not in self._found:
                self._found[photo] = self._doubted(photo)
            found.append(self._found[photo])
        return torch.stack(found) if found else torch.zeros(0, len(self.text), dtype=torch.bool)

    def _doubted(self, photo: Path) -> Bool[Tensor, " k"]:
        grid = F.normalize(self.teacher.map(photo).flatten(0, 1).float(), dim=1)
        shares = probabilities(grid @ self.text.T, self.teacher.temperature)
        doubted = shares.amax(dim=0) < self.confidence
        return doubted & ~doubted.all()


@dataclass(frozen=True, eq=False)
class Backbone(ModelFeatures):
    """Tokens of DINO, which has learnt from photos alone."""

    dino: Dino
    store: FeatureStore
    short_side: int
    """Pixels of the shorter side of what DINO looks at."""
    name = "DINO"

    @property
    def identity(self) -> Identity:
        """All that its features depend on, but for the photo."""
        return dino_identity(self.dino, self.short_side)

    @property
    def d(self) -> int:
        return self.dino.model.embed_dim

    def entry(self, photo: Path) -> Entry:
        return dino_entry(self.dino, photo, self.short_side)


def load_teacher(settings: config.Teacher, root: Path) -> Teacher:
    """The teacher of the data set in ``root``.

    Raises:
        InputError: unknown weights, a device that is not there, or photos that are to have no pixels.
    """
    check_range("teacher.short-side", settings.short_side, 1, 10**5)
    clip = load_clip(clip_weights(settings.weights, root), usable_device(settings.device))
    if not settings.normalize:
        clip = replace(clip, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Teacher(clip, store_of(settings.feature_dir, root), settings.short_side, settings.dense)


def load_backbone(settings: config.Backbone, root: Path) -> Backbone:
    """The image backbone of the data set in ``root``.

    Raises:
        InputError: unknown weights, a device that is not there, or photos that are to have no pixels.
    """
    check_range("backbone.short-side", settings.short_side, 1, 10**5)
    weights = settings.weights or dino_beside(read_settings(root).weights)
    dino = load_dino(weights, usable_device(settings.device))
    return Backbone(dino, store_of(settings.feature_dir, root), settings.short_side)


def store_of(asked: Path | None, root: Path) -> FeatureStore:
    """The features of the photos of the data set in ``root``, unless another folder is asked for."""
    return FeatureStore(asked or root / ".ovs3d")


def clip_weights(asked: str | None, root: Path) -> str:
    """The weights that were asked for, else those that the data set's ``ovs3d.yaml`` names, else the default."""
    return asked or read_settings(root).weights or CLIP_WEIGHTS


def photos_of(index: Index, positions: Iterable[int]) -> list[Path]:
    """Files of the photos of some frames, each once.

    Raises:
        InputError: these frames have none.
    """
    found = dict.fromkeys(photo.path for position in positions for photo in index[position].photos)
    if not found:
        raise InputError(
            f"{index.dataset.root}: no frame of these has a photo, and CLIP and DINO can only look at photos"
        )
    return list(found)
