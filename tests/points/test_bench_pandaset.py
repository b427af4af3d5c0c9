"""The teacher of the benchmark on real LiDAR says what its names say."""

import importlib
from pathlib import Path

import torch
from tiny_scans import write_tiny

from pointcloud.config import Pairing
from pointcloud.index import read_index
from pointcloud.paired import look
from pointcloud.pairing import pair
from pointcloud.samples import scan_file
from pointcloud.scans import read_scan

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_noisy_truth_is_seen_at_the_pixels_of_points(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    data = read_index(write_tiny(tmp_path, photos=True))
    frame = data[0]
    pairs = pair(read_scan(scan_file(frame), data.dataset), frame.photos, Pairing())
    camera, text = frame.photos[0].camera, torch.eye(3, 4)
    names = (torch.arange(camera.height)[:, None] + torch.arange(camera.width)) % 3
    teacher = importlib.import_module("bench_pandaset").NoisyTruth(text, {frame.photos[0].path: names})
    point, features = look(teacher, pairs, frame.photos)
    row, col = torch.from_numpy(pairs.row_col).T
    assert torch.equal(point, torch.from_numpy(pairs.point))
    assert len(names[row, col].unique()) == 3
    torch.testing.assert_close(features.rows(), text[names[row, col]])
