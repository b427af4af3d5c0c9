"""Weights and variants of the losses on features."""

from dataclasses import dataclass, fields, replace
from typing import Literal


@dataclass(frozen=True)
class Losses:
    """What features are learnt by: the fields of `LossConfig`, all set. Distillation weighs 1."""

    distill: Literal["features", "classes"]
    centered: bool
    selection: Literal["mixture", "agreement"]
    selection_temperature: float
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


_RELEASED = Losses(
    distill="features",
    centered=False,
    selection="mixture",
    selection_temperature=1.0,
    rda=1.0,
    rda_cosine=False,
    fda_pull=200.0,
    fda_push=0.2,
    fda_shift=0.7,
    fda_temperature=0.2,
    fda_divergence="kl",
    fda_rebalance=True,
    fda_guard=0.0,
    fda_start=0.0,
    rgb_start=1 / 3,
    reset_optimizers=True,
)
_PAPER = replace(_RELEASED, rda_cosine=True, fda_divergence="js", reset_optimizers=False)
_ALONE = replace(_RELEASED, rda=0.0, fda_pull=0.0, fda_push=0.0, rgb_start=1.0, reset_optimizers=False)
_CLIP = replace(_ALONE, centered=True, selection="agreement", selection_temperature=0.1)
PRESETS = {
    "clip": _CLIP,
    "ovs3d": replace(_CLIP, rda=1.0, fda_pull=2.0, fda_shift=0.9, fda_guard=0.1, fda_start=1 / 3),
    "released": _RELEASED,
    "paper": _PAPER,
    "fusion": replace(_ALONE, distill="classes"),
}


@dataclass
class LossConfig:
    """A preset, and what of it is changed."""

    preset: Literal["clip", "ovs3d", "released", "paper", "fusion"] = "ovs3d"
    """released: the values of 3D-OVS's code. paper: its formulas. ovs3d: one setting for all scenes and teachers.
    clip: distillation alone, without RDA and FDA. fusion: the classes of the teacher instead of its features."""
    distill: Literal["features", "classes"] | None = None
    """features: CLIP's, which answer any word later. classes: what the teacher thinks of the run's own prompts."""
    centered: bool | None = None
    """Measure the angles of features from the mean of the teacher's instead of from the origin."""
    selection: Literal["mixture", "agreement"] | None = None
    """What the selection volume learns from. mixture: the distillation itself, as published. agreement: how well the
    field foretells each scale by itself."""
    selection_temperature: float | None = None
    """Temperature of the softmax over scales; 1 is 3D-OVS's, which can only weigh between 0.155 and 0.576."""
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
