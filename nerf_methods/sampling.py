"""From rays to weighted samples: one cheap proposal grid, then the density field."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.model_components.ray_samplers import PDFSampler, SpacedSampler
from torch import Tensor, nn

from nerf_methods.frustum import FrustumSpace
from nerf_methods.space import SceneSpace


@dataclass(frozen=True)
class Sampled:
    """Samples of a batch of rays: the proposal's histogram and the final one."""

    proposal: RaySamples
    proposal_weights: Float[Tensor, "r p 1"]
    samples: RaySamples
    weights: Float[Tensor, "r s 1"]


class ProposalSampler(nn.Module):
    """Mip-NeRF 360's online distillation with one proposal (Barron et al. 2022, section 3).

    The proposal's samples are spaced as the space says.
    """

    def __init__(
        self,
        space: SceneSpace | FrustumSpace,
        proposal: nn.Module,
        density: nn.Module,
        counts: tuple[int, int],
    ):
        super().__init__()
        self.space, self.proposal, self.density = space, proposal, density
        self.counts = counts
        self.anneal = 1.0
        self.second = PDFSampler(include_original=False, single_jitter=False)

    def forward(self, rays: RayBundle) -> Sampled:
        first = SpacedSampler(*self.space.spacing(rays), train_stratified=self.training)
        coarse = first(rays, num_samples=self.counts[0])
        coarse_weights = coarse.get_weights(self._densities(self.proposal, coarse))
        fine = self.second(rays, coarse, coarse_weights.detach() ** self.anneal, num_samples=self.counts[1])
        return Sampled(coarse, coarse_weights, fine, fine.get_weights(self._densities(self.density, fine)))

    def _densities(self, field: Callable[[Tensor], Tensor], samples: RaySamples) -> Float[Tensor, "r s 1"]:
        """Per unit of the world, from the field's, which is per radius as the cube shrinks it.

        So a voxel is about as opaque far away, where it is large, as near the focus; otherwise each photo is soonest
        explained by a shell at the horizon.
        """
        x = self.space(samples.frustums.get_positions())
        density = field(x.flatten(0, 1)).view(x.shape[:2]) * self.space.shrinkage(x) / self.space.radius
        return _scale_gradient(density[..., None], self._nearness(samples))

    def _nearness(self, samples: RaySamples) -> Float[Tensor, "r s 1"]:
        """Squared distance in units of the focus, at most 1: how few rays of other cameras pass a point."""
        middle = (samples.frustums.starts + samples.frustums.ends) / 2
        return (middle / (2 * self.space.radius)).square().clamp(max=1)


def _scale_gradient(value: Float[Tensor, "*n"], factor: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The value, with its gradient times a factor (Philip and Deschaintre 2023, against fog before cameras)."""
    return value * factor + (value * (1 - factor)).detach()
