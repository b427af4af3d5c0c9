"""Muon for the matrices of a network, AdamW for all else, as one optimiser."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class Muon(torch.optim.AdamW):
    """AdamW, but the update of matrices is their momentum made orthogonal (Muon; Jordan et al. 2024).

    A group whose entry ``outputs`` is an axis holds matrices: of their output channels, which lie along it, by all
    else. Their update is scaled by 0.2 sqrt(the longer side), so that its entries are as large as AdamW's and both
    share a learning rate (Liu et al. 2025, section 2.2). Groups without the entry are AdamW's.

    Args:
        params: groups of parameters.
        momentum: of matrices; the update looks ahead by it, as Nesterov's does.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, betas, weight_decay=weight_decay)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        every = self.param_groups
        try:
            self.param_groups = [group for group in every if "outputs" not in group]
            super().step()
        finally:
            self.param_groups = every
        for group in every:
            if "outputs" in group:
                for p in group["params"]:
                    self._turn(p, group)
        return loss

    def _turn(self, p: Tensor, group: dict[str, Any]) -> None:
        if p.grad is None:
            return
        state = self.state[p]
        if not state:  # AdamW reads the steps of all states when it loads
            state |= {"step": torch.zeros(()), "velocity": torch.zeros_like(p)}
        state["step"] += 1
        velocity = state["velocity"].lerp_(p.grad, 1 - self.momentum)
        update = p.grad.lerp(velocity, self.momentum).movedim(group["outputs"], 0)
        matrix = update.flatten(1)
        size = 0.2 * math.sqrt(max(matrix.shape))
        p.mul_(1 - group["lr"] * group["weight_decay"])
        turned = orthogonal(matrix).view_as(update).movedim(0, group["outputs"])
        p.add_(turned, alpha=-group["lr"] * size)


def orthogonal(matrix: Float[Tensor, "r c"], steps: int = 5) -> Float[Tensor, "r c"]:
    """About the nearest matrix with singular values of 1: they come to lie in 0.7 to 1.2.

    Newton-Schulz iterations x <- a x + b (x x') x + c (x x')^2 x with Jordan's coefficients. All of them are functions
    of the first product x x', so only that one and the last touch the longer side.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T, steps).T
    gram = matrix @ matrix.T
    size = gram.trace().clamp(min=1e-14)
    gram = gram / size
    total = one = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    for _ in range(steps):
        factor = 3.4445 * one - 4.7750 * gram + 2.0315 * gram @ gram
        total, gram = factor @ total, factor @ gram @ factor
    return (total / size.sqrt()) @ matrix
