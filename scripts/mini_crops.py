"""Square crops of the training views with the thing that they show: what the mini CLIP learns from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from mini_captions import HELD_OUT, N_OBJECTS, THINGS, WEIGHT
from mini_views import HEIGHT, WIDTH, Views
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import IterableDataset

GRID = 24  # labels are read at GRID x GRID points of a crop
_offsets = (np.arange(GRID) + 0.5) / GRID - 0.5
CENTRE_WEIGHT = np.exp(-(_offsets[:, None] ** 2 + _offsets[None] ** 2) / (2 * 0.25**2))
CENTRE_WEIGHT /= CENTRE_WEIGHT.sum()
MIN_VISIBLE = 80  # pixels
SCENERY_SIDES = (16, 120)  # pixels; what CLIP sees of a photo of a street or of a room at once
MIN_SHARE = 0.10  # of an object, by centre-weighted area
MIN_LEAD = 1.3  # of the first over the second


@dataclass(frozen=True)
class Window:
    """A square of a view: top row, left column and side in pixels."""

    top: int
    left: int
    side: int

    @staticmethod
    def around(row: float, column: float, side: float, shape: tuple[int, ...] = (HEIGHT, WIDTH)) -> "Window":
        """The square of this centre and side, shrunk and moved as far as needed to lie inside the view."""
        height, width = shape
        s = int(np.clip(round(side), 8, min(height, width)))
        top = int(np.clip(round(row - s / 2), 0, height - s))
        left = int(np.clip(round(column - s / 2), 0, width - s))
        return Window(top, left, s)

    def image(self, rgb: np.ndarray, size: int) -> Tensor:
        """The crop of uint8 (h, w, 3) as uint8 (3, size, size), resized as Clip.encode_images does it."""
        crop = rgb[self.top : self.top + self.side, self.left : self.left + self.side]
        pixels = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None].float()
        resized = F.interpolate(pixels, (size, size), mode="bicubic", antialias=True, align_corners=False)
        return resized[0].round_().clamp_(0, 255).byte()

    def shares(self, labels: np.ndarray, k: int) -> np.ndarray:
        """Centre-weighted share (k,) of each class in the crop; sums to 1."""
        points = ((np.arange(GRID) + 0.5) / GRID * self.side).astype(int)
        ids = labels[self.top + points[:, None], self.left + points[None]]
        return np.bincount(ids.ravel(), CENTRE_WEIGHT.ravel(), k)


def dominant(shares: np.ndarray, things: np.ndarray) -> tuple[int, int]:
    """(thing that dominates, object that dominates among the objects); -1 where it is none or not clear.

    Shares are by class id and things says what each class is; `WEIGHT` counts for the first.
    """
    is_object = (things >= 0) & (things < N_OBJECTS)
    objects = np.where(is_object, shares, 0.0)
    top = _leader(WEIGHT[things] * shares)
    best = _leader(objects)
    if best >= 0 and objects[best] < MIN_SHARE:
        best = -1
    return (int(things[top]) if top >= 0 else -1), (int(things[best]) if best >= 0 else -1)


def _leader(shares: np.ndarray) -> int:
    first = int(shares.argmax())
    second = np.partition(shares, -2)[-2]
    return first if shares[first] > MIN_LEAD * second else -1


class Crops(IterableDataset):
    """Endless batches (image uint8 (b, 3, size, size), thing int64 (b), object int64 (b)), see `dominant`.

    Seven in ten of tables are windows of 0.9 to 2.8 times an object's box, the others tiles of h/5, h/7 and h/10 like
    the teacher's. Never-trained combinations are left out, and table and wall are kept to about a quarter. Those of
    streets and rooms are squares of any size around a pixel of any kind that is there.

    Args:
        views: of tables, streets and rooms, by name.
        chances: how often each is drawn.
    """

    def __init__(
        self, views: Mapping[str, Views], chances: Mapping[str, float], batch: int, size: int, seed: int
    ):
        self.views, self.chances, self.batch, self.size, self.seed = views, chances, batch, size, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        torch.set_num_threads(1)
        rng = np.random.default_rng(self.seed)
        names, chances = list(self.chances), list(self.chances.values())
        while True:
            rows = [self._crop(rng, str(rng.choice(names, p=chances))) for _ in range(self.batch)]
            images, things, objects = zip(*rows, strict=True)
            yield torch.stack(images), torch.tensor(things), torch.tensor(objects)

    def _crop(self, rng: np.random.Generator, name: str) -> tuple[Tensor, int, int]:
        views = self.views[name]
        while True:
            i = rng.integers(len(views.rgb))
            window = _window(views, i, rng) if name == "table" else _square(views, i, rng)
            things = views.things[i]
            thing, obj = dominant(window.shares(views.labels[i], len(things)), things)
            if (thing < 0 and obj < 0) or any(0 <= t < N_OBJECTS and HELD_OUT[t] for t in (thing, obj)):
                continue
            if N_OBJECTS <= thing < len(THINGS) and obj < 0 and rng.random() < 0.5:
                continue
            image = window.image(views.rgb[i], self.size)
            return (image.flip(2) if rng.random() < 0.5 else image), thing, obj


def _square(views: Views, i: int, rng: np.random.Generator) -> Window:
    labels = views.labels[i]
    visible = np.flatnonzero((views.things[i] >= 0) & (views.areas[i] >= MIN_VISIBLE // 4))
    row, column = np.divmod(rng.choice(np.flatnonzero(labels == rng.choice(visible))), labels.shape[1])
    return Window.around(row, column, np.exp(rng.uniform(*np.log(SCENERY_SIDES))), labels.shape)


def _window(views: Views, i: int, rng: np.random.Generator) -> Window:
    top, left, bottom, right = _box(views, i, rng)
    if rng.random() < 0.7:
        side = max(bottom - top, right - left) * np.exp(rng.uniform(np.log(0.9), np.log(2.8)))
        row, column = (top + bottom) / 2, (left + right) / 2
        jitter = rng.uniform(-0.15, 0.15, 2) * side
        return Window.around(row + jitter[0], column + jitter[1], side)
    side = HEIGHT / rng.choice([5, 7, 10]) * rng.uniform(0.85, 1.2)
    if rng.random() < 0.4:
        top, left, bottom, right = 0, 0, HEIGHT, WIDTH
    return Window.around(rng.uniform(top, bottom), rng.uniform(left, right), side)


def _box(views: Views, i: int, rng: np.random.Generator) -> np.ndarray:
    """The box of a random object that is visible, or of the whole view."""
    things, areas = views.things[i], views.areas[i]
    visible = np.flatnonzero((things >= 0) & (things < N_OBJECTS) & (areas >= MIN_VISIBLE))
    if len(visible) == 0:
        return np.array([0, 0, HEIGHT, WIDTH])
    return views.boxes[i, rng.choice(visible)].astype(int)
