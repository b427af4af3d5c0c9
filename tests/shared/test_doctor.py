"""The doctor names what is there, what is not, and the cure; only what is required decides its exit status."""

import importlib.metadata
from pathlib import Path

import pytest

from ovs3d import doctor
from ovs3d.cli import main
from ovs3d.foundation import weights as weights_module


@pytest.fixture
def whole(tmp_path, monkeypatch):
    """An installation with all that is required, and without nerfstudio, devkit or fetched weights."""
    monkeypatch.setenv("OVS3D_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(weights_module, "mini_folder", lambda kind: Path("mini") / kind)
    hide(monkeypatch, "nerfstudio", "tinycudann", "nuscenes", "spconv")
    return tmp_path


def hide(monkeypatch, *modules: str, error: type[Exception] = ModuleNotFoundError, message: str = "no such"):
    """Make modules fail to import, with an error of their own choosing."""
    real = doctor.importlib.import_module

    def import_module(name, package=None):
        if name not in modules:
            return real(name, package)
        raise error(message, name=name) if error is ModuleNotFoundError else error(message)

    monkeypatch.setattr(doctor.importlib, "import_module", import_module)


def report(capsys) -> dict[str, str]:
    """What the doctor printed: the state and the note of each name."""
    lines = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()]
    return {rest.split(": ")[0]: f"{state} {rest}" for state, rest in lines}


def test_with_all_that_is_required_it_ends_well_and_says_how_to_get_the_rest(whole, capsys):
    main(["doctor"])
    said = report(capsys)
    assert said["torch"] == f"ok torch: {importlib.metadata.version('torch')}"
    assert said["mini clip"].startswith("ok ")
    assert said["nerfstudio"] == "missing nerfstudio: pip install 'ovs3d[nerf]'"
    assert "pip install" in said["tinycudann"]
    assert said["nuscenes-devkit"] == "missing nuscenes-devkit: pip install 'ovs3d[points]'"
    assert said["lightning"] == f"ok lightning: {importlib.metadata.version('lightning')}"
    assert "with CUDA" in said["spconv-cu126"]
    assert said["weights ViT-B-16/openai"].startswith("missing ")
    assert "ovs3d weights fetch ViT-B-16/openai" in said["weights ViT-B-16/openai"]


def test_fetched_weights_are_found(whole, capsys):
    path = whole / "ViT-B-16" / "openai.pt"
    path.parent.mkdir()
    path.touch()
    main(["doctor"])
    assert report(capsys)["weights ViT-B-16/openai"] == f"ok weights ViT-B-16/openai: {path}"


@pytest.mark.parametrize(
    ("error", "state"), [(ModuleNotFoundError, "missing"), (OSError, "broken"), (RuntimeError, "broken")]
)
def test_a_required_package_that_cannot_be_imported_gives_status_2(whole, monkeypatch, capsys, error, state):
    hide(monkeypatch, "embreex", error=error, message="libembree.so:\n no such file")
    with pytest.raises(SystemExit) as stop:
        main(["doctor"])
    assert stop.value.code == 2
    captured = capsys.readouterr()
    (line,) = [line for line in captured.out.splitlines() if "embreex" in line]
    assert line.startswith(state)
    assert "pip install" in line
    assert captured.err == "error: 1 required parts cannot be used, see above: embreex\n"


def test_a_package_that_lacks_a_part_of_its_own_is_broken_not_missing(whole, monkeypatch, capsys):
    def import_module(name, package=None):
        raise ModuleNotFoundError("No module named 'rtree'", name="rtree")

    monkeypatch.setattr(doctor.importlib, "import_module", import_module)
    finding = doctor._package("trimesh", "trimesh", "pip install trimesh")
    assert (finding.state, finding.note) == ("broken", "No module named 'rtree'; pip install trimesh")


def test_missing_mini_weights_give_status_2(whole, monkeypatch, capsys):
    monkeypatch.undo()
    monkeypatch.setenv("OVS3D_WEIGHTS", str(whole))
    hide(monkeypatch, "nerfstudio", "tinycudann")
    monkeypatch.setattr(weights_module, "__file__", str(whole / "foundation" / "weights.py"))
    with pytest.raises(SystemExit) as stop:
        main(["doctor"])
    assert stop.value.code == 2
    assert "mini clip, mini dino, mini sam" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "state"),
    [("ovs3d.errors:InputError", "ok"), ("ovs3d.absent:x", "broken"), ("ovs3d.errors:absent", "broken")],
)
def test_a_plugin_is_registered_only_if_it_can_be_loaded(monkeypatch, value, state):
    entry = importlib.metadata.EntryPoint("ovs3d", value, "nerfstudio.method_configs")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group, name: (entry,))
    finding = doctor._entry_point("nerfstudio.method_configs", "ovs3d")
    assert (finding.state, finding.required) == (state, True)
    assert value in finding.note


def test_a_plugin_that_is_not_registered_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group, name: ())
    finding = doctor._entry_point("nerfstudio.method_configs", "ovs3d")
    assert (finding.state, "pip install -e ." in finding.note) == ("missing", True)


def test_this_checkout_registers_both_plugins():
    for group, name in doctor._PLUGIN:
        assert importlib.metadata.entry_points(group=group, name=name), f"{group} {name}"
