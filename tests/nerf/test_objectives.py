"""The losses have the values and the gradients of the published code, and stay finite where it does not."""

import math

import pytest
import torch
import torch.nn.functional as F

from nerf_methods.objectives import (
    FromCenter,
    PairRule,
    class_distillation,
    clip_distillation,
    feature_distribution_alignment,
    probable_names,
    relevancy_distribution_alignment,
)


def leaf(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def distilled(rendered, teacher, selection, center=None) -> torch.Tensor:
    """Of the features themselves."""
    products = torch.einsum("rd,rsd->rs", rendered, teacher)
    from_center = None
    if center is not None:
        from_center = FromCenter(rendered @ center, teacher @ center, center @ center)
    gram = teacher @ teacher.mT
    return clip_distillation(products, rendered.square().sum(1), gram, selection, from_center)


def test_value_and_gradients_are_those_of_the_published_code():
    """Golden numbers: 3D-OVS's own functions, run in float64 on this input."""
    rendered = leaf([[1.0, 0.5], [-0.2, 2.0]])
    selection = leaf([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    teacher = leaf([[[1.0, 0], [0, 1], [0.6, 0.8]], [[0, 1.0], [0.8, 0.6], [1, 0]]]).detach()
    loss = distilled(rendered, teacher, selection)
    loss.backward()
    assert loss.item() == pytest.approx(-0.6396042791947739, abs=1e-12)
    by_rendered = [[0.034757066782, -0.069514133564], [-0.236553116033, -0.023655311603]]
    by_selection = [
        [-0.067064810066, 0.090391700523, 0.032074474379],
        [-0.534053446668, -0.140540380702, 0.224864609123],
    ]
    torch.testing.assert_close(rendered.grad, leaf(by_rendered).detach(), rtol=0, atol=1e-11)
    torch.testing.assert_close(selection.grad, leaf(by_selection).detach(), rtol=0, atol=1e-11)


def test_a_feature_along_the_mixture_is_the_optimum_whatever_its_length():
    torch.manual_seed(0)
    teacher = F.normalize(torch.randn(6, 3, 8), dim=-1)
    selection = torch.rand(6, 3).softmax(-1)
    mixture = torch.stack([sum(selection[r, s] * teacher[r, s] for s in range(3)) for r in range(6)])
    assert distilled(5 * mixture, teacher, selection).item() == pytest.approx(-1, abs=1e-6)
    assert distilled(-mixture, teacher, selection).item() == pytest.approx(1, abs=1e-6)


def test_from_the_center_features_that_hardly_differ_are_far_apart():
    """Two directions of a cosine of 0.995, on either side of what they share."""
    double = torch.float64
    teacher = F.normalize(torch.tensor([[[1.0, 0.05]], [[1.0, -0.05]]], dtype=double), dim=-1)
    center, selection = teacher.mean((0, 1)), torch.ones(2, 1, dtype=double)
    swapped = 7 * teacher[:, 0].flip(0)
    assert distilled(swapped, teacher, selection).item() == pytest.approx(-0.995, abs=1e-3)
    assert distilled(swapped, teacher, selection, center).item() == pytest.approx(1, abs=1e-6)
    assert distilled(7 * teacher[:, 0], teacher, selection, center).item() == pytest.approx(-1, abs=1e-6)


def test_inner_products_give_the_angle_between_vectors_from_the_center():
    torch.manual_seed(0)
    double = torch.float64
    rendered = torch.randn(9, 7, dtype=double, requires_grad=True)
    teacher = F.normalize(torch.randn(9, 3, 7, dtype=double) + 1, dim=-1)
    selection = torch.rand(9, 3, dtype=double, requires_grad=True)
    center = teacher.mean((0, 1))
    ours = F.normalize(rendered, dim=1) - center
    theirs = F.normalize((selection[..., None] * teacher).sum(1), dim=1) - center
    expected = -F.cosine_similarity(ours, theirs, dim=1).mean()
    found = distilled(rendered, teacher, selection, center)
    torch.testing.assert_close(found, expected)
    leaves = rendered, selection
    torch.testing.assert_close(torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves))


def test_a_ray_without_a_feature_gives_a_finite_gradient():
    rendered = torch.zeros(2, 4, requires_grad=True)
    teacher = F.normalize(torch.ones(2, 3, 4), dim=-1)
    distilled(rendered, teacher, torch.full((2, 3), 1 / 3)).backward()
    assert rendered.grad is not None
    assert rendered.grad.isfinite().all()


TEXT = F.normalize(torch.tensor([[1.0, 0], [0, 1], [1, 1]], dtype=torch.float64), dim=1)
RELEVANCY = [
    [[0.9, 0.1, 0.5], [0.2, 0.4, 1.0], [0.0, 0.3, 0.6]],
    [[0.1, 1.0, 0.4], [0.3, 0.7, 0.2], [0.5, 0.5, 0.5]],
]


def test_rda_is_the_published_one():
    """Golden numbers: 3D-OVS's own functions, run in float64 on this input."""
    rendered = leaf([[1.0, 0.5], [-0.2, 2.0]])
    selection = leaf([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    loss = relevancy_distribution_alignment(rendered @ TEXT.T, leaf(RELEVANCY).detach(), selection)
    loss.backward()
    assert loss.item() == pytest.approx(0.02685510910845529, abs=1e-14)
    by_rendered = [[0.003888817825, -0.004055361354], [-0.022005384262, 0.019668354152]]
    by_selection = [
        [-0.003218139754, 0.000964123948, 0.001309395342],
        [-0.028129116553, -0.011930258741, 0],
    ]
    torch.testing.assert_close(rendered.grad, leaf(by_rendered).detach(), rtol=0, atol=1e-11)
    torch.testing.assert_close(selection.grad, leaf(by_selection).detach(), rtol=0, atol=1e-11)


TOKENS = torch.tensor([[[1.0, 0], [1, 0.1], [0, 1], [0.6, 0.8]]], dtype=torch.float64)
LOGITS = [[[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0]]]
PULL = [
    [0.026940017584, -0.024093502974, -0.002846514610],
    [-0.024093502974, 0.026940017584, -0.002846514610],
    [-0.004435810481, -0.004435810481, 0.008871620962],
    [0.003820272723, 0.003820272723, -0.007640545446],
]
PUSH = [
    [-0.068612655212, 0.010707001225, 0.057905653987],
    [0.006717677995, -0.055929165546, 0.049211487551],
    [0.062957397017, 0.055791675439, -0.118749072456],
    [0.003741444024, -0.003421364067, -0.000320079957],
]


@pytest.mark.parametrize(
    ("positive", "negative", "value", "gradient"),
    [(1.0, 0.0, 0.033300447825447194, PULL), (0.0, 1.0, -0.12121029124627991, PUSH)],
)
def test_fda_is_the_published_one(positive, negative, value, gradient):
    """Golden numbers: 3D-OVS's own functions, run in float64 on this input."""
    logits = leaf(LOGITS)
    loss = feature_distribution_alignment(logits, TOKENS, PairRule(0.7, positive, negative))
    loss.backward()
    assert loss.item() == pytest.approx(value, abs=1e-14)
    torch.testing.assert_close(logits.grad, leaf([gradient]).detach(), rtol=0, atol=1e-11)


def pairwise(logits, tokens, shift, positive, negative, divergence):
    """The formula, pair by pair."""
    p = logits.softmax(-1)
    pull, push, pulls, pushes = 0.0, 0.0, 0, 0
    for n in range(len(p)):
        for i in range(p.shape[1]):
            for j in range(p.shape[1]):
                k = F.cosine_similarity(tokens[n, i], tokens[n, j], dim=0) - shift
                if divergence == "kl":
                    d = (p[n, i] * (p[n, i] / p[n, j]).log()).sum()
                else:
                    m = (p[n, i] + p[n, j]) / 2
                    d = sum((q * (q / m).log()).sum() for q in (p[n, i], p[n, j])) / 2
                pull, pulls = (pull + k * d, pulls + 1) if k > 0 else (pull, pulls)
                push, pushes = (push + k * d, pushes + 1) if k < 0 else (push, pushes)
    return positive * pull / pulls + negative * push / pushes


@pytest.mark.parametrize("divergence", ["kl", "js"])
def test_fda_equals_the_formula_pair_by_pair(divergence, monkeypatch):
    monkeypatch.setattr("nerf_methods.objectives.ROWS_AT_ONCE", 4)  # the patches have six
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64).mul_(2).requires_grad_()
    tokens = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64) + 0.5
    expected = pairwise(logits, tokens, 0.3, 2.0, 0.5, divergence)
    (by_formula,) = torch.autograd.grad(expected, logits)
    loss = feature_distribution_alignment(logits, tokens, PairRule(0.3, 2.0, 0.5), divergence)
    (by_ours,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(by_ours, by_formula)
    assert torch.autograd.gradcheck(
        lambda z: feature_distribution_alignment(z, tokens, PairRule(0.3, 2.0, 0.5), divergence),
        (logits,),
    )


@pytest.mark.parametrize(("kind", "share"), [((1.0, 0.0), 10 / 16), ((0.0, 1.0), 6 / 16)])
def test_without_rebalance_the_rarer_kind_of_pair_weighs_less(kind, share):
    balanced, plain = (
        feature_distribution_alignment(leaf(LOGITS), TOKENS, PairRule(0.65, *kind, rebalance))
        for rebalance in (True, False)
    )
    torch.testing.assert_close(plain, balanced * share)


NAMED = torch.tensor([[[0.9, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.9, 0.1]]], dtype=torch.float64)
"""Cosines of three pixels with three classes: two of the first name, one of the second."""


def weighed(rule: PairRule, names: torch.Tensor | None, pixels: tuple[int, ...] = (0, 1, 2)) -> torch.Tensor:
    """FDA of pixels that DINO thinks alike."""
    logits = torch.tensor(LOGITS, dtype=torch.float64)[:, pixels]
    names = None if names is None else names[:, pixels]
    return feature_distribution_alignment(logits, torch.ones_like(logits), rule, names=names)


def test_the_guard_leaves_only_pairs_that_agree_with_their_names():
    names = probable_names(NAMED, 0.1)
    pulls = PairRule(0.5, 1.0, 0.0, rebalance=False)
    torch.testing.assert_close(weighed(pulls, names), weighed(pulls, None, (0, 1)) * 4 / 9, atol=1e-2, rtol=0)
    torch.testing.assert_close(weighed(pulls, names, (0, 1)), weighed(pulls, None, (0, 1)), atol=1e-2, rtol=0)
    pushes = PairRule(1.5, 0.0, 1.0, rebalance=False)
    apart = weighed(pushes, None) - weighed(pushes, None, (0, 1)) * 4 / 9
    torch.testing.assert_close(weighed(pushes, names), apart, atol=1e-2, rtol=0)


def test_the_guard_means_the_same_for_a_clip_of_smaller_cosines():
    torch.testing.assert_close(probable_names(0.2 + 0.1 * NAMED, 0.5), probable_names(NAMED, 0.5))


@pytest.mark.parametrize("classes", [1, 2])
def test_the_guard_is_finite_where_no_class_leads(classes):
    names = probable_names(torch.full((1, 3, classes), 0.3), 0.1)
    torch.testing.assert_close(names, torch.full((1, 3, classes), 1 / classes))
    logits, rule = torch.tensor(LOGITS)[:, :3, :classes], PairRule(0.5, 1.0, 0.0)
    guarded, plain = (
        feature_distribution_alignment(logits, torch.ones(1, 3, 2), rule, names=one) for one in (names, None)
    )
    torch.testing.assert_close(guarded, plain / classes)


@pytest.mark.parametrize("divergence", ["kl", "js"])
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("tokens", [torch.ones(1, 4, 2), torch.eye(4)[None], torch.zeros(1, 4, 2)])
def test_fda_is_finite_without_pairs_of_a_kind_and_with_one_class(divergence, classes, tokens):
    logits = (50 * torch.randn(1, 4, classes, generator=torch.Generator().manual_seed(0))).requires_grad_()
    loss = feature_distribution_alignment(logits, tokens, PairRule(0.7, 200.0, 0.2), divergence)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("rebalance", [True, False])
def test_a_pixel_without_a_feature_is_in_no_pair(rebalance):
    logits = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0))
    tokens = torch.rand(1, 5, 4, generator=torch.Generator().manual_seed(1)) - 0.2
    tokens[:, 3] = 0
    kept, rule = [0, 1, 2, 4], PairRule(0.7, 200.0, 0.2, rebalance)
    found = feature_distribution_alignment(logits, tokens, rule)
    alone = feature_distribution_alignment(logits[:, kept], tokens[:, kept], rule)
    torch.testing.assert_close(found, alone if rebalance else alone * 16 / 25)


@pytest.mark.parametrize("divergence", ["kl", "js"])
def test_fda_without_weights_is_nothing(divergence):
    logits = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = feature_distribution_alignment(logits, torch.rand(2, 5, 4), PairRule(0.7, 0.0, 0.0), divergence)
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_rda_is_bounded_and_finite_with_one_class():
    extreme = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = relevancy_distribution_alignment(extreme, torch.tensor([[[0.0, 1e4]]]), torch.ones(1, 1))
    assert loss.item() == pytest.approx(math.log(2))
    loss.backward()
    assert extreme.grad is not None
    assert extreme.grad.isfinite().all()
    one = relevancy_distribution_alignment(torch.randn(5, 1), torch.rand(5, 2, 1), torch.full((5, 2), 0.5))
    assert one.item() == 0


def test_class_distillation_is_the_cross_entropy_with_the_teachers_probabilities():
    generator = torch.Generator().manual_seed(3)
    ours, theirs = (torch.rand(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = F.cross_entropy(ours / 0.05, (theirs / 0.05).softmax(-1))
    torch.testing.assert_close(class_distillation(ours, theirs), expected)


def test_class_distillation_rests_where_the_teacher_is():
    similarity = torch.rand(6, 4, generator=torch.Generator().manual_seed(4)).requires_grad_()
    class_distillation(similarity, similarity.detach()).backward()
    torch.testing.assert_close(similarity.grad, torch.zeros(6, 4), atol=1e-6, rtol=0)
