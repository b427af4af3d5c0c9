"""Dense CLIP features (MaskCLIP, ECCV 2022): what CLIP's last attention would say of each place by itself."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor

from ovs3d.foundation.clip import Clip


@torch.no_grad()
def dense_features(clip: Clip, image: Float[Tensor, "3 h w"]) -> Float[Tensor, "gh gw d"]:
    """Features in the space of CLIP's texts, one per patch of 14, 16 or 32 pixels; not of unit length.

    The last attention keeps its value and output projections and loses its mixing of places; in a ViT the
    last block's residual and MLP are left out as well.

    Args:
        image: RGB in 0..1 at any size of at least one patch. CLIPs see best near their own scale: objects as
            large, in pixels, as in an image of ``clip.image_size``.
    """
    visual = clip.model.visual
    x = clip.normalize(image[None])
    if isinstance(visual, ModifiedResNet):
        return _resnet_features(visual, x)[0]
    assert isinstance(visual, VisionTransformer)
    return _vit_features(visual, x)[0]


def _resnet_features(visual: ModifiedResNet, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n gh gw d"]:
    """Value and output projections of the attention pool as 1x1 convolutions."""
    x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(x)))))
    return visual.attnpool.c_proj(visual.attnpool.v_proj(x.permute(0, 2, 3, 1)))


def _vit_features(visual: VisionTransformer, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n gh gw d"]:
    x = visual.conv1(x)
    n, _, gh, gw = x.shape
    x = torch.cat([visual.class_embedding.expand(n, 1, -1), x.flatten(2).mT], dim=1)
    x = visual.ln_pre(x + resize_positions(visual.positional_embedding, visual.grid_size, gh, gw))
    blocks = list(visual.transformer.resblocks)
    for block in blocks[:-1]:
        x = block(x)
    last = blocks[-1]
    assert isinstance(last, ResidualAttentionBlock)
    x = last.ls_1(_value(last.attn, last.ln_1(x[:, 1:])))
    return (visual.ln_post(x) @ visual.proj).unflatten(1, (gh, gw))


def _value(attention: torch.nn.MultiheadAttention, x: Float[Tensor, "n t c"]) -> Float[Tensor, "n t c"]:
    """The attention's output if every token attends to itself alone."""
    weight, bias = attention.in_proj_weight.chunk(3)[2], attention.in_proj_bias.chunk(3)[2]
    return attention.out_proj(F.linear(x, weight, bias))


def resize_positions(
    positions: Float[Tensor, "t c"], grid: tuple[int, int], gh: int, gw: int
) -> Float[Tensor, "u c"]:
    """Position embeddings (CLS first) of a grid of rows and columns, for one of gh x gw; bicubic."""
    if (gh, gw) == grid:
        return positions
    cells = positions[1:].mT.unflatten(1, grid)[None]
    cells = F.interpolate(cells, (gh, gw), mode="bicubic")[0].flatten(1).mT
    return torch.cat([positions[:1], cells])
