"""``ovs3d features``: what lies in the store afterwards, and what is said of a scene that cannot be used."""

import copy
import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from tiny_models import TINY_DINO, TINY_VIT, random_clip, randomize

from ovs3d.cli import main
from ovs3d.device import usable_device
from ovs3d.errors import InputError
from ovs3d.foundation import clip as clip_module
from ovs3d.foundation import tiles
from ovs3d.foundation.clip import load_clip
from ovs3d.foundation.crops import TileSpec, resize
from ovs3d.foundation.dense import dense_features
from ovs3d.foundation.dino import ARCHITECTURES, load_dino
from ovs3d.foundation.features_command import Features
from ovs3d.foundation.maps import dino_entry, scene_dense, scene_dino
from ovs3d.foundation.store import FeatureStore
from ovs3d.foundation.weights import CLIP_WEIGHTS, DINO_WEIGHTS
from ovs3d.images import read_image
from ovs3d.scene import scene_images

HEIGHT, WIDTH = 48, 72


@pytest.fixture
def weights(tmp_path, monkeypatch) -> dict[str, str]:
    """The names of a small CLIP and a small DINO with random weights, by kind of feature."""
    monkeypatch.setattr(clip_module, "clip_architectures", lambda: {"tiny-vit": copy.deepcopy(TINY_VIT)})
    monkeypatch.setitem(ARCHITECTURES, "tiny_dino", TINY_DINO)
    torch.save(random_clip(TINY_VIT).state_dict(), tmp_path / "clip.pt")
    torch.save(randomize(VisionTransformer(num_classes=0, **TINY_DINO)).state_dict(), tmp_path / "dino.pth")
    clip, dino = f"tiny-vit/{tmp_path / 'clip.pt'}", f"tiny_dino/{tmp_path / 'dino.pth'}"
    return {"clip-tiles": clip, "clip-dense": clip, "dino": dino}


@pytest.fixture
def scene(tmp_path) -> Path:
    folder = tmp_path / "scene" / "images"
    folder.mkdir(parents=True)
    for index in range(3):
        pixels = torch.randint(0, 256, (HEIGHT, WIDTH, 3), generator=torch.Generator().manual_seed(index))
        Image.fromarray(pixels.byte().numpy()).save(folder / f"{index}.png")
    return folder.parent


def run(scene: Path, weights: str, *flags: str) -> None:
    main(["features", "--data", str(scene), "--weights", weights, "--tile-scales", "2", "3", *flags])


def stored(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["clip-tiles", "clip-dense", "dino"])
def test_each_image_is_computed_once_and_found_the_next_time(scene, weights, capsys, kind):
    run(scene, weights[kind], "--kind", kind)
    assert f"{kind} of 3 images" in (said := capsys.readouterr().out)
    assert "3 computed (" in said
    assert str(scene / ".ovs3d") in said
    first = stored(scene / ".ovs3d")
    assert [name.startswith(f"{kind}-") for name in first] == [True] * 3
    run(scene, weights[kind], "--kind", kind)
    assert "0 computed, " in capsys.readouterr().out
    assert stored(scene / ".ovs3d") == first


def test_the_bytes_per_image_are_those_of_its_features(scene, weights, capsys):
    run(scene, weights["dino"], "--kind", "dino", "--short-side", str(2 * HEIGHT))
    size = (2 * HEIGHT // 8) * (2 * WIDTH // 8) * TINY_DINO["embed_dim"] * 2
    assert f" {size / 1000:.0f} kB per image" in capsys.readouterr().out


def test_training_finds_the_tiles_that_the_command_stored(scene, weights, monkeypatch):
    run(scene, weights["clip-tiles"])

    def never(*_, **__):
        raise AssertionError("encoded again")

    monkeypatch.setattr(tiles, "encode_tiles", never)
    clip, store = load_clip(weights["clip-tiles"]), FeatureStore(scene / ".ovs3d")
    assert len(tiles.scene_tiles(clip, scene_images(scene), TileSpec(scales=(2, 3)), store)) == 3
    with pytest.raises(AssertionError, match="encoded again"):
        tiles.scene_tiles(clip, scene_images(scene), TileSpec(scales=(2,)), store)


def test_features_lie_where_the_flag_says(scene, weights, tmp_path):
    run(scene, weights["clip-dense"], "--kind", "clip-dense", "--feature-dir", str(tmp_path / "a" / "b"))
    assert len(stored(tmp_path / "a" / "b")) == 3
    assert not (scene / ".ovs3d").exists()


@pytest.mark.parametrize("short_side", [32, 42, HEIGHT, 96])
def test_maps_are_what_the_models_see_in_an_image_of_the_size_that_is_asked(
    scene, weights, tmp_path, short_side
):
    clip, dino = load_clip(weights["clip-dense"]), load_dino(weights["dino"])
    images, store = scene_images(scene), FeatureStore(tmp_path / "store")

    def resized(side: int) -> list[torch.Tensor]:
        size = [8 * round(length * side / HEIGHT / 8) for length in (HEIGHT, WIDTH)]  # whole patches
        return [resize(read_image(path), *size).permute(2, 0, 1) / 255 for path in images]

    never_enlarged = resized(min(short_side, HEIGHT))
    for found, image in zip(scene_dense(clip, images, store, short_side), never_enlarged, strict=True):
        torch.testing.assert_close(found, dense_features(clip, image).half())
    for found, image in zip(scene_dino(dino, images, store, short_side), resized(short_side), strict=True):
        torch.testing.assert_close(found, dino.tokens(image[None])[0].half())


def test_maps_of_other_sizes_do_not_meet_in_the_store(scene, weights, tmp_path):
    dino, store = load_dino(weights["dino"]), FeatureStore(tmp_path / "store")
    shapes = [next(scene_dino(dino, scene_images(scene), store, side)).shape for side in (32, 40, 32)]
    assert [tuple(shape[:2]) for shape in shapes] == [(4, 6), (5, 8), (4, 6)]


def test_an_image_smaller_than_a_patch_is_named(scene, weights, tmp_path):
    dino, store = load_dino(weights["dino"]), FeatureStore(tmp_path / "store")
    with pytest.raises(InputError, match=r"0\.png: 9x6 pixels; expected at least 8x8"):
        next(scene_dino(dino, scene_images(scene), store, short_side=6))


def test_a_grid_covers_all_of_its_image(tmp_path, weights):
    """A photo that is no multiple of patches, bright in its last quarter: so are the last columns of its grid."""
    pixels = torch.zeros(32, 92, 3, dtype=torch.uint8)
    pixels[:, 69:] = 255
    Image.fromarray(pixels.numpy()).save(tmp_path / "a.png")
    dino, store = load_dino(weights["dino"]), FeatureStore(tmp_path / "store")
    grid = store.get_or_compute(*dino_entry(dino, tmp_path / "a.png", 32))["features"]
    assert grid.shape[:2] == (4, 12)  # 11.5
    seen = resize(read_image(tmp_path / "a.png"), 32, 96).permute(2, 0, 1) / 255
    assert (seen[:, :, 73:] > 0.9).all()
    assert (seen[:, :, :71] < 0.1).all()
    torch.testing.assert_close(grid, dino.tokens(seen[None])[0].half())


@pytest.mark.parametrize(
    ("kind", "of_scene", "flag", "expected"),
    [
        ("clip-tiles", None, None, CLIP_WEIGHTS),
        ("clip-dense", "mini", None, "mini"),
        ("clip-tiles", "RN50/openai", None, "RN50/openai"),
        ("clip-tiles", "RN50/openai", "mini", "mini"),
        ("dino", None, None, DINO_WEIGHTS),
        ("dino", "mini", None, "mini"),
        ("dino", "RN50/openai", None, DINO_WEIGHTS),
    ],
)
def test_weights_are_the_flags_then_the_scenes_then_the_published_ones(
    scene, monkeypatch, kind, of_scene, flag, expected
):
    if of_scene:
        (scene / "ovs3d.yaml").write_text(f"weights: {of_scene}\n")
    asked = []

    def load(self, weights):
        asked.append(weights)
        raise InputError("enough")

    monkeypatch.setattr(Features, "_load", load)
    with pytest.raises(InputError, match="enough"):
        Features(scene, kind=kind, weights=flag).run()
    assert asked == [expected]


def refused(capsys, *args) -> str:
    """The one line of an error that ended the command with status 2."""
    with pytest.raises(SystemExit) as stop:
        run(*args)
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    return line


def test_a_truncated_photo_is_named_before_anything_is_computed(scene, weights, capsys):
    path = scene / "images" / "9.jpg"
    Image.open(scene / "images" / "0.png").save(path)
    os.truncate(path, path.stat().st_size // 2)  # its header is whole
    assert "9.jpg" in refused(capsys, scene, weights["clip-tiles"])
    assert not (scene / ".ovs3d").exists()


def test_a_folder_without_images_is_refused(tmp_path, weights, capsys):
    (tmp_path / "empty").mkdir()
    assert "no images" in refused(capsys, tmp_path / "empty", weights["clip-tiles"])
    assert "no folder" in refused(capsys, tmp_path / "absent", weights["clip-tiles"])


@pytest.mark.parametrize(("kind", "architecture"), [("clip-tiles", "tiny-vit"), ("dino", "tiny_dino")])
@pytest.mark.parametrize(
    ("source", "said"),
    [("", "not one of"), ("/absent", "unknown weights"), ("/./absent.pt", "no weights at absent.pt")],
)
def test_unknown_weights_are_refused(scene, weights, capsys, kind, architecture, source, said):
    assert said in refused(capsys, scene, architecture + source, "--kind", kind)


@pytest.mark.parametrize(("kind", "other"), [("clip-tiles", "dino"), ("dino", "clip-tiles")])
def test_weights_of_another_kind_of_model_are_refused(scene, weights, capsys, kind, other):
    assert f"unknown {kind[:4].upper()}" in refused(capsys, scene, weights[other], "--kind", kind)


def test_a_store_that_cannot_be_written_is_refused_with_the_way_out(scene, weights, capsys):
    (scene / ".ovs3d").touch()  # a file: not even root makes a folder of it
    assert "--feature-dir" in refused(capsys, scene, weights["clip-tiles"])


@pytest.mark.parametrize("device", ["gpu", f"cuda:{torch.cuda.device_count()}"])
def test_a_device_that_is_not_there_is_refused(scene, weights, capsys, device):
    assert device in refused(capsys, scene, weights["clip-tiles"], "--device", device)


def test_cuda_is_used_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert usable_device(None) == "cuda"
    assert usable_device("cpu") == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "1")  # of several processes each has its own
    assert usable_device(None) == "cuda:1"
