"""Annotations are read as they were drawn, or refused by the name of their file."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ovs3d.errors import InputError
from ovs3d.eval.lerf_ovs_frames import photos_of_frames, read_frames
from ovs3d.images import write_png

SQUARE = [[2, 1], [5, 1], [5, 3], [2, 3]]
TRIANGLE = [[1.0, 1.9], [6.9, 1.2], [1.3, 6.5]]  # cut to whole pixels: (1, 1), (6, 1), (1, 6)


def instance(category="apple", segmentation=SQUARE, bbox=(2, 1, 5, 3)):
    return {"category": category, "group": 1, "segmentation": segmentation, "bbox": list(bbox), "note": ""}


def content(*objects, name="frame_00041.jpg"):
    return {"info": {"name": name, "width": 12, "height": 9, "depth": 3}, "objects": list(objects)}


def write(folder: Path, data, name="frame_00041.json") -> Path:
    (folder / name).write_text(data if isinstance(data, str) else json.dumps(data))
    return folder / name


def drawn(inside):
    return torch.tensor([[inside(row, col) for col in range(12)] for row in range(9)])


def test_a_polygon_has_the_pixels_inside_and_those_of_its_outline(tmp_path):
    write(tmp_path, content(instance(), instance("lamp", TRIANGLE)))
    (frame,) = read_frames(tmp_path)
    assert (frame.name, frame.size, list(frame.prompts)) == ("frame_00041", (9, 12), ["apple", "lamp"])
    apple, lamp = frame.prompts["apple"].mask, frame.prompts["lamp"].mask
    assert torch.equal(apple, drawn(lambda row, col: 1 <= row <= 3 and 2 <= col <= 5))
    assert torch.equal(lamp, drawn(lambda row, col: row >= 1 and col >= 1 and row + col <= 7))


def test_instances_of_a_category_are_one_mask_with_a_box_each(tmp_path):
    far = [[8, 6], [10, 6], [10, 7], [8, 7]]
    write(tmp_path, content(instance(), instance("plate"), instance(segmentation=far, bbox=(8, 6, 10, 7))))
    (frame,) = read_frames(tmp_path)
    apple, plate = frame.prompts["apple"], frame.prompts["plate"]
    expected = drawn(lambda row, col: (1 <= row <= 3 and 2 <= col <= 5) or (6 <= row <= 7 and 8 <= col <= 10))
    assert torch.equal(apple.mask, expected)
    assert apple.boxes.tolist() == [[1, 2, 4, 6], [6, 8, 8, 11]]
    assert plate.mask.sum() == 12
    assert len(plate.boxes) == 1


@pytest.mark.parametrize("bbox", [(2, 1, 5, 3), (5.5, 3.2, 1.0, 0.5), (-4.5, 2, 30, 2), (3.2, 1, 3.8, 5)])
def test_both_corners_of_a_box_are_inside_in_any_order(tmp_path, bbox):
    write(tmp_path, content(instance(bbox=bbox)))
    ((top, left, bottom, right),) = read_frames(tmp_path)[0].prompts["apple"].boxes.tolist()
    (x1, x2), (y1, y2) = sorted(bbox[::2]), sorted(bbox[1::2])
    for row in range(9):
        for col in range(12):
            assert (top <= row < bottom and left <= col < right) == (x1 <= col <= x2 and y1 <= row <= y2)


def test_frames_come_in_the_order_of_their_files_and_may_be_empty(tmp_path):
    write(tmp_path, content(instance(), name="frame_00105.jpg"), "frame_00105.json")
    write(tmp_path, content(name="frame_00002.jpg"), "frame_00002.json")
    frames = read_frames(tmp_path)
    assert [(frame.name, len(frame.prompts)) for frame in frames] == [("frame_00002", 0), ("frame_00105", 1)]


def without(data, *path):
    data = copy.deepcopy(data)
    parent = data
    for key in path[:-1]:
        parent = parent[key]
    del parent[path[-1]]
    return data


GOOD = content(instance())
ENTRIES = [("info",), ("objects",), *(("info", key) for key in ("name", "width", "height"))]
ENTRIES += [("objects", 0, key) for key in ("category", "segmentation", "bbox")]


@pytest.mark.parametrize("path", ENTRIES)
def test_a_missing_entry_is_named(tmp_path, path):
    write(tmp_path, without(GOOD, *path))
    with pytest.raises(InputError, match=rf"frame_00041\.json: there is no entry '{path[-1]}'"):
        read_frames(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"info": {', "Expecting"),
        ([1, 2], "expected an entry `info`"),
        (content("apple"), "expected an entry `info`"),
        ({"info": {"name": "a.jpg", "width": 12.5, "height": 9}, "objects": []}, "got 9 and 12.5"),
        ({"info": {"name": "a.jpg", "width": 0, "height": 9}, "objects": []}, "got 9 and 0"),
        (content(instance(category=" ")), "a category must be a word"),
        (content(instance(category=7)), "a category must be a word"),
        (content(instance(segmentation=SQUARE[:2])), "polygon of 'apple' needs at least 3 vertices"),
        (content(instance(segmentation=[])), "polygon of 'apple' needs at least 3 vertices"),
        (content(instance(segmentation=[1, 2, 3, 4, 5, 6])), "polygon of 'apple' needs at least 3 vertices"),
        (content(instance(segmentation=[[1, 2], [3], [4, 5]])), "polygon of 'apple' must hold numbers"),
        (content(instance(segmentation=[[1, 2], [3, float("nan")], [4, 5]])), "no position in an image"),
        (content(instance(segmentation=[[20, 1], [25, 1], [20, 5]])), "lies outside the image"),
        (content(instance(bbox=(1, 2, 3))), r"box of 'apple' must be \[x1, y1, x2, y2\]"),
        (content(instance(bbox=(1, 2, 3, float("inf")))), "no position in an image"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_named_in_one_line(tmp_path, data, message):
    write(tmp_path, data)
    with pytest.raises(InputError, match=rf"frame_00041\.json: .*{message}") as caught:
        read_frames(tmp_path)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_not_text_are_named(tmp_path):
    (tmp_path / "frame_00041.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(InputError, match=r"frame_00041\.json: .*utf-8"):
        read_frames(tmp_path)


def test_a_folder_without_annotations_and_two_about_one_photo_are_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no annotations in"):
            read_frames(folder)
    write(tmp_path, GOOD)
    write(tmp_path, GOOD, "frame_00042.json")
    with pytest.raises(InputError, match=r"frame_00042\.json is about frame_00041, as .*frame_00041\.json"):
        read_frames(tmp_path)


def photo(folder: Path, name: str, height=9, width=12) -> Path:
    write_png(folder / name, np.zeros((height, width, 3), np.uint8))
    return folder / name


def test_a_frame_belongs_to_the_photo_of_its_name_wherever_it_is_listed(tmp_path):
    write(tmp_path, content(instance(), name="frame_00002.jpg"), "a.json")
    write(tmp_path, content(instance(), name="frame_00004.jpg"), "b.json")
    photos = [photo(tmp_path / "images", f"frame_0000{n}.png") for n in (5, 4, 2)]
    assert photos_of_frames(read_frames(tmp_path), photos) == [photos[2], photos[1]]


def test_frames_without_a_photo_or_with_another_are_refused(tmp_path):
    write(tmp_path, GOOD)
    frames = read_frames(tmp_path)
    with pytest.raises(InputError, match=r"one photo named frame_00041 .* found none"):
        photos_of_frames(frames, [photo(tmp_path, "frame_00042.png")])
    twice = [photo(tmp_path / folder, "frame_00041.png") for folder in ("a", "b")]
    with pytest.raises(InputError, match=r"found .*frame_00041\.png, .*frame_00041\.png"):
        photos_of_frames(frames, twice)
    with pytest.raises(InputError, match=r"frame_00041\.png has 12 x 9 pixels .* its annotation 9 x 12"):
        photos_of_frames(frames, [photo(tmp_path / "c", "frame_00041.png", 12, 9)])
