"""A report is valid JSON, whole, and reads well."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ovs3d.eval.environment import environment
from ovs3d.eval.report import Report


def make_report(**changes):
    fields = {
        "task": "demo on tabletop world 7",
        "protocol": "pooled mIoU, absent classes skipped",
        "classes": ("red mug", "a|b", "fox"),
        "metrics": {
            "miou": 0.62517,
            "accuracy": torch.tensor(0.75),
            "views": 5,
            "psnr": math.inf,
            "per_class": {"red mug": np.float32(0.5), "a|b": 0.75, "fox": math.nan},
        },
        "split": "held-out views",
        "weights": {"clip": "mini"},
        "config": {"path": Path("a/b"), "scales": (5, 7), "nested": {"lr": np.float64(0.01), "x": -math.inf}},
        "seed": 3,
        "seconds": 61.4,
        "skipped": ("view 4: no truth",),
    }
    return Report(**(fields | environment() | changes))


def refuse(name):
    raise AssertionError(f"{name} is not JSON")


def test_the_file_is_valid_json_with_all_fields_in_order(tmp_path):
    path = make_report().write(tmp_path / "new" / "folder")
    found = json.loads(path.read_text(), parse_constant=refuse)
    assert path.name == "report.json"
    order = "task protocol classes metrics split weights config seed versions hardware seconds skipped"
    assert " ".join(found) == order
    assert found["metrics"]["per_class"] == {"red mug": 0.5, "a|b": 0.75, "fox": None}
    assert found["metrics"]["accuracy"] == 0.75
    assert found["metrics"]["psnr"] is None
    assert found["config"] == {"path": "a/b", "scales": [5, 7], "nested": {"lr": 0.01, "x": None}}
    assert found["classes"] == ["red mug", "a|b", "fox"]


def test_markdown_has_a_row_per_metric_and_class(tmp_path):
    report = make_report()
    report.write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert text == report.to_markdown()
    rows = ["| miou | 0.625 |", "| views | 5 |", "| red mug | 0.500 |", "| a\\|b | 0.750 |"]
    empty = ["| fox | – |", "| psnr | – |"]
    for line in ["# demo on tabletop world 7", *rows, *empty, "- skipped: view 4: no truth"]:
        assert line in text.splitlines()
    for word in ("skipped;", "held-out views", "clip mini", "seed 3", "61 s", "torch " + torch.__version__):
        assert word in text


def test_a_report_without_weights_leaves_no_gap():
    line = make_report(weights={}).to_markdown().splitlines()[2]
    assert "" not in [part.strip() for part in line.split(";")]
    assert line.endswith("seed 3; 61 s")


def test_a_failing_report_leaves_the_old_one_whole(tmp_path):
    make_report().write(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TypeError, match="not JSON serializable"):
        make_report(task="new", config={"x": object()}).write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_environment_names_python_packages_and_machine():
    found = environment()
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["python"].startswith("3.")
    assert found["hardware"]["cores"] >= 1
    assert found["hardware"]["cpu"]
