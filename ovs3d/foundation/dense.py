"""Dense CLIP features (MaskCLIP, ECCV 2022): what CLIP's last attention would say of each place by itself."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor

from ovs3d.errors import InputError
from ovs3d.foundation.clip import Clip
from ovs3d.foundation.dense_options import MASKCLIP, DenseOptions

RESNET_STRIDE = 32


@torch.no_grad()
def dense_features(
    clip: Clip, image: Float[Tensor, "3 h w"], options: DenseOptions = MASKCLIP
) -> Float[Tensor, "gh gw d"]:
    """Features in the space of CLIP's texts, one per patch of 14, 16 or 32 pixels; not of unit length.

    The last attention keeps its value and output projections and loses its mixing of places; in a ViT the
    last block's residual and MLP are left out as well, unless the options say otherwise.

    Args:
        image: RGB in 0..1 at any size of at least one patch. CLIPs see best near their own scale: objects as
            large, in pixels, as in an image of ``clip.image_size``.

    Raises:
        InputError: the residual or the MLP of the last block is asked of a ResNet, which has none.
    """
    visual = clip.model.visual
    x = clip.normalize(image[None])
    if isinstance(visual, ModifiedResNet):
        if options.residual or options.mlp:
            raise InputError(f"CLIP {clip.weights}: a ResNet has no last block with a residual and an MLP")
        features, keys = _resnet_features(visual, x)
    else:
        assert isinstance(visual, VisionTransformer)
        features, keys = _vit_features(visual, x, options)
    return (smoothed(features, keys) if options.smooth_keys else features)[0]


def patch_of(clip: Clip) -> int:
    """Side of a patch in pixels; of a ResNet, how much coarser its features are."""
    visual = clip.model.visual
    if isinstance(visual, ModifiedResNet):
        return RESNET_STRIDE
    assert isinstance(visual, VisionTransformer)
    return visual.conv1.kernel_size[0]


def _resnet_features(
    visual: ModifiedResNet, x: Float[Tensor, "n 3 h w"]
) -> tuple[Float[Tensor, "n gh gw d"], Float[Tensor, "n gh gw c"]]:
    """Value and output projections of the attention pool as 1x1 convolutions, and its keys."""
    x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(x))))).permute(0, 2, 3, 1)
    pool = visual.attnpool
    return pool.c_proj(pool.v_proj(x)), pool.k_proj(x)


def _vit_features(
    visual: VisionTransformer, x: Float[Tensor, "n 3 h w"], options: DenseOptions
) -> tuple[Float[Tensor, "n gh gw d"], Float[Tensor, "n gh gw c"]]:
    x = visual.conv1(x)
    n, _, gh, gw = x.shape
    x = torch.cat([visual.class_embedding.expand(n, 1, -1), x.flatten(2).mT], dim=1)
    x = visual.ln_pre(x + resize_positions(visual.positional_embedding, visual.grid_size, gh, gw))
    blocks = list(visual.transformer.resblocks)
    for block in blocks[:-1]:
        x = block(x)
    last = blocks[-1]
    assert isinstance(last, ResidualAttentionBlock)
    own = last.ln_1(x[:, 1:])
    value = last.ls_1(last.attn.out_proj(_projected(last.attn, own, 2)))
    if options.residual:
        value = value + x[:, 1:]
    if options.mlp:
        value = value + last.ls_2(last.mlp(last.ln_2(value)))
    features = visual.ln_post(value) @ visual.proj
    return features.unflatten(1, (gh, gw)), _projected(last.attn, own, 1).unflatten(1, (gh, gw))


def _projected(
    attention: torch.nn.MultiheadAttention, x: Float[Tensor, "n t c"], part: int
) -> Float[Tensor, "n t c"]:
    """The attention's queries (0), keys (1) or values (2)."""
    weight, bias = attention.in_proj_weight.chunk(3)[part], attention.in_proj_bias.chunk(3)[part]
    return F.linear(x, weight, bias)


def smoothed(
    features: Float[Tensor, "n gh gw d"], keys: Float[Tensor, "n gh gw c"]
) -> Float[Tensor, "n gh gw d"]:
    """Key smoothing (MaskCLIP, section 3.3): the scores of a place become sum_j cos(k_i, k_j) times those of place j.

    Scores are cosines with texts, and linear in unit features: the sum of these has the same scores.
    """
    unit, key = (F.normalize(one.flatten(1, 2), dim=-1) for one in (features, keys))
    return (key @ (key.mT @ unit)).view_as(features)


def resize_positions(
    positions: Float[Tensor, "t c"], grid: tuple[int, int], gh: int, gw: int
) -> Float[Tensor, "u c"]:
    """Position embeddings (CLS first) of a grid of rows and columns, for one of gh x gw; bicubic."""
    if (gh, gw) == grid:
        return positions
    cells = positions[1:].mT.unflatten(1, grid)[None]
    cells = F.interpolate(cells, (gh, gw), mode="bicubic")[0].flatten(1).mT
    return torch.cat([positions[:1], cells])
