"""nuScenes: what the reader yields is what the devkit says, and what is missing is named."""

import json
import shutil

import numpy as np
import pytest
from nuscenes import NuScenes
from nuscenes.eval.lidarseg.utils import LidarsegClassMapper
from nuscenes.utils.geometry_utils import transform_matrix
from pyquaternion import Quaternion
from tiny_nuscenes import N_POINTS, VERSION, write_tiny_nuscenes

from ovs3d.errors import InputError
from pointcloud.config import Pairing
from pointcloud.datasets import nuscenes
from pointcloud.index import read_index, write_index
from pointcloud.pairing import pair
from pointcloud.scans import read_scan


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_nuscenes(tmp_path_factory.mktemp("tiny") / "nuscenes")


@pytest.fixture(scope="module")
def devkit(tiny):
    return NuScenes(VERSION, str(tiny), verbose=False)


@pytest.fixture(scope="module")
def frames(tiny):
    problems = []
    found = list(nuscenes.frames(tiny, VERSION, problems.append))
    assert problems == []
    return found


@pytest.fixture
def broken(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "nuscenes")


def names(root, problems):
    return [frame.name for frame in nuscenes.frames(root, VERSION, problems.append)]


def edit(path, change):
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(change(rows)))


def key_records(devkit, channel):
    samples = sorted(devkit.sample, key=lambda sample: sample["timestamp"])
    return [devkit.get("sample_data", sample["data"][channel]) for sample in samples]


def test_frames_are_the_key_frames_in_order_with_the_splits_of_the_mini_version(frames):
    assert [(frame.name, frame.scene, frame.split) for frame in frames] == [
        ("scene-0553_0000", "scene-0553", "train"),
        ("scene-0553_0001", "scene-0553", "train"),
        ("scene-0103_0000", "scene-0103", "val"),
        ("scene-0103_0001", "scene-0103", "val"),
    ]


def test_scans_and_photos_are_those_of_the_devkit_at_its_poses(devkit, frames):
    for position, frame in enumerate(frames):
        record = key_records(devkit, "LIDAR_TOP")[position]
        assert str(frame.scan.path) == devkit.get_sample_data_path(record["token"])
        assert frame.scan.world_from_scan == pytest.approx(devkit_pose(devkit, record), abs=1e-9)
        assert [photo.name for photo in frame.photos] == list(nuscenes.CAMERAS)
        for photo in frame.photos:
            record = key_records(devkit, photo.name)[position]
            assert str(photo.path) == devkit.get_sample_data_path(record["token"])
            assert photo.camera.world_from_camera == pytest.approx(devkit_pose(devkit, record), abs=1e-9)
            assert (photo.camera.height, photo.camera.width) == (16, 32)
            assert photo.camera.intrinsics.tolist() == [[20, 0, 16], [0, 21, 8], [0, 0, 1]]


def devkit_pose(devkit, record):
    steps = (
        devkit.get("ego_pose", record["ego_pose_token"]),
        devkit.get("calibrated_sensor", record["calibrated_sensor_token"]),
    )
    first, second = (transform_matrix(step["translation"], Quaternion(step["rotation"])) for step in steps)
    return first @ second


def test_times_are_seconds_since_the_scenes_first_sample(frames):
    for first, second in (frames[:2], frames[2:]):
        assert first.scan.time_s == 0
        assert second.scan.time_s == pytest.approx(0.55, abs=1e-12)
        assert [photo.time_s for photo in second.photos[:2]] == pytest.approx([0.51, 0.522], abs=1e-12)
        assert [sweep.time_s for sweep in first.sweeps] == pytest.approx([-0.05, -0.1], abs=1e-12)


def test_sweeps_follow_the_chain_backwards_and_are_nine_at_most(devkit, frames):
    assert [len(frame.sweeps) for frame in frames] == [2, 9, 2, 9]
    for position, frame in enumerate(frames):
        record = key_records(devkit, "LIDAR_TOP")[position]
        for sweep in frame.sweeps:
            record = devkit.get("sample_data", record["prev"])
            assert str(sweep.path) == devkit.get_sample_data_path(record["token"])
            assert sweep.world_from_scan == pytest.approx(devkit_pose(devkit, record), abs=1e-9)
            assert sweep.labels is None


def test_labels_become_the_classes_of_the_challenge_as_in_the_devkit(tiny, devkit, frames):
    dataset = nuscenes.open_dataset(tiny, VERSION)
    mapper = LidarsegClassMapper(devkit)
    assert len(dataset.label_map) == 32
    for raw, class_id in dataset.label_map.items():
        devkits = mapper.fine_idx_2_coarse_idx_mapping[raw]
        assert class_id == (255 if devkits == 0 else devkits - 1)
    in_order = sorted(mapper.coarse_name_2_coarse_idx_mapping.items(), key=lambda item: item[1])
    assert [name.replace("_", " ") for name, index in in_order if index] == list(dataset.classes)
    scan = read_scan(frames[1].scan, dataset)
    raw = np.fromfile(frames[1].scan.labels, np.uint8)
    assert scan.labels.tolist() == [dataset.label_map[each] for each in raw.tolist()]


def test_pairs_are_the_devkits_projections(tiny, devkit, frames):
    dataset = nuscenes.open_dataset(tiny, VERSION)
    compared = 0
    for position, frame in enumerate(frames):
        pairs = pair(read_scan(frame.scan, dataset), frame.photos, Pairing(visibility="none"))
        lidar = key_records(devkit, "LIDAR_TOP")[position]["token"]
        for index, photo in enumerate(frame.photos):
            camera = key_records(devkit, photo.name)[position]["token"]
            seen, _, _ = devkit.explorer.map_pointcloud_to_image(lidar, camera, min_dist=1.0)
            row_col = pairs.row_col[pairs.photo == index]
            inner = ((row_col >= 2) & (row_col <= [13, 29])).all(axis=1)
            rounded = np.floor(seen[1::-1].T + 0.5)
            inner_devkit = ((rounded >= 2) & (rounded <= [13, 29])).all(axis=1)
            assert row_col[inner].tolist() == rounded[inner_devkit].tolist()
            compared += inner.sum()
    assert compared > 300


def test_frames_survive_the_index(tiny, frames, tmp_path):
    dataset = nuscenes.open_dataset(tiny, VERSION)
    assert write_index(tmp_path / "index.jsonl", dataset, frames) == 4
    back = read_index(tmp_path / "index.jsonl")[3]
    assert back.sweeps[8].path == frames[3].sweeps[8].path
    assert (back.photos[5].camera.world_from_camera == frames[3].photos[5].camera.world_from_camera).all()


def test_a_frame_without_its_points_is_left_out_and_named(frames, broken):
    for index, damage in ((1, b""), (2, b"1" * (N_POINTS * 20 - 3))):
        (broken / frames[index].scan.path.relative_to(frames[index].scan.path.parents[2])).write_bytes(damage)
    problems = []
    assert names(broken, problems) == ["scene-0553_0000", "scene-0103_0001"]
    for index in (1, 2):
        assert (
            sum(frames[index].scan.path.name in each and "frame left out" in each for each in problems) == 1
        )


def test_a_frame_whose_labels_are_cut_off_is_left_out(frames, broken):
    path = broken / "lidarseg" / VERSION / frames[0].scan.labels.name
    path.write_bytes(path.read_bytes()[:-1])
    problems = []
    assert names(broken, problems) == ["scene-0553_0001", "scene-0103_0000", "scene-0103_0001"]
    assert problems == [f"{path} is broken: 299 labels for 300 points: frame left out"]


def test_a_missing_sweep_or_photo_leaves_out_itself_alone(frames, broken):
    for path in (frames[1].sweeps[3].path, frames[1].photos[2].path):
        (broken / path.relative_to(path.parents[2])).unlink()
    problems = []
    found = list(nuscenes.frames(broken, VERSION, problems.append))
    assert [sweep.path.name for sweep in found[1].sweeps] == [
        sweep.path.name for index, sweep in enumerate(frames[1].sweeps) if index != 3
    ]
    assert [photo.name for photo in found[1].photos] == [
        name for name in nuscenes.CAMERAS if name != "CAM_BACK_RIGHT"
    ]
    assert len(problems) == 2
    assert frames[1].sweeps[3].path.name in problems[0]
    assert frames[1].photos[2].path.name in problems[1]


def test_without_lidarseg_there_are_no_labels_and_that_is_said(broken):
    (broken / VERSION / "lidarseg.json").unlink()
    problems = []
    found = list(nuscenes.frames(broken, VERSION, problems.append))
    assert [frame.scan.labels for frame in found] == [None] * 4
    assert len(problems) == 1
    assert "lidarseg.json" in problems[0]
    assert nuscenes.open_dataset(broken, VERSION).label_map == {}


def test_a_scene_of_no_official_split_is_left_out_and_named(broken):
    path = broken / VERSION / "scene.json"
    edit(path, lambda rows: [rows[0] | {"name": "scene-9999"}, rows[1]])
    problems = []
    assert names(broken, problems) == ["scene-0103_0000", "scene-0103_0001"]
    assert "scene-9999" in problems[0]


def test_another_version_is_refused_with_those_that_are_there(tiny):
    for version, said in (
        ("v1.0-trainval", "'v1.0-trainval'"),
        ("", "wants a --version"),
        ("samples", "'samples'"),
    ):
        with pytest.raises(InputError, match=f"{said}.*versions there: v1.0-mini"):
            nuscenes.open_dataset(tiny, version)
    with pytest.raises(InputError, match="versions there: none"):
        nuscenes.open_dataset(tiny / VERSION, "")


def test_categories_without_raw_ids_and_unknown_ones_are_refused(broken):
    path = broken / VERSION / "category.json"
    edit(path, lambda rows: [*rows[:-1], rows[-1] | {"name": "vehicle.boat"}])
    with pytest.raises(InputError, match=r"category.json.*vehicle\.boat"):
        nuscenes.open_dataset(broken, VERSION)
    edit(path, lambda rows: [{"token": row["token"], "name": row["name"]} for row in rows])
    with pytest.raises(InputError, match="nuScenes-lidarseg"):
        nuscenes.open_dataset(broken, VERSION)


@pytest.mark.parametrize("table", ["sample_data", "ego_pose", "calibrated_sensor", "sensor", "scene"])
def test_a_table_that_is_cut_off_or_lacks_records_is_an_error_with_its_name(broken, table):
    path = broken / VERSION / f"{table}.json"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=f"{table}.json"):
        names(broken, [])
    if table in ("ego_pose", "sample_data"):
        path.write_text(json.dumps(json.loads(whole)[30:]))
        with pytest.raises(InputError, match=f"{table}.json lacks"):
            names(broken, [])
