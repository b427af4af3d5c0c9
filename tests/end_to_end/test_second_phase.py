"""Features start from what the teacher sees when their phase begins, and only then."""

import copy
from pathlib import Path

import torch

from nerf_methods.config import ovs3d_method
from nerf_methods.pipeline import Ovs3dPipeline

CHANGE = 8
"""First iteration of the second phase, of ten in all."""


def build(scene: Path, principal: bool = True) -> Ovs3dPipeline:
    config = copy.deepcopy(ovs3d_method.config.pipeline)
    config.datamanager.data, config.datamanager.weights = scene, "mini"
    config.datamanager.tile_scales, config.datamanager.guide_tiles = (1, 2), False
    config.model.losses.preset, config.model.density_resolutions = "clip", (4, 8)
    config.principal_start = principal
    torch.manual_seed(0)
    pipeline = config.setup(device="cpu")
    pipeline.set_iterations(10)
    return pipeline


def test_features_begin_at_the_mean_of_the_teachers_and_selection_with_the_smallest_tiles(scene):
    pipeline = build(scene)
    pipeline.get_train_loss_dict(CHANGE)
    assert pipeline._surface is not None
    model, mean = pipeline.model, pipeline._surface.center.mean(0)
    torch.testing.assert_close(model.feature.decoder.bias, mean, rtol=0, atol=0.01)
    assert model.selection.head.bias.tolist() == [-2, 2]


def test_without_a_principal_start_only_selection_is_set(scene):
    pipeline = build(scene, principal=False)
    before = copy.deepcopy(pipeline.model.feature.decoder.state_dict())
    pipeline.get_train_loss_dict(CHANGE)
    torch.testing.assert_close(
        dict(pipeline.model.feature.decoder.state_dict()), dict(before), rtol=0, atol=0
    )
    assert pipeline.model.selection.head.bias.tolist() == [-2, 2]


def test_a_run_that_is_resumed_later_keeps_what_it_has_learnt(scene):
    pipeline = build(scene)
    before = {name: value.clone() for name, value in pipeline.model.named_parameters()}
    pipeline.get_train_loss_dict(CHANGE + 1)
    for name, value in pipeline.model.named_parameters():
        assert torch.equal(value, before[name]), name
