"""ScanNet: meshes and labels, both layouts of photos, recordings, masks, and what is missing."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import plyfile
import pytest
from PIL import Image

from ovs3d.errors import InputError
from pointcloud.datasets.scannet import frames, open_dataset
from pointcloud.datasets.scannet_labels import nyu40_of_raw
from pointcloud.datasets.scannet_sens import export_sens
from pointcloud.index import read_index
from pointcloud.index_command import Index
from pointcloud.scans import read_scan

SIZE, DEPTH_SIZE = (6, 10), (4, 7)
COLOR = np.array([[11.0, 0, 4.5, 0], [0, 12, 2.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
DEPTH = np.array([[7.0, 0, 3, 0], [0, 8, 1.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
NYU40 = [1, 39, 22, 0, 5]
XYZ = [[0.0, 1, 2], [3, 4, 5], [6, 7, 8], [-1, 0.5, 2], [2, 2, 0.25]]


def pose_of(i):
    pose = np.eye(4)
    pose[:3, 3] = i, 2 * i, 1.5
    return pose


def write_scene(root, scene, n=5):
    folder = root / "scans" / scene
    folder.mkdir(parents=True)
    kinds = [
        ("x", "f4"),
        ("y", "f4"),
        ("z", "f4"),
        ("red", "u1"),
        ("green", "u1"),
        ("blue", "u1"),
        ("alpha", "u1"),
    ]
    vertices = np.array([(*xyz, 10 * i, 20, 30, 255) for i, xyz in enumerate(XYZ[:n])], kinds)
    labelled = np.array(
        [(*vertex, nyu40) for vertex, nyu40 in zip(vertices.tolist(), NYU40, strict=False)],
        [
            *kinds,
            ("label", "u2"),
        ],
    )
    faces = np.zeros(2, [("vertex_indices", "i4", (3,))])
    for end, each in (("", vertices), (".labels", labelled)):
        elements = [plyfile.PlyElement.describe(each, "vertex"), plyfile.PlyElement.describe(faces, "face")]
        plyfile.PlyData(elements).write(str(folder / f"{scene}_vh_clean_2{end}.ply"))
    return folder


def write_photos(folder, names, spelling):
    for name in ("color", "depth", "pose"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(folder / "color" / f"{name}.jpg")
        Image.fromarray(np.full(DEPTH_SIZE, 1234, np.uint16)).save(folder / "depth" / f"{name}.png")
        np.savetxt(folder / "pose" / f"{name}.txt", pose_of(i))
    (folder / spelling.format("color")).parent.mkdir(exist_ok=True)
    np.savetxt(folder / spelling.format("color"), COLOR)
    np.savetxt(folder / spelling.format("depth"), DEPTH)


def jpeg(value):
    out = BytesIO()
    Image.fromarray(np.full((*SIZE, 3), value, np.uint8)).save(out, format="JPEG")
    return out.getvalue()


def depth_of(i):
    return (np.arange(28).reshape(DEPTH_SIZE) * 10 + i).astype("<u2")


def sens_bytes(n, depth_steps=1000.0, lost=()):
    """A recording, written field by field."""
    parts = [struct.pack("<IQ", 4, 5), b"a cam"]
    parts += [matrix.astype("<f4").tobytes() for matrix in (COLOR, np.eye(4), DEPTH, np.eye(4))]
    parts.append(
        struct.pack("<iiIIIIfQ", 2, 1, SIZE[1], SIZE[0], DEPTH_SIZE[1], DEPTH_SIZE[0], depth_steps, n)
    )
    for i in range(n):
        pose = np.full((4, 4), -np.inf) if i in lost else pose_of(i)
        colour, depth = jpeg(30 * i), zlib.compress(depth_of(i).tobytes())
        parts += [
            pose.astype("<f4").tobytes(),
            struct.pack("<4Q", i, i, len(colour), len(depth)),
            colour,
            depth,
        ]
    return b"".join(parts)


def found(root, version=""):
    problems = []
    return list(frames(root, version, problems.append)), problems


def test_a_scene_is_a_mesh_with_colours_and_class_ids(tmp_path):
    write_scene(tmp_path, "scene0001_02")
    (frame,), _ = found(tmp_path)
    scan = read_scan(frame.scan, open_dataset(tmp_path))
    assert (frame.name, frame.scene) == ("scene0001_02", "scene0001_02")
    assert scan.xyz.tolist() == XYZ
    assert scan.rgb[:, 0].tolist() == [0, 10, 20, 30, 40]
    classes = open_dataset(tmp_path).classes
    assert [classes[k] for k in scan.labels if k != 255] == ["wall", "other furniture", "chair"]
    assert scan.labels[[2, 3]].tolist() == [255, 255]


def test_the_twenty_classes_follow_the_benchmark():
    dataset = open_dataset(Path("."))
    counted = {nyu40: dataset.classes[k] for nyu40, k in dataset.label_map.items() if k != 255}
    assert set(dataset.label_map) == set(range(41))
    assert list(counted) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39]
    assert (counted[14], counted[16], counted[24], counted[28]) == (
        "desk",
        "curtain",
        "refrigerator",
        "shower curtain",
    )


def test_lists_decide_the_split_and_what_they_lack_is_told(tmp_path):
    for scene in ("scene0000_00", "scene0001_00", "scene0002_00", "scene0707_00"):
        write_scene(tmp_path, scene)
    (tmp_path / "scans_test").mkdir()
    (tmp_path / "scans" / "scene0707_00").rename(tmp_path / "scans_test" / "scene0707_00")
    (tmp_path / "scannetv2_train.txt").write_text("scene0001_00\nscene0500_01\n")
    (tmp_path / "scannetv2_val.txt").write_text("scene0000_00\n")
    (tmp_path / "scannetv2_test.txt").write_text("scene0707_00\n")
    there, problems = found(tmp_path)
    assert [(frame.scene, frame.split) for frame in there] == [
        ("scene0000_00", "val"),
        ("scene0001_00", "train"),
        ("scene0707_00", "test"),
    ]
    assert sum("scene0500_01" in problem and "scannetv2_train.txt" in problem for problem in problems) == 1
    assert sum("scene0002_00" in problem and "left out" in problem for problem in problems) == 1


def test_without_lists_every_scene_is_for_tests_and_that_is_told(tmp_path):
    write_scene(tmp_path, "scene0000_00")
    there, problems = found(tmp_path)
    assert [frame.split for frame in there] == ["test"]
    assert sum("scannetv2_train.txt" in problem for problem in problems) == 1


@pytest.mark.parametrize(
    ("place", "spelling"),
    [
        ("scannet_frames_25k/scene0000_00", "intrinsics_{}.txt"),
        ("tasks/scannet_frames_25k/scene0000_00", "intrinsics_{}.txt"),
        ("scans/scene0000_00", "intrinsic/intrinsic_{}.txt"),
    ],
)
def test_photos_are_read_from_either_layout(tmp_path, place, spelling):
    write_scene(tmp_path, "scene0000_00")
    write_photos(tmp_path / place, ["0", "100", "20"], spelling)
    (frame,), problems = found(tmp_path)
    assert [photo.name for photo in frame.photos] == ["0", "20", "100"]
    photo = frame.photos[1]
    assert photo.camera.world_from_camera == pytest.approx(pose_of(2))
    assert (photo.camera.height, photo.camera.width) == SIZE
    # ScanNet counts from the centre of the first pixel, we from its corner
    assert photo.camera.intrinsics == pytest.approx(np.array([[11, 0, 5], [0, 12, 3], [0, 0, 1.0]]))
    assert photo.depth.intrinsics == pytest.approx(np.array([[7, 0, 3.5], [0, 8, 2], [0, 0, 1.0]]))
    assert (photo.depth.path.name, photo.depth.unit_m, photo.labels) == ("20.png", 1e-3, None)
    assert len(problems) == 1  # no lists


def test_photos_without_a_pose_are_left_out_and_counted(tmp_path):
    folder = write_scene(tmp_path, "scene0000_00")
    write_photos(folder, ["0", "1", "2", "3", "4"], "intrinsics_{}.txt")
    (folder / "pose" / "1.txt").write_text("-inf -inf -inf -inf\n" * 4)
    (folder / "pose" / "2.txt").write_text("-inf -inf -inf -inf\n" * 4)
    (folder / "pose" / "3.txt").unlink()
    (folder / "depth" / "4.png").unlink()
    (frame,), problems = found(tmp_path)
    assert [photo.name for photo in frame.photos] == ["0", "4"]
    assert frame.photos[1].depth is None
    told = "\n".join(problems)
    assert "2 poses" in told
    assert "3.txt" in told
    assert "4.png" in told
    (folder / "intrinsics_depth.txt").write_text("1 2 3\n")
    (frame,), problems = found(tmp_path)
    assert frame.photos == ()
    assert any("intrinsics_depth.txt" in problem for problem in problems)


def test_scenes_without_mesh_labels_or_photos_are_told(tmp_path):
    for scene in ("scene0000_00", "scene0001_00"):
        write_scene(tmp_path, scene)
    (tmp_path / "scannetv2_val.txt").write_text("scene0000_00 scene0001_00")
    (tmp_path / "scans/scene0000_00/scene0000_00_vh_clean_2.ply").unlink()
    (tmp_path / "scans/scene0001_00/scene0001_00_vh_clean_2.labels.ply").unlink()
    (tmp_path / "scans/scene0001_00/scene0001_00.sens").touch()
    (frame,), problems = found(tmp_path)
    assert frame.scan.labels is None
    assert [
        "0000_00_vh_clean_2.ply" in problems[0],
        "labels.ply" in problems[1],
        "--sens-every" in problems[2],
    ] == [True] * 3
    with pytest.raises(InputError, match="version"):
        found(tmp_path, "v2")
    with pytest.raises(InputError, match="scans/scene0000_00"):
        found(tmp_path / "scans")


# Masks


def test_masks_become_class_ids_once_by_their_depth_of_bits(tmp_path):
    folder = write_scene(tmp_path, "scene0000_00")
    write_photos(folder, ["0", "1"], "intrinsics_{}.txt")
    (folder / "label").mkdir()
    Image.fromarray(np.repeat(np.array([[1, 22, 39, 0, 5]], np.uint8), 3, 0)).save(folder / "label" / "0.png")
    (folder / "label-filt").mkdir()
    raw = np.full(SIZE, 300, np.uint16)
    raw[1, 3:] = 77
    Image.fromarray(raw).save(folder / "label-filt" / "1.png")
    (frame,), problems = found(tmp_path)
    nyu, missing = frame.photos[0].labels, frame.photos[1].labels
    assert np.asarray(Image.open(nyu)).tolist() == [[0, 0, 255, 255, 19, 19, 255, 255, 4, 4]] * 6
    assert missing is None
    assert sum("combined.tsv" in problem for problem in problems) == 1
    table = 'id\traw_category\tnyu40id\tnyu40class\n300\t"odd chair\t5\tchair\n77\tthing\t40\totherprop\n'
    (tmp_path / "scannetv2-labels.combined.tsv").write_text(table)
    before = nyu.stat().st_mtime_ns
    (frame,), problems = found(tmp_path)
    expected = np.where(raw == 300, 4, 255)
    assert np.asarray(Image.open(frame.photos[1].labels)).tolist() == expected.tolist()
    assert nyu.stat().st_mtime_ns == before
    assert len(problems) == 1  # no lists


def test_the_table_of_raw_ids_is_read_or_refused(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("id\tnyu40id\tx\n1\t1\tq\n1191\t38\tq\n13\t\tq\n")
    assert nyu40_of_raw(path) == {0: 0, 1: 1, 1191: 38, 13: 0}
    path.write_text("id\tnyuClass\n1\t2\n")
    with pytest.raises(InputError, match=r"a\.tsv.*nyu40id"):
        nyu40_of_raw(path)


# Recordings


def test_every_kth_frame_of_a_recording_is_exported(tmp_path):
    (tmp_path / "a.sens").write_bytes(sens_bytes(5, lost=(2,)))
    assert export_sens(tmp_path / "a.sens", tmp_path / "out", every=2) == 3
    names = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert names == [
        *(f"color/{i}.jpg" for i in (0, 2, 4)),
        *(f"depth/{i}.png" for i in (0, 2, 4)),
        "intrinsic/intrinsic_color.txt",
        "intrinsic/intrinsic_depth.txt",
        *(f"pose/{i}.txt" for i in (0, 2, 4)),
    ]
    assert (tmp_path / "out/color/4.jpg").read_bytes() == jpeg(120)
    assert np.asarray(Image.open(tmp_path / "out/depth/4.png")).tolist() == depth_of(4).tolist()
    assert np.loadtxt(tmp_path / "out/pose/4.txt") == pytest.approx(pose_of(4))
    assert np.isinf(np.loadtxt(tmp_path / "out/pose/2.txt")).all()
    assert np.loadtxt(tmp_path / "out/intrinsic/intrinsic_depth.txt") == pytest.approx(DEPTH)


def test_depth_of_a_recording_is_brought_to_millimetres(tmp_path):
    (tmp_path / "a.sens").write_bytes(sens_bytes(1, depth_steps=4000.0))
    export_sens(tmp_path / "a.sens", tmp_path, every=1)
    assert np.asarray(Image.open(tmp_path / "depth/0.png")) == pytest.approx(
        np.rint(depth_of(0) / 4), abs=0.5
    )


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        (lambda data: data[:-1], "frame 2"),
        (lambda data: data[:200], "header"),
        (lambda data: struct.pack("<I", 5) + data[4:], "version 4, found 5"),
        (lambda data: data[:273] + struct.pack("<i", 7) + data[277:], "codecs 7"),
        (lambda data: data[:-9] + bytes(9), "depth of frame 2"),
    ],
)
def test_a_damaged_recording_is_told_and_counts_as_not_exported(tmp_path, change, fragment):
    folder = write_scene(tmp_path, "scene0000_00")
    (folder / "scene0000_00.sens").write_bytes(change(sens_bytes(3)))
    with pytest.raises(InputError, match=rf"scene0000_00\.sens: .*{fragment}"):
        export_sens(folder / "scene0000_00.sens", folder, every=1)
    (frame,), problems = found(tmp_path)
    assert frame.photos == ()
    assert any("intrinsic" in problem or "no photos" in problem for problem in problems)


def test_only_a_positive_step_exports(tmp_path):
    with pytest.raises(InputError, match="every -2"):
        export_sens(tmp_path / "a.sens", tmp_path, every=-2)
    with pytest.raises(InputError, match=r"a\.sens: no such file"):
        export_sens(tmp_path / "a.sens", tmp_path, every=2)


def test_the_index_command_exports_recordings_once(tmp_path, capsys):
    folder = write_scene(tmp_path, "scene0000_00")
    (folder / "scene0000_00.sens").write_bytes(sens_bytes(5, lost=(0,)))
    Index("scannet", tmp_path, sens_every=2, split="val").run()
    out = capsys.readouterr().out
    assert "scene0000_00: 3 frames exported" in out
    assert "1 frames (val 1; 1 with labels of points), 1 scenes, 2 photos, 20 classes" in out
    assert [photo.name for photo in read_index(tmp_path / ".ovs3d/index.jsonl")[0].photos] == ["2", "4"]
    Index("scannet", tmp_path, sens_every=2).run()
    assert "exported" not in capsys.readouterr().out
