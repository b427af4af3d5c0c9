"""``ovs3d-points finetune``: train on labels, from scratch or from a pre-trained network."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import lightning
import torch
from torch import Tensor

from ovs3d.device import usable_device
from ovs3d.errors import InputError
from ovs3d.eval.confusion import Confusion
from ovs3d.eval.environment import environment
from ovs3d.eval.miou import miou, pixel_accuracy, segmentation_metrics
from ovs3d.eval.report import Report
from ovs3d.prompts.templates import TemplateName
from ovs3d.prompts.vocabulary import Vocabulary
from ovs3d.query import similarity
from pointcloud.distributed import mean_over_processes
from pointcloud.evaluate import PROTOCOL, answers, confusion_of
from pointcloud.index import IGNORE, read_index
from pointcloud.lightning_module import PointTraining, begin, check, check_out, new_model, trainer
from pointcloud.model import PointModel
from pointcloud.objectives.supervised import cross_entropy, lovasz_softmax
from pointcloud.runs import LINEAR, TEMPERATURE, TEXT, About, Run, read_about, text_embeddings, write_run
from pointcloud.samples import Batch, Samples, any_labelled
from pointcloud.sparse import use_backend
from pointcloud.teacher import clip_weights

if TYPE_CHECKING:
    from pointcloud.cli import Finetune


_LABELS = IGNORE + 1


class Supervised(PointTraining):
    """Cross-entropy and Lovász-softmax, one to one, as SLidR and CLIP2Scene fine-tune."""

    text: Tensor | None

    def __init__(
        self, model: PointModel, fit, samples: Samples, held_out: Samples, text: Tensor | None
    ) -> None:
        super().__init__(model, fit, samples)
        self.held_out = held_out
        self.register_buffer("text", text, persistent=False)
        self.confusion = Confusion.empty(len(samples.index.dataset.classes))

    def logits(self, outputs: Mapping[str, Tensor]) -> Tensor:
        if self.text is None:
            return outputs[LINEAR].float()
        return similarity(outputs[TEXT].float(), self.text) / TEMPERATURE

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Of all points; those of one voxel with one label are one row, since they have one answer."""
        outputs, rows = self.model.shared(batch.points)
        pairs, counts = (rows * _LABELS + batch.labels).unique(return_counts=True)
        logits, labels = self.logits(outputs)[pairs // _LABELS], pairs % _LABELS
        return {
            "cross_entropy": cross_entropy(logits, labels, counts),
            "lovasz": lovasz_softmax(logits, labels, counts),
        }

    def val_dataloader(self) -> torch.utils.data.DataLoader:
        keys = [(0, item) for item in range(len(self.held_out))]
        rank, world = self.trainer.global_rank, self.trainer.world_size
        return torch.utils.data.DataLoader(
            self.held_out, sampler=keys[rank::world], batch_size=None, num_workers=self.fit.workers
        )

    def on_validation_epoch_start(self) -> None:
        self.confusion = Confusion.empty(self.confusion.k)

    def validation_step(self, batch: Batch, index: int) -> None:
        predicted = self.logits(self.model(batch.points)).argmax(dim=1)
        self.confusion = self.confusion.update(batch.labels.cpu(), predicted.cpu())

    def on_validation_epoch_end(self) -> None:
        counts = mean_over_processes(self.confusion.counts.to(self.device)).cpu() * self.trainer.world_size
        pooled = Confusion(counts.round().long())
        self.log("val/miou", miou(pooled), prog_bar=True, rank_zero_only=True)
        self.log("val/accuracy", pixel_accuracy(pooled), rank_zero_only=True)


def _texts(command: Finetune, root: Path, classes: tuple[str, ...]) -> tuple[Vocabulary, str, TemplateName]:
    """Words, CLIP weights and sentences: those of the run whose head is kept, if it answers to texts.

    Raises:
        InputError: its head answers to texts of other weights than those that are asked for.
    """
    if command.init is not None and command.init.is_dir():
        start = read_about(command.init)
        if TEXT in start.heads:
            if command.weights not in (None, start.weights):
                raise InputError(
                    f"--weights {command.weights}: the head of {command.init} answers to texts of {start.weights}"
                )
            return start.words_of(classes), start.weights, start.template
    return Vocabulary(classes), clip_weights(command.weights, root), "none"


def finetune(command: Finetune) -> Path | None:
    """Train, write the run and the report of its held-out split; returns the report's path.

    A run that was interrupted goes on from its last checkpoint. Of several processes the first one reports; None in the
    others.

    Raises:
        InputError: no scan to train on, or to report on, has labels; flags that do not go with each other.
    """
    check(command)
    began = time.monotonic()
    lightning.seed_everything(command.fit.seed, verbose=False)
    index = read_index(command.index, command.root)
    check_out(command.out, index)
    classes = index.dataset.classes
    chosen = index.select("train", command.percent, command.share, command.share_from)
    samples = Samples(index, chosen, command.net, command.augment, command.fit.seed)
    held_out = Samples(index, index.select(command.held_out), command.net)
    for split, positions in (("train", chosen), (command.held_out, held_out.positions)):
        if not classes or not any_labelled(index, positions):
            raise InputError(
                f"{index.dataset.root}: no scan of split {split!r} has labels of the classes of the index; training "
                "without labels is ovs3d-points pretrain"
            )
    words, text, weights, template = Vocabulary(classes), None, "", "none"
    if command.head == "text":
        words, weights, template = _texts(command, index.dataset.root, classes)
        text = text_embeddings(words, weights, torch.device("cpu"), template)
    heads = {LINEAR: len(classes)} if text is None else {TEXT: text.shape[1]}
    model = new_model(command, heads, kept=(TEXT,))  # it answers in the space of texts already
    if command.freeze:
        model.freeze_trunk()
    settings = asdict(command)
    about = About(command.net, heads, classes, weights, settings, template, words.synonyms)
    last = begin(command.out, settings)
    training = Supervised(model, command.fit, samples, held_out, text)
    loop = trainer(command.out, command.fit, max(1, command.fit.epochs // 5))
    loop.fit(training, ckpt_path=last, weights_only=True)
    if not loop.is_global_zero:
        return None
    write_run(command.out, about, model)
    there = torch.device(usable_device(None))
    use_backend(model.net, "torch", there)  # as whoever loads the run will
    run = Run(about, model.to(there).eval(), there)
    metrics = segmentation_metrics(confusion_of(answers(run, held_out, words), len(classes)), classes)
    return Report(
        task=f"finetune on {index.dataset.name}",
        protocol=PROTOCOL,
        classes=classes,
        metrics=metrics,
        split=f"{command.held_out}: {len(held_out)} scans; trained on {len(chosen)} ({command.percent:g} %)",
        weights={"clip": about.weights} if about.weights else {},
        config=settings,
        seed=command.fit.seed,
        seconds=time.monotonic() - began,
        **environment(),
    ).write(command.out)
