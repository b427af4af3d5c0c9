"""What every data set yields: frames of a point cloud with photos, first as files, then as arrays."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from ovs3d.geometry import Camera


@dataclass(frozen=True, eq=False)
class ScanFile:
    """One sweep of a LiDAR, or the vertices of a scanned room, on the disk."""

    path: Path
    """The points."""
    format: str
    """How the points are stored: a key of ``pointcloud.scans.FORMATS``."""
    world_from_scan: Float[np.ndarray, "4 4"]
    """Pose of the points' own frame, float64, metres."""
    time_s: float
    """When it was taken, in seconds of the clock that the photos share; 0 where there is no time."""
    labels: Path | None = None
    """Raw class ids, one per point, in the same order; None: not annotated. May be the file of the points itself."""
    intensity_max: float | None = None
    """What the strongest return is in the file; None: as usual for its format."""


@dataclass(frozen=True, eq=False)
class DepthFile:
    """A depth image: z-depth of each pixel in a camera of its own, at the pose of its photo."""

    path: Path
    intrinsics: Float[np.ndarray, "3 3"]
    """Pixels from camera, as in ``ovs3d.geometry.Camera``."""
    unit_m: float = 1e-3
    """Metres of one step; 0 in the file is unknown."""


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo on the disk, and where its camera stood."""

    name: str
    """Of the camera, unique within the frame: ``CAM_FRONT``, ``frame-000020``."""
    path: Path
    camera: Camera
    """Size of the file, intrinsics and pose at the time of the photo."""
    time_s: float = 0.0
    """When it was taken, in seconds of the scan's clock."""
    depth: DepthFile | None = None
    labels: Path | None = None
    """PNG of class ids of the index, 255 where there is none."""
    distortion: tuple[float, ...] = ()
    """OpenCV's k1, k2, p1, p2, k3, k4 of a photo that is not rectified; empty: a pinhole."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A point cloud with the photos that belong to it, all as files."""

    name: str
    """Unique in the data set, and fit for a file name: ``scene-0061_0003``."""
    scene: str
    """Frames of one scene see the same place."""
    split: str
    """``train``, ``val`` or ``test``."""
    scan: ScanFile | None
    """None: photos only (nuImages)."""
    sweeps: tuple[ScanFile, ...] = ()
    """Earlier sweeps without labels, the latest first."""
    photos: tuple[Photo, ...] = ()
    token: str = ""
    """What predictions for the scan are called by the data set's benchmark, where that is not its name: nuScenes'."""


@dataclass(frozen=True, eq=False)
class Scan:
    """A point cloud in memory."""

    xyz: Float[np.ndarray, "n 3"]
    """Metres in the scan's own frame, float32, finite."""
    world_from_scan: Float[np.ndarray, "4 4"]
    """Pose, float64."""
    time_s: float
    """Seconds, as in ``ScanFile``."""
    intensity: Float[np.ndarray, " n"] | None = None
    """Strength of the return, 0..1, float32, whatever the file's own range is."""
    rgb: UInt8[np.ndarray, "n 3"] | None = None
    labels: UInt8[np.ndarray, " n"] | None = None
    """Class ids of the index, 255 where there is none."""
