"""The index: every field comes back, shares of it, what is damaged; and the command that checks files and writes it."""

import json
from dataclasses import fields

import numpy as np
import pytest
from PIL import Image

from ovs3d.errors import InputError
from ovs3d.geometry import Camera
from pointcloud.check import check_frame
from pointcloud.datasets import NAMES, reader
from pointcloud.frame import DepthFile, Frame, Photo, ScanFile
from pointcloud.index import DataSet, read_index, write_index
from pointcloud.index_command import Index

SIZE = (4, 6)
LABEL_MAP = {7: 0, 40: 1, 0: 255}


def same(one, other):
    """Equal, field by field, arrays and nested frames included."""
    if hasattr(one, "__dataclass_fields__"):
        return type(one) is type(other) and all(
            same(getattr(one, each.name), getattr(other, each.name)) for each in fields(one)
        )
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return one == other


def pose(seed):
    return np.vstack([np.random.default_rng(seed).normal(size=(3, 4)), [0, 0, 0, 1]])


def make_frame(root, name="a", scene="s", split="train"):
    """A frame with everything, its files written: three points, a sweep of two, a photo with depth and mask."""
    root.mkdir(exist_ok=True)
    np.arange(12, dtype="<f4").reshape(3, 4).clip(0, 1).tofile(root / f"{name}.bin")
    np.zeros((2, 3), "<f4").tofile(root / f"{name}_sweep.bin")
    np.array([7, 40, 0], np.uint8).tofile(root / f"{name}_labels.bin")
    for end, kind in (("photo", np.uint8), ("depth", np.uint16), ("mask", np.uint8)):
        Image.fromarray(np.zeros(SIZE, kind)).save(root / f"{name}_{end}.png")
    camera = Camera(np.array([[10.0, 0, 3], [0, 11, 2], [0, 0, 1]]), pose(2), *SIZE)
    depth = DepthFile(root / f"{name}_depth.png", np.array([[5.0, 0, 2], [0, 6, 1], [0, 0, 1]]), 0.002)
    photo = Photo(
        "front",
        root / f"{name}_photo.png",
        camera,
        1.375,
        depth,
        root / f"{name}_mask.png",
        (0.1, -0.2, 0.0, 0.3),
    )
    scan = ScanFile(
        root / f"{name}.bin", "bin4", pose(0), 1532402927.647951, root / f"{name}_labels.bin", 2.0
    )
    return Frame(
        name,
        scene,
        split,
        scan,
        (ScanFile(root / f"{name}_sweep.bin", "bin3", pose(1), 0.5),),
        (photo,),
        f"token of {name}",
    )


def dataset(root):
    return DataSet("folder", root, ("car", "road"), LABEL_MAP)


@pytest.fixture
def frame(tmp_path):
    return make_frame(tmp_path)


# The file


def test_every_field_of_a_frame_comes_back(tmp_path, frame):
    photo = Photo("only", frame.photos[0].path, frame.photos[0].camera)
    bare = Frame("b", "t", "val", None, photos=(photo,))
    assert write_index(tmp_path / "x" / "index.jsonl", dataset(tmp_path), [frame, bare]) == 2
    index = read_index(tmp_path / "x" / "index.jsonl")
    assert len(index) == 2
    assert same(index[0], frame)
    assert same(index[1], bare)
    assert (index.names, index.scenes, index.splits) == (("a", "b"), ("s", "t"), ("train", "val"))
    assert (index.dataset.name, index.dataset.classes) == ("folder", ("car", "road"))
    assert index.dataset.label_map == LABEL_MAP


def test_the_comparison_of_frames_sees_a_difference(tmp_path, frame):
    assert same(frame, make_frame(tmp_path))
    assert not same(frame, make_frame(tmp_path, scene="t"))
    assert not same(frame.scan, ScanFile(frame.scan.path, "bin4", pose(5), 0.0))


def test_a_moved_data_set_is_found_under_its_new_root(tmp_path, frame):
    write_index(tmp_path / "index.jsonl", dataset(tmp_path), [frame])
    root = tmp_path / "elsewhere"
    with pytest.raises(InputError, match=r"elsewhere: .* --root"):
        read_index(tmp_path / "index.jsonl", root)
    root.mkdir()
    moved = read_index(tmp_path / "index.jsonl", root)[0]
    assert moved.scan.labels == root / "a_labels.bin"
    assert moved.photos[0].depth.path == root / "a_depth.png"
    assert moved.photos[0].labels == root / "a_mask.png"


def test_no_frames_and_names_that_come_twice_are_errors_and_write_nothing(tmp_path, frame):
    with pytest.raises(InputError, match="no frame"):
        write_index(tmp_path / "index.jsonl", dataset(tmp_path), [])
    with pytest.raises(InputError, match="'a'"):
        write_index(tmp_path / "index.jsonl", dataset(tmp_path), [frame, frame])
    assert not (tmp_path / "index.jsonl").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-7],
        lambda content: b"\n".join(content.splitlines()[:2]) + b"\n",
        lambda content: b"",
        lambda content: b"[1, 2]\n",
        lambda content: content.replace(b"ovs3d points index", b"some other index"),
        lambda content: content.replace(b'"version": 1', b'"version": 2'),
    ],
)
def test_a_damaged_index_is_told(tmp_path, damage):
    path = tmp_path / "index.jsonl"
    write_index(path, dataset(tmp_path), [make_frame(tmp_path, name) for name in "ab"])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"index\.jsonl.*again"):
        read_index(path)


def test_a_missing_index_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(InputError, match="ovs3d-points index"):
        read_index(tmp_path / "index.jsonl")


def test_shares_count_scenes_or_frames(tmp_path):
    scenes = [scene for scene in "cabdefghij" for _ in range(3)]
    there = [make_frame(tmp_path, f"{i}", scene) for i, scene in enumerate(scenes)]
    there.insert(1, make_frame(tmp_path, "v", "v", "val"))
    write_index(tmp_path / "index.jsonl", dataset(tmp_path), there)
    index = read_index(tmp_path / "index.jsonl")

    def chosen(*how):
        return [index.names[position] for position in index.select("train", *how)]

    assert index.select("val") == [1]
    assert chosen() == [str(i) for i in range(30)]
    assert chosen(50.0) == [str(i) for i in range(30) if i // 3 % 2 == 0]
    assert chosen(10.0) == ["0", "1", "2"]
    assert chosen(20.0, "frame") == [str(i) for i in range(0, 30, 5)]
    assert chosen(10.0, "scene", 9) == ["27", "28", "29"]
    assert chosen(20.0, "frame", 2) == [str(i) for i in range(2, 30, 5)]
    for percent, first in ((10.0, 10), (1.0, 10), (100.0, 1), (10.0, -1)):
        with pytest.raises(InputError, match=r"begins with number 0 to \d"):
            index.select("train", percent, "scene", first)
    for wrong in (0.0, -10.0, 30.0, 150.0):
        with pytest.raises(InputError, match="share"):
            index.select("train", wrong)
    with pytest.raises(InputError, match=r"'test'.*train, val"):
        index.select("test")


# Checks


def test_a_whole_frame_is_kept_as_it_is(tmp_path, frame):
    for read in (False, True):
        checked = check_frame(frame, dataset(tmp_path), read)
        assert checked.problems == ()
        assert same(checked.frame, frame)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def gone(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def larger(path):
    Image.fromarray(np.zeros((SIZE[0], SIZE[1] + 1), np.uint8)).save(path)


@pytest.mark.parametrize(
    ("name", "damage", "kept"),
    [
        ("a.bin", cut, None),
        ("a.bin", gone, None),
        ("a.bin", empty, None),
        ("a_labels.bin", cut, None),
        ("a_labels.bin", gone, None),
        ("a_sweep.bin", cut, (0, 1)),
        ("a_sweep.bin", empty, (0, 1)),
        ("a_photo.png", gone, (1, 0)),
        ("a_photo.png", empty, (1, 0)),
        ("a_photo.png", larger, (1, 0)),
        ("a_mask.png", larger, (1, 0)),
        ("a_depth.png", empty, (1, 0)),
    ],
)
def test_a_broken_file_is_named_and_takes_with_it_no_more_than_it_must(tmp_path, frame, name, damage, kept):
    damage(tmp_path / name)
    checked = check_frame(frame, dataset(tmp_path))
    (problem,) = checked.problems
    assert name in problem
    found = checked.frame and (len(checked.frame.sweeps), len(checked.frame.photos))
    assert found == kept


def test_nothing_stops_at_the_first_problem(tmp_path, frame):
    for name in ("a.bin", "a_sweep.bin", "a_photo.png"):
        gone(tmp_path / name)
    checked = check_frame(frame, dataset(tmp_path))
    assert checked.frame is None
    names = ("a.bin", "a_sweep.bin", "a_photo.png")
    assert [name in problem for name, problem in zip(names, checked.problems, strict=True)] == [True] * 3


def test_reading_finds_what_sizes_do_not_tell(tmp_path, frame):
    np.full((3, 4), np.nan, "<f4").tofile(tmp_path / "a.bin")
    assert check_frame(frame, dataset(tmp_path)).problems == ()
    checked = check_frame(frame, dataset(tmp_path), read=True)
    assert checked.frame is None
    assert "3 of 3 points" in checked.problems[0]


def test_a_frame_of_photos_alone_needs_one_of_them(tmp_path, frame):
    alone = Frame("p", "s", "train", None, photos=frame.photos)
    assert same(check_frame(alone, dataset(tmp_path)).frame, alone)
    gone(tmp_path / "a_photo.png")
    assert check_frame(alone, dataset(tmp_path)).frame is None


# The command


def write_folder(root, n=3):
    scans = {}
    for i in range(n):
        np.full((i + 1, 4), 0.5, "<f4").tofile(root / f"{i}.bin")
        np.full(i + 1, 7, np.uint8).tofile(root / f"{i}_labels.bin")
        scans[f"{i}.bin"] = {"scene": "one", "labels": f"{i}_labels.bin", "split": "val" if i else "train"}
    top = {"classes": ["car", "road"], "label_map": {"7": 0}, "scans": scans}
    (root / "cameras.json").write_text(json.dumps(top))


def test_the_command_lists_all_problems_and_keeps_what_can_be_used(tmp_path, capsys):
    write_folder(tmp_path, n=5)
    cut(tmp_path / "1.bin")
    gone(tmp_path / "3.bin")
    np.full(5, 9, np.uint8).tofile(tmp_path / "4_labels.bin")  # an unknown class, not in the first frame
    Index("folder", tmp_path).run()
    out = capsys.readouterr().out
    assert "3 frames (train 1, val 2; 3 with labels of points), 1 scenes, 0 photos, 2 classes" in out
    assert "2 problems:" in out
    assert ["1.bin" in out, "3.bin" in out, "4_labels.bin" in out] == [True, True, False]
    assert read_index(tmp_path / ".ovs3d" / "index.jsonl").names == ("0", "2", "4")
    Index("folder", tmp_path, read_all=True, out=tmp_path / "all.jsonl", split="test").run()
    out = capsys.readouterr().out
    assert "2 frames (test 2;" in out
    assert "raw ids 9" in out
    assert read_index(tmp_path / "all.jsonl").splits == ("test", "test")


def test_the_first_scan_of_a_scene_is_read_whole(tmp_path, capsys):
    write_folder(tmp_path)
    np.full((1, 4), np.inf, "<f4").tofile(tmp_path / "0.bin")
    Index("folder", tmp_path).run()
    assert "1 of 1 points are not finite" in capsys.readouterr().out


def test_a_data_set_without_a_usable_frame_is_an_error_and_its_problems_are_told(tmp_path, capsys):
    write_folder(tmp_path, n=2)
    for i in range(2):
        gone(tmp_path / f"{i}.bin")
    with pytest.raises(InputError, match="no frame that can be used"):
        Index("folder", tmp_path).run()
    assert "2 problems:" in capsys.readouterr().out
    assert not (tmp_path / ".ovs3d").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_version_is_an_error_in_every_data_set(tmp_path, name):
    (tmp_path / "v1.0-mini").mkdir()
    (tmp_path / "v1.0-mini" / "sample_data.json").write_text("[]")
    with pytest.raises(InputError, match=r"v9\.9") as error:
        Index(name, tmp_path, version="v9.9").run()
    if name in ("nuscenes", "nuimages"):
        assert "v1.0-mini" in str(error.value)


def test_an_unknown_data_set_is_told():
    with pytest.raises(InputError, match=r"waymo.*nuscenes"):
        reader("waymo")


def test_recordings_are_exported_of_scannet_only(tmp_path):
    with pytest.raises(InputError, match="scannet"):
        Index("folder", tmp_path, sens_every=20).run()
