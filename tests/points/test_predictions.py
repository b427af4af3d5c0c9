"""Predictions are files that the benchmarks of the data sets take."""

import numpy as np
import pytest
import torch
from tiny_nuscenes import VERSION, write_tiny_nuscenes

from ovs3d.errors import InputError
from pointcloud.datasets import nuscenes, scannet, semantickitti
from pointcloud.evaluate import Answer
from pointcloud.frame import Frame, ScanFile
from pointcloud.index import DataSet, Index, read_index, write_index
from pointcloud.predictions import writer


def answer(labels: list[int] | np.ndarray) -> Answer:
    prediction = torch.as_tensor(labels)
    return Answer(0, prediction, torch.full_like(prediction, 255), torch.ones(len(prediction)))


def index_of(dataset: DataSet, frames: list[Frame]) -> Index:
    path = dataset.root / ".ovs3d" / "index.jsonl"
    write_index(path, dataset, frames)
    return read_index(path)


@pytest.mark.parametrize("labelled", [True, False])
def test_nuscenes_wants_bytes_from_one_called_by_the_sample_data(labelled, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "data")
    frames = list(nuscenes.frames(root, VERSION, print))
    label_files = [frame.scan.labels.name for frame in frames]
    if not labelled:
        (root / VERSION / "lidarseg.json").unlink()
        frames = list(nuscenes.frames(root, VERSION, print))
    index = index_of(nuscenes.open_dataset(root, VERSION), frames)
    writer(index, tmp_path / "out", "train")(answer([0, 15, 3]))
    folder = tmp_path / "out" / "lidarseg" / ("mini_train" if labelled else "train")
    assert (folder / label_files[0]).read_bytes() == bytes([1, 16, 4])
    with pytest.raises(InputError, match="1 points without an answer"):
        writer(index, tmp_path / "out", "train")(answer([0, -1]))


def test_semantickitti_wants_raw_ids_of_32_bits(tmp_path):
    dataset = semantickitti.open_dataset(tmp_path)
    scan = tmp_path / "sequences" / "11" / "velodyne" / "000007.bin"
    frame = Frame("11_000007", "11", "test", ScanFile(scan, "semantickitti", np.eye(4), 0.0))
    labels = np.arange(19)
    writer(index_of(dataset, [frame]), tmp_path / "out", "test")(answer(labels))
    raw = np.fromfile(tmp_path / "out" / "sequences" / "11" / "predictions" / "000007.label", "<u4")
    assert [dataset.label_map[each] for each in raw.tolist()] == labels.tolist()
    assert raw.max() < 250  # none of those that move


def test_scannet_wants_a_nyu40_id_per_line(tmp_path):
    dataset = scannet.open_dataset(tmp_path)
    scan = ScanFile(tmp_path / "scans" / "a.ply", "scannet", np.eye(4), 0.0)
    index = index_of(dataset, [Frame("scene0707_00", "scene0707_00", "test", scan)])
    writer(index, tmp_path / "out", "test")(answer([0, 19, -1, 12]))
    assert (tmp_path / "out" / "predictions" / "scene0707_00.txt").read_text() == "1\n39\n0\n14\n"
