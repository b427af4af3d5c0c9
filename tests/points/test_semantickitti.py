"""SemanticKITTI: where a known point lands in a photo, poses in the LiDAR's frame, splits, and what is missing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovs3d.errors import InputError
from ovs3d.geometry import pixel_from_camera, transform
from pointcloud.datasets.semantickitti import frames, open_dataset, read_calibration
from pointcloud.index_command import Index
from pointcloud.scans import read_scan

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "semantickitti_00"
TR = "0 -1 0 0.1 0 0 -1 -0.2 1 0 0 -0.3"  # camera: right = -y, down = -z, ahead = x of the LiDAR
P2 = "700 0 600 45.5 0 710 180 -0.35 0 0 1 0.004"
# camera 0 drives 2 m ahead per scan, and turns to the left by a right angle at the third
POSES = ("1 0 0 0 0 1 0 0 0 0 1 0", "1 0 0 0 0 1 0 0 0 0 1 2", "0 0 -1 0 0 1 0 0 1 0 0 4")
SIZE = (6, 20)


def write_sequence(folder, n=3):
    """Scans of one more point each; labels with instances in the upper half."""
    for name in ("velodyne", "labels", "image_2"):
        (folder / name).mkdir(parents=True)
    for i in range(n):
        points = np.array([[5.0 + j, -1, 0.5, 0.25] for j in range(i + 1)], "<f4")
        points.tofile(folder / "velodyne" / f"{i:06d}.bin")
        (10 + (np.arange(i + 1, dtype="<u4") << 16)).astype("<u4").tofile(
            folder / "labels" / f"{i:06d}.label"
        )
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(folder / "image_2" / f"{i:06d}.png")
    (folder / "calib.txt").write_text(f"P0: {P2}\nP2: {P2}\nTr: {TR}\n")
    (folder / "poses.txt").write_text("\n".join(POSES[:n]) + "\n")
    (folder / "times.txt").write_text("".join(f"{i * 0.1:e}\n" for i in range(n)))
    return folder


def found(root, version=""):
    problems = []
    return list(frames(root, version, problems.append)), problems


def test_a_sequence_is_a_scene_and_numbers_decide_its_split(tmp_path):
    for sequence in ("03", "08", "15"):
        write_sequence(tmp_path / "sequences" / sequence, n=2)
    there, problems = found(tmp_path)
    assert [(frame.name, frame.scene, frame.split) for frame in there[::2]] == [
        ("03_000000", "03", "train"),
        ("08_000000", "08", "val"),
        ("15_000000", "15", "test"),
    ]
    assert [frame.scan.time_s for frame in there[:2]] == [0.0, 0.1]
    assert problems == []


def test_a_point_lands_where_the_matrices_of_the_file_put_it(tmp_path):
    write_sequence(tmp_path / "sequences" / "00")
    (*_, frame), _ = found(tmp_path)
    point = np.array([[8.0, -1.5, 0.4]])
    in_camera0 = np.array(TR.split(), float).reshape(3, 4) @ [8, -1.5, 0.4, 1]
    col, row, depth = np.array(P2.split(), float).reshape(3, 4) @ [*in_camera0, 1]
    camera = frame.photos[0].camera
    in_camera = transform(camera.camera_from_world, transform(frame.scan.world_from_scan, point))
    # KITTI counts from the centre of the first pixel, we from its corner
    assert pixel_from_camera(camera.intrinsics, in_camera)[0] == pytest.approx(
        [row / depth + 0.5, col / depth + 0.5]
    )
    assert in_camera[0, 2] == pytest.approx(depth)
    assert (camera.height, camera.width) == SIZE


def test_poses_of_the_camera_become_poses_of_the_lidar(tmp_path):
    write_sequence(tmp_path / "sequences" / "00")
    there, _ = found(tmp_path)
    poses = [frame.scan.world_from_scan for frame in there]
    assert poses[0] == pytest.approx(np.eye(4))
    assert transform(poses[1], np.zeros((1, 3)))[0] == pytest.approx([2, 0, 0])
    # a camera that turned left looks along the world's y; it sits 0.3 m behind the LiDAR's origin and turned there
    assert poses[2][:3, :3] @ [1, 0, 0] == pytest.approx([0, 1, 0])
    at_camera = np.array([[0.3, 0.1, -0.2]])  # what Tr moves to the camera's origin
    assert transform(poses[2], at_camera)[0] == pytest.approx([4.3, 0.1, -0.2])


def test_earlier_scans_are_sweeps_the_latest_first_and_without_labels(tmp_path):
    folder = write_sequence(tmp_path / "sequences" / "00")
    there, _ = found(tmp_path)
    assert [len(frame.sweeps) for frame in there] == [0, 1, 2]
    assert [sweep.path.stem for sweep in there[2].sweeps] == ["000001", "000000"]
    assert there[2].sweeps[0].world_from_scan.tolist() == there[1].scan.world_from_scan.tolist()
    assert all(sweep.labels is None for sweep in there[2].sweeps)
    (folder / "poses.txt").unlink()
    there, problems = found(tmp_path)
    assert [len(frame.sweeps) for frame in there] == [0, 0, 0]
    assert there[2].scan.world_from_scan.tolist() == np.eye(4).tolist()
    assert [str(folder / "poses.txt") in problem for problem in problems] == [True]


def test_at_most_nine_sweeps_belong_to_a_scan(tmp_path):
    folder = write_sequence(tmp_path / "sequences" / "00", n=3)
    for i in range(3, 12):
        (folder / "velodyne" / f"{i:06d}.bin").write_bytes(bytes(16))
    (folder / "poses.txt").write_text("\n".join([POSES[1]] * 12))
    (folder / "times.txt").write_text("0.5\n" * 12)
    there, problems = found(tmp_path)
    assert [sweep.path.stem for sweep in there[-1].sweeps] == [f"{i:06d}" for i in range(10, 1, -1)]
    assert len(problems) == 18  # a photo and labels for each of the nine new scans


def test_missing_and_broken_files_are_told_and_the_rest_is_read(tmp_path):
    folder = write_sequence(tmp_path / "dataset" / "sequences" / "07")
    (folder / "labels" / "000001.label").unlink()
    (folder / "image_2" / "000002.png").write_bytes(b"no picture")
    (folder / "times.txt").write_text("0.0\n0.1\n")
    there, problems = found(tmp_path)
    assert [frame.name for frame in there] == ["07_000000", "07_000001"]
    assert there[1].scan.labels is None
    assert [
        name in problem for name, problem in zip(("000001.label", "000002.bin"), problems, strict=True)
    ] == [
        True,
        True,
    ]
    (folder / "times.txt").unlink()
    (folder / "calib.txt").write_text(f"P2: {P2}\nTr: 1 2 3\n")
    there, problems = found(tmp_path)
    assert [frame.photos for frame in there] == [(), (), ()]
    assert all(frame.sweeps == () for frame in there)
    assert sum("calib.txt" in problem for problem in problems) == 2


def test_a_wrong_root_and_a_version_are_errors(tmp_path):
    with pytest.raises(InputError, match="sequences"):
        found(tmp_path)
    (tmp_path / "sequences").mkdir()
    with pytest.raises(InputError, match="00 to 21"):
        found(tmp_path)
    with pytest.raises(InputError, match=r"v1\.0"):
        found(tmp_path, "v1.0")


def test_raw_ids_follow_the_benchmark():
    dataset = open_dataset(Path("."))
    name = {raw: None if k == 255 else dataset.classes[k] for raw, k in dataset.label_map.items()}
    assert len(name) == 34
    assert (name[10], name[252], name[18], name[258]) == ("car", "car", "truck", "truck")
    assert (name[13], name[257], name[259]) == ("other vehicle",) * 3
    assert (name[31], name[253], name[32], name[255]) == (
        "bicyclist",
        "bicyclist",
        "motorcyclist",
        "motorcyclist",
    )
    assert (name[60], name[72], name[81]) == ("road", "terrain", "traffic sign")
    assert [raw for raw, meaning in name.items() if meaning is None] == [0, 1, 52, 99]


def test_the_index_command_reads_what_was_written(tmp_path, capsys):
    write_sequence(tmp_path / "sequences" / "08")
    Index("semantickitti", tmp_path, read_all=True).run()
    out = capsys.readouterr().out
    assert "3 frames (val 3; 3 with labels of points), 1 scenes, 3 photos, 19 classes" in out
    assert "problem" not in out


@pytest.mark.skipif(not REAL.exists(), reason="the real scan of sequence 00 is not on this machine")
def test_the_real_scan_has_its_classes_and_its_ground_below_the_lidar(tmp_path):
    folder = tmp_path / "sequences" / "00"
    folder.mkdir(parents=True)
    for name in ("velodyne", "labels"):
        (folder / name).symlink_to(REAL / "full" / name)
    (folder / "calib.txt").symlink_to(REAL / "calib.txt")
    (frame,), problems = found(tmp_path)
    assert len(problems) == 3  # no poses, times or photos
    dataset = open_dataset(tmp_path)
    scan = read_scan(frame.scan, dataset)
    assert len(scan.xyz) == 124_668
    counts = {name: int((scan.labels == i).sum()) for i, name in enumerate(dataset.classes)}
    assert (counts["car"], counts["road"], counts["building"]) == (4234, 34228 + 1053, 18268)
    road = scan.xyz[scan.labels == dataset.classes.index("road")]
    assert np.median(road[:, 2]) == pytest.approx(-1.73, abs=0.15)  # the LiDAR stands 1.73 m above the ground
    calibration = read_calibration(REAL / "calib.txt")
    ahead = transform(calibration.camera2_from_scan, np.array([[20.0, 0, -0.5]]))
    assert ahead[0, 2] == pytest.approx(20 - 0.29, abs=0.1)
    assert pixel_from_camera(calibration.intrinsics, ahead)[0] == pytest.approx([203, 608], abs=12)
