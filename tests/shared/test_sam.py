import json
import time
from dataclasses import asdict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from segment_anything import SamPredictor, sam_model_registry
from tiny_models import randomize

from ovs3d.errors import InputError
from ovs3d.foundation import sam as sam_module
from ovs3d.foundation.sam import ARCHITECTURES, SamConfig, build_sam, load_sam

TINY = SamConfig(
    image_size=64,
    embed_dim=32,
    depth=2,
    num_heads=2,
    global_attn_indexes=(1,),
    window_size=3,
    prompt_dim=32,
    decoder_num_heads=2,
    decoder_mlp_dim=64,
)


@pytest.fixture(autouse=True)
def architectures(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)


@pytest.fixture
def sam():
    torch.manual_seed(0)
    return randomize(build_sam(TINY))


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_published_sizes_are_segment_anythings(name):
    with torch.device("meta"):
        ours, theirs = build_sam(ARCHITECTURES[name]), sam_model_registry[name]()
    assert [(k, v.shape) for k, v in ours.state_dict().items()] == [
        (k, v.shape) for k, v in theirs.state_dict().items()
    ]
    settings = [
        [(block.window_size, block.attn.num_heads) for block in model.image_encoder.blocks]
        for model in (ours, theirs)
    ]
    assert settings[0] == settings[1]


def test_a_loaded_sam_answers_as_the_saved_one(sam, tmp_path):
    torch.save(sam.state_dict(), tmp_path / "sam.pth")
    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    answers = []
    for model in (sam, load_sam(f"tiny/{tmp_path}/sam.pth").model):
        predictor = SamPredictor(model)
        predictor.set_image(image)
        masks, scores, logits = predictor.predict(np.array([[20, 10]]), np.array([1]))
        answers.append((masks, scores, logits))
    assert answers[0][0].shape == (3, 30, 50)
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_sam_is_frozen(sam, tmp_path):
    torch.save(sam.state_dict(), tmp_path / "sam.pth")
    loaded = load_sam(f"tiny/{tmp_path}/sam.pth").model
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_the_mini_sam_is_loaded_from_its_folder(sam, tmp_path, monkeypatch):
    save_file(sam.state_dict(), tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(asdict(TINY)))
    monkeypatch.setattr(sam_module, "mini_folder", lambda kind: tmp_path)
    loaded = load_sam("mini").model
    assert loaded.image_encoder.img_size == 64
    assert torch.equal(loaded.mask_decoder.iou_token.weight, sam.mask_decoder.iou_token.weight)


def test_an_unknown_architecture_and_other_weights_are_refused(sam, tmp_path):
    torch.save(sam.state_dict(), tmp_path / "sam.pth")
    with pytest.raises(InputError, match="mini, vit_b"):
        load_sam("vit_x/./sam.pth")
    with pytest.raises(InputError, match=r"another architecture: .*image_encoder\.blocks\.2"):
        load_sam(f"vit_b/{tmp_path}/sam.pth")


@pytest.mark.slow
def test_a_vit_b_of_random_weights_is_loaded_by_path(tmp_path):
    torch.save(build_sam(SamConfig()).state_dict(), tmp_path / "sam_vit_b_01ec64.pth")
    start = time.perf_counter()
    sam = load_sam(f"vit_b/{tmp_path}/sam_vit_b_01ec64.pth").model
    print(f"loaded in {time.perf_counter() - start:.1f} s")
    with torch.no_grad():
        sparse, dense = sam.prompt_encoder((torch.tensor([[[9.0, 9]]]), torch.ones(1, 1)), None, None)
        masks, scores = sam.mask_decoder(
            torch.randn(1, 256, 64, 64), sam.prompt_encoder.get_dense_pe(), sparse, dense, True
        )
    assert masks.shape == (1, 3, 256, 256)
    assert scores.shape == (1, 3)
