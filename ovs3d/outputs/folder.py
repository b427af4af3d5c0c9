"""Folders that results go into."""

from pathlib import Path

from ovs3d.atomic import try_to_write
from ovs3d.errors import InputError


def usable_folder(path: Path) -> None:
    """Make a folder, and try to write into it, before work that would be lost.

    Raises:
        InputError: that is not possible.
    """
    try:
        try_to_write(path)
    except OSError as error:
        raise InputError(
            f"{path}: nothing can be written there ({error.strerror}): name another folder with --out"
        ) from error
