"""Truth is read from either layout of masks, and brought to the classes that are asked for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerf_methods.labels import mask_folders, missing, read_labels, remap
from ovs3d.errors import InputError

NAMES = ("mug", "ball", "table")


def write(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path


def make_photos(scene: Path, count: int = 3) -> list[Path]:
    return [write(scene / "images" / f"{i:02d}.png", np.zeros((2, 3, 3))) for i in range(count)]


def test_a_mask_of_ids_is_read_as_it_is(tmp_path):
    photos = make_photos(tmp_path)
    ids = np.array([[0, 1, 2], [255, 2, 0]])
    write(tmp_path / "segmentations" / "01.png", ids)
    assert read_labels(tmp_path, photos[1], NAMES, (2, 3)).tolist() == ids.tolist()


def test_one_mask_per_prompt_belongs_to_the_image_of_its_number(tmp_path):
    photos = make_photos(tmp_path)
    folder = tmp_path / "segmentations" / "02"
    write(folder / "mug.png", np.array([[255, 0, 0], [254, 0, 0]]))
    write(folder / "table.png", np.array([[0, 0, 255], [0, 255, 255]]))
    assert read_labels(tmp_path, photos[2], NAMES, (2, 3)).tolist() == [[0, 255, 2], [255, 2, 2]]
    assert (read_labels(tmp_path, photos[1], NAMES, (2, 3)) == 255).all()
    assert list(mask_folders(tmp_path)) == [2]


def test_files_that_are_no_images_do_not_shift_the_numbers(tmp_path):
    photos = make_photos(tmp_path)
    (tmp_path / "images" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "images" / "00.txt").write_text("x")
    write(tmp_path / "segmentations" / "02" / "ball.png", np.full((2, 3), 255))
    assert (read_labels(tmp_path, photos[2], NAMES, (2, 3)) == 1).all()


def test_masks_are_brought_to_the_size_of_the_image_by_the_nearest_pixel(tmp_path):
    photos = make_photos(tmp_path)
    ids = np.array([[0, 1], [2, 255]])
    write(tmp_path / "segmentations" / "00.png", ids)
    found = read_labels(tmp_path, photos[0], NAMES, (4, 6))
    assert found.tolist() == ids.repeat(2, 0).repeat(3, 1).tolist()


def test_without_masks_there_is_no_truth(tmp_path):
    found = read_labels(tmp_path, make_photos(tmp_path)[0], NAMES, (2, 3))
    assert (found.dtype, found.unique().tolist()) == (torch.uint8, [255])


def test_without_own_prompts_masks_mean_nothing(tmp_path):
    photos = make_photos(tmp_path)
    write(tmp_path / "segmentations" / "01.png", np.array([[0, 1, 2], [255, 2, 0]]))
    assert (read_labels(tmp_path, photos[1], (), (2, 3)) == 255).all()


def test_an_id_without_a_prompt_is_refused(tmp_path):
    photos = make_photos(tmp_path)
    write(tmp_path / "segmentations" / "00.png", np.array([[0, 3, 1], [0, 0, 0]]))
    with pytest.raises(InputError, match=r"00\.png: class id 3, but there are 3 prompts"):
        read_labels(tmp_path, photos[0], NAMES, (2, 3))


def test_a_damaged_mask_is_named(tmp_path):
    photos = make_photos(tmp_path)
    path = write(tmp_path / "segmentations" / "00.png", np.zeros((64, 64)))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"00\.png"):
        read_labels(tmp_path, photos[0], NAMES, (2, 3))


def test_ids_become_positions_in_the_prompts_that_are_asked():
    labels = torch.tensor([[0, 1, 2, 255]], dtype=torch.uint8)
    assert remap(labels, NAMES, ("table", "lamp", "mug")).tolist() == [[2, 255, 0, 255]]
    assert torch.equal(remap(labels, NAMES, NAMES), labels)


def test_classes_that_are_not_asked_are_missing():
    assert missing(NAMES, ("table", "lamp", "mug")) == ["ball"]
    assert missing(NAMES, ("lamp", *NAMES)) == []
