"""Errors that a user can cure, and the one place where they become one line and exit status 2."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


class InputError(ValueError):
    """The input cannot be used. The message says what was expected, what was found and what to do, in one line."""


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
        if error.errno not in _DISK_ERRORS:
            raise
        _exit(f"{error.strerror}: {error.filename}" if error.filename else str(error))


def _exit(message: str) -> None:
    line = " ".join(message.split())
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(2)
