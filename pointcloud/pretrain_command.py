"""``ovs3d-points features`` and ``pretrain``: what CLIP sees in photos, and networks that learn from photos."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pointcloud.config import (
    Backbone,
    ImageNetwork,
    Latent,
    Masks,
    Pairing,
    Refine,
    Superpixels,
    Teacher,
    Training,
)

Split = Literal["train", "val", "test"]


@dataclass(frozen=True, kw_only=True)
class Features:
    """Let CLIP look at the photos of a data set now, once; interrupted, it continues."""

    index: Path
    """Index of the data set, which ovs3d-points index wrote."""
    root: Path | None = None
    """Where the data set lies now, if it was moved since."""
    splits: tuple[Split, ...] = ("train",)
    """Whose photos."""
    teacher: Annotated[Teacher, tyro.conf.arg(name="")] = field(default_factory=Teacher)

    def run(self) -> None:
        """Say what it will take, then compute what is missing."""
        from tqdm import tqdm

        from pointcloud.index import read_index
        from pointcloud.teacher import load_teacher, photos_of

        index = read_index(self.index, self.root)
        positions = [position for split in self.splits for position in index.select(split)]
        photos = photos_of(index, positions)
        teacher = load_teacher(self.teacher, index.dataset.root)
        start = time.perf_counter()
        size, folder = teacher.map(photos[0]).nbytes, teacher.store.folder
        each, whole = (tqdm.format_sizeof(n, "B") for n in (size, size * len(photos)))
        print(f"{len(photos)} photos, about {each} each: {whole} in {folder}")
        teacher.fill(photos)
        seconds = time.perf_counter() - start
        print(f"CLIP {teacher.clip.weights}: {seconds / len(photos):.3f} s per photo")


@dataclass(frozen=True, kw_only=True)
class Pretraining(Training):
    """What all methods are told."""

    pairs: Pairing = field(default_factory=Pairing)
    photos: int = 8
    """Photos of a frame in a step, at most; drawn anew in each epoch. 0: all."""

    def next_step(self) -> str:
        """What may be done with the run."""
        return f"ask it: ovs3d-points evaluate --run {self.out} {self._data()} --out {self.out}"

    def _data(self) -> str:
        """The flags that name what was trained on."""
        return f"--index {self.index}" + ("" if self.root is None else f" --root {self.root}")


@dataclass(frozen=True, kw_only=True)
class Distill(Pretraining):
    """Point features become those of the pixels that show the points, averaged over photos (OpenScene)."""

    teacher: Teacher = field(default_factory=Teacher)

    def run(self) -> None:
        """Train."""
        from pointcloud.pretrain import distill

        distill(self)


@dataclass(frozen=True, kw_only=True)
class Prompted(Pretraining):
    """What those are told that learn what pixels are called."""

    prompt: str | None = None
    """Classes that pixels are told apart by, such as "car; road; tree". Default: the data set's."""
    prompts: Path | None = None
    """A file of them instead: one a line, or YAML with synonyms, and with distractors, whose pixels teach nothing. Or
    the vocabulary of a data set that comes with the package, such as nuscenes16 or scannet20."""


@dataclass(frozen=True, kw_only=True)
class Clip2Scene(Prompted):
    """Points learn what CLIP calls their pixels, and agree with all that sweeps and photos show of their place."""

    semantic: Literal["paper", "released", "none"] = "released"
    """Semantic consistency. released: cross-entropy, as the published code. paper: contrast, anchored at classes, which
    does not learn how classes compare at a point. none: agreement alone, of the features that are asked later."""
    balance: float = 0.0
    """How much more pairs of rare classes count in cross-entropy: by the share of their class in a step, to the power
    of minus this. 0: all alike, as published; 1: all classes alike."""
    spatial_temporal: Literal["paper", "released", "cosine", "none"] = "paper"
    """Agreement within a voxel. paper: of points and pixels of all sweeps. released: of points alone. cosine: of each
    point with its pixel, as the published code on ScanNet."""
    semantic_weight: float = 1.0
    """Of the first of them,"""
    spatial_temporal_weight: float = 1.0
    """and of the second; as published, both 1."""
    prompt_denoising: float = 0.0
    """A class that CLIP is nowhere in a photo so sure of, in 0..1, is not said of its pixels; MaskCLIP takes 0.5."""
    sweeps: int = 3
    """Scans of a frame, its own among them; the earlier ones are drawn at random in each epoch."""
    crops: bool = False
    """Learn from a random crop of each photo in each epoch, as the published code does. CLIP sees the whole photo."""
    self_training_from: int = 10
    """Epoch from which a network may learn from its own answers instead of CLIP's."""
    self_training_probability: float = 0.5
    """How often it does then, drawn for each step; 0: never."""
    teacher: Teacher = field(default_factory=Teacher)

    def run(self) -> None:
        """Train."""
        from pointcloud.pretrain import clip2scene

        clip2scene(self)


@dataclass(frozen=True, kw_only=True)
class Contrast(Pretraining):
    """What PPKT and SLidR are told. Their runs know no words and no classes: they are a trunk to fine-tune."""

    temperature: float = 0.07
    """Similarities are divided by it before the softmax."""
    backbone: Backbone = field(default_factory=Backbone)

    def next_step(self) -> str:
        return f"go on with its --net: ovs3d-points finetune --init {self.out} {self._data()} --out <folder>"


@dataclass(frozen=True, kw_only=True)
class Ppkt(Contrast):
    """Each point finds its own pixel among many, by features of DINO that a linear layer brings to 64 (PPKT)."""

    matches: int = 4096
    """Pairs of a point and a pixel that are drawn for each step, at most."""

    def run(self) -> None:
        """Train."""
        from pointcloud.contrast import ppkt

        ppkt(self)


@dataclass(frozen=True, kw_only=True)
class Slidr(Contrast):
    """The points of each superpixel find it among all of the batch, by features of DINO, as PPKT does (SLidR)."""

    superpixels: Superpixels = field(default_factory=Superpixels)

    def run(self) -> None:
        """Train."""
        from pointcloud.contrast import slidr

        slidr(self)


@dataclass(frozen=True, kw_only=True)
class Cns(Prompted):
    """Networks of photos and of points learn CLIP's pseudo-labels, refined by SAM's masks, then each other's (CNS)."""

    refine: Refine = "hard"
    """What masks do with labels. hard: the label of most members. soft: that of the highest mean probability, if it
    leads clearly. none: nothing."""
    margin: float = 0.1
    """By how much the highest mean of ``soft`` has to lead, in 0..1."""
    balance: float = 0.0
    """How much more pixels and points of rare classes count: by the share of their class in a step, to the power of
    minus this. 0: all alike; 1: all classes alike."""
    multi_view: bool = False
    """Points are called what all photos of their frame together call them."""
    switch_from: int = 10
    """Epoch from which labels also come from the networks; before, from CLIP alone."""
    switch_probs: tuple[float, float, float] = (0.5, 0.25, 0.25)
    """Shares of CLIP, of the network of photos and of that of points in the labels then. 1 0 0: never switch."""
    switch_unit: Literal["step", "mask"] = "step"
    """What a source is drawn for."""
    ema: float = 0.0
    """Labels come from slow copies of the networks that keep this share of themselves in each step; 0: from the
    networks themselves."""
    image: ImageNetwork = field(default_factory=ImageNetwork)
    masks: Masks = field(default_factory=Masks)
    latent: Latent = field(default_factory=Latent)
    teacher: Teacher = field(default_factory=Teacher)

    def run(self) -> None:
        """Train."""
        from pointcloud.cns import cns

        cns(self)
