"""Things of streets and rooms that the mini CLIP learns beside those of tables, and what they are called.

A kind is a surface that the worlds tell apart; each class of a data set is some kinds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ovs3d.prompts.vocabulary import builtin_vocabulary
from ovs3d.worlds.rooms.labels import CATEGORIES
from ovs3d.worlds.streets.kinds import CLASS_OF_KIND, KINDS, KITTI_OF_KIND
from pointcloud.datasets import scannet, semantickitti

STREET = {
    "road": ("road",),
    "lane marking": ("lane marking",),
    "parking": ("parking", "parking lot"),
    "island": ("traffic island", "curb", "traffic median"),
    "sidewalk": ("sidewalk",),
    "grass": ("grass", "grassland", "lawn", "meadow", "turf", "sod"),
    "building": ("building", "awning"),
    "fence": ("fence",),
    "pole": ("pole",),
    "sign": ("traffic sign", "sign"),
    "trunk": ("trunk", "tree trunk"),
    "foliage": ("bush", "foliage", "shrub", "plant", "flower", "woods"),
    "car": ("car",),
    "bus": ("bus", "train"),
    "truck": ("truck",),
    "trailer": ("trailer", "semi trailer", "cargo container", "shipping container", "freight container"),
    "construction vehicle": (
        *("construction vehicle", "bulldozer", "excavator", "concrete mixer", "crane", "dump truck"),
    ),
    "bicycle": ("bicycle",),
    "bicyclist": ("bicyclist",),
    "motorcycle": ("motorcycle",),
    "motorcyclist": ("motorcyclist",),
    "adult": ("adult",),
    "child": ("child",),
    "worker": ("construction worker",),
    "cone": ("traffic cone",),
    "barrier": ("barrier", "barricade"),
    "bin": ("bin",),
    "bench": ("bench",),
    "sky": ("sky",),
}
"""Names of what is in a street, the plainest first. A mini CLIP refuses words that it does not know, so those of the
vocabularies are here even where the worlds have no such thing of its own."""
ROOM = {name: (name,) for name in CATEGORIES if name != "unannotated"} | {
    "couch": ("sofa", "couch"),
    "cabinet": ("cabinet", "cupboard"),
    "bookshelf": ("bookshelf", "bookcase"),
    "picture": ("picture", "painting"),
    "counter": ("counter", "countertop"),
    "refrigerator": ("refrigerator", "fridge"),
    "sink": ("sink", "washbasin"),
}
"""The same of a room."""
BROAD = (
    *("road", "parking", "island", "sidewalk", "grass", "building", "foliage", "sky"),
    *("wall", "floor", "ceiling", "window"),
)
"""What counts half in a crop, since something stands before it almost everywhere."""
THIN = (
    *("lane marking", "fence", "pole", "sign", "bicycle", "bicyclist", "motorcycle", "motorcyclist"),
    *("adult", "child", "worker", "cone", "lamp", "chair", "office chair"),
)
"""What counts double, since one sees through it and past it."""
_PEOPLE = ("adult", "child", "worker")
_STREET_GROUPS = {
    "person": _PEOPLE,
    "pedestrian": _PEOPLE,
    "tree": ("trunk", "foliage"),
    "wall": ("building",),
    "vehicle": ("car", "bus", "truck", "trailer", "construction vehicle"),
}


@dataclass(frozen=True)
class Scenery:
    """The things of one sort of world."""

    kinds: Mapping[str, tuple[str, ...]]
    """Their names."""
    groups: Mapping[str, tuple[str, ...]]
    """Words that are true of several kinds."""
    banks: Mapping[str, Mapping[str, tuple[str, ...]]]
    """Vocabularies: the kinds of each class and of each distractor, which may have none."""


def streets() -> Scenery:
    """With the vocabularies of nuScenes and SemanticKITTI."""
    raw = semantickitti.open_dataset(Path()).label_map
    names = [kind.name for kind in KINDS]
    nuscenes = dict(zip(names, CLASS_OF_KIND.tolist(), strict=True))
    kitti = {name: raw.get(row[0]) for name, row in zip(names, KITTI_OF_KIND.tolist(), strict=True)}
    return _scenery(STREET, _STREET_GROUPS, {"nuscenes16": nuscenes, "semantickitti19": kitti})


def rooms() -> Scenery:
    """With ScanNet's vocabulary."""
    raw = scannet.open_dataset(Path()).label_map
    classes = {name: raw[CATEGORIES[name].nyu40] for name in ROOM}
    return _scenery(ROOM, {"table": ("table", "coffee table")}, {"scannet20": classes})


def _scenery(
    kinds: Mapping[str, tuple[str, ...]],
    groups: Mapping[str, tuple[str, ...]],
    classes: Mapping[str, Mapping[str, int | None]],
) -> Scenery:
    """With the class of each kind in each vocabulary; a distractor is the kind of that name."""
    banks = {}
    for vocabulary, class_of in classes.items():
        asked = builtin_vocabulary(vocabulary)
        of_class = [tuple(kind for kind in kinds if class_of.get(kind) == i) for i in range(len(asked.names))]
        others = [(word,) if word in kinds else () for word in asked.distractors]
        banks[vocabulary] = dict(zip((*asked.names, *asked.distractors), (*of_class, *others), strict=True))
    return Scenery(kinds, groups, banks)
