"""The question that a model answers: prompts, what they are compared with, and when there is no answer."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ovs3d.errors import InputError
from ovs3d.foundation.clip import Clip
from ovs3d.prompts.bank import PromptBank
from ovs3d.prompts.templates import TemplateName, sentences
from ovs3d.prompts.vocabulary import Vocabulary
from ovs3d.query import CANONICAL_NEGATIVES, labels, relevancy


@dataclass(frozen=True, eq=False)
class Query:
    """Prompts and negatives with their embeddings. Changing the question is making another one."""

    names: tuple[str, ...]
    text: Float[Tensor, "t d"]
    """Known prompts, then distractors, then negatives."""
    distractors: int
    negatives: tuple[str, ...]
    """What prompts are compared with; none at all: with each other."""
    threshold: float
    """Prompts of a lower relevancy than this are no answer."""
    known: tuple[int, ...]
    """Positions in the names of the prompts that the weights know; the others are never an answer."""
    notes: tuple[str, ...] = ()
    """What of the question is not answered as it was asked, and why; a line each."""

    @property
    def classes(self) -> int:
        """Rows of the text that a point can be: known prompts and distractors."""
        return len(self.known) + self.distractors

    def relevancies(self, similarity: Float[Tensor, "*n t"]) -> Float[Tensor, "*n k"]:
        """Score of each prompt against the negatives, or against the other prompts where there are none.

        0 for prompts that the weights do not know.
        """
        scores = similarity.new_zeros(*similarity.shape[:-1], len(self.names))
        scores[..., self.known] = self._known_relevancies(similarity)
        return scores

    def _known_relevancies(self, similarity: Float[Tensor, "*n t"]) -> Float[Tensor, "*n p"]:
        k = len(self.known)
        if self.negatives:
            return relevancy(similarity[..., :k], similarity[..., -len(self.negatives) :])
        if similarity.shape[-1] == 1:
            return (similarity + 1) / 2
        best, place = similarity.topk(2, dim=-1)
        is_best = place[..., :1] == torch.arange(k, device=similarity.device)
        others = torch.where(is_best, best[..., 1:], best[..., :1])
        return relevancy(similarity[..., :k, None], others[..., None])[..., 0]

    def best(self, similarity: Float[Tensor, "*n t"]) -> Int[Tensor, "*n"]:
        """Index of the most similar prompt, however little; -1 where a distractor is better."""
        asked = similarity[..., : self.classes]
        index = torch.tensor([*self.known, -1], device=similarity.device)  # -1 picks the last
        return index[labels(asked, self.distractors)]

    def labels(
        self, similarity: Float[Tensor, "*n t"], relevancies: Float[Tensor, "*n k"] | None = None
    ) -> Int[Tensor, "*n"]:
        """The same, and -1 where its relevancy is below the threshold.

        Args:
            relevancies: of the prompts, if they were found before.
        """
        best = self.best(similarity)
        if self.threshold <= 0:
            return best
        scores = self.relevancies(similarity) if relevancies is None else relevancies
        score = scores.gather(-1, best.clamp(min=0)[..., None])[..., 0]
        return best.masked_fill(score < self.threshold, -1)


def ask(
    clip: Clip,
    vocabulary: Vocabulary,
    negatives: tuple[str, ...] | None,
    template: TemplateName = "none",
    threshold: float = 0.0,
) -> Query:
    """Embed a question.

    Prompts that the weights cannot know are kept but never answered, and noted.

    Args:
        negatives: what prompts are compared with; none at all stands for each other, None for LERF's four, or for
            each other where the weights do not know those.
        template: name of a list in `ovs3d.prompts.templates`.
        threshold: relevancy below which there is no answer, 0..1.

    Raises:
        InputError: the weights know none of the prompts, or not all distractors and negatives.
    """
    bank = PromptBank(clip, sentences(template))
    known, rows, refusals = [], [], []
    for index, words in enumerate(vocabulary.words):
        try:
            rows.append(bank.encode_words(words))
        except InputError as error:
            refusals.append(error)
        else:
            known.append(index)
    if not known:
        raise refusals[0]
    notes = [f"not answered: {error}" for error in refusals]
    if negatives is None:
        negatives = default_negatives(clip)
        if not negatives:
            notes.append(
                f"{clip.weights} does not know LERF's negatives: prompts are compared with each other"
            )
    rows += [bank.encode_words([word]) for word in (*vocabulary.distractors, *negatives)]
    distractors = len(vocabulary.distractors)
    return Query(
        vocabulary.names, torch.cat(rows), distractors, negatives, threshold, tuple(known), tuple(notes)
    )


def default_negatives(clip: Clip) -> tuple[str, ...]:
    """LERF's four, or none where the weights do not know them."""
    try:
        PromptBank(clip).encode_words(CANONICAL_NEGATIVES)
    except InputError:
        return ()
    return CANONICAL_NEGATIVES
