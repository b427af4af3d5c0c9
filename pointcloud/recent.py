"""A memory that does not grow with the data set."""

from __future__ import annotations

from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(dict[Key, Value]):
    """The entries that were set last."""

    def __init__(self, most: int) -> None:
        """
        Args:
            most: how many are kept; 1 or more.
        """
        super().__init__()
        self.most = most

    def __reduce__(self) -> tuple[type[Recent], tuple[int]]:
        """Another process begins with an empty one."""
        return type(self), (self.most,)

    def __setitem__(self, key: Key, value: Value) -> None:
        if key not in self and len(self) >= self.most:
            del self[next(iter(self))]
        super().__setitem__(key, value)
