"""The network of photos of a run sees photos in their own proportions."""

import pytest
import torch

from pointcloud.image_runs import ImageAbout, ImageRun
from pointcloud.nets.photos import PhotoNet
from pointcloud.runs import TEXT


@pytest.mark.parametrize(("rows", "columns", "expected"), [(96, 128, (96, 128)), (30, 120, (32, 128))])
def test_photos_keep_their_proportions(monkeypatch, rows, columns, expected):
    about = ImageAbout("deeplabv3-mobilenet", {TEXT: 4}, "mini", 128)
    run, seen = ImageRun(about, PhotoNet(about.name, about.heads).eval()), []

    def forward(net, images):
        seen.append(tuple(images.shape[2:]))
        return dict.fromkeys(about.heads, torch.ones(1, 4, 2, 2))

    monkeypatch.setattr(PhotoNet, "forward", forward)
    run.similarities(torch.zeros(rows, columns, 3, dtype=torch.uint8), torch.eye(4))
    assert seen == [expected]
