"""Optimiser and schedule of the mini models: Muon on matrices, AdamW on the rest, cosine over wall time."""

import math
import time
from collections.abc import Iterable

from torch import Tensor, nn

from ovs3d.optim import Muon


class Optimizer:
    """Muon for the matrices named in `muon`, AdamW for the rest; the rate follows the wall clock.

    It warms up over 2 % of the time and falls to zero by a half cosine, so that a run always ends annealed,
    however fast the machine is.
    """

    def __init__(self, model: nn.Module, muon: Iterable[str], lr: float, minutes: float):
        names = set(muon)
        matrices = [p for name, p in model.named_parameters() if name in names]
        rest = [p for name, p in model.named_parameters() if name not in names and p.requires_grad]
        self.muon = Muon([{"params": matrices, "outputs": 0}, {"params": rest}], lr)
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
        for group in self.muon.param_groups:
            group["lr"] = rate
        self.muon.step()
        self.muon.zero_grad()


def block_matrices(model: nn.Module, prefixes: tuple[str, ...]) -> list[str]:
    """Names of the weights with two or more axes whose name starts with one of the prefixes."""
    return [name for name, p in model.named_parameters() if p.ndim >= 2 and name.startswith(prefixes)]
