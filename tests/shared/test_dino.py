import json
import time

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from tiny_models import TINY_DINO, dino_checkpoint, randomize

from ovs3d.errors import InputError
from ovs3d.foundation import dino as dino_module
from ovs3d.foundation.dino import ARCHITECTURES, load_dino, resize_positions
from ovs3d.foundation.fetch import sha256_of

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


@pytest.fixture(autouse=True)
def architectures(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "tiny_dino", TINY_DINO)


@pytest.fixture
def model() -> VisionTransformer:
    torch.manual_seed(0)
    return randomize(VisionTransformer(num_classes=0, **TINY_DINO))


@pytest.fixture
def weights(model, tmp_path) -> str:
    torch.save(model.state_dict(), tmp_path / "a.pth")
    return f"tiny_dino/{tmp_path}/a.pth"


def test_tokens_are_the_last_block_before_the_norm(model, weights):
    images = torch.rand(2, 3, 32, 32)
    seen = []
    model.blocks[-1].register_forward_hook(lambda _, args, output: seen.append(output))
    model.forward_features((images - MEAN[:, None, None]) / STD[:, None, None])
    expected = seen[0][:, 1:].reshape(2, 4, 4, 32)
    torch.testing.assert_close(load_dino(weights).tokens(images), expected)


def test_rows_and_columns_of_tokens_are_those_of_the_image(weights):
    dino = load_dino(weights)
    images = torch.rand(1, 3, 40, 24)
    assert dino.tokens(images).shape == (1, 5, 3, 32)
    # what is left of the last whole patch is not looked at
    wider = torch.cat([images, torch.rand(1, 3, 40, 7)], dim=3)
    torch.testing.assert_close(dino.tokens(wider), dino.tokens(images))


def test_a_patch_without_attention_sees_its_own_pixels_only(model, weights):
    dino = load_dino(weights)
    for block in dino.model.blocks:
        block.attn.proj.weight.zero_()
    images = torch.rand(1, 3, 32, 48)
    changed = images.clone()
    changed[:, :, 8:16, 24:32] = 0
    difference = (dino.tokens(images) - dino.tokens(changed)).abs().amax(dim=3)[0]
    assert difference[1, 3] > 1e-3
    difference[1, 3] = 0
    assert difference.max() < 1e-5


def cubic(x: float, a: float = -0.75) -> float:
    """Keys' kernel, as in torch."""
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def test_positions_are_resized_as_dino_does():
    torch.manual_seed(0)
    side, gh, gw = 4, 6, 3
    positions = torch.randn(1, 1 + side * side, 2, dtype=torch.float64)
    grid = positions[0, 1:].reshape(side, side, 2)
    resized = resize_positions(positions, gh, gw)
    torch.testing.assert_close(resized[:, 0], positions[:, 0])
    for i in range(gh):
        for j in range(gw):
            # DINO asks for a grid that is 0.1 larger, and torch takes the scale at its word
            row = (i + 0.5) * side / (gh + 0.1) - 0.5
            column = (j + 0.5) * side / (gw + 0.1) - 0.5
            expected = torch.zeros(2, dtype=torch.float64)
            for m in range(int(row // 1) - 1, int(row // 1) + 3):
                for n in range(int(column // 1) - 1, int(column // 1) + 3):
                    cell = grid[min(max(m, 0), side - 1), min(max(n, 0), side - 1)]
                    expected += cubic(row - m) * cubic(column - n) * cell
            torch.testing.assert_close(resized[0, 1 + i * gw + j], expected, rtol=1e-6, atol=1e-6)


def test_positions_of_the_native_grid_are_untouched():
    positions = torch.randn(1, 17, 3)
    assert resize_positions(positions, 4, 4) is positions


def test_a_training_checkpoint_gives_its_teachers_backbone(model, weights, tmp_path):
    torch.save(dino_checkpoint(model), tmp_path / "b.pth")
    images = torch.rand(1, 3, 32, 32)
    checkpoint = load_dino(f"tiny_dino/{tmp_path}/b.pth")
    torch.testing.assert_close(checkpoint.tokens(images), load_dino(weights).tokens(images))


def test_what_was_loaded_is_said(weights, tmp_path):
    dino = load_dino(weights)
    assert (dino.name, dino.weights, dino.patch) == ("tiny_dino", weights, 8)
    assert dino.fingerprint == sha256_of(tmp_path / "a.pth")
    assert not dino.tokens(torch.rand(1, 3, 32, 32)).requires_grad


def test_the_mini_dino_is_loaded_from_its_folder(model, tmp_path, monkeypatch):
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(TINY_DINO))
    monkeypatch.setattr(dino_module, "mini_folder", lambda kind: tmp_path)
    dino = load_dino("mini")
    assert (dino.name, dino.weights) == ("mini", "mini")
    assert dino.tokens(torch.rand(1, 3, 48, 64)).shape == (1, 6, 8, 32)


@pytest.mark.parametrize("name", ["vit_small_patch16_224_dino", "vit_base_patch8_224_dino"])
def test_sizes_are_those_of_timm(name):
    ours = VisionTransformer(num_classes=0, weight_init="skip", **ARCHITECTURES[name])
    theirs = timm.create_model(name, num_classes=0, weight_init="skip")
    shapes = [{k: v.shape for k, v in model.state_dict().items()} for model in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert ours.blocks[0].attn.num_heads == theirs.blocks[0].attn.num_heads


def test_an_unknown_architecture_and_other_weights_are_refused(weights):
    with pytest.raises(InputError, match="vit_base_patch8_224_dino"):
        load_dino("vit_base/./a.pth")
    with pytest.raises(InputError, match=r"another architecture: .*blocks\.2"):
        load_dino(weights.replace("tiny_dino", "vit_small_patch8_224.dino"))


@pytest.mark.slow
def test_a_vit_b_8_of_random_weights_is_loaded_by_path(tmp_path):
    sizes = ARCHITECTURES["vit_base_patch8_224_dino"]
    torch.save(
        VisionTransformer(num_classes=0, **sizes).state_dict(), tmp_path / "dino_vitbase8_pretrain.pth"
    )
    start = time.perf_counter()
    dino = load_dino(f"vit_base_patch8_224.dino/{tmp_path}/dino_vitbase8_pretrain.pth")
    loaded = time.perf_counter()
    assert dino.tokens(torch.rand(1, 3, 64, 96)).shape == (1, 8, 12, 768)
    print(f"loaded in {loaded - start:.1f} s, 64x96 pixels in {time.perf_counter() - loaded:.1f} s")
