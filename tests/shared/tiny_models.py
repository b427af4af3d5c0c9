"""Small models with random weights, and the files in which real ones are published."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import convert_weights_to_fp16
from torch import Tensor, nn

_TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
TINY_VIT = {
    "embed_dim": 16,
    "vision_cfg": {"layers": 3, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
    "text_cfg": _TEXT,
}
TINY_RESNET = {
    "embed_dim": 16,
    "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 64, "image_size": 64},
    "text_cfg": _TEXT,
}
TINY_DINO = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32}


def random_clip(config: Mapping, seed: int = 0) -> open_clip.CLIP:
    """A CLIP whose every parameter and statistic is random, so that a lost one shows."""
    torch.manual_seed(seed)
    return randomize(open_clip.CLIP(**config))


def randomize(module: Any) -> Any:
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point() and not name.endswith("running_var"):
                value.add_(0.05 * torch.randn_like(value))
    return module.eval()


def save_openai_jit(model: open_clip.CLIP, path: Path) -> None:
    """A TorchScript archive with OpenAI's names, its three numbers among them, and half-precision weights."""
    numbers = {"input_resolution": 32, "context_length": 16, "vocab_size": 49408}
    for name, number in numbers.items():
        model.__dict__.pop(name, None)
        model.register_buffer(name, torch.tensor(number))
    model.visual.conv1.half()
    torch.jit.trace_module(model, {"encode_text": torch.zeros(1, 16, dtype=torch.int)}).save(path)


def openai_state(model: nn.Module) -> dict[str, Tensor]:
    """A state dict as OpenAI's code writes it."""
    convert_weights_to_fp16(model)
    numbers = {"input_resolution": torch.tensor(32), "context_length": torch.tensor(16)}
    return {**model.state_dict(), **numbers, "vocab_size": torch.tensor(49408)}


def dino_checkpoint(model: nn.Module) -> dict:
    """A training checkpoint of DINO: teacher with backbone and head, and the command line."""
    teacher = {f"backbone.{name}": value for name, value in model.state_dict().items()}
    teacher["head.mlp.0.weight"] = torch.ones(2, 2)
    return {"teacher": teacher, "epoch": 100, "args": argparse.Namespace(arch="vit_base", lr=0.1)}
