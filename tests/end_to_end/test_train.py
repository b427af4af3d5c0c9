"""From a world to a field that is asked in words, through nerfstudio's own commands."""

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from nerf_runs import ITERATIONS, checkpoint, checkpoints, command, train
from nerfstudio.scripts.viewer.run_viewer import RunViewer
from nerfstudio.viewer.viewer import Viewer
from PIL import Image

from nerf_methods.evaluate import held_out_views, picture_metrics, pooled, teacher_answer
from nerf_methods.pipeline import Ovs3dPipeline
from nerf_methods.run import Run, load_run
from ovs3d.eval.miou import miou, pixel_accuracy
from ovs3d.outputs.palette import NO_ANSWER_COLOR, palette

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(trained) -> Run:
    torch.manual_seed(0)
    return load_run(trained.config)


@pytest.fixture
def pipeline(run) -> Ovs3dPipeline:
    return run.pipeline


@pytest.fixture(scope="module")
def evaluation(trained) -> dict[str, float]:
    path = trained.run / "evaluation.json"
    done = command("ns-eval", **{"load-config": trained.config, "output-path": path})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(path.read_text())["results"]


def test_training_leaves_its_checkpoints_and_its_features(trained):
    assert checkpoints(trained.run) == [10, 20, 30, 39]
    assert len(list((trained.scene / ".ovs3d").glob("clip-tiles-*.safetensors"))) == 8
    assert not list(trained.run.glob("*.partial"))


def test_a_checkpoint_needs_no_unpickling_and_holds_no_clip(trained):
    content = checkpoint(trained.run, ITERATIONS - 1)
    assert content["step"] == ITERATIONS - 1
    assert not [key for key in content["pipeline"] if "clip" in key]


def test_the_losses_of_3dovs_train_with_dino_and_change_the_features(trained, tmp_path):
    save = {"steps-per-save": 10, "save-only-latest-checkpoint": False}
    run = train(trained.scene, tmp_path, "aligned", **save, **{"pipeline.model.losses.preset": "released"})
    assert len(list((trained.scene / ".ovs3d").glob("dino-*.safetensors"))) == 8
    first, aligned = (checkpoint(each, ITERATIONS - 1)["pipeline"] for each in (trained.run, run))
    assert not torch.equal(first["_model.feature.decoder.weight"], aligned["_model.feature.decoder.weight"])
    assert all(value.isfinite().all() for value in aligned.values())
    before = checkpoint(run, 30)[
        "pipeline"
    ]  # of 40: the second phase is under way, colour is not learnt again yet
    changed = {key.split(".")[1] for key, value in aligned.items() if not torch.equal(value, before[key])}
    assert changed == {"appearance", "feature", "selection"}


def test_density_may_go_on_with_colour_in_the_second_phase(trained, tmp_path):
    options = {"pipeline.model.losses.rgb-start": 0.5, "pipeline.freeze-density": False}
    save = {"steps-per-save": 10, "save-only-latest-checkpoint": False}
    run = train(trained.scene, tmp_path, "joint", **save, **options)
    before, after = (checkpoint(run, step)["pipeline"] for step in (30, ITERATIONS - 1))
    changed = {key.split(".")[1] for key, value in after.items() if not torch.equal(value, before[key])}
    assert {"appearance", "density", "proposal", "feature"} <= changed


def test_ns_eval_writes_pictures_and_answers_quality(evaluation):
    assert evaluation["psnr"] > 10
    assert 0 < evaluation["ssim"] < 1
    assert 0 <= evaluation["miou"] <= evaluation["accuracy"] <= 1


def test_the_python_interface_measures_what_ns_eval_does(evaluation, run, trained):
    views = list(held_out_views(run))
    assert [view.path.stem for view in views] == ["frame_00003", "frame_00008"]
    confusion = pooled([view.truth for view in views], [view.answer for view in views], len(trained.classes))
    assert miou(confusion) == pytest.approx(evaluation["miou"], abs=2e-3)
    assert pixel_accuracy(confusion) == pytest.approx(evaluation["accuracy"], abs=2e-3)
    metrics = [picture_metrics(view) for view in views]
    assert np.mean([each["psnr"] for each in metrics]) == pytest.approx(evaluation["psnr"], abs=0.02)
    assert all(
        0 < each["depth_error"] < float("inf") for each in metrics
    )  # how far off tells nothing so early
    for view in views:
        assert (view.truth < len(trained.classes)).all()
        assert view.relevancies.shape == (120, 160, len(trained.classes))
    teacher = teacher_answer(run, views[0].photo)
    assert teacher.shape == (120, 160)
    assert len(teacher.unique()) > 1


def test_ns_render_writes_heat_maps_and_label_maps(trained):
    out = trained.run / "renders"
    names = ("relevancy_0", "segmentation")
    flags = {"load-config": trained.config, "output-path": out, "split": "test", "image-format": "png"}
    done = command("ns-render", "dataset", **flags, **{"rendered-output-names": " ".join(names)})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for name in names:
        pictures = sorted((out / "test" / name).iterdir())
        assert [path.name for path in pictures] == ["frame_00003.png", "frame_00008.png"]
        with Image.open(pictures[0]) as picture:
            assert picture.size == (160, 120)
    with Image.open(out / "test" / "segmentation" / "frame_00003.png") as picture:
        colors = np.unique(np.array(picture.convert("RGB")).reshape(-1, 3), axis=0)
    known = palette()[: len(trained.classes)].astype(int)
    assert (np.abs(colors[:, None].astype(int) - known).max(-1).min(-1) <= 1).all()


def test_a_resumed_run_ends_where_it_would_have_ended(trained):
    load = {"load-dir": trained.run / "nerfstudio_models", "load-step": 30}
    resumed = train(trained.scene, trained.run.parents[2], "resumed", **load, **{"steps-per-save": 1000})
    assert checkpoints(resumed) == [ITERATIONS - 1]
    first, second = (checkpoint(run, ITERATIONS - 1) for run in (trained.run, resumed))
    moments = first["optimizers"]["density"]["state"]
    for index, state in second["optimizers"]["density"]["state"].items():
        assert torch.equal(state["exp_avg"], moments[index]["exp_avg"])
    geometry = {key for key in first["pipeline"] if ".density." in key or ".appearance." in key}
    assert len(geometry) > 5
    for key in geometry:  # at iteration 30 of 40 only the meaning is still being learnt
        assert torch.equal(first["pipeline"][key], second["pipeline"][key]), key
    assert first["schedulers"]["semantic_heads"]["last_epoch"] == ITERATIONS
    assert second["schedulers"]["semantic_heads"]["last_epoch"] == ITERATIONS


@pytest.fixture
def renamed_checkpoint(trained) -> Iterator[Path]:
    """A later checkpoint of the run, in which a part of the field has another name."""
    folder = trained.run / "nerfstudio_models"
    content = checkpoint(trained.run, ITERATIONS - 1)
    state = content["pipeline"]
    content["pipeline"] = {key.replace(".density.", ".thickness."): value for key, value in state.items()}
    path = folder / "step-000000099.ckpt"
    torch.save(content, path)
    yield path
    path.unlink()


def test_a_checkpoint_of_other_names_is_refused_and_not_silently_random(trained, renamed_checkpoint, capsys):
    with pytest.raises(SystemExit) as raised:
        load_run(trained.config)
    assert raised.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "the checkpoint is not of this scene and configuration" in errors[0]


def test_a_scene_in_the_layout_of_3dovs_trains_too(trained):
    run = train(trained.llff, trained.run.parents[2], "llff", iterations=3)
    assert checkpoints(run) == [2]


def as_blender(scene: Path, folder: Path) -> None:
    """The scene in the format of NeRF's synthetic scenes, with the wall, its last class, cut away by alpha."""
    meta = json.loads((scene / "transforms.json").read_text())
    (folder / "photos").mkdir(parents=True)
    shutil.copytree(scene / "segmentations", folder / "segmentations")
    for name in ("classes.txt", "ovs3d.yaml"):
        shutil.copy(scene / name, folder)
    labels = {path.stem: np.asarray(Image.open(path)) for path in (scene / "segmentations").iterdir()}
    wall = max(each.max() for each in labels.values())
    for split in ("train", "val", "test"):
        frames = []
        for frame in meta["frames"]:
            if frame["file_path"] not in meta[f"{split}_filenames"]:
                continue
            name = Path(frame["file_path"]).stem
            with Image.open(scene / "images" / f"{name}.png") as photo:
                photo.putalpha(Image.fromarray(np.where(labels[name] == wall, 0, 255).astype(np.uint8)))
                photo.save(folder / "photos" / f"{name}.png")
            frames.append({"file_path": f"./photos/{name}", "transform_matrix": frame["transform_matrix"]})
        angle = 2 * np.arctan(0.5 * meta["w"] / meta["fl_x"])
        content = {"camera_angle_x": angle, "frames": frames}
        (folder / f"transforms_{split}.json").write_text(json.dumps(content))


def test_a_scene_of_another_parser_of_nerfstudio_trains_and_is_answered(trained, tmp_path):
    as_blender(trained.scene, tmp_path / "blender")
    without_dino = {"pipeline.datamanager.guide-tiles": False, "pipeline.model.losses.preset": "clip"}
    folder = train(tmp_path / "blender", tmp_path, "blender", parser=["blender-data"], **without_dino)
    views = list(held_out_views(load_run(folder / "config.yml")))
    assert [view.path.name for view in views] == ["frame_00003.png", "frame_00008.png"]
    for view in views:
        things = view.truth < len(trained.classes) - 1  # so soon, what lies behind is not white yet
        squared = (view.rgb - view.photo / 255)[things].square().mean()
        assert -10 * squared.log10() > 10
        low, high = view.relevancies.flatten(0, 1).aminmax(dim=0)
        assert (high > low).all()


def test_hash_grids_train_too(trained):
    hash_grids = {
        "pipeline.model.volumes": "hash",
        "pipeline.model.implementation": "torch",
        "pipeline.model.hash-grid": "8 64",
    }
    run = train(trained.scene, trained.run.parents[2], "hash", iterations=3, **hash_grids)
    assert checkpoints(run) == [2]


def test_density_starts_on_surfaces(trained):
    state = checkpoint(trained.run, 10)["pipeline"]
    for name in ("proposal", "density"):
        finest = state[f"_model.{name}.grid.levels.2"]
        assert finest.max() > 3
        assert finest.median() < 1


@pytest.fixture(scope="module")
def viewer(trained, run) -> Iterator[Viewer]:
    config = RunViewer(trained.config).viewer.as_viewer_config()  # what ns-viewer uses without flags
    viewer = Viewer(config, trained.run / "viewer.txt", trained.scene, run.pipeline)
    yield viewer
    viewer.viser_server.stop()


def small_picture(pipeline: Ovs3dPipeline) -> dict[str, torch.Tensor]:
    camera = pipeline.datamanager.eval_dataset.cameras[:1].to(pipeline.device)
    camera.rescale_output_resolution(0.25)
    return pipeline.model.get_outputs_for_camera(camera)


def wait_until(condition: Callable[[], bool]) -> None:
    """The viewer calls back in a thread of its own."""
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def type_prompts(pipeline: Ovs3dPipeline, *names: str) -> None:
    pipeline.model.panel.q1_prompts.gui_handle.value = "; ".join(names)
    wait_until(lambda: pipeline.model.query.names == names)


def test_what_is_typed_in_the_viewer_is_answered_without_training(trained, pipeline, viewer):
    type_prompts(pipeline, *trained.classes)
    before = small_picture(pipeline)
    assert f"relevancy_{len(trained.classes) - 1}" in before
    type_prompts(pipeline, trained.classes[1], trained.classes[0])
    after = small_picture(pipeline)
    assert "relevancy_2" not in after
    torch.testing.assert_close(after["relevancy_0"], before["relevancy_1"])
    torch.testing.assert_close(after["rgb"], before["rgb"])
    assert len(after["segmentation"].flatten(0, 1).unique(dim=0)) <= 2


def test_another_question_to_the_same_view_renders_nothing(trained, pipeline, viewer, monkeypatch):
    type_prompts(pipeline, trained.classes[0])
    before = small_picture(pipeline)
    monkeypatch.setattr(pipeline.model, "render", None)
    type_prompts(pipeline, *trained.classes[1:3])
    after = small_picture(pipeline)
    assert torch.equal(after["rgb"], before["rgb"])
    assert "composited_1" in after
    assert "composited_1" not in before


def test_negatives_and_scale_are_part_of_the_question(trained, pipeline, viewer):
    panel, (first, second) = pipeline.model.panel, trained.classes[:2]
    type_prompts(pipeline, first)
    plain = small_picture(pipeline)["relevancy_0"]
    panel.q2_negatives.gui_handle.value = second
    wait_until(lambda: pipeline.model.query.negatives == (second,))
    against = small_picture(pipeline)["relevancy_0"]
    assert not torch.equal(against, plain)
    panel.q4_scale.gui_handle.value = 1
    wait_until(lambda: pipeline.model.scale == 0)
    assert not torch.equal(small_picture(pipeline)["relevancy_0"], against)
    panel.q4_scale.gui_handle.value = 0
    panel.q2_negatives.gui_handle.value = ""
    wait_until(lambda: pipeline.model.scale is None and pipeline.model.query.negatives == ())


def test_a_question_that_cannot_be_asked_keeps_the_last_and_is_explained(trained, pipeline, viewer):
    panel = pipeline.model.panel
    type_prompts(pipeline, trained.classes[0])
    for text, message in (("mug; ", "an empty prompt"), ("xylophone", "cannot know 'xylophone'")):
        panel.q1_prompts.gui_handle.value = text
        wait_until(lambda message=message: message in panel.q5_status.value)
        assert pipeline.model.query.names == trained.classes[:1]
    type_prompts(pipeline, trained.classes[2])
    wait_until(lambda: panel.q5_status.value == "")


def test_a_threshold_takes_answers_away(trained, pipeline, viewer):
    panel = pipeline.model.panel
    type_prompts(pipeline, trained.classes[0])
    for threshold in (1.0, 0.0):
        panel.q3_threshold.gui_handle.value = threshold
        wait_until(lambda threshold=threshold: pipeline.model.query.threshold == threshold)
        colors = small_picture(pipeline)["segmentation"].flatten(0, 1).unique(dim=0)
        expected = NO_ANSWER_COLOR if threshold else palette()[0]
        torch.testing.assert_close(colors[0] * 255, torch.tensor(expected).float())


def test_the_viewer_listens_on_this_machine_alone(viewer):
    port = viewer.viser_server.get_port()
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)
