"""Figures of a trained run by published protocols, each with its own report.

Which differ in views, masks and means, so that one model may score 10 or 50; a report says which it is.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerf_methods.evaluate import held_out_views, own_prompts, picture_metrics, pooled
from nerf_methods.labels import missing, read_masks
from nerf_methods.run import Run
from ovs3d.errors import InputError
from ovs3d.eval.environment import environment
from ovs3d.eval.lerf_mask import lerf_mask_scores, mask_files, read_mask
from ovs3d.eval.lerf_ovs import plain_mask, published_is_localized, published_mask
from ovs3d.eval.lerf_ovs_frames import Annotation, photos_of_frames, read_frames
from ovs3d.eval.localization import is_localized
from ovs3d.eval.masks import flat_mean, mask_iou
from ovs3d.eval.miou import segmentation_metrics
from ovs3d.eval.released_3dovs import released_scores
from ovs3d.eval.report import Report
from ovs3d.images import write_png
from ovs3d.prompts.vocabulary import Vocabulary

if TYPE_CHECKING:
    from nerf_methods.cli import Evaluate

REDUCTION = 8
"""Photos are this many times larger than the pictures on which the released 3D-OVS code evaluates."""


@dataclass(frozen=True)
class Measured:
    """What a protocol found."""

    description: str
    """How it was evaluated, with its conventions."""
    split: str
    classes: tuple[str, ...]
    metrics: dict[str, Any]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Pair:
    """A prompt that is annotated in a frame."""

    key: tuple[str, str]
    """Name of the frame, and the prompt."""
    relevancy: Float[Tensor, "h w"]
    truth: Annotation


def evaluate(run: Run, command: "Evaluate") -> Report:
    """Measure by the protocol of a command and write its report.

    Raises:
        InputError: there is no truth for the protocol, or it does not fit the scene.
    """
    start = time.perf_counter()
    found = measure(run, command.protocol, command.truth, command.negatives, command.out)
    report = Report(
        task=f"{command.protocol} of {command.run}",
        protocol=f"{command.protocol}: {found.description}",
        classes=found.classes,
        metrics=found.metrics,
        split=found.split,
        weights=run.weights,
        config={"run": str(command.run), "negatives": run.query.negatives, "threshold": run.query.threshold},
        seed=run.seed,
        seconds=time.perf_counter() - start,
        skipped=found.skipped,
        **environment(),
    )
    report.write(command.out)
    return report


def measure(
    run: Run, protocol: str, truth: Path | None, negatives: tuple[str, ...] | None, out: Path
) -> Measured:
    """Evaluate a run; for 3D-OVS's protocols it must be asked, in LERF's the annotations say what is asked.

    Args:
        truth: folder of the annotations of LERF's protocols; 3D-OVS's lie in the scene.
        negatives: what prompts are compared with in LERF's protocols. Default: as the run was trained.
        out: where predicted masks are kept, for `lerf-mask`.

    Raises:
        InputError: there is no truth for the protocol, or it does not fit the scene.
    """
    if not protocol.startswith("lerf"):
        return {"3dovs-heldout": _held_out, "3dovs-released": _released}[protocol](run)
    if truth is None:
        raise InputError(f"{protocol} needs annotations: name their folder with --truth")
    if protocol == "lerf-mask":
        return _lerf_mask(run, truth, negatives, out)
    pairs, notes = _annotated(run, truth, negatives)
    found = (_lerf_localization if protocol == "lerf-localization" else _lerf_ovs)(pairs)
    return replace(found, skipped=notes)


def _held_out(run: Run) -> Measured:
    if absent := missing(own_prompts(run), run.query.names):
        raise InputError(
            f"{', '.join(absent)}: of the scene, but not asked, so a wrong answer there would not count; ask for all "
            "of the scene's prompts"
        )
    views, names = list(held_out_views(run)), run.query.names
    confusion = pooled([view.truth for view in views], [view.answer for view in views], len(names))
    if int(confusion.counts.sum()) == 0:
        raise InputError("no truth: the held-out views have no masks in segmentations/ for these prompts")
    pictures = [picture_metrics(view) for view in views]
    means = {key: sum(one[key] for one in pictures) / len(views) for key in pictures[0]}
    return Measured(
        "pixels pooled over views, absent classes skipped, no answer a miss",
        f"{len(views)} held-out views",
        names,
        segmentation_metrics(confusion, names) | means,
    )


def _released(run: Run) -> Measured:
    names, dataset = run.query.names, run.pipeline.datamanager.eval_dataset
    scene, own = run.pipeline.datamanager.scene, run.pipeline.datamanager.settings.vocabulary
    masks_of = dict(zip(own.names, own.mask_names, strict=True)) if own else {}
    files = tuple(masks_of.get(name, name) for name in names)

    def views() -> Iterator[tuple[Bool[Tensor, "k _h _w"], Tensor]]:
        for index, photo in enumerate(dataset.image_filenames):
            camera = dataset.cameras[index : index + 1]
            size = int(camera.height) // REDUCTION, int(camera.width) // REDUCTION
            masks = read_masks(scene, photo, files, size)
            if masks is not None:
                yield masks, run.labels(run.render(_of_size(camera, size)))

    try:
        scores = released_scores(views())
    except ValueError as error:
        raise InputError(f"{error}: 3D-OVS's lie in segmentations/<NN>/<prompt>.png") from error
    return Measured(
        "released 3D-OVS: per view and class at an eighth of the size, absent classes count as 0, "
        "accuracy asks for the whole set of masks",
        "annotated views, which were held out of training (3D-OVS trains on them)",
        names,
        {
            "miou": scores.miou,
            "accuracy": scores.accuracy,
            "per_class": dict(zip(names, scores.per_class, strict=True)),
        },
    )


def _lerf_localization(pairs: list[Pair]) -> Measured:
    hits = {pair.key: float(is_localized(pair.relevancy, pair.truth.boxes)) for pair in pairs}
    return Measured(
        "LERF: the pixel of highest relevancy lies in a box; share of all (frame, prompt)",
        _frames_of(pairs),
        _prompts_of(pairs),
        {"localization": flat_mean(hits)},
    )


def _lerf_ovs(pairs: list[Pair]) -> Measured:
    published = {pair.key: mask_iou(pair.truth.mask, published_mask(pair.relevancy)) for pair in pairs}
    plain = {pair.key: mask_iou(pair.truth.mask, plain_mask(pair.relevancy)) for pair in pairs}
    hits = {pair.key: float(published_is_localized(pair.relevancy, pair.truth.boxes)) for pair in pairs}
    return Measured(
        "LERF-OVS as LangSplat: masks from relevancy stretched to its own range in each picture, flat mean over "
        "(frame, prompt); plain: the same filters on relevancy itself, at least 0.5",
        _frames_of(pairs),
        _prompts_of(pairs),
        {"miou": flat_mean(published), "plain_miou": flat_mean(plain), "localization": flat_mean(hits)},
    )


def _lerf_mask(run: Run, truth: Path, negatives: tuple[str, ...] | None, out: Path) -> Measured:
    photos, cameras = run.photos("held-out"), run.cameras("held-out")
    predictions, notes = out / "predictions", dict[str, None]()
    for view, files in mask_files(truth).items():
        (predictions / view).mkdir(parents=True, exist_ok=True)
        if not files:
            continue
        place = _view_of(view, [photo.stem for photo in photos])
        notes |= dict.fromkeys(run.ask(Vocabulary(tuple(files)), negatives).notes)
        height, width = read_mask(next(iter(files.values()))).shape
        camera = _of_size(cameras[place : place + 1], (height, width))
        scores = run.relevancies(run.render(camera))
        for index, name in enumerate(files):
            mask = plain_mask(scores[..., index])
            write_png(predictions / view / f"{name}.png", mask.byte().mul(255).numpy())
    found = lerf_mask_scores(truth, predictions)
    return Measured(
        "LERF-Mask as Gaussian Grouping: mean over prompts of the mean over views; masks are the mean "
        "of relevancy and its mean over 30x30 pixels, at least 0.5, and then each pixel as most of the 7x7 around it",
        "held-out views, by name or by position",
        tuple(found.per_prompt),
        {
            "miou": found.miou,
            "boundary_miou": found.boundary_miou,
            "per_class": found.per_prompt,
            "boundary_per_class": found.boundary_per_prompt,
        },
        (*found.skipped, *notes),
    )


def _view_of(name: str, stems: list[str]) -> int:
    if name in stems:
        return stems.index(name)
    if name.isdigit() and int(name) < len(stems):
        return int(name)
    raise InputError(f"no held-out view {name}: expected one of {', '.join(stems)}, or a position among them")


def _annotated(
    run: Run, truth: Path, negatives: tuple[str, ...] | None
) -> tuple[list[Pair], tuple[str, ...]]:
    """All annotated prompts of all frames, each asked beside the other prompts of its frame; what is not answered."""
    frames, pairs, notes = read_frames(truth), [], dict[str, None]()
    sides = [(run.photos("train"), run.cameras("train")), (run.photos("held-out"), run.cameras("held-out"))]
    cameras = {photo: cameras[i : i + 1] for photos, cameras in sides for i, photo in enumerate(photos)}
    for frame, photo in zip(frames, photos_of_frames(frames, list(cameras)), strict=True):
        notes |= dict.fromkeys(run.ask(Vocabulary(tuple(frame.prompts)), negatives).notes)
        scores = run.relevancies(run.render(_of_size(cameras[photo], frame.size)))
        for index, (prompt, annotation) in enumerate(frame.prompts.items()):
            pairs.append(Pair((frame.name, prompt), scores[..., index], annotation))
    return pairs, tuple(notes)


def _of_size(camera: Cameras, size: tuple[int, int]) -> Cameras:
    """The camera of the photo resized to as many rows and columns."""
    rows, columns = size[0] / camera.height, size[1] / camera.width
    camera.fy, camera.cy = camera.fy * rows, camera.cy * rows
    camera.fx, camera.cx = camera.fx * columns, camera.cx * columns
    camera.height, camera.width = (
        torch.full_like(camera.height, size[0]),
        torch.full_like(camera.width, size[1]),
    )
    return camera


def _frames_of(pairs: list[Pair]) -> str:
    return f"{len({pair.key[0] for pair in pairs})} annotated frames, {len(pairs)} prompts in all"


def _prompts_of(pairs: list[Pair]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(pair.key[1] for pair in pairs))
