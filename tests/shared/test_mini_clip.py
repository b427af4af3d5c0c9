"""The shipped mini CLIP knows the words of the worlds, and what a street and a room show."""

from collections.abc import Iterable

import numpy as np
import pytest
import torch

from ovs3d.foundation.clip import load_clip
from ovs3d.foundation.dense import dense_features
from ovs3d.prompts.vocabulary import builtin_vocabulary
from ovs3d.query import similarity
from ovs3d.worlds import render as ray_caster
from ovs3d.worlds.rooms.room import make_room
from ovs3d.worlds.rooms.views import walk
from ovs3d.worlds.streets.kinds import CLASS_OF_KIND, CLASSES
from ovs3d.worlds.streets.rig import nuscenes_rig
from ovs3d.worlds.streets.street import make_street, photo


@pytest.mark.parametrize("name", ["nuscenes16", "semantickitti19", "scannet20"])
def test_it_knows_the_words_of_data_sets(name):
    clip = load_clip("mini")
    words = [word for synonyms in builtin_vocabulary(name).words for word in synonyms]
    assert clip.unknown_words(" ".join(words)) == ()
    assert len({tuple(row.tolist()) for row in clip.encode_texts(words)}) == len(words)


def accuracy(pictures: Iterable[tuple[np.ndarray, np.ndarray]], names: list[str]) -> float:
    """Of dense features, at the centres of patches; pictures come with positions of their names, 255 for none."""
    clip = load_clip("mini")
    texts, right, total = clip.encode_texts(names), 0, 0
    for rgb, truth in pictures:
        features = dense_features(clip, torch.from_numpy(rgb).permute(2, 0, 1) / 255)
        answers = similarity(features, texts).argmax(dim=2).numpy()
        places = [
            ((np.arange(n) + 0.5) / n * size).astype(int)
            for n, size in zip(answers.shape, truth.shape, strict=True)
        ]
        expected = truth[np.ix_(*places)]
        known = expected < 255
        right, total = right + (answers == expected)[known].sum(), total + known.sum()
    return right / total


def test_it_tells_the_classes_of_a_street_apart():
    world = make_street(7)
    moment, table = world.at(0.0), np.full(256, 255)
    table[: len(CLASS_OF_KIND)] = CLASS_OF_KIND
    table[ray_caster.SKY] = len(CLASSES)
    cameras = [rigged.at(world.world_from_ego(0.0)) for rigged in nuscenes_rig(400).cameras]
    pictures = (
        (photo(moment, camera), table[ray_caster.render(moment.scene, camera).labels]) for camera in cameras
    )
    assert accuracy(pictures, [*CLASSES, "sky"]) > 0.6


def test_it_tells_the_surfaces_of_a_room_apart():
    world = make_room(7)
    names = ["floor", "wall", "bed", "table", "chair", "door", "window"]
    places = [names.index(each.category) if each.category in names else 255 for each in world.things]
    table = np.full(256, 255)
    table[: len(places)] = places
    pictures = ((shot.view.rgb, table[shot.view.labels]) for shot in walk(world, 6))
    assert accuracy(pictures, names) > 0.6
