"""Films as MP4 (H.264), which browsers play."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from ovs3d.atomic import atomic_file

Picture = UInt8[np.ndarray, "_h _w 3"]


@contextmanager
def film(path: Path, fps: int) -> Iterator[Callable[[Picture], None]]:
    """Gives a function that appends a picture; the file takes its name when the last is in.

    Pictures must have one size, of which an odd last row or column is left out.

    Args:
        fps: pictures per second.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file, av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18"})
        stream.pix_fmt = "yuv420p"

        def add(picture: Picture) -> None:
            height, width = (2 * (side // 2) for side in picture.shape[:2])
            if not stream.codec_context.is_open:
                stream.height, stream.width = height, width
            even = np.ascontiguousarray(picture[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))

        yield add
        container.mux(stream.encode())
