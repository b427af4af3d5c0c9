"""Input that cannot be used ends a run with one line and exit status 2, before anything is computed for nothing."""

import copy
import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from nerf_methods import volumes
from nerf_methods.config import ovs3d_method
from nerf_methods.pipeline import Ovs3dPipeline
from nerf_methods.trainer import Ovs3dTrainer
from ovs3d.foundation import clip as clip_module
from ovs3d.worlds.write import write_3dovs

TINY = {
    "embed_dim": 8,
    "vision_cfg": {"layers": 1, "width": 16, "head_width": 8, "patch_size": 8, "image_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
WIDE = TINY | {"embed_dim": 12}


def save_weights(path: Path, config: dict, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    torch.save(open_clip.CLIP(**config).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save_weights(tmp_path_factory.mktemp("weights") / "tiny.pt", TINY)


@pytest.fixture(autouse=True)
def _tiny_architecture(monkeypatch):
    known = clip_module.clip_architectures()
    monkeypatch.setattr(clip_module, "clip_architectures", lambda: known | {"tiny": copy.deepcopy(TINY)})


@pytest.fixture
def llff(tmp_path, ring_views) -> Path:
    write_3dovs(tmp_path / "llff", ring_views)
    return tmp_path / "llff"


def build(data: Path, weights: str | Path, prompt: str | None = None, depth: bool = False) -> Ovs3dPipeline:
    """What ``ns-train ovs3d`` does before its first iteration."""
    config = copy.deepcopy(ovs3d_method.config.pipeline)
    config.datamanager.data, config.datamanager.tile_scales = data, (1,)
    config.datamanager.weights = f"tiny/{weights}" if isinstance(weights, Path) else weights
    # a CLIP of one's own has no DINO beside it
    config.datamanager.guide_tiles, config.model.losses.preset = False, "clip"
    config.model.prompt, config.datamanager.depth = prompt, depth
    config.model.density_resolutions = (4, 8)
    return config.setup(device="cpu")


@pytest.fixture
def refusal(capsys, weights) -> Callable[..., str]:
    """The one line that a run ends with."""

    def run(data: Path, weights: str | Path = weights, prompt: str | None = None, depth: bool = False) -> str:
        with pytest.raises(SystemExit) as raised:
            build(data, weights, prompt, depth)
        assert raised.value.code == 2
        return only_error(capsys.readouterr().err)

    return run


def only_error(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("CLIP tiles")]
    assert len(lines) == 1, text
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


def edit(scene: Path, change: Callable[[dict], object]) -> None:
    path = scene / "transforms.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_sound_scene_of_either_layout_is_built(scene, llff, weights):
    for data in (scene, llff):
        pipeline = build(data, weights)
        assert len(pipeline.datamanager.tiles) == 6
        assert pipeline.model.query is not None


def test_measured_depth_is_learnt_from(scene, weights, ring_views):
    pipeline = build(scene, weights, depth=True)
    dataset = pipeline.datamanager.train_dataset
    scale = pipeline.datamanager.train_dataparser_outputs.dataparser_scale
    for index, path in enumerate(dataset.image_filenames):
        truth = torch.from_numpy(ring_views.renders[int(path.stem.removeprefix("frame_")) - 1].depth).float()
        found = dataset[index]["depth_image"][..., 0] / scale
        torch.testing.assert_close(found, truth, rtol=0, atol=1e-3)
    pipeline.set_iterations(10)
    pipeline.train()
    losses = pipeline.get_train_loss_dict(0)[1]
    losses["depth_loss"].backward()
    gradient = pipeline.model.density.grid.levels[0].grad
    assert gradient is not None
    assert 0 < gradient.abs().max() < float("inf")


def test_depth_that_is_not_there_or_of_another_size(scene, refusal):
    depth = scene / "depth" / "frame_00001.png"
    Image.fromarray(np.full((7, 50), 900, dtype=np.uint16)).save(depth)
    assert "frame_00001.png: 50x7 depths are not of a photo of" in refusal(scene, depth=True)
    depth.write_bytes(b"no image")
    assert "frame_00001.png: cannot be read as an image" in refusal(scene, depth=True)
    depth.unlink()
    assert "frame_00001.png: no such image" in refusal(scene, depth=True)
    edit(scene, lambda content: [frame.pop("depth_file_path") for frame in content["frames"]])
    assert "no frame of the scene has a depth_file_path" in refusal(scene, depth=True)


def test_no_images(scene, llff, tmp_path, refusal):
    edit(scene, lambda content: content.update(frames=[]))
    assert "no images" in refusal(scene)
    for photo in (llff / "images").iterdir():
        photo.unlink()
    assert "8 poses for 0 images" in refusal(llff)
    np.save(llff / "poses_bounds.npy", np.zeros((0, 17)))
    assert "no images" in refusal(llff)
    assert "neither transforms.json nor poses_bounds.npy" in refusal(tmp_path)
    assert "no scene at" in refusal(tmp_path / "nowhere")


def test_too_few_photos_to_hold_one_out(scene, refusal):
    def change(content):
        for split in ("train", "val", "test"):
            del content[f"{split}_filenames"]

    edit(scene, change)
    assert "--train-split-fraction" in refusal(scene)


@pytest.mark.parametrize("layout", ["scene", "llff"])
@pytest.mark.parametrize("which", [0, 4])
@pytest.mark.parametrize("share", [0, 0.6])
def test_a_truncated_jpeg(layout, which, share, request, refusal):
    data = request.getfixturevalue(layout)
    path = sorted((data / "images").iterdir())[which]
    with Image.open(path) as photo:
        photo.save(path, format="JPEG")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert f"{path.name}: cannot be read as an image" in refusal(data)


def test_a_pose_that_is_not_a_number(scene, llff, refusal):
    def change(content):
        content["frames"][4]["transform_matrix"][1][3] = float("nan")

    edit(scene, change)
    assert "the first is of images/frame_00005.png" in refusal(scene)
    rows = np.load(llff / "poses_bounds.npy")
    rows[4, 3] = np.inf
    np.save(llff / "poses_bounds.npy", rows)
    assert "the pose of 04.png is not finite" in refusal(llff)


def test_images_and_poses_that_do_not_match(scene, llff, refusal):
    for data, message in ((scene, "1 of 8 poses have no image"), (llff, "8 poses for 7 images")):
        sorted((data / "images").iterdir())[3].unlink()
        assert message in refusal(data)


def test_an_image_of_another_size_than_its_camera(scene, refusal):
    path = scene / "images" / "frame_00004.png"
    Image.new("RGB", (30, 20)).save(path)
    assert "the image has 30x20 pixels, its camera 64x48" in refusal(scene)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "no prompts"),
        (" ", "no prompts"),
        ("mug; ; ball", "an empty prompt"),
        ("mug; ball; Mug", "the prompt 'Mug' comes twice"),
        ("mug; salt/pepper", "the prompt 'salt/pepper' has a '/'"),
    ],
)
def test_prompts_that_cannot_be_asked(scene, refusal, prompt, message):
    assert message in refusal(scene, prompt=prompt)
    if prompt.strip():
        (scene / "classes.txt").write_text("\n".join(prompt.split(";")))
        error = refusal(scene)
        assert message in error
        assert "classes.txt" in error


def test_an_empty_prompt_on_the_command_line_is_not_forgotten(scene, capsys):
    config = copy.deepcopy(ovs3d_method.config)
    config.pipeline.datamanager.data, config.prompt = scene, ""
    config.set_timestamp()
    with pytest.raises(SystemExit) as raised:
        Ovs3dTrainer(config).setup()
    assert raised.value.code == 2
    assert "no prompts" in only_error(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-16/nonsense", "nonsense"),
        ("ViT-B-17/openai", "unknown CLIP architecture 'ViT-B-17'"),
        ("nonsense", "weights 'nonsense' are not one of"),
        ("tiny/nowhere/a.pt", "no weights at nowhere/a.pt"),
    ],
)
def test_weights_that_nobody_knows(scene, refusal, name, message):
    assert message in refusal(scene, weights=name)


def test_tinycudann_where_there_is_no_cuda(scene, refusal, monkeypatch):
    monkeypatch.setattr(ovs3d_method.config.pipeline.model, "volumes", "hash")
    monkeypatch.setattr(volumes, "TCNN_EXISTS", False)
    assert "tinycudann needs CUDA" in refusal(scene)


def test_weights_of_another_architecture(scene, refusal, tmp_path):
    error = refusal(scene, weights=save_weights(tmp_path / "wide.pt", WIDE))
    assert "wide.pt holds weights of another architecture" in error


def test_a_cache_from_other_weights_is_left_alone_and_computed_beside(scene, weights, tmp_path):
    other = save_weights(tmp_path / "other.pt", TINY, seed=1)
    first = build(scene, weights).datamanager.tiles
    kept = {path: path.read_bytes() for path in (scene / ".ovs3d").iterdir()}
    second = build(scene, other).datamanager.tiles
    assert (first[0].embeddings - second[0].embeddings).abs().max() > 1e-3
    assert len(list((scene / ".ovs3d").iterdir())) == 2 * len(kept) == 12
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_full_disk_while_features_are_stored(scene, refusal, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    error = refusal(scene)
    assert "no space left for features" in error
    assert "--feature-dir" in error
    assert list((scene / ".ovs3d").iterdir()) == []


def test_a_read_only_scene_folder(scene, refusal, weights, monkeypatch, tmp_path):
    mkdir = Path.mkdir

    def read_only(path: Path, *args, **kwargs) -> None:
        if scene in path.parents:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", read_only)
    error = refusal(scene)
    assert "cannot write features" in error
    assert "--feature-dir" in error


def ns_train(scene: Path, *flags: str, **options) -> subprocess.CompletedProcess:
    command = [Path(sys.executable).with_name("ns-train"), "ovs3d", "--data", scene, "--vis", "tensorboard"]
    return subprocess.run(
        [*command, *flags],
        cwd=scene.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


@pytest.mark.slow
def test_the_command_ends_with_one_line_and_status_two(scene):
    edit(scene, lambda content: content.update(frames=[]))
    done = ns_train(scene)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "no images" in errors[0]
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_disk_that_is_full_when_a_checkpoint_is_written(scene):
    def one_megabyte() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))

    flags = ["--max-num-iterations", "1", "--pipeline.datamanager.tile-scales", "1"]
    flags += ["--pipeline.datamanager.dino-short-side", "64"]
    done = ns_train(scene, *flags, preexec_fn=one_megabyte)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "cannot write" in errors[0]
    assert "step-000000000.ckpt" in errors[0]
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(scene.parent.glob("outputs/**/*.ckpt*"))
