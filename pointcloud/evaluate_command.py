"""``ovs3d-points evaluate``."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ovs3d.errors import InputError
from ovs3d.eval.confusion import Confusion
from ovs3d.eval.environment import environment
from ovs3d.eval.miou import miou, pixel_accuracy, segmentation_metrics
from ovs3d.eval.report import Report
from ovs3d.prompts.vocabulary import Vocabulary
from pointcloud.config import Net
from pointcloud.evaluate import PROTOCOL, answers, confusion_of
from pointcloud.index import read_index
from pointcloud.predictions import writer
from pointcloud.projected import projected
from pointcloud.runs import load_run, text_embeddings
from pointcloud.samples import Samples
from pointcloud.teacher import load_teacher, photos_of

if TYPE_CHECKING:
    from pointcloud.cli import Evaluate


def evaluate(command: Evaluate) -> Path:
    """Measure a run, or CLIP itself; returns the path of the report.

    Raises:
        InputError: the index has other classes than are asked for.
    """
    began = time.monotonic()
    index = read_index(command.index, command.root)
    classes = index.dataset.classes
    vocabulary = command.vocabulary() or Vocabulary(classes)
    if len(vocabulary.names) != len(classes):
        raise InputError(
            f"{len(vocabulary.names)} prompts for the {len(classes)} classes of the index: give one for each, in the "
            f"order {'; '.join(classes)}"
        )
    positions = index.select(command.split)
    if command.run_folder is None:
        photos_of(index, positions)
        teacher = load_teacher(command.teacher, index.dataset.root)
        who, weights, trained = "CLIP's labels", teacher.clip.weights, {}
        text = text_embeddings(vocabulary, weights, torch.device("cpu"))
        samples = Samples(index, positions, Net())
        found = projected(teacher, samples, command.pairs, text, len(vocabulary.distractors))
    else:
        run = load_run(command.run_folder, command.device)
        who, weights, trained = command.run_folder.name, run.about.weights, run.about.settings
        samples = Samples(index, positions, run.about.net)
        found = answers(run, samples, vocabulary, command.rotations)
    also = [writer(index, command.out, command.split)] if command.predictions else []
    confusion = confusion_of(found, len(classes), also)
    metrics = segmentation_metrics(confusion, vocabulary.names)
    if command.run_folder is None:
        metrics |= _of_answered(confusion)
    return Report(
        task=f"evaluate {who} on {index.dataset.name}",
        protocol=PROTOCOL,
        classes=vocabulary.names,
        metrics=metrics,
        split=f"{command.split}: {len(samples)} scans",
        weights={"clip": weights} if weights else {},
        config=asdict(command) | {"trained": trained},
        seed=0,
        seconds=time.monotonic() - began,
        **environment(),
    ).write(command.out)


def _of_answered(confusion: Confusion) -> dict[str, float]:
    """Share of the labelled points that have an answer, and figures of these alone."""
    counts = confusion.counts.clone()
    counts[:, -1] = 0
    answered = Confusion(counts)
    return {
        "answered": float(counts.sum() / confusion.counts.sum()),
        "miou_answered": miou(answered),
        "accuracy_answered": pixel_accuracy(answered),
    }
