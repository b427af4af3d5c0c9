"""Volumes are what their formulas say, in slow loops, and can be learnt."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from nerf_methods.field import AppearanceField, DensityGrid, FeatureField, SelectionField
from nerf_methods.rendering import composite
from nerf_methods.volumes import HashVolume, PlanesAndLines, VoxelGrid


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def points(count: int, seed: int = 1) -> torch.Tensor:
    return 2 * random(count, 3, seed=seed) - 1


def interpolate(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Multilinear interpolation of an array of nodes that span [-1, 1] on each axis, at one point."""
    total = torch.zeros(())
    position = [(float(c) + 1) / 2 * (n - 1) for c, n in zip(x, values.shape, strict=True)]
    for corner in itertools.product(*(range(n) for n in values.shape)):
        weight = 1.0
        for at, node in zip(position, corner, strict=True):
            weight *= max(0.0, 1 - abs(at - node))
        total = total + weight * values[corner]
    return total


def random_grid(*resolutions: int) -> VoxelGrid:
    grid = VoxelGrid(resolutions)
    with torch.no_grad():
        for seed, level in enumerate(grid.levels):
            level.copy_(random(len(level), seed=seed))
    return grid


def test_one_level_is_interpolated_trilinearly():
    grid, x = random_grid(4), points(9)
    nodes = grid.levels[0].detach().view(4, 4, 4)
    torch.testing.assert_close(grid(x), torch.stack([interpolate(nodes, each) for each in x]))


def test_nested_levels_add_up_at_every_point():
    grid, x = random_grid(2, 3, 5), points(9)
    cubes = [level.detach().view(n, n, n) for level, n in zip(grid.levels, (2, 3, 5), strict=True)]
    expected = torch.stack([sum((interpolate(cube, each) for cube in cubes), torch.zeros(())) for each in x])
    torch.testing.assert_close(grid(x), expected)


def test_levels_that_are_not_nested_add_up_at_the_nodes_of_the_finest():
    grid = random_grid(3, 4)
    coarse, fine = (level.detach().view(n, n, n) for level, n in zip(grid.levels, (3, 4), strict=True))
    axis = torch.linspace(-1, 1, 4)
    for node in [(0, 0, 0), (1, 0, 2), (3, 3, 3), (2, 3, 1)]:
        expected = interpolate(coarse, axis[list(node)]) + fine[node]
        torch.testing.assert_close(grid(axis[list(node)][None])[0], expected)
        torch.testing.assert_close(grid.volume()[node], expected)


def test_points_outside_of_the_cube_see_its_nearest_face():
    grid, x = random_grid(3, 4), 4 * points(20)
    torch.testing.assert_close(grid(x), grid(x.clamp(-1, 1)))


def test_total_variation_of_a_grid_is_the_mean_step_per_axis():
    grid = random_grid(3, 4)
    expected = torch.zeros(())
    for level, n in zip(grid.levels, (3, 4), strict=True):
        cube = level.detach().view(n, n, n)
        for a, b, c in itertools.product(range(n), repeat=3):
            for step in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
                other = (a + step[0], b + step[1], c + step[2])
                if max(other) < n:
                    expected = expected + (cube[other] - cube[a, b, c]).abs() / ((n - 1) * n * n)
    torch.testing.assert_close(grid.total_variation(), expected)


def test_planes_and_lines_multiply_a_plane_with_a_line():
    torch.manual_seed(0)
    volume, x = PlanesAndLines(channels=2, resolution=4), points(6)
    planes, lines = volume.planes.detach(), volume.lines.detach()
    expected = torch.stack(
        [
            torch.stack(
                [
                    interpolate(planes[pair, channel], each[[second, first]])
                    * interpolate(lines[pair, channel, :, 0], each[[line]])
                    for pair, (first, second, line) in enumerate([(0, 1, 2), (0, 2, 1), (1, 2, 0)])
                    for channel in range(2)
                ]
            )
            for each in x
        ]
    )
    assert volume.out_channels == 6
    torch.testing.assert_close(volume(x), expected)


def test_total_variation_of_planes_is_the_mean_squared_step():
    torch.manual_seed(0)
    volume = PlanesAndLines(channels=2, resolution=4)
    planes = volume.planes.detach()
    down = sum((planes[..., i + 1, :] - planes[..., i, :]).square().sum() for i in range(3))
    right = sum((planes[..., i + 1] - planes[..., i]).square().sum() for i in range(3))
    torch.testing.assert_close(volume.total_variation(), (down + right) / (3 * 2 * 3 * 4))


def make_hash() -> HashVolume:
    torch.manual_seed(0)
    return HashVolume(log2_size=8, resolution=64, implementation="torch")


def test_a_hash_volume_is_continuous_and_ends_at_the_cube():
    volume, x = make_hash(), points(9)
    coarse = volume(x)[:, :2]
    nearby = volume(x + 1e-3)[:, :2]
    assert volume.out_channels == volume(x).shape[1] == 32
    assert coarse.std(0).min() > 0
    assert (coarse - nearby).abs().max() < 0.1 * coarse.abs().max()
    torch.testing.assert_close(volume(torch.full((1, 3), 7.0)), volume(torch.ones(1, 3)))


def test_detail_is_added_to_the_exponent_of_density():
    field, x = DensityGrid((3, 5), shift=-2.0, detail=make_hash()), points(20)
    assert field.head is not None
    assert field.volume is not None
    expected = -2.0 + field.head(field.volume(x))[:, 0]
    torch.testing.assert_close(field(x).log(), expected)
    assert expected.std() > 0


def test_density_is_positive_and_starts_at_its_shift():
    field = DensityGrid((3, 5), shift=-2.0)
    torch.testing.assert_close(field(points(5)), torch.full((5,), -2.0).exp())
    with torch.no_grad():
        field.grid.levels[0].fill_(-30.0)
    assert (field(points(5)) > 0).all()


def test_density_starts_where_there_is_evidence():
    field = DensityGrid((3, 65, 80), shift=-3.0)
    field.start(lambda x: (x[:, 0] > 0.5).float())
    assert all((level == 0).all() for level in field.grid.levels[1:])
    x = torch.tensor([[-0.9, 0.1, 0.3], [1.0, 0.1, 0.3]])
    torch.testing.assert_close(field(x).log(), torch.tensor([-3.0, 3.0]))


def make_appearance() -> AppearanceField:
    torch.manual_seed(0)
    return AppearanceField(PlanesAndLines(channels=3, resolution=4), hidden=8)


def test_colour_does_not_depend_on_the_view_at_first():
    field, x = make_appearance(), points(10)
    views = [F.normalize(points(10, seed), dim=1) for seed in (2, 3)]
    first, second = (field(x, view) for view in views)
    assert torch.equal(first, second)
    assert ((first > 0) & (first < 1)).all()
    assert first.std(0).min() > 0


def test_colour_is_linear_in_the_view_before_the_sigmoid():
    field, x = make_appearance(), points(10)
    with torch.no_grad():
        field.sheen.weight.normal_()
    view = F.normalize(points(10, 2), dim=1)
    forth, back = (torch.logit(field(x, direction)) for direction in (view, -view))
    assert (forth - back).abs().min() > 0
    torch.testing.assert_close((forth + back) / 2, torch.logit(field(x, 0 * view)), rtol=1e-3, atol=1e-4)


def make_feature() -> FeatureField:
    torch.manual_seed(0)
    return FeatureField(d=32, rank=5, scales=3, volume=PlanesAndLines(channels=3, resolution=4))


def decoded(field: FeatureField, code, opacity, scale: int | None = None) -> torch.Tensor:
    return torch.cat([code, opacity], dim=1) @ field.columns(scale).T


def rendered_features(field: FeatureField, rays: int = 7, samples: int = 6):
    """Codes and opacities of rays, and the same features composited from [rays, samples, d]."""
    weights = random(rays, samples, seed=3) / samples
    codes = field(points(rays * samples))
    per_sample = (codes @ field.decoder.weight.T + field.decoder.bias).view(rays, samples, -1)
    naive = (weights[..., None] * per_sample).sum(1)
    ray = torch.arange(rays).repeat_interleave(samples)
    return composite(codes, weights.flatten(), ray, rays), weights.sum(1, keepdim=True), naive


def test_decoding_once_a_ray_equals_compositing_the_features_of_every_sample():
    field = make_feature()
    code, opacity, naive = rendered_features(field)
    assert naive.abs().min() > 1e-6
    torch.testing.assert_close(decoded(field, code, opacity), naive)


def test_similarity_is_the_cosine_of_the_feature_that_is_never_formed():
    field = make_feature()
    code, opacity, naive = rendered_features(field)
    text = F.normalize(torch.randn(4, 32), dim=1)
    expected = F.cosine_similarity(naive[:, None], text[None], dim=-1)
    torch.testing.assert_close(field.similarity(code, opacity, text), expected)


def test_a_ray_that_meets_nothing_is_similar_to_nothing():
    text = F.normalize(torch.randn(4, 32), dim=1)
    found = make_feature().similarity(torch.zeros(2, 5), torch.zeros(2, 1), text)
    assert torch.equal(found, torch.zeros(2, 4))


def test_a_single_scale_is_asked_through_its_own_decoder():
    field = make_feature()
    code, opacity, _ = rendered_features(field)
    text = F.normalize(torch.randn(4, 32), dim=1)
    for scale in range(3):
        weight, bias = (p.unflatten(0, (3, 32))[scale] for p in field.scale_decoder.parameters())
        seen = code @ weight.T + opacity * bias
        torch.testing.assert_close(decoded(field, code, opacity, scale), seen)
        expected = F.cosine_similarity(seen[:, None], text[None], dim=-1)
        torch.testing.assert_close(field.similarity(code, opacity, text, scale), expected)


def test_colours_are_the_principal_components_of_the_features_that_were_seen():
    field = make_feature()
    code, opacity = torch.randn(400, 5), torch.rand(400, 1) + 0.5
    for _ in range(3):
        field.observe(code, opacity)
    unit = F.normalize(decoded(field, code, opacity), dim=1)
    _, deviation, axes = torch.linalg.svd(unit - unit.mean(0), full_matrices=False)
    along = (unit - unit.mean(0)) @ axes[:3].T / (deviation[:3] / 20)  # sqrt of 400
    found = (field.colors(torch.cat([code, opacity], dim=1)) - 0.5) * 4
    inside = along.abs() < 2
    assert 0.9 < inside.float().mean() < 1
    torch.testing.assert_close(found[inside].abs(), along[inside].abs(), rtol=1e-2, atol=2e-3)


def test_colours_of_the_same_feature_do_not_depend_on_the_picture():
    field = make_feature()
    features = torch.cat([torch.randn(50, 5), torch.ones(50, 1)], dim=1)
    field.observe(features[:, :5], features[:, 5:])
    torch.testing.assert_close(field.colors(features.view(5, 10, 6))[2, 3], field.colors(features[23:24])[0])


def test_selection_starts_with_the_smallest_tiles():
    field = SelectionField(scales=3, volume=PlanesAndLines(channels=4, resolution=8))
    field.start()
    chosen = (field(points(50)) / 0.1).softmax(-1)
    assert chosen[:, 2].min() > 0.9
    assert (chosen[:, 1] > chosen[:, 0]).all()


def test_selection_is_between_zero_and_one():
    torch.manual_seed(0)
    field = SelectionField(scales=3, volume=PlanesAndLines(channels=2, resolution=4))
    values = field(points(50))
    assert values.shape == (50, 3)
    assert ((values > 0) & (values < 1)).all()


@pytest.mark.parametrize(
    ("field", "views"),
    [
        (DensityGrid((3, 4)), 0),
        (make_appearance(), 1),
        (make_feature(), 0),
        (DensityGrid((3, 4), detail=make_hash()), 0),
        (AppearanceField(make_hash(), hidden=8), 1),
        (SelectionField(scales=3, volume=PlanesAndLines(channels=2, resolution=4)), 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_gradients_reach_every_parameter(field, views):
    x = points(500)
    out = field(x, *[F.normalize(x, dim=1)] * views)
    if isinstance(field, FeatureField):
        opacity = torch.ones(500, 1)
        out = torch.stack([decoded(field, out, opacity, scale) for scale in (None, 0, 1, 2)])
    out.square().sum().backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name
