"""Files that are whole or not there, even after ``kill -9``."""

import itertools
import os
import re
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_TOKEN = secrets.token_hex(4)  # a later process may get the same id
_COUNTER = itertools.count()
_TEMPORARY = re.compile(r"\.(?P<host>.+)-(?P<pid>\d+)-(?P<token>[0-9a-f]{8})-\d+\.tmp")


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the name ``path`` once it is complete and on the disk.

    Until then its bytes lie under a temporary name in the same folder, which an exception removes.
    """
    name = f".{socket.gethostname()}-{os.getpid()}-{_TOKEN}-{next(_COUNTER)}.tmp"
    temporary = path.with_name(name)
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def try_to_write(folder: Path) -> None:
    """Make a folder, and find out whether files can be made in it.

    Raises:
        OSError: they cannot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def remove_stale_files(folder: Path) -> None:
    """Remove the temporary files that killed processes of this machine left in ``folder``."""
    for path in folder.glob(".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and match["host"] == socket.gethostname() and _is_dead(int(match["pid"]), match["token"]):
            path.unlink(missing_ok=True)


def _is_dead(pid: int, token: str) -> bool:
    if pid == os.getpid():
        return token != _TOKEN
    if os.name != "posix":  # elsewhere, os.kill(pid, 0) is not a question
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False
