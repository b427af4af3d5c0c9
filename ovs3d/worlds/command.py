"""``ovs3d world ...``: write a procedural scene to disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ovs3d.errors import InputError


@dataclass(frozen=True)
class Tabletop:
    """Write a tabletop world: 30 posed views of painted objects on a table, with class masks and depth."""

    out: Path
    """Folder to write the scene into; new or empty."""
    seed: int = 0
    """Which world; the same seed gives the same bytes."""
    format: Literal["both", "nerfstudio", "3dovs"] = "both"
    """Layout of the scene; "both" is nerfstudio's, with the 3D-OVS layout in the folder 3dovs inside."""
    overwrite: bool = False
    """Replace a world that is already in the folder."""

    def run(self) -> None:
        """Render and write the scene."""
        from ovs3d.worlds.tabletop import HELD_OUT, make_tabletop, render
        from ovs3d.worlds.write import Views, write_3dovs, write_nerfstudio

        world = make_tabletop(self.seed)
        clear_for_world(self.out, self.overwrite)
        cameras = world.cameras()
        views = Views(world.classes, cameras, [render(world, camera) for camera in cameras], HELD_OUT)
        if self.format != "3dovs":
            write_nerfstudio(self.out, views)
        if self.format != "nerfstudio":
            write_3dovs(self.out / "3dovs" if self.format == "both" else self.out, views)
        print(f"{len(cameras)} views in {self.out}: {'; '.join(world.classes)}")


def clear_for_world(folder: Path, overwrite: bool) -> None:
    """Leave an absent or empty folder; only a folder that holds an ovs3d scene is ever emptied.

    Raises:
        InputError: the folder is a file, or is not empty and may not or must not be replaced.
    """
    import shutil

    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder with --out")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise InputError(
            f"{folder} is not empty; name a new folder, or replace the world in it with --overwrite"
        )
    if not (folder / "ovs3d.yaml").exists():
        raise InputError(
            f"{folder} holds no world (no ovs3d.yaml), so it is not overwritten; name a new folder"
        )
    shutil.rmtree(folder)
