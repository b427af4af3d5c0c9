"""Data sets by name. A module of each yields its frames; none is loaded before it is asked for."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Protocol, cast, get_args, runtime_checkable

from ovs3d.errors import InputError
from pointcloud.frame import Frame
from pointcloud.index import DataSet

Name = Literal["nuscenes", "nuimages", "semantickitti", "scannet", "folder"]
NAMES: tuple[str, ...] = get_args(Name)
Say = Callable[[str], None]
"""Takes a problem, in one line that names the file; reading goes on."""


@runtime_checkable
class Reader(Protocol):
    """What the module of a data set offers.

    Both raise InputError where nothing can be read: no such folder, or a version that is not there (the message lists
    those that are).
    """

    def open_dataset(self, root: Path, version: str) -> DataSet:
        """What all frames share; ``version`` is empty where a data set has one only."""
        ...

    def frames(self, root: Path, version: str, say: Say) -> Iterator[Frame]:
        """All frames, in a fixed order; what is missing is said and left out."""
        ...


def reader(name: str) -> Reader:
    """The module that reads a data set.

    Raises:
        InputError: an unknown name.
    """
    if name not in NAMES:
        raise InputError(f"no data set {name!r}; known are {', '.join(NAMES)}")
    return cast(Reader, importlib.import_module(f"pointcloud.datasets.{name}"))


def expect_one_version(name: str, version: str) -> None:
    """For data sets that have one version only.

    Raises:
        InputError: a version was named.
    """
    if version:
        raise InputError(f"{name} has one version only, found {version!r}: leave the version out")


def existing(folders: list[Path], what: str) -> Path:
    """The first of these folders that is there.

    Raises:
        InputError: none is.
    """
    for folder in folders:
        if folder.is_dir():
            return folder
    raise InputError(
        f"expected {what} in one of {', '.join(map(str, folders))}: name the root of the data set"
    )
