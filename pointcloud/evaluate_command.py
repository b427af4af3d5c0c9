"""``ovs3d-points evaluate``."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ovs3d.errors import InputError
from ovs3d.eval.environment import environment
from ovs3d.eval.miou import segmentation_metrics
from ovs3d.eval.report import Report
from ovs3d.prompts.vocabulary import Vocabulary
from pointcloud.evaluate import PROTOCOL, answers, confusion_of
from pointcloud.index import read_index
from pointcloud.predictions import writer
from pointcloud.runs import load_run
from pointcloud.samples import Samples

if TYPE_CHECKING:
    from pointcloud.cli import Evaluate


def evaluate(command: Evaluate) -> Path:
    """Measure a run; returns the path of the report.

    Raises:
        InputError: the index has other classes than are asked for.
    """
    began = time.monotonic()
    run, index = load_run(command.run_folder, command.device), read_index(command.index, command.root)
    classes = index.dataset.classes
    vocabulary = command.vocabulary() or Vocabulary(classes)
    if len(vocabulary.names) != len(classes):
        raise InputError(
            f"{len(vocabulary.names)} prompts for the {len(classes)} classes of the index: give one for each, in the "
            f"order {'; '.join(classes)}"
        )
    samples = Samples(index, index.select(command.split), run.about.net)
    also = [writer(index, command.out, command.split)] if command.predictions else []
    confusion = confusion_of(answers(run, samples, vocabulary, command.rotations), len(classes), also)
    return Report(
        task=f"evaluate {command.run_folder.name} on {index.dataset.name}",
        protocol=PROTOCOL,
        classes=vocabulary.names,
        metrics=segmentation_metrics(confusion, vocabulary.names),
        split=f"{command.split}: {len(samples)} scans",
        weights={"clip": run.about.weights} if run.about.weights else {},
        config=asdict(command) | {"trained": run.about.settings},
        seed=0,
        seconds=time.monotonic() - began,
        **environment(),
    ).write(command.out)
