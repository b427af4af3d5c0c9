"""Masks of photos: a partition, kept in the store, by SAM or by colours."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ovs3d.errors import InputError
from pointcloud.config import Felzenszwalb, Masks, SamMasks, Superpixels
from pointcloud.id_maps import ids_of_png, png_of_ids
from pointcloud.masks import load_masks, partition


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A red and a blue square on grey, with a little noise."""
    picture = np.full((60, 80, 3), 110)
    picture[10:35, 8:33] = [200, 30, 30]
    picture[25:55, 45:75] = [30, 40, 200]
    picture += np.random.default_rng(0).integers(-6, 7, picture.shape)
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(picture.astype(np.uint8)).save(folder / "a.png")
    return folder / "a.png"


def test_where_masks_overlap_the_smallest_wins():
    large, small, other = torch.zeros(3, 4, 6, dtype=torch.bool)
    large[:, :4], small[1:3, 1:3], other[:2, 3:5] = True, True, True
    for masks in ([large, small, other], [other, small, large]):
        ids = partition(masks, (4, 6))
        names = {
            name: set(ids[where].tolist()) for name, where in (("small", small), ("other", other & ~small))
        }
        assert [len(each) for each in names.values()] == [1, 1]
        assert names["small"] != names["other"]
        assert len(set(ids[large & ~small & ~other].tolist())) == 1
        assert (ids[:, 5] == -1).all()
        assert sorted(ids.unique().tolist()) == [-1, 0, 1, 2]


def test_without_masks_no_pixel_has_one():
    assert (partition([], (2, 3)) == torch.full((2, 3), -1)).all()


def test_ids_survive_as_a_picture():
    ids = torch.tensor([[0, 1, 65535], [7, 300, 2]])
    assert torch.equal(ids_of_png(png_of_ids(ids)), ids)


@pytest.mark.parametrize(
    "settings",
    [
        Masks("slic", slic=Superpixels(count=12, sigma=0.0)),
        Masks("felzenszwalb", felzenszwalb=Felzenszwalb(scale=300.0)),
        Masks("sam", weights="mini", sam=SamMasks(8, 0.3, 0.5)),
    ],
    ids=lambda settings: settings.source,
)
def test_masks_follow_what_is_in_the_photo(settings, photo, tmp_path):
    found = load_masks(settings, tmp_path).of(photo)
    assert found.shape == (60, 80)
    red, blue = found[14:31, 12:29], found[29:51, 49:71]
    assert len(found.unique()) > 1
    assert not set(red.unique().tolist()) & set(blue.unique().tolist()) - {-1}
    if settings.source == "felzenszwalb":
        for square in (red, blue):
            most = square.flatten().mode().values
            assert most >= 0
            assert (square == most).float().mean() > 0.9


def test_masks_are_computed_once_and_those_of_other_settings_apart(photo, tmp_path, monkeypatch):
    masks = load_masks(Masks("felzenszwalb"), tmp_path)
    first = masks.of(photo)
    (file,) = (tmp_path / ".ovs3d").iterdir()
    assert torch.equal(ids_of_png(load_file(file)["png"]) - 1, first)
    monkeypatch.setattr(type(masks.find), "__call__", lambda *_: pytest.fail("computed again"))
    assert torch.equal(masks.of(photo), first)
    with pytest.raises(pytest.fail.Exception):
        load_masks(Masks("felzenszwalb", felzenszwalb=Felzenszwalb(scale=1.0)), tmp_path).of(photo)


def test_weights_are_those_beside_the_clip_of_the_data_set(tmp_path):
    (tmp_path / "ovs3d.yaml").write_text("weights: mini\n")
    mini = load_masks(Masks(), tmp_path).find.identity
    assert (
        mini["weights"] == load_masks(Masks(weights="mini"), tmp_path / "elsewhere").find.identity["weights"]
    )
    with pytest.raises(InputError, match="vit_x"):
        load_masks(Masks(weights="vit_x/none"), tmp_path)


@pytest.mark.parametrize(("share", "advised"), [(0.2, True), (0.3, False)])
def test_few_masks_come_with_advice(share, advised, photo, tmp_path, capsys, monkeypatch):
    masks = load_masks(Masks("slic"), tmp_path)
    ids = torch.full((10, 10), -1)
    ids[:, : round(10 * share)] = 0
    monkeypatch.setattr(type(masks.find), "__call__", lambda *_: ids)
    masks.fill([photo])
    said = capsys.readouterr().out
    assert f"{share:.0%} of the pixels of 1 photos are in a mask" in said
    assert ("lower --masks.sam.pred-iou-thresh" in said) == advised
