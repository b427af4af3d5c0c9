"""The CLIP loss has the value and the gradients of the published code."""

import pytest
import torch
import torch.nn.functional as F

from nerf_methods.objectives import clip_distillation


def leaf(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_value_and_gradients_are_those_of_the_published_code():
    """Golden numbers: 3D-OVS's own functions, run in float64 on this input."""
    rendered = leaf([[1.0, 0.5], [-0.2, 2.0]])
    selection = leaf([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    teacher = leaf([[[1.0, 0], [0, 1], [0.6, 0.8]], [[0, 1.0], [0.8, 0.6], [1, 0]]]).detach()
    loss = clip_distillation(rendered, teacher, selection)
    loss.backward()
    assert loss.item() == pytest.approx(-0.6396042791947739, abs=1e-12)
    by_rendered = [[0.034757066782, -0.069514133564], [-0.236553116033, -0.023655311603]]
    by_selection = [
        [-0.067064810066, 0.090391700523, 0.032074474379],
        [-0.534053446668, -0.140540380702, 0.224864609123],
    ]
    torch.testing.assert_close(rendered.grad, leaf(by_rendered).detach(), rtol=0, atol=1e-11)
    torch.testing.assert_close(selection.grad, leaf(by_selection).detach(), rtol=0, atol=1e-11)


def test_a_feature_along_the_mixture_is_the_optimum_whatever_its_length():
    torch.manual_seed(0)
    teacher = F.normalize(torch.randn(6, 3, 8), dim=-1)
    selection = torch.rand(6, 3).softmax(-1)
    mixture = torch.stack([sum(selection[r, s] * teacher[r, s] for s in range(3)) for r in range(6)])
    assert clip_distillation(5 * mixture, teacher, selection).item() == pytest.approx(-1, abs=1e-6)
    assert clip_distillation(-mixture, teacher, selection).item() == pytest.approx(1, abs=1e-6)


def test_a_ray_without_a_feature_gives_a_finite_gradient():
    rendered = torch.zeros(2, 4, requires_grad=True)
    teacher = F.normalize(torch.ones(2, 3, 4), dim=-1)
    clip_distillation(rendered, teacher, torch.full((2, 3), 1 / 3)).backward()
    assert rendered.grad is not None
    assert rendered.grad.isfinite().all()
