"""Training ends in a run that can be asked, goes on after a kill, and may be shared by processes."""

import json
import socket
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tiny_scans import CLASSES, tiny_scan, write_tiny
from trainings import check_that_it_goes_on, losses, one_thread

from ovs3d.errors import InputError
from ovs3d.prompts.vocabulary import Vocabulary
from pointcloud.cli import main
from pointcloud.config import Fit, Net
from pointcloud.finetune import Supervised
from pointcloud.index import read_index
from pointcloud.lightning_module import begin
from pointcloud.model import PointModel
from pointcloud.nets.points import Points
from pointcloud.objectives.supervised import cross_entropy, lovasz_softmax
from pointcloud.runs import load_run
from pointcloud.samples import Samples, collate

KILLED_AT = 9
FLAGS = ["--net.voxel-size-m", "0.2", "--fit.epochs", "8", "--fit.batch-size", "2", "--fit.save-every", "1"]


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(index, tmp_path_factory) -> Path:
    """The folder of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("run")
    with one_thread():
        main(["finetune", "--index", str(index), "--out", str(out), *FLAGS])
    return out


def test_training_writes_a_run_a_report_and_what_tensorboard_shows(trained, index):
    report = json.loads((trained / "report.json").read_text())
    assert report["classes"] == list(CLASSES)
    assert report["metrics"]["miou"] > 0.5
    assert "trained on 4 (100 %)" in report["split"]
    assert sorted(losses(trained)) == list(range(16))
    run = load_run(trained)
    samples = Samples(read_index(index), [4, 5], run.about.net)
    for item in range(2):
        batch = samples[0, item]
        found = run.logits(batch.points, Vocabulary(CLASSES), None).argmax(1)
        there = batch.labels != 255
        assert (found == batch.labels)[there].float().mean() > 0.7


def test_after_kill_9_training_goes_on_to_the_same_losses(trained, index, tmp_path):
    check_that_it_goes_on(KILLED_AT, ["finetune", "--index", str(index), *FLAGS], tmp_path / "run", trained)
    whole = losses(trained)
    assert len(set(whole.values())) == len(whole)


def test_other_flags_do_not_go_on_with_a_run(trained, index, capsys):
    line = ["finetune", "--index", str(index), "--out", str(trained), *FLAGS, "--fit.lr", "0.1"]
    with pytest.raises(SystemExit, match="2"):
        main(line)
    assert "holds a run with other settings (fit.lr)" in capsys.readouterr().err


def test_a_run_goes_on_with_settings_that_change_no_result_and_not_as_another_method(tmp_path):
    fit = {"lr": 0.1, "workers": 0}
    begin(tmp_path, {"fit": fit, "root": None})
    assert begin(tmp_path, {"fit": {"lr": 0.2}}) is None  # nothing was trained yet
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    torch.save({}, last)
    assert begin(tmp_path, {"fit": {"lr": 0.2, "workers": 4}, "root": "moved", "out": "moved"}) == last
    for other in ({"fit": {"lr": 0.2}, "semantic": "none"}, {}, {"fit": {"lr": 0.3}}):
        with pytest.raises(InputError, match="other settings"):
            begin(tmp_path, other)


@pytest.mark.parametrize("name", ["checkpoints/last.ckpt", "settings.json"])
def test_a_run_with_damaged_files_does_not_go_on(name, tmp_path):
    begin(tmp_path, {})
    (tmp_path / "run.json").touch()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"PK\x03\x04 and then no more")
    with pytest.raises(InputError, match=rf"{name} is damaged"):
        begin(tmp_path, {})


def test_a_run_goes_on_wherever_its_files_are_named_from(tmp_path, monkeypatch):
    begin(tmp_path, {"index": tmp_path / "index.jsonl"})
    (tmp_path / "run.json").touch()
    monkeypatch.chdir(tmp_path)
    begin(tmp_path, {"index": Path("index.jsonl")})
    with pytest.raises(InputError, match=r"other settings \(index\)"):
        begin(tmp_path, {"index": Path("other.jsonl")})


def test_of_a_frozen_trunk_the_head_alone_learns(trained, index, tmp_path):
    line = ["finetune", "--index", str(index), "--init", str(trained), "--freeze", "--fit.epochs", "2"]
    main([*line, *FLAGS[:2], "--fit.batch-size", "2", "--out", str(tmp_path)])
    before, after = (load_run(run).model.state_dict() for run in (trained, tmp_path))
    head = {name for name in before if name.startswith("net.classifier.")}
    assert head
    for name, value in before.items():
        assert torch.equal(after[name], value) == (name not in head), name


def test_evaluate_gives_the_figures_of_training_and_writes_labels(trained, index, tmp_path, capsys):
    main(["evaluate", "--run", str(trained), "--index", str(index), "--out", str(tmp_path), "--predictions"])
    report, trained_report = (json.loads((f / "report.json").read_text()) for f in (tmp_path, trained))
    assert report["metrics"] == trained_report["metrics"]
    assert "| miou |" in capsys.readouterr().out
    stored = np.load(next((tmp_path / "predictions").glob("*.npy")))
    assert stored.shape == (700,)
    assert set(np.unique(stored)) <= {0, 1}


def test_infer_labels_files_by_words_and_writes_them_as_ply(trained, tmp_path, capsys):
    points, raw = tiny_scan(99)
    points.tofile(tmp_path / "new.bin")
    ask = ["infer", "--run", str(trained), "--points", str(tmp_path / "new.bin")]
    main([*ask, "--out", str(tmp_path / "out")])
    assert "700 points" in capsys.readouterr().out
    text = (tmp_path / "out" / "new.ply").read_bytes()
    assert b"comment class 1 box" in text
    vertex = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3), ("label", "<i4"), ("score", "<f4")])
    rows = np.frombuffer(text[text.index(b"end_header\n") + 11 :], vertex)
    np.testing.assert_array_equal(rows["xyz"], points[:, :3])
    known = raw > 0
    assert ((rows["label"] == 1) == (raw == 50))[known].mean() > 0.7
    assert ((rows["score"] >= 0.5) & (rows["score"] <= 1)).all()


def test_a_run_without_a_head_for_texts_says_which_words_it_knows(trained, tmp_path, capsys):
    tiny_scan(99)[0].tofile(tmp_path / "new.bin")
    ask = ["infer", "--run", str(trained), "--points", str(tmp_path / "new.bin"), "--out", str(tmp_path)]
    main([*ask, "--prompt", "box"])
    with pytest.raises(SystemExit, match="2"):
        main([*ask, "--prompt", "mug"])
    assert "knows only floor; box" in capsys.readouterr().err


def gradients_of_shares(rank: int, port: int, index: Path, world: int, out: Path) -> None:
    """Each process takes its scans of a batch of four; the mean of their gradients is stored."""
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    torch.set_num_threads(1)
    model, grads = _gradients(index, list(range(4))[rank::world])
    for grad in grads:
        dist.all_reduce(grad)
        grad /= world
    if rank == 0:
        norms = [value for name, value in model.state_dict().items() if "running" in name]
        torch.save({"grads": grads, "norms": norms}, out)
    dist.destroy_process_group()


def _gradients(index: Path, items: list[int]) -> tuple[PointModel, list[torch.Tensor]]:
    torch.manual_seed(0)
    net = Net(voxel_size_m=0.3)
    model = PointModel(net, {"classifier": 2}).double()
    samples = Samples(read_index(index), range(4), net)
    batch = collate([samples[0, item] for item in items])
    points = Points(batch.points.features.double(), batch.points.places, batch.points.batch)
    cross_entropy(model(points)["classifier"], batch.labels).backward()
    return model, [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.slow
def test_two_processes_give_the_gradient_of_one(index, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(gradients_of_shares, (port, index, 2, tmp_path / "shared.pt"), nprocs=2)
    shared = torch.load(tmp_path / "shared.pt", weights_only=True)
    model, grads = _gradients(index, [0, 1, 2, 3])
    norms = [value for name, value in model.state_dict().items() if "running" in name]
    for one, two in zip(grads + norms, shared["grads"] + shared["norms"], strict=True):
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["minkunet-small", "spvcnn"])
def test_losses_are_those_of_all_points(name, index):
    net = Net(name=name, voxel_size_m=0.4)
    samples = Samples(read_index(index), [0, 1], net)
    batch = collate([samples[0, 0], samples[0, 1]])
    training = Supervised(PointModel(net, {"classifier": 2}).eval(), Fit(), samples, samples, None)
    logits = training.model(batch.points)["classifier"]
    assert (batch.labels == 255).any()
    found = training.losses(batch)
    torch.testing.assert_close(found["cross_entropy"], cross_entropy(logits, batch.labels))
    torch.testing.assert_close(found["lovasz"], lovasz_softmax(logits, batch.labels))


@pytest.mark.parametrize("name", ["minkunet-small", "spvcnn"])
def test_every_parameter_learns_in_one_group_and_matrices_are_apart(name):
    model = PointModel(Net(name=name), {"linear": 5})
    names = {id(p): each for each, p in model.named_parameters()}
    groups = model.parameter_groups(0.1, 0.2)
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(names)
    for group in groups:
        for p in group["params"]:
            of_head = "linear" in names[id(p)]
            assert group["lr"] == (0.2 if of_head else 0.1)
            last = -1 if names[id(p)].endswith("kernel") else 0
            assert group.get("outputs") == (last if p.dim() > 1 and not of_head else None)


def test_heads_learn_at_a_rate_of_their_own(index):
    net = Net(voxel_size_m=0.4)
    samples = Samples(read_index(index), [0, 1], net)
    training = Supervised(
        PointModel(net, {"classifier": 2}), Fit(lr=0.1, lr_head=0.7), samples, samples, None
    )
    training.trainer = SimpleNamespace(estimated_stepping_batches=10)  # type: ignore[assignment]
    groups = training.configure_optimizers()["optimizer"].param_groups
    heads = {id(p) for p in training.model.net.classifier.parameters()}
    for group in groups:
        for p in group["params"]:
            assert group["initial_lr"] == (0.7 if id(p) in heads else 0.1)
