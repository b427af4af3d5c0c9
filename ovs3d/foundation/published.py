"""The weights files that can be had by a tag: where each is, and its hash where its publisher names one."""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import yaml

from ovs3d.errors import InputError


@dataclass(frozen=True)
class Published:
    """A published weights file."""

    kind: str
    """clip, dino or sam."""
    architecture: str
    tag: str
    """Empty for a file that the user named by its URL."""
    url: str
    sha256: str
    """The file's hash or its first digits, as its publisher gives it; empty where it gives none."""
    quick_gelu: bool = False
    """Trained with x * sigmoid(1.702 x) in place of GELU."""
    mean: tuple[float, float, float] | None = None
    """RGB mean that the images were normalised with, where it is not the architecture's usual one."""
    std: tuple[float, float, float] | None = None

    @property
    def name(self) -> str:
        return f"{self.architecture}/{self.tag or f'{self.url}#sha256={self.sha256}'}"

    def path_in(self, folder: Path) -> Path:
        """Where the file lies in a weights folder."""
        suffix = Path(self.url).suffix or ".pt"
        return (
            folder / self.architecture.removesuffix("-quickgelu") / ((self.tag or self.sha256[:16]) + suffix)
        )


@cache
def published_files() -> tuple[Published, ...]:
    """All of them: CLIP by open_clip's own registry, DINO and SAM by ``published.yaml``."""
    return (*_clip_files(), *_listed_files())


def find_published(architecture: str, tag: str) -> Published:
    """The file of a tag.

    Raises:
        InputError: there is none; the message lists the closest names.
    """
    architecture = architecture.replace(".dino", "_dino")
    tag = re.sub("-", "_", tag.lower())
    names = {file.name: file for file in published_files()}
    if f"{architecture}/{tag}" not in names:
        same = [name for name in names if name.startswith(f"{architecture}/")]
        close = get_close_matches(f"{architecture}/{tag}", same or list(names), n=4, cutoff=0.0)
        raise InputError(
            f"unknown weights {architecture}/{tag}; the closest are {', '.join(close)}"
            f" (all: ovs3d weights list); a file of your own is written {architecture}/<path>"
        )
    return names[f"{architecture}/{tag}"]


def clip_architectures() -> dict[str, dict]:
    """open_clip's configurations with its own ViT or ResNet and its own tokenizer: they build offline."""
    import open_clip

    configs = {name: open_clip.get_model_config(name) or {} for name in open_clip.list_models()}
    return {name: config for name, config in configs.items() if _is_native(config)}


def _is_native(config: dict) -> bool:
    foreign = {"hf_model_name", "hf_tokenizer_name"} & set(config["text_cfg"])
    return not foreign and "timm_model_name" not in config["vision_cfg"] and "multimodal_cfg" not in config


def _clip_files() -> list[Published]:
    import open_clip

    native = clip_architectures()
    pairs = [(model, tag) for model, tag in open_clip.list_pretrained() if model in native]
    return [_clip_file(model, tag, open_clip.get_pretrained_cfg(model, tag)) for model, tag in pairs]


def _clip_file(architecture: str, tag: str, config: dict) -> Published:
    url = config.get("url") or _hub_url(config["hf_hub"])
    # OpenAI writes the hash as the folder's name, open_clip its first 8 digits at the end of the file's.
    named = re.search(r"/([0-9a-f]{64})/|-([0-9a-f]{8})\.pth?$", url)
    sha256 = (named[1] or named[2]) if named else ""
    quick_gelu = config.get("quick_gelu", False)
    return Published("clip", architecture, tag, url, sha256, quick_gelu, config["mean"], config["std"])


def _hub_url(name: str) -> str:
    repository, file = name.rsplit("/", 1)
    return f"https://huggingface.co/{repository}/resolve/main/{file or 'open_clip_model.safetensors'}"


def _listed_files() -> list[Published]:
    kinds = yaml.safe_load((Path(__file__).parent / "published.yaml").read_text())
    return [
        Published(kind, architecture, tag, file["url"], file.get("sha256", ""))
        for kind, architectures in kinds.items()
        for architecture, tags in architectures.items()
        for tag, file in tags.items()
    ]
