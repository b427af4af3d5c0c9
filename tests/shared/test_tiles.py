"""Tiles cover the image, hold the right pixels, and give back their mean at every pixel."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from ovs3d.errors import InputError
from ovs3d.foundation.crops import TileSpec, crop_and_resize, tile_boxes
from ovs3d.foundation.store import FeatureStore
from ovs3d.foundation.tiles import Tiles, encode_tiles, scene_tiles

CLEAN = TileSpec(scales=(2, 3, 5))
RELEASED = TileSpec(scales=(2, 3, 5), mode="released", downscale=1, seed=4)


class FakeClip:
    """Encodes an image as the mean colour of its four quarters."""

    identity, d, image_size = {"model": "fake", "weights": "f00d"}, 12, 8

    def __init__(self):
        self.batches = []

    def encode_images(self, images):
        assert images.shape[1:] == (3, 8, 8)
        assert 0 <= images.min() <= images.max() <= 1
        self.batches.append(len(images))
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


def picture(height=60, width=83, seed=0):
    smooth = torch.rand(1, 3, 7, 9, generator=torch.Generator().manual_seed(seed))
    image = torch.nn.functional.interpolate(smooth, (height, width), mode="bicubic").clamp(0, 1)
    return (image[0].permute(1, 2, 0) * 255).to(torch.uint8)


def slow_features(tiles: Tiles, row: int, col: int, scale: int) -> torch.Tensor:
    covering = [
        embedding.float()
        for box, s, embedding in zip(
            tiles.boxes.tolist(), tiles.scale.tolist(), tiles.embeddings, strict=True
        )
        if s == scale and box[0] < row + 0.5 < box[2] and box[1] < col + 0.5 < box[3]
    ]
    return torch.stack(covering).mean(0)


def test_clean_tiles_are_squares_on_a_regular_grid_that_reaches_the_edges():
    boxes, scale = tile_boxes(240, 320, TileSpec())
    assert scale.bincount().tolist() == [17 * 24, 27 * 37, 37 * 51]
    for i, (side, stride) in enumerate([(48, 12), (34, 8), (24, 6)]):
        top, left, bottom, right = boxes[scale == i].unbind(1)
        assert ((bottom - top == side) & (right - left == side)).all()
        for start, length in ((top, 240), (left, 320)):
            offsets = start.unique().tolist()
            assert (offsets[0], offsets[-1]) == (0, length - side)
            assert all(b - a == stride for a, b in pairwise(offsets[:-1]))
            assert 0 < offsets[-1] - offsets[-2] <= stride


def test_released_tiles_are_as_many_as_published_and_up_to_half_larger():
    spec = TileSpec(mode="released", seed=1)
    boxes, scale = tile_boxes(378, 504, spec)
    assert scale.bincount().tolist() == [450, 936, 2067]
    for i, side in enumerate((75, 54, 37)):
        jitter = side // 4
        top, left, bottom, right = boxes[scale == i].unbind(1)
        inner = (top > 0) & (left > 0) & (bottom < 378) & (right < 504)
        for length in ((bottom - top)[inner], (right - left)[inner]):
            assert side <= length.min() <= side + 2
            assert side + 2 * jitter - 2 <= length.max() <= side + 2 * jitter
            assert abs(length.float().mean() - side - jitter) < 1
        assert top.min() >= 0
        assert left.min() >= 0
        assert bottom.max() == 378
        assert right.max() == 504


@pytest.mark.parametrize("spec", [TileSpec(), RELEASED, TileSpec(scales=(1, 3))])
@pytest.mark.parametrize("size", [(60, 83), (37, 20), (10, 10), (11, 64)])
def test_every_pixel_is_covered_at_every_scale(spec, size):
    boxes, scale = tile_boxes(*size, spec)
    for i in range(len(spec.scales)):
        covered = torch.zeros(size, dtype=torch.bool)
        for top, left, bottom, right in boxes[scale == i].tolist():
            assert 0 <= top < bottom <= size[0]
            assert 0 <= left < right <= size[1]
            covered[top:bottom, left:right] = True
        assert covered.all()


def test_jitter_follows_the_seed_and_clean_tiles_have_none():
    same, other = (replace(RELEASED, seed=seed) for seed in (4, 5))
    assert torch.equal(tile_boxes(60, 83, RELEASED)[0], tile_boxes(60, 83, same)[0])
    assert not torch.equal(tile_boxes(60, 83, RELEASED)[0], tile_boxes(60, 83, other)[0])
    assert torch.equal(tile_boxes(60, 83, TileSpec(seed=4))[0], tile_boxes(60, 83, TileSpec(seed=5))[0])


def test_identity_names_what_the_tiles_depend_on():
    assert TileSpec(seed=1, downscale=2).identity() == TileSpec().identity()
    different = [
        TileSpec(),
        TileSpec(scales=(5, 7)),
        RELEASED,
        TileSpec(mode="released"),
        TileSpec(mode="released", seed=4),
    ]
    assert len({str(spec.identity()) for spec in different}) == 5


def test_crops_are_those_of_an_independent_resize():
    image, boxes = picture(), torch.tensor([[0, 0, 12, 12], [5, 9, 35, 29], [48, 71, 60, 83], [0, 0, 60, 83]])
    squares = crop_and_resize(image, boxes.int(), 16)
    for square, (top, left, bottom, right) in zip(squares, boxes.tolist(), strict=True):
        crop = Image.fromarray(image[top:bottom, left:right].numpy()).resize(
            (16, 16), Image.Resampling.BICUBIC
        )
        difference = square.permute(1, 2, 0).int() - torch.from_numpy(np.array(crop)).int()
        assert difference.abs().max() <= 1


def test_centre_crops_are_those_of_clip_preprocessing():
    image, boxes = picture(), torch.tensor([[0, 0, 12, 15], [5, 9, 36, 29], [0, 0, 60, 83], [2, 3, 20, 21]])
    squares = crop_and_resize(image, boxes.int(), 17, centre_crop=True)
    for square, (top, left, bottom, right) in zip(squares, boxes.tolist(), strict=True):
        crop = Image.fromarray(image[top:bottom, left:right].numpy())
        crop = TF.center_crop(TF.resize(crop, [17], interpolation=InterpolationMode.BICUBIC), [17, 17])
        difference = square.permute(1, 2, 0).int() - torch.from_numpy(np.array(crop)).int()
        assert difference.abs().max() <= 1


@pytest.mark.parametrize("spec", [CLEAN, RELEASED])
def test_features_at_a_pixel_are_the_mean_of_the_tiles_over_its_centre(spec):
    tiles = encode_tiles(FakeClip(), picture(), spec)
    pixels = torch.randint(0, 10_000, (40, 2), generator=torch.Generator().manual_seed(0)) % torch.tensor(
        [60, 83]
    )
    rows, cols = torch.cat([pixels, torch.tensor([[0, 0], [59, 82], [0, 82], [59, 0]])]).unbind(1)
    found = tiles.features_at(rows, cols)
    expected = [
        torch.stack([slow_features(tiles, r, c, s) for s in range(3)])
        for r, c in zip(rows.tolist(), cols.tolist(), strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-3, atol=1e-3)  # kept as float16


@pytest.mark.parametrize("spec", [CLEAN, RELEASED])
def test_without_rounding_to_half_the_features_are_exact(spec):
    boxes, scale = tile_boxes(60, 83, spec)
    embeddings = 10 * torch.randn(len(boxes), 6, generator=torch.Generator().manual_seed(1))
    tiles = Tiles(boxes, scale, embeddings, 60, 83)
    grid = tiles.grid(60, 83)
    for row, col, s in [(0, 0, 0), (59, 82, 1), (31, 40, 2), (7, 79, 0), (12, 12, 1)]:
        torch.testing.assert_close(grid[s, row, col], slow_features(tiles, row, col, s), rtol=1e-5, atol=1e-5)


def test_a_grid_of_the_image_size_holds_the_features_of_all_pixels():
    tiles = encode_tiles(FakeClip(), picture(), RELEASED)
    rows, cols = torch.meshgrid(torch.arange(60), torch.arange(83), indexing="ij")
    expected = tiles.features_at(rows.flatten(), cols.flatten()).reshape(60, 83, 3, 12)
    torch.testing.assert_close(tiles.grid(60, 83).permute(1, 2, 0, 3), expected, rtol=0, atol=0)


def test_a_coarse_grid_holds_the_features_at_the_centres_of_its_cells():
    tiles = encode_tiles(FakeClip(), picture(), CLEAN)
    grid = tiles.grid(7, 20)
    for i, j in [(0, 0), (6, 19), (3, 11)]:
        row, col = (torch.tensor([int(x)]) for x in ((i + 0.5) * 60 / 7, (j + 0.5) * 83 / 20))
        torch.testing.assert_close(grid[:, i, j], tiles.features_at(row, col)[0], rtol=0, atol=0)


def test_pixels_that_no_tile_covers_are_not_numbers():
    tiles = Tiles(torch.tensor([[1, 1, 3, 3], [4, 1, 5, 3]]), torch.zeros(2).int(), torch.ones(2, 1), 6, 4)
    covered = ~tiles.grid(6, 4)[0, :, :, 0].isnan()
    rows, cols = covered.nonzero().unbind(1)
    assert rows.unique().tolist() == [1, 2, 4]
    assert cols.unique().tolist() == [1, 2]
    assert tiles.features_at(torch.tensor([-1, 6, 1]), torch.tensor([1, 1, 9])).isnan().all()


def test_released_tiles_of_a_small_image_have_boxes_in_the_full_one():
    spec = replace(RELEASED, downscale=4)
    tiles = encode_tiles(FakeClip(), picture(83, 122), spec)
    small = Tiles(*tile_boxes(20, 30, spec), tiles.embeddings, 20, 30)
    assert tiles.boxes.max(0).values.tolist()[2:] == [83, 122]
    torch.testing.assert_close(tiles.grid(20, 30), small.grid(20, 30), rtol=0, atol=0)


def test_embeddings_are_of_the_tile_in_the_box():
    image = picture()
    tiles = encode_tiles(FakeClip(), image, CLEAN, batch_size=100)
    for i in (0, 57, len(tiles.boxes) - 1):
        top, left, bottom, right = tiles.boxes[i].tolist()
        colour = image[top:bottom, left:right].float().mean((0, 1)) / 255
        torch.testing.assert_close(tiles.embeddings[i].float().view(3, 4).mean(1), colour, rtol=0, atol=0.01)


def test_batches_change_nothing_and_progress_counts_tiles():
    clip, counts = FakeClip(), []
    one = encode_tiles(clip, picture(), CLEAN, batch_size=100, progress=counts.append)
    assert clip.batches == counts
    assert sum(counts) == len(one.boxes)
    assert max(counts) == 100
    two = encode_tiles(clip, picture(), CLEAN, batch_size=10_000)
    torch.testing.assert_close(one.embeddings, two.embeddings, rtol=1e-3, atol=1e-3)
    assert one.embeddings.dtype == torch.float16


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        Image.fromarray(picture(60 + i, 83, seed=i).numpy()).save(path)
    return paths


def test_a_scene_is_encoded_once_and_read_afterwards(tmp_path, images, capfd):
    store, clip = FeatureStore(tmp_path / "store"), FakeClip()
    first = scene_tiles(clip, images, CLEAN, store)
    total = sum(clip.batches)
    assert f"{total}/{total}" in capfd.readouterr().err
    second = scene_tiles(clip, images, CLEAN, store)
    assert f"{total}/{total}" in capfd.readouterr().err
    assert sum(clip.batches) == total == sum(len(tiles.scale) for tiles in first)
    for a, b in zip(first, second, strict=True):
        assert (a.height, a.width) == (b.height, b.width)
        for name in ("boxes", "scale", "embeddings"):
            torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=0)
    assert [tiles.height for tiles in first] == [60, 61, 62]
    scene_tiles(clip, images, TileSpec(scales=(3,)), store)
    assert sum(clip.batches) > total


def test_a_truncated_image_of_a_scene_is_named_and_the_others_are_kept(tmp_path, images):
    images[2].write_bytes(images[2].read_bytes()[:2000])
    with pytest.raises(InputError, match=r"2\.png"):
        scene_tiles(FakeClip(), images, CLEAN, FeatureStore(tmp_path / "store"))
    assert len(list((tmp_path / "store").iterdir())) == 2


def test_an_image_without_room_for_a_tile_and_a_wrong_spec_are_refused():
    with pytest.raises(InputError, match="no room"):
        tile_boxes(9, 100, TileSpec())
    with pytest.raises(InputError, match="scales"):
        TileSpec(scales=(5, 0))
