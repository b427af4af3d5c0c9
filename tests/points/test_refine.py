"""Votes of masks: majorities, means, ties, members of no mask."""

import torch
from torch.nn import functional as F
from voting import majority

from pointcloud.refine import decided, leading, mean_in_masks, votes


def mean_vote(scores, mask, margin):
    return leading(mean_in_masks(scores, mask), margin)


def test_a_mask_gets_the_label_of_its_majority():
    labels = torch.tensor([2, 2, 0, 1, 1, 1, 0])
    mask = torch.tensor([0, 0, 0, 3, 3, 3, 3])
    assert majority(labels, mask, 3).tolist() == [2, 2, 2, 1, 1, 1, 1]


def test_of_a_tie_the_lowest_label_wins():
    assert majority(torch.tensor([2, 1, 1, 2]), torch.tensor([0, 0, 0, 0]), 3).tolist() == [1, 1, 1, 1]


def test_members_without_a_label_have_no_vote_but_get_one():
    labels = torch.tensor([-1, -1, 2, -1])
    assert majority(labels, torch.tensor([0, 0, 0, 1]), 3).tolist() == [2, 2, 2, -1]


def test_members_of_no_mask_keep_what_they_have():
    labels = torch.tensor([0, 1, -1, 2, 2, 1])
    mask = torch.tensor([-1, -1, -1, 0, 0, 0])
    assert majority(labels, mask, 3).tolist() == [0, 1, -1, 2, 2, 2]
    scores = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.0, 0.0]])
    assert mean_vote(scores, torch.tensor([-1, -1, -1]), 0.0).tolist() == [0, 1, -1]


def test_no_members_are_no_labels():
    none = torch.zeros(0, dtype=torch.int64)
    assert majority(none, none, 4).shape == (0,)
    assert mean_vote(torch.zeros(0, 4), none, 0.1).shape == (0,)


def test_a_refined_map_stays_as_it_is():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 5, (400,), generator=generator)
    mask = torch.randint(-1, 30, (400,), generator=generator)
    once = majority(labels, mask, 5)
    assert not torch.equal(once, labels)
    assert torch.equal(majority(once, mask, 5), once)


def test_mean_scores_of_masks_stay_as_they_are():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(400, 5, generator=generator)
    scores[::7] = 0
    mask = torch.randint(-1, 30, (400,), generator=generator)
    once = mean_in_masks(scores, mask)
    assert not torch.allclose(once, scores)
    torch.testing.assert_close(mean_in_masks(once, mask), once)
    labels = leading(once, 0.02)
    assert (labels == -1).any()
    assert torch.equal(mean_vote(once, mask, 0.02), labels)


def test_scores_decide_where_heads_do_not():
    scores = torch.tensor([[0.55, 0.45], [0.55, 0.45], [0.05, 0.95]])
    mask = torch.zeros(3, dtype=torch.int64)
    assert majority(scores.argmax(1), mask, 2).tolist() == [0, 0, 0]
    assert mean_vote(scores, mask, 0.0).tolist() == [1, 1, 1]


def test_an_unsure_mask_teaches_nothing():
    scores = torch.tensor([[0.5, 0.3, 0.2], [0.3, 0.4, 0.3], [0.9, 0.1, 0.0], [0.4, 0.35, 0.25]])
    mask = torch.tensor([0, 0, 1, -1])
    assert mean_vote(scores, mask, 0.04).tolist() == [0, 0, 0, 0]
    assert mean_vote(scores, mask, 0.1).tolist() == [-1, -1, 0, -1]


def test_who_has_no_say_does_not_make_a_mask_unsure():
    scores = torch.tensor([[0.8, 0.2], [0.0, 0.0], [0.0, 0.0]])
    assert mean_vote(scores, torch.zeros(3, dtype=torch.int64), 0.5).tolist() == [0, 0, 0]


def test_who_has_no_say_has_no_hard_vote_either():
    said = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.7, 0.2]])
    assert votes(said, "hard").tolist() == [[0, 0, 0], [0, 1, 0]]
    assert decided(mean_in_masks(votes(said[:1], "hard"), torch.tensor([0])), "hard", 0.0).tolist() == [-1]


def test_most_masks_recover_from_noise_in_three_of_five_pixels():
    generator = torch.Generator().manual_seed(1)
    truth = torch.randint(0, 6, (200,), generator=generator)
    mask = torch.arange(200).repeat_interleave(100)
    labels = truth[mask]
    wrong = torch.rand(len(mask), generator=generator) < 0.6
    other = (labels + torch.randint(1, 6, labels.shape, generator=generator)) % 6
    labels = torch.where(wrong, other, labels)
    for refined in (majority(labels, mask, 6), mean_vote(F.one_hot(labels, 6).float(), mask, 0.0)):
        assert (refined == truth[mask]).float().mean() > 0.95
