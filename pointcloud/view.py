"""``ovs3d-points view``: the scans of a data set in the browser, and what a run says of them."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from jaxtyping import Float, UInt8

from ovs3d.errors import InputError, check_range
from ovs3d.images import read_image
from ovs3d.outputs.legend import legend_markdown
from ovs3d.outputs.palette import heat_colors, label_colors
from ovs3d.prompts.vocabulary import Vocabulary, parse_prompts
from ovs3d.query import labels
from ovs3d.require import require
from pointcloud.frame import Frame, Photo, Scan
from pointcloud.index import Index, read_index
from pointcloud.runs import Question, Run, Said, load_run
from pointcloud.samples import sample
from pointcloud.scans import read_scan

if TYPE_CHECKING:
    from viser import ClientHandle, ViserServer

    from pointcloud.cli import View

Show = Literal["points", "truth", "answer", "heat"]
"""Own colours, true classes, what the run says, and how strongly it says one prompt."""
_PHOTO_ROWS = 180
"""Photos are shown with about so many rows."""
_PHOTO_SCALE = 0.04
"""Height of a photo in space, as a share of the scan's reach."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What a run says of one scan."""

    vocabulary: Vocabulary
    probability: Float[np.ndarray, "n k"]
    """Of each prompt, and after them of the distractors."""


def plain_colors(scan: Scan) -> UInt8[np.ndarray, "n 3"]:
    """The scan's own colours, else its intensity, else its height, from dark to bright."""
    if scan.rgb is not None:
        return scan.rgb
    values = scan.xyz[:, 2] if scan.intensity is None else scan.intensity
    low, high = np.percentile(values, [2, 98])
    return heat_colors(values, float(low), float(max(high, low + 1e-6)))


def shown_colors(show: Show, scan: Scan, asked: Asked | None, heat_of: int = 0) -> UInt8[np.ndarray, "n 3"]:
    """The colours of the points. Without truth, or without a run, the scan's own."""
    if show == "truth" and scan.labels is not None:
        return label_colors(scan.labels)
    if show == "answer" and asked is not None:
        import torch

        found = labels(torch.from_numpy(asked.probability), len(asked.vocabulary.distractors))
        return label_colors(found.numpy())
    if show == "heat" and asked is not None:
        return heat_colors(asked.probability[:, heat_of])
    return plain_colors(scan)


@lru_cache(maxsize=4)
def overview(scan: Scan) -> tuple[Float[np.ndarray, "3"], float]:
    """The middle of a scan, and its reach in metres: most of its points are nearer than that."""
    middle = np.median(scan.xyz, axis=0)
    return middle, max(1.0, float(np.percentile(np.linalg.norm(scan.xyz - middle, axis=1), 80)))


class Page:
    """What the controls say, and what is shown of it."""

    def __init__(
        self,
        server: "ViserServer",
        index: Index,
        positions: list[int],
        run: Run | None,
        question: Question | None,
    ) -> None:
        self._server, self._index, self._positions, self._run = server, index, positions, run
        self._changing = threading.Lock()
        names = index.dataset.classes
        if question:
            self._vocabulary, self._embeddings = question
            names = self._vocabulary.names
        shows = get_args(Show) if run else get_args(Show)[:2]
        gui = server.gui
        self._scan = gui.add_slider("Scan", 0, max(1, len(positions) - 1), 1, 0)
        self._show = gui.add_dropdown("Show", shows, initial_value="answer" if run else "truth")
        self._size = gui.add_slider("Point size", 0.01, 0.2, 0.01, 0.05)
        self._photos = gui.add_checkbox("Photos", initial_value=True)
        self._status = gui.add_text("Status", "", disabled=True)
        for control in (self._scan, self._show, self._size, self._photos):
            control.on_update(lambda _: self._refresh())
        if run:
            self._prompts = gui.add_text("Prompts", "; ".join(names))
            self._prompts.on_update(lambda _: self._ask())
            self._heat_of = gui.add_dropdown("Heat of", names)
            self._heat_of.on_update(lambda _: self._refresh())
        self._legend = gui.add_markdown(legend_markdown(names))
        self._refresh()
        server.on_client_connect(self._stand_back)

    def _stand_back(self, client: "ClientHandle") -> None:
        """Who opens the page looks at the first scan from behind and above."""
        middle, reach = overview(_scan(self._index, self._positions[0]))
        client.camera.position = middle + reach * np.array([-0.9, -0.5, 0.8])
        client.camera.look_at = middle

    def _ask(self) -> None:
        """New prompts; one that cannot be asked is explained, and the last ones stay."""
        assert self._run is not None
        try:
            vocabulary = parse_prompts(self._prompts.value)
            embeddings = self._run.embeddings(vocabulary)
        except InputError as error:
            self._status.value = str(error)
            return
        self._status.value = ""
        self._vocabulary, self._embeddings = vocabulary, embeddings
        self._heat_of.options = vocabulary.names
        self._legend.content = legend_markdown(vocabulary.names)
        self._refresh()

    def _refresh(self) -> None:
        with self._changing:  # each change has a thread of its own
            position = self._positions[min(self._scan.value, len(self._positions) - 1)]
            frame, scan = self._index[position], _scan(self._index, position)
            asked = None if self._run is None else self._asked(self._run, position)
            heat_of = self._vocabulary.names.index(self._heat_of.value) if self._run else 0
            colors = shown_colors(self._show.value, scan, asked, heat_of)
            self._server.scene.add_point_cloud("/points", scan.xyz, colors, point_size=self._size.value)
            self._add_photos(frame, scan)

    def _asked(self, run: Run, position: int) -> Asked:
        logits = run.logits_of(_said(run, self._index, position), self._vocabulary, self._embeddings)
        return Asked(self._vocabulary, logits.softmax(dim=1).cpu().numpy())

    def _add_photos(self, frame: Frame, scan: Scan) -> None:
        scan_from_world, (_, reach) = np.linalg.inv(scan.world_from_scan), overview(scan)
        for i, photo in enumerate(frame.photos):
            pose = scan_from_world @ photo.camera.world_from_camera
            camera = photo.camera
            self._server.scene.add_camera_frustum(
                f"/photos/{i}",
                fov=2 * float(np.arctan(camera.height / 2 / camera.intrinsics[1, 1])),
                aspect=camera.width / camera.height,
                scale=_PHOTO_SCALE * reach,
                wxyz=_quaternion(pose[:3, :3]),
                position=pose[:3, 3],
                image=_small(photo),
                visible=self._photos.value,
            )


@lru_cache(maxsize=4)
def _scan(index: Index, position: int) -> Scan:
    file = index[position].scan
    if file is None:
        raise InputError(f"{index.names[position]} has no point cloud, only photos")
    return read_scan(file, index.dataset)


@lru_cache(maxsize=4)
def _said(run: Run, index: Index, position: int) -> Said:
    return run.said(sample(_scan(index, position), run.about.net).to(run.device).points)


@lru_cache(maxsize=64)
def _small(photo: Photo) -> UInt8[np.ndarray, "h w 3"]:
    step = max(1, photo.camera.height // _PHOTO_ROWS)
    return read_image(photo.path).numpy()[::step, ::step]


def _quaternion(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """(w, x, y, z)"""
    from viser.transforms import SO3

    return SO3.from_matrix(rotation).wxyz


def view(command: "View", wait: Callable[[], None] | None = None) -> None:
    """Serve the page until interrupted, or until ``wait`` returns."""
    check_range("port", command.port, 0, 65535)
    viser = require("viser", "points")
    index = read_index(command.index, command.root)
    run, question, asked = None, None, command.vocabulary()
    if command.run_folder is not None:
        run = load_run(command.run_folder, command.device)
        question = run.question(asked)
    elif asked is not None:
        raise InputError("--prompt and --prompts ask a run: name one with --run")
    positions = index.select(command.split)
    server = viser.ViserServer(host=command.host, port=command.port, verbose=False)
    server.scene.set_up_direction("+z")
    Page(server, index, positions, run, question)
    print(f"{len(positions)} scans at http://{command.host}:{server.get_port()} (Ctrl-C ends)", flush=True)
    try:
        wait() if wait else _forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()


def _forever() -> None:
    while True:
        time.sleep(3600)
