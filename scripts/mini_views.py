"""Rendered views of tabletop worlds that the mini models are trained on, kept as memory maps in a folder.

Training seeds start at 1,000,000; tests and benchmarks use seeds below 100,000. They never meet.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mini_captions import THING_ID
from tqdm import tqdm

from ovs3d.worlds.tabletop import make_tabletop, render

FIRST_TRAINING_SEED = 1_000_000
VIEWS_PER_WORLD = 2
MAX_CLASSES = 12
HEIGHT, WIDTH = 240, 320


@dataclass(frozen=True)
class Views:
    """`n` views; class ids are those of each view's own world."""

    rgb: np.ndarray
    """uint8 (n, h, w, 3)"""
    labels: np.ndarray
    """uint8 (n, h, w), class ids"""
    things: np.ndarray
    """int16 (n, MAX_CLASSES), the thing (see mini_captions) that each class id is, -1 where unused"""
    boxes: np.ndarray
    """int16 (n, MAX_CLASSES, 4), top, left, bottom, right (half-open) of what is visible of each class"""
    areas: np.ndarray
    """int32 (n, MAX_CLASSES), visible pixels of each class"""


def training_views(folder: Path, count: int, workers: int) -> Views:
    """The first `count` training views, rendered into `folder` unless they are there."""
    arrays = {name: folder / f"{name}.npy" for name in Views.__dataclass_fields__}
    done = folder / f"{count}.done"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + count // VIEWS_PER_WORLD)
        _render_all(seeds, arrays, workers)
        done.touch()
    return Views(**{name: np.load(path, mmap_mode="r")[:count] for name, path in arrays.items()})


def views_of_world(seed: int, count: int = VIEWS_PER_WORLD) -> dict[str, np.ndarray]:
    """Random views of one world, as arrays of `Views`."""
    world = make_tabletop(seed)
    rng = np.random.default_rng(seed)
    pictures = [render(world, world.random_camera(rng)) for _ in range(count)]
    labels = np.stack([p.labels for p in pictures])
    things = np.full((count, MAX_CLASSES), -1, np.int16)
    things[:, : len(world.classes)] = [THING_ID[prompt] for prompt in world.classes]
    boxes, areas = _visible(labels)
    rgb = np.stack([p.rgb for p in pictures])
    return {"rgb": rgb, "labels": labels, "things": things, "boxes": boxes, "areas": areas}


def _visible(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, MAX_CLASSES, 4) and pixel counts (n, MAX_CLASSES) of the classes in label maps (n, h, w)."""
    of_class = labels[:, None] == np.arange(MAX_CLASSES)[:, None, None]
    rows, columns = of_class.any(3), of_class.any(2)
    box = [
        rows.argmax(2),
        columns.argmax(2),
        HEIGHT - rows[..., ::-1].argmax(2),
        WIDTH - columns[..., ::-1].argmax(2),
    ]
    return np.stack(box, -1).astype(np.int16), of_class.sum((2, 3)).astype(np.int32)


def _render_all(seeds: range, arrays: dict[str, Path], workers: int) -> None:
    first = views_of_world(seeds[0])
    n = len(seeds) * VIEWS_PER_WORLD
    maps = {
        name: np.lib.format.open_memmap(path, "w+", first[name].dtype, (n, *first[name].shape[1:]))
        for name, path in arrays.items()
    }
    with ProcessPoolExecutor(workers) as pool:
        for i, views in enumerate(tqdm(pool.map(views_of_world, seeds, chunksize=4), total=len(seeds))):
            for name, value in views.items():
                maps[name][i * VIEWS_PER_WORLD : (i + 1) * VIEWS_PER_WORLD] = value
