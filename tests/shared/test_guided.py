"""Tiles speak for a place as far as they show what is there."""

import pytest
import torch
import torch.nn.functional as F

from ovs3d.foundation.crops import TileSpec, tile_boxes
from ovs3d.foundation.guided import POWER, SHARPNESS, guided_features
from ovs3d.foundation.tiles import Tiles

HEIGHT, WIDTH, CELL = 48, 64, (4.0, 4.0)


def make_tiles(seed: int = 0, d: int = 5) -> Tiles:
    boxes, scale = tile_boxes(HEIGHT, WIDTH, TileSpec(scales=(2, 4)))
    generator = torch.Generator().manual_seed(seed)
    return Tiles(boxes, scale, torch.randn(len(boxes), d, generator=generator).half(), HEIGHT, WIDTH)


def make_tokens(seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(12, 16, 3, generator=generator)


def slow(tiles: Tiles, tokens: torch.Tensor, scale: int, row: int, column: int) -> torch.Tensor:
    """The definition, tile by tile and token by token."""
    total, weight = torch.zeros(tiles.embeddings.shape[1]), 0.0
    for box, embedding, of in zip(tiles.boxes.tolist(), tiles.embeddings.float(), tiles.scale, strict=True):
        inside = [
            (i, j)
            for i in range(12)
            for j in range(16)
            if box[0] <= 4 * i + 2 < box[2] and box[1] <= 4 * j + 2 < box[3]
        ]
        if of != scale or (row, column) not in inside:
            continue
        cosines = [
            F.cosine_similarity(tokens[row, column], tokens[i, j], dim=0).clamp(min=0) for i, j in inside
        ]
        share = sum(c**SHARPNESS for c in cosines) / len(inside)
        total, weight = total + share**POWER * embedding, weight + share**POWER
    return total / weight


@pytest.mark.parametrize(("row", "column"), [(0, 0), (5, 9), (11, 15), (3, 15)])
def test_features_are_the_weighted_mean_of_the_tiles_that_cover_a_place(row, column):
    tiles, tokens = make_tiles(), make_tokens()
    found = guided_features(tiles, tokens, CELL)
    assert found.shape == (2, 12, 16, 5)
    for scale in range(2):
        torch.testing.assert_close(
            found[scale, row, column], slow(tiles, tokens, scale, row, column), rtol=1e-3, atol=1e-4
        )


def test_where_all_is_one_thing_it_is_the_plain_mean():
    tiles = make_tiles()
    found = guided_features(tiles, torch.ones(12, 16, 3), CELL)
    torch.testing.assert_close(found, tiles.grid(12, 16), rtol=1e-2, atol=2e-3)


def test_beside_an_edge_the_tiles_of_the_own_side_are_heard():
    boxes = torch.tensor([[0, 0, 48, 36], [0, 28, 48, 64]])
    tiles = Tiles(boxes, torch.zeros(2, dtype=torch.long), torch.eye(2).half(), HEIGHT, WIDTH)
    tokens = torch.zeros(12, 16, 2)
    tokens[:, :8, 0], tokens[:, 8:, 1] = 1, 1
    found = guided_features(tiles, tokens, CELL)[0]
    assert (tiles.grid(12, 16)[0][:, 7:9] == 0.5).all()  # both tiles cover both sides of the edge
    assert (found[:, 7, 0] > 0.9).all()
    assert (found[:, 8, 1] > 0.9).all()


def test_a_place_that_no_tile_covers_has_no_features():
    tiles = Tiles(
        torch.tensor([[0, 0, 24, 64]]), torch.zeros(1, dtype=torch.long), torch.ones(1, 3), HEIGHT, WIDTH
    )
    found = guided_features(tiles, make_tokens(), CELL)
    assert found[0, :6].isfinite().all()
    assert found[0, 6:].isnan().all()
