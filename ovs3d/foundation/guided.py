"""Tiles told apart by DINO: a tile speaks for a place as far as it shows what is at that place.

The mean over all tiles that cover a pixel (3D-OVS, section 3.1) blurs objects by about a tile. DINO's tokens say which
part of a tile is of the same thing as the pixel, without any label; the mean is weighted by a power of that share.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ovs3d.foundation.tiles import Tiles

SHARPNESS = 8
"""Power of the cosine of two tokens that says how alike they are. Only relative weights count in the mean, so no
threshold has to be tuned to a model."""
POWER = 2
"""Of the share of a tile that is alike."""
ROWS_AT_ONCE = 512
"""Tokens whose cosines with all others are held at once."""


@torch.no_grad()
def guided_features(
    tiles: Tiles, tokens: Float[Tensor, "gh gw c"], cell: tuple[float, float]
) -> Float[Tensor, "s gh gw d"]:
    """Weighted mean embedding, per scale, of the tiles that cover the centre of each token; NaN where none does.

    Args:
        tokens: DINO features of a grid of patches that starts at the image's corner, of any length.
        cell: height and width of a patch, in pixels of the image.
    """
    gh, gw = tokens.shape[:2]
    unit = F.normalize(tokens.flatten(0, 1).float(), dim=-1)
    order, counts = tiles.scale.sort(stable=True).indices, tiles.scale.bincount().tolist()
    embeddings = tiles.embeddings[order].float().split(counts)
    top, left, bottom, right = (one[order] for one in _corners(tiles, (gh, gw), cell))
    area = ((bottom - top) * (right - left)).clamp(min=1)
    row, column = torch.meshgrid(torch.arange(gh), torch.arange(gw), indexing="ij")
    row, column = row.flatten()[:, None], column.flatten()[:, None]
    found = []
    for rows in torch.arange(len(unit)).split(ROWS_AT_ONCE):
        alike = (unit[rows] @ unit.T).clamp(min=0).pow(SHARPNESS).view(-1, gh, gw)
        sums = F.pad(alike.cumsum(1).cumsum(2), (1, 0, 1, 0)).flatten(1)
        inside = (row[rows] >= top) & (row[rows] < bottom) & (column[rows] >= left) & (column[rows] < right)
        token, tile = inside.nonzero(as_tuple=True)
        share = (
            sum(
                sign * sums[token, (y * (gw + 1) + x)[tile]]
                for y, x, sign in ((bottom, right, 1), (top, right, -1), (bottom, left, -1), (top, left, 1))
            )
            / area[tile]
        )
        weights = torch.zeros(inside.shape)
        weights[token, tile] = share**POWER
        found.append(
            torch.stack(
                [
                    part @ of_scale / part.sum(1, keepdim=True)
                    for part, of_scale in zip(weights.split(counts, dim=1), embeddings, strict=True)
                ]
            )
        )
    return torch.cat(found, dim=1).unflatten(1, (gh, gw))


def _corners(tiles: Tiles, grid: tuple[int, int], cell: tuple[float, float]) -> list[Tensor]:
    """Tokens whose centres lie in each box: top, left, bottom, right, half-open."""
    corners = tiles.boxes.float() / torch.tensor([*cell, *cell])
    limit = torch.tensor([*grid, *grid])
    return list((corners - 0.5).ceil().clamp(min=0).minimum(limit).long().unbind(1))
