"""`ovs3d-nerf` and the Python interface beneath it, on a small trained run."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import trimesh
from nerf_runs import Trained, command
from PIL import Image

from nerf_methods.cli import main
from nerf_methods.run import Run, View, load_run
from ovs3d.geometry import Camera, camera_from_pixel, opengl_from_opencv, pixel_centres, transform
from ovs3d.outputs.palette import label_colors

pytestmark = pytest.mark.slow

SIZE = (160, 120)


@pytest.fixture(scope="module")
def run(trained) -> Run:
    return load_run(trained.config)


@pytest.fixture(scope="module")
def view(run) -> View:
    return run.render(run.cameras("held-out"))


def ask(trained: Trained, name: str, *words: object) -> None:
    main([name, "--run", str(trained.config), *map(str, words)])


def test_a_few_lines_of_python_ask_a_run(trained, run, view):
    query = run.ask("; ".join(trained.classes[:2]), threshold=0.0)
    assert query.names == trained.classes[:2]
    labels, scores = run.labels(view), run.relevancies(view)
    assert labels.shape == (120, 160)
    assert scores.shape == (120, 160, 2)
    assert set(labels.unique().tolist()) <= {-1, 0, 1}
    again = run.ask(trained.classes[1])
    assert run.relevancies(view).shape == (120, 160, 1)
    assert again.names == trained.classes[1:2]
    assert run.ask().names == trained.classes


def test_points_of_a_view_lie_where_its_depth_says_in_the_frame_of_the_scene(trained, run, view):
    frames = json.loads((trained.scene / "transforms.json").read_text())
    frame = next(f for f in frames["frames"] if f["file_path"].endswith(run.photos()[0].name))
    lens = frames | frame
    intrinsics = np.array([[lens["fl_x"], 0, lens["cx"]], [0, lens["fl_y"], lens["cy"]], [0, 0, 1]])
    pose = opengl_from_opencv(np.array(frame["transform_matrix"]))
    local = camera_from_pixel(intrinsics, pixel_centres(120, 160)) * view.depth.numpy()[..., None]
    np.testing.assert_allclose(view.points.numpy(), transform(pose, local), rtol=1e-3, atol=1e-3)
    own = run.render(run.camera(Camera(intrinsics, pose, 120, 160)))
    difference = (own.rgb - view.rgb).abs()
    # a sample whose weight rounds to either side of the threshold has a colour in one picture only
    assert difference.max() < run.pipeline.model.config.visible_weight
    assert (difference > 1e-3).float().mean() < 1e-3
    assert (own.depth - view.depth).abs().median() < 1e-3


def test_points_in_space_are_asked_as_pixels_are(trained, run, view):
    run.ask("; ".join(trained.classes))
    sure = view.opacity.flatten() > 0.9
    points = view.points.flatten(0, 1)[sure]
    labels, scores = run.labels_at(points), run.relevancies_at(points)
    assert labels.shape == (len(points),)
    assert scores.shape == (len(points), len(trained.classes))
    assert (labels == run.labels(view).flatten()[sure]).float().mean() > 0.7
    assert run.labels_at(points[:0]).shape == (0,)


def test_query_writes_pictures_of_every_held_out_view(trained, tmp_path):
    ask(trained, "query", "--prompt", "; ".join(trained.classes[:2]), "--out", tmp_path)
    kinds = {"color", "labels", "ids", f"heat {trained.classes[0]}", f"heat {trained.classes[1]}"}
    assert {path.name for path in tmp_path.iterdir()} == kinds
    for kind in kinds:
        assert [path.name for path in sorted((tmp_path / kind).iterdir())] == [
            "frame_00003.png",
            "frame_00008.png",
        ]
    with Image.open(tmp_path / "ids" / "frame_00003.png") as ids:
        assert ids.size == SIZE
        assert set(np.unique(np.array(ids))) <= {0, 1, 255}


def test_query_films_the_way_through_the_photos_and_along_a_camera_path(trained, run, tmp_path):
    small = ("--fps", 4, "--seconds", 1, "--short-side", 30)
    ask(trained, "query", "--video", "--out", tmp_path / "photos", *small)
    pose = torch.cat([run.cameras()[0].camera_to_worlds, torch.tensor([[0.0, 0, 0, 1]])])
    step = {"camera_to_world": pose.flatten().tolist(), "fov": 50.0}
    path = tmp_path / "path.json"
    content = {"render_height": 31, "render_width": 41, "camera_path": [step] * 3}
    path.write_text(json.dumps(content))
    words = ("--video", "--cameras", path, "--prompt", trained.classes[0])
    ask(trained, "query", *words, "--out", tmp_path / "path")
    names = {path.name for path in (tmp_path / "photos").iterdir()}
    assert names == {"color.mp4", "labels.mp4", *(f"heat {name}.mp4" for name in trained.classes)}
    assert frames_of(tmp_path / "photos" / "labels.mp4") == 4
    assert frames_of(tmp_path / "path" / "color.mp4") == 3


def frames_of(path: Path) -> int:
    with av.open(path) as film:
        return sum(1 for _ in film.decode(video=0))


def rgb_of(mesh: trimesh.Trimesh) -> np.ndarray:
    return mesh.visual.vertex_colors[:, :3]


def test_export_writes_points_and_meshes_where_the_scene_is(trained, run, tmp_path, capsys):
    ask(trained, "export", "--out", tmp_path, "--resolution", 40, "--short-side", 60)
    lines = capsys.readouterr().out.splitlines()
    named = {line.removeprefix("wrote ") for line in lines if line.startswith("wrote ")}
    assert named == {str(path) for path in tmp_path.iterdir()}
    points = trimesh.load(tmp_path / "points.ply")
    assert len(points.vertices) > 10_000
    for name in ("labels.ply", "labels.glb"):
        mesh = trimesh.load(tmp_path / name, force="mesh")
        assert len(mesh.faces) > 100
        low, high = np.percentile(points.vertices, [0.5, 99.5], axis=0)
        assert (mesh.vertices > low - 1).all()
        assert (mesh.vertices < high + 1).all()
    colors = label_colors(np.arange(len(run.query.names)))
    whole = trimesh.load(tmp_path / "labels.ply")
    shown = {tuple(vertex): tuple(color) for vertex, color in zip(whole.vertices, rgb_of(whole), strict=True)}
    parts = list(tmp_path.glob("[0-9] *.ply"))
    assert parts
    faces = 0
    for path in parts:
        part, prompt = trimesh.load(path), int(path.name.split()[0])
        faces += len(part.faces)
        assert {shown[tuple(vertex)] for vertex in part.vertices} == {tuple(colors[prompt])}
    one_label = (rgb_of(whole)[whole.faces] == rgb_of(whole)[whole.faces[:, :1]]).all((1, 2))
    assert faces == one_label.sum()
    answers = label_colors(run.labels_at(torch.from_numpy(whole.vertices).float()).numpy())
    # what renderings say of a place beside what the field says there
    assert (answers == rgb_of(whole)).all(1).mean() > 0.8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["query", "--run", "nowhere.yml", "--out", "x"], "no run at nowhere.yml"),
        (["query", "--run", "RUN", "--out", "x", "--prompt", "mug; "], "an empty prompt"),
        (["query", "--run", "RUN", "--out", "x", "--cameras", "gone.json"], "no camera path at gone.json"),
        (["query", "--run", "RUN", "--out", "x", "--images", "--video"], "which of them"),
        (["export", "--run", "RUN", "--out", "x", "--prompts", "gone.txt"], "no vocabulary at gone.txt"),
    ],
    ids=["no run", "empty prompt", "no path", "images and video", "no prompts"],
)
def test_bad_input_is_one_line_and_status_2(trained, words, message, capsys):
    with pytest.raises(SystemExit) as raised:
        main([str(trained.config) if word == "RUN" else word for word in words])
    assert raised.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert message in lines[0]


def test_the_command_is_installed():
    done = command("ovs3d-nerf", "query", "--run", "nowhere.yml", "--out", "x")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no run at nowhere.yml" in done.stderr
