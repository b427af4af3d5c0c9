"""What does the arithmetic of a convolution: our own in PyTorch, or on request spconv or MinkowskiEngine.

Voxels, their order and the weights are ours whatever the back-end, and so are the results, up to rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ovs3d.errors import InputError
from pointcloud.sparse import arithmetic, minkowski_backend, spconv_backend
from pointcloud.sparse.levels import Step


@dataclass(frozen=True)
class _Library:
    convolve: Callable[[Tensor, Tensor, Step], Tensor]
    check: Callable[[torch.device], None]
    """Raises if the library cannot be used on a device."""
    dtypes: tuple[torch.dtype, ...]


_LIBRARIES = {
    "spconv": _Library(spconv_backend.convolve, spconv_backend.check, (torch.float16, torch.float32)),
    "minkowski": _Library(
        minkowski_backend.convolve, minkowski_backend.check, (torch.float32, torch.float64)
    ),
}


def check_backend(name: str, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
    """Make sure that a back-end can be used on a device, for features of a dtype.

    Raises:
        InputError: there is none of this name, or it cannot be used there, or not for such features.
        ImportError: its package is missing.
    """
    if name == "torch":
        return
    if name not in _LIBRARIES:
        raise InputError(f"expected a back-end (torch, {', '.join(_LIBRARIES)}), found {name!r}; use torch")
    library = _LIBRARIES[name]
    library.check(device)
    if dtype not in library.dtypes:
        known = " or ".join(str(each) for each in library.dtypes)
        raise InputError(f"{name} computes in {known}, not in {dtype}: use another precision, or torch")


def available(device: torch.device) -> dict[str, str]:
    """For each back-end "ok", or why it cannot be used on this device."""
    return {name: _reason(name, device) or "ok" for name in ("torch", *_LIBRARIES)}


def _reason(name: str, device: torch.device) -> str | None:
    try:
        check_backend(name, device)
    except (InputError, ImportError) as error:
        return str(error)
    return None


def convolve_with(
    backend: str, x: Float[Tensor, "v c_in"], weight: Float[Tensor, "k c_in c_out"], step: Step
) -> Float[Tensor, "w c_out"]:
    """Features of the target voxels, in the dtype of x.

    Raises:
        ValueError: the dtypes of features and kernel differ.
        InputError, ImportError: the back-end cannot be used.
    """
    if backend == "torch":
        return arithmetic.convolve(x, weight, step.kernel_map)
    if x.dtype != weight.dtype:
        raise ValueError(
            f"{backend} expects features and kernel of one dtype, found {x.dtype} and {weight.dtype}"
        )
    check_backend(backend, x.device, x.dtype)  # again: the network may have moved
    return _LIBRARIES[backend].convolve(x, weight, step)
