"""Losses on labels: definitions, limits, gradients."""

import pytest
import torch
from torch.autograd import gradcheck

from pointcloud.objectives.supervised import cross_entropy, lovasz_softmax


def slow_lovasz(probabilities: torch.Tensor, labels: torch.Tensor) -> float:
    """Sum over classes of the Lovász extension of the Jaccard loss, mistake by mistake."""
    total, present = 0.0, 0
    for k in range(probabilities.shape[1]):
        truth = labels == k
        if not truth.any():
            continue
        present += 1
        errors = torch.where(truth, 1 - probabilities[:, k], probabilities[:, k])
        order = errors.argsort(descending=True)
        wrong, before = torch.zeros(len(labels), dtype=torch.bool), 0.0
        for i in order.tolist():
            wrong[i] = True
            kept, extra = (truth & ~wrong).sum(), (~truth & wrong).sum()
            loss = 1 - (kept / (truth.sum() + extra)).item()
            total += errors[i].item() * (loss - before)
            before = loss
    return total / present


def random_case(n=30, k=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, k, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, k - 1, (n,), generator=generator)
    labels[::6] = 255
    return logits, labels


def test_lovasz_is_the_extension_of_the_jaccard_loss():
    logits, labels = random_case()
    there = labels != 255
    expected = slow_lovasz(logits[there].softmax(1), labels[there])
    assert lovasz_softmax(logits, labels).item() == pytest.approx(expected, abs=1e-6)


def test_for_hard_answers_lovasz_is_one_minus_iou():
    labels = torch.tensor([0, 0, 0, 1, 1])
    logits = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1], [1, 0]]).double() * 1e3
    iou = (2 / 4 + 1 / 3) / 2
    assert lovasz_softmax(logits, labels).item() == pytest.approx(1 - iou)


def test_cross_entropy_is_the_mean_over_labelled_points():
    logits, labels = random_case()
    there = labels != 255
    expected = -logits[there].log_softmax(1)[torch.arange(int(there.sum())), labels[there]].mean()
    torch.testing.assert_close(cross_entropy(logits, labels), expected)


@pytest.mark.parametrize("loss", [cross_entropy, lovasz_softmax])
def test_without_a_label_the_loss_is_zero_and_finite(loss):
    logits = torch.randn(5, 3, requires_grad=True)
    value = loss(logits, torch.full((5,), 255))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("loss", [cross_entropy, lovasz_softmax])
def test_gradients_are_those_of_finite_differences(loss):
    logits, labels = random_case(n=12)
    assert gradcheck(lambda x: loss(x, labels), logits.requires_grad_())


@pytest.mark.parametrize("loss", [cross_entropy, lovasz_softmax])
def test_a_row_may_stand_for_several_points(loss):
    logits, labels = random_case()
    counts = torch.randint(1, 5, labels.shape, generator=torch.Generator().manual_seed(3))
    few, many = (logits.clone().requires_grad_() for _ in range(2))
    counted = loss(few, labels, counts)
    repeated = loss(many.repeat_interleave(counts, dim=0), labels.repeat_interleave(counts))
    torch.testing.assert_close(counted, repeated)
    counted.backward()
    repeated.backward()
    torch.testing.assert_close(few.grad, many.grad)
