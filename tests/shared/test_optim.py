"""Muon: matrices turn, the rest is AdamW's."""

import math

import pytest
import torch
from torch import Tensor

from ovs3d.optim import Muon, orthogonal

A, B, C = 3.4445, -4.7750, 2.0315


def newton_schulz(matrix: Tensor) -> Tensor:
    """Five iterations as they are written down, on the matrix itself."""
    x = matrix / matrix.norm()
    for _ in range(5):
        x = A * x + B * x @ x.T @ x + C * x @ x.T @ x @ x.T @ x
    return x


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (7, 7)])
def test_iterations_are_those_on_the_matrix_itself(shape):
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(orthogonal(matrix), newton_schulz(matrix))


def test_singular_values_become_alike_and_directions_stay():
    u, _, v = torch.linalg.svd(
        torch.randn(20, 50, generator=torch.Generator().manual_seed(1)), full_matrices=False
    )
    values = torch.logspace(0, -1.5, 20)
    found = u.T @ orthogonal(u * values @ v) @ v.T
    assert (found - found.diagonal().diag()).abs().max() < 1e-3
    assert found.diagonal().min() > 0.6
    assert found.diagonal().max() < 1.25


def test_an_empty_gradient_stays_empty():
    assert orthogonal(torch.zeros(3, 5)).abs().max() == 0


def start() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(2)
    return torch.randn(27, 4, 6, generator=random).requires_grad_(), torch.randn(
        5, generator=random
    ).requires_grad_()


def descend(optimizer: torch.optim.Optimizer, kernel: Tensor, rest: Tensor, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        (kernel.square().sum() + rest.square().sum() + (kernel.sum() * rest.sum()).sin()).backward()
        optimizer.step()


def test_a_kernel_takes_steps_by_hand():
    kernel, rest = start()
    by_hand, velocity = kernel.detach().clone(), torch.zeros_like(kernel)
    optimizer = Muon([{"params": [kernel], "outputs": -1}, {"params": [rest]}], lr=0.1, weight_decay=0.2)
    for _ in range(3):
        descend(optimizer, kernel, rest, 1)
        velocity = 0.95 * velocity + 0.05 * kernel.grad
        update = 0.05 * kernel.grad + 0.95 * velocity
        turned = orthogonal(update.reshape(27 * 4, 6)).reshape(27, 4, 6)
        by_hand = by_hand * (1 - 0.1 * 0.2) - 0.1 * 0.2 * math.sqrt(27 * 4) * turned
    torch.testing.assert_close(kernel.detach(), by_hand)


def test_outputs_may_come_first():
    kernel, rest = start()
    swapped = kernel.detach().movedim(-1, 0).clone().requires_grad_()
    other = rest.detach().clone().requires_grad_()
    descend(Muon([{"params": [kernel], "outputs": -1}, {"params": [rest]}], lr=0.1), kernel, rest, 3)
    descend(Muon([{"params": [swapped], "outputs": 0}, {"params": [other]}], lr=0.1), swapped, other, 3)
    torch.testing.assert_close(swapped.movedim(0, -1), kernel)


def test_all_else_is_adamw():
    (first, rest), (second, same) = start(), start()
    descend(Muon([{"params": [first]}, {"params": [rest]}], lr=0.1), first, rest, 4)
    descend(torch.optim.AdamW([second, same], lr=0.1, betas=(0.9, 0.98), weight_decay=0.01), second, same, 4)
    assert torch.equal(first, second)
    assert torch.equal(rest, same)


def test_it_goes_on_from_its_state():
    (first, rest), (second, same) = start(), start()
    groups = [{"params": [first], "outputs": -1}, {"params": [rest]}]
    one = Muon(groups, lr=0.1)
    descend(one, first, rest, 5)
    half = Muon([{"params": [second], "outputs": -1}, {"params": [same]}], lr=0.1)
    descend(half, second, same, 2)
    again = Muon([{"params": [second], "outputs": -1}, {"params": [same]}], lr=0.3)
    again.load_state_dict(half.state_dict())
    descend(again, second, same, 3)
    assert torch.equal(first, second)
    assert torch.equal(rest, same)
