"""CNS with a teacher that calls most pixels wrong: masks right it, and what the networks say later does no harm."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_scans import COLORS, write_tiny
from torch import Tensor

from ovs3d.images import read_image
from pointcloud.cli import main
from pointcloud.config import Felzenszwalb, Masks
from pointcloud.frame import Photo
from pointcloud.index import read_index
from pointcloud.masks import load_masks
from pointcloud.pixel_labels import ClipLabels
from pointcloud.refine import sums_of_masks
from pointcloud.teacher import pixels_of

WRONG = 0.6
"""Share of the pixels with another name."""
NAMES = "green floor; red box; table; mug; cone; book"
K = 6
MASKS = Masks("felzenszwalb", felzenszwalb=Felzenszwalb())
EPOCHS = 16
TRAINING = [
    *("cns", "--prompt", NAMES, "--masks.source", "felzenszwalb", "--latent.weight", "0"),
    *("--net.voxel-size-m", "0.3", "--fit.batch-size", "2", "--fit.epochs", str(EPOCHS)),
    *("--fit.optimizer", "adamw", "--fit.lr", "4e-3", "--image.height", "48", "--image.width", "64"),
]
STAGES = {
    "first stage alone": ["--switch-probs", "1", "0", "0", "--image.name", "none"],
    "both stages": ["--switch-from", str(EPOCHS // 2), "--image.name", "deeplabv3-mobilenet"],
}
"""In the first, points learn nothing from the network of photos."""


def truth_of(photo: Path) -> Tensor:
    return torch.from_numpy((read_image(photo).numpy() == COLORS[50]).all(axis=2).astype(np.int64))


def noisy_votes(_: ClipLabels, photo: Photo, row_col: Tensor) -> Tensor:
    truth, random = truth_of(photo.path), torch.Generator().manual_seed(int(photo.path.stem))
    wrong = torch.rand(truth.shape, generator=random) < WRONG
    other = (truth + torch.randint(1, K, truth.shape, generator=random)) % K
    return F.one_hot(torch.where(wrong, other, truth)[row_col[:, 0], row_col[:, 1]], K).float()


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("labelled")
    path = write_tiny(root, photos=True)
    (root / "ovs3d.yaml").write_text("weights: mini\n")
    return path


def test_votes_of_masks_right_what_is_wrong_in_most_pixels(labelled):
    masks, right, count = load_masks(MASKS, labelled.parent.parent), 0, 0
    for frame in read_index(labelled):
        photo = frame.photos[0]
        row_col = pixels_of(photo)
        mask = masks.of(photo.path)[row_col[:, 0], row_col[:, 1]]
        truth = F.one_hot(truth_of(photo.path).flatten(), K).float()
        true_name = sums_of_masks(truth, mask).argmax(dim=1)
        voted = sums_of_masks(noisy_votes(None, photo, row_col), mask).argmax(dim=1)  # type: ignore[arg-type]
        right, count = right + int((voted == true_name).sum()), count + len(voted)
    assert count > 12
    assert right > 0.95 * count


def test_labels_that_come_from_the_networks_too_are_no_worse(labelled, tmp_path, monkeypatch):
    monkeypatch.setattr(ClipLabels, "votes_of_pixels", noisy_votes)
    found = {}
    for name, stages in STAGES.items():
        out = tmp_path / name
        main(["pretrain", *TRAINING, *stages, "--index", str(labelled), "--out", str(out)])
        asked = ["--run", str(out), "--index", str(labelled), "--prompt", "green floor; red box"]
        main(["evaluate", *asked, "--out", str(out / "points")])
        found[name] = json.loads((out / "points" / "report.json").read_text())["metrics"]["miou"]
    assert found["first stage alone"] > 0.9
    assert found["both stages"] >= found["first stage alone"]
