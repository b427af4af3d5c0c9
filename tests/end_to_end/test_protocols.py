"""`ovs3d-nerf evaluate`: each protocol on a small trained run, with annotations made from its own answers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nerf_runs import HELD_OUT, Trained, train
from PIL import Image

from nerf_methods.cli import main
from nerf_methods.protocols import _of_size
from nerf_methods.run import Run, load_run
from ovs3d.eval.lerf_ovs import plain_mask

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(trained) -> Run:
    return load_run(trained.config)


def evaluate(trained: Trained, out: Path, protocol: str, *words: object) -> dict:
    parts = ("evaluate", "--run", trained.config, "--protocol", protocol, "--out", out, *words)
    main([str(part) for part in parts])
    report = json.loads((out / "report.json").read_text())
    assert report["protocol"].startswith(protocol)
    return report


def test_held_out_views_are_pooled(trained, tmp_path):
    report = evaluate(trained, tmp_path, "3dovs-heldout")
    metrics = report["metrics"]
    assert report["weights"] == {"clip": "mini", "dino": "mini"}
    assert report["seed"] == 42  # nerfstudio's
    assert 0 <= metrics["miou"] <= metrics["accuracy"] <= 1
    assert set(metrics["per_class"]) == set(trained.classes)
    assert metrics["psnr"] > 10


def write_masks(folder: Path, masks: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for name, mask in masks.items():
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{name}.png")


def relevancies(run: Run, prompts: tuple[str, ...], negatives: tuple[str, ...] | None = None) -> torch.Tensor:
    """Of the first held-out view."""
    run.ask("; ".join(prompts), negatives=negatives)
    return run.relevancies(run.render(run.cameras("held-out")))


def test_masks_that_are_the_answer_score_one(trained, run, tmp_path):
    prompts = trained.classes[-2:]  # table and wall, which fill the photos
    negative = "airplane"  # which a run this short tells apart from them
    scores = relevancies(run, prompts, (negative,))
    masks = {name: plain_mask(scores[..., i]).numpy() for i, name in enumerate(prompts)}
    write_masks(tmp_path / "truth" / "0", masks)
    write_masks(tmp_path / "truth" / "1", {})
    flags = ("--truth", tmp_path / "truth", "--negatives", negative)
    report = evaluate(trained, tmp_path / "out", "lerf-mask", *flags)
    found = {name: iou for name, iou in report["metrics"]["per_class"].items() if masks[name].any()}
    assert found
    assert all(iou == pytest.approx(1.0, abs=0.02) for iou in found.values())
    assert report["skipped"] == [f"view 1: no true mask in {tmp_path / 'truth'}"]


def annotate(folder: Path, stem: str, instances: list[tuple[str, list[int]]]) -> Path:
    """A frame of 120 x 160 pixels with a rectangle for each (prompt, [left, top, right, bottom])."""
    folder.mkdir()
    objects = [
        {"category": name, "bbox": [x1, y1, x2, y2], "segmentation": [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]}
        for name, (x1, y1, x2, y2) in instances
    ]
    info = {"name": f"{stem}.png", "width": 160, "height": 120}
    (folder / f"{stem}.json").write_text(json.dumps({"info": info, "objects": objects}))
    return folder


def test_a_box_around_the_most_relevant_pixel_is_a_hit_and_another_is_not(trained, run, tmp_path):
    prompt, other = trained.classes[:2]
    scores = relevancies(run, (prompt, other))
    row, column = divmod(int(scores[..., 0].argmax()), 160)
    hit = [max(column - 3, 0), max(row - 3, 0), column + 3, row + 3]
    row, column = divmod(int(scores[..., 1].argmax()), 160)
    miss = [(column + 80) % 150, 5, (column + 80) % 150 + 6, 100]
    stem = f"frame_{HELD_OUT[0] + 1:05d}"
    truth = annotate(tmp_path / "truth", stem, [(prompt, hit), (other, miss)])
    report = evaluate(trained, tmp_path / "box", "lerf-localization", "--truth", truth)
    assert report["metrics"]["localization"] == 0.5
    metrics = evaluate(trained, tmp_path / "ovs", "lerf-ovs", "--truth", truth)["metrics"]
    assert set(metrics) == {"miou", "plain_miou", "localization"}


def test_the_released_metrics_are_measured_at_an_eighth_of_the_size(trained, tmp_path):
    run = train(trained.llff, tmp_path, "llff", iterations=12)
    of_llff = Trained(trained.llff, trained.llff, run, trained.classes)
    metrics = evaluate(of_llff, tmp_path / "out", "3dovs-released")["metrics"]
    assert 0 <= metrics["miou"] <= 1
    assert 0 <= metrics["accuracy"] <= 1


def test_a_camera_of_another_size_sees_the_same(run):
    camera = run.cameras("held-out")[:1]
    corners = torch.tensor([[0.0, 0.0], [120.0, 160.0]])
    expected = camera.generate_rays(0, coords=corners).directions
    odd = _of_size(camera, (37, 41))
    assert (int(odd.height), int(odd.width)) == (37, 41)
    found = odd.generate_rays(0, coords=corners * torch.tensor([37 / 120, 41 / 160])).directions
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--protocol", "lerf-ovs"], "lerf-ovs needs annotations"),
        (["--protocol", "lerf-ovs", "--truth", "gone"], "no annotations in gone"),
        (["--protocol", "lerf-mask", "--truth", "gone"], "no folder gone"),
        (["--protocol", "lerf-mask", "--prompt", "mug"], "asks for what is annotated"),
        (["--protocol", "lerf-ovs", "--threshold", "0.6"], "leave out --threshold"),
        (["--prompt", "table"], "of the scene, but not asked"),
        (["--protocol", "3dovs-released"], "no annotated view"),
    ],
    ids=["no truth", "no frames", "no masks", "prompts", "threshold", "too few prompts", "other layout"],
)
def test_a_protocol_without_its_truth_is_one_line_and_status_2(trained, tmp_path, words, message, capsys):
    with pytest.raises(SystemExit) as raised:
        main(["evaluate", "--run", str(trained.config), "--out", str(tmp_path), *words])
    assert raised.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert message in lines[0]
