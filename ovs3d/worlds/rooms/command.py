"""``ovs3d world room``: write scanned rooms to disk."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ovs3d.errors import InputError
from ovs3d.worlds.command import clear_for_world

if TYPE_CHECKING:
    from ovs3d.worlds.rooms.write_scannet import RoomSettings

_MOST_SCENES = 6000


@dataclass(frozen=True)
class Room:
    """Write scanned rooms of ScanNet's 20 classes: meshes with exact labels, photos with depth and poses."""

    out: Path
    """Folder to write the data set into; new or empty."""
    seed: int = 0
    """Which rooms; the same seed gives the same bytes."""
    format: Literal["scannet"] = "scannet"
    """Layout of the data set."""
    scenes: int = 10
    """How many rooms; one in five is for validation."""
    frames: Literal["25k", "sens", "exported"] = "25k"
    """Where photos are: in scannet_frames_25k, in a .sens for each room, or as the exporter of .sens writes them."""
    views: int = 30
    """Photos of each room; one of them has no pose, as it happens in ScanNet."""
    color_width: int = 320
    """Width of the photos in pixels, a multiple of 4; they are 4:3."""
    depth_width: int = 160
    """Width of the depth images in pixels, likewise."""
    spacing_m: float = 0.04
    """About how far vertices are apart, in metres."""
    overwrite: bool = False
    """Replace a world that is already in the folder."""

    def run(self) -> None:
        """Make, scan and write the rooms."""
        from ovs3d.worlds.rooms.views import Sizes
        from ovs3d.worlds.rooms.write_scannet import RoomSettings, write_root

        self._check()
        clear_for_world(self.out, self.overwrite)
        names = [f"scene{index:04d}_00" for index in range(self.scenes)]
        write_root(self.out, *split(names))
        sizes = Sizes(self.color_width, self.depth_width)
        settings = RoomSettings(self.frames, self.views, sizes, self.spacing_m)
        kinds = Counter(_written(self.out, names, self.seed * _MOST_SCENES, settings))
        what = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
        print(f"{self.scenes} rooms with {self.views} views each in {self.out}: {what}")

    def _check(self) -> None:
        """Raises InputError for what no room can be made of."""
        if self.seed < 0:
            raise InputError(f"a world's seed is a whole number from 0, not {self.seed}")
        if not 1 <= self.scenes <= _MOST_SCENES:
            raise InputError(f"--scenes is a number from 1 to {_MOST_SCENES}, not {self.scenes}")
        if not 2 <= self.views <= 200:
            raise InputError(f"--views is a number from 2 to 200, not {self.views}")
        for flag, width in (("--color-width", self.color_width), ("--depth-width", self.depth_width)):
            if width < 16 or width % 4:
                raise InputError(f"{flag} is a multiple of 4 from 16, not {width}")
        if not 0.01 <= self.spacing_m <= 0.5:
            raise InputError(f"--spacing-m is from 0.01 to 0.5 metres, not {self.spacing_m}")


def split(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """For training, and for validation: every fifth room, or the last of a few; a single one is for training."""
    val = list(names[4::5]) or list(names[1:])[-1:]
    return [name for name in names if name not in val], val


def _written(root: Path, names: Sequence[str], first_seed: int, settings: "RoomSettings") -> Iterator[str]:
    """Write the rooms, several at a time on several cores; yields their kinds in order."""
    from concurrent.futures import ProcessPoolExecutor
    from functools import partial
    from multiprocessing import get_context

    from tqdm import tqdm

    from ovs3d.worlds.rooms.write_scannet import write_room

    work = partial(write_room, root, settings=settings)
    seeds, workers = range(first_seed, first_seed + len(names)), min(os.cpu_count() or 1, len(names))
    if workers == 1:
        yield from map(work, names, seeds)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from tqdm(pool.map(work, names, seeds), total=len(names), desc="rooms")
