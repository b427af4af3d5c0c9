"""SAM of any size out of segment_anything's own classes."""

import json
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from ovs3d.errors import InputError
from ovs3d.foundation.fetch import sha256_of
from ovs3d.foundation.state_dict import load_strictly, read_state_dict
from ovs3d.foundation.weights import MINI, SAM_WEIGHTS, mini_folder, parse_weights, weights_file


@dataclass(frozen=True, eq=False)
class LoadedSam:
    """A frozen SAM in float32; ``SamPredictor`` and ``SamAutomaticMaskGenerator`` take its model."""

    weights: str
    """What was asked for."""
    fingerprint: str
    """sha256 of the weights file."""
    model: Sam


@dataclass(frozen=True)
class SamConfig:
    """Sizes of a SAM; the defaults are the published ViT-B."""

    image_size: int = 1024
    """Longest side of the input, in pixels."""
    patch_size: int = 16
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    global_attn_indexes: tuple[int, ...] = (2, 5, 8, 11)
    """Blocks that attend over the whole image; the others attend in windows."""
    window_size: int = 14
    prompt_dim: int = 256
    """Width of prompts, image embedding and decoder; a multiple of 8."""
    mask_in_chans: int = 16
    decoder_depth: int = 2
    decoder_num_heads: int = 8
    decoder_mlp_dim: int = 2048


ARCHITECTURES = {
    "vit_b": SamConfig(),
    "vit_l": SamConfig(embed_dim=1024, depth=24, num_heads=16, global_attn_indexes=(5, 11, 17, 23)),
    "vit_h": SamConfig(embed_dim=1280, depth=32, num_heads=16, global_attn_indexes=(7, 15, 23, 31)),
}


def build_sam(config: SamConfig) -> Sam:
    """A SAM with random weights."""
    grid = config.image_size // config.patch_size
    return Sam(
        image_encoder=_image_encoder(config),
        prompt_encoder=PromptEncoder(
            embed_dim=config.prompt_dim,
            image_embedding_size=(grid, grid),
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=config.mask_in_chans,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=config.prompt_dim,
            transformer=TwoWayTransformer(
                depth=config.decoder_depth,
                embedding_dim=config.prompt_dim,
                num_heads=config.decoder_num_heads,
                mlp_dim=config.decoder_mlp_dim,
            ),
            iou_head_hidden_dim=config.prompt_dim,
        ),
    )


def _image_encoder(config: SamConfig) -> ImageEncoderViT:
    return ImageEncoderViT(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
        out_chans=config.prompt_dim,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),  # pyright: ignore[reportArgumentType]
        use_rel_pos=True,
        window_size=config.window_size,
        global_attn_indexes=config.global_attn_indexes,
    )


@lru_cache(maxsize=1)
def load_sam(weights: str = SAM_WEIGHTS, device: str | torch.device = "cpu") -> LoadedSam:
    """A SAM with the weights of a file; the last one stays, for masks and features are often asked of the same.

    Args:
        weights: ``mini``, or one of ``ARCHITECTURES`` and a tag, path or URL (see ``foundation.weights``).

    Raises:
        InputError: unknown architecture or tag, no such file, or weights of another architecture.
    """
    spec = parse_weights(weights)
    if spec.is_mini:
        path = mini_folder("sam") / "weights.safetensors"
        fingerprint = sha256_of(path)
        config = json.loads((path.parent / "config.json").read_text())
        config = SamConfig(**config | {"global_attn_indexes": tuple(config["global_attn_indexes"])})
    elif spec.architecture in ARCHITECTURES:
        path, fingerprint = weights_file(spec)
        config = ARCHITECTURES[spec.architecture]
    else:
        known = ", ".join([MINI, *ARCHITECTURES])
        raise InputError(f"unknown SAM architecture {spec.architecture!r}; expected one of {known}")
    sam = build_sam(config).eval().requires_grad_(False)
    load_strictly(sam, read_state_dict(path), str(path))
    return LoadedSam(str(spec), fingerprint, sam.to(device))
