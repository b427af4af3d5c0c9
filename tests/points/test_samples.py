"""Scans as networks take them, and the order in which they come."""

import math

import numpy as np
import pytest
import torch
from tiny_scans import write_tiny

from ovs3d.errors import InputError
from pointcloud.config import Augment, Net
from pointcloud.frame import Scan
from pointcloud.index import read_index
from pointcloud.samples import Samples, Steps, augmented, collate, sample


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return read_index(write_tiny(tmp_path_factory.mktemp("tiny")))


def scan_of(n=50, **columns) -> Scan:
    xyz = np.random.default_rng(0).uniform(-5, 5, (n, 3)).astype(np.float32)
    return Scan(xyz, np.eye(4), 0.0, **columns)


def test_inputs_are_what_their_names_say():
    rgb = np.array([[0, 255, 51]], np.uint8).repeat(50, 0)
    scan = scan_of(intensity=np.full(50, 0.5, np.float32), rgb=rgb)
    net = Net(
        inputs=("one", "intensity", "intensity255", "log_intensity", "rgb", "height", "offset"),
        voxel_size_m=0.2,
    )
    batch = sample(scan, net)
    expected = torch.tensor([1, 0.5, 127.5, math.log(0.51), -1, 1, -0.6])
    torch.testing.assert_close(batch.points.features[:, :7], expected.expand(50, 7))
    torch.testing.assert_close(batch.points.features[:, 7], torch.from_numpy(scan.xyz[:, 2]))
    torch.testing.assert_close(batch.points.places, torch.from_numpy(scan.xyz) * 5)
    centres = batch.points.places - batch.points.features[:, 8:]
    torch.testing.assert_close(centres, batch.points.places.floor() + 0.5)
    assert (batch.labels == 255).all()
    with pytest.raises(InputError, match="no colours"):
        sample(scan_of(), Net(inputs=("rgb",)))


def test_augmentation_keeps_distances_up_to_the_scale_and_height_upright():
    xyz = scan_of().xyz
    moved = augmented(xyz, Augment(scale=0.0), 0.1, np.random.default_rng(3))
    np.testing.assert_allclose(
        np.linalg.norm(moved[1:] - moved[:-1], axis=1), np.linalg.norm(xyz[1:] - xyz[:-1], axis=1), rtol=1e-4
    )
    np.testing.assert_allclose(np.diff(moved[:, 2]), np.diff(xyz[:, 2]), atol=1e-5)
    assert np.abs(moved - xyz).max() > 1
    scaled = augmented(xyz, Augment(False, False, 0.3, 0.0), 0.1, np.random.default_rng(3))
    ratio = scaled / xyz
    assert np.ptp(ratio) < 1e-3
    assert 0.7 < ratio.mean() < 1.3
    assert abs(ratio.mean() - 1) > 0.01
    np.testing.assert_array_equal(
        augmented(xyz, Augment(False, False, 0.0, 0.0), 0.1, np.random.default_rng(3)), xyz
    )


def test_both_signs_of_turns_occur():
    xyz = scan_of().xyz
    flips = {
        round(
            float(
                np.linalg.det(
                    np.linalg.lstsq(
                        xyz, augmented(xyz, Augment(scale=0.0, shift_voxels=0.0), 0.1, r), rcond=None
                    )[0]
                )
            )
        )
        for r in map(np.random.default_rng, range(12))
    }
    assert flips == {-1, 1}


def test_the_same_epoch_and_seed_give_the_same_sample(index):
    samples = Samples(index, [0, 1, 2], Net(), Augment(), seed=7)
    first, again, later = samples[3, 1], samples[3, 1], samples[4, 1]
    assert torch.equal(first.points.places, again.points.places)
    assert not torch.equal(first.points.places, later.points.places)


def test_batches_number_their_scans(index):
    samples = Samples(index, [0, 1, 2], Net())
    batch = collate([samples[0, 2], samples[0, 0]])
    assert batch.frames == (2, 0)
    assert batch.points.batch.unique(return_counts=True)[1].tolist() == [700, 700]
    assert set(batch.labels.unique().tolist()) == {0, 1, 255}
    assert (batch.labels == 255).sum() == 10


def test_batches_of_batches_keep_all_scans_apart(index):
    samples = Samples(index, [0, 1, 2], Net())
    sweeps = collate([samples[0, 2], samples[0, 0]])
    whole = collate([sweeps, samples[0, 1], sweeps])
    assert whole.frames == (2, 0, 1, 2, 0)
    number, count = whole.points.batch.unique_consecutive(return_counts=True)
    assert number.tolist() == [0, 1, 2, 3, 4]
    assert count.tolist() == [700] * 5


def test_steps_cover_each_epoch_in_a_new_order_and_resume_where_they_stopped():
    whole = list(Steps(7, 2, seed=5, epoch=1))
    assert len(whole) == 4
    items = [item for step in whole for _, item in step]
    assert set(items) == set(range(7))
    assert items != [item for step in Steps(7, 2, seed=5, epoch=2) for _, item in step]
    assert list(Steps(7, 2, seed=5, epoch=1, first=2)) == whole[2:]


def test_processes_share_each_step():
    whole = list(Steps(8, 4, seed=1))
    shares = [list(Steps(8, 2, seed=1, rank=rank, world=2)) for rank in range(2)]
    assert [a + b for a, b in zip(*shares, strict=True)] == whole
