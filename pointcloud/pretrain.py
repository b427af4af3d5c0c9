"""``ovs3d-points pretrain``: a network learns from what CLIP sees in photos; labels are never read.

What other trainings on photos share is here as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from ovs3d.errors import InputError, check_range
from ovs3d.prompts.vocabulary import Vocabulary, asked_vocabulary
from pointcloud.check import check_photos
from pointcloud.index import read_index
from pointcloud.lightning_module import PointTraining, begin, check, check_out, new_model, trainer
from pointcloud.model import PointModel
from pointcloud.objectives.clip2scene import (
    pixel_cosine,
    semantic_contrast,
    semantic_cross_entropy,
    spatial_temporal,
)
from pointcloud.objectives.distillation import distillation
from pointcloud.paired import PairedBatch, PairedSamples, PhotoSamples
from pointcloud.pairing import check_pairing
from pointcloud.pixels import PixelFeatures
from pointcloud.runs import TEXT, About, read_about, text_embeddings, write_run
from pointcloud.samples import Samples, scan_file
from pointcloud.teacher import Denoising, PhotoFeatures, Teacher, load_teacher, photos_of

if TYPE_CHECKING:
    from pointcloud.config import Fit
    from pointcloud.pretrain_command import Clip2Scene, Cns, Distill, Pretraining, Prompted

LOCAL = "local_feature"
"""Name of the head whose features CLIP2Scene compares within a cell of space."""


class PairedTraining(PointTraining):
    """A training on photos and the points that they show."""

    samples: PhotoSamples

    def prepare_data(self) -> None:
        """The first of several processes computes what is asked of each photo, once; the others wait."""
        self.samples.check()
        self.samples.prepare()
        self.samples.tell()


class Distillation(PairedTraining):
    """Points learn the features of the pixels that show them."""

    def losses(self, batch: PairedBatch) -> Mapping[str, Tensor]:
        shown, point = batch.point.unique(return_inverse=True)
        outputs, row = self.model.shared(batch.scans.points, shown)
        with self.full_precision():
            return {"distillation": distillation(outputs[TEXT].float(), row, batch.features, point)}


class Consistency(PairedTraining):
    """Points learn what their pixels are called, and agree with what else is in their cell of space."""

    text: Tensor

    def __init__(
        self,
        model: PointModel,
        samples: PairedSamples,
        text: Tensor,
        known: int,
        command: Clip2Scene,
    ) -> None:
        """
        Args:
            text: embeddings of the classes, and after them of distractors.
            known: number of classes.
        """
        super().__init__(model, command.fit, samples)
        self.command, self.known = command, known
        self.register_buffer("text", text, persistent=False)

    def losses(self, batch: PairedBatch) -> Mapping[str, Tensor]:
        how = self.command
        outputs, row = self.model.shared(batch.scans.points, batch.point)
        points = outputs[TEXT].float()
        parts = {}
        with self.full_precision():
            pixels = batch.features.unit()
            labels = self._names(pixels.scores(self.text), batch.doubted)
            if how.semantic != "none":
                taught = self._names(points @ self.text.T)[row] if self._teaches_itself() else labels
                known = taught < self.known  # the others are distractors
                found = self._semantic(points, row[known], taught[known], self.text[: self.known])
                parts["semantic"] = how.semantic_weight * found
            if how.spatial_temporal != "none":
                local = outputs[LOCAL if LOCAL in outputs else TEXT].float()
                found = self._agreement(local, row, pixels, labels, batch.cell[batch.point])
                parts["spatial_temporal"] = how.spatial_temporal_weight * found
        return parts

    def _teaches_itself(self) -> bool:
        """A coin for each step, once it is time (section 3.3)."""
        coin = np.random.default_rng((self.fit.seed, self.global_step)).random()
        how = self.command
        return self.current_epoch >= how.self_training_from and coin < how.self_training_probability

    def _names(self, scores: Tensor, doubted: Tensor | None = None) -> Tensor:
        """The text of the highest score, distractors among them, of those that are not doubted."""
        if doubted is not None and doubted.shape[1]:
            scores = scores.masked_fill(doubted, -torch.inf)
        return scores.argmax(dim=1)

    def _semantic(self, points: Tensor, row: Tensor, labels: Tensor, text: Tensor) -> Tensor:
        if self.command.semantic == "paper":
            return semantic_contrast(points, row, labels, text)
        return semantic_cross_entropy(points, row, labels, text, self.command.balance)

    def _agreement(
        self, points: Tensor, row: Tensor, pixels: PixelFeatures, labels: Tensor, cell: Tensor
    ) -> Tensor:
        if self.command.spatial_temporal == "cosine":
            return pixel_cosine(points, row, pixels)
        if self.command.spatial_temporal == "released":
            return spatial_temporal(points, row, None, labels, self.text, cell)
        return spatial_temporal(points, row, pixels, labels, self.text, cell, directions=True)


def distill(command: Distill) -> None:
    """OpenScene's distillation."""
    scans = photographed(command)
    dataset = scans.index.dataset
    teacher = load_teacher(command.teacher, dataset.root)
    heads = {TEXT: teacher.d}
    model = new_model(command, heads)
    samples = PairedSamples(scans, command.pairs, command.photos, teacher)
    training = Distillation(model, command.fit, samples)
    about = about_texts(command, heads, teacher, dataset.classes)
    if train(training, about.settings, command.out):
        write_run(command.out, about, model)


def clip2scene(command: Clip2Scene) -> None:
    """Semantic and spatial-temporal consistency.

    Raises:
        InputError: neither of them, no scan, one class, or a weight or probability that is none.
    """
    if command.semantic == command.spatial_temporal == "none":
        raise InputError("nothing to learn from: --semantic and --spatial-temporal are both none")
    if command.sweeps < 1:
        raise InputError(f"--sweeps counts a frame's own scan too: 1 or more, not {command.sweeps}")
    if min(command.semantic_weight, command.spatial_temporal_weight) <= 0:
        raise InputError(
            "--semantic-weight and --spatial-temporal-weight are above 0; none leaves a loss out"
        )
    check_range("prompt-denoising", command.prompt_denoising, 0, 1)
    check_range("self-training-probability", command.self_training_probability, 0, 1)
    check_range("balance", command.balance, 0, 1)
    if command.semantic == "paper" and command.balance:
        raise InputError("--balance is about cross-entropy: it goes with --semantic released")
    if command.self_training_probability:
        say_if_never("self-training-from", command.self_training_from, command.fit)
    scans = photographed(command)
    dataset = scans.index.dataset
    teacher = load_teacher(command.teacher, dataset.root)
    vocabulary = taught_words(command, dataset.classes)
    text = text_embeddings(vocabulary, teacher.clip.weights, torch.device("cpu"), command.teacher.template)
    denoising = Denoising(teacher, text, command.prompt_denoising) if command.prompt_denoising else None
    training = consistency(command, scans, teacher, text, len(vocabulary.names), denoising)
    heads = heads_of(command, teacher)
    about = about_texts(command, heads, teacher, vocabulary.names, vocabulary.synonyms)
    if train(training, about.settings, command.out):
        write_run(command.out, about, training.model)


def consistency(
    command: Clip2Scene,
    scans: Samples,
    teacher: PhotoFeatures,
    text: Tensor,
    known: int,
    denoising: Denoising | None = None,
) -> Consistency:
    """CLIP2Scene with any teacher, ready to train.

    Args:
        text: embeddings of the classes, and after them of distractors.
        known: number of classes.
    """
    model = new_model(command, heads_of(command, teacher))
    pairs, photos = command.pairs, command.photos
    samples = PairedSamples(scans, pairs, photos, teacher, command.sweeps, denoising, command.crops)
    return Consistency(model, samples, text, known, command)


def heads_of(command: Clip2Scene, teacher: PhotoFeatures) -> dict[str, int]:
    """Name and channels of CLIP2Scene's heads: one consistency alone trains the head that is asked later."""
    both = "none" not in (command.semantic, command.spatial_temporal)
    return {TEXT: teacher.d} | ({LOCAL: teacher.d} if both else {})


def about_texts(
    command: Distill | Clip2Scene | Cns,
    heads: Mapping[str, int],
    teacher: Teacher,
    classes: tuple[str, ...],
    synonyms: tuple[tuple[str, ...], ...] = (),
) -> About:
    """Of a run that answers to the texts of its teacher."""
    weights, template = teacher.clip.weights, command.teacher.template
    return About(command.net, heads, classes, weights, asdict(command), template, synonyms)


def photographed(command: Pretraining) -> Samples:
    """The scans with photos that a training is told to learn from; all of its random numbers begin here.

    Raises:
        InputError: none of them has a photo, one has no points, or a number is none that a training can have.
    """
    check(command)
    if command.init is not None and command.init.is_dir() and "held_out" in read_about(command.init).settings:
        raise InputError(
            f"--init {command.init} learnt from labels: pretrain is for what comes without them, finetune goes on with "
            "such a run"
        )
    check_range("photos", command.photos, 0, 10**6)
    check_pairing(command.pairs)
    lightning.seed_everything(command.fit.seed, verbose=False)
    index = read_index(command.index, command.root)
    check_out(command.out, index)
    chosen = index.select("train", command.percent, command.share, command.share_from)
    shown = []
    for position in chosen:
        frame = index[position]
        scan_file(frame)
        if frame.photos:
            check_photos(frame.photos, labels=False)
            shown.append(position)
    photos_of(index, shown)
    return Samples(index, shown, command.net, command.augment, command.fit.seed)


def taught_words(command: Prompted, classes: tuple[str, ...]) -> Vocabulary:
    """What pixels are told apart by: what is asked for, by default the classes of the data set.

    Raises:
        InputError: as `asked_vocabulary`, or there is only one class.
    """
    vocabulary = asked_vocabulary(command.prompt, command.prompts) or Vocabulary(classes)
    if len(vocabulary.names) == 1:
        raise InputError(
            f"one class, {vocabulary.names[0]}, has nothing to be told apart from: name what else there is, too"
        )
    return vocabulary


@rank_zero_only
def say_if_never(flag: str, first: int, fit: Fit) -> None:
    """Say so where the epoch from which something happens does not come."""
    if first >= fit.epochs:
        print(
            f"--{flag} {first}: does not come, since epochs are counted from 0 and --fit.epochs is {fit.epochs}"
        )


def train(training: PairedTraining, settings: Mapping[str, Any], out: Path) -> bool:
    """Train; a run that was interrupted goes on from its last checkpoint.

    Args:
        settings: of the run, as `About` has them.

    Returns:
        Whether this is the process, of several, that writes the run.

    Raises:
        InputError: the folder holds a run with other settings.
    """
    last = begin(out, settings)
    loop = trainer(out, training.fit)
    loop.fit(training, ckpt_path=last, weights_only=True)
    return loop.is_global_zero
