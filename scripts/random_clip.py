"""A CLIP that takes as long as a trained one, for benchmarks."""

from pathlib import Path

import open_clip
from safetensors.torch import save_file


def vit_of_random_weights(folder: Path) -> str:
    """The name of a ViT-B/16 as `load_clip` takes it; its weights are written into the folder."""
    config = open_clip.get_model_config("ViT-B-16")
    assert config is not None
    weights = folder / "random.safetensors"
    save_file(open_clip.CLIP(**config).state_dict(), weights)
    return f"ViT-B-16/{weights}"
