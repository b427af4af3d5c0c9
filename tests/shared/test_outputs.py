"""Pictures and point files show what they were given."""

import numpy as np
import pytest
import trimesh

from ovs3d.outputs.overlay import blend, heat_overlay, label_overlay, panels, with_legend
from ovs3d.outputs.palette import heat_colors, heat_table, lab_from_rgb, label_colors, palette, rgb_from_lab
from ovs3d.outputs.ply import write_ply

GREY, BLACK = [128, 128, 128], [0, 0, 0]


def photo(height=60, width=83):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def smallest_distance(colors):
    lab = lab_from_rgb(colors)
    distance = np.linalg.norm(lab[:, None] - lab, axis=-1)
    return distance[~np.eye(len(lab), dtype=bool)].min()


def test_oklab_has_the_published_values_and_an_inverse():
    lab = lab_from_rgb(np.array([[255, 255, 255], [255, 0, 0], [0, 0, 255], [0, 0, 0]], dtype=np.uint8))
    expected = [[1, 0, 0], [0.6280, 0.2249, 0.1258], [0.4520, -0.0325, -0.3115], [0, 0, 0]]
    np.testing.assert_allclose(lab, expected, atol=2e-4)
    np.testing.assert_array_equal(rgb_from_lab(lab_from_rgb(photo())), photo())


def test_class_colors_differ_from_each_other_and_from_the_colors_with_a_meaning():
    special = np.array([GREY, BLACK, [255, 255, 255]], dtype=np.uint8)
    for k, distance in [(10, 0.2), (30, 0.12), (255, 0.05)]:
        assert smallest_distance(np.concatenate([palette()[:k], special])) > distance


def test_labels_have_the_color_of_their_class():
    labels = np.array([[0, 3, -1], [254, 255, 0]])
    expected = [[palette()[0], palette()[3], GREY], [palette()[254], BLACK, palette()[0]]]
    np.testing.assert_array_equal(label_colors(labels), expected)
    np.testing.assert_array_equal(label_colors(labels[1].astype(np.uint8)), expected[1])
    for wrong in (-2, 256):
        with pytest.raises(ValueError, match=r"expected labels -1\.\.255"):
            label_colors(np.array([0, wrong]))


def test_heat_rises_evenly_in_lightness():
    lightness = lab_from_rgb(heat_table())[:, 0]
    np.testing.assert_allclose(lightness, np.linspace(0.15, 0.95, 256), atol=0.03)
    assert (np.diff(lightness[::8]) > 0).all()


def test_heat_runs_from_low_to_high_and_is_grey_where_there_is_no_number():
    scores = np.array([[-9.0, -1.0, 1.0], [3.0, 9.0, np.nan]])
    table = heat_table()
    expected = [[table[0], table[0], table[128]], [table[255], table[255], GREY]]
    np.testing.assert_array_equal(heat_colors(scores, -1.0, 3.0), expected)
    with pytest.raises(ValueError, match="low < high"):
        heat_colors(scores, 1.0, 1.0)


def test_blend_runs_from_the_photo_to_the_colors():
    a, b = photo(), photo()[::-1]
    np.testing.assert_array_equal(blend(a, b, 0.0), a)
    np.testing.assert_array_equal(blend(a, b, 1.0), b)
    quarter = blend(a, b, 0.25).astype(int)
    np.testing.assert_allclose(quarter, 0.75 * a + 0.25 * b, atol=0.51)


def has_swatch(picture, color):
    """Whether the legend has an area of a colour; the edges of letters are grey too."""
    return (picture[:, 83:] == color).all(axis=-1).sum() > 80


def test_a_label_overlay_keeps_the_picture_and_names_its_classes_beside():
    labels = np.zeros((60, 83), dtype=np.int64)
    labels[:, 40:] = 1
    picture = label_overlay(photo(), labels, ["mug", "red ball"], opacity=1.0)
    np.testing.assert_array_equal(picture[:, :83], label_colors(labels))
    colors = [*palette()[:3], GREY]
    assert [has_swatch(picture, color) for color in colors] == [True, True, False, False]
    labels[5] = -1
    assert has_swatch(label_overlay(photo(), labels, ["mug", "red ball"]), GREY)


def test_a_legend_longer_than_the_picture_goes_on_in_the_next_column():
    entries = [(f"class {i}", tuple(color)) for i, color in enumerate(palette()[:30].tolist())]
    picture = with_legend(photo(), entries)
    assert picture.shape[0] == 60
    found = {tuple(color) for color in picture[:, 83:].reshape(-1, 3).tolist()}
    assert found >= {color for _, color in entries}


def test_a_heat_overlay_has_no_color_but_the_scores():
    picture = heat_overlay(photo(), np.full((60, 83), 0.5), opacity=0.0)
    assert (picture[:, :83] == picture[:, :83, :1]).all()
    scores = np.linspace(0, 1, 60 * 83).reshape(60, 83)
    np.testing.assert_array_equal(heat_overlay(photo(), scores, opacity=1.0)[:, :83], heat_colors(scores))


def test_panels_hold_every_picture_whole_and_apart():
    pictures = [np.full((20 + 7 * i, 90 - 10 * i, 3), 50 + 40 * i, dtype=np.uint8) for i in range(5)]
    for columns in (None, 1, 2, 9):
        sheet = panels(pictures, [f"title {i}" for i in range(5)], columns)
        for i, picture in enumerate(pictures):
            rows, cols = ((sheet == 50 + 40 * i).all(axis=-1) & _is_flat(sheet)).nonzero()
            assert np.ptp(rows) + 1 >= picture.shape[0] - 2
            assert np.ptp(cols) + 1 >= picture.shape[1] - 2
    with pytest.raises(ValueError, match="a title per picture"):
        panels(pictures, ["one"])


def _is_flat(sheet):
    """Pixels whose neighbours have the same colour: not letters."""
    inner = sheet[1:-1, 1:-1]
    flat = np.zeros(sheet.shape[:2], dtype=bool)
    shifted = [sheet[:-2, 1:-1], sheet[2:, 1:-1], sheet[1:-1, :-2], sheet[1:-1, 2:]]
    flat[1:-1, 1:-1] = np.all([(inner == other).all(axis=-1) for other in shifted], axis=0)
    return flat


def points(n=7):
    generator = np.random.default_rng(1)
    return {
        "xyz": generator.normal(size=(n, 3)).astype(np.float32),
        "rgb": generator.integers(0, 256, (n, 3)).astype(np.uint8),
        "labels": generator.integers(-1, 5, n),
        "scores": generator.random(n),
    }


def test_a_ply_file_is_read_back_by_another_library(tmp_path):
    given = points()
    write_ply(tmp_path / "new" / "a.ply", **given, names=["red mug", "ball\nx"])
    found = trimesh.load(tmp_path / "new" / "a.ply", process=False)
    np.testing.assert_array_equal(found.vertices, given["xyz"])
    np.testing.assert_array_equal(found.colors[:, :3], given["rgb"])
    data = found.metadata["_ply_raw"]["vertex"]["data"]
    np.testing.assert_array_equal(data["label"].ravel(), given["labels"])
    np.testing.assert_array_equal(data["score"].ravel(), given["scores"].astype(np.float32))
    header = (tmp_path / "new" / "a.ply").read_bytes().split(b"end_header\n")[0].decode()
    assert "comment class 0 red mug\ncomment class 1 ball x\nelement vertex 7\n" in header


@pytest.mark.parametrize("left_out", [("rgb",), ("labels", "scores"), ("rgb", "labels", "scores")])
def test_a_ply_file_holds_only_what_was_given(tmp_path, left_out):
    given = {name: value for name, value in points().items() if name not in left_out}
    write_ply(tmp_path / "a.ply", **given)
    header, _, body = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")
    sizes = {"xyz": 12, "rgb": 3, "labels": 4, "scores": 4}
    assert len(body) == 7 * sum(sizes[name] for name in given)
    words = {"rgb": b"red", "labels": b"label", "scores": b"score"}
    for name, word in words.items():
        assert (word in header) is (name in given)


def test_points_without_a_place_are_refused_and_none_are_fine(tmp_path):
    given = points()
    given["xyz"][2, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 7 points are not finite"):
        write_ply(tmp_path / "a.ply", **given)
    write_ply(tmp_path / "b.ply", np.zeros((0, 3), dtype=np.float32))
    assert b"element vertex 0" in (tmp_path / "b.ply").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["b.ply"]
