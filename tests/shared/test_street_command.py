"""The command that writes street worlds: official names, the same bytes for the same seed, mistakes in one line."""

import json

import pytest

from ovs3d.errors import InputError
from ovs3d.worlds.streets import command
from ovs3d.worlds.streets.command import Street
from ovs3d.worlds.streets.rig import nuscenes_rig
from ovs3d.worlds.streets.street import make_street
from ovs3d.worlds.streets.tables import write_tables
from ovs3d.worlds.streets.write_nuscenes import Drive, write_scene

VERSION = "v1.0-mini"


def test_the_command_writes_the_same_bytes_as_this_process(tmp_path):
    Street(tmp_path / "a", seed=2, scenes=2, frames=1, sweeps=1, width=48).run()
    names = {row["name"]: row for row in json.loads((tmp_path / "a" / VERSION / "scene.json").read_text())}
    assert list(names) == ["scene-0061", "scene-0103"]
    assert (tmp_path / "a" / "ovs3d.yaml").read_text() == "weights: mini\n"
    rows = []
    for index, name in enumerate(names):
        world = make_street(2000 + index, seconds=0.5)
        rows.append(write_scene(tmp_path / "b", VERSION, Drive(name, world, nuscenes_rig(48), 1, 1)))
    write_tables(tmp_path / "b", VERSION, rows)
    written = [
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "a", tmp_path / "b")
    ]
    del written[0]["ovs3d.yaml"]
    assert written[0] == written[1]


def test_sequences_of_one_world_have_no_street_in_common(tmp_path, monkeypatch):
    seeds = []
    monkeypatch.setattr(command, "_in_parallel", lambda work, jobs: seeds.extend(seed for _, _, seed in jobs))
    Street(tmp_path / "kitti", format="semantickitti", seed=3, scenes=11, streets_per_sequence=5).run()
    assert seeds == list(range(3000, 3055, 5))


def test_trainval_takes_the_first_official_names_4_to_1(tmp_path):
    pytest.importorskip("nuscenes", reason="needs the nuscenes-devkit")
    names = Street(tmp_path, version="v1.0-trainval", scenes=11)._names()
    assert names == [f"scene-{n:04d}" for n in (1, 2, 4, 5, 6, 7, 8, 9, 10, 3, 12)]
    assert Street(tmp_path)._names()[-2:] == ["scene-0103", "scene-0916"]
    assert len(Street(tmp_path)._names()) == 10


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": -1}, "--seed.*-1"),
        ({"scenes": 1}, "--scenes.*2 to 10"),
        ({"scenes": 11}, "--scenes.*2 to 10"),
        ({"scenes": 12, "format": "semantickitti"}, "--scenes.*2 to 11"),
        ({"frames": 0}, "--frames"),
        ({"interval_s": 0.4}, "--interval-s.*0.5 to 60"),
        ({"interval_s": 0.0, "format": "semantickitti"}, "--interval-s.*0.1 to 60"),
        ({"sweeps": 10}, "--sweeps"),
        ({"width": 8}, "--width"),
        ({"streets_per_sequence": 2}, "--streets-per-sequence.*1 to 1 here"),
        ({"streets_per_sequence": 91, "format": "semantickitti"}, "--streets-per-sequence.*1 to 90"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_written(tmp_path, wrong, message):
    with pytest.raises(InputError, match=message):
        Street(tmp_path / "new", **wrong).run()
    assert not (tmp_path / "new").exists()


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("keep me")
    with pytest.raises(InputError, match="--overwrite"):
        Street(tmp_path, scenes=2).run()
    assert (tmp_path / "thesis.txt").read_text() == "keep me"
