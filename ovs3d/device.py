"""Where models run."""

import os

import torch

from ovs3d.errors import InputError


def usable_device(name: str | None) -> str:
    """A device that can be used; None: CUDA where there is one, and of several processes each its own.

    Raises:
        InputError: unknown, or not there.
    """
    if name is None:
        rank = os.environ.get("LOCAL_RANK")
        there = "cuda" if rank is None else f"cuda:{rank}"
        return there if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"unknown device {name!r}; expected cpu, cuda or cuda:<number>") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"no device {name}: torch sees {torch.cuda.device_count()} CUDA devices")
    return name
