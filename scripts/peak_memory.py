"""Memory of this process, on Linux with glibc."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path


def peak_growth(work: Callable[[], object]) -> int:
    """By how many bytes the resident set grows at most while ``work`` runs."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier work left with the allocator would be used again unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is resident
    before = _bytes("/proc/self/status", "VmRSS")
    work()
    return _bytes("/proc/self/status", "VmHWM") - before


def available() -> int:
    """Bytes that can be had without pushing anything out."""
    return _bytes("/proc/meminfo", "MemAvailable")


def _bytes(path: str, name: str) -> int:
    lines = Path(path).read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
