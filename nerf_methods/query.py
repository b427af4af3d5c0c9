"""The question that a model answers: prompts, what they are compared with, and when there is no answer."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ovs3d.foundation.clip import Clip
from ovs3d.prompts.bank import PromptBank
from ovs3d.prompts.templates import TEMPLATES
from ovs3d.prompts.vocabulary import Vocabulary
from ovs3d.query import CANONICAL_NEGATIVES, labels, relevancy


@dataclass(frozen=True, eq=False)
class Query:
    """Prompts and negatives with their embeddings. Changing the question is making another one."""

    names: tuple[str, ...]
    text: Float[Tensor, "t d"]
    """Prompts, then distractors, then negatives."""
    distractors: int
    negatives: int
    threshold: float
    """Prompts of a lower relevancy than this are no answer."""

    def relevancies(self, similarity: Float[Tensor, "*n t"]) -> Float[Tensor, "*n k"]:
        """Score of each prompt against the negatives, or against the other prompts where there are none."""
        k = len(self.names)
        if self.negatives:
            return relevancy(similarity[..., :k], similarity[..., -self.negatives :])
        if similarity.shape[-1] == 1:
            return (similarity + 1) / 2
        others = [torch.cat([similarity[..., :i], similarity[..., i + 1 :]], dim=-1) for i in range(k)]
        return torch.cat([relevancy(similarity[..., i : i + 1], others[i]) for i in range(k)], dim=-1)

    def labels(self, similarity: Float[Tensor, "*n t"]) -> Int[Tensor, "*n"]:
        """Index of the best prompt; -1 where a distractor is better or its relevancy is below the threshold."""
        asked = similarity[..., : len(self.names) + self.distractors]
        best = labels(asked, self.distractors)
        score = self.relevancies(similarity).gather(-1, best.clamp(min=0)[..., None])[..., 0]
        return best.masked_fill(score < self.threshold, -1)


def ask(
    clip: Clip,
    vocabulary: Vocabulary,
    negatives: tuple[str, ...] | None,
    template: str = "none",
    threshold: float = 0.0,
) -> Query:
    """Embed a question.

    Args:
        negatives: what prompts are compared with; None stands for LERF's four, none at all for each other.
        template: name of a list in `ovs3d.prompts.templates`.
        threshold: relevancy below which there is no answer, 0..1.

    Raises:
        InputError: the weights do not know a word.
    """
    bank = PromptBank(clip, TEMPLATES[template])
    against = CANONICAL_NEGATIVES if negatives is None else negatives
    rows = [bank.encode(vocabulary), bank.encode_distractors(vocabulary)]
    if against:
        rows.append(bank.encode(Vocabulary(against)))
    return Query(vocabulary.names, torch.cat(rows), len(vocabulary.distractors), len(against), threshold)
