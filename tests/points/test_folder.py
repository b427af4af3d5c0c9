"""Any folder of point files: what cameras.json says, one line per mistake in it, and a real recording."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovs3d.errors import InputError
from ovs3d.geometry import pixel_from_camera, transform
from pointcloud.datasets.folder import frames, open_dataset
from pointcloud.index import read_index
from pointcloud.index_command import Index
from pointcloud.scans import read_scan

ROOT = Path(__file__).parents[2]
PANDASET = ROOT.parent / "shared" / "data" / "pandaset_002"
POSE = [[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]]
CAMERA_FROM_SCAN = [[0, -1, 0, 0.1], [0, 0, -1, 0.2], [1, 0, 0, -0.3], [0, 0, 0, 1]]
K = [[100, 0, 16], [0, 110, 9], [0, 0, 1]]
PHOTO = {"path": "photos/a.png", "size": [18, 32], "intrinsics": K, "camera_from_scan": CAMERA_FROM_SCAN}
POINTS = np.array([[5.0, 1, 0.5, 10], [6, -1, 0.25, 200], [7, 0, 0, 30]], "<f4")


def write(root, top=None):
    """Three scans, two in subfolders, and a photo; ``cameras.json`` where given."""
    for name in ("drive/1.bin", "drive/2.bin", "other.pcd.bin"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        rows = np.column_stack([POINTS, np.ones(3)]) if "pcd" in name else POINTS
        rows.astype("<f4").tofile(root / name)
    (root / "photos").mkdir(exist_ok=True)
    Image.fromarray(np.zeros((18, 32, 3), np.uint8)).save(root / "photos" / "a.png")
    np.array([7, 13, 4], np.uint8).tofile(root / "drive" / "1.labels.bin")
    if top is not None:
        (root / "cameras.json").write_text(top if isinstance(top, str) else json.dumps(top))
    return root


def found(root, version=""):
    problems = []
    return list(frames(root, version, problems.append)), problems


def full_json():
    return {
        "classes": ["car", "road"],
        "label_map": {"13": 0, "7": 1, "4": 255},
        "split": "train",
        "format": "bin4",
        "intensity_max": 250,
        "scans": {
            "drive/1.bin": {
                "time_s": 2.5,
                "labels": "drive/1.labels.bin",
                "photos": [PHOTO],
                "world_from_scan": POSE,
            },
            "drive/2.bin": {"scene": "town", "split": "val", "sweeps": ["drive/1.bin"]},
            "other.pcd.bin": {"format": "bin5"},
        },
    }


def test_without_json_every_point_file_is_a_test_frame(tmp_path):
    write(tmp_path)
    (tmp_path / ".ovs3d").mkdir()
    (tmp_path / ".ovs3d" / "old.bin").touch()
    (tmp_path / "drive" / "1.labels.bin").unlink()
    np.save(tmp_path / "drive" / "2.npy", POINTS)
    there, problems = found(tmp_path)
    assert [(frame.name, frame.scene, frame.scan.format, frame.split) for frame in there] == [
        ("drive__1", "drive", "bin4", "test"),
        ("drive__2.bin", "drive", "bin4", "test"),
        ("drive__2.npy", "drive", "npy", "test"),
        ("other.pcd", tmp_path.name, "bin5", "test"),
    ]
    assert [(frame.photos, frame.sweeps, frame.scan.labels) for frame in there] == [((), (), None)] * 4
    assert problems == []
    assert open_dataset(tmp_path).classes == ()


def test_json_gives_classes_poses_photos_and_sweeps(tmp_path):
    write(tmp_path, full_json())
    there, problems = found(tmp_path)
    first, second, third = there
    assert problems == []
    assert [frame.split for frame in there] == ["train", "val", "train"]
    assert [frame.scene for frame in there] == ["drive", "town", tmp_path.name]
    dataset = open_dataset(tmp_path)
    scan = read_scan(first.scan, dataset)
    assert scan.labels.tolist() == [1, 0, 255]
    assert scan.intensity == pytest.approx([0.04, 0.8, 0.12])
    assert (scan.time_s, scan.world_from_scan.tolist()) == (2.5, POSE)
    assert [(sweep.path.name, sweep.labels) for sweep in second.sweeps] == [("1.bin", None)]
    assert second.sweeps[0].world_from_scan.tolist() == POSE
    assert third.scan.format == "bin5"
    assert second.photos == ()


def test_a_camera_fixed_to_the_scan_moves_with_it(tmp_path):
    write(tmp_path, full_json())
    (photo,) = found(tmp_path)[0][0].photos
    point = np.array([[5.0, 1, 0.5]])
    in_camera = transform(photo.camera.camera_from_world, transform(np.array(POSE, float), point))
    assert in_camera[0] == pytest.approx([-0.9, -0.3, 4.7])
    assert pixel_from_camera(photo.camera.intrinsics, in_camera)[0] == pytest.approx(
        [9 - 110 * 0.3 / 4.7, 16 - 100 * 0.9 / 4.7]
    )
    assert (photo.name, photo.time_s, photo.camera.height, photo.camera.width) == (
        "photos/a.png",
        2.5,
        18,
        32,
    )


def test_a_photo_may_have_its_own_pose_time_distortion_depth_and_mask(tmp_path):
    top = full_json()
    photo = {key: value for key, value in PHOTO.items() if key != "camera_from_scan"}
    depth = {"path": "photos/d.png", "intrinsics": [[50, 0, 8], [0, 55, 4.5], [0, 0, 1]], "unit_m": 0.002}
    more = {
        "name": "left",
        "world_from_camera": POSE,
        "time_s": 2.25,
        "distortion": [0.1, 0, -0.01, 0.02, 0.3],
    }
    top["scans"]["drive/1.bin"]["photos"] = [photo | more | {"depth": depth, "labels": "photos/l.png"}]
    write(tmp_path, top)
    (photo,) = found(tmp_path)[0][0].photos
    assert photo.camera.world_from_camera.tolist() == POSE
    assert (photo.name, photo.time_s, photo.distortion) == ("left", 2.25, (0.1, 0, -0.01, 0.02, 0.3))
    assert (photo.depth.unit_m, photo.depth.intrinsics[1, 1], photo.depth.path.name) == (0.002, 55, "d.png")
    assert photo.labels == tmp_path / "photos" / "l.png"


MIRRORED = [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ({"world_from_scan": [[1, 0], [0, 1]]}, r"world_from_scan: expected 4 lines of 4 numbers"),
        ({"world_from_scan": MIRRORED}, r"no rotation"),
        ({"world_from_scan": [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]}, "no rotation"),
        ({"world_from_scan": [[1, 0, 0, "x"], *POSE[1:]]}, r"world_from_scan: .*\"x\""),
        ({"time_s": "noon"}, r"time_s: expected a number, found \"noon\""),
        ({"time_s": True}, r"time_s: expected a number, found true"),
        ({"split": "valid"}, r"split: expected one of train, val, test"),
        ({"format": "las"}, r"format: expected one of nuscenes"),
        ({"pose": POSE}, r"unknown key 'pose'; known are format"),
        ({"labels": "../secret.bin"}, r"labels: expected a path inside"),
        ({"labels": 7}, r"labels: expected a path, found 7"),
        ({"sweeps": ["drive/9.bin"]}, r"sweeps: .*'drive/9.bin'"),
        ({"photos": [PHOTO, 3]}, r"photos: expected a list of objects"),
        ({"photos": [PHOTO, PHOTO]}, r"photos: expected names that differ"),
    ],
)
def test_a_mistake_in_a_scan_is_one_line_and_the_others_are_read(tmp_path, change, fragment):
    top = full_json()
    top["scans"]["drive/2.bin"] |= change
    write(tmp_path, top)
    there, problems = found(tmp_path)
    assert [frame.name for frame in there] == ["drive__1", "other.pcd"]
    (problem,) = problems
    assert "\n" not in problem
    with pytest.raises(InputError, match=rf"cameras\.json\.scans\['drive/2\.bin'\].*{fragment}"):
        raise InputError(problem)


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ({"path": None}, "path"),
        ({"size": [18.5, 32]}, r"size: expected \[height, width\]"),
        ({"size": [18, 32, 3]}, r"size: expected \[height, width\]"),
        ({"size": [0, 32]}, "size"),
        ({"intrinsics": [[100, 1, 16], [0, 110, 9], [0, 0, 1]]}, "intrinsics: expected fx 0 cx"),
        ({"intrinsics": [[-100, 0, 16], [0, 110, 9], [0, 0, 1]]}, "intrinsics"),
        ({"intrinsics": [[100, 0, 16, 0], [0, 110, 9, 0], [0, 0, 1, 0]]}, "intrinsics"),
        ({"world_from_camera": POSE}, "either world_from_camera or camera_from_scan, found 2"),
        ({"distortion": [0.1] * 7}, "distortion: expected up to 6"),
        ({"depth": {"path": "d.png"}}, r"depth: expected 'intrinsics'"),
        ({"depth": {"path": "d.png", "intrinsics": K, "unit_m": 0}}, r"depth.unit_m: expected a positive"),
        ({"time_s": float("nan")}, "time_s"),
        ({"fov": 90}, "unknown key 'fov'"),
    ],
)
def test_a_mistake_in_a_photo_leaves_out_only_that_photo(tmp_path, change, fragment):
    top = full_json()
    top["scans"]["drive/1.bin"]["photos"] = [PHOTO | change, PHOTO | {"name": "good"}]
    write(tmp_path, top)
    there, problems = found(tmp_path)
    assert [len(frame.photos) for frame in there] == [1, 0, 0]
    assert there[0].photos[0].name == "good"
    (problem,) = problems
    with pytest.raises(InputError, match=rf"photos\[0\].*{fragment}"):
        raise InputError(problem)


@pytest.mark.parametrize(
    ("top", "fragment"),
    [
        ("{not json", "cannot be read as JSON"),
        ("[1, 2]", "expected an object"),
        ({"clases": ["a"]}, "unknown key 'clases'"),
        ({"classes": ["a", "a"]}, "none twice"),
        ({"classes": "a"}, "list of texts"),
        ({"classes": ["a"], "label_map": {"3": 1}}, "class ids 0 to 0 or 255"),
        ({"classes": ["a"], "label_map": {"three": 0}}, "raw ids in quotes"),
        ({"split": "all"}, "one of train, val, test"),
        ({"intensity_max": 0}, "positive number"),
        ({"scans": {"drive/1.bin": []}}, "expected an object"),
        ({"scans": {}}, "expected point files"),
    ],
)
def test_mistakes_of_the_whole_file_are_errors(tmp_path, top, fragment):
    write(tmp_path, top)
    with pytest.raises(InputError, match=fragment):
        open_dataset(tmp_path), found(tmp_path)


def test_a_folder_without_points_and_no_folder_are_errors(tmp_path):
    with pytest.raises(InputError, match="expected point files"):
        found(tmp_path)
    with pytest.raises(InputError, match="expected a folder"):
        found(tmp_path / "gone")
    with pytest.raises(InputError, match="one version only"):
        open_dataset(tmp_path, "v1")


@pytest.mark.skipif(not PANDASET.exists(), reason="the real PandaSet sequence is not on this machine")
def test_points_of_a_real_recording_land_on_what_they_hit(tmp_path, capsys):
    converter = runpy.run_path(str(ROOT / "scripts" / "pandaset_folder.py"))["PandasetFolder"]
    converter(PANDASET, tmp_path, train=(40,), val=(41,)).run()
    Index("folder", tmp_path).run()
    assert "problem" not in capsys.readouterr().out
    index = read_index(tmp_path / ".ovs3d" / "index.jsonl")
    frame = index[1]
    scan = read_scan(frame.scan, index.dataset)
    assert [sweep.path.stem for sweep in frame.sweeps] == ["40"]
    green, seen = {"vegetation": [], "road": []}, np.zeros(len(scan.xyz), bool)
    for photo in frame.photos:
        rgb = np.asarray(Image.open(photo.path)).astype(float)
        height, width = photo.camera.height, photo.camera.width
        points = transform(
            photo.camera.camera_from_world, transform(scan.world_from_scan, scan.xyz.astype(float))
        )
        row_col = np.floor(pixel_from_camera(photo.camera.intrinsics, points)).astype(int)
        inside = ((row_col >= 0) & (row_col < (height, width))).all(axis=1) & (points[:, 2] > 1)
        seen |= inside
        for name, values in green.items():
            here = inside & (scan.labels == index.dataset.classes.index(name)) & (points[:, 2] < 30)
            colours = rgb[row_col[here, 0], row_col[here, 1]]
            values.extend(colours[:, 1] - colours[:, [0, 2]].mean(axis=1))
    assert seen.mean() > 0.95
    assert np.mean(green["vegetation"]) > 8 + np.mean(green["road"])  # leaves are greener than asphalt


def test_the_example_of_the_documentation_is_understood(tmp_path, capsys):
    example = (ROOT / "docs" / "data.md").read_text().split("```json\n")[1].split("```")[0]
    (tmp_path / "cameras.json").write_text(example)
    (tmp_path / "drive" / "front").mkdir(parents=True)
    (POINTS / [1, 1, 1, 255]).astype("<f4").tofile(tmp_path / "drive" / "000010.bin")
    np.array([13, 7, 4], "<u4").tofile(tmp_path / "drive" / "000010.label")
    Image.new("RGB", (1600, 900)).save(tmp_path / "drive" / "front" / "000010.jpg")
    Index("folder", tmp_path).run()
    assert "problem" not in capsys.readouterr().out
    index = read_index(tmp_path / ".ovs3d" / "index.jsonl")
    (position,) = index.select("train")
    (photo,) = index[position].photos
    ahead = transform(np.linalg.inv(photo.camera.world_from_camera), np.array([[9.0, 0, 0]]))
    assert ahead[0, 2] == pytest.approx(8.3)
    assert read_scan(index[position].scan, index.dataset).labels.tolist() == [0, 1, 255]
