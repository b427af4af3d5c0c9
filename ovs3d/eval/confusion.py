"""Counts of (true class, predicted class), pooled over a data set: all that mIoU and accuracy need."""

from dataclasses import dataclass

import torch
from jaxtyping import Int64, Integer
from torch import Tensor

IGNORE = 255
"""In truth: not annotated, counts nowhere."""
NO_ANSWER = -1
"""In predictions: counts as a miss of the true class, and as no other class."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often each true class was taken for which class."""

    counts: Int64[Tensor, "k columns"]
    """Rows are true classes, columns predicted ones, and the last column, k, is "no answer"."""

    @classmethod
    def empty(cls, k: int) -> "Confusion":
        """No pixel counted yet, of k classes."""
        if not 0 < k <= IGNORE:
            raise ValueError(f"expected 1 to {IGNORE} classes ({IGNORE} itself means ignore), got {k}")
        return cls(torch.zeros(k, k + 1, dtype=torch.int64))

    @property
    def k(self) -> int:
        """Number of classes."""
        return len(self.counts)

    def update(self, truth: Integer[Tensor, "*n"], prediction: Integer[Tensor, "*n"]) -> "Confusion":
        """The counts with those of more pixels or points.

        Args:
            truth: 0..k-1, or 255, which is skipped.
            prediction: 0..k-1, or -1 for "no answer".

        Raises:
            ValueError: other labels; the message names them.
        """
        self._check("truth", truth[truth != IGNORE], 0)
        self._check("prediction", prediction, NO_ANSWER)
        valid = truth != IGNORE
        columns = prediction[valid].long()
        columns = torch.where(columns == NO_ANSWER, self.k, columns)
        cells = truth[valid].long() * (self.k + 1) + columns
        counts = torch.bincount(cells, minlength=self.counts.numel()).reshape(self.counts.shape)
        return Confusion(self.counts + counts.to(self.counts.device))

    def merge(self, other: "Confusion") -> "Confusion":
        """The counts of both."""
        if other.k != self.k:
            raise ValueError(f"cannot add counts of {other.k} classes to counts of {self.k}")
        return Confusion(self.counts + other.counts.to(self.counts.device))

    def _check(self, name: str, values: Integer[Tensor, "*n"], lowest: int) -> None:
        if values.numel() and not lowest <= int(values.min()) <= int(values.max()) < self.k:
            wrong = [value for value in values.unique().tolist() if not lowest <= value < self.k]
            raise ValueError(f"{name} has labels {wrong[:5]}; expected {lowest}..{self.k - 1}")
