"""Patches are squares of neighbouring rays, and presets of losses can be changed one by one."""

import pytest
import torch

from nerf_methods.losses import PRESETS, LossConfig
from nerf_methods.semantics import PatchRays


def grid(view: int, rows: int, columns: int) -> torch.Tensor:
    """The view, row and column of each ray."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([torch.full_like(row, view), row, column], dim=-1).float()


def make_patches() -> PatchRays:
    places = [grid(0, 9, 12), grid(1, 12, 7)]
    return PatchRays(
        points=[place[:, :, None] for place in places],
        weights=[torch.ones(*place.shape[:2], 1) for place in places],
        tokens=[place.half() for place in places],
    )


def test_a_patch_is_a_square_of_neighbours_with_their_own_tokens():
    batch = make_patches().sample(count=40, side=4, device=torch.device("cpu"))
    assert batch.points.shape == (40, 16, 1, 3)
    torch.testing.assert_close(batch.points[:, :, 0], batch.tokens)
    squares = batch.tokens.view(40, 4, 4, 3)
    assert (squares[..., 0] == squares[:, :1, :1, 0]).all()
    assert (squares[..., 1].diff(dim=1) == 1).all()
    assert (squares[..., 2].diff(dim=2) == 1).all()
    assert set(squares[:, 0, 0, 0].tolist()) == {0.0, 1.0}


def test_a_patch_is_no_larger_than_the_smallest_view():
    batch = make_patches().sample(count=3, side=32, device=torch.device("cpu"))
    assert batch.tokens.shape == (3, 9 * 7, 3)


def test_every_place_of_a_view_is_drawn():
    batch = make_patches().sample(count=600, side=7, device=torch.device("cpu"))
    corners = {tuple(corner) for corner in batch.tokens[:, 0].tolist()}
    assert corners == {(0, i, j) for i in range(3) for j in range(6)} | {(1, i, 0) for i in range(6)}


@pytest.mark.parametrize("preset", list(PRESETS))
def test_a_preset_is_changed_only_where_it_is_said(preset):
    assert LossConfig(preset).resolve() == PRESETS[preset]
    changed = LossConfig(preset, fda_push=0.0, fda_divergence="js").resolve()
    assert (changed.fda_push, changed.fda_divergence) == (0.0, "js")
    assert changed.fda_pull == PRESETS[preset].fda_pull


def test_the_released_losses_have_the_released_weights():
    released = LossConfig("released").resolve()
    assert (released.rda, released.fda_pull, released.fda_push) == (1.0, 200.0, 0.2)
    assert (released.fda_shift, released.fda_temperature, released.fda_divergence) == (0.7, 0.2, "kl")
    assert not released.rda_cosine
