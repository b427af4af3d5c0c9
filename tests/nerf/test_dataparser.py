"""The same photos and poses, written in two formats, are the same scene."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from nerf_methods.dataparser import Ovs3dDataParserConfig, Ovs3dLlffDataParserConfig
from nerf_methods.llff import average_pose, read_llff
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
    photos = read_llff(twins[1])
    expected = opengl_from_opencv(np.stack([camera.world_from_camera for camera in ring_views.cameras]))
    torch.testing.assert_close(photos.poses, torch.from_numpy(expected).float())
    torch.testing.assert_close(photos.focal, torch.full((8,), 70.0 / 64))
    torch.testing.assert_close(photos.bounds, torch.full((8, 2), 1.5))


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


def parse_llff(data: Path, split: str = "train", **options) -> DataparserOutputs:
    return Ovs3dLlffDataParserConfig(data=data, **options).setup().get_dataparser_outputs(split)


@pytest.fixture
def forward(tmp_path, forward_views) -> Path:
    """A forward-facing scene with things at depths 1.2 to 6."""
    write_3dovs(tmp_path / "forward", forward_views)
    change_bounds(tmp_path / "forward", 1.2, 6.0)
    return tmp_path / "forward"


def change_bounds(scene: Path, near: float, far: float) -> None:
    rows = np.load(scene / "poses_bounds.npy")
    rows[:, 15:] = near, far
    np.save(scene / "poses_bounds.npy", rows)


def test_forward_facing_cameras_are_the_same_as_without_ndc(forward):
    for split in ("train", "test"):
        ours, theirs = parse_llff(forward, split), parse(forward, split)
        assert ours.image_filenames == theirs.image_filenames
        first, second = geometry(ours), geometry(theirs)
        for name, value in first.items():
            torch.testing.assert_close(value, second[name], rtol=1e-4, atol=1e-4, msg=name)


def test_views_with_masks_are_held_out_in_ndc_too_and_else_a_fraction(forward):
    assert [path.stem for path in parse_llff(forward, "val").image_filenames] == ["02", "05"]
    assert len(parse_llff(forward).image_filenames) == 6
    for masks in (forward / "segmentations").glob("0*"):
        masks.rename(masks.with_name(f"not {masks.name}"))
    assert len(parse_llff(forward, train_split_fraction=0.5).image_filenames) == 4


def test_the_mean_camera_stands_at_the_origin_and_looks_along_minus_z(forward):
    cameras = [parse_llff(forward, split).cameras.camera_to_worlds for split in ("train", "test")]
    poses = torch.eye(4).repeat(8, 1, 1)
    poses[:, :3] = torch.cat(cameras)
    torch.testing.assert_close(average_pose(poses), torch.eye(4), rtol=0, atol=1e-5)


def test_the_nearest_thing_is_where_llff_puts_it_and_poses_move_as_the_transform_says(forward):
    outputs = parse_llff(forward)
    assert outputs.metadata["frustum"].bounds == pytest.approx((4 / 3, 5 * 4 / 3))
    poses = read_llff(forward).poses[[0, 1, 3, 4, 6, 7]]
    moved = outputs.dataparser_transform @ poses
    moved[:, :, 3] *= outputs.dataparser_scale
    torch.testing.assert_close(outputs.cameras.camera_to_worlds, moved)


def test_the_frustum_is_what_the_corners_of_the_training_views_see(forward):
    outputs = parse_llff(forward)
    frustum = outputs.metadata["frustum"]
    poses = outputs.cameras.camera_to_worlds
    assert frustum.origins.shape == (24, 3)
    torch.testing.assert_close(frustum.origins[::4], poses[:, :, 3])
    corners = (
        torch.tensor([[-32, 24], [32, 24], [-32, -24], [32, -24.0]]) / 70
    )  # to the right and up, per depth
    local = torch.cat([corners, -torch.ones(4, 1)], dim=1)
    expected = torch.einsum("bij,kj->bki", poses[:, :, :3], local).flatten(0, 1)
    torch.testing.assert_close(frustum.directions, torch.nn.functional.normalize(expected, dim=1))


def test_the_average_pose_of_turned_cameras_is_the_one_between():
    poses = torch.eye(4).repeat(2, 1, 1)
    turn = torch.tensor([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]])
    poses[0, :3, :3], poses[1, :3, :3] = turn, turn.T
    poses[0, :3, 3] = torch.tensor([2.0, -4.0, 6.0])
    expected = torch.eye(4)
    expected[:3, 3] = torch.tensor([1.0, -2.0, 3.0])
    torch.testing.assert_close(average_pose(poses), expected)


def test_photos_upside_down_still_have_an_average_pose():
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[1, :2, :2] *= -1
    average = average_pose(poses)
    torch.testing.assert_close(average[:3, :3] @ average[:3, :3].T, torch.eye(3))
    torch.testing.assert_close(average[:3, 2], torch.tensor([0, 0, 1.0]))
    assert average[:3, :3].det() > 0


def test_cameras_that_look_around_cannot_be_in_ndc(twins):
    with pytest.raises(InputError, match=r"looks sideways or back .* `ovs3d-data`") as raised:
        parse_llff(twins[1])
    assert "\n" not in str(raised.value)


def test_a_photo_whose_edge_looks_sideways_is_named(forward):
    rows = np.load(forward / "poses_bounds.npy")
    pose = rows[3, :15].reshape(3, 5).copy()
    turn = 0.9 * np.pi / 2  # the axis looks ahead, half an angle of view beside it nothing does
    right, back = pose[:, 1].copy(), pose[:, 2].copy()
    pose[:, 1], pose[:, 2] = (
        np.cos(turn) * right - np.sin(turn) * back,
        np.sin(turn) * right + np.cos(turn) * back,
    )
    rows[3, :15] = pose.reshape(-1)
    np.save(forward / "poses_bounds.npy", rows)
    with pytest.raises(InputError, match=r"03\.png: .* \(1 such photos\)"):
        parse_llff(forward)
    parse(forward)


@pytest.mark.parametrize(("near", "far"), [(0.0, 3.0), (-1.0, 3.0), (3.0, 2.0)])
def test_depth_bounds_that_are_none_are_refused(forward, near, far):
    change_bounds(forward, near, far)
    with pytest.raises(InputError, match=rf"0 < near <= far .* got {near:g} and {far:g}; `ovs3d-data`"):
        parse_llff(forward)


def test_ndc_reads_the_layout_of_3dovs_alone(twins):
    for data in (twins[0], twins[0] / "transforms.json", twins[0] / "nowhere"):
        with pytest.raises(InputError, match=r"reads images/ and poses_bounds\.npy.*`ovs3d-data`") as raised:
            parse_llff(data)
        assert "\n" not in str(raised.value)


def test_too_few_photos_for_ndc_are_told_the_flag_of_its_own_parser(forward):
    for masks in (forward / "segmentations").glob("0*"):
        masks.rename(masks.with_name(f"not {masks.name}"))
    with pytest.raises(InputError, match=r"ovs3d-llff --train-split-fraction"):
        parse_llff(forward, "test")
