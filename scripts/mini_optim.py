"""Optimiser and schedule of the mini models: Muon on matrices, AdamW on the rest, cosine over wall time."""

import math
import time
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised (Jordan et al. 2024); a convolution counts as (out, in*h*w).

    The update is scaled by 0.2 sqrt(max(rows, columns)), the size of AdamW's, so that both share a rate.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": 0.01})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                velocity = self.state[p].setdefault("velocity", torch.zeros_like(p))
                velocity.lerp_(p.grad, 1 - group["momentum"])
                matrix = p.grad.lerp(velocity, group["momentum"]).flatten(1)
                scale = 0.2 * math.sqrt(max(matrix.shape))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(orthogonalise(matrix).view_as(p), alpha=-group["lr"] * scale)


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix, approximately, by a quintic Newton-Schulz iteration in bfloat16."""
    x = matrix.bfloat16() / (matrix.norm() + 1e-7)
    wide = x if x.shape[0] <= x.shape[1] else x.T
    for _ in range(steps):
        gram = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
    return (wide if x.shape[0] <= x.shape[1] else wide.T).to(matrix.dtype)


class Optimizer:
    """Muon for the matrices named in `muon`, AdamW for the rest; the rate follows the wall clock.

    It warms up over 2 % of the time and falls to zero by a half cosine, so that a run always ends annealed,
    however fast the machine is.
    """

    def __init__(self, model: nn.Module, muon: Iterable[str], lr: float, minutes: float):
        names = set(muon)
        matrices = [p for name, p in model.named_parameters() if name in names]
        rest = [p for name, p in model.named_parameters() if name not in names and p.requires_grad]
        self.parts = [Muon(matrices, lr), torch.optim.AdamW(rest, lr, betas=(0.9, 0.98), weight_decay=0.01)]
        self.params = matrices + rest
        self.lr, self.seconds, self.start = lr, 60 * minutes, time.monotonic()

    @property
    def progress(self) -> float:
        """Spent share of the time, 0 to 1 and beyond."""
        return (time.monotonic() - self.start) / self.seconds

    def step(self, loss: Tensor) -> None:
        """One step against `loss`, gradient clipped to norm 1."""
        loss.backward()
        nn.utils.clip_grad_norm_(self.params, 1.0)
        t = min(self.progress, 1.0)
        rate = self.lr * min(1.0, t / 0.02 + 1e-3) * 0.5 * (1 + math.cos(math.pi * t))
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad(set_to_none=True)


def block_matrices(model: nn.Module, prefixes: tuple[str, ...]) -> list[str]:
    """Names of the weights with two or more axes whose name starts with one of the prefixes."""
    return [name for name, p in model.named_parameters() if p.ndim >= 2 and name.startswith(prefixes)]
