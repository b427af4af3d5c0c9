"""Runs of few and of many prompts, of prompts that no photo shows, and of few photos."""

from dataclasses import replace

import numpy as np
import pytest
from nerf_runs import ITERATIONS, checkpoint, half_size, train

from nerf_methods.run import load_run
from ovs3d.geometry import Camera
from ovs3d.worlds.tabletop import make_tabletop, render
from ovs3d.worlds.words import COLORS, NOUNS
from ovs3d.worlds.write import Views, write_nerfstudio

pytestmark = pytest.mark.slow

THIRTY = ";".join([*NOUNS, *COLORS][:30])
ABSENT = "airplane;duck;snowman"


@pytest.mark.parametrize(
    "prompt", ["chair", "chair;book", "chair;book;wall", ABSENT, THIRTY], ids=["1", "2", "3", "absent", "30"]
)
def test_any_number_of_prompts_is_learnt_and_answered(trained, tmp_path, prompt):
    folder = train(trained.scene, tmp_path, "prompts", prompt=prompt)
    state = checkpoint(folder, ITERATIONS - 1)["pipeline"]
    assert all(value.isfinite().all() for value in state.values())
    run = load_run(folder / "config.yml")
    names = prompt.split(";")
    assert run.query.names == tuple(names)
    view = run.render(run.cameras())
    assert set(run.labels(view).unique().tolist()) <= set(range(len(names)))
    scores = run.relevancies(view)
    assert scores.shape == (120, 160, len(names))
    assert scores.isfinite().all()


def turned(camera: Camera, degrees: float) -> Camera:
    """The camera, led around the vertical through the middle of the table."""
    phi = np.radians(degrees)
    around = np.eye(4)
    around[:2, :2] = [[np.cos(phi), -np.sin(phi)], [np.sin(phi), np.cos(phi)]]
    return replace(camera, world_from_camera=around @ camera.world_from_camera)


@pytest.mark.parametrize("circle", [False, True], ids=["of an arc", "of a full circle"])
def test_a_photo_from_each_side_is_enough_to_end_well(tmp_path, circle):
    world = make_tabletop(5)
    arc = world.cameras()
    if circle:  # the one from behind sees the wall alone
        cameras = [arc[15], turned(arc[15], 90), arc[14], turned(arc[15], 180), turned(arc[15], 270)]
    else:
        cameras = [arc[i] for i in (0, 10, 15, 20, 29)]
    cameras = [half_size(camera) for camera in cameras]
    views = Views(world.classes, cameras, [render(world, camera) for camera in cameras], (2,))
    write_nerfstudio(tmp_path / "scene", views)
    folder = train(tmp_path / "scene", tmp_path, "few")
    state = checkpoint(folder, ITERATIONS - 1)["pipeline"]
    assert all(value.isfinite().all() for value in state.values())
