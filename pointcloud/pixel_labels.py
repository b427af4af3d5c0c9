"""What the pixels of photos are called, and what masks make of it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from ovs3d.foundation.store import Entry, Identity
from ovs3d.images import image_bytes
from ovs3d.prompts.templates import TemplateName
from ovs3d.prompts.vocabulary import Vocabulary
from ovs3d.query import probabilities
from pointcloud.config import Refine
from pointcloud.frame import Photo
from pointcloud.masks import Masks
from pointcloud.recent import Recent
from pointcloud.refine import UNSURE, decided, normalised, sums_of_masks, votes
from pointcloud.runs import text_embeddings
from pointcloud.teacher import Teacher, pixels_of, sample

FOREIGN = -2
"""Instead of a class id, where a distractor is seen."""
_PHOTOS = 4096
"""Whose scores are remembered: some hundred megabytes with some twenty texts."""
_PIXELS = 2**16
"""Of a photo, that are looked at together."""


@dataclass(frozen=True, eq=False)
class PixelLabels(ABC):
    """Labels of pixels, brought to one in masks."""

    text: Float[Tensor, "t d"]
    """Unit embeddings of the classes, and after them of distractors."""
    known: int
    """Number of classes; pixels of distractors have no label."""
    masks: Masks | None
    """None: pixels keep what they are called by themselves."""
    refine: Refine = "hard"
    """hard: the label of most pixels of a mask (CNS). soft: of the highest mean probability, if it leads clearly."""
    margin: float = 0.1
    """By how much it has to lead, in 0..1."""
    _of_masks: Recent[Path, Float[Tensor, "m t"]] = field(default_factory=lambda: Recent(_PHOTOS), init=False)

    @abstractmethod
    def votes_of_pixels(self, photo: Photo, row_col: Int64[Tensor, "n 2"]) -> Float[Tensor, "n t"]:
        """What pixels say of the texts by themselves: shares that sum to 1, or to 0 where they say nothing."""

    def prepare(self, photos: Sequence[Photo]) -> None:
        """Compute what is asked of photos and kept.

        Raises:
            InputError: no mask in any of them, a photo that cannot be read, or a folder that cannot be written.
        """
        if self.masks is not None:
            self.masks.fill([photo.path for photo in photos])

    def mask_at(self, photo: Photo, row_col: Int64[Tensor, "n 2"]) -> Int64[Tensor, " n"]:
        """The mask of each pixel, from 0; -1: of none."""
        if self.masks is None:
            return torch.full((len(row_col),), UNSURE)
        return self.masks.of(photo.path)[row_col[:, 0], row_col[:, 1]]

    def scores(
        self, photo: Photo, row_col: Int64[Tensor, "n 2"], mask: Int64[Tensor, " n"]
    ) -> Float[Tensor, "n t"]:
        """Shares of all texts in the votes for pixels; their means over several photos are votes as well.

        Args:
            mask: of each pixel, as `mask_at` says.
        """
        inside = mask >= 0
        if not inside.any():
            return self.votes_of_pixels(photo, row_col)
        found = self._masks(photo)[mask.clamp_min(0)]
        if not inside.all():
            found[~inside] = self.votes_of_pixels(photo, row_col[~inside])
        return found

    def labels(self, scores: Float[Tensor, "n t"], hard_margin: float = 0.0) -> Int64[Tensor, " n"]:
        """Class ids; -1: nothing, or not sure, as `decided` says; -2: a distractor."""
        if len(self.text) > self.known:  # distractors do not compete with each other
            scores = torch.cat(
                [scores[:, : self.known], scores[:, self.known :].amax(1, keepdim=True)], dim=1
            )
        best = decided(scores, self.refine, self.margin, hard_margin)
        return best.masked_fill(best == self.known, FOREIGN)

    def of(self, photo: Photo) -> Int64[Tensor, " n"]:
        """Class ids of all pixels of a photo, row by row; -1: no answer."""
        parts = [self.labels(self.scores(photo, pixels, mask)) for pixels, mask in self._all_of(photo)]
        return torch.cat(parts).clamp_min(UNSURE)

    def votes_of_masks(self, photo: Photo) -> Float[Tensor, "m t"]:
        """Of each mask of a photo, from all of its pixels."""
        parts = self._all_of(photo)
        sums = torch.zeros(1 + max(int(mask.max()) for _, mask in parts), len(self.text))
        for pixels, mask in parts:
            some = sums_of_masks(self.votes_of_pixels(photo, pixels), mask)
            sums[: len(some)] += some
        return votes(normalised(sums), self.refine)

    def _masks(self, photo: Photo) -> Float[Tensor, "m t"]:
        if photo.path not in self._of_masks:
            self._of_masks[photo.path] = self.votes_of_masks(photo)
        return self._of_masks[photo.path]

    def _all_of(self, photo: Photo) -> list[tuple[Int64[Tensor, "n 2"], Int64[Tensor, " n"]]]:
        """All pixels of a photo and their masks, in parts that do not need much memory."""
        pixels = pixels_of(photo)
        return list(zip(pixels.split(_PIXELS), self.mask_at(photo, pixels).split(_PIXELS), strict=True))


@dataclass(frozen=True, eq=False)
class GridLabels(PixelLabels):
    """Labels from similarities on a grid, which are brought to pixels linearly (MaskCLIP)."""

    _grids: Recent[Path, Float[Tensor, "t gh gw"]] = field(
        default_factory=lambda: Recent(_PHOTOS), init=False
    )

    @property
    @abstractmethod
    def temperature(self) -> float:
        """Of the softmax over texts."""

    @abstractmethod
    def similarities(self, photo: Path) -> Float[Tensor, "t gh gw"]:
        """Cosines with the texts on a grid that covers a photo."""

    def votes_of_pixels(self, photo: Photo, row_col: Int64[Tensor, "n 2"]) -> Float[Tensor, "n t"]:
        """Probabilities, or for hard votes the best text."""
        if photo.path not in self._grids:
            self._grids[photo.path] = self.similarities(photo.path)
        similarities = sample(self._grids[photo.path], photo, row_col)
        return votes(probabilities(similarities, self.temperature), self.refine)


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipLabels(GridLabels):
    """What CLIP calls them: the labels that training without labels has."""

    teacher: Teacher
    words: Identity
    """What the embeddings depend on, besides CLIP. These themselves have other last digits on other machines."""

    @property
    def temperature(self) -> float:
        return self.teacher.temperature

    def prepare(self, photos: Sequence[Photo]) -> None:
        """What CLIP sees, masks, and the votes of these."""
        self.teacher.fill([photo.path for photo in photos])
        super().prepare(photos)
        if self.masks is not None:
            self.teacher.store.fill(map(self._entry, photos), len(photos), "votes")

    def votes_of_masks(self, photo: Photo) -> Float[Tensor, "m t"]:
        """The same, kept beside the teacher's features: a large photo has a million pixels."""
        return self.teacher.store.get_or_compute(*self._entry(photo))["votes"]

    def _entry(self, photo: Photo) -> Entry:
        def compute() -> dict[str, Tensor]:
            return {"votes": super(ClipLabels, self).votes_of_masks(photo)}

        assert self.masks is not None, "votes of no masks"
        identity = {f"clip {name}": value for name, value in self.teacher.identity.items()}
        identity |= {f"masks {name}": value for name, value in self.masks.find.identity.items()}
        return Entry(
            "votes", image_bytes(photo.path), {**identity, **self.words, "refine": self.refine}, compute
        )

    def similarities(self, photo: Path) -> Float[Tensor, "t gh gw"]:
        features = F.normalize(self.teacher.map(photo).float(), dim=2)
        return (features @ self.text.T).permute(2, 0, 1)


def clip_labels(
    vocabulary: Vocabulary,
    teacher: Teacher,
    template: TemplateName,
    masks: Masks | None,
    how: Refine,
    margin: float,
) -> ClipLabels:
    """What CLIP calls pixels, in these words."""
    text = text_embeddings(vocabulary, teacher.clip.weights, torch.device("cpu"), template)
    words = {
        "words": [*map(list, vocabulary.words)],
        "distractors": [*vocabulary.distractors],
        "template": template,
    }
    return ClipLabels(text, len(vocabulary.names), masks, how, margin, teacher=teacher, words=words)
