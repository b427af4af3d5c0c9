"""Other libraries compute what our own back-end computes, and are refused where they would not."""

import sys
from dataclasses import replace
from functools import partial
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from ovs3d.errors import InputError
from pointcloud.nets.minkunet import Architecture, MinkUNet
from pointcloud.sparse import Convolution, SparseTensor, TransposedConvolution, backends, sparse_tensor
from pointcloud.sparse.backends import available
from pointcloud.sparse.kernel_map import KernelMap, Region
from pointcloud.sparse.levels import Level
from pointcloud.sparse.modules import use_backend
from pointcloud.sparse.spconv_backend import PairTable

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def random_input(n=400, c=3, seed=0, extent=7) -> SparseTensor:
    """Voxels of both signs in two batches, with gaps."""
    generator = torch.Generator().manual_seed(seed)
    voxels = torch.randint(-extent, extent, (n, 3), generator=generator)
    batch = torch.randint(0, 2, (n, 1), generator=generator)
    voxels = torch.unique(torch.cat([batch, voxels], dim=1), dim=0)
    features = torch.randn(len(voxels), c, generator=generator, dtype=torch.float64)
    return sparse_tensor(features, voxels)[0]


def afresh(x: SparseTensor) -> SparseTensor:
    """The same input without anything that was made for it, features a leaf of their own."""
    return SparseTensor(x.features.clone().requires_grad_(), Level(x.voxels))


def install_slow_engine(monkeypatch, shuffled: bool) -> None:
    """What we use of MinkowskiEngine 0.5's interface, by definition; it may number voxels otherwise."""

    class CoordinateManager:
        def __init__(self, D, coordinate_map_type):
            assert (D, coordinate_map_type) == (3, "cpu")
            self.levels = {}

        def insert_and_map(self, voxels, stride):
            assert voxels.dtype == torch.int32
            assert len(voxels)  # it reads freed memory otherwise
            order = torch.randperm(len(voxels)) if shuffled else torch.arange(len(voxels))
            self.levels[f"level {stride}"] = voxels[order].tolist(), stride
            return f"level {stride}", (order, torch.argsort(order))

    def convolution(x, kernel, generator, mode, source, target, manager, transposed=False):
        source, target = manager.levels[source], manager.levels[target]
        (fine, stride), (coarse, wider) = (target, source) if transposed else (source, target)
        assert (generator.dimension, generator.stride * stride, mode) == (3, wider, "default")
        rows = {tuple(voxel): row for row, voxel in enumerate(fine)}
        y = x.new_zeros(len(target[0]), kernel.shape[2])
        for offset, weight in zip(Region(generator.kernel_size).offsets, kernel, strict=True):
            away = [o * stride * generator.dilation for o in offset]
            seen = [(b, x + away[0], y + away[1], z + away[2]) for b, x, y, z in coarse]
            pairs = [(rows[voxel], row) for row, voxel in enumerate(seen) if voxel in rows]
            read, added = torch.tensor(pairs).long().reshape(-1, 2).T.flip(0 if transposed else ())
            y = y.index_add(0, added, x[read] @ weight)
        return y

    engine = ModuleType("MinkowskiEngine")
    engine.is_cuda_available = lambda: False
    engine.CoordinateMapType = SimpleNamespace(CPU="cpu", CUDA="cuda")
    engine.KernelGenerator, engine.CoordinateManager = SimpleNamespace, CoordinateManager
    engine.MinkowskiConvolutionFunction = SimpleNamespace(apply=convolution)
    transposed = partial(convolution, transposed=True)
    engine.MinkowskiConvolutionTransposeFunction = SimpleNamespace(apply=transposed)
    compiled = ModuleType("MinkowskiEngineBackend._C")
    compiled.ConvolutionMode = SimpleNamespace(DEFAULT="default")
    for module in (engine, ModuleType("MinkowskiEngineBackend"), compiled):
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture(params=["minkowski", "spconv", "slow engine", "slow engine that shuffles"])
def library(request, monkeypatch) -> str:
    """A back-end that computes here. spconv's CPU wheel is good enough for arithmetic in one thread."""
    if request.param == "minkowski":
        pytest.importorskip("MinkowskiEngine", reason="MinkowskiEngine is not installed")
        return "minkowski"
    if request.param.startswith("slow"):
        install_slow_engine(monkeypatch, shuffled="shuffles" in request.param)
        return "minkowski"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # read when it is loaded: with more it is wrong at times
    operations = pytest.importorskip("spconv.pytorch.ops", reason="spconv is not installed")
    monkeypatch.setattr(operations, "get_current_stream", lambda: 0)
    unchecked = replace(
        backends._LIBRARIES["spconv"], check=lambda device: None, dtypes=(torch.float32, torch.float64)
    )
    monkeypatch.setitem(backends._LIBRARIES, "spconv", unchecked)
    return request.param


class Nets:
    """Small networks whose arithmetic is compared."""

    submanifold_3 = (lambda: Convolution(3, 5, 3, bias=True),)
    submanifold_5 = (lambda: Convolution(3, 5, 5),)
    submanifold_2 = (lambda: Convolution(3, 5, 2),)
    dilated = (lambda: Convolution(3, 5, 3, dilation=2),)
    strided = (lambda: Convolution(3, 5, 2, stride=2),)
    strided_overlapping = (lambda: Convolution(3, 5, 3, stride=2),)
    strided_pointwise = (lambda: Convolution(3, 5, 1, stride=2),)
    thirds = (lambda: Convolution(3, 5, 3, stride=3),)
    there_and_back = (lambda: Convolution(3, 5, 2, stride=2), lambda: TransposedConvolution(5, 4))
    back_overlapping = (
        lambda: Convolution(3, 5, 2, stride=2),
        lambda: TransposedConvolution(5, 4, kernel_size=3),
    )
    transposed_in_place = (lambda: TransposedConvolution(3, 4, kernel_size=3, stride=1),)
    twice_coarser = (
        lambda: Convolution(3, 5, 2, stride=2),
        lambda: Convolution(5, 4, 3),
        lambda: Convolution(4, 6, 2, stride=2),
        lambda: TransposedConvolution(6, 4),
    )


NETS = [name for name in vars(Nets) if not name.startswith("_")]


def outcome(net: torch.nn.Module, x: SparseTensor) -> tuple[SparseTensor, list[torch.Tensor]]:
    """The answer, and gradients with respect to the input and all parameters."""
    y = net(x)
    towards = torch.linspace(-1, 2, y.features.numel(), dtype=torch.float64).reshape(y.features.shape)
    wanted = [x.features, *net.parameters()]
    return y, list(torch.autograd.grad((y.features * towards).sum(), wanted))


def assert_same_outcome(net: torch.nn.Module, x: SparseTensor, library: str) -> None:
    expected, expected_gradients = outcome(net, afresh(x))
    use_backend(net, library)
    y, gradients = outcome(net, afresh(x))
    assert_close(y.voxels, expected.voxels)
    assert_close(y.features, expected.features)
    assert_close(gradients, expected_gradients)


@pytest.mark.parametrize("name", NETS)
def test_values_and_gradients_are_those_of_torch(library, name):
    torch.manual_seed(1)
    net = torch.nn.Sequential(*(make() for make in getattr(Nets, name))).double()
    assert_same_outcome(net, random_input(), library)


def test_a_whole_minkunet_answers_as_with_torch(library):
    torch.manual_seed(1)
    narrow = Architecture((4, 5, 6, 8, 8, 6, 5, 4), (1,) * 8, stem=4)
    net = MinkUNet(3, narrow, {"final": 7}, kernel_size=5).double().eval()
    x = random_input(n=900, extent=20)
    expected = net.heads(net(afresh(x)).features)["final"]
    use_backend(net, library)
    assert_close(net.heads(net(afresh(x)).features)["final"], expected)


def test_an_input_is_told_to_the_library_once(library):
    net = torch.nn.Sequential(Convolution(3, 3), Convolution(3, 3, 2, stride=2)).double()
    use_backend(net, library)
    x = afresh(random_input())
    net(x)
    kept = dict(x.level.kept)
    net(x)
    assert kept
    assert kept == x.level.kept


@pytest.mark.parametrize("corner", [(1, 1, 1), (0, 0, 0)])
@pytest.mark.parametrize("layer", [(3, 5, 1, 2), (3, 5, 3, 1)])
def test_one_voxel_goes_through(library, corner, layer):
    """With a kernel of one offset and stride 2, a voxel that is not at a corner of its parent is not seen."""
    x = sparse_tensor(torch.ones(1, 3, dtype=torch.float64), torch.tensor([[0, *corner]]))[0]
    assert_same_outcome(Convolution(*layer).double(), x, library)


def test_no_voxel_goes_through(library):
    x = sparse_tensor(torch.ones(0, 3, dtype=torch.float64), torch.zeros(0, 4, dtype=torch.long))[0]
    assert_same_outcome(Convolution(3, 5, 2, stride=2).double(), x, library)


def test_a_level_may_start_at_another_stride(library):
    x = random_input()
    voxels = torch.cat([x.voxels[:, :1], 4 * x.voxels[:, 1:]], dim=1)
    net = Convolution(3, 5).double()
    expected = net(afresh(x)).features
    use_backend(net, library)
    assert_close(net(SparseTensor(x.features, Level(voxels, stride=4))).features, expected)


def test_dtypes_that_a_library_does_not_know_are_refused(library):
    net = Convolution(3, 5)
    use_backend(net, library)
    x = random_input()
    with pytest.raises(ValueError, match=r"of one dtype, found torch\.float64 and torch\.float32"):
        net(x)  # features of 64 bits, a kernel of 32
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(ValueError, match=r"not in torch\.bfloat16"):
        net(x)


def test_voxels_beyond_32_bits_are_refused_by_minkowski_engine(monkeypatch):
    install_slow_engine(monkeypatch, shuffled=False)
    net = Convolution(1, 2)
    use_backend(net, "minkowski")
    with pytest.raises(InputError, match="within 32 bits"):
        net(sparse_tensor(torch.ones(1, 1), torch.tensor([[0, 2**32, 5, 0]]))[0])


def test_pairs_fill_a_table_offset_by_offset():
    pairs = [([4, 0], [1, 2]), ([], []), ([3], [0])]
    kernel_map = KernelMap.of_pairs(
        [(torch.tensor(s).long(), torch.tensor(t).long()) for s, t in pairs], 5, 3
    )
    table = PairTable.of_map(kernel_map)
    assert table.rows.tolist() == [[[4, 0], [-1, -1], [3, -1]], [[1, 2], [-1, -1], [0, -1]]]
    assert table.counts.tolist() == [2, 0, 1]
    assert not table.submanifold


def test_an_unknown_back_end_is_refused_and_nothing_is_changed():
    net = torch.nn.Sequential(Convolution(3, 5), Convolution(5, 3))
    with pytest.raises(InputError, match=r"\(torch, spconv, minkowski\), found 'cudnn'"):
        use_backend(net, "cudnn")
    assert {layer.backend for layer in net} == {"torch"}


def test_spconv_is_refused_on_a_cpu_with_the_reason():
    net = Convolution(3, 5)
    with pytest.raises(InputError, match=r"CUDA only, found cpu: .*silently wrong"):
        use_backend(net, "spconv")
    assert net.backend == "torch"


def test_a_network_that_was_moved_is_refused_when_it_runs(monkeypatch):
    fake_packages(monkeypatch)
    net = Convolution(3, 5).double()
    use_backend(net, "spconv", CUDA)
    with pytest.raises(InputError, match="silently wrong"):
        net(random_input())


@pytest.mark.parametrize("name", ["spconv", "minkowski"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, name):
    for package in ("spconv", "spconv.cppconstants", "MinkowskiEngine"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"is not installed: pip install 'ovs3d\[{name}\]'"):
        use_backend(Convolution(3, 5), name, CUDA)
    assert "is not installed" in available(CUDA)[name]


def fake_packages(monkeypatch, cuda: bool = True) -> None:
    """Packages that are there and say whether they were built for CUDA."""
    constants, engine = ModuleType("spconv.cppconstants"), ModuleType("MinkowskiEngine")
    constants.CPU_ONLY_BUILD = not cuda
    engine.is_cuda_available = lambda: cuda
    for module in (ModuleType("spconv"), constants, engine):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_what_is_available_depends_on_the_device_and_on_the_build(monkeypatch):
    fake_packages(monkeypatch)
    assert available(CUDA) == {"torch": "ok", "spconv": "ok", "minkowski": "ok"}
    on_cpu = available(CPU)
    assert (on_cpu["torch"], on_cpu["minkowski"]) == ("ok", "ok")
    assert "silently wrong" in on_cpu["spconv"]
    fake_packages(monkeypatch, cuda=False)
    without = available(CUDA)
    assert without["torch"] == "ok"
    assert "CPU wheel" in without["spconv"]
    assert "found one without" in without["minkowski"]


def test_a_back_end_is_set_on_every_layer_and_taken_back(monkeypatch):
    fake_packages(monkeypatch)
    net = MinkUNet(3, Architecture((4,) * 8, (1,) * 8, stem=4), {"final": 2})
    layers = [m for m in net.modules() if isinstance(m, Convolution | TransposedConvolution)]
    for name in ("minkowski", "torch"):
        use_backend(net, name)
        assert {layer.backend for layer in layers} == {name}
