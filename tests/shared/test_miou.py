"""Mean IoU says what it does with absent classes, and agrees with scikit-learn."""

import math

import pytest
import torch
from sklearn.metrics import accuracy_score, jaccard_score, recall_score

from ovs3d.eval.confusion import IGNORE, Confusion
from ovs3d.eval.miou import accuracy_per_class, iou_per_class, miou, pixel_accuracy, segmentation_metrics


def random_labels(n=400, k=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, k, (n,), generator=generator)
    wrong = torch.rand(n, generator=generator) < 0.4
    return truth, torch.where(wrong, torch.randint(-1, k, (n,), generator=generator), truth)


def test_metrics_are_those_of_scikit_learn_without_the_ignored():
    truth, prediction = random_labels()
    ignored = torch.arange(400) % 7 == 0
    confusion = Confusion.empty(5).update(truth.masked_fill(ignored, IGNORE), prediction)
    t, p, classes = truth[~ignored].numpy(), prediction[~ignored].numpy(), range(5)
    expected = jaccard_score(t, p, labels=classes, average=None)
    torch.testing.assert_close(iou_per_class(confusion), torch.from_numpy(expected))
    recall = recall_score(t, p, labels=classes, average=None)
    torch.testing.assert_close(accuracy_per_class(confusion), torch.from_numpy(recall))
    assert pixel_accuracy(confusion) == pytest.approx(accuracy_score(t, p))
    assert miou(confusion) == pytest.approx(expected.mean())


def test_absent_classes_are_skipped_or_counted_by_name():
    # class 0: 1/2, class 1: 1/2, class 2: predicted but not there, class 3: absent
    confusion = Confusion.empty(4).update(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 2, 1, -1]))
    assert iou_per_class(confusion)[:3].tolist() == [0.5, 0.5, 0.0]
    assert iou_per_class(confusion)[3].isnan()
    assert miou(confusion) == pytest.approx(1 / 3)
    assert miou(confusion, absent="zero") == pytest.approx(1 / 4)
    assert miou(confusion, absent="one") == pytest.approx(2 / 4)
    assert accuracy_per_class(confusion)[2:].isnan().all()


def test_no_answer_is_a_miss_but_nobodys_false_positive():
    truth = torch.tensor([0, 0, 1, 1])
    silent = Confusion.empty(2).update(truth, torch.tensor([0, -1, 1, 1]))
    wrong = Confusion.empty(2).update(truth, torch.tensor([0, 1, 1, 1]))
    assert iou_per_class(silent).tolist() == [1 / 2, 1.0]
    assert iou_per_class(wrong).tolist() == [1 / 2, 2 / 3]
    assert pixel_accuracy(silent) == pixel_accuracy(wrong) == 3 / 4


def test_perfect_and_silent_predictions_are_the_limits():
    truth = torch.tensor([0, 1, 2, 2])
    perfect, silent = (Confusion.empty(3).update(truth, p) for p in (truth, torch.full((4,), -1)))
    assert (miou(perfect), pixel_accuracy(perfect)) == (1, 1)
    assert (miou(silent), pixel_accuracy(silent)) == (0, 0)


def test_without_a_single_pixel_there_is_no_number():
    empty = Confusion.empty(3)
    assert math.isnan(miou(empty))
    assert math.isnan(pixel_accuracy(empty))
    assert miou(empty, absent="one") == 1


def test_pooled_is_not_the_mean_of_images():
    first = Confusion.empty(2).update(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 0, 0]))
    second = Confusion.empty(2).update(torch.tensor([1, 1]), torch.tensor([1, 1]))
    assert miou(first.merge(second)) == pytest.approx((3 / 4 + 2 / 3) / 2)


def test_metrics_of_a_report_go_by_the_names_of_the_classes():
    confusion = Confusion.empty(3).update(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, -1]))
    metrics = segmentation_metrics(confusion, ["mug", "ball", "fox"])
    assert metrics["miou"] == metrics["accuracy"] == 3 / 4
    assert list(metrics["per_class"]) == ["mug", "ball", "fox"]
    assert metrics["per_class"] == pytest.approx({"mug": 1, "ball": 1 / 2, "fox": math.nan}, nan_ok=True)
    assert segmentation_metrics(confusion, ["mug", "ball", "fox"], "zero")["miou"] == 1 / 2
