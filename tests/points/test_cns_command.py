"""``pretrain cns`` from the command line: it trains, goes on after a kill, and both networks can be measured."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_scans import COLORS, tiny_photo, tiny_scan, write_tiny
from torchvision.models import resnet50
from torchvision.models.segmentation import deeplabv3_resnet50
from torchvision.models.segmentation.lraspp import LRASPPHead
from trainings import SHORT, check_that_it_goes_on, losses, pretrained

from ovs3d.errors import InputError
from ovs3d.eval.confusion import Confusion
from ovs3d.eval.miou import miou
from ovs3d.images import read_ids, read_image, write_png
from ovs3d.outputs.palette import label_colors
from ovs3d.prompts.vocabulary import Vocabulary
from pointcloud.cli import main
from pointcloud.config import Net, Pairing
from pointcloud.evaluate_photos import together
from pointcloud.image_runs import ImageRun, load_image_run
from pointcloud.index import read_index
from pointcloud.index_command import Index
from pointcloud.nets.photos import PhotoNet
from pointcloud.paired import paired_scans
from pointcloud.pixel_labels import PixelLabels
from pointcloud.runs import Run, load_run
from pointcloud.sam_features import SamFeatures
from pointcloud.samples import Samples

KILLED_AT = 7
IMAGE = [
    "--image.name",
    "deeplabv3-mobilenet",
    "--image.height",
    "48",
    "--image.width",
    "64",
    "--image.pixels",
    "200",
]
MASKS = ["--masks.source", "felzenszwalb"]
SWITCH = [
    "--switch-from",
    "2",
    "--switch-unit",
    "mask",
    "--ema",
    "0.9",
    "--multi-view",
]
OPTIMIZER = ["--fit.optimizer", "adamw", "--fit.lr", "4e-3"]
FLAGS = ["cns", *SHORT, *IMAGE, *MASKS, *SWITCH, *OPTIMIZER, "--balance", "0.5", "--latent.channels", "8"]


@pytest.fixture(scope="module")
def trained(index, tmp_path_factory) -> Path:
    """The folder of a run that nothing interrupted."""
    return pretrained(FLAGS, index, tmp_path_factory.mktemp("cns"))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """The index of the same scans with labels of points and of pixels."""
    root = tmp_path_factory.mktemp("labelled")
    write_tiny(root, photos=True)
    (root / "ovs3d.yaml").write_text("weights: mini\n")
    content = json.loads((root / "cameras.json").read_text())
    for i, scan in enumerate(content["scans"].values()):
        photo = tiny_photo(*tiny_scan(i))
        truth = np.full(photo.shape[:2], 255, np.uint8)
        for raw, class_id in ((40, 0), (50, 1)):
            truth[(photo == COLORS[raw]).all(axis=2)] = class_id
        write_png(root / f"{i}_truth.png", truth)
        scan["photos"][0]["labels"] = f"{i}_truth.png"
    (root / "cameras.json").write_text(json.dumps(content))
    Index("folder", root).run()
    return root / ".ovs3d" / "index.jsonl"


def measured(index: Path, out: Path, *flags: str) -> dict:
    main(["evaluate", "--index", str(index), "--out", str(out), "--prompt", "green floor; red box", *flags])
    return json.loads((out / "report.json").read_text())


def test_both_networks_learn_and_no_label_is_read(trained):
    for name in ("pixels", "points", "latent"):
        found = list(losses(trained, name).values())
        assert len(found) == 12
        assert np.isfinite(found).all()
    taught = list(losses(trained, "points").values())
    assert np.mean(taught[2:4]) < np.mean(taught[:2])  # before labels switch
    assert set(load_run(trained).about.heads) == {"final", "latent_feature"}
    image = load_image_run(trained, torch.device("cpu"))
    assert dict(image.about.heads) == {"final": load_run(trained).about.heads["final"], "latent_feature": 8}
    assert not image.net.training


def test_after_kill_9_training_goes_on_to_the_same_losses(trained, index, tmp_path):
    check_that_it_goes_on(KILLED_AT, ["pretrain", *FLAGS, "--index", str(index)], tmp_path / "run", trained)
    whole, resumed = (load_file(folder / "image.safetensors") for folder in (trained, tmp_path / "run"))
    torch.testing.assert_close(resumed, whole)


def test_prompts_have_synonyms_and_distractors_which_are_no_classes(index, tmp_path):
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text("classes:\n  - table: [green floor]\n  - red box\ndistractors: [mug]\n")
    out = pretrained([*FLAGS, "--fit.epochs", "1", "--prompts", str(prompts)], index, tmp_path / "run")
    assert load_run(out).about.classes == ("table", "red box")
    plain = pretrained([*FLAGS, "--fit.epochs", "1", "--prompt", "table; red box"], index, tmp_path / "plain")
    both = [losses(run, "pixels")[0] for run in (out, plain)]
    assert np.isfinite(both).all()
    assert both[0] != pytest.approx(both[1], rel=1e-3)


def test_photos_and_points_are_measured(trained, labelled, tmp_path):
    reports = {
        of: measured(labelled, tmp_path / of, "--run", str(trained), "--of", of)
        for of in ("points", "photos")
    }
    assert "points" in reports["points"]["protocol"]
    assert "pixels" in reports["photos"]["protocol"]
    assert [reports[of]["split"] for of in reports] == ["val: 2 scans", "val: 2 photos of 2 frames"]
    assert all(report["metrics"]["accuracy"] > 0.5 for report in reports.values())


@pytest.mark.parametrize("seen", [0, 1])
def test_both_networks_answer_together(seen, trained, labelled, tmp_path, monkeypatch):
    """The network of photos is sure that all is one thing, and the scan is called so wherever a photo shows it."""
    sure = torch.full((2, 3, 4), -1.0)
    sure[seen] = 1.0
    monkeypatch.setattr(ImageRun, "similarities", lambda *_: sure)
    found = measured(labelled, tmp_path, "--run", str(trained), "--of", "both", "--predictions")
    assert "points" in found["protocol"]
    predictions = np.concatenate([np.load(path) for path in sorted((tmp_path / "predictions").glob("*.npy"))])
    assert (predictions == seen).mean() > 0.95


@dataclass(frozen=True, eq=False, kw_only=True)
class SureLabels(PixelLabels):
    """All pixels are the second of two classes with the same probability."""

    second: float

    def votes_of_pixels(self, photo, row_col):
        return torch.tensor([1 - self.second, self.second]).repeat(len(row_col), 1)


class SureRun(Run):
    """All points are the first with the same probability."""

    device = torch.device("cpu")

    def __init__(self):
        pass

    def logits(self, points, *_):
        return torch.tensor([0.8, 0.2]).log().repeat(len(points.batch), 1)


@pytest.mark.parametrize(("second", "expected"), [(0.7, 0), (0.9, 1)])
def test_the_answer_of_both_networks_is_of_the_mean_of_their_probabilities(second, expected, labelled):
    scans = Samples(read_index(labelled), range(1), Net(voxel_size_m=0.3))
    ((_, _, pairs, _),) = paired_scans(scans, Pairing())
    of_photos = SureLabels(torch.eye(2), 2, None, second=second)
    (found,) = together(SureRun(), of_photos, scans, Vocabulary(("green floor", "red box")), Pairing())
    shown = torch.zeros(len(found.prediction), dtype=torch.bool)
    shown[pairs.point] = True
    assert 0 < shown.sum() < len(shown)
    assert (found.prediction[shown] == expected).all()
    assert (found.prediction[~shown] == 0).all()
    assert found.score[shown][0].item() == pytest.approx(max(1.8 - second, 0.2 + second) / 2)


def test_masks_make_clip_better(labelled, tmp_path):
    of_photos, of_points = {}, {}
    for refine in ("none", "hard", "soft"):
        flags = [*MASKS, "--refine", refine] if refine != "none" else []
        of_photos[refine] = measured(labelled, tmp_path / f"photos {refine}", "--of", "photos", *flags)[
            "metrics"
        ]
        of_points[refine] = measured(labelled, tmp_path / f"points {refine}", *flags)["metrics"]
    for found in (of_photos, of_points):
        assert found["hard"]["miou"] > found["none"]["miou"]
        assert found["soft"]["miou"] > found["none"]["miou"]
    sure = measured(
        labelled, tmp_path / "sure", "--of", "photos", *MASKS, "--refine", "soft", "--margin", "0.6"
    )
    assert sure["metrics"]["answered"] < of_photos["soft"]["answered"] == 1


def test_masks_make_what_a_network_says_of_photos_better(trained, labelled, tmp_path, monkeypatch):
    """It sees the red box, but is wrong about a fifth of the photo."""

    def noisy(_: ImageRun, image: torch.Tensor, __: torch.Tensor) -> torch.Tensor:
        wrong = torch.rand(image.shape[:2], generator=torch.Generator().manual_seed(0)) < 0.2
        red = (image[..., 0] > image[..., 1]) ^ wrong
        return torch.stack([~red, red]).float()

    monkeypatch.setattr(ImageRun, "similarities", noisy)
    for of, ways in (("photos", ("hard", "soft")), ("both", ("soft",))):
        found = {
            refine: measured(
                labelled,
                tmp_path / of / refine,
                "--run",
                str(trained),
                "--of",
                of,
                *(MASKS if refine != "none" else ()),
                "--refine",
                refine,
            )["metrics"]["miou"]
            for refine in ("none", *ways)
        }
        assert min(found[refine] for refine in ways) > found["none"]


def test_the_report_names_sam_where_it_found_the_masks(labelled, tmp_path):
    flags = ["--of", "photos", "--refine", "soft"]
    easily = ["points-per-side=4", "pred-iou-thresh=0", "stability-score-thresh=0"]
    by_sam = measured(labelled, tmp_path / "sam", *flags, *(f"--masks.sam.{each}" for each in easily))
    assert by_sam["task"].endswith(" votes of masks by sam")
    assert by_sam["weights"] == {"clip": "mini", "sam": "mini"}
    assert measured(labelled, tmp_path / "colours", *flags, *MASKS)["weights"] == {"clip": "mini"}


def test_labels_of_photos_are_written_as_pictures(trained, labelled, index, tmp_path):
    report = measured(labelled, tmp_path, "--run", str(trained), "--of", "photos", "--predictions")
    confusion = Confusion.empty(2)
    for frame in (4, 5):
        (written,) = (tmp_path / "predictions" / str(frame)).iterdir()
        assert written.name == f"{frame}.png"
        found = read_ids(written).long()
        confusion = confusion.update(read_ids(labelled.parent.parent / f"{frame}_truth.png").long(), found)
        colors = read_image(written)
        assert (colors[found == 1] == torch.from_numpy(label_colors(np.array(1)))).all()
    assert report["metrics"]["miou"] == pytest.approx(miou(confusion))
    unknown = measured(index, tmp_path / "bare", "--run", str(trained), "--of", "photos", "--predictions")
    assert unknown["split"] == "val: 2 photos of 2 frames"
    again = (tmp_path / "bare" / "predictions" / "4" / "4.png").read_bytes()
    assert again == (tmp_path / "predictions" / "4" / "4.png").read_bytes()


NO_MASK = [
    f"--masks.sam.{each}" for each in ("points-per-side=1", "pred-iou-thresh=1", "stability-score-thresh=1")
]
MISTAKES = {
    "shares": (["--switch-probs", "0.5", "0.5", "0.5"], "--switch-probs are three shares that sum to 1"),
    "negative share": (["--switch-probs", "1.5", "-0.5", "0"], "--switch-probs are three shares"),
    "slow": (["--ema", "1"], "--ema is from 0 to 0.999999, not 1.0"),
    "never asked": (["--switch-probs", "1", "0", "0"], "--ema is about labels of the networks"),
    "nothing to see": (["--teacher.short-side", "0"], "--teacher.short-side is from 1"),
    "cells": (["--image.height", "40"], "multiples of 16, not 40 and 64"),
    "covers all": (["--pairs.cover-rad", "nan"], "--pairs.cover-rad is from 0 to 1, not nan"),
    "sure of nothing": (["--masks.sam.pred-iou-thresh", "nan"], "--masks.sam.pred-iou-thresh is from 0"),
    "steady": (["--masks.sam.stability-score-thresh", "2"], "stability-score-thresh is from 0 to 1"),
    "a file": (["--out", "{tmp}/file"], "/file"),
    "elsewhere": (["--root", "{tmp}/none"], "say with --root where it lies now"),
    "folder of words": (["--prompts", "{tmp}"], "Is a directory"),
    "pixels": (["--image.pixels", "0"], "--image.pixels is from 1"),
    "never before": (["--switch-from", "-1"], "--switch-from is from 0"),
    "not a share": (["--switch-probs", "nan", "0", "0"], "--switch-probs are three shares"),
    "workers": (["--latent.no-keep", "--fit.workers", "1"], "leave --fit.workers at 0"),
    "one photo": (["--fit.batch-size", "1"], "take a larger --fit.batch-size"),
    "channels": (["--latent.channels", "999"], "--latent.channels: SAM has 64 channels"),
    "alone": (["--image.name", "none"], "--image.name none: points learn alone"),
    "backbone": (["--image.init", "{tmp}/none.pt"], "none.pt"),
    "latent": (["--latent.weight", "-1"], "--latent.weight is from 0"),
    "points of sam": (["--masks.sam.points-per-side", "0"], "--masks.sam.points-per-side is from 1"),
    "superpixels": (["--masks.slic.count", "0"], "--masks.slic.count is from 1"),
    "compact": (["--masks.slic.compactness", "-1"], "--masks.slic.compactness is from"),
    "blur": (["--masks.felzenszwalb.sigma", "-1"], "--masks.felzenszwalb.sigma is from 0"),
    "sure of nothing at all": (
        ["--refine", "soft", "--margin", "1", "--no-multi-view"],
        "no pixels have a label in 4 frames: look at the classes, and lower --margin",
    ),
    "one class": (["--prompt", "table"], "one class, table, has nothing to be told apart from"),
    "no mask": (
        ["--masks.source", "sam", *NO_MASK],
        "no mask in any of",
    ),
    "sam": (["--latent.weights", "vit_x/none"], "vit_x"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_give_one_line(kind, index, tmp_path, capsys):
    flags, expected = MISTAKES[kind]
    (tmp_path / "file").write_text("")
    line = ["pretrain", *FLAGS, "--index", str(index), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"^2$"):
        main([*line, *(each.format(tmp=tmp_path) for each in flags)])
    assert expected in capsys.readouterr().err


def test_the_size_of_sams_features_is_said_before_there_are_any(index, tmp_path, capsys, monkeypatch):
    def asked(*_: object) -> None:
        said.append(capsys.readouterr().out)
        raise InputError("enough")

    said: list[str] = []
    monkeypatch.setattr(SamFeatures, "_embedding", asked)
    with pytest.raises(SystemExit, match=r"^2$"):
        pretrained([*FLAGS, "--latent.feature-dir", str(tmp_path / "sam")], index, tmp_path / "run")
    assert f"SAM's features of 4 photos: 154kB in {tmp_path / 'sam'}" in said[0]


@pytest.mark.parametrize(
    ("changes", "said"), [(["--image.init", "none.pt"], "none.pt"), (["--fit.lr", "1"], "fit.lr")]
)
def test_mistakes_are_told_before_sam_looks_at_photos(changes, said, trained, index, capsys, monkeypatch):
    monkeypatch.setattr(SamFeatures, "_embedding", lambda *_: pytest.fail("SAM was asked"))
    with pytest.raises(SystemExit, match=r"^2$"):
        pretrained([*FLAGS, *changes], index, trained)
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_points_learn_the_same_in_two_processes(index, tmp_path):
    """Each has a scan of every step of two. Photos have norms of their own in each process."""
    alone = ["--image.name", "none", "--switch-probs", "0.5", "0", "0.5", "--latent.weight", "0"]
    flags = ["cns", *SHORT, *MASKS, *alone, "--balance", "0.5", "--fit.lr", "1e-3", "--fit.epochs", "1"]
    one = pretrained(flags, index, tmp_path / "one")
    line = ["pretrain", *flags, "--index", str(index), "--out", str(tmp_path / "two")]
    command = [str(Path(sys.executable).parent / "ovs3d-points"), *line]
    subprocess.run([*command, "--fit.devices", "2", "--fit.batch-size", "1"], check=True)
    weights = [load_file(out / "model.safetensors") for out in (one, tmp_path / "two")]
    for name, value in weights[0].items():
        difference = (weights[1][name] - value).abs().max()
        assert difference <= 1e-3 * value.abs().max(), name


@pytest.mark.slow
def test_both_networks_learn_in_two_processes(trained, index, tmp_path):
    """Each has a scan of every step of two; photos have norms of their own in each, so losses are only nearly alike."""
    line = ["pretrain", *FLAGS, "--photos", "0", "--image.name", "lraspp-mobilenet", "--index", str(index)]
    line += ["--out", str(tmp_path), "--fit.devices", "2", "--fit.batch-size", "1"]
    subprocess.run([str(Path(sys.executable).parent / "ovs3d-points"), *line], check=True)
    assert load_image_run(tmp_path, torch.device("cpu")).about.name == "lraspp-mobilenet"
    for name in ("pixels", "points", "latent"):
        expected, found = losses(trained, name), losses(tmp_path, name)
        assert found.keys() == expected.keys()
        assert np.isfinite(list(found.values())).all()
    assert losses(tmp_path, "points")[0] == pytest.approx(losses(trained, "points")[0], rel=0.1)


def test_training_in_less_precision_with_workers_finds_the_same_classes(trained, labelled, index, tmp_path):
    flags = ["--fit.precision", "bf16-mixed", "--fit.workers", "1"]
    out = pretrained([*FLAGS, *flags], index, tmp_path / "run")
    for name in ("pixels", "points", "latent"):
        expected, found = losses(trained, name), losses(out, name)
        assert found != expected
        assert found[0] == pytest.approx(expected[0], rel=0.05)
    report = measured(labelled, tmp_path / "points", "--run", str(out), "--of", "both")
    assert report["metrics"]["accuracy"] > 0.5


def test_points_may_learn_alone(index, tmp_path):
    alone = [
        "--image.name",
        "none",
        "--switch-probs",
        "0.5",
        "0",
        "0.5",
        "--latent.weight",
        "0",
    ]
    out = pretrained([*FLAGS, *alone, "--fit.batch-size", "1"], index, tmp_path / "run")
    found = list(losses(out, "points").values())
    assert np.mean(found[-6:]) < np.mean(found[:6])
    assert (out / "run.json").exists()
    assert not (out / "image.json").exists()


QUESTIONS = {
    "no photos network": (["--run", "{points}", "--of", "photos"], "no network of photos in"),
    "both of clip": (["--of", "both"], "--of both needs the two networks"),
    "device of clip": (["--device", "cpu"], "CLIP's own device is --teacher.device"),
    "turned photos": (
        ["--run", "{run}", "--of", "both", "--rotations", "2"],
        "it goes with --of points alone",
    ),
    "hard both": (["--run", "{run}", "--of", "both", "--refine", "hard"], "--of both takes soft"),
    "teacher of a run": (["--run", "{run}", "--teacher.template", "photo"], "--teacher is about CLIP's own"),
    "masks for nothing": ([*MASKS], "--masks is about --refine hard or soft"),
    "hidden by all": (["--pairs.cover-tolerance-m", "-1"], "--pairs.cover-tolerance-m is from 0"),
    "a file": (["--out", "{points}/run.json"], "run.json"),
    "refined points": (["--run", "{run}", "--refine", "hard"], "it goes with --of photos or both"),
    "lead of both": (
        ["--run", "{run}", "--of", "both", "--refine", "soft", "--margin", "0.1"],
        "--margin of a --run goes with --of photos alone",
    ),
    "lead": (["--refine", "soft", "--margin", "5"], "--margin is from 0 to 1"),
    "lead of all members": (["--refine", "hard", "--margin", "0.5"], "--margin is about --refine soft"),
    "no mask": (
        ["--refine", "hard", *NO_MASK],
        "no mask in any of",
    ),
    "shown photos": (
        ["--run", "{run}", "--of", "photos", "--shown"],
        "--shown is about points",
    ),
    "predictions of no photos": (
        ["--run", "{run}", "--of", "photos", "--predictions", "--index", "{dark}"],
        "no frame of these has a photo",
    ),
    "both without photos": (
        ["--run", "{run}", "--of", "both", "--index", "{dark}"],
        "no frame of these has a photo",
    ),
    "no truth": (
        ["--run", "{run}", "--of", "photos", "--index", "{bare}"],
        "no photo of these frames has labels",
    ),
}


@pytest.mark.parametrize("kind", QUESTIONS)
def test_questions_that_have_no_answer_give_one_line(kind, trained, index, labelled, tmp_path, capsys):
    flags, expected = QUESTIONS[kind]
    points = tmp_path / "points"
    points.mkdir()
    for name in ("run.json", "model.safetensors"):
        (points / name).write_bytes((trained / name).read_bytes())
    dark = write_tiny(tmp_path / "dark")
    names = {"run": trained, "points": points, "bare": index, "dark": dark}
    line = ["evaluate", "--index", str(labelled), "--out", str(tmp_path / "out"), "--prompt", "floor; box"]
    with pytest.raises(SystemExit, match=r"^2$"):
        main([*line, *(each.format(**names) for each in flags)])
    assert expected in capsys.readouterr().err


# the network of photos


PUBLISHED = {
    "moco": (
        "state_dict",
        "module.encoder_q.",
        {
            "module.encoder_k.conv1.weight": torch.zeros(1),
            "module.queue": torch.zeros(2),
            "module.encoder_q.fc.weight": torch.zeros(128, 2048),
        },
    ),
    "moco v3": (
        "state_dict",
        "module.base_encoder.",
        {
            "module.momentum_encoder.conv1.weight": torch.zeros(1),
            "module.predictor.0.weight": torch.zeros(2),
            "module.base_encoder.fc.0.weight": torch.zeros(4096, 2048),
        },
    ),
    "dino": (
        "teacher",
        "backbone.",
        {"head.mlp.0.weight": torch.zeros(2, 2048), "head.last_layer.weight_v": torch.zeros(2, 2)},
    ),
}
"""Where checkpoints hold the backbone, and what is beside it."""


@pytest.mark.parametrize("form", [*PUBLISHED, "plain"])
def test_backbones_that_learnt_without_labels_are_taken(form, tmp_path):
    whole = resnet50(weights=None).state_dict()
    state = content = {name: value for name, value in whole.items() if not name.startswith("fc.")}
    if form in PUBLISHED:
        wrapper, prefix, beside = PUBLISHED[form]
        content = {wrapper: {prefix + name: value for name, value in state.items()} | beside, "epoch": 3}
    torch.save(content, tmp_path / "backbone.pth")
    net = PhotoNet("deeplabv3-resnet50", {"final": 4})
    net.load_backbone(tmp_path / "backbone.pth")
    assert torch.equal(net.backbone["layer3"][2].conv2.weight, state["layer3.2.conv2.weight"])
    other = PhotoNet("deeplabv3-mobilenet", {"final": 4})
    with pytest.raises(InputError, match="another architecture"):
        other.load_backbone(tmp_path / "backbone.pth")


def beside_a_backbone(name: str) -> dict[str, torch.Tensor]:
    backbone = resnet50(weights=None).state_dict()
    state = {f"backbone.{each}": value for each, value in backbone.items() if not each.startswith("fc.")}
    return state | {name: torch.zeros(2, 2)}


LABELLED = {
    "classifier.": lambda: deeplabv3_resnet50(weights=None, weights_backbone=None).state_dict(),
    "decode_head.": lambda: beside_a_backbone("decode_head.conv_seg.weight"),
    "decoder.": lambda: beside_a_backbone("decoder.block1.0.weight"),
    "roi_head.": lambda: beside_a_backbone("roi_head.mask_head.conv_logits.weight"),
    "head.fc.": lambda: beside_a_backbone("head.fc.weight"),
    "fc.": lambda: resnet50(weights=None).state_dict(),
    "fc.weight": lambda: resnet50(weights=None, num_classes=365).state_dict(),
}
"""By what tells that they may be."""


@pytest.mark.parametrize("head", LABELLED)
def test_weights_that_were_trained_with_labels_are_refused(head, tmp_path):
    torch.save(LABELLED[head](), tmp_path / "a.pth")
    with pytest.raises(InputError, match=rf"may have been trained with labels, for it holds {head}"):
        PhotoNet("deeplabv3-resnet50", {"final": 4}).load_backbone(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["deeplabv3-mobilenet", "lraspp-mobilenet"])
def test_every_parameter_of_the_network_of_photos_learns_in_one_group(name):
    net = PhotoNet(name, {"final": 5, "latent": 3})
    groups = net.parameter_groups(0.1, 0.2)
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(map(id, net.parameters()))
    matrices = next(group["params"] for group in groups if "outputs" in group)
    assert {p.dim() for p in matrices} == {4}
    assert not any(p.shape[1] == 1 for p in matrices)  # depthwise
    ends = [p for group in groups if group["lr"] == 0.2 for p in group["params"]]
    assert {id(p) for p in net.heads.parameters()} == {id(p) for p in ends}


def test_all_features_of_the_small_network_of_photos_have_a_say_in_its_answers():
    torch.manual_seed(0)
    net = PhotoNet("lraspp-mobilenet", {"final": 5})
    net(torch.rand(2, 3, 96, 128))["final"].square().sum().backward()
    for kernel in net.heads["final"].weight, net.context.mixture[0].weight, net.context.coarse[0].weight:
        assert kernel.grad.abs().sum(dim=(0, 2, 3)).all()


@pytest.mark.parametrize(("name", "cells"), [("deeplabv3-mobilenet", (3, 4)), ("lraspp-mobilenet", (12, 16))])
def test_the_network_of_photos_answers_in_all_heads(name, cells):
    net = PhotoNet(name, {"final": 5, "latent": 3}).eval()
    found = net(torch.rand(2, 3, 48, 64))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "final": (2, 5, *cells),
        "latent": (2, 3, *cells),
    }


def test_products_with_directions_are_not_rounded_in_mixed_precision():
    net = PhotoNet("lraspp-mobilenet", {"final": 5}).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert net(torch.rand(1, 3, 48, 64), {"final": torch.eye(5)})["final"].dtype == torch.float32


def test_a_head_of_lite_raspp_is_torchvisions_where_finer_features_say_nothing():
    torch.manual_seed(0)
    theirs = LRASPPHead(24, 576, 5, 128).eval()
    net = PhotoNet("lraspp-mobilenet", {"final": 5}).eval()
    net.context.coarse.load_state_dict(theirs.cbr.state_dict())
    net.context.gate.load_state_dict(theirs.scale.state_dict())
    low, high, mine = theirs.low_classifier, theirs.high_classifier, net.heads["final"]
    features = {"low": torch.randn(2, 24, 6, 8), "high": torch.randn(2, 576, 3, 4)}
    fine = torch.randn(2, 16, 6, 8)
    with torch.no_grad():
        mine.weight.zero_()
        mine.weight[:, 16 : 16 + 24 + 128] = torch.cat([low.weight, high.weight], dim=1)
        mine.bias.copy_(low.bias + high.bias)
        torch.testing.assert_close(mine(net.context(fine, *features.values())), theirs(features))


def test_a_damaged_network_of_photos_is_refused(trained, tmp_path):
    for name in ("image.json", "image.safetensors"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    (tmp_path / "image.safetensors").write_bytes(b"cut off")
    with pytest.raises(InputError, match=r"image\.safetensors"):
        load_image_run(tmp_path, torch.device("cpu"))
    (tmp_path / "image.json").write_text('{"kind": "other"}')
    with pytest.raises(InputError, match=r"image\.json is not what"):
        load_image_run(tmp_path, torch.device("cpu"))
