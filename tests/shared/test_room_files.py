"""Room worlds in ScanNet's layout, read back by parsers that know nothing of the writer."""

import csv
import json
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from ovs3d.errors import InputError
from ovs3d.geometry import pixel_from_camera, transform
from ovs3d.worlds.rooms.command import Room, split
from ovs3d.worlds.rooms.mesh import scan
from ovs3d.worlds.rooms.room import make_room
from ovs3d.worlds.rooms.views import Sizes, walk
from ovs3d.worlds.rooms.write_scannet import (
    RoomSettings,
    write_exported,
    write_frames_25k,
    write_mesh,
    write_room,
    write_root,
    write_sens,
)

SCENE, N_FRAMES = "scene0002_00", 7


@pytest.fixture(scope="module")
def world():
    return make_room(2)


@pytest.fixture(scope="module")
def shots(world):
    return walk(world, N_FRAMES, Sizes(240, 120))


@pytest.fixture(scope="module")
def mesh(world, shots):
    return scan(world, shots, 0.08)


@pytest.fixture(scope="module")
def root(world, shots, mesh, tmp_path_factory):
    """The same shots in all three layouts, which a user's data set never has."""
    root = tmp_path_factory.mktemp("scannet")
    scene = root / "scans" / SCENE
    scene.mkdir(parents=True)
    write_root(root, ["scene0000_00", "scene0001_00"], [SCENE])
    write_mesh(scene, SCENE, world, mesh)
    write_frames_25k(root / "scannet_frames_25k" / SCENE, world, shots)
    write_sens(scene / f"{SCENE}.sens", shots)
    write_exported(scene, shots)
    return root


def read_ply(path):
    """Columns of the vertices, and the faces."""
    head, body = path.read_bytes().split(b"end_header\n", 1)
    sizes = {"float": "f4", "uchar": "u1", "ushort": "u2"}
    kind, elements = [], []
    for line in head.decode().splitlines():
        words = line.split()
        if words[0] == "element":
            elements.append((words[1], int(words[2])))
        elif words[0] == "property" and words[1] != "list":
            kind.append((words[2], "<" + sizes[words[1]]))
    assert head.startswith(b"ply\nformat binary_little_endian 1.0\n")
    assert b"property list uchar int vertex_indices\n" in head
    (vertex, n_vertices), (face, n_faces) = elements
    assert (vertex, face) == ("vertex", "face")
    vertices = np.frombuffer(body, kind, n_vertices)
    faces = np.frombuffer(body, [("n", "u1"), ("at", "<i4", 3)], n_faces, n_vertices * vertices.itemsize)
    assert len(body) == vertices.nbytes + faces.nbytes
    assert set(faces["n"].tolist()) == {3}
    return vertices, faces["at"]


def read_sens(path):
    data, at = path.read_bytes(), 0

    def take(pattern):
        nonlocal at
        values = struct.unpack_from("<" + pattern, data, at)
        at += struct.calcsize("<" + pattern)
        return values if len(values) > 1 else values[0]

    assert take("I") == 4
    take(f"{take('Q')}s")
    matrices = [np.array(take("16f")).reshape(4, 4) for _ in range(4)]
    codecs, sizes, shift, count = take("ii"), take("4I"), take("f"), take("Q")
    frames = []
    for _ in range(count):
        pose = np.array(take("16f")).reshape(4, 4)
        times, lengths = take("QQ"), take("QQ")
        frames.append((pose, times, take(f"{lengths[0]}s"), take(f"{lengths[1]}s")))
    assert at == len(data)
    return matrices, codecs, sizes, shift, frames


def image(path):
    return np.asarray(Image.open(path))


def category_ids(root):
    with (root / "scannetv2-labels.combined.tsv").open() as file:
        return {row["raw_category"]: int(row["nyu40id"]) for row in csv.DictReader(file, delimiter="\t")}


# Meshes


def test_the_mesh_reads_back_with_labels_in_the_same_order(root, world, mesh):
    scene = root / "scans" / SCENE
    colored, faces = read_ply(scene / f"{SCENE}_vh_clean_2.ply")
    labelled, same_faces = read_ply(scene / f"{SCENE}_vh_clean_2.labels.ply")
    assert colored.dtype.names == ("x", "y", "z", "red", "green", "blue", "alpha")
    assert labelled.dtype.names == (*colored.dtype.names, "label")
    for axis, name in enumerate("xyz"):
        assert (colored[name] == mesh.xyz[:, axis]).all()
        assert (labelled[name] == mesh.xyz[:, axis]).all()
    assert (np.stack([colored[name] for name in ("red", "green", "blue")], axis=1) == mesh.rgb).all()
    assert (faces == mesh.faces).all()
    assert (same_faces == mesh.faces).all()
    assert 0 <= faces.min() < faces.max() < len(colored)
    assert labelled["label"].tolist() == [world.things[index].nyu40 for index in mesh.things]


def test_segments_and_their_aggregation_give_the_labels(root):
    scene = root / "scans" / SCENE
    segments = json.loads((scene / f"{SCENE}_vh_clean_2.0.010000.segs.json").read_text())
    aggregation = json.loads((scene / f"{SCENE}.aggregation.json").read_text())
    assert segments["sceneId"] == SCENE
    assert aggregation["segmentsFile"] == f"scannet.{SCENE}_vh_clean_2.0.010000.segs.json"
    nyu40 = category_ids(root)
    label_of = {}
    for number, group in enumerate(aggregation["segGroups"]):
        assert group["id"] == group["objectId"] == number
        for segment in group["segments"]:
            assert segment not in label_of
            label_of[segment] = nyu40[group["label"]]
    labelled, _ = read_ply(scene / f"{SCENE}_vh_clean_2.labels.ply")
    assert [label_of.get(segment, 0) for segment in segments["segIndices"]] == labelled["label"].tolist()
    assert len(label_of) > 1.5 * len(aggregation["segGroups"]) > 20


# Frames


def test_the_frames_read_back_to_what_was_rendered(root, world, shots):
    folder = root / "scannet_frames_25k" / SCENE
    names = [f"{100 * index:06d}" for index in range(N_FRAMES)]
    for sub, suffix in (
        ("color", "jpg"),
        ("depth", "png"),
        ("pose", "txt"),
        ("label", "png"),
        ("instance", "png"),
    ):
        assert sorted(path.name for path in (folder / sub).iterdir()) == [
            f"{name}.{suffix}" for name in names
        ]
    for name, shot in zip(names, shots, strict=True):
        off = np.abs(image(folder / "color" / f"{name}.jpg").astype(int) - shot.view.rgb)
        assert off.mean() < 4
        depth = image(folder / "depth" / f"{name}.png")
        assert depth.dtype == np.uint16
        assert np.abs(depth / 1000 - shot.depth).max() < 0.00051
        labels = image(folder / "label" / f"{name}.png")
        nyu40 = np.array([each.nyu40 for each in world.things] + [0] * (256 - len(world.things)))
        assert (labels == nyu40[shot.view.labels]).all()
        instances = image(folder / "instance" / f"{name}.png")
        assert instances.dtype == np.uint16
        assert (instances // 1000 == labels).all()
        pairs = {(int(a), int(b)) for a, b in zip(instances.flat, shot.view.labels.flat, strict=True) if a}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_one_frame_has_no_pose_and_the_others_have_that_of_their_camera(root, shots):
    poses = [
        np.loadtxt(root / "scannet_frames_25k" / SCENE / "pose" / f"{100 * i:06d}.txt")
        for i in range(N_FRAMES)
    ]
    assert sum(bool(np.isneginf(pose).all()) for pose in poses) == 1
    for pose, shot in zip(poses, shots, strict=True):
        assert np.isfinite(pose).all() == shot.tracked
        if shot.tracked:
            assert pose == pytest.approx(shot.camera.world_from_camera, abs=1e-7)


def test_intrinsics_have_pixel_centres_at_whole_numbers(root, shots):
    for kind, camera in (("color", shots[0].camera), ("depth", shots[0].depth_camera)):
        expected = np.eye(4)
        expected[:3, :3] = camera.intrinsics
        expected[:2, 2] -= 0.5
        frames = np.loadtxt(root / "scannet_frames_25k" / SCENE / f"intrinsics_{kind}.txt")
        exported = np.loadtxt(root / "scans" / SCENE / "intrinsic" / f"intrinsic_{kind}.txt")
        assert frames == pytest.approx(expected, abs=1e-6)
        assert exported == pytest.approx(expected, abs=1e-6)


def test_vertices_and_pixels_agree_on_depth_label_and_colour(root):
    folder, scene = root / "scannet_frames_25k" / SCENE, root / "scans" / SCENE
    vertices, _ = read_ply(scene / f"{SCENE}_vh_clean_2.labels.ply")
    colored, _ = read_ply(scene / f"{SCENE}_vh_clean_2.ply")
    xyz = np.stack([vertices[name] for name in "xyz"], axis=1).astype(np.float64)
    rgb = np.stack([colored[name] for name in ("red", "green", "blue")], axis=1).astype(int)
    color_k, depth_k = (np.loadtxt(folder / f"intrinsics_{kind}.txt")[:3, :3] for kind in ("color", "depth"))
    agree, off, visible = [], [], np.zeros(len(xyz), bool)
    for path in sorted((folder / "pose").iterdir()):
        pose = np.loadtxt(path)
        if not np.isfinite(pose).all():
            continue
        in_camera = transform(np.linalg.inv(pose), xyz)
        ahead = np.flatnonzero(in_camera[:, 2] > 0.2)
        in_color = np.rint(pixel_from_camera(color_k, in_camera[ahead])).astype(int)
        in_depth = np.rint(pixel_from_camera(depth_k, in_camera[ahead])).astype(int)
        depth = image(folder / "depth" / f"{path.stem}.png") / 1000
        labels = image(folder / "label" / f"{path.stem}.png")
        inside = ((in_color >= 0) & (in_color < labels.shape)).all(1)
        inside &= ((in_depth >= 0) & (in_depth < depth.shape)).all(1)
        ahead, in_color, in_depth = ahead[inside], in_color[inside], in_depth[inside]
        seen = np.abs(depth[tuple(in_depth.T)] - in_camera[ahead, 2]) < 0.05
        ahead, (row, col) = ahead[seen], in_color[seen].T
        visible[ahead] = True
        agree.append(labels[row, col] == vertices["label"][ahead])
        off.append(np.abs(image(folder / "color" / f"{path.stem}.jpg")[row, col] - rgb[ahead]).max(axis=1))
    assert visible.mean() > 0.95
    assert np.concatenate(agree).mean() > 0.97
    assert np.median(np.concatenate(off)) < 8


def test_the_stream_holds_the_same_frames_as_its_export(root, shots):
    scene = root / "scans" / SCENE
    matrices, codecs, sizes, shift, frames = read_sens(scene / f"{SCENE}.sens")
    assert codecs == (2, 1)
    assert sizes == (240, 180, 120, 90)
    assert shift == 1000
    assert matrices[0] == pytest.approx(np.loadtxt(scene / "intrinsic" / "intrinsic_color.txt"), rel=1e-6)
    assert matrices[2] == pytest.approx(np.loadtxt(scene / "intrinsic" / "intrinsic_depth.txt"), rel=1e-6)
    assert (matrices[1] == np.eye(4)).all()
    assert (matrices[3] == np.eye(4)).all()
    assert len(frames) == N_FRAMES
    assert [times[0] for _, times, _, _ in frames] == sorted({times[1] for _, times, _, _ in frames})
    for index, ((pose, _, color, packed), shot) in enumerate(zip(frames, shots, strict=True)):
        assert color == (scene / "color" / f"{index}.jpg").read_bytes()
        assert (
            color == (root / "scannet_frames_25k" / SCENE / "color" / f"{100 * index:06d}.jpg").read_bytes()
        )
        assert Image.open(BytesIO(color)).size == (240, 180)
        depth = np.frombuffer(zlib.decompress(packed), "<u2").reshape(90, 120)
        assert (depth == image(scene / "depth" / f"{index}.png")).all()
        assert (depth > 0).mean() > 0.9
        text = np.loadtxt(scene / "pose" / f"{index}.txt")
        if shot.tracked:
            assert pose == pytest.approx(text, abs=1e-5)
        else:
            assert np.isneginf(pose).all()
            assert np.isneginf(text).all()


# The command


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_writes_the_same_bytes_in_one_process_or_in_two(tmp_path):
    Room(tmp_path / "two", 1, "scannet", 2, "sens", 3, 32, 16, 0.3).run()
    settings = RoomSettings("sens", 3, Sizes(32, 16), 0.3)
    write_root(tmp_path / "one", ["scene0000_00"], ["scene0001_00"])
    kinds = [write_room(tmp_path / "one", f"scene000{i}_00", 6000 + i, settings) for i in range(2)]
    assert kinds == ["bedroom", "living room"]
    found = files(tmp_path / "two")
    assert found == files(tmp_path / "one")
    assert found["ovs3d.yaml"] == b"weights: mini\n"
    assert found["scannetv2_train.txt"] == b"scene0000_00\n"
    assert found["scannetv2_val.txt"] == b"scene0001_00\n"
    assert "scans/scene0001_00/scene0001_00.sens" in found


@pytest.mark.parametrize(
    ("frames", "expected"),
    [("25k", "scannet_frames_25k/scene0000_00/color"), ("exported", "scans/scene0000_00/color")],
)
def test_the_layout_of_frames_is_the_one_that_was_asked_for(tmp_path, frames, expected):
    Room(tmp_path, frames=frames, scenes=1, views=2, color_width=32, depth_width=16, spacing_m=0.3).run()
    assert len(list((tmp_path / expected).iterdir())) == 2
    assert [path.parent for path in tmp_path.rglob("*.jpg")] == [tmp_path / expected] * 2
    assert not list(tmp_path.rglob("*.sens"))


def test_every_fifth_room_is_for_validation():
    names = [str(index) for index in range(12)]
    assert split(names) == (["0", "1", "2", "3", "5", "6", "7", "8", "10", "11"], ["4", "9"])
    assert split(names[:3]) == (["0", "1"], ["2"])
    assert split(names[:1]) == (["0"], [])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"scenes": 0}, "--scenes"),
        ({"views": 1}, "--views"),
        ({"color_width": 30}, "--color-width"),
        ({"depth_width": 12}, "--depth-width"),
        ({"spacing_m": 0.0}, "--spacing-m"),
    ],
)
def test_what_no_room_can_be_made_of_is_refused_before_anything_is_touched(tmp_path, wrong, message):
    with pytest.raises(InputError, match=message):
        Room(tmp_path / "out", **wrong).run()
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("keep me")
    with pytest.raises(InputError, match="--overwrite"):
        Room(tmp_path, scenes=1).run()
    assert files(tmp_path) == {"thesis.txt": b"keep me"}
