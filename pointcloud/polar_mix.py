"""PolarMix (Xiao et al., NeurIPS 2022): two scans become one that keeps what a turning LiDAR sees."""

import numpy as np
from jaxtyping import Bool, Float

from pointcloud.frame import Scan
from pointcloud.index import IGNORE

COPIES = 3
"""Of the rare things, at angles of their own."""
RARE_SHARE = 0.01
"""Classes with fewer of a scan's points than this are pasted: the paper names them for each data set instead."""


def polar_mix(scan: Scan, other: Scan, random: np.random.Generator) -> Scan:
    """A scan, half of which is another's in every second case, with the other's rare things pasted in.

    The half is a half-turn about z from a random angle (section 3.2). Rare things are turned about z, so that their
    distance, density and intensity stay as the LiDAR would see them (section 3.3); what is behind them stays.

    Args:
        scan: with labels.
        other: with labels and the same columns.
    """
    parts = [(scan, _all(scan), 0.0)]
    if random.random() < 0.5:
        start = random.uniform(-np.pi, np.pi)
        parts = [(scan, ~_half(scan, start), 0.0), (other, _half(other, start), 0.0)]
    parts += [(other, _rare(other), angle) for angle in random.uniform(0, 2 * np.pi, COPIES)]
    return Scan(
        np.concatenate([_turned(each.xyz[chosen], angle) for each, chosen, angle in parts]),
        scan.world_from_scan,
        scan.time_s,
        *(_joined(name, parts) for name in ("intensity", "rgb", "labels")),
    )


def _all(scan: Scan) -> Bool[np.ndarray, " n"]:
    return np.ones(len(scan.xyz), bool)


def _half(scan: Scan, start: float) -> Bool[np.ndarray, " n"]:
    """Points within half a turn from an angle on."""
    angle = np.arctan2(scan.xyz[:, 1], scan.xyz[:, 0])
    return (angle - start) % (2 * np.pi) < np.pi


def _rare(scan: Scan) -> Bool[np.ndarray, " n"]:
    assert scan.labels is not None
    counts = np.bincount(scan.labels, minlength=IGNORE + 1)
    counts[IGNORE] = len(scan.labels)
    return (counts < RARE_SHARE * len(scan.labels))[scan.labels]


def _turned(xyz: Float[np.ndarray, "n 3"], angle: float) -> Float[np.ndarray, "n 3"]:
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], np.float32)
    return xyz if angle == 0 else xyz @ turn.T


def _joined(name: str, parts: list[tuple[Scan, Bool[np.ndarray, " n"], float]]) -> np.ndarray | None:
    columns = [(getattr(scan, name), chosen) for scan, chosen, _ in parts]
    if any(values is None for values, _ in columns):
        return None
    return np.concatenate([values[chosen] for values, chosen in columns])
