"""What is learnt about meaning: losses on rendered features."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def clip_distillation(
    rendered: Float[Tensor, "r d"], teacher: Float[Tensor, "r s d"], selection: Float[Tensor, "r s"]
) -> Float[Tensor, ""]:
    """Minus the mean cosine of rendered features and the teacher's, mixed over scales by the selection.

    3D-OVS (Liu et al. 2023), eq. 4; the teacher's features are of unit length, the mixture is normalised again.
    Gradients flow into both ``rendered`` and ``selection``. In -1..1.
    """
    target = (selection[..., None] * teacher).sum(1)
    return -F.cosine_similarity(rendered, target, dim=-1).mean()
