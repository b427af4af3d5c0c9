"""Networks learn from photos without labels, go on after a kill, and answer to words."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_scans import HEIGHT, WIDTH, pixels_of, tiny_scan, write_tiny
from trainings import SHORT, check_that_it_goes_on, losses, pretrained

from ovs3d.foundation.clip import load_clip
from ovs3d.foundation.dense import dense_features
from ovs3d.foundation.dense_options import DenseOptions
from ovs3d.foundation.store import FeatureStore
from ovs3d.images import read_image, write_png
from ovs3d.prompts.bank import PromptBank
from ovs3d.prompts.vocabulary import Vocabulary
from pointcloud import config
from pointcloud.cli import main, parse
from pointcloud.config import Augment, Net, Pairing
from pointcloud.index import read_index, write_index
from pointcloud.index_command import Index
from pointcloud.model import PointModel
from pointcloud.nets.points import Points
from pointcloud.nets.spvcnn import SPVCNN
from pointcloud.objectives.clip2scene import (
    pixel_cosine,
    semantic_contrast,
    semantic_cross_entropy,
    spatial_temporal,
)
from pointcloud.paired import PairedSamples
from pointcloud.pixels import PixelFeatures
from pointcloud.pretrain import LOCAL, Consistency
from pointcloud.pretrain_command import Clip2Scene, Cns, Distill
from pointcloud.runs import TEXT, load_run
from pointcloud.samples import Samples
from pointcloud.teacher import Denoising, Teacher, load_teacher

KILLED_AT = 5
METHODS = {
    "distill": ["distill", *SHORT],
    "clip2scene": [
        "clip2scene",
        *SHORT,
        "--prompt",
        "table; mug; cone",
        "--sweeps",
        "2",
        "--self-training-from",
        "2",
    ],
}


@pytest.fixture(scope="module", params=METHODS)
def trained(request, index, tmp_path_factory) -> tuple[str, Path]:
    """A method, and the folder of its run that nothing interrupted."""
    return request.param, pretrained(METHODS[request.param], index, tmp_path_factory.mktemp(request.param))


def paired(index: Path, teacher: Teacher, augment: Augment | None = None, sweeps: int = 1) -> PairedSamples:
    samples = Samples(read_index(index), range(4), Net(voxel_size_m=0.3), augment)
    return PairedSamples(samples, Pairing(), 0, teacher, sweeps)


@pytest.fixture(scope="module")
def teacher(index) -> Teacher:
    return load_teacher(config.Teacher(), index.parent.parent)


def test_losses_fall_and_no_label_is_read(trained):
    method, out = trained
    of_parts = {"distill": ("distillation",), "clip2scene": ("semantic", "spatial_temporal")}[method]
    for name in of_parts:
        found = list(losses(out, name).values())
        assert np.mean(found[-3:]) < np.mean(found[:3]), name
    assert len(losses(out)) == 12


def test_the_run_answers_to_words(trained, index, tmp_path, capsys):
    method, out = trained
    about = json.loads((out / "run.json").read_text())
    assert about["weights"] == "mini"
    trained_on = {"clip2scene": ["table", "mug", "cone"]}
    assert about["classes"] == trained_on.get(method, ["floor", "box"])
    scan = index.parent.parent / "5.bin"
    ask = ["infer", "--run", str(out), "--points", str(scan), "--out", str(tmp_path)]
    main([*ask, "--prompt", "red box; white table"])
    assert "700 points" in capsys.readouterr().out
    assert set(load_run(out).about.heads) == {"final"} | (
        {"local_feature"} if method == "clip2scene" else set()
    )


def test_evaluation_has_no_optimiser_and_labels_change_figures_alone(trained, tmp_path, monkeypatch):
    _, out = trained

    def forbidden(*args, **kwargs):
        raise AssertionError("evaluation trains")

    monkeypatch.setattr(torch.optim.Optimizer, "__init__", forbidden)
    monkeypatch.setattr(torch.Tensor, "backward", forbidden)
    weights = (out / "model.safetensors").read_bytes()
    reports, said = [], []
    for name, relabel in (
        ("right", lambda labels: labels),
        ("wrong", lambda labels: np.where(labels == 50, 40, 50)),
    ):
        index = write_tiny(tmp_path / name, train=1, val=2)
        for path in (tmp_path / name).glob("*_labels.npy"):
            np.save(path, relabel(np.load(path)).astype(np.uint8))
        report = tmp_path / f"{name}_report"
        ask = ["--prompt", "white table; red box", "--predictions"]
        main(["evaluate", "--run", str(out), "--index", str(index), "--out", str(report), *ask])
        reports.append(json.loads((report / "report.json").read_text())["metrics"]["accuracy"])
        said.append([np.load(file) for file in sorted((report / "predictions").glob("*.npy"))])
    assert reports[0] != reports[1]
    assert all(np.array_equal(one, other) for one, other in zip(*said, strict=True))
    assert (out / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("trained", ["clip2scene"], indirect=True)
def test_after_kill_9_training_goes_on_to_the_same_losses(trained, index, tmp_path):
    method, out = trained
    line = ["pretrain", *METHODS[method], "--index", str(index)]
    check_that_it_goes_on(KILLED_AT, line, tmp_path / "run", out)


def test_pixels_of_pairs_show_their_points(index, teacher):
    batch = paired(index, teacher)[0, 2]
    xyz = np.fromfile(index.parent.parent / "2.bin", np.float32).reshape(-1, 4)[batch.point.numpy(), :3]
    pixels = np.floor(np.stack(pixels_of(xyz), axis=1)).astype(int)
    clip = load_clip("mini")
    image = read_image(index.parent.parent / "2.png").permute(2, 0, 1) / 255
    grid = dense_features(clip, image)
    cells_down, cells_across = grid.shape[:2]
    for k in range(0, len(pixels), 50):
        # between the four nearest centres of patches, in pixels of the photo
        y = np.clip((pixels[k, 0] + 0.5) / HEIGHT * cells_down - 0.5, 0, cells_down - 1)
        x = np.clip((pixels[k, 1] + 0.5) / WIDTH * cells_across - 0.5, 0, cells_across - 1)
        top, left = int(y), int(x)
        low, right = min(top + 1, cells_down - 1), min(left + 1, cells_across - 1)
        upper = grid[top, left] * (1 - x + left) + grid[top, right] * (x - left)
        lower = grid[low, left] * (1 - x + left) + grid[low, right] * (x - left)
        expected = upper * (1 - y + top) + lower * (y - top)
        torch.testing.assert_close(batch.features.rows()[k], expected.float(), rtol=5e-3, atol=5e-3)


def test_augmentation_moves_points_but_neither_pairs_nor_cells(index, teacher):
    plain, turned = paired(index, teacher, sweeps=2)[0, 1], paired(index, teacher, Augment(), sweeps=2)[0, 1]
    for name in ("cell", "point"):
        torch.testing.assert_close(getattr(turned, name), getattr(plain, name))
    torch.testing.assert_close(turned.features.rows(), plain.features.rows())
    assert not torch.allclose(turned.scans.points.places, plain.scans.points.places)
    first = plain.scans.points.batch == 0
    moved = [batch.scans.points.places for batch in (plain, turned)]
    spread = [torch.cdist(each[here][:9], each[here][:9]) for each in moved for here in (first, ~first)]
    ratios = [(spread[2 + i] / spread[i]).nanmedian().item() for i in range(2)]
    assert ratios[0] != pytest.approx(ratios[1], rel=1e-3)  # each sweep has a change of its own


def test_cells_are_voxels_of_the_merged_sweeps(index, teacher):
    batch = paired(index, teacher, sweeps=2)[0, 0]
    files = [index.parent.parent / f"{i}.bin" for i in (0, 1)]
    key, sweep = (np.fromfile(file, np.float32).reshape(-1, 4)[:, :3] for file in files)
    sweep = sweep[(np.abs(sweep[:, :2]) >= 1).any(axis=1)]  # the car itself
    voxels = np.floor(np.concatenate([key, sweep]) / 0.3).astype(int)
    assert len(batch.cell) == len(voxels)
    assert batch.scans.points.batch.tolist() == [0] * len(key) + [1] * len(sweep)
    _, expected = np.unique(voxels, axis=0, return_inverse=True)
    both = set(zip(batch.cell.tolist(), expected.ravel().tolist(), strict=True))
    assert len(both) == expected.max() + 1 == batch.cell.max() + 1
    shared = set(batch.cell[: len(key)].tolist()) & set(batch.cell[len(key) :].tolist())
    assert shared


def test_a_step_keeps_frames_apart(index, teacher):
    samples = paired(index, teacher)
    one, two = samples[0, 0], samples[0, 3]
    both = samples.collate([one, two])
    n = len(one.cell)
    assert both.frames == (0, 3)
    torch.testing.assert_close(both.cell[n:] - both.cell[n:].min(), two.cell)
    assert both.cell[n:].min() > both.cell[:n].max()
    rows = both.point[len(one.point) :] - n
    torch.testing.assert_close(rows, two.point)


def test_sweeps_of_a_step_do_not_touch_each_other(index, teacher):
    samples = paired(index, teacher, Augment(), sweeps=2)
    step = samples.collate([samples[0, 1], samples[0, 2]]).scans.points
    assert step.batch.unique().tolist() == [0, 1, 2, 3]
    torch.manual_seed(0)
    model = PointModel(samples.samples.net, {TEXT: 8}).eval()
    together = model(step)[TEXT]
    for number in range(4):
        mine = step.batch == number
        alone = Points(step.features[mine], step.places[mine], torch.zeros_like(step.batch[mine]))
        torch.testing.assert_close(together[mine], model(alone)[TEXT], rtol=1e-3, atol=1e-4)


def test_features_are_computed_once_and_their_size_is_said_first(index, tmp_path, capsys):
    line = ["features", "--index", str(index), "--feature-dir", str(tmp_path), "--splits", "train", "val"]
    main(line)
    said = capsys.readouterr().out
    assert said.startswith("6 photos, about 3.07kB each: 18.4kB in ")
    files = sorted(tmp_path.glob("clip-dense-*.safetensors"))
    assert len(files) == 6
    times = [file.stat().st_mtime_ns for file in files]
    main(line)
    assert [file.stat().st_mtime_ns for file in files] == times
    photo = read_index(index)[0].photos[0].path
    stored = Teacher(load_clip("mini"), FeatureStore(tmp_path), 224)
    assert stored.map(photo).shape[:2] == (HEIGHT // 32, WIDTH // 32)


def consistency(samples: PairedSamples, text: torch.Tensor, known: int, **how) -> Consistency:
    torch.manual_seed(0)
    model = PointModel(samples.samples.net, dict.fromkeys((TEXT, LOCAL), samples.d))
    nowhere = Path("nowhere")
    settings = {"spatial_temporal": "none", "semantic": "released"} | how
    command = Clip2Scene(index=nowhere, out=nowhere, **settings)
    return Consistency(model.eval(), samples, text, known, command)


def test_the_agreement_alone_trains_the_head_that_is_asked_later(index, tmp_path):
    flags = ["--semantic", "none", "--fit.epochs", "1"]
    run = load_run(pretrained([*METHODS["clip2scene"], *flags], index, tmp_path / "run"))
    assert list(run.about.heads) == [TEXT]
    assert all(
        np.isfinite(value) and value for value in losses(tmp_path / "run", "spatial_temporal").values()
    )


def test_spvcnn_learns_from_photos_too(index, teacher, tmp_path):
    flags = ["--net.name", "spvcnn", "--fit.epochs", "3"]
    run = load_run(pretrained([*METHODS["clip2scene"], *flags], index, tmp_path / "run"))
    assert isinstance(run.model.net, SPVCNN)
    found = list(losses(tmp_path / "run").values())
    assert np.mean(found[-3:]) < np.mean(found[:3])
    answers, row = run.said(paired(index, teacher)[0, 0].scans.points)
    assert answers[TEXT][row].shape == (700, teacher.d)


def test_an_epoch_that_does_not_come_is_told(index, tmp_path, capsys):
    flags = ["--fit.epochs", "1", "--self-training-from", "1"]
    pretrained(["clip2scene", *SHORT, *flags], index, tmp_path / "never")
    assert "--self-training-from 1: does not come" in capsys.readouterr().out
    flags = ["--fit.epochs", "1", "--self-training-from", "0"]
    pretrained(["clip2scene", *SHORT, *flags], index, tmp_path / "now")
    assert "does not come" not in capsys.readouterr().out


@pytest.mark.parametrize("agreement", ["paper", "released", "cosine"])
@pytest.mark.parametrize("semantic", ["paper", "released"])
def test_each_head_learns_by_the_loss_that_was_asked_for(semantic, agreement, index, teacher):
    samples = paired(index, teacher, sweeps=2)
    batch = samples.collate([samples[0, 1], samples[0, 2]])
    text = F.normalize(torch.randn(5, teacher.clip.d, generator=torch.Generator().manual_seed(1)), dim=1)
    weights = {"semantic_weight": 3.0, "spatial_temporal_weight": 0.5}
    found = consistency(samples, text, 5, semantic=semantic, spatial_temporal=agreement, **weights)
    heads = found.model(batch.scans.points, batch.point)
    points, local, cell = heads[TEXT], heads[LOCAL], batch.cell[batch.point]
    row = torch.arange(len(points))
    pixels = F.normalize(batch.features.rows(), dim=1)
    shown = PixelFeatures.of(pixels)
    labels = (pixels @ text.T).argmax(dim=1)
    named = {"paper": semantic_contrast, "released": semantic_cross_entropy}[semantic]
    named = named(points, row, labels, text)
    agreed = {
        "paper": lambda: spatial_temporal(F.normalize(local, dim=1), row, shown, labels, text, cell),
        "released": lambda: spatial_temporal(local, row, None, labels, text, cell),
        "cosine": lambda: pixel_cosine(local, row, shown),
    }[agreement]()
    losses = found.losses(batch)
    torch.testing.assert_close(losses["semantic"], 3 * named)
    torch.testing.assert_close(losses["spatial_temporal"], agreed / 2)


def test_losses_are_not_rounded_where_the_network_is(index, teacher):
    samples = paired(index, teacher)
    batch = samples[0, 0]
    text = F.normalize(torch.randn(5, teacher.clip.d, generator=torch.Generator().manual_seed(1)), dim=1)
    found = consistency(samples, text, 5, semantic="paper", spatial_temporal="paper")
    found.model = Rounded(found.model)
    expected = found.losses(batch)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(found.losses(batch), expected, rtol=0, atol=0)


class Rounded(torch.nn.Module):
    """A network whose own arithmetic autocast leaves alone, with answers in bfloat16."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def shared(self, *asked):
        with torch.autocast("cpu", enabled=False):
            outputs, row = self.model.shared(*asked)
        return {name: value.bfloat16() for name, value in outputs.items()}, row


def test_distractors_teach_nothing(index, teacher):
    samples = paired(index, teacher)
    batch = samples[0, 0]
    direction = F.normalize(batch.features.rows().mean(dim=0), dim=0)
    text = torch.stack([-direction, direction, direction])  # everything looks like the second
    assert consistency(samples, text[:2], 1).losses(batch)["semantic"].item() == 0
    assert consistency(samples, text[:3], 2).losses(batch)["semantic"].item() > 0


def test_texts_that_a_photo_hardly_shows_are_not_said_of_its_pixels(index, teacher):
    photos = [photo.path for i in (0, 1) for photo in read_index(index)[i].photos]
    text = F.normalize(torch.randn(6, teacher.clip.d, generator=torch.Generator().manual_seed(1)), dim=1)
    scale = float(teacher.clip.model.logit_scale.exp())
    surest = torch.stack(
        [
            (scale * F.normalize(teacher.map(photo).float(), dim=2) @ text.T).softmax(dim=2).amax(dim=(0, 1))
            for photo in photos
        ]
    )
    limit = float(surest.flatten().sort().values[len(surest.flatten()) // 2 :][:2].mean())
    doubted = Denoising(teacher, text, limit).doubted(photos)
    assert torch.equal(doubted, surest < limit)
    assert doubted.any()
    assert not doubted.all(dim=1).any()
    assert not Denoising(teacher, text, 1.0).doubted(photos).any()  # no text would be left


def test_training_takes_the_best_text_that_is_not_doubted(index, teacher):
    samples = paired(index, teacher)
    batch = samples.collate([samples[0, 0], samples[0, 3]])
    text = F.normalize(torch.randn(5, teacher.clip.d, generator=torch.Generator().manual_seed(1)), dim=1)
    scores = F.normalize(batch.features.rows(), dim=1) @ text.T
    common = scores.argmax(dim=1).mode().values
    doubted = torch.zeros(len(scores), 5, dtype=torch.bool)
    doubted[::2, common] = True
    found = consistency(samples, text, 5)
    points = found.model(batch.scans.points)[TEXT][batch.point]
    labels = scores.masked_fill(doubted, -1).argmax(dim=1)
    assert (labels != scores.argmax(dim=1)).any()
    with_doubts = replace(batch, doubted=doubted)
    torch.testing.assert_close(
        found.losses(with_doubts)["semantic"], F.cross_entropy(points @ text.T, labels)
    )
    torch.testing.assert_close(
        found.losses(batch)["semantic"], F.cross_entropy(points @ text.T, scores.argmax(dim=1))
    )


def test_pairs_know_what_their_photo_does_not_show(index, teacher, monkeypatch):
    first, other = read_index(index)[0], read_index(index)[3]
    monkeypatch.setattr(
        Samples, "frame", lambda self, item: replace(first, photos=first.photos + other.photos)
    )

    class Told(Denoising):
        def doubted(self, photos):
            return torch.tensor([[path.name == "3.png", True] for path in photos])

    told = Told(teacher, torch.zeros(2, teacher.clip.d), 0.5)
    batch = replace(paired(index, teacher), denoising=told)[0, 0]
    n = len(batch.point) // 2  # both photos are taken from the same place
    assert torch.equal(batch.point[:n], batch.point[n:])
    assert torch.equal(batch.doubted, torch.tensor([[False, True], [True, True]]).repeat_interleave(n, dim=0))


def test_doubts_stay_with_their_frame(index, teacher):
    samples = replace(
        paired(index, teacher), denoising=Denoising(teacher, torch.eye(teacher.clip.d)[:3], 0.3)
    )
    one, two = samples[0, 0], samples[0, 3]
    two.doubted[:, 0] = ~one.doubted[0, 0]
    assert torch.equal(samples.collate([one, two]).doubted, torch.cat([one.doubted, two.doubted]))


def test_crops_leave_out_pairs_and_are_others_in_each_epoch(index, teacher):
    whole = paired(index, teacher)
    samples = replace(whole, crops=True)
    counts = [len(samples[epoch, 0].point) for epoch in range(8)]
    full = len(whole[0, 0].point)
    assert all(0.75 * full < count <= full for count in counts)  # there are few pairs
    assert len(set(counts)) > 2
    assert len(samples[3, 0].point) == counts[3]


def test_a_step_looks_at_some_of_many_photos(index, teacher):
    samples = replace(paired(index, teacher), photos_each=1)
    photos = [read_index(index)[i].photos[0] for i in range(3)]
    drawn = [samples.drawn(photos, (epoch, 0)) for epoch in range(12)]
    assert all(len(each) == 1 for each in drawn)
    assert {each[0].path for each in drawn} == {photo.path for photo in photos}
    assert replace(samples, photos_each=0).drawn(photos, (0, 0)) == photos


def test_presets_are_what_was_published():
    line = ["--index", "a", "--out", "b"]
    driving = parse(["pretrain", "clip2scene-nuscenes", *line]).method
    rooms = parse(["pretrain", "clip2scene-scannet", *line]).method
    fits = [
        (one.fit.optimizer, one.fit.lr, one.fit.weight_decay, one.fit.epochs, one.fit.batch_size)
        for one in (driving, rooms)
    ]
    assert fits == [("sgd", 0.1, 1e-4, 20, 4), ("sgd", 0.1, 1e-4, 30, 8)]
    nets = [
        (one.net.name, one.net.inputs, one.net.voxel_size_m, one.net.bn_momentum) for one in (driving, rooms)
    ]
    momenta = [
        {
            part.momentum
            for part in PointModel(one.net, {}).modules()
            if isinstance(part, torch.nn.BatchNorm1d)
        }
        for one in (driving, rooms)
    ]
    assert momenta == [{0.05}, {0.05}]
    assert nets == [("spvcnn", ("intensity255",), 0.1, 0.05), ("minkunet14a", ("rgb",), 0.05, 0.05)]
    assert [(one.sweeps, one.spatial_temporal, one.self_training_from) for one in (driving, rooms)] == [
        (3, "paper", 11),
        (1, "cosine", 10),
    ]
    for one in (driving, rooms):
        assert one.crops
        assert one.teacher.template == "clip2scene"
        assert one.augment == Augment(rotate=True, flip=True, scale=0.0, shift_voxels=0.0)


def test_the_released_preset_is_the_published_code_where_the_paper_differs():
    line = ["--index", "a", "--out", "b"]
    released = parse(["pretrain", "clip2scene-released", *line]).method
    paper = parse(["pretrain", "clip2scene-nuscenes", *line]).method
    assert (released.semantic, released.spatial_temporal) == ("released", "released")
    assert released.pairs == Pairing(visibility="none")
    teacher = released.teacher
    assert (teacher.normalize, teacher.template) == (False, "clip2scene")
    assert teacher.dense == DenseOptions(residual=True, mlp=True)
    for name in ("net", "augment", "fit", "sweeps", "crops", "self_training_from"):
        assert getattr(released, name) == getattr(paper, name)


@pytest.mark.parametrize(("kind", "frames"), [("nuscenes", 1), ("scannet", 1), ("small", 2)])
def test_cns_has_the_networks_and_schedules_of_clip2scene(kind, frames):
    """The small one takes as many steps, with twice the frames in each."""
    parent, child = (
        parse(["pretrain", f"{method}-{kind}", "--index", "a", "--out", "b"]).method
        for method in ("clip2scene", "cns")
    )
    assert isinstance(child, Cns)
    epochs, batch_size = frames * parent.fit.epochs, frames * parent.fit.batch_size
    assert child.fit == replace(parent.fit, epochs=epochs, batch_size=batch_size)
    assert (child.net, child.augment, child.teacher) == (parent.net, parent.augment, parent.teacher)
    assert child.switch_from == frames * parent.self_training_from < child.fit.epochs
    assert child.switch_probs == (0.5, 0.25, 0.25)


def test_a_run_is_asked_in_the_sentences_that_it_learnt(index, tmp_path):
    flags = ["--fit.epochs", "1", "--teacher.template", "photo"]
    run = load_run(pretrained([*METHODS["clip2scene"], *flags], index, tmp_path / "run"))
    vocabulary = Vocabulary(("table", "mug"))
    bank = PromptBank(load_clip("mini"), ("a photo of a {}.",))
    torch.testing.assert_close(run.embeddings(vocabulary), bank.encode(vocabulary))
    plain = PromptBank(load_clip("mini")).encode(vocabulary)
    assert not torch.allclose(run.embeddings(vocabulary), plain, atol=1e-3)


def test_what_clip_looks_with_is_its_own_in_the_store(index, tmp_path):
    photo = read_index(index)[0].photos[0].path
    root = index.parent.parent
    ways = [
        config.Teacher(feature_dir=tmp_path),
        config.Teacher(feature_dir=tmp_path, normalize=False),
        config.Teacher(feature_dir=tmp_path, dense=DenseOptions(smooth_keys=True)),
    ]
    maps = [load_teacher(way, root).map(photo) for way in ways]
    assert len(list(tmp_path.glob("clip-dense-*.safetensors"))) == 3
    image = read_image(photo).permute(2, 0, 1) / 255
    raw = replace(load_clip("mini"), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    torch.testing.assert_close(maps[1], dense_features(raw, image).half())
    torch.testing.assert_close(maps[2], dense_features(load_clip("mini"), image, ways[2].dense).half())


def test_self_training_takes_the_networks_own_names_from_its_epoch_on(index, teacher):
    samples = paired(index, teacher)
    batch = samples[0, 0]
    text = F.normalize(torch.randn(5, teacher.clip.d, generator=torch.Generator().manual_seed(1)), dim=1)
    taught = consistency(samples, text, 5, self_training_from=0, self_training_probability=1.0)
    points = taught.model(batch.scans.points)[TEXT][batch.point]
    names = {
        "own": (points @ text.T).argmax(dim=1),
        "pixels": (F.normalize(batch.features.rows(), dim=1) @ text.T).argmax(dim=1),
    }
    assert (names["own"] != names["pixels"]).any()
    expected = {whose: F.cross_entropy(points @ text.T, labels) for whose, labels in names.items()}
    torch.testing.assert_close(taught.losses(batch)["semantic"], expected["own"])
    for never in ({"self_training_from": 1}, {"self_training_from": 0, "self_training_probability": 0.0}):
        found = consistency(samples, text, 5, **never).losses(batch)["semantic"]
        torch.testing.assert_close(found, expected["pixels"])


MISTAKES = {
    "no photos": (["--index", "{bare}"], "no frame of these has a photo"),
    "no colours": (["--index", "{index}", "--net.inputs", "rgb"], "no colours"),
    "unknown weights": (["--index", "{index}", "--teacher.weights", "vit/none"], "vit"),
    "unknown device": (["--index", "{index}", "--teacher.device", "abacus"], "unknown device 'abacus'"),
    "other flags": (
        ["--index", "{index}", "--out", "{out}", "--fit.lr", "0.1"],
        "holds a run with other settings",
    ),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_give_one_line(kind, index, trained, tmp_path, capsys):
    flags, expected = MISTAKES[kind]
    bare = write_tiny(tmp_path / "bare", train=1, val=1)
    names = {"index": index, "bare": bare, "out": trained[1]}
    with pytest.raises(SystemExit, match=r"^2$"):
        main(
            [
                "pretrain",
                *METHODS[trained[0]],
                "--out",
                str(tmp_path),
                *(each.format(**names) for each in flags),
            ]
        )
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--semantic", "none", "--spatial-temporal", "none"], "nothing to learn from"),
        (["--prompt", "table"], "one class, table, has nothing to be told apart from"),
        (["--sweeps", "0"], "--sweeps counts a frame's own scan too: 1 or more, not 0"),
        (["--prompt-denoising", "1.5"], "--prompt-denoising is from 0 to 1, not 1.5"),
        (["--balance", "-1"], "--balance is from 0 to 1, not -1.0"),
        (["--self-training-probability", "-1"], "--self-training-probability is from 0 to 1, not -1.0"),
        (["--spatial-temporal-weight", "0"], "--semantic-weight and --spatial-temporal-weight are above 0"),
    ],
)
def test_wrong_settings_of_clip2scene_give_one_line(flags, expected, index, tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["pretrain", "clip2scene", *flags, "--index", str(index), "--out", str(tmp_path)])
    assert expected in capsys.readouterr().err


def test_photos_without_points_are_told_before_clip_looks(index, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Teacher, "map", None)
    whole = read_index(index)
    path = tmp_path / "index.jsonl"
    write_index(path, whole.dataset, [replace(whole[i], scan=None) for i in range(2)])
    with pytest.raises(SystemExit, match=r"^2$"):
        pretrained(METHODS["distill"], path, tmp_path / "run")
    assert "has no point cloud, only photos" in capsys.readouterr().err


@pytest.mark.parametrize(("content", "expected"), [(b"no picture", "0.png"), (None, "0.png: no such image")])
def test_a_broken_photo_is_named(content, expected, tmp_path, capsys):
    path = write_tiny(tmp_path / "data", train=1, val=1, photos=True)
    photo = tmp_path / "data" / "0.png"
    photo.unlink() if content is None else photo.write_bytes(content)
    with pytest.raises(SystemExit, match=r"^2$"):
        main(
            [
                "pretrain",
                *METHODS["distill"],
                "--index",
                str(path),
                "--teacher.weights",
                "mini",
                "--out",
                str(tmp_path),
            ]
        )
    assert expected in capsys.readouterr().err


def test_a_photo_of_another_size_is_named_before_clip_looks(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Teacher, "map", None)
    path = write_tiny(tmp_path / "data", train=1, val=1, photos=True)
    write_png(tmp_path / "data" / "0.png", np.zeros((48, 64, 3), np.uint8))
    line = ["--index", str(path), "--teacher.weights", "mini", "--out", str(tmp_path / "out")]
    for command in (["pretrain", *METHODS["distill"]], ["evaluate", "--split", "train"]):
        with pytest.raises(SystemExit, match=r"^2$"):
            main([*command, *line])
        said = capsys.readouterr().err
        assert "0.png: 48 x 64 pixels (height x width), where its calibration has 96 x 128" in said


def test_labels_of_photos_are_not_opened(tmp_path):
    path = write_tiny(tmp_path / "data", train=2, val=1, photos=True)
    cameras = tmp_path / "data" / "cameras.json"
    content = json.loads(cameras.read_text())
    truth = tmp_path / "data" / "truth.png"
    write_png(truth, np.zeros((HEIGHT, WIDTH), np.uint8))
    for scan in content["scans"].values():
        scan["photos"][0]["labels"] = truth.name
    cameras.write_text(json.dumps(content))
    Index("folder", tmp_path / "data").run()
    truth.unlink()
    weights = ["--teacher.weights", "mini", "--fit.epochs", "1"]
    out = pretrained([*METHODS["distill"], *weights], path, tmp_path / "run")
    assert read_index(path)[0].photos[0].labels == truth
    assert (out / "run.json").exists()


def test_it_is_said_how_many_points_photos_show_and_an_error_if_none_is(index, trained, tmp_path, capsys):
    method, flags = METHODS[trained[0]], ["--fit.epochs", "1", "--pairs.visibility", "none"]
    pretrained([*method, *flags], index, tmp_path / "run")
    rows, cols = np.concatenate([pixels_of(tiny_scan(i)[0]) for i in range(4)], axis=1)
    shown = np.mean((rows >= 0) & (rows < HEIGHT) & (cols >= 0) & (cols < WIDTH))
    assert f"{shown:.0%} of the points are shown by a photo in 4 frames" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"^2$"):
        pretrained([*method, *flags, "--pairs.min-depth-m", "1000"], index, tmp_path / "dark")
    assert "no points are shown by a photo in 4 frames: look at the poses" in capsys.readouterr().err


def test_runs_that_learnt_from_labels_are_no_start(index, tmp_path, capsys):
    labelled = write_tiny(tmp_path / "data", train=1, val=1)
    main(
        ["finetune", "--index", str(labelled), *SHORT, "--fit.epochs", "1", "--out", str(tmp_path / "taught")]
    )
    with pytest.raises(SystemExit, match=r"^2$"):
        pretrained([*METHODS["distill"], "--init", str(tmp_path / "taught")], index, tmp_path / "run")
    assert "taught learnt from labels" in capsys.readouterr().err


def test_what_to_do_next_names_the_data_that_was_moved():
    run = Distill(index=Path("index.jsonl"), out=Path("run"), root=Path("moved"))
    assert "--index index.jsonl --root moved --out run" in run.next_step()


def test_frames_without_photos_are_left_out(index, tmp_path):
    whole = read_index(index)
    path = tmp_path / "index.jsonl"
    write_index(
        path, whole.dataset, [replace(whole[i], photos=whole[i].photos if i else ()) for i in range(4)]
    )
    out = pretrained(
        [*METHODS["distill"], "--fit.epochs", "1", "--fit.batch-size", "1"], path, tmp_path / "run"
    )
    assert len(losses(out)) == 3
    assert min(losses(out).values()) > 0


def test_a_run_is_asked_in_the_words_that_it_learnt(index, tmp_path):
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text("classes:\n  - floor: [table]\n  - box: [mug]\ndistractors: [cone]\n")
    how = ["clip2scene", *SHORT, "--fit.epochs", "1", "--prompts", str(prompts)]
    run = load_run(pretrained(how, index, tmp_path / "run"))
    taught = Vocabulary(("floor", "box"), (("table",), ("mug",)))
    vocabulary, embeddings = run.question(None)
    assert vocabulary == taught == run.about.words_of(("floor", "box"))
    torch.testing.assert_close(embeddings, PromptBank(load_clip("mini")).encode(taught))
    assert run.about.words_of(("floor", "cone")) == Vocabulary(("floor", "cone"))


def test_clip_by_itself_is_measured_on_all_points_and_on_those_that_a_photo_shows(tmp_path, capsys):
    path = write_tiny(tmp_path / "data", train=1, val=2, photos=True)
    (tmp_path / "data" / "ovs3d.yaml").write_text("weights: mini\n")
    ask = ["evaluate", "--index", str(path), "--out", str(tmp_path / "report"), "--predictions", "--shown"]
    main([*ask, "--prompt", "white table; red box"])
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    metrics = report["metrics"]
    assert report["weights"] == {"clip": "mini"}
    predictions = [np.load(file) for file in sorted((tmp_path / "report" / "predictions").glob("*.npy"))]
    truth = [np.load(tmp_path / "data" / f"{i}_labels.npy") for i in (1, 2)]
    found, true = np.concatenate(predictions), np.concatenate(truth)
    known, said = true > 0, found >= 0
    assert metrics["answered"] == pytest.approx((known & said).sum() / known.sum())
    assert 0.9 < metrics["answered"] < 1  # boxes hide some of the floor
    right = (found == np.where(true == 50, 1, 0)) & known
    assert metrics["accuracy"] == pytest.approx(right.sum() / known.sum())
    assert metrics["accuracy_answered"] == pytest.approx(right.sum() / (known & said).sum())
    assert metrics["miou"] < metrics["miou_answered"]
    for name in ("miou", "accuracy"):
        assert metrics[f"{name}_shown"] == pytest.approx(metrics[f"{name}_answered"])
    assert metrics["shown"] == pytest.approx(metrics["answered"])
    assert "| answered |" in capsys.readouterr().out


def test_scans_without_labels_are_answered_and_have_no_figures(tmp_path):
    path = write_tiny(tmp_path / "data", train=1, val=1, photos=True)
    np.save(tmp_path / "data" / "1_labels.npy", np.zeros(700, np.uint8))
    ask = ["evaluate", "--index", str(path), "--out", str(tmp_path / "report"), "--predictions", "--shown"]
    main([*ask, "--teacher.weights", "mini", "--prompt", "white table; red box"])
    metrics = json.loads((tmp_path / "report" / "report.json").read_text())["metrics"]
    assert metrics["shown"] is None
    assert (np.load(next((tmp_path / "report" / "predictions").glob("*.npy"))) >= 0).any()
