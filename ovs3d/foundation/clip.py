"""CLIP through open_clip: images and texts to one space."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Literal

import open_clip
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.modified_resnet import ModifiedResNet
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import QuickGELU
from torch import Tensor

from ovs3d.errors import InputError
from ovs3d.foundation.fetch import sha256_of
from ovs3d.foundation.published import clip_architectures
from ovs3d.foundation.state_dict import load_strictly, read_state_dict
from ovs3d.foundation.store import Identity
from ovs3d.foundation.weights import MINI, WeightsSpec, mini_folder, parse_weights, published, weights_file

Precision = Literal["float32", "bfloat16", "float16"]

_OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI keeps among the weights; open_clip has them in its configuration."""


@dataclass(frozen=True)
class Clip:
    """A frozen CLIP with its preprocessing and its tokenizer."""

    name: str
    """Architecture, or ``mini``."""
    weights: str
    """What was asked for."""
    fingerprint: str
    """sha256 of the weights file."""
    d: int
    """Embedding size."""
    image_size: int
    """Side of the square input, in pixels."""
    model: open_clip.CLIP
    tokenizer: SimpleTokenizer
    mean: tuple[float, ...] = OPENAI_DATASET_MEAN
    std: tuple[float, ...] = OPENAI_DATASET_STD
    precision: Precision = "float32"
    """Arithmetic of the image tower; texts are always encoded in float32."""
    known_ids: frozenset[int] | None = None
    """Tokens whose embedding was trained; None if all were."""
    _texts: dict[str, Float[Tensor, " d"]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Embeddings of the texts so far."""

    @property
    def identity(self) -> Identity:
        """All that its features depend on besides the image, for the feature store."""
        return {
            "model": self.name,
            "weights": self.fingerprint,
            "quick_gelu": any(isinstance(part, QuickGELU) for part in self.model.modules()),
            "mean": list(self.mean),
            "std": list(self.std),
            "precision": self.precision,
        }

    @property
    def device(self) -> torch.device:
        return self.model.logit_scale.device

    def normalize(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """RGB in 0..1 to what the image tower was trained on, on the model's device."""
        images = images.to(self.device)
        mean, std = (images.new_tensor(value)[:, None, None] for value in (self.mean, self.std))
        return (images - mean) / std

    @torch.no_grad()
    def encode_images(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Features of RGB images in 0..1, resized to the model's square input; not of unit length."""
        size = (self.image_size, self.image_size)
        images = images.to(self.device)
        if images.shape[-2:] != size:
            images = F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)
        dtype = getattr(torch, self.precision)
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            return self.model.encode_image(self.normalize(images)).float()

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "k d"]:
        """Embeddings (unit length) of texts; a text that was encoded before costs nothing.

        Raises:
            InputError: a text is longer than the model reads, or has a word that mini weights cannot know.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        for text in new:
            self._check(text)
        if new:
            tokens = self.tokenizer(new, context_length=self.model.context_length)
            found = F.normalize(_encode_tokens(self.model, tokens.to(self.device)), dim=-1)
            self._texts.update(zip(new, found, strict=True))
        return torch.stack([self._texts[text] for text in texts])

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """The words of a text with a token that the weights were never trained on; real CLIPs have none."""
        if self.known_ids is None:
            return ()
        words = self.tokenizer.pat.findall(self.tokenizer.clean_fn(text))
        return tuple(word for word in words if not self.known_ids.issuperset(self.tokenizer.encode(word)))

    def _check(self, text: str) -> None:
        room = self.model.context_length - 2
        if (count := len(self.tokenizer.encode(text))) > room:
            raise InputError(
                f"{text[:60]!r} has {count} tokens, {self.weights} reads at most {room}; shorten it"
            )
        if unknown := self.unknown_words(text):
            close = get_close_matches(unknown[0], self._known_words(), n=6, cutoff=0.0)
            raise InputError(
                f"the mini CLIP cannot know {unknown[0]!r} (in {text[:60]!r}): it was trained on few words,"
                f" the closest are {', '.join(close)}; use those, or real weights such as ViT-B-16/openai"
            )

    def _known_words(self) -> list[str]:
        pieces = [self.tokenizer.decoder[i] for i in sorted(self.known_ids or ())]
        words = [piece.removesuffix("</w>") for piece in pieces if piece.endswith("</w>")]
        return [word for word in words if len(word) > 1]


def _encode_tokens(model: open_clip.CLIP, tokens: Int[Tensor, "k n"]) -> Float[Tensor, "k d"]:
    """What ``model.encode_text`` computes, without the padding behind the end of the longest text.

    The mask is causal, so no padding reaches the token that is read out: of 77 tokens, a prompt needs ten or so.
    """
    mask, projection = model.attn_mask, model.text_projection
    if not (isinstance(mask, Tensor) and isinstance(projection, Tensor)) or model.text_pool_type != "argmax":
        return model.encode_text(tokens)
    ends = tokens.argmax(dim=1)  # as open_clip finds them
    n = int(ends.max()) + 1
    x = (
        model.get_submodule("token_embedding")(tokens[:, :n])
        + model.get_parameter("positional_embedding")[:n]
    )
    x = model.get_submodule("ln_final")(model.get_submodule("transformer")(x, attn_mask=mask[:n, :n]))
    return x[torch.arange(len(x)), ends] @ projection


def load_clip(
    weights: str = "ViT-B-16/openai", device: str | torch.device = "cpu", precision: Precision | None = None
) -> Clip:
    """A frozen CLIP.

    Args:
        weights: ``mini``, or an open_clip architecture and a tag, path or URL (see ``foundation.weights``).
        precision: arithmetic of the image tower; None: the fastest that the device has instructions for.

    Raises:
        InputError: unknown architecture or tag, no such file, or weights of another architecture.
    """
    spec = parse_weights(weights)
    clip = _load_mini() if spec.is_mini else _load_real(spec)
    clip.model.to(device)
    return replace(clip, precision=precision or _fastest(torch.device(device)))


def _load_mini() -> Clip:
    folder = mini_folder("clip")
    config = json.loads((folder / "config.json").read_text())
    path = folder / "weights.safetensors"
    state = read_state_dict(path)
    ids, rows = state.pop("token_embedding.ids"), state.pop("token_embedding.rows")
    table = rows.new_zeros(open_clip.CLIPTextCfg(**config["text_cfg"]).vocab_size, rows.shape[1])
    table[ids] = rows
    state["token_embedding.weight"] = table
    model = open_clip.CLIP(**config)
    load_strictly(model, state, str(path))
    return _clip(parse_weights(MINI), config, model, sha256_of(path), known_ids=frozenset(ids.tolist()))


def _load_real(spec: WeightsSpec) -> Clip:
    config = _config(spec.architecture)
    path, fingerprint = weights_file(spec)
    state = read_state_dict(path)
    by_openai = [state.pop(name) for name in _OPENAI_EXTRAS if name in state]
    file = None if spec.is_path else published(spec)
    config["quick_gelu"] = bool(config.get("quick_gelu") or by_openai or (file and file.quick_gelu))
    model = open_clip.CLIP(**config)
    if by_openai:  # its archives hold attention masks too, which open_clip makes itself
        state = {name: value for name, value in state.items() if name in model.state_dict()}
    load_strictly(model, state, str(path))
    normalisation = {"mean": file.mean, "std": file.std} if file and file.mean else {}
    return _clip(spec, config, model, fingerprint, **normalisation)


def _config(architecture: str) -> dict:
    configs = clip_architectures()
    if architecture not in configs:
        close = ", ".join(get_close_matches(architecture, configs, n=4, cutoff=0.0))
        raise InputError(f"unknown CLIP architecture {architecture!r}; the closest are {close}")
    return configs[architecture]


def _clip(spec: WeightsSpec, config: dict, model: open_clip.CLIP, fingerprint: str, **fields: Any) -> Clip:
    if isinstance(model.visual, ModifiedResNet):
        model.visual.to(memory_format=torch.channels_last)  # 15 % faster on a CPU
    image_size = open_clip.CLIPVisionCfg(**config["vision_cfg"]).image_size
    return Clip(
        name=spec.architecture,
        weights=str(spec),
        fingerprint=fingerprint,
        d=config["embed_dim"],
        image_size=image_size if isinstance(image_size, int) else image_size[0],
        model=model.eval().requires_grad_(False),
        tokenizer=SimpleTokenizer(),
        **fields,
    )


def _fastest(device: torch.device) -> Precision:
    """Half precision where the machine has instructions for it: half the time, cosines equal to 2e-4."""
    if device.type == "cuda":
        return "float16"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if device.type == "cpu" and native else "float32"
