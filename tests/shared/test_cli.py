"""The command line: what is understood, what is refused, and how quickly it starts."""

import subprocess
import sys

import pytest

from ovs3d import __version__
from ovs3d.cli import main
from ovs3d.errors import InputError
from ovs3d.foundation.features_command import Features
from ovs3d.foundation.weights_command import Check, Fetch, List
from ovs3d.worlds.command import Tabletop


@pytest.fixture
def ran(monkeypatch):
    """The commands that would have run, with their fields."""
    commands = []
    for command in (Tabletop, Features, List, Fetch, Check):
        monkeypatch.setattr(command, "run", lambda self: commands.append(self))
    return commands


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("world tabletop --out {} --seed 3", lambda path: Tabletop(out=path, seed=3)),
        ("features --data {} --kind dino", lambda path: Features(data=path, kind="dino")),
        ("features --data {} --tile-scales 3 4", lambda path: Features(data=path, tile_scales=(3, 4))),
        ("weights list --kind sam", lambda path: List(kind="sam")),
        ("weights fetch ViT-L-14/openai", lambda path: Fetch(weights=("ViT-L-14/openai",))),
        ("weights check", lambda path: Check()),
    ],
)
def test_a_line_becomes_its_command(ran, tmp_path, line, expected):
    main(line.format(tmp_path).split())
    assert ran == [expected(tmp_path)]


@pytest.mark.parametrize("argv", [[], ["--help"]])
def test_without_a_command_the_help_names_all_of_them(capsys, argv):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for command in ("world", "features", "weights", "doctor"):
        assert f"• {command} " in out


@pytest.mark.parametrize("module", ["ovs3d", "nerf_methods", "pointcloud"])
def test_a_reader_that_has_enough_of_the_help_is_no_error(module):
    line = [sys.executable, "-W", "ignore", "-m", f"{module}.cli", "--help"]
    done = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.stdout is not None
    done.stdout.close()
    assert done.communicate()[1] == b""
    assert done.returncode == 0


def test_the_version_is_the_packages(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"ovs3d {__version__}\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("world tabletop --out x --sed 3", "--sed"),
        ("world tabletop", "--out"),
        ("world tabletop --out x --seed three", "three"),
        ("weights", "fetch"),
        ("wrld", "wrld"),
    ],
)
def test_a_wrong_line_is_refused_with_status_2_and_runs_nothing(ran, capsys, line, said):
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
    assert ran == []


def test_input_that_cannot_be_used_gives_one_line_and_status_2(monkeypatch, capsys):
    def fail(self):
        raise InputError("no images in there: put some")

    monkeypatch.setattr(List, "run", fail)
    with pytest.raises(SystemExit) as stop:
        main(["weights", "list"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: no images in there: put some\n"


def run_python(code: str, **kwargs) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False, **kwargs
    )


def test_a_reader_that_stops_early_is_no_error():
    code = """
from ovs3d.cli import main
from ovs3d.foundation.weights_command import List
List.run = lambda self: print("line\\n" * 100_000)
main(["weights", "list"])
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


HEAVY = ("torch", "numpy", "open_clip", "timm", "trimesh", "PIL")


def test_the_help_loads_nothing_heavy():
    code = f"""
import sys
from ovs3d.cli import main
for argv in (["--help"], ["features", "--help"], ["weights", "fetch", "--help"]):
    try:
        main(argv)
    except SystemExit as stop:
        assert stop.code == 0
print("loaded:", *(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
"""
    done = run_python(code, stdout=subprocess.DEVNULL)
    assert done.stderr == "loaded:\n"
