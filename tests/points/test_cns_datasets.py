"""``pretrain cns`` on driving data and on rooms, in the formats of nuScenes, nuImages and ScanNet."""

import json
from pathlib import Path

import pytest

from ovs3d.worlds.rooms.command import Room
from ovs3d.worlds.streets.command import Street
from pointcloud.cli import main
from pointcloud.index import read_index

FLAGS = ["--fit.epochs", "8", "--switch-from", "4", "--photos", "2", "--fit.batch-size", "1"]


def indexed(dataset: str, root: Path, *flags: str) -> Path:
    """The index of a data set."""
    main(["index", "--dataset", dataset, "--root", str(root), *flags])
    return root / ".ovs3d" / "index.jsonl"


@pytest.fixture(scope="module")
def streets(tmp_path_factory) -> tuple[Path, Path]:
    """The indices of scans with photos to learn from, and of other photos with masks."""
    folder = tmp_path_factory.mktemp("streets")
    root, photos = folder / "nuscenes", folder / "nuimages"
    Street(root, seed=3, scenes=3, frames=1, sweeps=0, width=160).run()
    Street(photos, seed=4, format="nuimages", scenes=2, frames=1, width=160).run()
    scans = indexed("nuscenes", root, "--version", "v1.0-mini")
    return scans, indexed("nuimages", photos, "--version", "v1.0-val")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory) -> tuple[Path, Path]:
    """Twice the same index, whose photos have labels as well."""
    root = tmp_path_factory.mktemp("rooms") / "scannet"
    Room(root, scenes=3, views=4, color_width=160, depth_width=80, spacing_m=0.08).run()
    index = indexed("scannet", root)
    return index, index


@pytest.mark.parametrize(
    ("data", "net"), [("streets", []), ("rooms", ["--net.inputs", "one", "rgb", "height"])]
)
def test_both_networks_learn_from_a_data_set_and_are_measured(data, net, request, tmp_path):
    index, photos = request.getfixturevalue(data)
    run = tmp_path / "run"
    main(["pretrain", "cns-small", *FLAGS, *net, "--index", str(index), "--out", str(run)])
    for of, asked in (("points", index), ("both", index), ("photos", photos)):
        split = "train" if asked == index else "val"
        flags = ["--of", of, "--split", split, "--out", str(tmp_path / of)]
        main(["evaluate", "--run", str(run), "--index", str(asked), *flags])
        report = json.loads((tmp_path / of / "report.json").read_text())
        seen = [name for name, iou in report["metrics"]["per_class"].items() if iou is not None]
        assert len(seen) >= 3
        assert tuple(report["classes"]) == read_index(asked).dataset.classes
        if asked == index:
            assert report["metrics"]["accuracy"] > 1 / len(seen), of
        else:  # other streets, of which little is known after some steps
            assert report["metrics"]["accuracy"] > 0
