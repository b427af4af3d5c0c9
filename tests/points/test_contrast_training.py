"""PPKT and SLidR learn without labels, go on after a kill, and end in a trunk to fine-tune."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tiny_scans import NoPhotos, write_tiny
from trainings import SHORT, check_that_it_goes_on, losses, pretrained

from ovs3d.foundation.dino import load_dino
from ovs3d.foundation.weights import DINO_WEIGHTS
from pointcloud import config, contrast, teacher
from pointcloud.cli import main
from pointcloud.config import Net, Pairing
from pointcloud.contrast import CHANNELS, IMAGE, Matching, PixelMatching, SuperpixelMatching
from pointcloud.index import read_index
from pointcloud.model import PointModel
from pointcloud.objectives.contrastive import point_pixel_contrast, superpixel_contrast
from pointcloud.paired import PairedSamples
from pointcloud.pretrain_command import Ppkt, Slidr
from pointcloud.samples import Samples
from pointcloud.superpixels import Superpixels, SuperpixelSamples

KILLED_AT = 5
METHODS = {"ppkt": ["ppkt", *SHORT, "--matches", "300"], "slidr": ["slidr", *SHORT]}
NOWHERE = Path("nowhere")


@pytest.fixture(scope="module", params=METHODS)
def trained(request, index, tmp_path_factory) -> tuple[str, Path]:
    """A method, and the folder of its run that nothing interrupted."""
    return request.param, pretrained(METHODS[request.param], index, tmp_path_factory.mktemp(request.param))


def training(method: str, index: Path, kind: type[Samples] = Samples, matches: int = 4096) -> Matching:
    torch.manual_seed(0)
    backbone = teacher.load_backbone(config.Backbone(), index.parent.parent)
    scans = kind(read_index(index), range(4), Net(voxel_size_m=0.3))
    model = PointModel(scans.net, {IMAGE: CHANNELS})
    if method == "ppkt":
        command = Ppkt(index=NOWHERE, out=NOWHERE, matches=matches)
        return PixelMatching(model, PairedSamples(scans, Pairing(), 0, backbone), command)
    superpixels = Superpixels(backbone, config.Superpixels())
    samples = SuperpixelSamples(scans, Pairing(), 0, superpixels)
    return SuperpixelMatching(model, samples, Slidr(index=NOWHERE, out=NOWHERE))


def batch_of(module: Matching, items: tuple[int, ...] = (0, 3)):
    return module.samples.collate([module.samples[0, item] for item in items])


def test_losses_fall_and_no_label_is_read(trained):
    found = list(losses(trained[1], "contrast").values())
    assert len(found) == 12
    assert np.mean(found[-3:]) < np.mean(found[:3]) - 0.3


def test_the_run_is_the_network_without_the_projection_of_photos(trained):
    about = json.loads((trained[1] / "run.json").read_text())
    assert about["heads"] == {"image_feature": 64}
    assert about["weights"] == ""
    model = PointModel(Net(voxel_size_m=0.3), about["heads"])
    assert set(load_file(trained[1] / "model.safetensors")) == set(model.state_dict())


def test_after_kill_9_training_goes_on_to_the_same_losses(trained, index, tmp_path):
    method, out = trained
    line = ["pretrain", *METHODS[method], "--index", str(index)]
    check_that_it_goes_on(KILLED_AT, line, tmp_path / "run", out)
    own, other = (load_file(folder / "model.safetensors") for folder in (out, tmp_path / "run"))
    torch.testing.assert_close(own, other)


def test_fine_tuning_starts_from_the_trunk(trained, tmp_path):
    labelled = write_tiny(tmp_path / "data", train=1, val=1)
    line = ["finetune", "--index", str(labelled), "--out", str(tmp_path / "run"), "--net.voxel-size-m", "0.3"]
    main([*line, "--init", str(trained[1]), "--fit.epochs", "1", "--fit.lr", "0"])
    before, after = (load_file(folder / "model.safetensors") for folder in (trained[1], tmp_path / "run"))
    kernels = [name for name in before if name.endswith("kernel") and IMAGE not in name]
    assert len(kernels) > 9
    for name in kernels:
        torch.testing.assert_close(after[name], before[name])


@pytest.mark.parametrize("flags", [[], ["--prompt", "floor; box"]])
def test_who_asks_such_a_run_for_classes_is_told_in_one_line(trained, index, tmp_path, capsys, flags):
    ask = ["evaluate", "--run", str(trained[1]), "--index", str(index), "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"^2$"):
        main([*ask, *flags])
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: this run has no head for texts and knows no classes")


@pytest.mark.parametrize(
    ("method", "flag"), [("ppkt", "temperature"), ("ppkt", "matches"), ("slidr", "superpixels.count")]
)
def test_numbers_that_cannot_be_give_one_line(method, flag, index, tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["pretrain", method, f"--{flag}", "0", "--index", str(index), "--out", str(tmp_path)])
    assert f"error: --{flag} is from" in capsys.readouterr().err


def test_the_command_says_that_the_run_is_to_be_fine_tuned():
    said = Slidr(index=Path("data/index.jsonl"), out=Path("run")).next_step()
    command = "ovs3d-points finetune --init run --index data/index.jsonl --out <folder>"
    assert said == f"go on with its --net: {command}"


@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_learns(method, index):
    module = training(method, index)
    module.losses(batch_of(module))["contrast"].backward()
    still = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []
    assert {name for name, _ in module.named_parameters() if "projection" in name} == {
        "model.projection.weight",
        "model.projection.bias",
    }
    ours = {id(p) for group in module.model.parameter_groups(0.1, 0.2) for p in group["params"]}
    assert ours == {id(p) for p in module.parameters()}


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_is_between_points_of_pairs_and_projected_features(method, index):
    module = training(method, index).eval()
    module.temperature = 0.2
    batch = batch_of(module)
    points = module.model(batch.scans.points)[IMAGE][batch.point]
    seen = batch.features.rows() if method == "ppkt" else batch.features
    shown = F.linear(seen, module.model.projection.weight, module.model.projection.bias)
    if method == "ppkt":
        expected = point_pixel_contrast(points, shown, 0.2)
    else:
        expected = superpixel_contrast(points, batch.superpixel, shown, 0.2)
    torch.testing.assert_close(module.losses(batch)["contrast"], expected)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_without_photos_costs_nothing(method, index):
    module = training(method, index, NoPhotos)
    loss = module.losses(batch_of(module))["contrast"]
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())


def test_ppkt_draws_other_pairs_in_each_step_and_no_more_than_there_are(index, monkeypatch):
    module = training("ppkt", index, matches=50)
    batch, drawn = batch_of(module), []
    every_point, seen = module.points(batch), batch.features
    every_pixel = replace(seen, patches=module.model.projection(seen.patches)).rows()

    def noted(points, pixels, temperature):
        drawn.append((points.detach(), pixels.detach()))
        assert temperature == 0.07
        return points.sum()

    monkeypatch.setattr(contrast, "point_pixel_contrast", noted)
    for step, matches in ((1, 50), (1, 50), (2, 50), (3, 10**6)):
        monkeypatch.setattr(PixelMatching, "global_step", step)
        module.matches = matches
        module.losses(batch)
    (one, pixels), (same, _), (other, _), (all_points, _) = drawn
    assert len(one) == len(pixels) == 50
    torch.testing.assert_close(one, same)
    assert not torch.equal(one, other)
    assert len(all_points) == len(batch.point)
    for point, pixel in zip(one, pixels, strict=True):
        here = (every_pixel == pixel).all(dim=1)
        assert (every_point[here] == point).all(dim=1).any()  # they belong together


def test_dino_is_the_one_that_is_asked_for_else_the_data_sets_else_the_default(tmp_path, monkeypatch):
    asked = []
    mini = load_dino("mini")
    monkeypatch.setattr(teacher, "load_dino", lambda weights, device: asked.append(weights) or mini)
    for content, weights in (
        ("", None),
        ("weights: mini", None),
        ("weights: mini", "a/b"),
        ("weights: RN50/openai", None),
    ):
        (tmp_path / "ovs3d.yaml").write_text(content)
        teacher.load_backbone(config.Backbone(weights=weights), tmp_path)
    assert asked == [DINO_WEIGHTS, "mini", "a/b", DINO_WEIGHTS]


MISTAKES = {
    "no photos": (["--index", "{bare}"], "no frame of these has a photo"),
    "unknown weights": (["--index", "{index}", "--backbone.weights", "vit/none"], "vit"),
    "unknown device": (["--index", "{index}", "--backbone.device", "abacus"], "unknown device 'abacus'"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_give_one_line(kind, method, index, tmp_path, capsys):
    flags, expected = MISTAKES[kind]
    names = {"index": index, "bare": write_tiny(tmp_path / "bare", train=1, val=1)}
    with pytest.raises(SystemExit, match=r"^2$"):
        main(
            ["pretrain", *METHODS[method], "--out", str(tmp_path), *(each.format(**names) for each in flags)]
        )
    assert expected in capsys.readouterr().err
