"""Versions and hardware, for reports."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import torch

PACKAGES = (
    "ovs3d",
    "torch",
    "torchvision",
    "numpy",
    "open_clip_torch",
    "timm",
    "segment-anything",
    "nerfstudio",
)


def environment() -> dict[str, Any]:
    """``versions`` of Python and of installed packages, and ``hardware``: two fields of a report."""
    versions = {"python": platform.python_version(), **_versions(), "torch": torch.__version__}
    return {"versions": versions, "hardware": _hardware()}


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _hardware() -> dict[str, str | int | None]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")
