"""What a user may write to name weights, and the file that it means.

``mini``, ``ViT-B-16/openai`` (a published tag), ``ViT-B-16/./mine.pt`` (a path) or
``ViT-B-16/https://host/file.pt#sha256=<64 hex digits>``.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ovs3d.errors import InputError
from ovs3d.foundation.fetch import fetch, sha256_of, verify
from ovs3d.foundation.published import Published, find_published

MINI = "mini"
CLIP_WEIGHTS = "ViT-B-16/openai"
DINO_WEIGHTS = "vit_base_patch8_224_dino/facebook"
SAM_WEIGHTS = "vit_b/facebook"
_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")
_FORMS = (
    "mini, <architecture>/<published tag>, <architecture>/<path> or <architecture>/<https URL>#sha256=<hex>"
)


@dataclass(frozen=True)
class WeightsSpec:
    """Weights as the user named them: an architecture and a tag, a path or a URL; ``mini`` has no source."""

    architecture: str
    source: str = ""
    sha256: str = ""

    @property
    def is_mini(self) -> bool:
        return self.architecture == MINI

    @property
    def is_url(self) -> bool:
        return self.source.startswith("https://")

    @property
    def is_path(self) -> bool:
        return not self.is_url and ("/" in self.source or self.source.endswith(_SUFFIXES))

    def __str__(self) -> str:
        if self.is_mini:
            return MINI
        return f"{self.architecture}/{self.source}" + (f"#sha256={self.sha256}" if self.is_url else "")


def parse_weights(text: str) -> WeightsSpec:
    """Read a weights name.

    Raises:
        InputError: the text has none of the four forms.
    """
    if text == MINI:
        return WeightsSpec(MINI)
    architecture, _, source = text.partition("/")
    if not architecture or not source:
        raise InputError(f"weights {text!r} are not one of: {_FORMS}")
    if "://" not in source:
        return WeightsSpec(architecture, source)
    url, _, digest = source.partition("#sha256=")
    if not url.startswith("https://") or not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise InputError(
            f"weights by URL need https and the file's hash, {_FORMS.split(' or ')[1]}; got {text!r}"
        )
    return WeightsSpec(architecture, url, digest.lower())


def dino_beside(clip: str | None) -> str:
    """The DINO weights that go with CLIP weights, unless others are named: the mini set stays together."""
    return MINI if clip == MINI else DINO_WEIGHTS


def sam_beside(clip: str | None) -> str:
    """The SAM weights that go with CLIP weights."""
    return MINI if clip == MINI else SAM_WEIGHTS


def weights_folder() -> Path:
    """Where fetched weights lie: $OVS3D_WEIGHTS, else ~/.cache/ovs3d/weights."""
    return Path(os.environ.get("OVS3D_WEIGHTS") or Path.home() / ".cache" / "ovs3d" / "weights")


def mini_folder(kind: str) -> Path:
    """The folder of the mini ``clip``, ``dino`` or ``sam`` inside the package."""
    folder = Path(__file__).parent.parent / "mini" / kind
    if not (folder / "weights.safetensors").is_file():
        raise InputError(
            f"the mini {kind} is not in this installation: {folder}/weights.safetensors is missing"
        )
    return folder


def published(spec: WeightsSpec) -> Published:
    """What is to be fetched for a tag or a URL."""
    if spec.is_url:
        return Published("", spec.architecture, "", spec.source, spec.sha256)
    return find_published(spec.architecture, spec.source)


def weights_file(spec: WeightsSpec) -> tuple[Path, str]:
    """The local file of weights that are not mini, and its sha256; a published file is fetched if missing.

    Raises:
        InputError: no such file or tag, or it cannot be fetched, or it is not what was published.
    """
    if not spec.is_path:
        file = published(spec)
        path = fetch(file, weights_folder())
        return path, verify(path, file)
    path = Path(spec.source).expanduser()
    if not path.is_file():
        raise InputError(f"no weights at {path} (from {spec}); give the path of a file, or the weights mini")
    return path, sha256_of(path)
