"""The same photos and poses, written in two formats, are the same scene."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from nerf_methods.dataparser import Ovs3dDataParserConfig, read_poses_bounds
from ovs3d.errors import InputError
from ovs3d.geometry import opengl_from_opencv
from ovs3d.worlds.write import write_3dovs, write_nerfstudio


def parse(data: Path, split: str = "train") -> DataparserOutputs:
    return Ovs3dDataParserConfig(data=data).setup().get_dataparser_outputs(split)


@pytest.fixture
def twins(tmp_path, ring_views) -> tuple[Path, Path]:
    write_nerfstudio(tmp_path / "nerfstudio", ring_views)
    write_3dovs(tmp_path / "3dovs", ring_views)
    return tmp_path / "nerfstudio", tmp_path / "3dovs"


def geometry(outputs: DataparserOutputs) -> dict[str, torch.Tensor]:
    """What does not depend on where a parser puts the scene: relative rotations, distances in metres, optics."""
    poses, cameras = outputs.cameras.camera_to_worlds, outputs.cameras
    rotations, origins = poses[:, :, :3], poses[:, :, 3] / outputs.dataparser_scale
    size = torch.cat([cameras.height, cameras.width], dim=1)
    return {
        "rotations": torch.einsum("iba,jbc->ijac", rotations, rotations),
        "distances": torch.cdist(origins, origins),
        "optics": torch.cat([cameras.fx, cameras.fy, cameras.cx, cameras.cy], dim=1),
        "size": size,
    }


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_both_formats_give_the_same_cameras_and_split(twins, split):
    ours, theirs = (parse(twin, split) for twin in twins)
    numbers = [int(re.sub(r"\D", "", path.stem)) for path in ours.image_filenames]
    assert numbers == [int(path.stem) + 1 for path in theirs.image_filenames]
    first, second = geometry(ours), geometry(theirs)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-4, atol=1e-4, msg=name)


def test_distances_and_optics_are_those_that_were_written(twins, ring_views):
    cameras = [camera for i, camera in enumerate(ring_views.cameras) if i not in ring_views.held_out]
    positions = torch.from_numpy(np.stack([camera.position for camera in cameras])).float()
    for twin in twins:
        found = geometry(parse(twin))
        torch.testing.assert_close(
            found["distances"], torch.cdist(positions, positions), rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(found["optics"][0], torch.tensor([70.0, 70.0, 32.0, 24.0]))
        assert found["size"][0].tolist() == [48, 64]


def test_views_with_masks_are_held_out(twins):
    for twin in twins:
        assert len(parse(twin, "train").image_filenames) == 6
        assert len(parse(twin, "test").image_filenames) == 2
    assert [path.stem for path in parse(twins[1], "val").image_filenames] == ["02", "05"]


def test_without_masks_a_fraction_is_held_out(twins):
    for masks in (twins[1] / "segmentations").glob("0*"):
        masks.rename(masks.with_name(f"not {masks.name}"))
    config = Ovs3dDataParserConfig(data=twins[1], train_split_fraction=0.75)
    train, test = (
        config.setup().get_dataparser_outputs(split).image_filenames for split in ("train", "test")
    )
    assert (len(train), len(test)) == (6, 2)
    assert not set(train) & set(test)


def test_a_scene_is_named_by_its_folder_or_its_file(twins):
    folder, file = parse(twins[0]), parse(twins[0] / "transforms.json")
    assert folder.image_filenames == file.image_filenames


def test_llff_rows_are_opengl_poses_and_a_focal_length(twins, ring_views):
    images = sorted((twins[1] / "images").iterdir())
    poses, focal = read_poses_bounds(twins[1] / "poses_bounds.npy", images)
    expected = opengl_from_opencv(np.stack([camera.world_from_camera for camera in ring_views.cameras]))
    torch.testing.assert_close(poses, torch.from_numpy(expected).float())
    torch.testing.assert_close(focal, torch.full((8,), 70.0 / 64))


def test_photos_smaller_than_their_poses_say_keep_the_angle_of_view(twins):
    path = twins[1] / "poses_bounds.npy"
    rows = np.load(path)
    rows[:, [4, 9, 14]] *= 8  # height, width and focal length of the photos before they were made smaller
    np.save(path, rows)
    torch.testing.assert_close(parse(twins[1]).cameras.fx, torch.full((6, 1), 70.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:7], "7 poses for 8 images"),
        (lambda rows: rows[:, :15], r"rows of 17 numbers, got shape \(8, 15\)"),
        (lambda rows: np.where(np.arange(8)[:, None] == 3, np.nan, rows), "the pose of 03.png is not finite"),
        (lambda rows: rows.astype(object), "not a NumPy array"),
    ],
)
def test_poses_that_cannot_be_used_are_refused(twins, change, message):
    path = twins[1] / "poses_bounds.npy"
    np.save(path, change(np.load(path)), allow_pickle=True)
    with pytest.raises(InputError, match=message):
        parse(twins[1])


def test_poses_cut_off_are_refused(twins):
    path = twins[1] / "poses_bounds.npy"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="not a NumPy array"):
        parse(twins[1])


def test_a_folder_without_poses_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"neither transforms\.json nor poses_bounds\.npy"):
        parse(tmp_path)
    with pytest.raises(InputError, match="no scene at"):
        parse(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "split", "message"),
    [
        (lambda content: content.pop("fl_x"), "train", "fx not specified"),
        (lambda content: content["test_filenames"].append("images/nowhere.png"), "test", "nowhere.png"),
        (lambda content: content.pop("val_filenames"), "val", "split val is missing"),
    ],
)
def test_what_nerfstudio_would_trip_over_is_said_in_one_line(twins, change, split, message):
    path = twins[0] / "transforms.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as raised:
        parse(twins[0], split)
    assert "\n" not in str(raised.value)
