"""Rendered views of worlds that the mini models are trained on, kept as memory maps in folders.

Training seeds start at 1,000,000; tests and benchmarks use seeds below 100,000. They never meet.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mini_captions import FIRST, SCENERY, THING_ID
from skimage import measure
from tqdm import tqdm

from ovs3d.worlds import render as ray_caster
from ovs3d.worlds.rooms.room import make_room
from ovs3d.worlds.rooms.views import walk
from ovs3d.worlds.streets.kinds import KINDS
from ovs3d.worlds.streets.rig import nuscenes_rig
from ovs3d.worlds.streets.street import make_street, photo
from ovs3d.worlds.tabletop import make_tabletop, render

FIRST_TRAINING_SEED = 1_000_000
MAX_CLASSES = 12
HEIGHT, WIDTH = 240, 320  # of tabletop views
STREET_MOMENTS_S, STREET_WIDTH = (0.0, 2.0), 400
ROOM_SHOTS = 10
Arrays = dict[str, np.ndarray]
"""Fields of `Views`."""


@dataclass(frozen=True)
class Views:
    """`n` views; class ids are those of each view's own world."""

    rgb: np.ndarray
    """uint8 (n, h, w, 3)"""
    labels: np.ndarray
    """uint8 (n, h, w), class ids"""
    things: np.ndarray
    """int16 (n, k), the thing (see mini_captions) that each class id is, -1 where unused"""
    boxes: np.ndarray
    """int16 (n, k, 4), top, left, bottom, right (half-open) of what is visible of each class"""
    areas: np.ndarray
    """int32 (n, k), visible pixels of each class"""


def training_views(folder: Path, count: int, workers: int, of: Callable[[int], Arrays]) -> Views:
    """The first `count` training views of a sort of world, rendered into `folder` unless they are there.

    Args:
        of: views of the world of a seed, as many for each.
    """
    arrays = {name: folder / f"{name}.npy" for name in Views.__dataclass_fields__}
    done = folder / f"{count}.done"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _render_all(of, count, arrays, workers)
        done.touch()
    return Views(**{name: np.load(path, mmap_mode="r")[:count] for name, path in arrays.items()})


def views_of_tabletop(seed: int, count: int = 2) -> Arrays:
    """Random views of one world."""
    world = make_tabletop(seed)
    rng = np.random.default_rng(seed)
    pictures = [render(world, world.random_camera(rng)) for _ in range(count)]
    labels = np.stack([p.labels for p in pictures])
    things = np.full((count, MAX_CLASSES), -1, np.int16)
    things[:, : len(world.classes)] = [THING_ID[prompt] for prompt in world.classes]
    return _arrays([p.rgb for p in pictures], labels, things)


def views_of_street(seed: int) -> Arrays:
    """What six cameras see at two moments."""
    world, rgb, labels = make_street(seed), [], []
    table = _table("street", [kind.name for kind in KINDS])
    table[ray_caster.SKY] = list(SCENERY["street"].kinds).index("sky")
    for time_s in STREET_MOMENTS_S:
        moment = world.at(time_s)
        for rigged in nuscenes_rig(STREET_WIDTH).cameras:
            camera = rigged.at(world.world_from_ego(time_s))
            rgb.append(photo(moment, camera))
            labels.append(table[ray_caster.render(moment.scene, camera).labels])
    return _arrays(rgb, np.stack(labels), _kinds("street", len(rgb)))


def views_of_room(seed: int) -> Arrays:
    """What a scanner sees on a walk."""
    world = make_room(seed)
    table = _table("room", [each.category for each in world.things])
    views = [shot.view for shot in walk(world, ROOM_SHOTS)]
    return _arrays(
        [v.rgb for v in views], table[np.stack([v.labels for v in views])], _kinds("room", ROOM_SHOTS)
    )


SOURCES: dict[str, Callable[[int], Arrays]] = {
    "table": views_of_tabletop,
    "street": views_of_street,
    "room": views_of_room,
}
"""Views of the world of a seed, by sort."""


def regions(labels: np.ndarray) -> np.ndarray:
    """Ids (h, w) of the connected regions of equal labels: two cars that do not touch are two."""
    return np.asarray(measure.label(labels.astype(int), background=-1, connectivity=1)) - 1


def _table(name: str, labels: Sequence[str]) -> np.ndarray:
    """The id of the kind of each label of a picture; what has no name is the last."""
    ids = {kind: i for i, kind in enumerate(SCENERY[name].kinds)}
    table = np.full(256, len(ids), np.uint8)
    table[: len(labels)] = [ids.get(label, len(ids)) for label in labels]
    return table


def _kinds(name: str, n: int) -> np.ndarray:
    """The thing of each kind (n, k + 1); the last id is what has no name."""
    count = len(SCENERY[name].kinds)
    return np.tile(np.r_[FIRST[name] : FIRST[name] + count, -1].astype(np.int16), (n, 1))


def _arrays(rgb: list[np.ndarray], labels: np.ndarray, things: np.ndarray) -> Arrays:
    """With boxes and pixel counts of the classes in label maps (n, h, w)."""
    _, h, w = labels.shape
    of_class = labels[:, None] == np.arange(things.shape[1])[:, None, None]
    rows, columns = of_class.any(3), of_class.any(2)
    box = [rows.argmax(2), columns.argmax(2), h - rows[..., ::-1].argmax(2), w - columns[..., ::-1].argmax(2)]
    return {
        "rgb": np.stack(rgb),
        "labels": labels,
        "things": things,
        "boxes": np.stack(box, -1).astype(np.int16),
        "areas": of_class.sum((2, 3)).astype(np.int32),
    }


def _render_all(of: Callable[[int], Arrays], count: int, arrays: dict[str, Path], workers: int) -> None:
    first = of(FIRST_TRAINING_SEED)
    each = len(first["rgb"])
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED - count // -each)
    maps = {
        name: np.lib.format.open_memmap(
            path, "w+", first[name].dtype, (len(seeds) * each, *first[name].shape[1:])
        )
        for name, path in arrays.items()
    }
    with ProcessPoolExecutor(workers) as pool:
        for i, views in enumerate(tqdm(pool.map(of, seeds, chunksize=4), total=len(seeds))):
            for name, value in views.items():
                maps[name][i * each : (i + 1) * each] = value
