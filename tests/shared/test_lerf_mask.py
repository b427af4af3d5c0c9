"""Folders of masks are compared file by file; nothing drops out of a mean unsaid."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ovs3d.errors import InputError
from ovs3d.eval.lerf_mask import lerf_mask_scores, mask_files, mask_pairs, read_mask
from ovs3d.eval.masks import boundary_iou
from ovs3d.images import write_png


def block(top, left, bottom, right, height=20, width=30):
    mask = np.zeros((height, width), np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


EMPTY = block(0, 0, 0, 0)
TRUTH = {
    "0/apple": block(2, 3, 12, 13),
    "0/old camera": block(5, 20, 9, 28),
    "2/apple": block(1, 1, 11, 9),
}
PREDICTIONS = {
    "0/apple": block(2, 3, 7, 13),  # half of it
    "0/old camera": block(12, 20, 16, 28),  # beside it
    "2/apple": block(1, 1, 11, 9),
}


def write(folder: Path, masks: dict) -> Path:
    folder.mkdir(exist_ok=True)
    for name, mask in masks.items():
        write_png(folder / f"{name}.png", mask)
    return folder


@pytest.fixture
def folders(tmp_path):
    return write(tmp_path / "truth", TRUTH), write(tmp_path / "predictions", PREDICTIONS)


def test_a_scene_is_the_mean_over_prompts_of_the_mean_over_views(folders):
    scores = lerf_mask_scores(*folders)
    assert scores.per_prompt == pytest.approx({"apple": (1 / 2 + 1) / 2, "old camera": 0})
    assert scores.miou == pytest.approx(3 / 8)
    half = boundary_iou(*(torch.from_numpy(masks["0/apple"]) > 0 for masks in (TRUTH, PREDICTIONS)))
    assert scores.boundary_per_prompt == pytest.approx({"apple": (half + 1) / 2, "old camera": 0})
    assert scores.boundary_miou == pytest.approx((half + 1) / 4)
    # boundaries 1 pixel wide: 36 pixels of 10 x 10, 26 of 5 x 10; they share the top row and 4 pixels on either side
    assert half == pytest.approx(18 / (36 + 26 - 18))
    assert scores.skipped == ()


def test_each_pair_is_of_one_view_and_one_prompt(folders):
    pairs, skipped = mask_pairs(*folders)
    assert [(pair.view, pair.prompt) for pair in pairs] == [
        ("0", "apple"),
        ("0", "old camera"),
        ("2", "apple"),
    ]
    for pair in pairs:
        for folder, path in zip(folders, (pair.truth, pair.prediction), strict=True):
            assert path == folder / pair.view / f"{pair.prompt}.png"
    assert skipped == ()


def test_a_view_without_true_masks_is_listed(folders):
    truth, predictions = folders
    before = lerf_mask_scores(*folders)
    write(predictions, {"1/apple": block(0, 0, 5, 5)})  # no folder in the truth
    (truth / "3").mkdir()  # an empty one
    after = lerf_mask_scores(*folders)
    assert after.skipped == (f"view 1: no true mask in {truth}", f"view 3: no true mask in {truth}")
    assert (after.miou, after.boundary_miou) == (before.miou, before.boundary_miou)


def test_a_missing_an_extra_and_a_misspelt_mask_are_named(folders):
    truth, predictions = folders
    write(predictions, {"2/egg": EMPTY})
    with pytest.raises(InputError, match=r"predictions/2: no true mask for egg\.png"):
        lerf_mask_scores(truth, predictions)
    (predictions / "2" / "egg.png").unlink()
    (predictions / "0" / "old camera.png").rename(predictions / "0" / "old_camera.png")
    with pytest.raises(
        InputError, match=r"predictions/0: no mask old camera\.png, no true mask for old_camera\.png"
    ):
        lerf_mask_scores(truth, predictions)
    (predictions / "0" / "old_camera.png").unlink()
    with pytest.raises(InputError, match=r"predictions/0: no mask old camera\.png; names"):
        lerf_mask_scores(truth, predictions)


def test_a_view_that_was_not_predicted_is_an_error(folders):
    truth, predictions = folders
    (predictions / "2").rename(predictions / "00002")
    with pytest.raises(InputError, match=r"predictions/2: no mask apple\.png"):
        lerf_mask_scores(truth, predictions)


def test_an_object_that_is_not_there_counts_only_if_it_is_found(folders):
    truth, predictions = folders
    write(truth, {"2/old camera": EMPTY, "2/egg": EMPTY})
    write(predictions, {"2/old camera": EMPTY, "2/egg": block(0, 0, 3, 3)})
    scores = lerf_mask_scores(truth, predictions)
    assert scores.per_prompt == pytest.approx({"apple": 3 / 4, "old camera": 0, "egg": 0})
    assert scores.miou == pytest.approx(1 / 4)
    write(predictions, {"2/egg": EMPTY})
    scores = lerf_mask_scores(truth, predictions)
    assert math.isnan(scores.per_prompt["egg"])
    assert scores.miou == pytest.approx(3 / 8)


def test_a_mask_is_what_is_brighter_than_128(tmp_path):
    values = np.array([[0, 127, 128], [129, 254, 255]], np.uint8)
    write_png(tmp_path / "grey.png", values)
    write_png(tmp_path / "rgb.png", values[..., None].repeat(3, axis=2))
    for name in ("grey.png", "rgb.png"):
        assert read_mask(tmp_path / name).tolist() == [[False] * 3, [True] * 3]
    write_png(tmp_path / "empty.png", EMPTY)
    assert not read_mask(tmp_path / "empty.png").any()


@pytest.mark.parametrize("brightest", [1, 128])
def test_a_mask_of_dark_values_is_not_taken_for_an_empty_one(tmp_path, brightest):
    write_png(tmp_path / "apple.png", (TRUTH["0/apple"] > 0).astype(np.uint8) * np.uint8(brightest))
    with pytest.raises(
        InputError, match=rf"apple\.png: the brightest value is {brightest}; expected 0 and 255"
    ):
        read_mask(tmp_path / "apple.png")


def test_masks_that_differ_in_size_are_refused(folders):
    truth, predictions = folders
    write(predictions, {"2/apple": block(1, 1, 9, 9, height=30, width=20)})
    with pytest.raises(InputError, match=r"predictions/2/apple\.png has 30 x 20 .*2/apple\.png 20 x 30;"):
        lerf_mask_scores(truth, predictions)


def test_other_files_are_refused_and_hidden_ones_are_not_seen(folders):
    truth, _ = folders
    (truth / "0" / ".DS_Store").write_bytes(b"x")
    (truth / ".cache").mkdir()
    (truth / "readme.txt").write_text("x")
    assert {view: list(files) for view, files in mask_files(truth).items()} == {
        "0": ["apple", "old camera"],
        "2": ["apple"],
    }
    (truth / "0" / "egg.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"0/egg\.jpg: expected masks as PNG"):
        mask_files(truth)


def test_folders_without_masks_are_refused(folders, tmp_path):
    truth, predictions = folders
    with pytest.raises(InputError, match=r"no folder .*nowhere"):
        lerf_mask_scores(truth, tmp_path / "nowhere")
    (tmp_path / "none" / "0").mkdir(parents=True)
    with pytest.raises(InputError, match=r"no masks in .*none"):
        lerf_mask_scores(tmp_path / "none", predictions)
