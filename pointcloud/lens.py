"""Where a lens that is not rectified puts what a pinhole would see."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

_WIDEST, _STEPS = 5.0, 5000
"""Rays are looked at up to 79 degrees off the axis (tangent 5)."""


def distorted(col_row: Float[np.ndarray, "n 2"], coefficients: Sequence[float]) -> Float[np.ndarray, "n 2"]:
    """Ideal image coordinates (x / z, y / z) as OpenCV's lens bends them; not a number where the lens sees nothing.

    Radially by (1 + k1 r^2 + k2 r^4 + k3 r^6) / (1 + k4 r^2), then tangentially by p1 and p2: documentation of
    ``cv2.projectPoints``. Far outside the photo these polynomials turn back and would put points of anywhere into it,
    so nothing is seen from the radius on where they first do.

    Args:
        coefficients: k1, k2, p1, p2, k3, k4; what is left out at the end is 0.

    Raises:
        ValueError: more than six coefficients.
    """
    if len(coefficients) > 6:
        raise ValueError(f"expected at most k1, k2, p1, p2, k3, k4, got {len(coefficients)} coefficients")
    k1, k2, p1, p2, k3, k4 = (*coefficients, *[0.0] * (6 - len(coefficients)))

    def stretch(r2: np.ndarray) -> np.ndarray:
        return (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + k4 * r2)

    radii = np.linspace(0, _WIDEST, _STEPS)
    turns = np.flatnonzero(np.diff(radii * stretch(radii**2)) <= 0)
    limit = radii[turns[0]] if len(turns) else _WIDEST
    x, y = col_row.T
    r2 = x * x + y * y
    bent = stretch(r2) * col_row.T
    bent += [2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y]
    return np.where(r2 < limit**2, bent, np.nan).T
