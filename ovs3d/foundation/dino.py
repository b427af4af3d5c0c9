"""DINO through timm: patch tokens of self-supervised vision transformers."""

import json
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ovs3d.errors import InputError
from ovs3d.foundation.fetch import sha256_of
from ovs3d.foundation.state_dict import load_strictly, read_state_dict, weights_under
from ovs3d.foundation.weights import MINI, WeightsSpec, mini_folder, parse_weights, weights_file

ARCHITECTURES = {
    "vit_small_patch16_224_dino": {"patch_size": 16, "embed_dim": 384, "depth": 12, "num_heads": 6},
    "vit_small_patch8_224_dino": {"patch_size": 8, "embed_dim": 384, "depth": 12, "num_heads": 6},
    "vit_base_patch16_224_dino": {"patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 12},
    "vit_base_patch8_224_dino": {"patch_size": 8, "embed_dim": 768, "depth": 12, "num_heads": 12},
}
"""Sizes by timm's names; timm 0.9 and later writes ``vit_base_patch8_224.dino``, which is read too."""


@dataclass(frozen=True)
class Dino:
    """A frozen DINO vision transformer."""

    name: str
    """Architecture, or ``mini``."""
    weights: str
    """What was asked for."""
    fingerprint: str
    """sha256 of the weights file."""
    patch: int
    """Side of a patch, in pixels."""
    model: Any
    """timm's VisionTransformer."""

    @property
    def device(self) -> torch.device:
        return self.model.pos_embed.device

    @torch.no_grad()
    def tokens(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n gh gw c"]:
        """Output of the last block, before the final norm, for every whole patch; CLS is dropped.

        Args:
            images: RGB in 0..1, of any size of at least one patch; rows and columns beyond the last whole
                patch are not looked at.
        """
        model = self.model
        images = images.to(self.device)
        mean, std = (
            images.new_tensor(v)[:, None, None] for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
        )
        patches = model.patch_embed.proj((images - mean) / std)
        n, _, gh, gw = patches.shape
        x = torch.cat([model.cls_token.expand(n, -1, -1), patches.flatten(2).mT], dim=1)
        x = model.blocks(x + resize_positions(model.pos_embed, gh, gw))
        return x[:, 1:].unflatten(1, (gh, gw))


def resize_positions(positions: Float[Tensor, "1 t c"], gh: int, gw: int) -> Float[Tensor, "1 u c"]:
    """Position embeddings (CLS first) of a square grid, for a grid of gh x gw patches.

    As in DINO's own code: bicubic, with the scale of a grid that is 0.1 patches larger; a grid of the native
    size is untouched.
    """
    side = round((positions.shape[1] - 1) ** 0.5)
    if (gh, gw) == (side, side):
        return positions
    grid = positions[:, 1:].mT.unflatten(2, (side, side))
    scale = ((gh + 0.1) / side, (gw + 0.1) / side)
    grid = F.interpolate(grid, scale_factor=scale, mode="bicubic")
    return torch.cat([positions[:, :1], grid.flatten(2).mT], dim=1)


def load_dino(weights: str = "vit_base_patch8_224_dino/facebook", device: str | torch.device = "cpu") -> Dino:
    """A frozen DINO in float32.

    Args:
        weights: ``mini``, or one of ``ARCHITECTURES`` and a tag, path or URL (see ``foundation.weights``).

    Raises:
        InputError: unknown architecture or tag, no such file, or weights of another architecture.
    """
    spec = parse_weights(weights)
    if spec.is_mini:
        path = mini_folder("dino") / "weights.safetensors"
        config, fingerprint = json.loads((path.parent / "config.json").read_text()), sha256_of(path)
    else:
        config = _config(spec)
        path, fingerprint = weights_file(spec)
    model = VisionTransformer(num_classes=0, **config).eval().requires_grad_(False)
    load_strictly(model, _backbone(read_state_dict(path, ("state_dict", "teacher"))), str(path))
    for block in model.blocks:
        block.attn = _FusedAttention(block.attn)
    return Dino(spec.architecture, str(spec), fingerprint, config["patch_size"], model.to(device))


def _config(spec: WeightsSpec) -> dict:
    name = spec.architecture.replace(".dino", "_dino")
    if name not in ARCHITECTURES:
        known = ", ".join([MINI, *ARCHITECTURES])
        raise InputError(f"unknown DINO architecture {spec.architecture!r}; expected one of {known}")
    return ARCHITECTURES[name]


def _backbone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The transformer's own weights; a training checkpoint holds DINO's projection head as well."""
    return weights_under(state, "backbone.")


class _FusedAttention(nn.Module):
    """timm's attention with torch's fused kernel: no (tokens x tokens) matrix is ever stored."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.qkv, self.proj, self.num_heads = attention.qkv, attention.proj, attention.num_heads

    def forward(self, x: Float[Tensor, "n t c"]) -> Float[Tensor, "n t c"]:
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
