"""The networks are the published ones: names, shapes, sizes; and every parameter learns."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from ovs3d.errors import InputError
from pointcloud.config import Net
from pointcloud.model import PointModel
from pointcloud.nets.checkpoint import load_trunk
from pointcloud.nets.minkunet import ARCHITECTURES, MinkUNet
from pointcloud.nets.points import Points, corners, rows_of, to_voxels
from pointcloud.nets.spvcnn import SPVCNN
from pointcloud.sparse import sparse_tensor
from pointcloud.sparse.levels import Level
from pointcloud.voxelize import VoxelGrid

NARROW = (4, 4, 6, 8, 10, 10, 8, 6, 6)


def slidr_keys() -> dict[str, tuple[int, ...]]:
    """The 374 tensors of SLidR's MinkUNet34C, written down from its layer table."""
    keys: dict[str, tuple[int, ...]] = {"conv0p1s1.kernel": (27, 1, 32)}

    def norm(name: str, c: int) -> None:
        for each in ("weight", "bias", "running_mean", "running_var"):
            keys[f"{name}.bn.{each}"] = (c,)
        keys[f"{name}.bn.num_batches_tracked"] = ()

    def stage(number: int, c_in: int, c: int, count: int) -> None:
        for i in range(count):
            first = c_in if i == 0 else c
            keys[f"block{number}.{i}.conv1.kernel"] = (27, first, c)
            norm(f"block{number}.{i}.norm1", c)
            keys[f"block{number}.{i}.conv2.kernel"] = (27, c, c)
            norm(f"block{number}.{i}.norm2", c)
            if first != c:
                keys[f"block{number}.{i}.downsample.0.kernel"] = (first, c)
                norm(f"block{number}.{i}.downsample.1", c)

    norm("bn0", 32)
    down = (("conv1p1s2", 32, 32, 2), ("conv2p2s2", 32, 64, 3), ("conv3p4s2", 64, 128, 4))
    for i, (name, c_in, c, count) in enumerate((*down, ("conv4p8s2", 128, 256, 6))):
        keys[f"{name}.kernel"] = (8, c_in, c_in)
        norm(f"bn{i + 1}", c_in)
        stage(i + 1, c_in, c, count)
    up = (("convtr4p16s2", 256, 256, 128), ("convtr5p8s2", 256, 128, 64), ("convtr6p4s2", 128, 96, 32))
    for i, (name, c_in, c, skip) in enumerate((*up, ("convtr7p2s2", 96, 96, 32))):
        keys[f"{name}.kernel"] = (8, c_in, c)
        norm(f"bntr{i + 4}", c)
        stage(i + 5, c + skip, c, 2)
    return keys | {"final.kernel": (96, 64), "final.bias": (1, 64)}


def shapes(net: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


def random_voxels(n=300, batches=2, seed=0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    voxels = torch.randint(-20, 20, (n, 3), generator=generator)
    batch = torch.randint(0, batches, (n, 1), generator=generator)
    return torch.unique(torch.cat([batch, voxels], dim=1), dim=0)


def random_points(n=200, seed=0) -> Points:
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(n, 3, generator=generator) * 30 - 15
    batch = torch.randint(0, 2, (n,), generator=generator)
    return Points(torch.randn(n, 2, generator=generator), places, batch)


def test_minkunet34c_has_the_374_tensors_of_slidr():
    keys = slidr_keys()
    assert len(keys) == 374
    assert shapes(MinkUNet(1, ARCHITECTURES["minkunet34c"], {"final": 64})) == keys


@pytest.mark.parametrize(
    ("name", "count"),
    [("minkunet14a", 8_011_424), ("minkunet18a", 15_480_096), ("minkunet34c", 37_842_976)],
)
def test_networks_have_the_published_number_of_parameters(name, count):
    assert sum(p.numel() for p in MinkUNet(1, ARCHITECTURES[name]).parameters()) == count


def test_spvcnn_has_the_published_size_and_names():
    net = SPVCNN(1, {"point_mapping_local": 512})
    voxel = sum(p.numel() for name, p in net.named_parameters() if not name.startswith("point"))
    assert round(voxel / 1e6, 2) == 21.72
    assert sum(p.numel() for p in net.point_transforms.parameters()) == 54_688
    there = shapes(net)
    assert there["stem.0.kernel"] == (27, 1, 32)
    assert there["stem.4.running_var"] == (32,)
    assert there["stage2.0.net.0.kernel"] == (8, 32, 32)
    assert there["stage4.1.downsample.0.kernel"] == (128, 256)
    assert there["up1.0.net.0.kernel"] == (8, 256, 256)
    assert there["up1.1.0.net.0.kernel"] == (27, 384, 256)
    assert there["point_transforms.2.0.weight"] == (96, 128)
    assert there["point_mapping_local.weight"] == (512, 480)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_parameter_of_a_minkunet_gets_a_gradient(name):
    voxels = random_voxels(120)
    x, _ = sparse_tensor(torch.randn(len(voxels), 2), voxels)
    net = MinkUNet(2, ARCHITECTURES[name], {"final": 5, "latent": 3})
    features = net(x)
    outputs = net.heads(features.features)
    assert {key: value.shape for key, value in outputs.items()} == {
        "final": (len(voxels), 5),
        "latent": (len(voxels), 3),
    }
    sum((value**2).sum() for value in outputs.values()).backward()
    assert [key for key, p in net.named_parameters() if p.grad is None or not (p.grad != 0).any()] == []


@pytest.mark.parametrize("name", ["minkunet-small", "spvcnn"])
def test_some_points_are_asked_as_all_are(name):
    torch.manual_seed(0)
    points, model = random_points(), PointModel(Net(name, ("one", "height")), {"a": 5, "b": 3}).eval()
    asked = torch.tensor([7, 3, 3, 199, 0])
    everything, some = model(points), model(points, asked)
    assert some.keys() == {"a", "b"}
    for head, values in some.items():
        torch.testing.assert_close(values, everything[head][asked])
    assert {head: value.shape for head, value in model(points, asked[:0]).items()} == {
        "a": (0, 5),
        "b": (0, 3),
    }


def test_every_parameter_of_spvcnn_gets_a_gradient():
    points = random_points()
    net = SPVCNN(2, {"final": 5}, NARROW)
    outputs = net.heads(net(points))["final"]
    assert outputs.shape == (200, 5)
    (outputs**2).sum().backward()
    assert [key for key, p in net.named_parameters() if p.grad is None or not (p.grad != 0).any()] == []


def test_scans_of_a_batch_do_not_see_each_other():
    points, net = random_points(), SPVCNN(2, {"final": 5}, NARROW).eval()
    with torch.no_grad():
        together = net(points)
        for b in range(2):
            mine = points.batch == b
            alone = net(Points(points.features[mine], points.places[mine], points.batch[mine]))
            torch.testing.assert_close(together[mine], alone, atol=1e-5, rtol=1e-4)


def test_trilinear_weights_are_those_of_a_slow_loop():
    points = random_points(60)
    level = Level(torch.unique(points.voxels, dim=0)).coarser(2)
    rows = {tuple(voxel): row for row, voxel in enumerate(level.voxels.tolist())}
    features = torch.randn(len(level), 3)
    found = corners(points, level).interpolate(features)
    for i, (place, b) in enumerate(zip(points.places, points.batch.tolist(), strict=True)):
        low, total, weights = (place / 2).floor(), torch.zeros(3), 0.0
        for corner in [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]:
            at = low + torch.tensor(corner)
            weight = (1 - (place / 2 - at).abs()).prod().item()
            row = rows.get((b, *(int(2 * c) for c in at)))
            if row is not None:
                total, weights = total + weight * features[row], weights + weight
        torch.testing.assert_close(found[i], total / weights, atol=1e-5, rtol=1e-4)


def test_at_whole_numbers_trilinear_interpolation_is_the_voxel_itself():
    voxels = random_voxels(50)
    level = Level(voxels)
    features = torch.randn(len(voxels), 4)
    points = Points(features[:, :1], voxels[:, 1:].float(), voxels[:, 0])
    torch.testing.assert_close(corners(points, level).interpolate(features), features)


def test_voxels_hold_the_mean_of_their_points():
    points = random_points()
    level = Level(torch.unique(points.voxels, dim=0)).coarser(4)
    x = to_voxels(points, level)
    rows = rows_of(points, level)
    assert (level.voxels[rows][:, 1:] // 4 == (points.places / 4).floor()).all()
    for row in (0, len(level) // 2, len(level) - 1):
        torch.testing.assert_close(x.features[row], points.features[rows == row].mean(0))


def test_a_checkpoint_in_slidrs_format_gives_the_same_features(tmp_path):
    torch.manual_seed(0)
    net = MinkUNet(1, ARCHITECTURES["minkunet34c"], {"final": 64}).eval()
    wrapped = {f"module.{name}": value for name, value in net.state_dict().items()}
    images = {"module.conv1.weight": torch.zeros(3)}
    content = {"model_points": wrapped, "model_images": images, "epoch": 50, "config": {"lr": 0.5}}
    torch.save(content, tmp_path / "minkunet_slidr_1gpu.pt")
    lightning = {f"model_points.{k}": v for k, v in net.state_dict().items()} | {
        "model_images.x": torch.zeros(2)
    }
    torch.save({"state_dict": lightning, "epoch": 3}, tmp_path / "last.ckpt")
    voxels = random_voxels()
    x, _ = sparse_tensor(torch.rand(len(voxels), 1) * 255, voxels)
    with torch.no_grad():
        expected = net.heads(net(x).features)["final"]
        for name in ("minkunet_slidr_1gpu.pt", "last.ckpt"):
            other = MinkUNet(1, ARCHITECTURES["minkunet34c"], {"final": 64}).eval()
            load_trunk(other, tmp_path / name, kept=("final",))
            assert torch.equal(other.heads(other(x).features)["final"], expected)


@pytest.mark.parametrize("kept", [(), ("final",)])
def test_a_trunk_is_taken_without_its_heads_but_for_those_that_are_kept(tmp_path, kept):
    architecture = ARCHITECTURES["minkunet-small"]
    theirs = MinkUNet(3, architecture, {"final": 4, "local": 5})
    torch.save(
        {"state_dict": {f"model_points.{k}": v for k, v in theirs.state_dict().items()}}, tmp_path / "a.pt"
    )
    ours = MinkUNet(3, architecture, {"final": 4})
    own = ours.get_parameter("final.bias").detach().clone()
    load_trunk(ours, tmp_path / "a.pt", kept=kept)
    assert torch.equal(ours.get_parameter("conv0p1s1.kernel"), theirs.get_parameter("conv0p1s1.kernel"))
    assert torch.equal(ours.get_parameter("final.bias"), theirs.get_parameter("final.bias") if kept else own)


@pytest.mark.parametrize("theirs", [{"local": 5}, {"final": 6}])
def test_a_head_that_is_kept_but_not_there_starts_anew(tmp_path, theirs):
    architecture = ARCHITECTURES["minkunet-small"]
    torch.save(MinkUNet(3, architecture, theirs).state_dict(), tmp_path / "a.pt")
    ours = MinkUNet(3, architecture, {"final": 4})
    own = ours.get_parameter("final.bias").detach().clone()
    load_trunk(ours, tmp_path / "a.pt", kept=("final",))
    assert torch.equal(ours.get_parameter("final.bias"), own)


def test_a_key_that_is_missing_or_of_another_shape_is_named(tmp_path):
    net = MinkUNet(1, ARCHITECTURES["minkunet-small"], {"final": 8})
    state = net.state_dict()
    state["block4.0.conv1.kernel"] = torch.zeros(32, 9)
    del state["block3.0.conv1.kernel"]
    torch.save(state, tmp_path / "wrong.pt")
    with pytest.raises(
        InputError, match=r"block3\.0\.conv1\.kernel.*block4\.0\.conv1\.kernel is \(32, 9\), expected \(27,"
    ):
        load_trunk(net, tmp_path / "wrong.pt")


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_nothing(tmp_path):
    marker = tmp_path / "was_here"

    class Payload:
        def __reduce__(self):
            return (marker.write_text, ("x",))

    (tmp_path / "bad.pt").write_bytes(pickle.dumps({"model_points": Payload()}))
    torch.save({"model_points": Payload()}, tmp_path / "zipped.pt")
    for name in ("bad.pt", "zipped.pt"):
        with pytest.raises(InputError, match=name):
            load_trunk(MinkUNet(1, ARCHITECTURES["minkunet-small"]), tmp_path / name)
    assert not marker.exists()


def test_kernels_of_torchsparse_are_turned_into_ours(tmp_path):
    net = SPVCNN(2, {"final": 5}, NARROW).eval()
    place = {tuple(int(i) for i in f"{k:03b}"): k for k in range(8)}  # (x, y, z), z fastest
    ours = [(k & 1, k >> 1 & 1, k >> 2) for k in range(8)]
    theirs = {}
    for name, value in net.state_dict().items():
        if value.dim() == 3 and len(value) == 8:
            value = torch.stack(
                [value[ours.index(offset)] for offset in sorted(place, key=place.__getitem__)]
            )
        theirs[name] = value
    torch.save(theirs, tmp_path / "spvcnn.pt")
    other = SPVCNN(2, {"final": 5}, NARROW).eval()
    load_trunk(other, tmp_path / "spvcnn.pt", kept=("final",))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    save_file(net.state_dict(), tmp_path / "model.safetensors")  # of a run
    ours = {f"model.net.{name}": value for name, value in net.state_dict().items()}
    torch.save({"state_dict": ours, "epoch": 3}, tmp_path / "last.ckpt")  # of a training of ours
    for path in (tmp_path, tmp_path / "last.ckpt"):
        other = SPVCNN(2, {"final": 5}, NARROW).eval()
        load_trunk(other, path, kept=("final",))
        assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_cylindrical_voxels_are_radius_degrees_and_height():
    grid = VoxelGrid(0.1, "cylindrical")
    xyz = torch.tensor([[3.0, 4.0, -1.25], [-2.0, 0.0, 0.55], [0.0, -1.0, 0.0]])
    expected = torch.tensor([[50.0, 53.1301, -12.5], [20.0, 180.0, 5.5], [10.0, -90.0, 0.0]])
    torch.testing.assert_close(grid.places(xyz), expected)
    torch.testing.assert_close(VoxelGrid(0.05).places(xyz), xyz * 20)
    with pytest.raises(ValueError, match="positive size"):
        VoxelGrid(0.0)
