"""Who may import whom, what importing costs, and that the shape checks are on."""

import ast
import importlib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages

import pytest
import torch
from jaxtyping import TypeCheckError

import ovs3d.query

ROOT = Path(ovs3d.__file__).parent.parent
PACKAGES = ("ovs3d", "nerf_methods", "pointcloud")
SPARSE = {"spconv", "MinkowskiEngine", "torchsparse"}
FORBIDDEN = {
    "ovs3d": {"nerf_methods", "pointcloud", "nerfstudio", "tinycudann", *SPARSE},
    "nerf_methods": {"pointcloud", *SPARSE},
    "pointcloud": {"nerf_methods", "nerfstudio", "tinycudann"},
}
LIGHT = (
    "nerf_methods.cli",
    "ovs3d.cli",
    "ovs3d.doctor",
    "ovs3d.errors",
    "ovs3d.require",
    "ovs3d.foundation.features_command",
    "ovs3d.foundation.weights_command",
    "ovs3d.worlds.command",
    "ovs3d.worlds.rooms.command",
    "ovs3d.worlds.streets.command",
    "pointcloud.cli",
    "pointcloud.index_command",
)


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"no files of {package}"
    return found


def imported(path: Path) -> set[str]:
    """Top-level names of all imports of a file, also of those inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def modules() -> list[str]:
    """All our modules that can be imported with what is installed."""
    there = [name for name in PACKAGES if name != "nerf_methods" or find_spec("nerfstudio")]
    return [found.name for found in walk_packages(map(str, [ROOT])) if found.name.split(".")[0] in there]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_lies_below_them(package):
    wrong = {path.name: sorted(imported(path) & FORBIDDEN[package]) for path in files(package)}
    assert {name: found for name, found in wrong.items() if found} == {}


@pytest.mark.parametrize("name", modules())
def test_every_module_can_be_imported(name):
    importlib.import_module(name)


def test_commands_are_known_without_loading_torch():
    code = f"import sys, {', '.join(LIGHT)}; print('torch' in sys.modules, 'ovs3d.cli' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"


def test_a_tensor_of_the_wrong_shape_is_refused_in_tests():
    assert ovs3d.query.similarity(torch.ones(4, 3), torch.ones(2, 3)).shape == (4, 2)
    with pytest.raises(TypeCheckError):
        ovs3d.query.similarity(torch.ones(4, 3), torch.ones(2, 5))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_longer_than_300_lines(package):
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in files(package)}
    assert {name: length for name, length in lengths.items() if length > 300} == {}


def catches_everything(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = [getattr(kind, "id", None) for kind in caught]
    return handler.type is None or "Exception" in names or "BaseException" in names


@pytest.mark.parametrize("package", PACKAGES)
def test_no_error_is_swallowed_whole(package):
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files(package)}
    wrong = [
        f"{path.name}:{node.lineno}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and catches_everything(node)
    ]
    assert wrong == []
