"""Photos as the network of photos is trained on them: cropped, mirrored, in other light."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from pointcloud.config import ImageNetwork
from pointcloud.crops import TRIES, draw_crop


@dataclass(frozen=True)
class PhotoCrop:
    """A part of a photo, brought to the size of the network, perhaps mirrored."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool

    def places(self, row_col: Int64[Tensor, "n 2"]) -> Float[Tensor, "n 2"]:
        """(x, y) of the centres of pixels of the photo, -1 and 1 at the borders of the crop."""
        corner = torch.tensor([self.top, self.left])
        y_x = (row_col - corner + 0.5) / torch.tensor([self.height, self.width]) * 2 - 1
        x = -y_x[:, 1] if self.mirrored else y_x[:, 1]
        return torch.stack([x, y_x[:, 0]], dim=1).float()

    def pixels(self, n: int, random: np.random.Generator) -> Int64[Tensor, "n 2"]:
        """(row, col) of pixels of the photo, drawn from the crop."""
        low, high = (self.top, self.left), (self.top + self.height, self.left + self.width)
        return torch.from_numpy(random.integers(low, high, (n, 2)))

    def of(self, image: UInt8[Tensor, "h w 3"], size: tuple[int, int]) -> Float[Tensor, "3 H W"]:
        """Its colours, 0..1."""
        part = tv.crop(image.permute(2, 0, 1), self.top, self.left, self.height, self.width)
        found = tv.resize(part, list(size), antialias=True).float() / 255
        return found.flip(2) if self.mirrored else found


def draw(height: int, width: int, how: ImageNetwork, random: np.random.Generator) -> PhotoCrop:
    """A crop of a photo, mirrored as the settings say: of 0.3 to 1 of its area and 14:9 to 17:9 (CLIP2Scene), or the
    largest of the proportions that the network sees."""
    if how.crops == "largest":
        scale = min(height / how.height, width / how.width)
        rows, cols = round(scale * how.height), round(scale * how.width)
        top, left = random.integers([height - rows + 1, width - cols + 1]).tolist()
    else:
        drawn = (draw_crop(height, width, random) for _ in range(TRIES))
        top, left, rows, cols = next(filter(None, drawn), (0, 0, height, width))
    return PhotoCrop(top, left, rows, cols, how.flip and random.random() < 0.5)


def in_other_light(
    image: Float[Tensor, "3 h w"], strength: float, random: np.random.Generator
) -> Float[Tensor, "3 h w"]:
    """Brightness, contrast and saturation, each changed by up to a share of itself."""
    for change in (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation):
        image = change(image, 1 + strength * random.uniform(-1, 1))
    return image
