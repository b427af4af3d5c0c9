"""Values of ``cameras.json``, each checked where it is used; a mistake is told with where it stands in the file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ovs3d.errors import InputError

_REQUIRED = object()


@dataclass(frozen=True)
class Entry:
    """An object of the file."""

    value: dict[str, Any]
    where: str
    """File and keys that lead to it."""

    def only(self, *known: str) -> "Entry":
        """Itself, if it has no other keys.

        Raises:
            InputError: it has.
        """
        for key in self.value:
            if key not in known:
                raise InputError(f"{self.where}: unknown key {key!r}; known are {', '.join(known)}")
        return self

    def get(self, key: str, kind: type | tuple[type, ...], what: str, default: Any = _REQUIRED) -> Any:
        """A value of a type; ``what`` it should be is for the message.

        Raises:
            InputError: it is missing and has no default, or is of another type.
        """
        if key not in self.value:
            if default is _REQUIRED:
                raise InputError(f"{self.where}: expected {key!r}, {what}; it is missing")
            return default
        value = self.value[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.mistake(key, what)
        return value

    def mistake(self, key: str, what: str) -> InputError:
        """The error of a value that is not what it should be."""
        found = json.dumps(self.value[key])
        shown = found if len(found) <= 60 else f"{found[:57]}..."
        return InputError(f"{self.where}.{key}: expected {what}, found {shown}")

    def child(self, key: str) -> "Entry | None":
        """The object under a key; None where there is none."""
        value = self.get(key, dict, "an object {...}", None)
        return None if value is None else Entry(value, f"{self.where}.{key}")

    def entry(self, key: str) -> "Entry":
        """The object under any text as a key, such as a path."""
        value = self.value[key]
        if not isinstance(value, dict):
            raise self.mistake(key, "an object {...}")
        return Entry(value, f"{self.where}[{key!r}]")

    def children(self, key: str) -> "list[Entry]":
        """The objects of a list; empty where there is none."""
        values = self.get(key, list, "a list of objects", [])
        if not all(isinstance(value, dict) for value in values):
            raise self.mistake(key, "a list of objects")
        return [Entry(value, f"{self.where}.{key}[{position}]") for position, value in enumerate(values)]

    def text(self, key: str, default: Any = _REQUIRED, among: Sequence[str] = ()) -> Any:
        """A word, or one of some words."""
        what = f"one of {', '.join(among)}" if among else "text"
        value = self.get(key, str, what, default)
        if among and key in self.value and value not in among:
            raise self.mistake(key, what)
        return value

    def number(self, key: str, default: float | None, positive: bool = False) -> Any:
        """A finite number."""
        what = "a positive number" if positive else "a number"
        value = self.get(key, (int, float), what, default)  # type: ignore[arg-type]
        if key in self.value and not (np.isfinite(value) and (value > 0 or not positive)):
            raise self.mistake(key, what)
        return value if value is None else float(value)

    def path(self, key: str, root: Path, default: Any = _REQUIRED) -> Any:
        """A path inside the folder."""
        value = self.get(key, str, "a path", default)
        return value if value is None else inside(root, value, f"{self.where}.{key}")

    def texts(self, key: str) -> list[str]:
        """A list of words; empty where there is none."""
        values = self.get(key, list, "a list of texts", [])
        if not all(isinstance(value, str) and value.strip() for value in values):
            raise self.mistake(key, "a list of texts")
        return values

    def numbers(self, key: str, what: str, default: Any = _REQUIRED) -> Float[np.ndarray, "..."]:
        """Finite numbers in lists of any depth, float64."""
        values = self.get(key, list, what, default)
        try:
            array = np.array(values, np.float64)
        except (ValueError, TypeError):
            raise self.mistake(key, what) from None
        if not np.isfinite(array).all():
            raise self.mistake(key, what)
        return array

    def pose(self, key: str) -> Float[np.ndarray, "4 4"]:
        """A rotation and a shift.

        Raises:
            InputError: as ``get``, or a matrix that scales, shears or mirrors.
        """
        what = "4 lines of 4 numbers: a rotation, a shift in metres, and 0 0 0 1"
        matrix = self.numbers(key, what)
        if matrix.shape != (4, 4) or not np.array_equal(matrix[3], [0, 0, 0, 1]):
            raise self.mistake(key, what)
        turn = matrix[:3, :3]
        if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3 or np.linalg.det(turn) < 0:
            raise self.mistake(key, f"{what}; this one is no rotation")
        return matrix

    def intrinsics(self, key: str) -> Float[np.ndarray, "3 3"]:
        """A pinhole camera without skew, in pixels."""
        what = "fx 0 cx, 0 fy cy, 0 0 1 in pixels"
        matrix = self.numbers(key, what)
        if matrix.shape != (3, 3) or min(matrix[0, 0], matrix[1, 1]) <= 0:
            raise self.mistake(key, what)
        if not np.array_equal(matrix * [[0, 1, 0], [1, 0, 0], [1, 1, 1]], np.diag([0.0, 0.0, 1.0])):
            raise self.mistake(key, what)
        return matrix

    def size(self, key: str) -> tuple[int, int]:
        """(height, width)."""
        what = "[height, width] in whole pixels"
        values = self.get(key, list, what)
        if len(values) != 2 or not all(type(value) is int and value > 0 for value in values):
            raise self.mistake(key, what)
        return values[0], values[1]


def read_entry(path: Path) -> Entry:
    """The object that a JSON file holds.

    Raises:
        InputError: it is not JSON, or no object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected an object {{...}}, found {type(value).__name__}")
    return Entry(value, str(path))


def inside(root: Path, relative: str, where: str) -> Path:
    """A path in the folder.

    Raises:
        InputError: it leads out of it.
    """
    if Path(relative).is_absolute() or ".." in Path(relative).parts or not relative.strip():
        raise InputError(f"{where}: expected a path inside {root}, found {relative!r}")
    return root / relative
