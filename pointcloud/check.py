"""Cheap checks of a frame's files, so that a broken one is told before a training starts and not in its third hour."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ovs3d.errors import InputError
from ovs3d.images import image_size
from pointcloud.frame import Frame, Photo, ScanFile
from pointcloud.index import DataSet
from pointcloud.label_files import count_labels
from pointcloud.scans import format_of, read_scan


@dataclass(frozen=True, eq=False)
class Checked:
    """What of a frame can be used, and what is wrong with the rest."""

    frame: Frame | None
    """Without broken sweeps and photos; None if its scan is broken, or the last photo of a frame without scan."""
    problems: tuple[str, ...]
    """One line each, with the name of the file."""


def check_frame(frame: Frame, dataset: DataSet, read: bool = False) -> Checked:
    """Check that files are there and that their sizes fit, without reading points or pixels.

    A photo whose depth or mask is broken is left out; a scan whose labels are broken is, too.

    Args:
        read: read the points and labels of the scan as well, which finds numbers that are not finite, intensities out
            of range and unknown raw ids.
    """
    problems: list[str] = []

    def holds(check: Callable[..., object], *args: object) -> bool:
        try:
            check(*args)
        except InputError as error:
            problems.append(str(error))
            return False
        return True

    scan = frame.scan
    usable = scan is None or holds(_check_scan, scan, dataset, read)
    sweeps = tuple(each for each in frame.sweeps if holds(_check_points, each))
    photos = tuple(each for each in frame.photos if holds(_check_photo, each))
    if scan is None and not photos:
        usable = False
    kept = replace(frame, sweeps=sweeps, photos=photos) if usable else None
    return Checked(kept, tuple(problems))


def check_photos(photos: Iterable[Photo], labels: bool) -> None:
    """Check that photos still are what the index says, before they are worked on.

    Args:
        labels: theirs too; otherwise these are not even opened.

    Raises:
        InputError: one is not, or is not there.
    """
    for photo in photos:
        try:
            _check_photo(photo if labels else replace(photo, labels=None))
        except InputError as error:
            raise InputError(f"{error}; if photos were changed, index the data set again") from error


def _check_scan(file: ScanFile, dataset: DataSet, read: bool) -> None:
    if read:
        read_scan(file, dataset)
        return
    n = _check_points(file)
    if file.labels is not None:
        labels = count_labels(file.labels)
        if labels != n:
            raise InputError(f"{file.labels}: {labels} labels for the {n} points of {file.path}")


def _check_points(file: ScanFile) -> int:
    n = format_of(file).count(file.path)
    if n == 0:
        raise InputError(f"{file.path}: no points")
    return n


def _check_photo(photo: Photo) -> None:
    size = (photo.camera.height, photo.camera.width)
    _check_size(photo.path, size, "calibration")
    if photo.labels is not None:
        _check_size(photo.labels, size, f"photo {photo.path.name}")
    if photo.depth is not None:
        image_size(photo.depth.path)


def _check_size(path: Path, expected: tuple[int, int], of: str) -> None:
    height, width = image_size(path)
    if (height, width) != expected:
        raise InputError(
            f"{path}: {height} x {width} pixels (height x width), where its {of} has {expected[0]} x {expected[1]}"
        )
