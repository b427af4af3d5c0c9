"""Several sweeps of a LiDAR as one cloud."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from jaxtyping import Float32, Int64

from ovs3d.geometry import transform
from pointcloud.frame import Scan
from pointcloud.index import IGNORE

Each = TypeVar("Each")


@dataclass(frozen=True, eq=False)
class MergedScan:
    """A key frame with earlier sweeps; the key frame's points come first, in their order."""

    scan: Scan
    """All points in the key frame's own frame; labels of sweeps are 255."""
    sweep: Int64[np.ndarray, " n"]
    """0 for points of the key frame, 1 for those of the first sweep, ..."""
    time_offset_s: Float32[np.ndarray, " n"]
    """Time of each point's sweep less that of the key frame."""

    def of(self, number: int) -> Scan:
        """The points of one sweep, in the key frame's own frame; 0: of the key frame itself."""
        here = self.sweep == number
        columns = {
            name: None if (values := getattr(self.scan, name)) is None else values[here]
            for name in ("intensity", "rgb", "labels")
        }
        return replace(self.scan, xyz=self.scan.xyz[here], **columns)


def choose_sweeps(
    sweeps: Sequence[Each], count: int, rng: np.random.Generator | None = None
) -> tuple[Each, ...]:
    """The latest sweeps, or with ``rng`` random ones as in CLIP2Scene, in their order.

    A frame at the start of a scene has few: then all are taken, and none twice (published loaders repeat some).
    """
    count = min(count, len(sweeps))
    if rng is None:
        return tuple(sweeps[:count])
    return tuple(sweeps[position] for position in sorted(rng.permutation(len(sweeps))[:count]))


def merge_sweeps(
    key: Scan, sweeps: Sequence[Scan], ego_half_m: tuple[float, float] = (1.0, 1.0)
) -> MergedScan:
    """A key frame and sweeps, each through its own pose; standing things line up, moving ones leave a trail.

    Args:
        ego_half_m: returns of sweeps with \\|x\\| and \\|y\\| below these in their own frame are dropped, since they
            hit the car itself; the published value is (1, 1). The key frame keeps its own, so that they keep labels.
    """
    clouds, chosen = [key.xyz], [np.ones(len(key.xyz), bool)]
    for sweep in sweeps:
        kept = (np.abs(sweep.xyz[:, :2]) >= ego_half_m).any(axis=1)
        key_from_sweep = np.linalg.inv(key.world_from_scan) @ sweep.world_from_scan
        clouds.append(transform(key_from_sweep, sweep.xyz[kept]).astype(np.float32))
        chosen.append(kept)
    scans, counts = [key, *sweeps], [len(cloud) for cloud in clouds]
    merged = Scan(
        np.concatenate(clouds),
        key.world_from_scan,
        key.time_s,
        _joined([scan.intensity for scan in scans], chosen),
        _joined([scan.rgb for scan in scans], chosen),
        _labels(key, sum(counts)),
    )
    offsets = np.array([scan.time_s - key.time_s for scan in scans], np.float32)
    return MergedScan(merged, np.repeat(np.arange(len(scans)), counts), np.repeat(offsets, counts))


def _joined(values: Sequence[np.ndarray | None], chosen: Sequence[np.ndarray]) -> np.ndarray | None:
    """Values of the chosen points, or None where a scan has none."""
    parts = [each[kept] for each, kept in zip(values, chosen, strict=True) if each is not None]
    return np.concatenate(parts) if len(parts) == len(values) else None


def _labels(key: Scan, n_points: int) -> np.ndarray | None:
    if key.labels is None:
        return None
    unknown = np.full(n_points - len(key.xyz), IGNORE, np.uint8)
    return np.concatenate([key.labels, unknown])
