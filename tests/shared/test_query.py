"""Queries do what the papers say, on any shape, and stay finite."""

import math

import pytest
import torch
import torch.nn.functional as F

from ovs3d.query import labels, minmax_relevancy, probabilities, relevancy, similarity


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_similarity_is_the_cosine_whatever_the_lengths():
    features, text = random(2, 3, 5), random(4, 5, seed=1)
    found = similarity(features, text)
    for i in range(2):
        for j in range(3):
            for k in range(4):
                a, b = features[i, j], text[k]
                torch.testing.assert_close(found[i, j, k], a @ b / (a.norm() * b.norm()))
    torch.testing.assert_close(similarity(7 * features, 0.1 * text), found)
    assert similarity(torch.zeros(5, dtype=torch.float64), text).tolist() == [0] * 4


def test_relevancy_is_the_smallest_softmax_against_any_negative():
    positives, negatives = random(6, 3) / 3, random(6, 4, seed=1) / 3
    for sharpness in (10.0, 3.0):
        found = relevancy(positives, negatives, sharpness)
        for i in range(6):
            for k in range(3):
                pairs = torch.stack([positives[i, k].expand(4), negatives[i]], dim=1)
                torch.testing.assert_close(found[i, k], F.softmax(sharpness * pairs, dim=1)[:, 0].min())


def test_relevancy_is_one_half_where_prompt_and_negative_are_equal():
    half = relevancy(torch.tensor([0.3, 0.4]), torch.tensor([0.1, 0.3]))
    assert half[0] == 0.5
    assert half[1] == pytest.approx(1 / (1 + math.exp(-1.0)))


def test_minmax_stretches_each_class_of_each_view_by_itself():
    similarities = random(2, 3, 7, 4)
    found = minmax_relevancy(similarities)
    assert (found.amin(-2) == 0).all()
    assert (found.amax(-2) == 1).all()
    column = similarities[1, 2, :, 3]
    expected = (column - column.min()) / (column.max() - column.min())
    torch.testing.assert_close(found[1, 2, :, 3], expected)
    torch.testing.assert_close(minmax_relevancy(3 * similarities + 1), found)


def test_minmax_of_equal_pixels_is_zero_with_finite_gradient():
    similarities = torch.full((5, 2), 0.3, requires_grad=True)
    found = minmax_relevancy(similarities)
    assert found.tolist() == [[0, 0]] * 5
    (gradient,) = torch.autograd.grad(found[0, 0], similarities)
    assert gradient.abs().max() <= 1
    assert minmax_relevancy(torch.rand(1, 2)).tolist() == [[0, 0]]


def test_probabilities_sum_to_one_and_sharpen_as_the_temperature_falls():
    similarities = random(3, 4) / 3
    for temperature in (0.01, 0.2, 1.0):
        found = probabilities(similarities, temperature)
        torch.testing.assert_close(found.sum(-1), torch.ones(3, dtype=torch.float64))
        ratio = (found[0, 1] / found[0, 2]).log()
        torch.testing.assert_close(ratio, (similarities[0, 1] - similarities[0, 2]) / temperature)
    assert (probabilities(similarities, 1e-3).argmax(-1) == similarities.argmax(-1)).all()


def test_labels_are_the_best_class_unless_there_is_no_answer():
    scores = torch.tensor([[0.1, 0.6, 0.3], [0.2, 0.3, 0.5], [0.4, 0.35, 0.25], [0.1, math.nan, 0.9]])
    assert labels(scores).tolist() == [1, 2, 0, -1]
    assert labels(scores, threshold=0.5).tolist() == [1, 2, -1, -1]
    assert labels(scores, distractors=1).tolist() == [1, -1, 0, -1]
    assert labels(scores, distractors=2, threshold=0.45).tolist() == [-1, -1, -1, -1]


def test_labels_keep_any_leading_shape():
    assert labels(random(2, 3, 5, 4)).shape == (2, 3, 5)
    assert labels(random(4)).shape == ()
    assert labels(random(0, 4)).shape == (0,)


@pytest.mark.parametrize("distractors", [3, -1])
def test_labels_need_a_class(distractors):
    with pytest.raises(ValueError, match="hold a class"):
        labels(random(5, 3), distractors)


def test_gradients_are_right():
    positives, negatives = random(4, 3).requires_grad_(), random(4, 2, seed=1).requires_grad_()
    text = random(3, 5, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(relevancy, (positives, negatives))
    assert torch.autograd.gradcheck(minmax_relevancy, (positives,))
    assert torch.autograd.gradcheck(similarity, (random(4, 5).requires_grad_(), text))
    assert torch.autograd.gradcheck(lambda x: probabilities(x, 0.2), (positives,))
