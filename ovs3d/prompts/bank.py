"""From words to embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ovs3d.prompts.templates import TEMPLATES
from ovs3d.prompts.vocabulary import Vocabulary


@runtime_checkable
class TextEncoder(Protocol):
    """What the bank needs of a CLIP."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor: ...


@dataclass(frozen=True)
class PromptBank:
    """Embeds classes: each of their words in each template, averaged and renormalised (CLIP, 3.1.4)."""

    clip: TextEncoder
    templates: tuple[str, ...] = TEMPLATES["none"]
    """Sentences with one ``{}`` for the word."""

    def encode(self, vocabulary: Vocabulary) -> Float[Tensor, "k d"]:
        """Unit embeddings of the classes, in the order of their ids."""
        return torch.cat([self.encode_words(words) for words in vocabulary.words])

    def encode_words(self, words: Sequence[str]) -> Float[Tensor, "1 d"]:
        """Unit embedding of one class, from all of its words."""
        texts = [template.format(word) for word in words for template in self.templates]
        return F.normalize(self.clip.encode_texts(texts).mean(dim=0, keepdim=True), dim=-1)
