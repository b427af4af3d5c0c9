"""Memory of this process: of its tensors as PyTorch counts them, and of all of it on Linux with glibc."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile


def peak_of_tensors(work: Callable[[], object]) -> int:
    """How many bytes of a CPU the tensors made by ``work`` take at most at a time: the same whenever it is measured.

    What `torch.cuda.max_memory_allocated` is for a GPU.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    recorded: Any = profiled.profiler  # torch's types lack what a memory event has
    events = [each for each in recorded.kineto_results.events() if each.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda each: each.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def peak_growth(work: Callable[[], object]) -> int:
    """By how many bytes the resident set grows at most while ``work`` runs.

    It holds what the allocator has not given back as well, so it differs from run to run.
    """
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
