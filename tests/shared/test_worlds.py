"""Tabletop worlds: exact truth, closed scenes, the same bytes for the same seed, and files that read back."""

import json

import numpy as np
import pytest
from PIL import Image

from ovs3d.errors import InputError
from ovs3d.geometry import (
    Camera,
    camera_from_pixel,
    look_at,
    opengl_from_opencv,
    pixel_centres,
    pixel_from_camera,
    transform,
)
from ovs3d.worlds.command import Tabletop
from ovs3d.worlds.shapes import shape, smooth_normals
from ovs3d.worlds.tabletop import HELD_OUT, make_tabletop, render
from ovs3d.worlds.words import COLORS, NOUNS, PATTERNS, TABLES, WALLS, phrase

SEED = 3


@pytest.fixture(scope="module")
def world():
    return make_tabletop(SEED)


@pytest.fixture(scope="module")
def views(world):
    cameras = world.cameras()
    return {index: (cameras[index], render(world, cameras[index])) for index in (0, 9, 12, 29)}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds") / "scene"
    Tabletop(folder, seed=SEED).run()
    return folder


def read(path):
    return np.asarray(Image.open(path))


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Words


def test_there_are_enough_words_and_none_twice():
    assert len(NOUNS) >= 24
    assert len(COLORS) >= 8
    assert len(PATTERNS) == 4
    everything = NOUNS + COLORS + PATTERNS + TABLES + WALLS
    assert len(set(everything)) == len(everything)


def test_every_object_has_a_phrase_of_its_own():
    phrases = {phrase(color, pattern, noun) for color in COLORS for pattern in PATTERNS for noun in NOUNS}
    assert len(phrases) == len(COLORS) * len(PATTERNS) * len(NOUNS)


# Shapes


@pytest.mark.parametrize("noun", NOUNS)
def test_a_shape_stands_on_the_table_inside_its_circle(noun):
    corners = shape(noun).corners
    assert corners[..., 2].min() == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(corners[..., :2], axis=-1).max() == pytest.approx(shape(noun).radius, rel=1e-5)
    assert np.linalg.norm(shape(noun).normals, axis=-1) == pytest.approx(1, abs=1e-4)


def test_normals_of_a_ball_point_away_from_its_centre():
    ball = shape("ball")
    centre = np.array([0, 0, ball.corners[..., 2].max() / 2])
    outward = ball.corners - centre
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
    assert (outward * ball.normals).sum(-1).min() > 0.999


def test_normals_do_not_blend_across_the_edges_of_a_box():
    box = shape("box")
    assert np.abs(box.normals).max(-1) == pytest.approx(1, abs=1e-6)


def test_a_smooth_normal_is_the_area_weighted_mean_of_its_neighbours():
    ridge = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 2, 0], [-1, 0, -0.3]]], float)
    ridge[0, 2], ridge[1, 1] = (0, 2, 0), (0, 2, 0)
    areas = np.cross(ridge[:, 1] - ridge[:, 0], ridge[:, 2] - ridge[:, 0])
    shared = areas.sum(0) / np.linalg.norm(areas.sum(0))
    alone = areas[0] / np.linalg.norm(areas[0])
    normals = smooth_normals(ridge)
    assert normals[0] == pytest.approx(np.stack([shared, alone, shared]))
    apart = smooth_normals(ridge, np.array([0, 1]))
    assert apart[0] == pytest.approx(np.stack([alone] * 3))
    twice = smooth_normals(np.concatenate([ridge, ridge]), np.array([7, 7, 2, 2]))
    assert np.array_equal(twice, np.concatenate([normals, normals]))


# Cameras


def test_pixel_centres_are_rows_then_columns_at_a_half():
    centres = pixel_centres(2, 3)
    assert centres[0].tolist() == [[0.5, 0.5], [0.5, 1.5], [0.5, 2.5]]
    assert centres[1, 0].tolist() == [1.5, 0.5]


def test_a_pixel_and_its_depth_lead_back_to_the_pixel():
    intrinsics = np.array([[400.0, 0, 150], [0, 380, 120], [0, 0, 1]])
    row_col = np.array([[0.5, 0.5], [119.5, 200.25], [239.5, 7.5]])
    points = camera_from_pixel(intrinsics, row_col) * np.array([[0.4], [2.0], [7.0]])
    assert points[:, 2] == pytest.approx([0.4, 2.0, 7.0])
    assert pixel_from_camera(intrinsics, points) == pytest.approx(row_col)


def test_a_camera_sees_right_on_the_right_and_up_at_the_top():
    camera = Camera(np.diag([100.0, 100.0, 1.0]), look_at(np.array([0.0, -2, 1]), np.zeros(3)), 240, 320)
    moved = np.array([[0, 0, 0], [0.3, 0, 0], [0, 0, 0.3]])
    row_col = pixel_from_camera(camera.intrinsics, transform(camera.camera_from_world, moved))
    assert row_col[0] == pytest.approx([0, 0], abs=1e-9)
    assert row_col[1, 1] > 10
    assert row_col[2, 0] < -10


def test_opengl_poses_keep_x_and_the_position_and_return():
    pose = look_at(np.array([0.3, -1, 0.8]), np.array([0.1, 0, 0]))
    other = opengl_from_opencv(pose)
    assert other[:, [0, 3]] == pytest.approx(pose[:, [0, 3]])
    assert other[:3, [1, 2]] == pytest.approx(-pose[:3, [1, 2]])
    assert opengl_from_opencv(other) == pytest.approx(pose)


# Worlds


@pytest.mark.parametrize("seed", range(40))
def test_five_to_seven_objects_of_different_nouns_stand_apart(seed):
    objects = make_tabletop(seed).objects
    assert 5 <= len(objects) <= 7
    assert len({each.noun for each in objects}) == len(objects)
    for i, a in enumerate(objects):
        for b in objects[:i]:
            reach = a.size_m * shape(a.noun).radius + b.size_m * shape(b.noun).radius
            assert np.hypot(a.x_m - b.x_m, a.y_m - b.y_m) > reach


def test_worlds_differ_by_seed_and_repeat_by_seed():
    assert make_tabletop(5).classes == make_tabletop(5).classes
    assert len({make_tabletop(seed).classes for seed in range(20)}) == 20


def test_a_negative_seed_is_refused():
    with pytest.raises(InputError, match="-1"):
        make_tabletop(-1)


def test_classes_are_the_objects_then_table_then_wall(world):
    assert world.classes[:-2] == tuple(each.prompt for each in world.objects)
    assert world.classes[-2] in TABLES
    assert world.classes[-1] in WALLS


def test_thirty_views_lie_on_the_arc(world):
    cameras = world.cameras()
    assert len(cameras) == 30
    assert {(camera.height, camera.width) for camera in cameras} == {(240, 320)}
    x, y, z = np.stack([camera.position for camera in cameras], axis=1)
    assert (y < 0).all()
    assert (z > 0.25).all()
    assert np.degrees(np.arctan2(x, -y))[[0, -1]] == pytest.approx([-50, 50], abs=3)


# Rendering


@pytest.mark.parametrize("seed", range(6))
def test_no_ray_leaves_the_scene(seed):
    world, rng = make_tabletop(seed), np.random.default_rng(seed)
    for _ in range(20):
        height, width = rng.integers(24, 64, 2)
        camera = world.random_camera(rng, int(height), int(width))
        assert np.isfinite(render(world, camera).depth).all()


def test_a_ray_that_leaves_the_scene_is_an_error(world):
    upward = Camera(np.diag([50.0, 50, 1]), look_at(np.array([0.0, -1, 1]), np.array([0, 0.2, 3])), 8, 12)
    with pytest.raises(ValueError, match="leave the scene"):
        render(world, upward)


def test_a_render_has_the_cameras_size_and_types(world):
    camera = world.random_camera(np.random.default_rng(0), 40, 56)
    view = render(world, camera)
    assert view.rgb.shape == (40, 56, 3)
    assert view.depth.shape == view.labels.shape == (40, 56)
    assert (view.rgb.dtype, view.depth.dtype, view.labels.dtype) == (np.uint8, np.float32, np.uint8)


def test_every_class_is_seen(world, views):
    seen = np.unique(np.concatenate([view.labels.reshape(-1) for _, view in views.values()]))
    assert seen.tolist() == list(range(len(world.classes)))


def test_depth_of_table_and_wall_lies_on_their_planes(world, views):
    for camera, view in views.values():
        table, wall = len(world.classes) - 2, len(world.classes) - 1
        xyz = world_points(camera, view.depth)
        assert np.abs(xyz[view.labels == table][:, 2]).max() < 1e-4
        x, y = np.abs(xyz[view.labels == wall][:, 0]), xyz[view.labels == wall][:, 1]
        assert np.minimum(np.abs(x - 1.15), np.abs(y - 0.58)).max() < 1e-4


def world_points(camera, depth):
    centres = pixel_centres(camera.height, camera.width)
    return transform(
        camera.world_from_camera, camera_from_pixel(camera.intrinsics, centres) * depth[..., None]
    )


def test_points_seen_by_two_views_have_one_label(views):
    (source, seen), (target, other) = views[9], views[12]
    in_target = transform(target.camera_from_world, world_points(source, seen.depth).reshape(-1, 3))
    row, col = np.floor(pixel_from_camera(target.intrinsics, in_target)).astype(int).T
    inside = (row >= 0) & (row < target.height) & (col >= 0) & (col < target.width)
    row, col, depth, labels = row[inside], col[inside], in_target[inside, 2], seen.labels.reshape(-1)[inside]
    visible = np.abs(other.depth[row, col] - depth) < 0.005
    assert visible.mean() > 0.7
    agreement = (other.labels[row, col] == labels)[visible]
    assert agreement.mean() > 0.99


def test_anti_aliasing_changes_only_class_borders(world, views):
    camera, view = views[0]
    scale = np.diag([3.0, 3.0, 1.0])
    fine = render(world, Camera(scale @ camera.intrinsics, camera.world_from_camera, 720, 960))
    blocks = fine.rgb.reshape(240, 3, 320, 3, 3).astype(float)
    inside = np.ptp(fine.labels.reshape(240, 3, 320, 3), axis=(1, 3)) == 0
    centre_error = np.abs(blocks[:, 1, :, 1] - view.rgb).max(-1)
    mean_error = np.abs(blocks.mean((1, 3)) - view.rgb).mean(-1)
    assert np.median(centre_error[inside]) <= 1
    assert (
        mean_error[~inside].mean() < np.abs(blocks[:, 1, :, 1] - blocks.mean((1, 3))).mean(-1)[~inside].mean()
    )


def test_an_object_casts_a_shadow_on_the_table(world, views):
    camera, view = views[12]
    bare = type(world)(world.seed, (), world.table, world.wall, world.lamp, world.texture_shift_m)
    empty = render(bare, camera)
    table = view.labels == len(world.classes) - 2
    darker = (view.rgb[table].astype(int).sum(-1) + 30) < empty.rgb[table].astype(int).sum(-1)
    assert 0.01 < darker.mean() < 0.3


# Files


def test_the_same_seed_writes_the_same_bytes(scene, tmp_path):
    Tabletop(tmp_path / "again", seed=SEED).run()
    assert files(tmp_path / "again") == files(scene)


def test_the_nerfstudio_scene_reads_back_to_the_same_cameras_and_truth(world, views, scene):
    meta = json.loads((scene / "transforms.json").read_text())
    assert len(meta["frames"]) == 30
    for index, (camera, view) in views.items():
        frame = meta["frames"][index]
        pose = opengl_from_opencv(np.array(frame["transform_matrix"]))
        assert pose == pytest.approx(camera.world_from_camera, abs=1e-12)
        intrinsics = [[meta["fl_x"], 0, meta["cx"]], [0, meta["fl_y"], meta["cy"]], [0, 0, 1]]
        assert np.array(intrinsics) == pytest.approx(camera.intrinsics)
        name = frame["file_path"].removeprefix("images/")
        assert (read(scene / "images" / name) == view.rgb).all()
        assert (read(scene / "segmentations" / name) == view.labels).all()
        assert np.abs(read(scene / frame["depth_file_path"]) / 1000 - view.depth).max() < 0.00051
    assert (scene / "classes.txt").read_text().splitlines() == list(world.classes)


def test_held_out_views_are_in_no_training_list(scene):
    meta = json.loads((scene / "transforms.json").read_text())
    held_out = [meta["frames"][index]["file_path"] for index in HELD_OUT]
    assert meta["val_filenames"] == meta["test_filenames"] == held_out
    assert len(meta["train_filenames"]) == 25
    assert not set(meta["train_filenames"]) & set(held_out)


def test_the_llff_poses_read_back_to_the_same_cameras(world, scene):
    rows = np.load(scene / "3dovs" / "poses_bounds.npy")
    assert rows.shape == (30, 17)
    for camera, row in zip(world.cameras(), rows, strict=True):
        down, right, backward, position, size = row[:15].reshape(3, 5).T
        pose = np.stack([right, down, -backward, position], axis=1)
        assert pose == pytest.approx(camera.world_from_camera[:3])
        assert size.tolist() == [camera.height, camera.width, camera.intrinsics[0, 0]]
        assert 0 < row[15] < np.linalg.norm(position) < row[16]


def test_the_3dovs_masks_partition_every_held_out_view(world, scene):
    folder = scene / "3dovs" / "segmentations"
    names = (folder / "classes.txt").read_text().splitlines()
    assert names == sorted(world.classes)
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == [f"{i:02d}" for i in HELD_OUT]
    for index in HELD_OUT:
        masks = np.stack([read(folder / f"{index:02d}" / f"{name}.png") for name in names])
        assert set(np.unique(masks)) == {0, 255}
        assert ((masks == 255).sum(0) == 1).all()
        labels = read(scene / "segmentations" / f"frame_{index + 1:05d}.png")
        assert (np.array(names)[masks.argmax(0)] == np.array(world.classes)[labels]).all()


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("keep me")
    with pytest.raises(InputError, match="--overwrite"):
        Tabletop(tmp_path, seed=SEED).run()
    with pytest.raises(InputError, match="no world"):
        Tabletop(tmp_path, seed=SEED, overwrite=True).run()
    with pytest.raises(InputError, match="is a file"):
        Tabletop(tmp_path / "thesis.txt", seed=SEED).run()
    assert files(tmp_path) == {"thesis.txt": b"keep me"}


def test_overwriting_with_one_format_leaves_nothing_but_that_scene(scene, tmp_path):
    for stale in ("ovs3d.yaml", "transforms.json", "images/99.png"):
        (tmp_path / stale).parent.mkdir(exist_ok=True)
        (tmp_path / stale).write_text("of an old world")
    Tabletop(tmp_path, seed=SEED, format="3dovs", overwrite=True).run()
    assert files(tmp_path) == files(scene / "3dovs")
