"""Small photos and clouds for tests of pairs."""

from pathlib import Path

import numpy as np

from ovs3d.geometry import Camera, camera_from_pixel, transform
from pointcloud.config import Pairing
from pointcloud.frame import Photo, Scan

UNTESTED = Pairing(visibility="none")
INTRINSICS = np.array([[40.0, 0, 23], [0, 44, 15], [0, 0, 1]])
HEIGHT, WIDTH = 31, 47
LENS = (-0.31, 0.12, 0.002, -0.003, -0.02)


def pose(angle, x, y, z):
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0, x], [sin, cos, 0, y], [0, 0, 1, z], [0, 0, 0, 1]])


def photo(world_from_camera, **more):
    return Photo("front", Path("front.png"), Camera(INTRINSICS, world_from_camera, HEIGHT, WIDTH), **more)


def scan(xyz, world_from_scan=None, time_s=0.0, **more):
    world_from_scan = pose(0.4, 500, 900, 1.8) if world_from_scan is None else world_from_scan
    return Scan(np.asarray(xyz, np.float32), world_from_scan, time_s, **more)


def seen_at(camera, row_col, depth, world_from_scan):
    """The points of a scan that a camera sees at (row, col), in that z-depth."""
    in_camera = camera_from_pixel(camera.intrinsics, np.array(row_col, float)) * np.array(depth)[:, None]
    return transform(np.linalg.inv(world_from_scan), transform(camera.world_from_camera, in_camera))


def triples(pairs):
    return [
        (int(k), int(p), *rc.tolist())
        for k, p, rc in zip(pairs.photo, pairs.point, pairs.row_col, strict=True)
    ]
