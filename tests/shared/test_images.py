"""Images come in as they are stored, or are refused by name."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ovs3d.errors import InputError
from ovs3d.images import image_size, read_depth, read_grey, read_ids, read_image, write_png


def picture(height=5, width=7, channels=3):
    values = np.random.default_rng(0).integers(0, 256, (height, width, channels))
    return values.astype(np.uint8)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "a.png"
    write_png(path, picture())
    torch.testing.assert_close(read_image(path), torch.from_numpy(picture()), rtol=0, atol=0)
    assert image_size(path) == (5, 7)
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]


def test_orientation_tags_are_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png").shape == (5, 7, 3)
    assert image_size(tmp_path / "a.png") == (5, 7)


def test_transparent_pixels_are_shown_on_white(tmp_path):
    pixels = picture(channels=4)
    pixels[..., 3] = 0
    pixels[2, 3] = [10, 20, 30, 255]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    rgb = read_image(tmp_path / "a.png")
    assert rgb[2, 3].tolist() == [10, 20, 30]
    rgb[2, 3] = 255
    assert (rgb == 255).all()


def test_grey_is_the_luminance_whatever_is_transparent(tmp_path):
    pixels = picture(channels=4)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = pixels[..., :3] @ np.array([0.299, 0.587, 0.114])
    grey = read_grey(tmp_path / "a.png").numpy()
    assert np.abs(grey - expected).max() < 1
    write_png(tmp_path / "b.png", grey)
    torch.testing.assert_close(read_grey(tmp_path / "b.png"), torch.from_numpy(grey), rtol=0, atol=0)


def test_ids_are_those_of_the_palette_and_colours_are_none(tmp_path):
    ids = np.random.default_rng(0).integers(0, 20, (5, 7), dtype=np.uint8)
    for mode in ("L", "P"):
        image = Image.fromarray(ids)
        if mode == "P":
            image.putpalette(list(range(255, -1, -1)) * 3)
        image.save(tmp_path / "ids.png")
        assert read_ids(tmp_path / "ids.png").tolist() == ids.tolist()
    Image.fromarray(picture()).save(tmp_path / "colours.png")
    with pytest.raises(InputError, match="found colours"):
        read_ids(tmp_path / "colours.png")


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    Image.fromarray(picture()).convert(mode).save(path)
    assert read_image(path).shape == (5, 7, 3)


@pytest.mark.parametrize("read", [read_image, read_grey])
def test_a_deep_image_is_refused_and_not_clipped(tmp_path, read):
    Image.fromarray(np.full((4, 5), 40_000, dtype=np.uint16)).save(tmp_path / "depth.png")
    with pytest.raises(InputError, match=r"depth\.png.*8 bits"):
        read(tmp_path / "depth.png")


def encoded(format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(60, 70)).save(buffer, format=format)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("part", [0.9, 0.5, 0.02])
def test_a_truncated_image_is_named(tmp_path, format, part):
    data = encoded(format)
    path = tmp_path / "broken.img"
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(InputError, match=r"broken\.img: cannot be read"):
        read_image(path)


@pytest.mark.parametrize("data", [b"", b"not an image"])
@pytest.mark.parametrize("read", [read_image, read_grey, image_size])
def test_what_is_no_image_is_named(tmp_path, data, read):
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.jpg"):
        read(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"b\.jpg: no such image"):
        read(tmp_path / "b.jpg")


def test_depth_of_any_number_of_bits_is_read_as_stored(tmp_path):
    depth = np.array([[0, 1, 40_000], [7, 300, 65_535]])
    Image.fromarray(depth.astype(np.uint16)).save(tmp_path / "a.png")
    Image.fromarray((depth % 256).astype(np.uint8)).save(tmp_path / "b.png")
    np.save(tmp_path / "c.npy", depth / 3)
    for name, expected in (("a.png", depth), ("b.png", depth % 256), ("c.npy", depth / 3)):
        found = read_depth(tmp_path / name)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_what_is_no_depth_is_named(tmp_path):
    Image.fromarray(picture(4, 5)).save(tmp_path / "color.png")
    with pytest.raises(
        InputError, match=r"color\.png: expected one depth per pixel, got an array of \(4, 5, 3\)"
    ):
        read_depth(tmp_path / "color.png")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    for name in ("objects.npy", "none.npy"):
        with pytest.raises(InputError, match=rf"{name}: cannot be read as depth"):
            read_depth(tmp_path / name)
