"""Errors that a user can cure, and the one place where they become one line and exit status 2."""

import errno
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Numbers of errors that say that no more can be written."""
_NOT_ALLOWED = {errno.EROFS, errno.EACCES, errno.EPERM}
_NOT_THAT_KIND = {errno.EEXIST, errno.EISDIR, errno.ENOTDIR}
"""A file where a folder is wanted, or the reverse."""
_CURABLE = FULL | _NOT_ALLOWED | _NOT_THAT_KIND


class InputError(ValueError):
    """The input cannot be used. The message says what was expected, what was found and what to do, in one line."""


def check_range(flag: str, value: int | float, low: int | float, high: int | float) -> None:
    """Refuse a flag's number that is outside its range; both ends belong to it.

    Raises:
        InputError: it is, or is not a number.
    """
    if not low <= value <= high:
        raise InputError(f"--{flag} is from {low} to {high}, not {value}")


@contextmanager
def exit_on_input_error() -> Iterator[None]:
    """Turn an error that the user can cure into one line on stderr and exit status 2.

    Everything else is a bug of ours and keeps its traceback.
    """
    try:
        yield
    except (InputError, ImportError) as error:
        _exit(str(error))
    except OSError as error:
        if error.errno not in _CURABLE:
            raise
        _exit(f"{error.strerror}: {error.filename}" if error.filename else str(error))


@contextmanager
def command_line() -> Iterator[None]:
    """Around what a command does: mistakes of the user as above, and nothing of other libraries' deprecations."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore", FutureWarning)
    with exit_on_input_error():
        try:
            yield
        except BrokenPipeError:  # who reads, such as `head`, has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit(message: str) -> None:
    line = " ".join(message.split())
    if "tqdm" in sys.modules:  # a bar of progress that stands in the last line would be written over
        for bar in list(getattr(sys.modules["tqdm"].tqdm, "_instances", ())):
            bar.close()
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(2)
