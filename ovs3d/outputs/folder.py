"""Folders that results go into."""

import tempfile
from pathlib import Path

from ovs3d.errors import InputError


def usable_folder(path: Path) -> None:
    """Make a folder, and try to write into it, before work that would be lost.

    Raises:
        InputError: that is not possible.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"{path}: nothing can be written there ({error.strerror}): name another folder with --out"
        ) from error
