"""Street worlds in nuScenes' format: the unmodified devkit loads, projects, boxes and scores them."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from ovs3d.geometry import transform
from ovs3d.worlds.lidar import sweep
from ovs3d.worlds.render import render
from ovs3d.worlds.streets.kinds import CATEGORY_OF_KIND, CLASS_OF_KIND, KIND_ID, KINDS
from ovs3d.worlds.streets.rig import SURFACES, nuscenes_rig
from ovs3d.worlds.streets.street import make_street, photo
from ovs3d.worlds.streets.tables import quaternion, write_tables
from ovs3d.worlds.streets.write_nuscenes import Drive, write_scene

VERSION, SWEEPS = "v1.0-mini", 3
FRAMES = {"scene-0061": 2, "scene-0103": 1, "scene-0916": 1}
"""Key frames; only the first scene has sweeps."""
INTERVAL_S = 0.8
SWEPT = [-0.15, -0.1, -0.05, 0.0, 0.65, 0.7, 0.75, 0.8]
MINI_VAL = ("scene-0103", "scene-0916")
devkit = pytest.importorskip("nuscenes.nuscenes", reason="needs the nuscenes-devkit")


@pytest.fixture(scope="module")
def scenes():
    world = make_street(7)
    rig = nuscenes_rig(192, azimuth_steps=360)
    return [
        Drive(name, world, rig, frames, SWEEPS * (frames > 1), INTERVAL_S) for name, frames in FRAMES.items()
    ]


@pytest.fixture(scope="module")
def root(scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("street")
    write_tables(folder, VERSION, [write_scene(folder, VERSION, scene) for scene in scenes])
    return folder


@pytest.fixture(scope="module")
def nusc(root):
    return devkit.NuScenes(VERSION, str(root), verbose=False)


def matrix(row):
    from pyquaternion import Quaternion

    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Quaternion(row["rotation"]).rotation_matrix, row["translation"]
    return pose


def global_from_sensor(nusc, sample_data):
    ego = matrix(nusc.get("ego_pose", sample_data["ego_pose_token"]))
    return ego @ matrix(nusc.get("calibrated_sensor", sample_data["calibrated_sensor_token"]))


def seconds(scene, sample_data):
    return (sample_data["timestamp"] - scene.microseconds(0.0)) / 1e6


def key_frames(nusc):
    """Every sample by the order of its scenes and samples, as the devkit links them."""
    for row in nusc.scene:
        sample = nusc.get("sample", row["first_sample_token"])
        while True:
            yield row["name"], sample
            if not sample["next"]:
                break
            sample = nusc.get("sample", sample["next"])
        assert sample["token"] == row["last_sample_token"]


def test_the_devkit_walks_every_sample_with_seven_sensors(nusc):
    walked = list(key_frames(nusc))
    assert [name for name, _ in walked] == [name for name, frames in FRAMES.items() for _ in range(frames)]
    for _, sample in walked:
        assert len(sample["data"]) == 7
        for token in sample["data"].values():
            path, _, _ = nusc.get_sample_data(token)
            assert path.endswith(("jpg", "pcd.bin"))
            row = nusc.get("sample_data", token)
            if row["fileformat"] == "jpg":
                assert Image.open(path).size == (row["width"], row["height"]) == (192, 108)


def test_sweeps_are_linked_every_50_milliseconds_before_and_between_key_frames(nusc, scenes):
    for scene, expected in zip(scenes, (SWEPT, [0.0], [0.0]), strict=True):
        first = next(sample for name, sample in key_frames(nusc) if name == scene.name)
        row = nusc.get("sample_data", first["data"]["LIDAR_TOP"])
        while row["prev"]:
            row = nusc.get("sample_data", row["prev"])
        times, keys = [], []
        while True:
            times.append(seconds(scene, row))
            keys.append(row["is_key_frame"])
            assert f"/{'samples' if row['is_key_frame'] else 'sweeps'}/" in f"/{row['filename']}"
            if not row["next"]:
                break
            row = nusc.get("sample_data", row["next"])
        assert times == pytest.approx(expected)
        assert keys == [time in (0.0, INTERVAL_S) for time in times]


def test_poses_and_calibration_are_those_of_the_world(nusc, scenes):
    scene, channels = scenes[0], set()
    mounts = {camera.name: camera.ego_from_camera for camera in scene.rig.cameras}
    mounts["LIDAR_TOP"] = scene.rig.ego_from_lidar
    for row in nusc.sample_data:
        if scene.name in row["filename"]:
            channels.add(row["channel"])
            world_from_ego = scene.world.world_from_ego(seconds(scene, row))
            expected = scene.global_from_world @ world_from_ego @ mounts[row["channel"]]
            assert global_from_sensor(nusc, row) == pytest.approx(expected, abs=1e-9)
    assert channels == set(mounts)
    for camera in scene.rig.cameras:
        row = next(row for row in nusc.sample_data if row["channel"] == camera.name)
        intrinsics = nusc.get("calibrated_sensor", row["calibrated_sensor_token"])["camera_intrinsic"]
        assert np.array(intrinsics) == pytest.approx(camera.intrinsics)


def test_the_files_hold_what_the_lidar_saw_at_their_time(nusc, root, scenes):
    from nuscenes.utils.data_classes import LidarPointCloud

    scene, (_, sample) = scenes[0], next(iter(key_frames(nusc)))
    key = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
    for row in (key, nusc.get("sample_data", key["prev"])):
        at_s = seconds(scene, row)
        pose = scene.world.world_from_ego(at_s) @ scene.rig.ego_from_lidar
        rng = np.random.default_rng((scene.world.seed, 4, round(INTERVAL_S / 0.05) + round(at_s / 0.05)))
        found = sweep(scene.rig.lidar, SURFACES, scene.world.at(at_s).scene, pose, rng)
        cloud = LidarPointCloud.from_file(str(root / row["filename"])).points
        assert (found.xyz == cloud[:3].T).all()
        assert cloud[3] == pytest.approx(np.round(found.intensity * 255))
        assert (np.fromfile(root / row["filename"], np.float32).reshape(-1, 5)[:, 4] == found.ring).all()
        if row["is_key_frame"]:
            labels = np.fromfile(root / nusc.get("lidarseg", row["token"])["filename"], np.uint8)
            assert (labels == CATEGORY_OF_KIND[found.classes]).all()


def test_the_files_hold_what_each_camera_saw_at_its_time(nusc, root, scenes):
    scene, (_, sample) = scenes[0], next(iter(key_frames(nusc)))
    for camera in scene.rig.cameras:
        row = nusc.get("sample_data", sample["data"][camera.name])
        at_s, jpeg = seconds(scene, row), io.BytesIO()
        assert at_s == pytest.approx(camera.delay_s, abs=1e-6)
        rgb = photo(scene.world.at(at_s), camera.at(scene.world.world_from_ego(at_s)))
        Image.fromarray(rgb).save(jpeg, format="jpeg", quality=92)
        assert (root / row["filename"]).read_bytes() == jpeg.getvalue()


def test_the_devkit_projects_returns_to_where_the_camera_saw_them(nusc, scenes):
    scene = scenes[0]
    sample = [sample for name, sample in key_frames(nusc) if name == scene.name][1]
    lidar = sample["data"]["LIDAR_TOP"]
    path = nusc.dataroot + "/" + nusc.get("lidarseg", lidar)["filename"]
    agreeing, count = 0, 0
    for camera in scene.rig.cameras:
        row = nusc.get("sample_data", sample["data"][camera.name])
        points, _, _ = nusc.explorer.map_pointcloud_to_image(lidar, row["token"])
        colours = nusc.explorer.map_pointcloud_to_image(
            lidar, row["token"], show_lidarseg=True, lidarseg_preds_bin_path=path
        )[1]
        at_s = seconds(scene, row)
        view = render(scene.world.at(at_s).scene, camera.at(scene.world.world_from_ego(at_s)))
        table = np.array([nusc.colormap[kind.nuscenes] for kind in KINDS]) / 255
        col, rows = points[0].astype(int), points[1].astype(int)
        seen = view.labels[rows, col]
        there = seen != 255
        same = np.abs(colours[there, :3] - table[seen[there]]).max(1) < 0.01
        agreeing, count = agreeing + int(same.sum()), count + len(same)
    assert count > 1500
    assert agreeing / count > 0.85  # with returns from behind edges, and what moved since


def test_the_devkit_merges_sweeps_to_where_they_were_cast_from(nusc, scenes, root):
    from nuscenes.utils.data_classes import LidarPointCloud

    scene = scenes[0]
    sample = [sample for name, sample in key_frames(nusc) if name == scene.name][1]
    row = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
    cloud, lag = LidarPointCloud.from_file_multisweep(
        nusc, sample, "LIDAR_TOP", "LIDAR_TOP", nsweeps=SWEEPS + 1
    )
    merged = transform(
        np.linalg.inv(scene.global_from_world) @ global_from_sensor(nusc, row), cloud.points[:3].T
    )
    for age in (0.0, 0.05, 0.1, 0.15):
        xyz = LidarPointCloud.from_file(str(root / row["filename"])).points[:3].T.astype(np.float64)
        xyz = xyz[(np.abs(xyz[:, :2]) >= 1.0).any(axis=1)]  # the devkit leaves out the vehicle's own roof
        in_world = transform(scene.world.world_from_ego(INTERVAL_S - age) @ scene.rig.ego_from_lidar, xyz)
        assert merged[lag[0].round(3) == age] == pytest.approx(in_world, abs=2e-3)
        row = nusc.get("sample_data", row["prev"]) if row["prev"] else row


def test_a_box_holds_the_returns_of_its_thing(nusc, scenes, root):
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box

    names = set()
    for _, sample in list(key_frames(nusc))[:2]:
        row = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        xyz = LidarPointCloud.from_file(str(root / row["filename"])).points[:3]
        xyz = transform(global_from_sensor(nusc, row), xyz.T.astype(np.float64)).T
        labels = np.fromfile(root / nusc.get("lidarseg", row["token"])["filename"], np.uint8)
        assert len(sample["anns"]) > 10
        for token in sample["anns"]:
            box, annotation = nusc.get_box(token), nusc.get("sample_annotation", token)
            inside = points_in_box(box, xyz, wlh_factor=1.12)
            of_class = labels == nusc.lidarseg_name2idx_mapping[annotation["category_name"]]
            assert (inside & of_class).sum() >= 0.9 * annotation["num_lidar_pts"] > 0
            names.add(annotation["category_name"])
    assert {"vehicle.car", "human.pedestrian.adult"} <= names


def test_boxes_of_what_drives_have_its_speed(nusc):
    speeds = {"moving": [], "parked": [], "with_rider": [], "without_rider": []}
    for row in nusc.instance:
        first = nusc.get("sample_annotation", row["first_annotation_token"])
        if row["nbr_annotations"] == 2 and first["category_name"].startswith("vehicle"):
            (attribute,) = (nusc.get("attribute", token)["name"] for token in first["attribute_tokens"])
            speeds[attribute.split(".")[1]].append(np.linalg.norm(nusc.box_velocity(first["token"])))
    assert len(speeds["moving"]) > 3
    assert min(speeds["moving"] + speeds["with_rider"]) > 3
    assert max(speeds["parked"] + speeds["without_rider"]) < 1e-6


def test_classes_are_those_of_the_devkit(nusc):
    from nuscenes.eval.lidarseg.utils import LidarsegClassMapper

    coarse = LidarsegClassMapper(nusc).fine_idx_2_coarse_idx_mapping
    for kind in KINDS:
        ours = CLASS_OF_KIND[KIND_ID[kind.name]]
        assert coarse[nusc.lidarseg_name2idx_mapping[kind.nuscenes]] == (0 if ours == 255 else ours + 1)


def test_the_devkits_own_evaluation_scores_the_truth_1(nusc, root, tmp_path):
    from nuscenes.eval.lidarseg.evaluate import LidarSegEval
    from nuscenes.eval.lidarseg.utils import LidarsegClassMapper

    mapper, folder = LidarsegClassMapper(nusc), tmp_path / "lidarseg" / "mini_val"
    folder.mkdir(parents=True)
    for name, sample in key_frames(nusc):
        if name in MINI_VAL:
            token = sample["data"]["LIDAR_TOP"]
            truth = np.fromfile(root / nusc.get("lidarseg", token)["filename"], np.uint8)
            answer = mapper.convert_label(truth).astype(np.uint8)
            answer[answer == 0] = 3  # what is ignored may be called anything
            answer.tofile(folder / f"{token}_lidarseg.bin")
    assert LidarSegEval(nusc, str(tmp_path), "mini_val").evaluate()["miou"] == 1.0
    answer[answer == 11] = 13
    answer.tofile(folder / f"{token}_lidarseg.bin")
    assert LidarSegEval(nusc, str(tmp_path), "mini_val").evaluate()["miou"] < 0.99


def test_the_devkits_own_evaluation_agrees_with_ours(nusc, root, tmp_path):
    import torch
    from nuscenes.eval.lidarseg.evaluate import LidarSegEval

    from pointcloud.cli import main
    from pointcloud.config import Net
    from pointcloud.index import read_index
    from pointcloud.model import PointModel
    from pointcloud.runs import About, write_run

    index, heads, net = tmp_path / "index.jsonl", {"classifier": 16}, Net()
    main(["index", "--dataset", "nuscenes", "--root", str(root), "--version", VERSION, "--out", str(index)])
    torch.manual_seed(0)
    classes = read_index(index).dataset.classes
    write_run(tmp_path / "run", About(net, heads, classes, "", {}), PointModel(net, heads))
    line = ["evaluate", "--run", str(tmp_path / "run"), "--index", str(index), "--out", str(tmp_path)]
    main([*line, "--predictions"])
    ours = json.loads((tmp_path / "report.json").read_text())["metrics"]
    theirs = LidarSegEval(nusc, str(tmp_path), "mini_val").evaluate()
    assert ours["miou"] == pytest.approx(theirs["miou"], abs=1e-6)
    assert 0 < ours["miou"] < 0.5
    for name, iou in ours["per_class"].items():
        expected = theirs["iou_per_class"][name.replace(" ", "_")]
        assert iou == pytest.approx(expected, abs=1e-6) if iou is not None else np.isnan(expected)


def test_a_quaternion_is_that_of_the_rotation():
    from pyquaternion import Quaternion

    rng = np.random.default_rng(0)
    turns = [Quaternion(each) for each in rng.standard_normal((20, 4))]
    turns += [Quaternion(axis=axis, degrees=180) for axis in np.eye(3)] + [Quaternion(1, 0, 0, 0)]
    for turn in turns:
        found = quaternion(turn.rotation_matrix)
        assert np.linalg.norm(found) == pytest.approx(1)
        assert Quaternion(found).rotation_matrix == pytest.approx(turn.rotation_matrix, abs=1e-12)
