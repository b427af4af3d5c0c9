"""LERF-Mask: folders of masks of held-out views, compared as in Gaussian Grouping (Ye et al., ECCV 2024).

Source: ``script/eval_lerf_mask.py`` and ``docs/dataset.md`` of github.com/lkeab/gaussian-grouping. Three scenes of LERF
(figurines, ramen, teatime) with 2 to 4 novel views; ``test_mask/<view>/<prompt>.png`` is white where the prompt is, and
predictions have the same names. The scores of a scene are `ovs3d.eval.masks.macro_mean` of IoU and of boundary IoU.

The published script passes over a true mask without a prediction of the same file name, and so over the prompt; a user
of a copy of it found ramen averaged over two prompts of six (github.com/DCVL-3D/ILGS_release, issue 4). Here that is an
error. The script resizes a prediction of another size; here that is an error too. Where truth and prediction are both
empty the script has NaN for the whole scene; here the pair is left out of the mean.
"""

from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Bool
from torch import Tensor

from ovs3d.errors import InputError
from ovs3d.eval.masks import boundary_iou, macro_mean, mask_iou, prompt_means
from ovs3d.images import read_grey


@dataclass(frozen=True)
class LerfMaskScores:
    """Scores of a scene."""

    miou: float
    """Mean over prompts of the mean over views."""
    boundary_miou: float
    """The same of boundary IoU."""
    per_prompt: dict[str, float]
    """IoU of each prompt, mean over views."""
    boundary_per_prompt: dict[str, float]
    """Boundary IoU of each prompt, mean over views."""
    skipped: tuple[str, ...]
    """Views without a true mask, one line each."""


@dataclass(frozen=True)
class MaskPair:
    """The files of one prompt in one view."""

    view: str
    prompt: str
    truth: Path
    prediction: Path


def lerf_mask_scores(truth: Path, predictions: Path) -> LerfMaskScores:
    """Scores of the masks in one folder against those in another.

    Raises:
        InputError: as `mask_pairs` and `read_mask`, or two masks of one name that differ in size.
    """
    pairs, skipped = mask_pairs(truth, predictions)
    iou, boundary = {}, {}
    for pair in pairs:
        masks = _masks_of_one_size(pair)
        iou[pair.view, pair.prompt] = mask_iou(*masks)
        boundary[pair.view, pair.prompt] = boundary_iou(*masks)
    return LerfMaskScores(
        macro_mean(iou), macro_mean(boundary), prompt_means(iou), prompt_means(boundary), skipped
    )


def mask_pairs(truth: Path, predictions: Path) -> tuple[list[MaskPair], tuple[str, ...]]:
    """The masks to compare, and a line for each view that has no true mask, as view 1 of teatime.

    Raises:
        InputError: a prediction is missing, or has no counterpart in a view with true masks; no true mask at all.
    """
    true_files = mask_files(truth)
    predicted_files = mask_files(predictions)
    views = sorted({*true_files, *predicted_files})
    annotated = [view for view in views if true_files.get(view)]
    if not annotated:
        raise InputError(f"no masks in {truth}: expected files such as 0/apple.png")
    pairs = []
    for view in annotated:
        true, predicted = true_files[view], predicted_files.get(view, {})
        _check_names(predictions / view, set(true), set(predicted))
        pairs += [MaskPair(view, prompt, true[prompt], predicted[prompt]) for prompt in true]
    skipped = tuple(f"view {view}: no true mask in {truth}" for view in views if view not in annotated)
    return pairs, skipped


def mask_files(folder: Path) -> dict[str, dict[str, Path]]:
    """View -> prompt -> file, of ``<folder>/<view>/<prompt>.png``; a view may have none. Hidden files do not count.

    Raises:
        InputError: no such folder, or a view holds something else than PNG files.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {folder}: expected masks such as {folder / '0' / 'apple.png'}")
    views = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return {view.name: _masks_in(view) for view in views}


def read_mask(path: Path) -> Bool[Tensor, "h w"]:
    """The pixels of a mask that are brighter than 128, as published.

    Raises:
        InputError: not an image of 8 bits per channel, or one with dark values alone, such as 0 and 1.
    """
    grey = read_grey(path)
    if 0 < grey.max() <= 128:
        raise InputError(f"{path}: the brightest value is {int(grey.max())}; expected 0 and 255")
    return grey > 128


def _masks_of_one_size(pair: MaskPair) -> tuple[Bool[Tensor, "h w"], Bool[Tensor, "h w"]]:
    truth, prediction = read_mask(pair.truth), read_mask(pair.prediction)
    if truth.shape != prediction.shape:
        raise InputError(
            f"{pair.prediction} has {' x '.join(map(str, prediction.shape))} pixels (h x w), "
            f"{pair.truth} {' x '.join(map(str, truth.shape))}; render the view in that size"
        )
    return truth, prediction


def _check_names(folder: Path, true: set[str], predicted: set[str]) -> None:
    missing, extra = sorted(true - predicted), sorted(predicted - true)
    faults = [f"no mask {name}.png" for name in missing] + [f"no true mask for {name}.png" for name in extra]
    if faults:
        raise InputError(f"{folder}: {', '.join(faults)}; names must be those of the true masks")


def _masks_in(view: Path) -> dict[str, Path]:
    files = sorted(path for path in view.iterdir() if not path.name.startswith("."))
    other = [path for path in files if path.suffix != ".png"]
    if other:
        raise InputError(f"{other[0]}: expected masks as PNG files, one per prompt; remove it")
    return {path.stem: path for path in files}
