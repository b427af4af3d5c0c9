"""One small run that the tests of commands share, and a scene of a few photos."""

from pathlib import Path

import pytest
from nerf_runs import HELD_OUT, Trained, command, half_size, small

from ovs3d.worlds.tabletop import make_tabletop, render
from ovs3d.worlds.write import Views, write_3dovs, write_nerfstudio


@pytest.fixture
def scene(tmp_path, ring_views) -> Path:
    write_nerfstudio(tmp_path / "scene", ring_views)
    return tmp_path / "scene"


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    folder = tmp_path_factory.mktemp("train")
    world = make_tabletop(5)
    cameras = [half_size(camera) for camera in world.cameras()[::3]]
    views = Views(world.classes, cameras, [render(world, camera) for camera in cameras], HELD_OUT)
    write_nerfstudio(folder / "scene", views)
    write_3dovs(folder / "llff", views)
    every_ten = {"steps-per-save": 10, "save-only-latest-checkpoint": False, "steps-per-eval-image": 20}
    done = command("ns-train", "ovs3d", **small(folder / "scene", folder / "outputs", "first"), **every_ten)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    run = folder / "outputs" / "first" / "ovs3d" / "run"
    return Trained(folder / "scene", folder / "llff", run, world.classes)
