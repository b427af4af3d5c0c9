"""From a forward-facing scene in the layout of 3D-OVS to a field in NDC, through nerfstudio's own programs."""

import json
from pathlib import Path

import numpy as np
import pytest
from nerf_runs import HELD_OUT, checkpoint, checkpoints, half_size, train
from nerfstudio.scripts.eval import ComputePSNR

from ovs3d.worlds.tabletop import make_tabletop, render
from ovs3d.worlds.write import Views, write_3dovs

pytestmark = pytest.mark.slow

ITERATIONS = 60


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    """A small world seen from the middle third of its arc."""
    world = make_tabletop(5)
    cameras = [half_size(camera) for camera in world.cameras()[10:20]]
    views = Views(world.classes, cameras, [render(world, camera) for camera in cameras], HELD_OUT)
    folder = tmp_path_factory.mktemp("forward") / "scene"
    write_3dovs(folder, views)
    return folder


@pytest.fixture(scope="module")
def run(scene) -> Path:
    return train(scene, scene.parent, "ndc", ITERATIONS, parser=["ovs3d-llff"])


def test_the_near_plane_is_placed_before_the_surfaces(run, scene):
    state = checkpoint(run, ITERATIONS - 1)["pipeline"]
    places = sorted(name for name in state if name.startswith("_model.space."))
    assert places == [f"_model.space.{name}" for name in ("extent", "near", "nearest", "radius")]
    bounds = np.load(scene / "poses_bounds.npy")[:, 15:]
    unit = 0.75 * bounds[:, 0].min()  # of the run, in metres
    near = float(state["_model.space.near"]) * unit
    assert 0.5 * bounds[:, 0].min() < near < 1.2 * bounds[:, 0].min()
    assert float(state["_model.space.radius"]) * 2 * unit == pytest.approx(
        1.2, rel=0.2
    )  # they stand so far off


def test_density_starts_on_surfaces(run):
    state = checkpoint(run, ITERATIONS - 1)["pipeline"]
    assert state["_model.density.grid.levels.2"].max() > 3


def test_held_out_views_are_rendered_and_answered(run):
    path = run / "evaluation.json"
    ComputePSNR(load_config=run / "config.yml", output_path=path).main()
    results = json.loads(path.read_text())["results"]
    assert results["psnr"] > 12
    assert 0 <= results["miou"] <= results["accuracy"] <= 1


def test_a_run_of_one_parser_is_not_resumed_with_the_other(run, scene, capsys):
    assert checkpoints(run) == [ITERATIONS - 1]
    with pytest.raises(SystemExit) as raised:
        train(scene, scene.parent, "other", parser=["ovs3d-data"], **{"load-dir": run / "nerfstudio_models"})
    assert raised.value.code == 2
    errors = capsys.readouterr().err
    assert "error: the checkpoint is not of this scene and configuration" in errors
    assert "space.center" in errors
