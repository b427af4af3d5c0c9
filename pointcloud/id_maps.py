"""Pictures of ids as the bytes of a PNG: kilobytes instead of the megabytes of an array."""

from io import BytesIO

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from ovs3d.errors import InputError

_HIGHEST = 65535


def png_of_ids(ids: Int64[Tensor, "h w"]) -> UInt8[Tensor, " n"]:
    """Ids of 0 to 65535.

    Raises:
        InputError: one is higher.
    """
    if ids.max() > _HIGHEST:
        raise InputError(
            f"{int(ids.max())} masks in one photo, and {_HIGHEST} can be kept: ask for larger ones"
        )
    buffer = BytesIO()
    Image.fromarray(ids.numpy().astype(np.uint16)).save(buffer, format="PNG")
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def ids_of_png(content: UInt8[Tensor, " n"]) -> Int64[Tensor, "h w"]:
    """The same, read back."""
    picture = np.array(Image.open(BytesIO(content.numpy().tobytes())))
    return torch.from_numpy(picture.astype(np.int64))
