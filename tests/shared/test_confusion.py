"""Counts are exact, pooled, and refuse what they do not know."""

import pytest
import torch

from ovs3d.eval.confusion import IGNORE, NO_ANSWER, Confusion


def random_labels(n=300, k=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, k + 1, (n,), generator=generator)
    truth[truth == k] = IGNORE
    return truth, torch.randint(-1, k, (n,), generator=generator)


def test_counts_are_those_of_a_loop():
    truth, prediction = random_labels()
    expected = torch.zeros(4, 5, dtype=torch.int64)
    for t, p in zip(truth.tolist(), prediction.tolist(), strict=True):
        if t != IGNORE:
            expected[t, 4 if p == NO_ANSWER else p] += 1
    found = Confusion.empty(4).update(truth, prediction)
    assert torch.equal(found.counts, expected)
    assert expected[:, 4].min() > 0


def test_updates_and_merges_pool_the_counts_and_change_nothing_in_place():
    truth, prediction = random_labels()
    whole = Confusion.empty(4).update(truth, prediction)
    first = Confusion.empty(4).update(truth[:100], prediction[:100])
    before = first.counts.clone()
    rest = Confusion.empty(4).update(truth[100:].view(20, 10).byte(), prediction[100:].view(20, 10).int())
    assert torch.equal(first.merge(rest).counts, whole.counts)
    assert torch.equal(first.update(truth[100:], prediction[100:]).counts, whole.counts)
    assert torch.equal(first.counts, before)


def test_counts_above_the_range_of_float32_are_exact():
    confusion = Confusion(torch.tensor([[2**24, 0]]))
    assert confusion.update(torch.zeros(1).long(), torch.zeros(1).long()).counts[0, 0] == 2**24 + 1


def test_small_integers_do_not_overflow():
    truth = torch.arange(200, dtype=torch.uint8)
    assert Confusion.empty(200).update(truth, truth.long()).counts.diagonal().tolist() == [1] * 200


def test_nothing_to_count_counts_nothing():
    empty = torch.zeros(0, dtype=torch.int64)
    ignored = torch.full((3,), IGNORE, dtype=torch.uint8)
    confusion = Confusion.empty(2).update(empty, empty).update(ignored, torch.tensor([0, 1, -1]))
    assert confusion.counts.sum() == 0


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([0, 4], [0, 0], r"truth has labels \[4\]; expected 0..3"),
        ([0, -1], [0, 0], r"truth has labels \[-1\]"),
        ([0, 1], [255, 0], r"prediction has labels \[255\]; expected -1..3"),
        ([IGNORE, 1], [-2, 0], r"prediction has labels \[-2\]"),
    ],
)
def test_unknown_labels_are_named(truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        Confusion.empty(4).update(torch.tensor(truth), torch.tensor(prediction))


def test_class_counts_that_cannot_be_are_refused():
    for k in (0, 256):
        with pytest.raises(ValueError, match="1 to 255 classes"):
            Confusion.empty(k)
    with pytest.raises(ValueError, match="of 3 classes to counts of 2"):
        Confusion.empty(2).merge(Confusion.empty(3))
