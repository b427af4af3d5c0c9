"""The most relevant pixel is inside a box, or it is not."""

import math

import pytest
import torch

from ovs3d.eval.localization import is_localized, localization_accuracy

BOXES = torch.tensor([[1, 2, 4, 6], [6, 0, 8, 1]])


def peak_at(row, col):
    relevancy = torch.rand(9, 7, generator=torch.Generator().manual_seed(0)) / 2
    relevancy[row, col] = 0.9
    return relevancy


def test_it_is_a_hit_exactly_where_a_box_covers_the_peak():
    for row in range(9):
        for col in range(7):
            inside = (1 <= row < 4 and 2 <= col < 6) or (6 <= row < 8 and col < 1)
            assert is_localized(peak_at(row, col), BOXES) is inside


def test_of_tied_peaks_the_first_counts_or_any():
    relevancy = peak_at(0, 5)
    relevancy[7, 0] = relevancy.max()  # in a box, but later
    assert not is_localized(relevancy, BOXES)
    assert is_localized(relevancy, BOXES, ties="any")
    relevancy[7, 0] -= 0.01
    assert not is_localized(relevancy, BOXES, ties="any")


def test_accuracy_is_the_share_of_hits():
    annotated = [(peak_at(*at), BOXES) for at in [(1, 2), (0, 0), (7, 0), (8, 0)]]
    assert localization_accuracy(annotated[:3]) == pytest.approx(2 / 3)
    assert localization_accuracy(annotated) == 1 / 2
    assert math.isnan(localization_accuracy([]))


def test_missing_boxes_and_scores_are_refused():
    with pytest.raises(ValueError, match="no labelled box"):
        is_localized(peak_at(0, 0), BOXES[:0])
    relevancy = peak_at(1, 2)
    relevancy[5, 5] = math.nan
    with pytest.raises(ValueError, match="1 relevancies are not numbers"):
        is_localized(relevancy, BOXES)
