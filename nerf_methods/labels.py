"""The true classes of a scene's views: masks beside its photos."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor

from ovs3d.errors import InputError
from ovs3d.eval.confusion import IGNORE
from ovs3d.images import read_image
from ovs3d.scene import photos_in


def read_labels(
    scene: Path, image: Path, names: tuple[str, ...], size: tuple[int, int]
) -> UInt8[Tensor, "h w"]:
    """True class ids of a view, positions in ``names`` of the scene's own masks; 255 where there is no truth.

    Without own prompts nobody knows what the masks stand for, and there is no truth.

    Two layouts are known: ``segmentations/<image stem>.png`` with class ids, and 3D-OVS's
    ``segmentations/<NN>/<name>.png`` with NN the position of the image in its sorted folder. Masks are brought to
    ``size`` (h, w) by the nearest pixel.

    Raises:
        InputError: a mask cannot be read, or holds an id without a prompt.
    """
    if not names:
        return torch.full(size, IGNORE, dtype=torch.uint8)
    single = scene / "segmentations" / f"{image.stem}.png"
    if single.exists():
        labels = torch.from_numpy(_read_mask(single, size))
        unknown = labels[(labels >= len(names)) & (labels != IGNORE)]
        if len(unknown):
            raise InputError(f"{single}: class id {int(unknown[0])}, but there are {len(names)} prompts")
        return labels
    photos = photos_in(image.parent)
    folder = mask_folders(scene).get(photos.index(image) if image in photos else -1)
    labels = torch.full(size, IGNORE, dtype=torch.uint8)
    for index, name in enumerate(names):
        path = folder / f"{name}.png" if folder else None
        if path is not None and path.exists():
            labels[torch.from_numpy(_read_mask(path, size) == 255)] = index
    return labels


def read_masks(
    scene: Path, image: Path, names: tuple[str, ...], size: tuple[int, int]
) -> Bool[Tensor, "k h w"] | None:
    """The masks of a view in the layout of 3D-OVS, which may overlap, as its released code reads them.

    None for a view without a folder of masks.

    Raises:
        InputError: the folder lacks the mask of a name, or a mask cannot be read.
    """
    photos = photos_in(image.parent)
    folder = mask_folders(scene).get(photos.index(image) if image in photos else -1)
    if folder is None:
        return None
    missing = [name for name in names if not (folder / f"{name}.png").exists()]
    if missing:
        raise InputError(f"{folder}: no mask {missing[0]}.png; a class that is not there has an empty one")
    masks = [torch.from_numpy(_read_mask(folder / f"{name}.png", size) == 255) for name in names]
    return torch.stack(masks)


def missing(own: tuple[str, ...], asked: tuple[str, ...]) -> list[str]:
    """Classes of a scene that a question leaves out: what it takes their pixels for could not be held against it."""
    return [name for name in own if name not in asked]


def remap(labels: UInt8[Tensor, "h w"], own: tuple[str, ...], asked: tuple[str, ...]) -> UInt8[Tensor, "h w"]:
    """Class ids as positions in other prompts; classes that are not asked for are ignored."""
    table = torch.full((256,), IGNORE, dtype=torch.uint8)
    for index, name in enumerate(own):
        if name in asked:
            table[index] = asked.index(name)
    return table.to(labels.device)[labels.long()]


def mask_folders(scene: Path) -> dict[int, Path]:
    """3D-OVS's folders of masks, by the index of their image."""
    found = (scene / "segmentations").glob("[0-9]*")
    return {int(path.name): path for path in sorted(found) if path.is_dir() and path.name.isdigit()}


def _read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    read_image(path)  # says what is wrong with an unreadable file
    with Image.open(path) as image:
        mask = image if image.mode in ("L", "P") else image.convert("L")
        return np.array(mask.resize((size[1], size[0]), Image.Resampling.NEAREST))
