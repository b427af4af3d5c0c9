"""Read a weights file into tensors without running anything in it, and load them into a module strictly."""

import pickle
import re
import struct
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ovs3d.errors import InputError
from ovs3d.foundation.torchscript import is_torchscript, read_torchscript

# A damaged pickle makes its reader fail in any of these ways.
_UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    safetensors.SafetensorError,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def read_state_dict(path: Path, wrappers: tuple[str, ...] = ("state_dict",)) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors``, ``torch.save`` or TorchScript file, on the CPU.

    Args:
        wrappers: names under which a training checkpoint keeps its weights; the ``module.`` of data-parallel
            training is removed.

    Raises:
        InputError: the file is damaged, holds no tensors, or holds a pickle that would run code.
    """
    try:
        content = _read(path)
    except _UNREADABLE as error:
        raise InputError(f"{path} holds no weights that can be read safely: {_cause(error)}") from error
    for wrapper in wrappers:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds no weights: expected tensors by name, got {type(content).__name__}")
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"{path} holds no weights: none of {list(content)[:4]} is a tensor")
    return _without_prefix(tensors, "module.")


def _read(path: Path) -> object:
    if path.suffix == ".safetensors":
        return load_file(path)
    if is_torchscript(path):
        return read_torchscript(path)
    with torch.serialization.safe_globals([Namespace]):  # DINO's checkpoints hold their command line
        return torch.load(path, map_location="cpu", weights_only=True)


def _cause(error: Exception) -> str:
    """One short line; torch's own advises to switch the safety off."""
    if called := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"it would call {called[1]}"
    if isinstance(error, pickle.UnpicklingError):
        return "it is damaged, or no file of tensors"
    return (str(error).strip() or "it is empty or cut off").splitlines()[0][:200]


def _without_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    if not all(name.startswith(prefix) for name in state):
        return state
    return {name.removeprefix(prefix): value for name, value in state.items()}


def weights_under(state: Mapping[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """For each prefix in turn that some names begin with: these alone, without it."""
    for prefix in prefixes:
        under = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        state = under or state
    return dict(state)


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy a state dict into a module whose names and shapes are exactly the same.

    Raises:
        InputError: they are not; the message names the first that differ.
    """
    expected = module.state_dict()
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    foreign = [name for name in state if name not in expected]
    other = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]
    parts = [("missing", missing), ("not part of it", foreign), ("of another shape", other)]
    faults = [f"{len(names)} {fault} ({_first(names)})" for fault, names in parts if names]
    if faults:
        raise InputError(f"{source} holds weights of another architecture: {'; '.join(faults)}")
    module.load_state_dict(dict(state))


def _first(names: list[str], count: int = 2) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
