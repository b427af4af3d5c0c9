"""A step of the second phase has the losses and the gradients of the published code, which holds far more for them."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from nerfstudio.data.scene_box import SceneBox

from nerf_methods import semantics
from nerf_methods.datamanager import SceneContext
from nerf_methods.losses import LossConfig
from nerf_methods.model import Ovs3dModel, Ovs3dModelConfig
from nerf_methods.semantics import PatchBatch, SurfaceBatch
from ovs3d.foundation.clip import load_clip
from ovs3d.scene import SceneSettings

SCRIPT = Path(__file__).parents[2] / "scripts" / "published_semantics.py"
SAMPLES, CLASSES, SCALES = 13, 4, 3


def load_published():
    spec = importlib.util.spec_from_file_location("published_semantics", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def make_model() -> Ovs3dModel:
    """Small, and as different from place to place as a trained one."""
    context = SceneContext(SceneSettings(), load_clip("mini"), torch.zeros(3), 1.0, SCALES)
    config = Ovs3dModelConfig(losses=LossConfig("released"), features=(4, 9), selection=(3, 7))
    config.density_resolutions = config.proposal_resolutions = (4,)
    model = config.setup(
        scene_box=SceneBox(torch.zeros(2, 3)), num_train_data=1, metadata={"context": context}
    )
    with torch.no_grad():
        for value in (*model.feature.volume.parameters(), *model.selection.volume.parameters()):
            value.mul_(10)
    return model.double()


def make_rays(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples in the cube, most of them of a weight that is too small to be looked up."""
    random = torch.rand(*shape, SAMPLES, dtype=torch.float64)
    weights = torch.where(random > 0.6, random / SAMPLES, 1e-4 * random)
    return 2 * torch.rand(*shape, SAMPLES, 3, dtype=torch.float64) - 1, weights


def make_batches(d: int) -> tuple[SurfaceBatch, PatchBatch]:
    teacher = F.normalize(torch.randn(50, SCALES, d, dtype=torch.float64), dim=-1)
    relevancy = torch.rand(50, SCALES, CLASSES, dtype=torch.float64)
    tokens = torch.randn(3, 20, 6, dtype=torch.float64) + 0.7
    surface = SurfaceBatch(*make_rays(50), teacher, relevancy, teacher.mean(0))
    return surface, PatchBatch(*make_rays(3, 20), tokens)


def step(model, form, surface, patches):
    model.zero_grad()
    losses = form.semantic_losses(model, surface) | form.patch_losses(model, patches)
    losses.pop("scale_loss", None)  # for the viewer's scales, which the published form does not have
    torch.stack(list(losses.values())).sum().backward()
    return losses, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_losses_and_gradients_are_those_of_the_published_form(monkeypatch):
    torch.manual_seed(0)
    published, model = load_published(), make_model()
    monkeypatch.setattr(published, "CHUNK", 16)
    d = model.context.clip.d
    text = F.normalize(torch.randn(CLASSES, d, dtype=torch.float64), dim=-1)
    model.class_texts = text
    surface, patches = make_batches(d)
    expected, expected_gradients = step(model, published, surface, patches)
    kept = [published.shaded(batch.points, batch.weights) for batch in (surface, patches)]
    surface, patches = (
        replace(batch, points=points, weights=weights)
        for batch, (points, weights) in zip((surface, patches), kept, strict=True)
    )
    assert surface.weights.shape[1] < SAMPLES
    losses, gradients = step(model, semantics, surface, patches)
    assert {name.split(".")[0] for name in gradients} == {"feature", "selection"}
    torch.testing.assert_close(losses, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-9, atol=1e-9)


def test_losses_from_the_center_are_those_of_features_that_are_formed():
    torch.manual_seed(0)
    model = make_model()
    model.losses = LossConfig("ovs3d").resolve()
    d = model.context.clip.d
    text = F.normalize(torch.randn(CLASSES, d, dtype=torch.float64), dim=-1)
    model.class_texts = text
    surface, _ = make_batches(d)
    surface = replace(surface, center=surface.center + 0.2)
    found = semantics.semantic_losses(model, surface)
    code, opacity = semantics._render_code(model, surface.points, surface.weights)
    lifted = torch.cat([code, opacity], dim=1)
    chosen = (
        model.selection(surface.points.flatten(0, 1)).view(50, SAMPLES, -1) * surface.weights[..., None]
    ).sum(1)
    chosen = (chosen / model.losses.selection_temperature).softmax(-1)
    own = [F.normalize(lifted.detach() @ model.feature.columns(scale).T, dim=-1) for scale in range(SCALES)]
    agreement = F.cosine_similarity(
        torch.stack(own, dim=1) - surface.center, surface.teacher - surface.center, dim=-1
    )
    ours = F.normalize(lifted @ model.feature.columns().T, dim=-1) - surface.center.mean(0)
    mixture = F.normalize((chosen.detach()[..., None] * surface.teacher).sum(1), dim=-1)
    expected = {
        "scale_loss": -agreement.mean(),
        "selection_loss": -(chosen * agreement.detach()).sum(1).mean(),
        "clip_loss": -F.cosine_similarity(ours, mixture - surface.center.mean(0), dim=-1).mean(),
    }
    parameters = [*model.feature.parameters(), *model.selection.parameters()]
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss)
        theirs, mine = (
            torch.autograd.grad(each, parameters, retain_graph=True, allow_unused=True)
            for each in (loss, found[name])
        )
        assert any(gradient is not None for gradient in theirs)
        for parameter, mine_of_it, theirs_of_it in zip(parameters, mine, theirs, strict=True):
            nothing = torch.zeros_like(parameter)
            torch.testing.assert_close(
                nothing if mine_of_it is None else mine_of_it,
                nothing if theirs_of_it is None else theirs_of_it,
            )


def selected(model: Ovs3dModel, surface: SurfaceBatch) -> torch.Tensor:
    """Mean over rays of what the selection volume makes of each scale."""
    values = (
        surface.weights[..., None] * model.selection(surface.points.flatten(0, 1)).view(50, SAMPLES, -1)
    ).sum(1)
    return values.mean(0)


def test_selection_turns_to_the_scale_that_the_field_foretells():
    torch.manual_seed(0)
    model = make_model()
    model.losses = LossConfig("clip").resolve()
    surface, _ = make_batches(model.context.clip.d)
    with torch.no_grad():
        lifted = torch.cat(semantics._render_code(model, surface.points, surface.weights), dim=1)
        foretold = F.normalize(lifted @ model.feature.columns(1).T, dim=-1)
        surface.teacher[:, 1] = foretold
    relevancy = surface.relevancy[..., :0]  # no RDA
    surface = replace(surface, center=surface.teacher.mean(0), relevancy=relevancy)
    losses = semantics.semantic_losses(model, surface)
    before = selected(model, surface)
    losses["selection_loss"].backward()
    with torch.no_grad():
        for value in model.selection.parameters():
            value -= value.grad
    change = selected(model, surface) - before
    assert change[1] > 0
    assert max(change[0], change[2]) < 0
    assert all(value.grad is None for value in model.feature.parameters())


def test_nothing_else_pulls_at_a_selection_by_agreement():
    torch.manual_seed(0)
    model = make_model()
    model.losses = LossConfig("ovs3d").resolve()
    d = model.context.clip.d
    surface, _ = make_batches(d)
    model.class_texts = torch.eye(CLASSES, d, dtype=torch.float64)
    losses = semantics.semantic_losses(model, surface)
    losses.pop("selection_loss")
    assert set(losses) == {"scale_loss", "clip_loss", "rda_loss"}
    torch.stack(list(losses.values())).sum().backward()
    assert all(value.grad is None for value in model.selection.parameters())
