"""Voxels of points: cubes, or the cells of a cylinder around the sensor."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class VoxelGrid:
    """How space is cut into voxels; the origin is the scan's own."""

    voxel_size_m: float = 0.1
    """Edge of a voxel; of a cylindrical one its length along the radius and its height."""
    shape: Literal["cartesian", "cylindrical"] = "cartesian"
    """Cylindrical as in SLidR: (distance from the z axis, angle about it, z)."""
    voxel_angle_deg: float = 1.0
    """Width of a cylindrical voxel."""

    def __post_init__(self) -> None:
        if not (self.voxel_size_m > 0 and self.voxel_angle_deg > 0):
            raise ValueError(
                f"voxels need a positive size, got {self.voxel_size_m} m and {self.voxel_angle_deg} degrees"
            )

    def places(self, xyz: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Points in units of voxels; a voxel covers i to i + 1."""
        if self.shape == "cartesian":
            return xyz / self.voxel_size_m
        x, y, z = xyz.unbind(dim=1)
        radius, angle = torch.hypot(x, y), torch.rad2deg(torch.atan2(y, x))
        sizes = (self.voxel_size_m, self.voxel_angle_deg, self.voxel_size_m)
        columns = zip((radius, angle, z), sizes, strict=True)
        return torch.stack([values / size for values, size in columns], dim=1)
