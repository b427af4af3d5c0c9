"""What a run answers, drawn: pictures or films of labels, heat and colour."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from nerfstudio.cameras.camera_paths import get_interpolated_camera_path, get_path_from_json
from nerfstudio.cameras.cameras import Cameras
from tqdm import trange

from nerf_methods.film import film
from nerf_methods.run import Run
from ovs3d.errors import InputError
from ovs3d.images import write_png
from ovs3d.outputs.overlay import heat_overlay, label_overlay

NO_ANSWER_ID = 255
"""In PNGs of class ids, which hold no -1."""

Drawn = dict[str, UInt8[np.ndarray, "..."]]
"""Pictures of one camera: colour, labels with a legend, class ids, and a heat map per prompt."""


def draw(run: Run, camera: Cameras) -> Drawn:
    """Render a camera and draw the answers."""
    view, names = run.render(camera), run.query.names
    labels, scores = run.labels(view).numpy(), run.relevancies(view).numpy()
    color = (view.rgb * 255).round().byte().numpy()
    pictures = {
        "color": color,
        "labels": label_overlay(color, labels, names, always=True),
        "ids": np.where(labels < 0, NO_ANSWER_ID, labels).astype(np.uint8),
    }
    return pictures | {f"heat {name}": heat_overlay(color, scores[..., i]) for i, name in enumerate(names)}


def write_pictures(run: Run, cameras: Cameras, names: list[str], out: Path) -> None:
    """``<out>/<kind>/<name>.png`` for each camera."""
    for name, pictures in zip(names, _each(run, cameras), strict=True):
        for kind, picture in pictures.items():
            write_png(out / kind / f"{name}.png", picture)


def write_films(run: Run, cameras: Cameras, out: Path, fps: int) -> None:
    """``<out>/<kind>.mp4``, a picture per camera."""
    with ExitStack() as stack:
        films = {}
        for pictures in _each(run, cameras):
            del pictures["ids"]
            for kind, picture in pictures.items():
                if kind not in films:
                    films[kind] = stack.enter_context(film(out / f"{kind}.mp4", fps))
                films[kind](picture)


def _each(run: Run, cameras: Cameras) -> Iterator[Drawn]:
    for i in trange(len(cameras), desc="Rendering", unit="view"):
        yield draw(run, cameras[i : i + 1])


def read_camera_path(path: Path) -> Cameras:
    """A camera path that nerfstudio's viewer wrote.

    Raises:
        InputError: there is none, or it is something else.
    """
    try:
        return get_path_from_json(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise InputError(f"no camera path at {path}") from error
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{path}: expected a camera path of nerfstudio's viewer ({error!r})") from error


def path_through_photos(run: Run, split: Literal["train", "held-out"], frames: int) -> Cameras:
    """A smooth path that visits the cameras of the photos, each next the nearest; about ``frames`` cameras.

    Raises:
        InputError: there are less than two photos.
    """
    photos = run.cameras(split)
    if len(photos) < 2:
        raise InputError(
            f"a film needs two {split} photos to go between: take others with --views, or --cameras"
        )
    steps = max(2, round(frames / (len(photos) - 1)))
    return get_interpolated_camera_path(photos, steps, order_poses=True)
