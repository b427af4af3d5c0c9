"""Random crops of photos: an augmentation of pairs. What CLIP sees of the whole photo is kept and not computed anew."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64

from pointcloud.frame import Photo
from pointcloud.pairing import Pairs

_AREA = (0.3, 1.0)
_RATIO = (14 / 9, 17 / 9)
_ENOUGH_PAIRS, _ENOUGH_SHARE = 1024, 0.75
TRIES = 10


def cropped(pairs: Pairs, photos: Sequence[Photo], random: np.random.Generator) -> Pairs:
    """The pairs within a crop of each photo, of 0.3 to 1 of its area and 14:9 to 17:9, as CLIP2Scene's code has it.

    A crop is drawn again unless it keeps more than 1024 pairs of its photo or more than three quarters of them; after
    ten tries the photo stays whole.
    """
    kept = np.ones(len(pairs), bool)
    for number, photo in enumerate(photos):
        own = pairs.photo == number
        kept[own] = _in_crop(pairs.row_col[own], photo.camera.height, photo.camera.width, random)
    return Pairs(pairs.point[kept], pairs.photo[kept], pairs.row_col[kept])


def _in_crop(
    row_col: Int64[np.ndarray, "n 2"], height: int, width: int, random: np.random.Generator
) -> Bool[np.ndarray, " n"]:
    for _ in range(TRIES):
        crop = draw_crop(height, width, random)
        if crop is None:
            continue
        corner, size = np.array(crop[:2]), np.array(crop[2:])
        inside = ((row_col >= corner) & (row_col < corner + size)).all(axis=1)
        if inside.sum() > min(_ENOUGH_PAIRS, _ENOUGH_SHARE * len(row_col)):
            return inside
    return np.ones(len(row_col), bool)


def draw_crop(height: int, width: int, random: np.random.Generator) -> tuple[int, int, int, int] | None:
    """Top, left, height and width of a crop of 0.3 to 1 of a photo's area and 14:9 to 17:9; None: it does not fit."""
    area, ratio = random.uniform(*_AREA) * height * width, np.exp(random.uniform(*np.log(_RATIO)))
    rows, cols = round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)
    if rows > height or cols > width:
        return None
    top, left = random.integers([height - rows + 1, width - cols + 1]).tolist()
    return top, left, rows, cols
