"""Training in several processes gives the gradients of one: what a mean or a norm is taken over is all of them."""

import torch
import torch.distributed as dist
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


def several() -> bool:
    """Whether this is one of several processes that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def mean_over_processes(value: Tensor) -> Tensor:
    """Of a number that needs no gradient."""
    if not several():
        return value
    value = value.detach().clone().to(torch.float64)
    dist.all_reduce(value)
    return value / dist.get_world_size()


def mean_over_all(
    total: Float[Tensor, ""], count: Int64[Tensor, ""] | Float[Tensor, ""] | int
) -> Float[Tensor, ""]:
    """A sum over this process's rows as its share of the mean over the rows of all processes; 0 if there are none."""
    count = torch.as_tensor(count, device=total.device)
    return total / mean_over_processes(count).clamp_min(1).to(total.dtype)


class BatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation over the rows of all processes, on any device."""

    def forward(self, input: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        if not (self.training and several()):
            return super().forward(input)
        rows = input.to(torch.promote_types(input.dtype, torch.float32))
        sums = all_reduce(torch.cat([rows.sum(dim=0), rows.new_tensor([len(rows)])]))
        mean, n = sums[:-1] / sums[-1], sums[-1].item()
        centred = rows - mean
        variance = all_reduce((centred**2).sum(dim=0)) / n
        self._note(mean.detach(), variance.detach() * (n / max(n - 1, 1)))
        scaled = centred * torch.rsqrt(variance + self.eps)
        return (scaled * self.weight + self.bias).to(input.dtype)

    @torch.no_grad()
    def _note(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1
