"""Weights and variants of the losses on features."""

from dataclasses import dataclass, fields, replace
from typing import Literal


@dataclass(frozen=True)
class Losses:
    """What features are learnt by: the fields of `LossConfig`, all set. Distillation weighs 1."""

    distill: Literal["features", "classes"]
    rda: float
    rda_cosine: bool
    fda_pull: float
    fda_push: float
    fda_shift: float
    fda_temperature: float
    fda_divergence: Literal["kl", "js"]
    fda_rebalance: bool
    fda_guard: float
    fda_start: float
    rgb_start: float
    reset_optimizers: bool


PRESETS = {
    "clip": Losses("features", 0.0, False, 0.0, 0.0, 0.7, 0.2, "kl", True, 0.0, 0.0, 1.0, False),
    "ovs3d": Losses("features", 1.0, False, 2.0, 0.0, 0.9, 0.2, "kl", True, 0.1, 1 / 3, 1.0, False),
    "released": Losses("features", 1.0, False, 200.0, 0.2, 0.7, 0.2, "kl", True, 0.0, 0.0, 1 / 3, True),
    "paper": Losses("features", 1.0, True, 200.0, 0.2, 0.7, 0.2, "js", True, 0.0, 0.0, 1 / 3, False),
    "fusion": Losses("classes", 0.0, False, 0.0, 0.0, 0.7, 0.2, "kl", True, 0.0, 0.0, 1.0, False),
}


@dataclass
class LossConfig:
    """A preset, and what of it is changed."""

    preset: Literal["clip", "ovs3d", "released", "paper", "fusion"] = "ovs3d"
    """released: the values of 3D-OVS's code. paper: its formulas. ovs3d: one setting for all scenes and teachers.
    clip: distillation alone, without DINO. fusion: the classes of the teacher instead of its features."""
    distill: Literal["features", "classes"] | None = None
    """features: CLIP's, which answer any word later. classes: what the teacher thinks of the run's own prompts."""
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
    fda_guard: float | None = None
    """How sharply names that differ keep a pair from pulling, as a temperature; 0: not at all, as published."""
    fda_start: float | None = None
    """Share of the second phase after which FDA sets in."""
    rgb_start: float | None = None
    """Share of the second phase after which colour is learnt again, beside features; 1: never."""
    reset_optimizers: bool | None = None
    """Forget Adam's moments and start the learning rates of features anew at that moment, as the released code does."""

    def resolve(self) -> Losses:
        """The preset with the changes."""
        changes = {one.name: getattr(self, one.name) for one in fields(Losses)}
        return replace(PRESETS[self.preset], **{k: v for k, v in changes.items() if v is not None})
