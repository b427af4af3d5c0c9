"""Point files of every format: what is written comes back, and what is broken is told in one line."""

import struct

import numpy as np
import plyfile
import pytest

from ovs3d.errors import InputError
from pointcloud.frame import ScanFile
from pointcloud.index import DataSet
from pointcloud.label_files import class_ids, count_labels, read_labels
from pointcloud.pcd import unpack_lzf
from pointcloud.scans import FORMATS, format_of, read_scan

N = 7
LABEL_MAP = {0: 255, 3: 0, 10: 2, 252: 1}
RAW = np.array([3, 10, 0, 252, 3, 10, 0])
CLASS_IDS = [0, 2, 255, 1, 0, 2, 255]


@pytest.fixture
def rows():
    """x, y, z, intensity (0..1), ring."""
    rng = np.random.default_rng(5)
    return np.column_stack([rng.normal(0, 20, (N, 3)), rng.random(N), np.arange(N)]).astype("<f4")


def read(path, form, labels=None, intensity_max=None, label_map=LABEL_MAP):
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    file = ScanFile(path, form, pose, 4.5, labels, intensity_max)
    return read_scan(file, DataSet("folder", path.parent, ("a", "b", "c"), label_map))


def fails(*fragments, **reading):
    """The one line that reading such a file gives."""
    with pytest.raises(InputError) as error:
        read(**reading)
    message = str(error.value)
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message


def write_pcd(path, fields, kinds, columns, data, count=None):
    """A PCD of columns; ``data`` ascii, binary or binary_compressed (literals and no more)."""
    row = np.dtype([(name, kind) for name, kind in zip(fields, kinds, strict=True)])
    points = np.empty(len(columns[0]), row)
    for name, column in zip(fields, columns, strict=True):
        points[name] = column
    types = {"f": "F", "u": "U", "i": "I"}
    header = [
        "# .PCD v0.7",
        "VERSION 0.7",
        f"FIELDS {' '.join(fields)}",
        f"SIZE {' '.join(str(row[name].itemsize) for name in fields)}",
        f"TYPE {' '.join(types[row[name].kind] for name in fields)}",
        f"COUNT {' '.join('1' for _ in fields)}",
        f"WIDTH {count or len(points)}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {count or len(points)}",
        f"DATA {data}",
        "",
    ]
    if data == "ascii":
        body = "".join(" ".join(repr(value) for value in point.tolist()) + "\n" for point in points).encode()
    elif data == "binary":
        body = points.tobytes()
    else:
        plain = b"".join(points[name].tobytes() for name in fields)
        packed = b"".join(
            bytes([len(plain[i : i + 32]) - 1]) + plain[i : i + 32] for i in range(0, len(plain), 32)
        )
        body = struct.pack("<II", len(packed), len(plain)) + packed
    path.write_bytes("\n".join(header).encode() + body)


# Formats


@pytest.mark.parametrize(("form", "columns"), [("bin3", 3), ("bin4", 4), ("semantickitti", 4), ("bin5", 5)])
def test_raw_floats_come_back_in_order(tmp_path, rows, form, columns):
    path = tmp_path / "a.bin"
    path.write_bytes(rows[:, :columns].tobytes())
    scan = read(path, form)
    assert scan.xyz.tolist() == rows[:, :3].tolist()
    assert scan.xyz.dtype == np.float32
    if columns == 3:
        assert scan.intensity is None
    else:
        assert scan.intensity.tolist() == rows[:, 3].tolist()
    assert (scan.time_s, scan.world_from_scan[1, 1], scan.labels) == (4.5, -1, None)


def test_the_strongest_return_of_nuscenes_is_255(tmp_path, rows):
    rows[:, 3] = [0, 51, 255, 7, 102, 204, 1]
    (tmp_path / "a.pcd.bin").write_bytes(rows.tobytes())
    scan = read(tmp_path / "a.pcd.bin", "nuscenes")
    assert scan.intensity == pytest.approx([0, 0.2, 1, 7 / 255, 0.4, 0.8, 1 / 255])


def test_intensities_out_of_range_are_refused_and_a_stated_range_cures_it(tmp_path, rows):
    rows[:, 3] *= 90 / rows[:, 3].max()
    path = tmp_path / "a.bin"
    path.write_bytes(rows.tobytes())
    fails("a.bin", "to 90", "intensity_max", path=path, form="bin5")
    assert read(path, "bin5", intensity_max=180.0).intensity.max() == pytest.approx(0.5)
    rows[2, 3] = np.nan
    path.write_bytes(rows.tobytes())
    fails("intensities", path=path, form="bin5", intensity_max=180.0)


def test_arrays_have_meanings_by_their_number_of_columns(tmp_path, rows):
    path = tmp_path / "a.npy"
    colours = np.arange(3 * N).reshape(N, 3) * 12
    for columns in (3, 4, 5):
        np.save(path, rows[:, :columns].astype(float))
        scan = read(path, "npy")
        assert scan.xyz.tolist() == rows[:, :3].tolist()
        assert (scan.intensity is None) == (columns == 3)
        assert scan.rgb is None
    np.save(path, np.column_stack([rows[:, :3], colours]))
    scan = read(path, "npy")
    assert scan.rgb.tolist() == colours.tolist()
    assert scan.intensity is None
    np.save(path, np.column_stack([rows[:, :3], colours / 255]))
    fails("colours", path=path, form="npy")
    np.save(path, np.ones((N, 7)))
    fails("a.npy", "(7, 7)", path=path, form="npy")


def test_an_archive_holds_points_and_their_labels(tmp_path, rows):
    path = tmp_path / "a.npz"
    intensity = np.array([0, 51, 255, 7, 102, 204, 1], np.uint8)
    colours = np.arange(3 * N, dtype=np.uint8).reshape(N, 3)
    np.savez_compressed(path, xyz=rows[:, :3], intensity=intensity, rgb=colours, label=RAW, other=np.ones(2))
    scan = read(path, "npz", labels=path)
    assert scan.xyz.tolist() == rows[:, :3].tolist()
    assert scan.intensity[1] == pytest.approx(0.2)
    assert scan.rgb.tolist() == colours.tolist()
    assert scan.labels.tolist() == CLASS_IDS
    assert format_of(ScanFile(path, "npz", np.eye(4), 0.0)).count(path) == N
    np.savez(path, points=rows)
    fails("a.npz", "points", path=path, form="npz")
    np.savez(path, xyz=rows[:, :3], intensity=intensity[:-1])
    fails("6 values of intensity for 7", path=path, form="npz")
    np.savez(path, xyz=rows[:, :3])
    fails("a.npz", "labels", path=path, form="npz", labels=path)


@pytest.mark.parametrize("ascii_text", [False, True])
@pytest.mark.parametrize("corners", [0, 3, 4])
def test_vertices_of_a_ply_come_back_whatever_its_faces(tmp_path, rows, ascii_text, corners):
    kinds = [
        ("x", "f8"),
        ("y", "f8"),
        ("z", "f8"),
        ("red", "u1"),
        ("green", "u1"),
        ("blue", "u1"),
        ("alpha", "u1"),
    ]
    vertices = np.zeros(N, [*kinds, ("scalar_Intensity", "f4"), ("label", "u2")])
    for i, name in enumerate("xyz"):
        vertices[name] = rows[:, i]
    for i, name in enumerate(("red", "green", "blue")):
        vertices[name] = 40 * i + np.arange(N)
    vertices["scalar_Intensity"], vertices["label"] = rows[:, 3], RAW
    elements = [plyfile.PlyElement.describe(vertices, "vertex")]
    if corners:
        faces = np.zeros(3, [("vertex_indices", "i4", (corners,))])
        elements.append(plyfile.PlyElement.describe(faces, "face"))
    path = tmp_path / "a.ply"
    plyfile.PlyData(elements, text=ascii_text).write(str(path))
    scan = read(path, "ply", labels=path)
    assert scan.xyz == pytest.approx(rows[:, :3])
    assert scan.rgb[2].tolist() == [2, 42, 82]
    assert scan.intensity == pytest.approx(rows[:, 3])
    assert scan.labels.tolist() == CLASS_IDS
    assert count_labels(path) == N
    assert FORMATS["ply"].count(path) == N
    path.write_bytes(path.read_bytes()[:-60])
    fails("a.ply", path=path, form="ply")


@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
def test_a_pcd_comes_back_without_points_that_have_no_return(tmp_path, rows, data):
    rows[2, :3] = np.nan
    path = tmp_path / "a.pcd"
    packed = (np.arange(N, dtype=np.uint32) << 16) + (200 << 8) + 9
    fields, kinds = ("x", "y", "z", "rgb", "label", "intensity"), ("f4", "f4", "f4", "u4", "u1", "f8")
    columns = [*rows[:, :3].T, packed, RAW, rows[:, 3]]
    write_pcd(path, fields, kinds, columns, data)
    scan = read(path, "pcd", labels=path)
    kept = [0, 1, 3, 4, 5, 6]
    assert scan.xyz.tolist() == rows[kept, :3].tolist()
    assert scan.intensity == pytest.approx(rows[kept, 3])
    assert scan.rgb.tolist() == [[i, 200, 9] for i in kept]
    assert scan.labels.tolist() == [CLASS_IDS[i] for i in kept]
    assert FORMATS["pcd"].count(path) == N
    write_pcd(path, fields, kinds, columns, data, count=N + 1)
    fails("a.pcd", path=path, form="pcd")


def test_colours_of_a_pcd_may_be_packed_into_a_float(tmp_path, rows):
    packed = np.full(N, (17 << 16) + (200 << 8) + 9, np.uint32).view(np.float32)
    write_pcd(tmp_path / "a.pcd", ("x", "y", "z", "rgb"), ("f4",) * 4, [*rows[:, :3].T, packed], "binary")
    assert read(tmp_path / "a.pcd", "pcd").rgb[4].tolist() == [17, 200, 9]


def test_padding_and_vectors_of_a_pcd_are_stepped_over(tmp_path):
    header = "FIELDS x _ y normal _ z\nSIZE 4 1 4 4 2 4\nTYPE F U F F U F\nCOUNT 1 3 1 2 1 1\nPOINTS 2\nDATA binary\n"
    points = [struct.pack("<f3Bf2fHf", i, 1, 2, 3, 10 + i, 7, 8, 9, 20 + i) for i in range(2)]
    (tmp_path / "a.pcd").write_bytes(header.encode() + b"".join(points))
    assert read(tmp_path / "a.pcd", "pcd").xyz.tolist() == [[0, 10, 20], [1, 11, 21]]


def test_compressed_bytes_unpack_as_the_format_says():
    assert unpack_lzf(b"\x02abc", 3) == b"abc"
    assert unpack_lzf(b"\x02abc\x20\x02\x00d", 7) == b"abcabcd"  # 3 bytes from 3 back
    assert unpack_lzf(b"\x00a\xe0\x04\x00", 14) == b"a" * 14  # a run of 7 + 4 + 2 that overlaps itself
    assert unpack_lzf(b"\x01ab\x60\x01", 7) == b"ab" + b"ababa"
    far = bytes(range(256)) + bytes(range(255, -1, -1))
    literal = b"".join(b"\x1f" + far[i : i + 32] for i in range(0, 512, 32))
    assert unpack_lzf(literal + b"\x21\xff", 515) == far + far[:3]  # 512 back: 1 << 8 and 255
    for broken, size in ((b"\x05abc", 6), (b"\x20\x02", 3), (b"\x02abc\x20", 6), (b"\x02abc", 4), (b"", 1)):
        with pytest.raises(InputError):
            unpack_lzf(broken, size)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"ply\n", "header"),
        (b"FIELDS x y z\nSIZE 4 4\nTYPE F F F\nPOINTS 1\nDATA ascii\n1 2 3\n", "do not match"),
        (b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 1\nHEIGHT 1\nDATA zip\n", "zip"),
        (b"FIELDS x y\nSIZE 4 4\nTYPE F F\nPOINTS 1\nDATA ascii\n1 2\n", "x, y, z"),
        (b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 1\nDATA ascii\n1 2 here\n", "here"),
        (b"", "header"),
    ],
)
def test_a_pcd_that_is_none_is_told(tmp_path, content, fragment):
    (tmp_path / "a.pcd").write_bytes(content)
    fails("a.pcd", fragment, path=tmp_path / "a.pcd", form="pcd")


# What is broken


def test_one_point_is_enough_and_none_is_not(tmp_path, rows):
    path = tmp_path / "a.bin"
    path.write_bytes(rows[:1].tobytes())
    assert read(path, "bin5").xyz.shape == (1, 3)
    path.write_bytes(b"")
    fails("a.bin", "no points", path=path, form="bin5")
    write_pcd(tmp_path / "a.pcd", "xyz", ("f4",) * 3, [[np.nan]] * 3, "binary")
    fails("a.pcd", "no points", path=tmp_path / "a.pcd", form="pcd")


def test_files_that_are_missing_or_cut_off_are_named(tmp_path, rows):
    for form in FORMATS:
        fails("gone", "no such file", path=tmp_path / "gone", form=form)
        (tmp_path / "cut").write_bytes(rows.tobytes()[:-1])
        fails("cut", path=tmp_path / "cut", form=form)
    fails("139 bytes", "20 per point", path=tmp_path / "cut", form="nuscenes")
    fails("las", "bin4", path=tmp_path / "cut", form="las")


def test_points_that_are_not_finite_are_counted(tmp_path, rows):
    rows[[1, 4], [0, 2]] = np.inf, np.nan
    (tmp_path / "a.bin").write_bytes(rows.tobytes())
    fails("a.bin", "2 of 7 points", path=tmp_path / "a.bin", form="bin5")


def test_points_too_far_out_for_float32_are_refused(tmp_path, rows):
    far = rows[:, :3].astype(float)
    far[:, 1] += 5.4e6
    np.save(tmp_path / "a.npy", far)
    fails("a.npy", "5.4e+06 m", "offset", path=tmp_path / "a.npy", form="npy")


def test_arrays_of_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"x": 1}]), allow_pickle=True)
    fails("a.npy", path=tmp_path / "a.npy", form="npy")
    np.savez(tmp_path / "a.npz", xyz=np.array([{"x": 1}]))
    fails("a.npz", path=tmp_path / "a.npz", form="npz")


# Labels


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.label", (RAW + (np.arange(N) << 16)).astype("<u4").tobytes()),  # instances in the upper half
        ("a_lidarseg.bin", RAW.astype(np.uint8).tobytes()),
    ],
)
def test_raw_labels_become_class_ids(tmp_path, rows, name, content):
    points, labels = tmp_path / "a.bin", tmp_path / name
    points.write_bytes(rows.tobytes())
    labels.write_bytes(content)
    scan = read(points, "bin5", labels=labels)
    assert scan.labels.tolist() == CLASS_IDS
    assert scan.labels.dtype == np.uint8
    assert count_labels(labels) == N
    labels.write_bytes(content * 2)
    fails(name, "14 labels", "7 points", path=points, form="bin5", labels=labels)
    labels.unlink()
    fails(name, "no such file", path=points, form="bin5", labels=labels)


def test_labels_may_be_an_array(tmp_path, rows):
    path = tmp_path / "labels.npy"
    np.save(path, RAW.astype(np.int16))
    assert read_labels(path).tolist() == RAW.tolist()
    for wrong in (RAW.astype(float), RAW.reshape(1, -1)):
        np.save(path, wrong)
        with pytest.raises(InputError, match=r"labels\.npy"):
            read_labels(path)
    with pytest.raises(InputError, match=r"\.txt"):
        read_labels(tmp_path / "labels.txt")


def test_raw_ids_that_the_map_does_not_know_are_named(tmp_path):
    with pytest.raises(InputError, match=r"a\.label: raw ids -1, 4, 77 ") as error:
        class_ids(np.array([77, 3, -1, 4, 77]), LABEL_MAP, tmp_path / "a.label")
    assert "3," not in str(error.value)
    assert class_ids(np.array([[3, 10], [0, 252]]), LABEL_MAP, tmp_path).tolist() == [[0, 2], [255, 1]]
