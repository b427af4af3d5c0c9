"""The network of photos of a run sees photos in their own proportions."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ovs3d.geometry import Camera
from pointcloud.frame import Photo
from pointcloud.image_runs import ImageAbout, ImageRun
from pointcloud.nets.photos import PhotoNet
from pointcloud.runs import TEXT
from pointcloud.teacher import sample


@pytest.mark.parametrize(
    ("rows", "columns", "expected"), [(96, 128, (96, 128)), (30, 120, (32, 128)), (900, 1600, (64, 128))]
)
def test_photos_keep_their_proportions(monkeypatch, rows, columns, expected):
    about = ImageAbout("deeplabv3-mobilenet", {TEXT: 4}, "mini", 128)
    run, seen = ImageRun(about, PhotoNet(about.name, about.heads).eval()), []

    def forward(net, images):
        seen.append(tuple(images.shape[2:]))
        return dict.fromkeys(about.heads, torch.ones(1, 4, 2, 2))

    monkeypatch.setattr(PhotoNet, "forward", forward)
    run.similarities(torch.zeros(rows, columns, 3, dtype=torch.uint8), torch.eye(4))
    assert seen == [expected]


def test_answers_are_where_what_they_are_about_is(monkeypatch):
    """A photo gets redder downwards, and a network tells how red a cell is; the last one may reach beyond the photo."""

    def forward(net, images):
        red = F.avg_pool2d(images[:, :1], 16, ceil_mode=True, count_include_pad=False)
        return {TEXT: torch.cat([red.cos(), red.sin()], dim=1)}

    monkeypatch.setattr(PhotoNet, "forward", forward)
    about = ImageAbout("deeplabv3-mobilenet", {TEXT: 2}, "mini", 416)
    run = ImageRun(about, PhotoNet(about.name, about.heads).eval())
    image = torch.zeros(900, 1600, 3, dtype=torch.uint8)
    image[..., 0] = (torch.arange(900) * 255 / 899).round()[:, None]
    photo = Photo("front", Path("front.png"), Camera(np.eye(3), np.eye(4), 900, 1600))
    row_col = torch.stack([torch.arange(40, 860, 20), torch.full((41,), 800)], dim=1)
    (found,) = sample(run.similarities(image, torch.eye(2)[:1]), photo, row_col).T
    torch.testing.assert_close(found, (row_col[:, 0] / 899).cos(), rtol=0, atol=4e-3)
