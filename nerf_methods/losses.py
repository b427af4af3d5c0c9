"""Weights and variants of the losses on features."""

from dataclasses import dataclass, fields, replace
from typing import Literal


@dataclass(frozen=True)
class Losses:
    """What features are learnt by, besides CLIP distillation, which weighs 1: the fields of `LossConfig`, all set."""

    rda: float
    rda_cosine: bool
    fda_pull: float
    fda_push: float
    fda_shift: float
    fda_temperature: float
    fda_divergence: Literal["kl", "js"]
    fda_rebalance: bool
    fda_start: float


PRESETS = {
    "clip": Losses(0.0, False, 0.0, 0.0, 0.7, 0.2, "kl", True, 0.0),
    "ovs3d": Losses(0.0, False, 4.0, 0.1, 0.7, 0.2, "kl", True, 1 / 3),
    "released": Losses(1.0, False, 200.0, 0.2, 0.7, 0.2, "kl", True, 0.0),
    "paper": Losses(1.0, True, 200.0, 0.2, 0.7, 0.2, "js", True, 0.0),
}


@dataclass
class LossConfig:
    """A preset, and what of it is changed."""

    preset: Literal["clip", "ovs3d", "released", "paper"] = "clip"
    """released: the values of 3D-OVS's code. paper: its formulas. ovs3d: one setting for all scenes and teachers.
    clip: distillation alone, without DINO."""
    rda: float | None = None
    """Weight of the relevancy-distribution alignment."""
    rda_cosine: bool | None = None
    """RDA on features of unit length; the released code leaves them as they are."""
    fda_pull: float | None = None
    """Weight of pixel pairs that DINO thinks alike."""
    fda_push: float | None = None
    """Weight of pixel pairs that DINO thinks different."""
    fda_shift: float | None = None
    """Cosine of DINO features at which a pair is neutral."""
    fda_temperature: float | None = None
    """Of the class probabilities of pixels."""
    fda_divergence: Literal["kl", "js"] | None = None
    """Of the class probabilities of a pair."""
    fda_rebalance: bool | None = None
    """Divide each kind of pair by its own number."""
    fda_start: float | None = None
    """Share of the second phase after which FDA sets in."""

    def resolve(self) -> Losses:
        """The preset with the changes."""
        changes = {one.name: getattr(self, one.name) for one in fields(Losses)}
        return replace(PRESETS[self.preset], **{k: v for k, v in changes.items() if v is not None})
