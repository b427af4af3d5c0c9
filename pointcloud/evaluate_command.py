"""``ovs3d-points evaluate``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovs3d.errors import InputError, check_range
from ovs3d.eval.confusion import Confusion
from ovs3d.eval.environment import environment
from ovs3d.eval.miou import miou, pixel_accuracy, segmentation_metrics
from ovs3d.eval.report import Report
from ovs3d.outputs.folder import usable_folder
from ovs3d.prompts.vocabulary import Vocabulary
from pointcloud import config
from pointcloud.check import check_photos
from pointcloud.evaluate import PROTOCOL as POINTS
from pointcloud.evaluate import Answer, OfShown, answers, confusion_of
from pointcloud.evaluate_photos import PROTOCOL as PIXELS
from pointcloud.evaluate_photos import NetworkLabels, Placed, asked_photos, photo_answers, together
from pointcloud.image_runs import load_image_run
from pointcloud.index import Index, read_index
from pointcloud.masks import Masks, check_masks, load_masks
from pointcloud.pairing import check_pairing
from pointcloud.pixel_labels import clip_labels
from pointcloud.predictions import writer
from pointcloud.projected import projected, projected_votes
from pointcloud.runs import load_run, read_about
from pointcloud.samples import Samples, any_labelled
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
    if command.rotations < 1:
        raise InputError(f"--rotations is 1 or more, not {command.rotations}")
    if not classes:
        raise InputError(
            f"the index of {index.dataset.root} has no classes to compare with: infer and view need none"
        )
    vocabulary = command.vocabulary() or _words(command.run_folder, classes)
    if len(vocabulary.names) != len(classes):
        raise InputError(
            f"{len(vocabulary.names)} prompts for the {len(classes)} classes of the index: give one for each, in the "
            f"order {'; '.join(classes)}"
        )
    if command.shown and command.of == "photos":
        raise InputError("--shown is about points: leave out --of photos")
    check_range("margin", command.margin, 0, 1)
    if command.margin and command.refine != "soft":
        raise InputError("--margin is about --refine soft")
    if command.refine == "none" and command.masks != config.Masks():
        raise InputError("--masks is about --refine hard or soft")
    check_masks(command.masks)
    check_pairing(command.pairs)
    positions = index.select(command.split)
    if not command.predictions and command.of != "photos" and not any_labelled(index, positions):
        raise InputError(
            f"no scan of split {command.split!r} has labels to compare with: infer and view need none"
        )
    if command.shown or command.run_folder is None or command.of != "points":
        photos_of(index, positions)
        for position in positions:
            check_photos(index[position].photos, labels=command.of == "photos")
    usable_folder(command.out)
    ask = _clip if command.run_folder is None else _run
    asked = ask(command, index, positions, vocabulary)
    also: list[Callable[[Answer], None]] = []
    if command.predictions:
        also.append(writer(index, command.out, command.split))
    of_shown = OfShown(index, command.pairs, Confusion.empty(len(classes)))
    if command.shown:
        also.append(of_shown)
    confusion = confusion_of(asked.answers, len(classes), also)
    metrics = segmentation_metrics(confusion, vocabulary.names)
    if command.shown:
        metrics |= of_shown.metrics()
    if command.run_folder is None or command.margin:
        metrics |= _of_answered(confusion)
    return Report(
        task=f"evaluate {asked.who} on {index.dataset.name}: {_what(command)}",
        protocol=PIXELS if command.of == "photos" else POINTS,
        classes=vocabulary.names,
        metrics=metrics,
        split=f"{command.split}: {_number(command, index, positions)}",
        weights=asked.weights,
        config=asdict(command) | {"trained": asked.trained},
        seed=0,
        seconds=time.monotonic() - began,
        **environment(),
    ).write(command.out)


def _number(command: Evaluate, index: Index, positions: list[int]) -> str:
    """Of what was measured."""
    if command.of != "photos":
        return f"{len(positions)} scans"
    return f"{len(_photos(command, index, positions))} photos of {len(positions)} frames"


def _photos(command: Evaluate, index: Index, positions: list[int]) -> list[Placed]:
    """Those that are asked: where all labels are written, all."""
    return asked_photos(index, positions, labelled=not command.predictions)


def _what(command: Evaluate) -> str:
    """What was asked to give the labels."""
    of = "points, by both networks" if command.of == "both" else command.of
    return (
        of if command.refine == "none" else f"{of}, {command.refine} votes of masks by {command.masks.source}"
    )


def _words(run: Path | None, classes: tuple[str, ...]) -> Vocabulary:
    """The classes of an index, in the words that a run was taught them by."""
    return Vocabulary(classes) if run is None else read_about(run).words_of(classes)


@dataclass(frozen=True)
class _Asked:
    """Who answers."""

    who: str
    weights: Mapping[str, str]
    """Of foundation models, by their kind."""
    trained: Mapping[str, Any]
    answers: Iterator[Answer]


def _clip(command: Evaluate, index: Index, positions: list[int], vocabulary: Vocabulary) -> _Asked:
    """CLIP by itself."""
    if command.of == "both":
        raise InputError("--of both needs the two networks of a --run of pretrain cns")
    if command.device is not None or command.rotations != 1:
        raise InputError("--device and --rotations are about a --run; CLIP's own device is --teacher.device")
    teacher = load_teacher(command.teacher, index.dataset.root)
    masks, template = _masks(command, index, positions), command.teacher.template
    clip = clip_labels(vocabulary, teacher, template, masks, command.refine, command.margin)
    samples = Samples(index, positions, config.Net(inputs=("one",)))
    if command.of == "photos":
        found = photo_answers(clip, _photos(command, index, positions), len(index.dataset.classes))
    elif command.refine == "none":
        found = projected(teacher, samples, command.pairs, clip.text, len(vocabulary.distractors))
    else:
        found = projected_votes(clip, samples, command.pairs)
    weights = {"clip": teacher.clip.weights} | _of_masks(masks)
    return _Asked("CLIP's labels", weights, {}, found)


def _run(command: Evaluate, index: Index, positions: list[int], vocabulary: Vocabulary) -> _Asked:
    """A run: its network of points, that of photos, or both."""
    assert command.run_folder is not None
    if command.teacher != config.Teacher():
        raise InputError("--teacher is about CLIP's own labels, without a --run")
    if command.of == "points" and command.refine != "none":
        raise InputError("--refine is about what photos show: of a --run it goes with --of photos or both")
    if command.of == "both" and command.refine == "hard":
        raise InputError(
            "--refine hard leaves no shares to average with those of points: --of both takes soft"
        )
    if command.of == "both" and command.margin:
        raise InputError("--margin of a --run goes with --of photos alone")
    if command.of != "points" and command.rotations != 1:
        raise InputError("--rotations turns points: it goes with --of points alone")
    run = load_run(command.run_folder, command.device)
    samples = Samples(index, positions, run.about.net)
    masks = None
    if command.of == "points":
        found = answers(run, samples, vocabulary, command.rotations)
    else:
        image, text = load_image_run(command.run_folder, run.device), run.embeddings(vocabulary)
        assert text is not None
        masks = _masks(command, index, positions)
        photos = NetworkLabels(text, len(vocabulary.names), masks, command.refine, command.margin, run=image)
        if command.of == "both":
            found = together(run, photos, samples, vocabulary, command.pairs)
        else:
            found = photo_answers(photos, _photos(command, index, positions), len(index.dataset.classes))
    weights = ({"clip": run.about.weights} if run.about.weights else {}) | _of_masks(masks)
    return _Asked(command.run_folder.name, weights, run.about.settings, found)


def _masks(command: Evaluate, index: Index, positions: list[int]) -> Masks | None:
    """Those of all photos of the frames that will be asked; None: nothing is to be refined."""
    if command.refine == "none":
        return None
    masks = load_masks(command.masks, index.dataset.root)
    if command.of == "photos":
        masks.fill([photo.path for _, photo in _photos(command, index, positions)])
    else:
        masks.fill(photos_of(index, positions))
    return masks


def _of_masks(masks: Masks | None) -> dict[str, str]:
    """SAM's weights, where it found the masks."""
    return {} if masks is None or masks.find.weights is None else {"sam": masks.find.weights}


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
