"""Mistakes of the user give one line that names the file, and exit status 2."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_nuscenes import write_tiny_nuscenes
from tiny_scans import CLASSES, tiny_scan, write_tiny
from tqdm import tqdm

from ovs3d.errors import InputError, exit_on_input_error
from ovs3d.outputs.ply import write_ply
from pointcloud.cli import main
from pointcloud.config import Net
from pointcloud.index import read_index
from pointcloud.index_command import Index
from pointcloud.model import PointModel
from pointcloud.runs import About, write_run

FLAGS = ["--fit.epochs", "1", "--fit.batch-size", "1", "--net.voxel-size-m", "0.5"]


@pytest.fixture
def data(tmp_path) -> Path:
    write_tiny(tmp_path / "data", train=1, val=1)
    return tmp_path / "data"


@pytest.fixture
def run(tmp_path) -> Path:
    net = Net(voxel_size_m=0.5)
    write_run(
        tmp_path / "run", About(net, {"classifier": 2}, CLASSES, "", {}), PointModel(net, {"classifier": 2})
    )
    return tmp_path / "run"


@pytest.fixture
def refused(capsys) -> Callable[..., str]:
    """Runs a command that must fail, and returns its line."""

    def check(*args: object) -> str:
        with pytest.raises(SystemExit, match=r"^2$"):
            main([str(arg) for arg in args])
        (line,) = [each for each in capsys.readouterr().err.splitlines() if each.startswith("error: ")]
        return line

    return check


BROKEN = {
    "truncated": (lambda points: points.tobytes()[:-3], "whole number of points|multiple|bytes"),
    "not finite": (
        lambda points: (points * np.array([1, np.nan, 1, 1])).astype("f4").tobytes(),
        "not finite",
    ),
    "empty": (lambda points: b"", "no points|empty|0 points"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_points_are_named_by_infer_and_by_finetune(kind, data, run, refused, tmp_path):
    change, message = BROKEN[kind]
    path = data / "0.bin"
    path.write_bytes(change(tiny_scan(0)[0]))
    for line in (
        refused("infer", "--run", run, "--points", path, "--out", tmp_path / "out"),
        refused("finetune", "--index", data / ".ovs3d/index.jsonl", "--out", tmp_path / "new", *FLAGS),
    ):
        assert str(path) in line
        assert any(each in line for each in message.split("|")), line


def test_one_point_is_answered(run, tmp_path):
    tiny_scan(0)[0][:1].tofile(tmp_path / "one.bin")
    main(["infer", "--run", str(run), "--points", str(tmp_path / "one.bin"), "--out", str(tmp_path / "out")])
    assert b"element vertex 1\n" in (tmp_path / "out" / "one.ply").read_bytes()


def test_labels_of_another_length_and_unknown_ids_are_named(data, refused, tmp_path):
    labels, line = (
        data / "0_labels.npy",
        ("finetune", "--index", data / ".ovs3d/index.jsonl", *FLAGS, "--out"),
    )
    np.save(labels, np.full(699, 40, np.uint8))
    message = refused(*line, tmp_path / "a")
    assert str(labels) in message
    assert "699" in message
    assert "700" in message
    np.save(labels, np.full(700, 77, np.uint8))
    message = refused(*line, tmp_path / "b")
    assert str(labels) in message
    assert "77" in message


def test_an_index_lists_what_is_broken_and_keeps_the_rest(data, refused, capsys):
    (data / "0.bin").write_bytes(b"1234567")
    main(["index", "--dataset", "folder", "--root", str(data)])
    said = capsys.readouterr()
    assert str(data / "0.bin") in said.out + said.err
    assert "1 frames" in said.out
    (data / "1.bin").unlink()
    assert "no frame" in refused("index", "--dataset", "folder", "--root", data)


def test_a_missing_camera_leaves_out_itself_only(data, capsys):
    content = json.loads((data / "cameras.json").read_text())
    photo = {"name": "front", "path": "front.png", "size": [4, 6], "intrinsics": np.eye(3).tolist()}
    content["scans"]["0.bin"]["photos"] = [photo | {"camera_from_scan": np.eye(4).tolist()}]
    (data / "cameras.json").write_text(json.dumps(content))
    main(["index", "--dataset", "folder", "--root", str(data)])
    said = capsys.readouterr()
    assert "front.png" in said.out + said.err
    assert "2 frames" in said.out


def test_a_wrong_version_lists_those_that_are_there(tmp_path, refused):
    write_tiny_nuscenes(tmp_path)
    assert "v1.0-mini" in refused(
        "index", "--dataset", "nuscenes", "--root", tmp_path, "--version", "v1.0-trainva"
    )


def test_checkpoints_that_are_damaged_or_would_run_code_are_refused(data, refused, tmp_path):
    marker = tmp_path / "was_here"

    class Payload:
        def __reduce__(self):
            return (marker.write_text, ("x",))

    (tmp_path / "bad.pt").write_bytes(pickle.dumps({"model_points": Payload()}))
    torch.save({"model_points": {"conv0p1s1.kernel": torch.zeros(27, 1, 32)}}, tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:300])
    torch.save({"model_points": {"conv0p1s1.kernel": torch.zeros(27, 1, 32)}}, tmp_path / "other.pt")
    for name in ("bad.pt", "cut.pt", "other.pt", "missing.pt"):
        line = ("finetune", "--index", data / ".ovs3d/index.jsonl", "--out", tmp_path / "new", *FLAGS)
        assert str(tmp_path / name) in refused(*line, "--init", tmp_path / name)
    assert not marker.exists()
    assert not (tmp_path / "new").exists()


def test_a_damaged_run_and_a_folder_without_one_are_refused(run, refused, tmp_path):
    points = tmp_path / "scan.bin"
    tiny_scan(0)[0].tofile(points)
    ask = ("infer", "--points", points, "--out", tmp_path / "out", "--run")
    absent = ("infer", "--points", tmp_path / "no.bin", "--out", tmp_path / "out", "--run", run)
    assert "no.bin: no such file of points" in refused(*absent)
    assert "no run in" in refused(*ask, tmp_path)
    (run / "model.safetensors").write_bytes(b"123")
    assert "model.safetensors" in refused(*ask, run)
    (run / "run.json").write_text("{}")
    assert "run.json" in refused(*ask, run)


NUMBERS = {
    "--fit.epochs": "0",
    "--fit.batch-size": "0",
    "--fit.seed": "-1",
    "--fit.devices": "0",
    "--fit.lr": "-1",
    "--fit.lr-head": "-1",
    "--fit.weight-decay": "-1",
    "--augment.shift-voxels": "nan",
    "--net.bn-momentum": "2",
    "--net.voxel-size-m": "0",
    "--net.first-kernel": "4",
    "--net.inputs": "",
}


@pytest.mark.parametrize("flag", NUMBERS)
def test_numbers_that_no_training_can_have_are_refused(flag, data, refused, tmp_path):
    line = ["finetune", "--index", data / ".ovs3d" / "index.jsonl", "--out", tmp_path / "out", flag]
    assert flag in refused(*line, *NUMBERS[flag].split())


def test_labels_that_are_nowhere_are_neither_learnt_nor_compared_with(run, refused, tmp_path):
    index = write_tiny(tmp_path / "data", train=1, val=1)
    cameras = tmp_path / "data" / "cameras.json"
    content = json.loads(cameras.read_text())
    for scan in content["scans"].values():
        del scan["labels"]
    cameras.write_text(json.dumps(content))
    Index("folder", tmp_path / "data").run()
    assert "labels" in refused("finetune", "--index", index, "--out", tmp_path / "out", *FLAGS)
    assert "labels" in refused("evaluate", "--run", run, "--index", index, "--out", tmp_path / "out")


def test_a_trunk_is_refused_that_saw_points_otherwise(data, run, refused, tmp_path):
    line = ["finetune", "--index", data / ".ovs3d" / "index.jsonl", "--init", run, "--out", tmp_path / "out"]
    said = refused(*line, "--net.voxel-size-m", "0.25", "--net.inputs", "one", "height")
    assert "--net.inputs one log_intensity height --net.voxel-size-m 0.5" in said


def test_shares_and_counts_that_are_none_are_refused(data, run, refused, tmp_path):
    asked = ["--run", run, "--out", tmp_path / "out"]
    assert "--threshold" in refused("infer", *asked, "--points", data, "--threshold", "7")
    index = data / ".ovs3d" / "index.jsonl"
    assert "--rotations" in refused("evaluate", *asked, "--index", index, "--rotations", "0")


def test_words_without_a_run_and_a_trunk_without_words_are_explained(data, refused, tmp_path):
    index = data / ".ovs3d" / "index.jsonl"
    assert "--run" in refused("view", "--index", index, "--prompt", "box")
    net, heads = Net(voxel_size_m=0.5), {"image_feature": 4}
    write_run(tmp_path / "trunk", About(net, heads, (), "", {}), PointModel(net, heads))
    for command in (["infer", "--points", data, "--out", tmp_path / "out"], ["view", "--index", index]):
        assert "finetune --init" in refused(*command, "--run", tmp_path / "trunk")
    heads = {"final": 4}
    write_run(tmp_path / "free", About(net, heads, (), "mini", {}), PointModel(net, heads))
    assert "--prompt" in refused("view", "--index", index, "--run", tmp_path / "free")


def test_intensities_of_any_range_are_answered_once_their_range_is_said(run, refused, tmp_path):
    points = tiny_scan(0)[0]
    points[:, 3] *= 255
    points.tofile(tmp_path / "scan.bin")
    line = ["infer", "--run", run, "--points", tmp_path / "scan.bin", "--out", tmp_path / "out"]
    assert "intensity_max" in refused(*line)
    assert "above 0" in refused(*line, "--intensity-max", "0")
    main([str(each) for each in (*line, "--intensity-max", "255")])
    assert (tmp_path / "out" / "scan.ply").exists()


def test_scans_are_not_written_over(run, refused, tmp_path):
    points, _ = tiny_scan(0)
    scan = tmp_path / "scans" / "0.ply"
    write_ply(scan, points[:, :3], np.zeros((len(points), 3), np.uint8))
    before = scan.read_bytes()
    said = refused("infer", "--run", run, "--points", scan, "--out", tmp_path / "scans" / ".." / "scans")
    assert "0.ply is a scan to be labelled itself: write into another folder with --out" in said
    assert scan.read_bytes() == before


@pytest.mark.parametrize("command", ["infer", "finetune", "evaluate"])
def test_folders_that_cannot_be_written_are_told_before_the_work(command, data, run, refused):
    lines = {
        "infer": ["--run", run, "--points", data / "0.bin"],
        "finetune": ["--index", data / ".ovs3d" / "index.jsonl", *FLAGS],
        "evaluate": ["--run", run, "--index", data / ".ovs3d" / "index.jsonl"],
    }
    said = refused(command, *lines[command], "--out", "/proc/none/there")
    assert "/proc/none/there: nothing can be written there" in said


def test_a_run_is_not_put_among_the_files_of_its_data(data, refused):
    said = refused("finetune", "--index", data / ".ovs3d" / "index.jsonl", "--out", data, *FLAGS)
    assert f"{data} holds the data set itself: name a folder of its own with --out" in said
    assert not (data / "settings.json").exists()


def test_ports_that_are_none_are_refused(data, refused):
    said = refused("view", "--index", data / ".ovs3d" / "index.jsonl", "--port", "99999")
    assert "--port is from 0 to 65535, not 99999" in said


def test_an_index_that_was_copied_with_its_data_says_whose_it_is(data, tmp_path, capsys):
    shutil.copytree(data, tmp_path / "copy")
    index = tmp_path / "copy" / ".ovs3d" / "index.jsonl"
    read_index(data / ".ovs3d" / "index.jsonl")
    read_index(index, tmp_path / "copy")
    assert not capsys.readouterr().err
    read_index(index)
    assert f"the index in {tmp_path / 'copy'} is of the data set in {data}" in capsys.readouterr().err


def test_an_error_has_a_line_of_its_own_below_a_bar(capsys):
    def work() -> None:
        bar = tqdm(total=3)
        bar.update()
        raise InputError("broken")

    with pytest.raises(SystemExit, match=r"^2$"), exit_on_input_error():
        work()
    assert capsys.readouterr().err.splitlines()[-1] == "error: broken"
