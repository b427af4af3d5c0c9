"""The published metrics, as scikit-learn computes them."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, jaccard_score

from ovs3d.eval.released_3dovs import jaccard, released_scores, subset_accuracy


def random_view(height=9, width=14, k=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, k, (height, width), generator=generator)
    masks = torch.stack([truth == i for i in range(k)])
    masks[:, :2] = False  # not annotated
    masks[1, 4] = True  # annotated twice
    masks[k - 1] = False  # a class that is not there
    wrong = torch.rand(height, width, generator=generator) < 0.4
    return masks, torch.where(
        wrong, torch.randint(0, k - 1, (height, width), generator=generator), truth.clamp(max=k - 2)
    )


def matrices(masks, prediction):
    k = len(masks)
    return masks.flatten(1).T.numpy().astype(np.int8), np.eye(k, dtype=np.int8)[prediction.flatten().numpy()]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_a_view_scores_as_in_scikit_learn():
    for seed in range(3):
        masks, prediction = random_view(seed=seed)
        truth, predicted = matrices(masks, prediction)
        expected = jaccard_score(truth, predicted, average=None)
        assert expected[3] == 0, "absent from both"
        assert 0 < expected[:3].min() < expected[:3].max() < 1
        torch.testing.assert_close(jaccard(masks, prediction), torch.from_numpy(expected))
        assert subset_accuracy(masks, prediction) == pytest.approx(accuracy_score(truth, predicted))


def test_a_pixel_without_a_mask_is_wrong_whatever_is_predicted():
    masks = torch.zeros(2, 1, 4, dtype=torch.bool)
    masks[0, 0, :2] = True
    assert subset_accuracy(masks, torch.tensor([[0, 0, 0, 1]])) == 2 / 4
    assert jaccard(masks, torch.tensor([[0, 0, 0, 1]])).tolist() == [2 / 3, 0]


def test_no_answer_is_no_mask():
    masks = torch.tensor([[[True, True, False]], [[False, False, False]]])
    assert jaccard(masks, torch.tensor([[0, -1, -1]])).tolist() == [1 / 2, 0]
    assert subset_accuracy(masks, torch.tensor([[0, -1, -1]])) == pytest.approx(2 / 3)


def test_a_scene_is_the_mean_of_its_views_not_of_its_pixels():
    views = [random_view(seed=0), random_view(5, 20, seed=1), random_view(30, 31, seed=2)]
    scores = released_scores(views)
    per_view = torch.stack([jaccard(*view) for view in views])
    assert scores.miou == pytest.approx(per_view.mean().item())
    assert scores.per_class == pytest.approx(per_view.mean(0).tolist())
    assert scores.accuracy == pytest.approx(sum(subset_accuracy(*view) for view in views) / 3)


def test_a_scene_without_views_is_refused():
    with pytest.raises(ValueError, match="no annotated view"):
        released_scores([])
