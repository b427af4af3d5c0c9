"""Superpixels are SLIC's, features are means over their pixels, and pairs know the superpixel of their pixel."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.segmentation import slic
from tiny_scans import NoPhotos, pixels_of
from torch import nn

from ovs3d.errors import InputError
from ovs3d.foundation.dino import load_dino
from ovs3d.foundation.store import FeatureStore
from ovs3d.geometry import Camera
from ovs3d.images import read_image, write_png
from pointcloud import config
from pointcloud import superpixels as module
from pointcloud.config import Net, Pairing
from pointcloud.frame import Frame, Photo
from pointcloud.index import read_index
from pointcloud.paired import PairedSamples
from pointcloud.samples import Samples
from pointcloud.superpixels import Superpixels, SuperpixelSamples, pooled
from pointcloud.teacher import Backbone, PhotoFeatures, load_backbone


@pytest.fixture(scope="module")
def backbone(index) -> Backbone:
    return load_backbone(config.Backbone(), index.parent.parent)


@pytest.fixture
def photo(tmp_path) -> Path:
    """Waves of colour, so that superpixels differ with every setting."""
    row, col = np.mgrid[:60, :84]
    waves = [np.sin(row / 7 + col / 5), np.cos(col / 9), np.sin(row * col / 200)]
    write_png(tmp_path / "photo.png", (127 + 120 * np.stack(waves, axis=2)).astype(np.uint8))
    return tmp_path / "photo.png"


@dataclass(frozen=True, eq=False)
class Fixed(PhotoFeatures):
    grid: torch.Tensor

    @property
    def d(self) -> int:
        return self.grid.shape[2]

    def map(self, photo: Path) -> torch.Tensor:
        return self.grid

    def fill(self, photos: list[Path]) -> None:
        pass


def test_superpixels_are_slics_with_the_published_settings_unless_others_are_asked_for(photo, tmp_path):
    store, image = FeatureStore(tmp_path / "store"), read_image(photo).numpy()
    backbone = Backbone(load_dino("mini"), store, 64)
    found, _ = Superpixels(backbone, config.Superpixels()).of(photo)
    published = slic(image, n_segments=150, compactness=6, sigma=3.0, start_label=0)
    np.testing.assert_array_equal(found.numpy(), published)
    many, _ = Superpixels(backbone, config.Superpixels(500, 30.0, 0.0)).of(photo)
    np.testing.assert_array_equal(
        many.numpy(), slic(image, n_segments=500, compactness=30, sigma=0, start_label=0)
    )
    assert many.max() > 255  # more than a byte holds


def test_superpixels_are_computed_once_and_what_is_read_is_what_was_computed(photo, tmp_path, monkeypatch):
    backbone = Backbone(load_dino("mini"), FeatureStore(tmp_path / "store"), 64)
    computed = Superpixels(backbone, config.Superpixels()).of(photo)
    monkeypatch.setattr(module, "slic", None)
    monkeypatch.setattr(module, "pooled", None)
    for one, other in zip(Superpixels(backbone, config.Superpixels()).of(photo), computed, strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(TypeError):
        Superpixels(replace(backbone, short_side=72), config.Superpixels()).of(photo)


def test_a_broken_photo_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    backbone = Backbone(load_dino("mini"), FeatureStore(tmp_path / "store"), 64)
    with pytest.raises(InputError, match=r"broken\.png"):
        Superpixels(backbone, config.Superpixels()).of(tmp_path / "broken.png")


@pytest.mark.parametrize("grid", [(3, 5), (1, 4), (20, 2)])  # of patches larger and smaller than pixels
def test_pooled_features_are_means_of_features_at_pixels(grid):
    h, w, random = 11, 16, torch.Generator().manual_seed(0)
    seen = Fixed(torch.randn(*grid, 7, generator=random))
    superpixel = torch.randint(6, (h, w), generator=random)
    superpixel[superpixel == 3] = 4  # one has no pixels
    photo = Photo("photo", Path("photo.png"), Camera(np.eye(3), np.eye(4), h, w))
    found = pooled(seen.grid, superpixel)
    for k in range(6):
        here = seen.at(photo, (superpixel == k).nonzero()).rows()
        expected = torch.zeros(7) if k == 3 else here.mean(dim=0)
        torch.testing.assert_close(found[k], expected, rtol=1e-4, atol=1e-5)


def test_a_linear_projection_commutes_with_pooling():
    random = torch.Generator().manual_seed(0)
    grid, superpixel = torch.randn(4, 6, 5, generator=random), torch.randint(4, (9, 13), generator=random)
    projection = nn.Linear(5, 3)
    torch.testing.assert_close(projection(pooled(grid, superpixel)), pooled(projection(grid), superpixel))


def samples_of(index: Path, backbone: Backbone, kind: type[Samples] = Samples) -> SuperpixelSamples:
    samples = kind(read_index(index), range(4), Net(voxel_size_m=0.3))
    return SuperpixelSamples(samples, Pairing(), 0, Superpixels(backbone, config.Superpixels()))


def test_superpixels_of_pairs_hold_the_pixels_that_show_their_points(index, backbone):
    samples = samples_of(index, backbone)
    batch = samples[0, 2]
    paired = PairedSamples(samples.samples, Pairing(), 0, backbone)[0, 2]
    torch.testing.assert_close(batch.point, paired.point)
    xyz = np.fromfile(index.parent.parent / "2.bin", np.float32).reshape(-1, 4)[batch.point.numpy(), :3]
    row, col = np.floor(pixels_of(xyz)).astype(int)
    superpixel, features = samples.superpixels.of(index.parent.parent / "2.png")
    there = superpixel[row, col]
    assert len(there.unique()) > 9
    torch.testing.assert_close(batch.features[batch.superpixel], features[there])
    assert batch.superpixel.unique().tolist() == list(range(len(batch.features)))  # each has points


class TwoPhotos(Samples):
    def frame(self, item: int) -> Frame:
        one, other = super().frame(item), super().frame(1)
        return replace(one, photos=one.photos + other.photos)


def test_superpixels_of_two_photos_of_a_frame_are_told_apart(index, backbone):
    one, two = samples_of(index, backbone)[0, 0], samples_of(index, backbone, TwoPhotos)[0, 0]
    m, s = len(one.point), len(one.features)
    torch.testing.assert_close(two.point, one.point.repeat(2))  # both cameras stand at the same place
    torch.testing.assert_close(two.superpixel[:m], one.superpixel)
    torch.testing.assert_close(two.features[:s], one.features)
    assert two.superpixel[m:].min() == s
    assert two.superpixel.max() == len(two.features) - 1


def test_a_step_keeps_superpixels_of_frames_apart(index, backbone):
    samples = samples_of(index, backbone)
    one, two = samples[0, 0], samples[0, 3]
    both = samples.collate([one, two]).to("cpu")
    m, s, n = len(one.point), len(one.features), len(one.scans.labels)
    assert both.frames == (0, 3)
    torch.testing.assert_close(both.point[m:] - n, two.point)
    torch.testing.assert_close(both.superpixel[:m], one.superpixel)
    torch.testing.assert_close(both.superpixel[m:] - s, two.superpixel)
    torch.testing.assert_close(both.features, torch.cat([one.features, two.features]))


def test_a_frame_without_photos_has_no_superpixels(index, backbone):
    batch = samples_of(index, backbone, NoPhotos)[0, 0]
    assert len(batch.scans.labels) == 700
    assert len(batch.point) == len(batch.superpixel) == 0
    assert batch.features.shape == (0, backbone.d)
