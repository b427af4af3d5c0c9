"""What is done beside MaskCLIP's rule; light to import."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DenseOptions:
    """How dense CLIP features are made."""

    residual: bool = False
    """Keep the residual around the last attention of a ViT, as MaskCLIP's code does."""
    mlp: bool = False
    """Keep the last MLP of a ViT too, as MaskCLIP's code does."""
    smooth_keys: bool = False
    """Each place says the sum of what all places of the photo say, weighed by the cosine of their keys in the last
    attention (MaskCLIP's key smoothing)."""


MASKCLIP = DenseOptions()
"""The rule as it is in the paper."""
