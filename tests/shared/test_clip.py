import copy
import dataclasses
import json
import time
import warnings
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.model import build_model_from_openai_state_dict
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file
from tiny_models import TINY_RESNET, TINY_VIT, openai_state, random_clip, save_openai_jit

from ovs3d.errors import InputError
from ovs3d.foundation import clip as clip_module
from ovs3d.foundation.clip import load_clip
from ovs3d.foundation.fetch import sha256_of
from ovs3d.foundation.published import Published

CONFIGS = {"tiny-vit": TINY_VIT, "tiny-resnet": TINY_RESNET}


@pytest.fixture(autouse=True)
def architectures(monkeypatch):
    configs = copy.deepcopy(CONFIGS)
    monkeypatch.setattr(clip_module, "clip_architectures", lambda: copy.deepcopy(configs))
    return configs


@pytest.fixture(autouse=True)
def exact_arithmetic(monkeypatch):
    """Comparisons with open_clip are exact; the test of the faster arithmetic asks for it by name."""
    monkeypatch.setattr(clip_module, "_fastest", lambda device: "float32")


def saved(model: open_clip.CLIP, path: Path) -> Path:
    torch.save(model.state_dict(), path)
    return path


@pytest.mark.parametrize("architecture", CONFIGS)
def test_encoding_is_what_open_clip_computes(tmp_path, architecture):
    model = random_clip(CONFIGS[architecture])
    clip = load_clip(f"{architecture}/{saved(model, tmp_path / 'a.pt')}")
    images = torch.rand(3, 3, clip.image_size, clip.image_size)
    expected = model.encode_image(clip.normalize(images))
    torch.testing.assert_close(clip.encode_images(images), expected, rtol=1e-4, atol=1e-5)
    tokens = open_clip.tokenize(["a red mug", "floor"], context_length=16)
    expected = F.normalize(model.encode_text(tokens), dim=-1)
    torch.testing.assert_close(clip.encode_texts(["a red mug", "floor"]), expected)


def test_what_was_loaded_is_said(tmp_path):
    path = saved(random_clip(TINY_VIT), tmp_path / "a.pt")
    clip = load_clip(f"tiny-vit/{path}")
    assert (clip.name, clip.weights) == ("tiny-vit", f"tiny-vit/{path}")
    assert (clip.d, clip.image_size, clip.device) == (16, 32, torch.device("cpu"))
    assert clip.fingerprint == sha256_of(path)
    assert clip.unknown_words("anything at all") == ()


def test_whatever_changes_features_changes_the_identity(tmp_path):
    path = saved(random_clip(TINY_VIT), tmp_path / "a.pt")
    clip = load_clip(f"tiny-vit/{path}")
    others = [
        dataclasses.replace(clip, name="other"),
        dataclasses.replace(clip, fingerprint="other"),
        dataclasses.replace(clip, mean=(0.5, 0.5, 0.5)),
        dataclasses.replace(clip, std=(0.5, 0.5, 0.5)),
        dataclasses.replace(clip, precision="float16"),
        dataclasses.replace(clip, model=random_clip({**TINY_VIT, "quick_gelu": True})),
    ]
    assert len({json.dumps(one.identity) for one in [clip, *others]}) == 1 + len(others)
    assert load_clip(f"tiny-vit/{path}").identity == clip.identity


def test_half_precision_keeps_the_direction_and_is_not_the_same_arithmetic(tmp_path):
    path = saved(random_clip(TINY_RESNET), tmp_path / "a.pt")
    images = torch.rand(4, 3, 64, 64)
    exact = load_clip(f"tiny-resnet/{path}").encode_images(images)
    half = load_clip(f"tiny-resnet/{path}", precision="bfloat16").encode_images(images)
    assert half.dtype == torch.float32
    assert F.cosine_similarity(exact, half).min() > 0.999
    assert not torch.equal(exact, half)


def test_the_model_is_frozen(tmp_path):
    clip = load_clip(f"tiny-resnet/{saved(random_clip(TINY_RESNET), tmp_path / 'a.pt')}")
    before = copy.deepcopy(clip.model.state_dict())
    features = clip.encode_images(torch.rand(2, 3, 64, 64))
    assert not features.requires_grad
    assert not any(p.requires_grad for p in clip.model.parameters())
    assert all(torch.equal(before[name], value) for name, value in clip.model.state_dict().items())


def test_text_embeddings_have_unit_length_and_image_features_need_not(tmp_path):
    clip = load_clip(f"tiny-vit/{saved(random_clip(TINY_VIT), tmp_path / 'a.pt')}")
    torch.testing.assert_close(clip.encode_texts(["mug", "a ball"]).norm(dim=1), torch.ones(2))
    assert (clip.encode_images(torch.rand(2, 3, 32, 32)).norm(dim=1) - 1).abs().min() > 0.01


def test_a_text_is_encoded_once(tmp_path, monkeypatch):
    clip = load_clip(f"tiny-vit/{saved(random_clip(TINY_VIT), tmp_path / 'a.pt')}")
    first = clip.encode_texts(["mug", "ball", "mug"])
    assert torch.equal(first[0], first[2])
    encode, encoded = clip_module._encode_tokens, []
    monkeypatch.setattr(
        clip_module,
        "_encode_tokens",
        lambda model, tokens: encoded.append(len(tokens)) or encode(model, tokens),
    )
    second = clip.encode_texts(["ball", "lamp", "mug"])
    assert encoded == [1]
    assert torch.equal(second[[2, 0]], first[:2])
    torch.testing.assert_close(second[1:2], load_clip(clip.weights).encode_texts(["lamp"]))


@pytest.mark.parametrize("size", [(32, 32), (50, 50), (21, 21)])
def test_preprocessing_is_open_clips(tmp_path, size):
    clip = load_clip(f"tiny-vit/{saved(random_clip(TINY_VIT), tmp_path / 'a.pt')}")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC)
    expected = image_transform_v2(PreprocessCfg(size=32), is_train=False)(image)
    seen = []
    clip.model.visual.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    clip.encode_images(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255)
    assert (seen[0][0] - expected).abs().max() < 2 / 255 / min(clip.std)


def test_an_image_of_another_shape_is_squeezed_not_cropped(tmp_path):
    clip = load_clip(f"tiny-vit/{saved(random_clip(TINY_VIT), tmp_path / 'a.pt')}")
    image = torch.rand(1, 3, 32, 64)
    squeezed = F.interpolate(image, (32, 32), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(clip.encode_images(image), clip.encode_images(squeezed))


# the files of others


def test_an_openai_archive_is_loaded_with_quickgelu(tmp_path):
    model = random_clip(TINY_VIT | {"quick_gelu": True})
    expected = copy.deepcopy(model)
    expected.visual.conv1.half().float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_openai_jit(model, tmp_path / "a.pt")
    images = torch.rand(2, 3, 32, 32)
    clip = load_clip(f"tiny-vit/{tmp_path}/a.pt")
    torch.testing.assert_close(clip.encode_images(images), expected.encode_image(clip.normalize(images)))
    assert {p.dtype for p in clip.model.parameters()} == {torch.float32}


def test_an_openai_state_dict_gives_what_open_clip_makes_of_it(tmp_path, architectures):
    config = copy.deepcopy(TINY_VIT)
    config["vision_cfg"] |= {"width": 64, "head_width": 64}
    config["text_cfg"] = config["text_cfg"] | {"width": 64, "heads": 1}
    architectures["openai-like"] = config
    state = openai_state(random_clip(config))
    torch.save(state, tmp_path / "a.pt")
    expected = build_model_from_openai_state_dict(dict(state), cast_dtype=None).float()
    clip = load_clip(f"openai-like/{tmp_path}/a.pt")
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(clip.encode_images(images), expected.encode_image(clip.normalize(images)))


def test_a_plain_file_is_loaded_with_the_gelu_of_its_architecture(tmp_path, architectures):
    path = saved(random_clip(TINY_VIT), tmp_path / "a.pt")
    images = torch.rand(1, 3, 32, 32)
    plain = load_clip(f"tiny-vit/{path}").encode_images(images)
    architectures["tiny-vit-quickgelu"] = TINY_VIT | {"quick_gelu": True}
    quick = load_clip(f"tiny-vit-quickgelu/{path}").encode_images(images)
    assert (plain - quick).abs().max() > 1e-3


@pytest.mark.parametrize("format", ["safetensors", "training"])
def test_open_clips_own_files_are_loaded(tmp_path, format):
    model = random_clip(TINY_RESNET)
    if format == "safetensors":
        path = tmp_path / "a.safetensors"
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    else:
        path = tmp_path / "a.pt"
        wrapped = {f"module.{name}": value for name, value in model.state_dict().items()}
        torch.save({"epoch": 1, "state_dict": wrapped}, path)
    clip = load_clip(f"tiny-resnet/{path}")
    images = torch.rand(1, 3, 64, 64)
    expected = model.encode_image(clip.normalize(images))
    torch.testing.assert_close(clip.encode_images(images), expected, rtol=1e-4, atol=1e-5)


def test_a_published_tag_brings_its_normalisation_and_activation(tmp_path, monkeypatch):
    path = saved(random_clip(TINY_VIT), tmp_path / "a.pt")
    half = (0.5, 0.5, 0.5)
    file = Published("clip", "tiny-vit", "webli", "https://h/a.pt", "", quick_gelu=True, mean=half, std=half)
    monkeypatch.setattr(clip_module, "published", lambda spec: file)
    monkeypatch.setattr(clip_module, "weights_file", lambda spec: (path, "hash"))
    clip = load_clip("tiny-vit/webli")
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(clip.normalize(images), 2 * images - 1)
    assert clip.fingerprint == "hash"
    plain = load_clip(f"tiny-vit/{path}")
    assert (clip.model.encode_image(images) - plain.model.encode_image(images)).abs().max() > 1e-3


def test_a_batch_norm_without_its_counter_is_loaded(tmp_path):
    state = random_clip(TINY_RESNET).state_dict()
    torch.save({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, tmp_path / "a.pt")
    assert load_clip(f"tiny-resnet/{tmp_path}/a.pt").name == "tiny-resnet"


# mistakes


def test_weights_of_another_architecture_are_refused_by_name(tmp_path):
    path = saved(random_clip(TINY_RESNET), tmp_path / "a.pt")
    with pytest.raises(InputError, match="another architecture") as caught:
        load_clip(f"tiny-vit/{path}")
    assert "visual.class_embedding" in str(caught.value)
    assert "visual.layer1" in str(caught.value) or "visual.bn1" in str(caught.value)


def test_an_unknown_architecture_is_answered_with_the_closest():
    with pytest.raises(InputError, match="tiny-resnet"):
        load_clip("tiny-resnet50/./a.pt")


def test_a_text_that_is_too_long_is_refused_not_cut(tmp_path):
    clip = load_clip(f"tiny-vit/{saved(random_clip(TINY_VIT), tmp_path / 'a.pt')}")
    clip.encode_texts(["mug " * 14])
    with pytest.raises(InputError, match="15 tokens"):
        clip.encode_texts(["mug", "mug " * 15])


# mini


@pytest.fixture
def mini(tmp_path, monkeypatch):
    """A mini CLIP that knows few words, with its token embedding stored as in the package."""
    model = random_clip(TINY_RESNET)
    words = [open_clip.tokenize(["a photo of a red mug striped"])[0], torch.tensor([0])]
    ids = torch.cat(words).unique()
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    state |= {
        "token_embedding.ids": ids,
        "token_embedding.rows": state.pop("token_embedding.weight")[ids].half(),
    }
    save_file(state, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(TINY_RESNET))
    monkeypatch.setattr(clip_module, "mini_folder", lambda kind: tmp_path)
    return model


def test_the_mini_clip_answers_known_words_as_its_whole_model(mini):
    clip = load_clip("mini")
    mini.token_embedding.half().float()
    tokens = open_clip.tokenize(["a red mug"], context_length=16)
    expected = F.normalize(mini.encode_text(tokens), dim=-1)
    torch.testing.assert_close(clip.encode_texts(["a red mug"]), expected)
    assert (clip.name, clip.weights) == ("mini", "mini")


def test_the_mini_clip_names_the_words_that_it_cannot_know(mini):
    clip = load_clip("mini")
    assert clip.unknown_words("a photo of a Red mug") == ()
    assert clip.unknown_words("a pikachu, striped") == ("pikachu", ",")
    # "stripe" begins as "striped" does, but its last token was never seen
    assert clip.unknown_words("stripe") == ("stripe",)


def test_the_mini_clip_refuses_an_unknown_word_and_offers_others(mini):
    with pytest.raises(InputError, match="'mugs'") as caught:
        load_clip("mini").encode_texts(["red mug", "red mugs"])
    assert "mug" in str(caught.value).split("closest are")[1]
    assert "ViT-B-16/openai" in str(caught.value)


@pytest.mark.slow
def test_a_vit_b_16_of_random_weights_is_loaded_by_path(tmp_path, monkeypatch):
    monkeypatch.undo()
    state = openai_state(open_clip.CLIP(**open_clip.get_model_config("ViT-B-16")))
    torch.save(state, tmp_path / "ViT-B-16.pt")
    start = time.perf_counter()
    clip = load_clip(f"ViT-B-16/{tmp_path}/ViT-B-16.pt")
    loaded = time.perf_counter()
    assert clip.encode_images(torch.rand(1, 3, 300, 200)).shape == (1, 512)
    print(f"loaded in {loaded - start:.1f} s, one image in {time.perf_counter() - loaded:.1f} s")
    assert (clip.d, clip.image_size, clip.model.context_length) == (512, 224, 77)
    assert isinstance(clip.model.visual.transformer.resblocks[0].mlp.gelu, open_clip.transformer.QuickGELU)
    assert dataclasses.is_dataclass(clip)


@pytest.mark.parametrize("causal", [True, False])
def test_texts_are_read_to_the_end_of_the_longest_where_no_padding_is_seen(causal):
    clip = load_clip("mini")
    model = copy.deepcopy(clip.model)
    clip = dataclasses.replace(clip, model=model)
    if not causal:
        model.attn_mask = None
    texts, seen = ["mug", "red mug"], []
    expected = model.encode_text(clip.tokenizer(texts, context_length=model.context_length), normalize=True)
    model.transformer.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    torch.testing.assert_close(clip.encode_texts(texts), expected)
    assert seen == [4 if causal else model.context_length]  # start, red, mug, end
