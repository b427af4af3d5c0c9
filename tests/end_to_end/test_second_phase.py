"""The second phase: where features start, which pixels they are learnt from, and which classes."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from PIL import Image

from nerf_methods.config import ovs3d_method
from nerf_methods.pipeline import Ovs3dPipeline
from nerf_methods.trainer import schedule_phases

CHANGE = 8
"""First iteration of the second phase, of ten in all."""


def build(scene: Path, preset: str = "clip") -> Ovs3dPipeline:
    config = copy.deepcopy(ovs3d_method.config.pipeline)
    config.datamanager.data, config.datamanager.weights = scene, "mini"
    config.datamanager.tile_scales, config.datamanager.guide_tiles = (1, 2), False
    config.datamanager.dino_short_side = 32
    config.model.losses.preset, config.model.density_resolutions = preset, (4, 8)
    torch.manual_seed(0)
    pipeline = config.setup(device="cpu")
    pipeline.set_iterations(10)
    return pipeline


def test_selection_begins_with_the_smallest_tiles(scene):
    pipeline = build(scene)
    before = copy.deepcopy(pipeline.model.feature.decoder.state_dict())
    pipeline.get_train_loss_dict(CHANGE)
    after = dict(pipeline.model.feature.decoder.state_dict())
    torch.testing.assert_close(after, dict(before), rtol=0, atol=0)
    assert pipeline.model.selection.head.bias.tolist() == [-2, 2]


def test_a_run_that_is_resumed_later_keeps_what_it_has_learnt(scene):
    pipeline = build(scene)
    before = {name: value.clone() for name, value in pipeline.model.named_parameters()}
    pipeline.get_train_loss_dict(CHANGE + 1)
    for name, value in pipeline.model.named_parameters():
        assert torch.equal(value, before[name]), name


def test_rays_are_traced_again_where_density_moves_and_the_teacher_is_not_asked_again(scene):
    pipeline = build(scene)
    pipeline.config.freeze_density, pipeline.joint_step = False, 9
    pipeline.get_train_loss_dict(CHANGE)
    before = pipeline._surface
    assert before is not None
    with torch.no_grad():
        for value in pipeline.model.density.parameters():
            value.add_(torch.randn_like(value))
    pipeline.get_train_loss_dict(9)
    after = pipeline._surface
    assert after is not None
    assert after.teacher is before.teacher
    assert after.points.shape == before.points.shape
    assert not torch.equal(after.points, before.points)


@pytest.mark.parametrize(("preset", "forgets"), [("released", True), ("paper", False)])
def test_only_released_forgets_moments_and_begins_its_rates_anew_with_the_joint_phase(scene, preset, forgets):
    pipeline, groups = build(scene, preset), copy.deepcopy(ovs3d_method.config.optimizers)
    schedule_phases(groups, pipeline, total=1000)
    optimizers = Optimizers(groups, pipeline.get_param_groups())
    callbacks = pipeline.get_training_callbacks(TrainingCallbackAttributes(optimizers, None, pipeline, None))
    joint = pipeline.joint_step
    assert 800 < joint < 1000
    feature = optimizers.optimizers["semantic_heads"]
    for step in (joint - 1, joint, joint + 1):
        for parameter in pipeline.get_param_groups()["semantic_heads"]:
            feature.state[parameter]["exp_avg"] = torch.ones_like(parameter)
        for callback in callbacks:
            callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        assert (not feature.state) == (forgets and step == joint), step
    rates = groups["semantic_heads"]["scheduler"]
    assert rates.restart == (joint if forgets else None)


def test_a_question_that_is_asked_meanwhile_is_not_learnt(scene):
    pipeline = build(scene, preset="ovs3d")
    pipeline.get_train_loss_dict(CHANGE)
    taught = pipeline.model.class_texts.clone()
    pipeline.model.ask_text("mug; ball", "wall", 0.0, 0)
    losses = pipeline.get_train_loss_dict(9)[1]
    assert {"rda_loss", "fda_loss"} <= set(losses)
    assert torch.equal(pipeline.model.class_texts, taught)
    assert taught.shape[0] == 3


def test_plain_fusion_without_prompts_is_one_line_and_status_2(scene, capsys):
    (scene / "ovs3d.yaml").write_text("weights: mini\n")
    (scene / "classes.txt").unlink()
    with pytest.raises(SystemExit) as raised:
        build(scene, preset="fusion")
    assert raised.value.code == 2
    assert "plain fusion learns the answers to prompts" in capsys.readouterr().err


def with_sizes_and_masks(scene: Path) -> None:
    """Every other photo twice as large; the left half of all is masked."""
    meta = json.loads((scene / "transforms.json").read_text())
    optics = {name: meta.pop(name) for name in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
    (scene / "masks").mkdir()
    for i, frame in enumerate(meta["frames"]):
        frame |= {name: value * (1 + i % 2) for name, value in optics.items()}
        photo = scene / frame["file_path"]
        with Image.open(photo) as image:
            image.resize((frame["w"], frame["h"])).save(photo)
        mask = np.zeros((frame["h"], frame["w"]), np.uint8)
        mask[:, frame["w"] // 2 :] = 255
        frame["mask_path"] = f"masks/{photo.name}"
        Image.fromarray(mask).save(scene / frame["mask_path"])
    (scene / "transforms.json").write_text(json.dumps(meta))


def test_photos_of_different_sizes_teach_what_their_masks_show(scene):
    with_sizes_and_masks(scene)
    pipeline = build(scene, preset="ovs3d")
    heights = pipeline.datamanager.train_dataset.cameras.height.flatten().tolist()
    assert sorted(set(heights)) == [48, 96]
    for step in (0, CHANGE, 9):
        losses = pipeline.get_train_loss_dict(step)[1]
        assert all(value.isfinite() for value in losses.values())
    surface, patches = pipeline._surface, pipeline._patches
    assert surface is not None
    assert patches is not None
    cells = sum(48 * 32 if height == 48 else 80 * 53 for height in heights)
    assert len(surface.weights) == cells
    for tokens in patches.tokens:
        half = tokens.shape[1] // 2
        assert not tokens[:, :half].any()
        assert tokens[:, half:].any(-1).all()
