"""From features and words to scores, probabilities and labels.

All but `similarity` start from similarities, so that they serve pixels, tiles, points, and similarities that
were found without ever building a feature.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

CANONICAL_NEGATIVES = ("object", "things", "stuff", "texture")
"""What LERF compares every prompt with."""


def similarity(features: Float[Tensor, "*n d"], text: Float[Tensor, "k d"]) -> Float[Tensor, "*n k"]:
    """Cosine of each feature with each text; neither need be of unit length, and a zero vector gives 0."""
    return F.normalize(features, dim=-1) @ F.normalize(text, dim=-1).T


def relevancy(
    positives: Float[Tensor, "*n k"], negatives: Float[Tensor, "*n m"], sharpness: float = 10.0
) -> Float[Tensor, "*n k"]:
    """Score in 0..1 of each prompt against its strongest negative (LERF).

    The softmax of a prompt and one negative is a logistic function of their difference, so that the minimum
    over the negatives is found at the largest of them. 0.5 means: as similar as the strongest negative.

    Args:
        positives: similarities of the prompts.
        negatives: similarities of the negatives, at least one.
        sharpness: inverse temperature of the softmax.
    """
    return torch.sigmoid(sharpness * (positives - negatives.amax(dim=-1, keepdim=True)))


def minmax_relevancy(similarities: Float[Tensor, "*views n k"]) -> Float[Tensor, "*views n k"]:
    """Each class stretched to 0..1 over the n pixels of each view and scale (3D-OVS, released code).

    A class that is nowhere in the view reaches 1 too. Where all pixels are equal, the score is 0.
    """
    low = similarities.amin(dim=-2, keepdim=True)
    height = similarities.amax(dim=-2, keepdim=True) - low
    return (similarities - low) / height.masked_fill(height == 0, 1)


def probabilities(similarities: Float[Tensor, "*n k"], temperature: float) -> Float[Tensor, "*n k"]:
    """Softmax over classes of similarity / temperature; CLIP was trained near 0.01, 3D-OVS uses 0.2."""
    return torch.softmax(similarities / temperature, dim=-1)


def labels(
    scores: Float[Tensor, "*n k"], distractors: int = 0, threshold: float | None = None
) -> Int[Tensor, "*n"]:
    """The best class, or -1 for "no answer".

    Args:
        scores: similarities, relevancies, probabilities or logits; larger is better.
        distractors: the last so many columns may win, but are no answer.
        threshold: a best score below it is no answer.

    Returns:
        int64; -1 also where a score is not a number.
    """
    if not 0 <= distractors < scores.shape[-1]:
        raise ValueError(
            f"{scores.shape[-1]} columns cannot end with {distractors} distractors and hold a class"
        )
    score, label = scores.max(dim=-1)
    no_answer = score.isnan() | (label >= scores.shape[-1] - distractors)
    if threshold is not None:
        no_answer |= score < threshold
    return label.masked_fill(no_answer, -1)
