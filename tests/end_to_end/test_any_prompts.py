"""Runs of few and of many prompts, of prompts that no photo shows, and of few photos."""

import pytest
from nerf_runs import ITERATIONS, checkpoint, half_size, train

from nerf_methods.run import load_run
from ovs3d.worlds.tabletop import make_tabletop, render
from ovs3d.worlds.words import COLORS, NOUNS
from ovs3d.worlds.write import Views, write_nerfstudio

pytestmark = pytest.mark.slow

THIRTY = ";".join([*NOUNS, *COLORS][:30])
ABSENT = "airplane;duck;snowman"


@pytest.mark.parametrize("prompt", ["chair", "chair;book", ABSENT, THIRTY], ids=["1", "2", "absent", "30"])
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


def test_a_photo_from_each_side_is_enough_to_end_well(tmp_path):
    world = make_tabletop(5)
    cameras = [half_size(world.cameras()[i]) for i in (0, 10, 15, 20, 29)]
    views = Views(world.classes, cameras, [render(world, camera) for camera in cameras], (2,))
    write_nerfstudio(tmp_path / "scene", views)
    folder = train(tmp_path / "scene", tmp_path, "few")
    state = checkpoint(folder, ITERATIONS - 1)["pipeline"]
    assert all(value.isfinite().all() for value in state.values())
