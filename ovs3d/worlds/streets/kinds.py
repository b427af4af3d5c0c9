"""What is told apart in a street: kinds finer than the classes of any data set, and what each is called there."""

from dataclasses import dataclass

import numpy as np

NUSCENES_CATEGORIES = (
    "noise",
    "animal",
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.construction_worker",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.stroller",
    "human.pedestrian.wheelchair",
    "movable_object.barrier",
    "movable_object.debris",
    "movable_object.pushable_pullable",
    "movable_object.trafficcone",
    "static_object.bicycle_rack",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.car",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.motorcycle",
    "vehicle.trailer",
    "vehicle.truck",
    "flat.driveable_surface",
    "flat.other",
    "flat.sidewalk",
    "flat.terrain",
    "static.manmade",
    "static.other",
    "static.vegetation",
    "vehicle.ego",
)
"""Names of nuScenes-lidarseg; ids in its label files are positions."""

CLASSES = {
    "barrier": ("movable_object.barrier",),
    "bicycle": ("vehicle.bicycle",),
    "bus": ("vehicle.bus.bendy", "vehicle.bus.rigid"),
    "car": ("vehicle.car",),
    "construction vehicle": ("vehicle.construction",),
    "motorcycle": ("vehicle.motorcycle",),
    "pedestrian": (
        "human.pedestrian.adult",
        "human.pedestrian.child",
        "human.pedestrian.construction_worker",
        "human.pedestrian.police_officer",
    ),
    "traffic cone": ("movable_object.trafficcone",),
    "trailer": ("vehicle.trailer",),
    "truck": ("vehicle.truck",),
    "driveable surface": ("flat.driveable_surface",),
    "other flat": ("flat.other",),
    "sidewalk": ("flat.sidewalk",),
    "terrain": ("flat.terrain",),
    "manmade": ("static.manmade",),
    "vegetation": ("static.vegetation",),
}
"""The 16 classes of the lidarseg challenge and the categories that each collects."""
IGNORE = 255


@dataclass(frozen=True)
class Kind:
    """A sort of surface."""

    name: str
    nuscenes: str
    """One of ``NUSCENES_CATEGORIES``."""
    kitti: int
    """Raw id of SemanticKITTI where it stands still."""
    reflectivity: float
    """Share of the LiDAR's full scale that comes back from straight ahead."""
    kitti_moving: int = 0
    """Raw id of SemanticKITTI where it moves; 0: the same."""
    roughness_m: float = 0.0
    """How far the returns scatter along the ray, beyond the sensor's own noise."""


KINDS = (
    Kind("road", "flat.driveable_surface", 40, 0.05),
    Kind("lane marking", "flat.driveable_surface", 60, 0.28),
    Kind("parking", "flat.driveable_surface", 44, 0.09),
    Kind("island", "flat.other", 49, 0.12),
    Kind("sidewalk", "flat.sidewalk", 48, 0.10),
    Kind("grass", "flat.terrain", 72, 0.13, roughness_m=0.03),
    Kind("building", "static.manmade", 50, 0.13),
    Kind("fence", "static.manmade", 51, 0.11),
    Kind("pole", "static.manmade", 80, 0.14),
    Kind("sign", "static.manmade", 81, 0.85),
    Kind("trunk", "static.vegetation", 71, 0.09, roughness_m=0.01),
    Kind("foliage", "static.vegetation", 70, 0.15, roughness_m=0.04),
    Kind("car", "vehicle.car", 10, 0.12, 252),
    Kind("bus", "vehicle.bus.rigid", 13, 0.16, 257),
    Kind("truck", "vehicle.truck", 18, 0.16, 258),
    Kind("trailer", "vehicle.trailer", 20, 0.17, 259),
    Kind("construction vehicle", "vehicle.construction", 20, 0.2, 259),
    Kind("bicycle", "vehicle.bicycle", 11, 0.13, 11),
    Kind("bicyclist", "vehicle.bicycle", 31, 0.14, 253),
    Kind("motorcycle", "vehicle.motorcycle", 15, 0.12, 15),
    Kind("motorcyclist", "vehicle.motorcycle", 32, 0.14, 255),
    Kind("adult", "human.pedestrian.adult", 30, 0.14, 254),
    Kind("child", "human.pedestrian.child", 30, 0.14, 254),
    Kind("worker", "human.pedestrian.construction_worker", 30, 0.4, 254),
    Kind("cone", "movable_object.trafficcone", 99, 0.45),
    Kind("barrier", "movable_object.barrier", 51, 0.25),
    Kind("bin", "movable_object.pushable_pullable", 99, 0.12),
    Kind("rubble", "movable_object.debris", 99, 0.12),
    Kind("bench", "static.other", 52, 0.12),
    Kind("noise", "noise", 1, 0.02),
    Kind("ego vehicle", "vehicle.ego", 0, 0.05),
)
"""Ids are positions."""

KIND_ID = {kind.name: index for index, kind in enumerate(KINDS)}


def _class_id(kind: Kind) -> int:
    found = [index for index, names in enumerate(CLASSES.values()) if kind.nuscenes in names]
    return found[0] if found else IGNORE


CLASS_OF_KIND = np.array([_class_id(kind) for kind in KINDS], np.uint8)
"""Position in ``CLASSES`` of each kind; 255 for what belongs to none."""
CATEGORY_OF_KIND = np.array([NUSCENES_CATEGORIES.index(kind.nuscenes) for kind in KINDS], np.uint8)
"""Raw id of nuScenes-lidarseg of each kind."""
KITTI_OF_KIND = np.array([[kind.kitti, kind.kitti_moving or kind.kitti] for kind in KINDS], np.uint32)
"""Raw ids of SemanticKITTI of each kind: standing, moving."""
