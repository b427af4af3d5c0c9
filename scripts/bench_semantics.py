"""A training step on features: time and memory of ours against the published code's way, in one process.

Both compute CLIP distillation, RDA and FDA with the released weights, and all gradients, from the same rays and the
same parameters of the field; that losses and gradients agree is asserted. Geometry is given to both: the weights of all
samples to the published form, those above 1e-4 to ours, which looks for them once before the training. DINO's features
are given as well, where the published code computes them at every step. Ours is measured a second time with the few
samples of its default settings. Rounds alternate, so that a slow moment of the machine meets all.
Writes docs/reports/semantics.json; `scripts/write_results.py` makes the table.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

import published_semantics
import torch
import torch.nn.functional as F
import tyro
from bench_model import model_without_scene
from jaxtyping import Float
from peak_memory import available, peak_growth, peak_of_tensors
from thin_surface import ThinSurface
from torch import Tensor

from nerf_methods import semantics
from nerf_methods.losses import LossConfig
from nerf_methods.model import Ovs3dModel
from nerf_methods.rendering import heaviest
from nerf_methods.semantics import PatchBatch, SurfaceBatch
from ovs3d.eval.environment import environment
from ovs3d.eval.report import Report
from ovs3d.foundation.clip import load_clip

Losses = dict[str, Float[Tensor, ""]]
TOLERANCE = 1e-4
"""Of losses and gradients, relative to the largest value of each."""
GIB = 2**30


@dataclass(frozen=True)
class BenchSemantics:
    """Measure seconds and peak memory of a training step on features: forward and backward."""

    out: Path = Path("docs/reports/semantics.json")
    """The report."""
    samples: tuple[int, ...] = (64, 482)
    """Samples per ray of the published form, one measurement each; 482 is the published code's number."""
    rays: int = 4096
    """Rays for CLIP distillation and RDA."""
    patches: int = 8
    """Patches for FDA."""
    patch_side: int = 32
    """Rays along the side of a patch."""
    classes: int = 10
    """Prompts."""
    d: int = 512
    """Embedding size."""
    rounds: int = 5
    """Rounds of each form; the median counts."""
    seed: int = 0
    """Of the field, the rays and what they are taught."""

    def run(self) -> None:
        start = time.perf_counter()
        model = self._model()
        metrics = {f"{samples} samples per ray": self._compare(model, samples) for samples in self.samples}
        report = Report(
            task="A training step on features: CLIP distillation, RDA and FDA",
            protocol=f"{self.rays} rays and {self.patches} patches of {self.patch_side}x{self.patch_side} rays; "
            f"median of {self.rounds} alternating rounds; memory: the most that tensors take at a time; "
            "resident: growth of the process from before the step to its peak, in a step of its own after free pages "
            "were given back",
            classes=[f"class {i}" for i in range(self.classes)],
            metrics=metrics,
            split="random rays through thin surfaces",
            weights={},
            config={"d": self.d, "losses": "released", "threads": torch.get_num_threads()},
            seed=self.seed,
            seconds=time.perf_counter() - start,
            **environment(),
        )
        self.out.write_text(report.to_json())
        print(report.to_markdown())

    def _model(self) -> Ovs3dModel:
        torch.manual_seed(self.seed)
        clip = replace(load_clip("mini"), d=self.d)  # the size is all that the field wants to know of it
        model = model_without_scene(clip, LossConfig("released"))
        with torch.no_grad():  # as different from place to place as a trained field
            for value in (*model.feature.volume.parameters(), *model.selection.volume.parameters()):
                value.mul_(10)
        model.class_texts = F.normalize(torch.randn(self.classes, self.d), dim=-1)
        return model.train()

    def _compare(self, model: Ovs3dModel, samples: int) -> dict[str, float]:
        scene = ThinSurface(samples, self.rays, self.patches, self.patch_side, self.classes, self.d)
        random = torch.Generator().manual_seed(self.seed)
        surface, patches = scene.surface_batch(random), scene.patch_batch(random)
        self._check_memory(samples)
        kept = [_reduced(batch, published_semantics.shaded) for batch in (surface, patches)]
        few = [_reduced(batch, partial(_heaviest, model)) for batch in (surface, patches)]
        steps = {
            "published": partial(_step, model, published_semantics, surface, patches),
            "ovs3d": partial(_step, model, semantics, *kept),
            f"ovs3d_{model.config.surface_samples}_samples": partial(_step, model, semantics, *few),
        }
        shaded = torch.cat([(batch.weights > 0).sum(-1).flatten() for batch in kept])
        found = {"shaded_per_ray": float(shaded.float().mean()), "most_shaded": int(shaded.max())}
        found |= _differences(model, steps["published"], steps["ovs3d"])
        return found | _measure(steps, self.rounds)

    def _check_memory(self, samples: int) -> None:
        """Leave before the machine runs out: a chunk's features and their product or gradient, and four of pairs."""
        features = 2 * min(self.rays, published_semantics.CHUNK) * samples * self.d
        pairs = 4 * self.patches * self.patch_side**4 * self.classes
        need = 4 * (features + pairs) * 1.3
        if (free := available()) < need:
            raise SystemExit(
                f"{samples} samples a ray need {need / GIB:.1f} GiB in the published form, {free / GIB:.1f} GiB are "
                "free: take fewer with --samples"
            )


def _reduced(batch: SurfaceBatch | PatchBatch, choose: Callable) -> SurfaceBatch | PatchBatch:
    points, weights = choose(batch.points, batch.weights)
    return replace(batch, points=points, weights=weights)


def _heaviest(model: Ovs3dModel, points: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """As `Ovs3dModel.surface` chooses them."""
    flat = weights.flatten(0, -2)
    index, kept = heaviest(flat, model.config.surface_samples)
    index, kept = (part.view(*weights.shape[:-1], -1) for part in (index, kept))
    return points.gather(-2, index[..., None].expand(*index.shape, 3)), kept


def _step(model: Ovs3dModel, form: ModuleType, surface: SurfaceBatch, patches: PatchBatch) -> Losses:
    model.zero_grad(set_to_none=True)
    losses = form.semantic_losses(model, surface) | form.patch_losses(model, patches)
    torch.stack(list(losses.values())).sum().backward()
    return losses


def _differences(
    model: Ovs3dModel, published: Callable[[], Losses], ours: Callable[[], Losses]
) -> dict[str, float]:
    """The largest relative differences of losses and of the gradients of parameters, which must be small."""
    expected, expected_gradients = published(), _gradients(model)
    losses, gradients = ours(), _gradients(model)
    # ours trains the viewer's scales as well, which the published form does not have
    assert set(losses) - set(expected) == {"scale_loss"}
    assert {name for name in gradients if "scale_decoder" not in name} == set(expected_gradients) != set()
    by_loss = {name: _difference(losses[name], expected[name]) for name in expected}
    by_gradient = {name: _difference(gradients[name], value) for name, value in expected_gradients.items()}
    assert max(by_loss.values()) < TOLERANCE, by_loss
    assert max(by_gradient.values()) < TOLERANCE, by_gradient
    return {"loss_difference": max(by_loss.values()), "gradient_difference": max(by_gradient.values())}


def _gradients(model: Ovs3dModel) -> dict[str, Tensor]:
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def _difference(value: Tensor, expected: Tensor) -> float:
    value, expected = value.detach(), expected.detach()
    return float((value - expected).abs().max() / expected.abs().max())


def _measure(steps: dict[str, partial[Losses]], rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    memory: dict[str, list[int]] = {name: [] for name in steps}
    tensors = {name: peak_of_tensors(step) for name, step in steps.items()}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
            memory[name].append(peak_growth(step))
    found = {f"{name}_seconds": statistics.median(seconds[name]) for name in steps}
    found |= {f"{name}_mib": tensors[name] / 2**20 for name in steps}
    found |= {f"{name}_resident_mib": statistics.median(memory[name]) / 2**20 for name in steps}
    for name in list(steps)[1:]:
        times = [a / b for a, b in zip(seconds["published"], seconds[name], strict=True)]
        sizes = [a / b for a, b in zip(memory["published"], memory[name], strict=True)]
        found |= {f"{name}_times_faster": statistics.median(times), f"{name}_least_times_faster": min(times)}
        found |= {
            f"{name}_times_smaller": tensors["published"] / tensors[name],
            f"{name}_resident_times_smaller": statistics.median(sizes),
        }
    return found


if __name__ == "__main__":
    tyro.cli(BenchSemantics).run()
