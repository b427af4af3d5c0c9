import pytest
import torch
import torch.nn.functional as F
from tiny_models import TINY_RESNET, TINY_VIT, random_clip

from ovs3d.errors import InputError
from ovs3d.foundation import clip as clip_module
from ovs3d.foundation.clip import Clip, load_clip
from ovs3d.foundation.dense import dense_features, resize_positions, smoothed
from ovs3d.foundation.dense_options import MASKCLIP, DenseOptions

CONFIGS = {"vit": TINY_VIT, "resnet": TINY_RESNET}


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_module, "clip_architectures", lambda: dict(CONFIGS))

    def load(name: str) -> Clip:
        torch.save(random_clip(CONFIGS[name]).state_dict(), tmp_path / "a.pt")
        return load_clip(f"{name}/{tmp_path}/a.pt")

    return load


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (1, 1)])
def test_there_is_one_feature_per_patch(load, name, grid):
    clip = load(name)
    patch = 8 if name == "vit" else 32
    image = torch.rand(3, grid[0] * patch, grid[1] * patch)
    features = dense_features(clip, image)
    assert features.shape == (*grid, clip.d)
    assert features.isfinite().all()
    assert not features.requires_grad


@pytest.mark.parametrize("name", CONFIGS)
def test_features_are_what_clip_says_if_its_last_attention_looks_at_one_place(load, name):
    """The definition, by the model's own forward pass: a mask, or a single position, leaves one place to see."""
    clip = load(name)
    visual = clip.model.visual
    image = torch.rand(3, 32, 32) if name == "vit" else torch.rand(3, 64, 96)
    features = dense_features(clip, image)
    with torch.no_grad():
        expected = (
            _vit_by_masks(visual, clip, image) if name == "vit" else _resnet_by_places(visual, clip, image)
        )
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def _vit_by_masks(visual, clip, image, options=MASKCLIP):
    seen = []
    last = visual.transformer.resblocks[-1]
    hook = last.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    visual(clip.normalize(image[None]))
    hook.remove()
    only_itself = torch.full((17, 17), -torch.inf).fill_diagonal_(0)
    if options.residual and options.mlp:
        out = last(seen[0], attn_mask=only_itself)
    else:
        out = last.attention(last.ln_1(seen[0]), attn_mask=only_itself)
        out = out + seen[0] if options.residual else out
        out = out + last.mlp(last.ln_2(out)) if options.mlp else out
    return (visual.ln_post(out) @ visual.proj)[0, 1:].reshape(4, 4, clip.d)


@pytest.mark.parametrize(
    "options", [DenseOptions(r, m) for r, m in ((True, False), (False, True), (True, True))], ids=str
)
@torch.no_grad()
def test_residual_and_mlp_of_the_last_block_are_its_own(load, options):
    clip = load("vit")
    image = torch.rand(3, 32, 32)
    expected = _vit_by_masks(clip.model.visual, clip, image, options)
    torch.testing.assert_close(dense_features(clip, image, options), expected, rtol=1e-4, atol=1e-5)


def test_a_resnet_has_neither(load):
    with pytest.raises(InputError, match="a ResNet has no last block"):
        dense_features(load("resnet"), torch.rand(3, 64, 64), DenseOptions(residual=True))


def test_a_place_says_what_places_with_its_key_say():
    features, keys = torch.randn(1, 2, 3, 5), torch.randn(1, 2, 3, 4)
    unit, key = F.normalize(features, dim=-1)[0], F.normalize(keys, dim=-1)[0]
    expected = torch.zeros(2, 3, 5)
    for row, column in ((r, c) for r in range(2) for c in range(3)):
        for r, c in ((r, c) for r in range(2) for c in range(3)):
            expected[row, column] += (key[row, column] @ key[r, c]) * unit[r, c]
    torch.testing.assert_close(smoothed(features, keys)[0], expected)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_keys_are_those_of_the_last_attention(load, name):
    clip = load(name)
    visual = clip.model.visual
    seen = []
    if name == "vit":
        last = visual.transformer.resblocks[-1]
        last.ln_1.register_forward_hook(lambda _, args, output: seen.append(output[0]))
        weight, bias = (each.chunk(3)[1] for each in (last.attn.in_proj_weight, last.attn.in_proj_bias))
    else:
        visual.layer4.register_forward_hook(lambda _, args, output: seen.append(output[0].flatten(1).T))
        weight, bias = visual.attnpool.k_proj.weight, visual.attnpool.k_proj.bias
    image = torch.rand(3, 64, 96)
    plain = dense_features(clip, image)
    keys = seen[0] @ weight.T
    bias.copy_(-keys.mean(dim=0))  # keys to all sides
    found = dense_features(clip, image, DenseOptions(smooth_keys=True))
    expected = smoothed(plain[None], (keys + bias).view(1, *plain.shape[:2], -1))[0]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def _resnet_by_places(visual, clip, image):
    seen = []
    visual.layer4.register_forward_hook(lambda _, args, output: seen.append(output))
    visual.attnpool.forward = lambda x: x.mean(dim=(2, 3))
    visual(clip.normalize(image[None]))
    maps = seen[0][0]
    pool = visual.attnpool
    rows = []
    for i in range(maps.shape[1]):
        for j in range(maps.shape[2]):
            out, _ = F.multi_head_attention_forward(
                *[maps[:, i, j][None, None]] * 3,
                embed_dim_to_check=maps.shape[0],
                num_heads=pool.num_heads,
                in_proj_weight=None,
                in_proj_bias=torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
                bias_k=None,
                bias_v=None,
                add_zero_attn=False,
                dropout_p=0,
                out_proj_weight=pool.c_proj.weight,
                out_proj_bias=pool.c_proj.bias,
                use_separate_proj_weight=True,
                q_proj_weight=pool.q_proj.weight,
                k_proj_weight=pool.k_proj.weight,
                v_proj_weight=pool.v_proj.weight,
                training=False,
            )
            rows.append(out[0, 0])
    return torch.stack(rows).reshape(*maps.shape[1:], clip.d)


def test_positions_that_tell_the_row_tell_the_row_of_a_grid_of_another_size():
    rows = torch.arange(4.0).repeat_interleave(5)
    columns = torch.arange(5.0).repeat(4)
    positions = torch.cat([torch.tensor([[7.0, 8.0]]), torch.stack([rows, columns], dim=1)])
    assert resize_positions(positions, (4, 5), 4, 5) is positions
    resized = resize_positions(positions, (4, 5), 6, 3)
    assert torch.equal(resized[0], positions[0])
    cells = resized[1:].unflatten(0, (6, 3))
    torch.testing.assert_close(cells[:, :, 0], cells[:, :1, 0].expand(6, 3))
    torch.testing.assert_close(cells[:, :, 1], cells[:1, :, 1].expand(6, 3))
    assert (cells[:, 0, 0].diff() > 0.3).all()
    assert (cells[0, :, 1].diff() > 1).all()


def test_rows_are_rows_and_columns_are_columns(load):
    """A bright square far from the others' receptive field moves the feature of its own place most."""
    clip = load("vit")
    image = torch.full((3, 48, 80), 0.5)
    marked = image.clone()
    marked[:, 8:16, 56:64] = 1
    change = (dense_features(clip, marked) - dense_features(clip, image)).norm(dim=2)
    assert change.argmax() == 1 * 10 + 7


def test_the_last_mlp_of_a_vit_does_not_matter(load):
    clip = load("vit")
    image = torch.rand(3, 32, 40)
    before = dense_features(clip, image)
    last = clip.model.visual.transformer.resblocks[-1]
    last.mlp.c_proj.weight.zero_()
    last.attn.in_proj_weight[: 2 * 32].zero_()
    torch.testing.assert_close(dense_features(clip, image), before)
    last.attn.in_proj_weight[2 * 32 :].zero_()
    assert (dense_features(clip, image) - before).abs().max() > 1e-3
