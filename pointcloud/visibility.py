"""Which points a camera sees, and which lie behind something.

A LiDAR on the roof looks over what hides things from the cameras below it, so a point may project into a photo
without being seen there.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float

_CELLS = 4
"""A point covers this many cells to each side of its own."""


def agrees(
    row_col: Float[np.ndarray, "n 2"],
    depth: Float[np.ndarray, " n"],
    image: Float[np.ndarray, "h w"],
    tolerance_m: float,
    tolerance_share: float,
) -> Bool[np.ndarray, " n"]:
    """Whether a depth image shows the points where they are.

    Args:
        row_col: of the points in the depth image.
        depth: of the points.
        image: z-depth in metres; where it is 0, nothing is known and no point seen.
        tolerance_m: how far the two may differ, to which ``tolerance_share`` of the image's depth is added.
    """
    inside = is_inside(row_col, *image.shape)
    row, col = np.floor(row_col[inside]).astype(np.int64).T
    measured = image[row, col]
    seen = np.zeros(len(depth), bool)
    seen[inside] = (measured > 0) & (
        np.abs(depth[inside] - measured) <= tolerance_m + tolerance_share * measured
    )
    return seen


def covered(
    row_col: Float[np.ndarray, "n 2"],
    depth: Float[np.ndarray, " n"],
    size: tuple[int, int],
    reach_px: float,
    tolerance_m: float,
    tolerance_share: float,
) -> Bool[np.ndarray, " n"]:
    """Whether other points lie before each point, where there is no depth image.

    The photo is cut into square cells with a side of a quarter of ``reach_px``, or of a pixel if that is more. A
    point covers its cell and those around it up to ``reach_px``. It is covered itself if the nearest of all that
    cover its cell is nearer by more than the tolerance.

    Args:
        row_col: of points in the photo.
        size: of the photo, (height, width).
        reach_px: half the gap between two beams, so that a surface has no holes.
        tolerance_m: to which ``tolerance_share`` of the point's depth is added.
    """
    side = max(1.0, reach_px / _CELLS)
    around = round(reach_px / side)
    row, col = np.floor(row_col / side).astype(np.int64).T
    cells = (int(np.ceil(size[0] / side)), int(np.ceil(size[1] / side)))
    nearest = np.full(cells, np.inf, np.float32)
    depth = depth.astype(np.float32)
    np.minimum.at(nearest, (row, col), depth)
    nearest = cv2.erode(nearest, np.ones((2 * around + 1, 2 * around + 1), np.uint8))
    return nearest[row, col] < depth - (tolerance_m + tolerance_share * depth)


def is_inside(row_col: Float[np.ndarray, "n 2"], height: int, width: int) -> Bool[np.ndarray, " n"]:
    """Whether (row, col) belongs to one of the pixels; what is not a number does not."""
    row, col = row_col.T
    return (row >= 0) & (row < height) & (col >= 0) & (col < width)
