"""The first phase: where density starts, and the losses that fit colour and density."""

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.cameras.rays import RaySamples
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.model_components.losses import distortion_loss, interlevel_loss
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nerf_methods.sampling import Sampled
from nerf_methods.sweep import surface_evidence, sweep

if TYPE_CHECKING:
    from nerf_methods.model import Ovs3dModel

EPSILON = 1e-5
"""Added to weights before their logarithm is taken."""


def start_geometry(model: "Ovs3dModel", dataset: InputDataset) -> None:
    """Place the cube and start both densities where a plane sweep finds surfaces."""
    if (dataset.cameras.camera_type != CameraType.PERSPECTIVE.value).any():
        CONSOLE.print("not all cameras are perspective: density starts uniform, geometry may need longer")
        return
    cameras, space = dataset.cameras.to(model.device), model.space
    maps = sweep(cameras, dataset, focus=2 * float(space.radius))
    depths = torch.cat([one.depth.flatten() for one in maps])
    points = torch.cat([one.points.flatten(0, 1) for one in maps])
    known = depths.isfinite()
    if not known.any():
        return
    space.place(points[known], depths[known])

    def evidence(x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        return surface_evidence(space.inverse(x), cameras, maps)

    model.proposal.start(evidence)
    model.density.start(evidence)


def geometry_losses(
    model: "Ovs3dModel",
    outputs: dict[str, Any],
    image: Float[Tensor, "r 3"],
    depth: Float[Tensor, "r 1"] | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Colour on a random background, proposal, distortion, total variation and measured depth along the view's axis."""
    # the scene is opaque: only then nothing of the background shows
    rgb = outputs["rgb"] + (1 - outputs["accumulation"]) * torch.rand_like(outputs["rgb"])
    sampled: Sampled = outputs["sampled"]
    weights, samples = [sampled.proposal_weights, sampled.weights], [sampled.proposal, sampled.samples]
    losses = {
        "rgb_loss": F.mse_loss(rgb, image),
        "interlevel_loss": interlevel_loss(weights, samples),
        "distortion_loss": model.config.distortion_loss_mult * distortion_loss(weights, samples),
        "total_variation": model.config.total_variation_mult * model.density.total_variation(),
    }
    if depth is not None:
        along = depth.to(model.device) * outputs["directions_norm"]
        both = [
            depth_loss(*one, along, model.config.depth_noise) for one in zip(weights, samples, strict=True)
        ]
        losses["depth_loss"] = model.config.depth_loss_mult * torch.stack(both).sum()
    return losses


def depth_loss(
    weights: Float[Tensor, "r s 1"], samples: RaySamples, depth: Float[Tensor, "r 1"], noise: float
) -> Float[Tensor, ""]:
    """Mean cross-entropy, in nats, of where rays end and where their depth was measured.

    Depth-supervised NeRF (Deng et al. 2022), section 3.2; the mass of the normal distribution about a depth in each
    sample's interval is taken whole, so that samples may be far apart.

    Args:
        depth: along the ray, 0 where it is unknown.
        noise: standard deviation of the distribution, as a share of the depth.
    """
    known = depth[:, 0] > 0
    if not known.any():
        return weights.new_zeros(())
    middle = depth[known][:, None]
    edges = (samples.frustums.starts[known], samples.frustums.ends[known])
    low, high = (torch.special.ndtr((edge - middle) / (noise * middle)) for edge in edges)
    return -((high - low) * (weights[known] + EPSILON).log()).sum(1).mean()
