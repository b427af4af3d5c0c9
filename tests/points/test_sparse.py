"""Sparse convolution against dense convolution, against a slow loop, and against its own laws."""

import gc
import weakref

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import conv3d, conv_transpose3d

from pointcloud.sparse import (
    BatchNorm,
    Convolution,
    SparseTensor,
    TransposedConvolution,
    concatenate,
    sparse_tensor,
)
from pointcloud.sparse.arithmetic import convolve
from pointcloud.sparse.kernel_map import KernelMap, Region
from pointcloud.sparse.levels import Level


def random_input(n=90, c=3, seed=0, batches=2, extent=7, dtype=torch.float64) -> SparseTensor:
    """Voxels of both signs, no two the same, with gaps."""
    generator = torch.Generator().manual_seed(seed)
    voxels = torch.randint(-extent, extent, (n, 3), generator=generator)
    batch = torch.randint(0, batches, (n, 1), generator=generator)
    voxels = torch.unique(torch.cat([batch, voxels], dim=1), dim=0)
    return sparse_tensor(torch.randn(len(voxels), c, generator=generator, dtype=dtype), voxels)[0]


def filled_input(size=(4, 6, 8), origin=(-3, 2, -5), c=3) -> tuple[SparseTensor, torch.Tensor]:
    """A grid without gaps: as voxels, and dense as (1, c, x, y, z)."""
    dense = torch.randn(1, c, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    grid = torch.stack(torch.meshgrid(*map(torch.arange, size), indexing="ij"), dim=-1).reshape(-1, 3)
    voxels = torch.cat([torch.zeros(len(grid), 1, dtype=torch.long), grid + torch.tensor(origin)], dim=1)
    tensor, rows = sparse_tensor(dense[0].reshape(c, -1).T, voxels)
    assert (rows == torch.arange(len(rows))).all()
    return tensor, dense


def dense_weight(kernel: torch.Tensor, n: int) -> torch.Tensor:
    """(k, c_in, c_out) with the first axis fastest as conv3d's (c_out, c_in, x, y, z)."""
    return kernel.reshape(n, n, n, *kernel.shape[1:]).permute(4, 3, 2, 1, 0)


def slow_convolution(x: SparseTensor, kernel: torch.Tensor, region: Region, targets: list, stride: int):
    """The definition: y[t] = sum_k x[t + offset_k * stride] W_k, with a dictionary."""
    rows = {tuple(voxel): row for voxel, row in zip(x.voxels.tolist(), x.features, strict=True)}
    result = []
    for b, *place in targets:
        total = torch.zeros(kernel.shape[2], dtype=kernel.dtype)
        for offset, weight in zip(region.offsets, kernel, strict=True):
            seen = (b, *(p + o * stride for p, o in zip(place, offset, strict=True)))
            if seen in rows:
                total = total + rows[seen] @ weight
        result.append(total)
    return torch.stack(result)


def test_offsets_come_in_the_order_of_minkowski_engine():
    three, two = Region(3).offsets, Region(2).offsets
    assert three[:4] == [(-1, -1, -1), (0, -1, -1), (1, -1, -1), (-1, 0, -1)]
    assert three[9] == (-1, -1, 0)
    assert (three[13], three[26]) == ((0, 0, 0), (1, 1, 1))
    assert two == [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1)]
    assert Region(3, dilation=2).offsets[0] == (-2, -2, -2)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_on_a_filled_grid_it_is_dense_convolution(size):
    x, dense = filled_input()
    layer = Convolution(3, 5, size).double()
    kernel = layer.kernel if layer.kernel.dim() == 3 else layer.kernel[None]
    expected = conv3d(dense, dense_weight(kernel, size), padding=size // 2)
    torch.testing.assert_close(layer(x).features, expected[0].reshape(5, -1).T)


def test_a_dilated_kernel_is_dense_convolution_with_dilation():
    x, dense = filled_input()
    layer = Convolution(3, 5, 3, dilation=2).double()
    expected = conv3d(dense, dense_weight(layer.kernel, 3), padding=2, dilation=2)
    torch.testing.assert_close(layer(x).features, expected[0].reshape(5, -1).T)


def test_a_strided_kernel_is_dense_convolution_with_stride():
    x, dense = filled_input(origin=(-4, 2, -6))
    layer = Convolution(3, 5, 2, stride=2, bias=True).double()
    expected = conv3d(dense, dense_weight(layer.kernel, 2), layer.bias[0], stride=2)
    y = layer(x)
    assert y.stride == 2
    torch.testing.assert_close(y.features, expected[0].reshape(5, -1).T)


def test_a_transposed_kernel_is_dense_transposed_convolution():
    x, dense = filled_input(origin=(-4, 2, -6))
    down, up = Convolution(3, 5, 2, stride=2).double(), TransposedConvolution(5, 4).double()
    halved = conv3d(dense, dense_weight(down.kernel, 2), stride=2)
    weight = up.kernel.reshape(2, 2, 2, 5, 4).permute(3, 4, 2, 1, 0)
    expected = conv_transpose3d(halved, weight, stride=2)
    y = up(down(x))
    assert y.level is x.level
    torch.testing.assert_close(y.features, expected[0].reshape(4, -1).T)


@pytest.mark.parametrize(
    ("size", "stride", "dilation"), [(3, 1, 1), (3, 1, 3), (5, 1, 1), (2, 1, 1), (4, 1, 2)]
)
def test_with_gaps_it_is_the_slow_loop(size, stride, dilation):
    x = random_input()
    layer = Convolution(3, 4, size, dilation=dilation).double()
    expected = slow_convolution(x, layer.kernel, layer.region, x.voxels.tolist(), stride=1)
    torch.testing.assert_close(layer(x).features, expected)


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (3, 3), (1, 2), (4, 4), (2, 3)])
def test_strided_with_gaps_it_is_the_slow_loop(size, stride):
    x = random_input()
    layer = Convolution(3, 4, size, stride).double()
    y = layer(x)
    floored = {(b, *(c // stride * stride for c in place)) for b, *place in x.voxels.tolist()}
    assert list(map(tuple, y.voxels.tolist())) == sorted(floored)
    kernel = layer.kernel
    torch.testing.assert_close(y.features, slow_convolution(x, kernel, layer.region, y.voxels.tolist(), 1))


def test_a_second_stride_counts_offsets_in_strides():
    x = Convolution(3, 3, 2, stride=2).double()(random_input())
    same, down = Convolution(3, 4, 3).double(), Convolution(3, 4, 3, stride=2).double()
    torch.testing.assert_close(
        same(x).features, slow_convolution(x, same.kernel, same.region, x.voxels.tolist(), stride=2)
    )
    y = down(x)
    assert y.stride == 4
    torch.testing.assert_close(
        y.features, slow_convolution(x, down.kernel, down.region, y.voxels.tolist(), stride=2)
    )


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (4, 4)])
def test_a_transposed_convolution_is_the_adjoint_of_the_strided_one(size, stride):
    x = random_input()
    down, up = Convolution(3, 5, size, stride).double(), TransposedConvolution(5, 3, size, stride).double()
    up.kernel.data = down.kernel.data.transpose(1, 2).contiguous()
    coarse = down(x)
    other = coarse.with_features(torch.randn_like(coarse.features))
    torch.testing.assert_close(
        (coarse.features * other.features).sum(), (x.features * up(other).features).sum()
    )


def test_voxels_of_other_batches_are_not_seen():
    x = random_input(batches=3)
    layers = [Convolution(3, 4, 5).double(), Convolution(4, 4, 3, stride=2).double()]
    together = layers[1](layers[0](x))
    for b in range(3):
        mine = x.voxels[:, 0] == b
        alone = layers[1](layers[0](sparse_tensor(x.features[mine], x.voxels[mine])[0]))
        torch.testing.assert_close(together.features[together.voxels[:, 0] == b], alone.features)


def test_moved_by_whole_strides_the_features_stay():
    x = random_input()
    net = [Convolution(3, 4, 3).double(), Convolution(4, 4, 2, stride=2).double()]
    moved = sparse_tensor(x.features, x.voxels + torch.tensor([0, 6, -14, 102]))[0]
    for layer in net:
        x, moved = layer(x), layer(moved)
    torch.testing.assert_close(x.features, moved.features)
    assert (moved.voxels - x.voxels == torch.tensor([0, 6, -14, 102])).all()


def test_the_order_of_the_points_does_not_matter():
    x = random_input()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(3))
    shuffled, rows = sparse_tensor(x.features[order], x.voxels[order])
    layer = Convolution(3, 4).double()
    assert (shuffled.voxels == x.voxels).all()
    torch.testing.assert_close(layer(shuffled).features[rows], layer(x).features[order])


@pytest.mark.parametrize("portion", [7, 2**19])
def test_gradients_are_those_of_finite_differences(monkeypatch, portion):
    monkeypatch.setattr("pointcloud.sparse.arithmetic._portion", lambda x, channels: portion)
    x = random_input(n=25, c=2, extent=3)
    fine, coarse = x.level, x.level.coarser(2)
    maps = [
        fine.map_to(fine, Region(3)),
        fine.map_to(coarse, Region(2)),
        fine.map_to(coarse, Region(2)).transposed(),
        fine.map_to(coarse, Region(3)),
    ]
    for kernel_map in maps:
        features = torch.randn(kernel_map.n_source, 2, dtype=torch.float64, requires_grad=True)
        weight = torch.randn(len(kernel_map.counts), 2, 3, dtype=torch.float64, requires_grad=True)
        assert gradcheck(lambda x, w, m=kernel_map: convolve(x, w, m), (features, weight))


def test_autograd_keeps_the_input_and_the_kernel_only():
    x, kept = random_input(c=4), []
    layer = Convolution(4, 4, bias=False).double()
    features = x.features.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(x.with_features(features))
    assert [t.data_ptr() for t in kept] == [features.data_ptr(), layer.kernel.data_ptr()]


def test_sums_of_half_precision_products_are_kept_in_float32():
    n = 4000
    kernel_map = KernelMap(torch.arange(n), torch.zeros(n, dtype=torch.long), (1,) * n, n, 1)
    x, weight = torch.ones(n, 1, dtype=torch.bfloat16), torch.ones(n, 1, 1, dtype=torch.bfloat16)
    assert convolve(x, weight, kernel_map).item() == 4000  # in bfloat16 256 + 1 is 256


def test_under_autocast_convolutions_run_in_half_precision():
    x = random_input(dtype=torch.float32)
    layer = Convolution(3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x).features
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x).features, rtol=0.03, atol=0.03)


def test_levels_and_maps_are_made_once():
    x = random_input()
    assert x.level.coarser(2) is x.level.coarser(2)
    assert x.level.coarser(2).coarser(2) is x.level.coarser(4)
    assert x.level.map_to(x.level, Region(3)) is x.level.map_to(x.level, Region(3))


def test_what_an_input_made_is_freed_with_it_and_not_by_the_garbage_collector():
    gc.disable()
    try:
        x = random_input()
        y = Convolution(3, 3, 3).double()(Convolution(3, 3, 2, 2).double()(x))
        kept = [weakref.ref(x.level), weakref.ref(y.level), weakref.ref(x.level.map_to(y.level, Region(2)))]
        del x
        assert kept[0]() is not None  # a transposed convolution may return to it
        del y
        assert [each() for each in kept] == [None, None, None]
    finally:
        gc.enable()


def test_duplicates_are_refused_or_merged_by_rule():
    voxels = torch.tensor([[0, 1, 2, 3], [0, -1, 2, 3], [0, 1, 2, 3]])
    features = torch.tensor([[1.0], [5.0], [3.0]])
    with pytest.raises(ValueError, match="1 of 3 voxels come twice"):
        sparse_tensor(features, voxels)
    mean, rows = sparse_tensor(features, voxels, "mean")
    assert mean.voxels.tolist() == [[0, -1, 2, 3], [0, 1, 2, 3]]
    assert mean.features.tolist() == [[5.0], [2.0]]
    assert rows.tolist() == [1, 0, 1]
    assert sparse_tensor(features, voxels, "first")[0].features.tolist() == [[5.0], [1.0]]


def test_voxels_beyond_63_bits_and_negative_batches_are_refused():
    far = torch.tensor([[0, 0, 0, 0], [0, 2**31, 2**31, 2**31]])
    with pytest.raises(ValueError, match="more than 63 bits"):
        sparse_tensor(torch.ones(2, 1), far)
    with pytest.raises(ValueError, match="the batch first"):
        sparse_tensor(torch.ones(1, 1), torch.tensor([[-1, 0, 0, 0]]))


@pytest.mark.parametrize("n", [0, 1])
def test_no_voxel_and_one_voxel_go_through(n):
    voxels = torch.tensor([[0, -3, 5, 1]])[:n]
    features = torch.ones(n, 2, dtype=torch.float64, requires_grad=True)
    x, _ = sparse_tensor(features, voxels)
    layers = [
        Convolution(2, 3).double(),
        Convolution(3, 3, 2, 2).double(),
        TransposedConvolution(3, 2).double(),
    ]
    y = x
    for layer in layers:
        y = layer(y)
    y.features.sum().backward()
    assert y.features.shape == (n, 2)
    assert features.grad is not None
    assert (features.grad != 0).all()


def test_features_of_different_levels_are_not_mixed():
    x = random_input()
    down = Convolution(3, 3, 2, 2).double()(x)
    assert concatenate([x, x]).features.shape == (len(x), 6)
    torch.testing.assert_close((x + x).features, 2 * x.features)
    for wrong in (lambda: x + down, lambda: concatenate([x, down])):
        with pytest.raises(ValueError, match="expected features on the same level"):
            wrong()
    with pytest.raises(ValueError, match=r"no level of stride 0\.5 to return to"):
        TransposedConvolution(3, 3).double()(x)


def test_a_kernel_of_another_dtype_is_refused():
    x = random_input()
    with pytest.raises(ValueError, match="convert one of them"):
        Convolution(3, 4)(x)


def test_batch_normalisation_is_over_all_voxels_of_a_batch():
    x = random_input(c=4)
    y = BatchNorm(4).double()(x).features
    torch.testing.assert_close(y.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(
        y.var(0, unbiased=False), torch.ones(4, dtype=torch.float64), atol=1e-4, rtol=0
    )


def test_a_level_may_start_at_another_stride():
    level = Level(torch.tensor([[0, -4, 0, 4], [0, 0, 0, 4]]), stride=4)
    assert level.map_to(level, Region(3)).n_pairs == 4
