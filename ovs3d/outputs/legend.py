"""Names beside their colours, as viser's pages show them."""

import json
from collections.abc import Sequence

import numpy as np

from ovs3d.outputs.palette import NO_ANSWER_COLOR, label_colors


def legend_markdown(names: Sequence[str]) -> str:
    """Markdown; names are JavaScript strings in it, so that no letter of theirs means anything."""
    colors = [*label_colors(np.arange(len(names))).tolist(), NO_ANSWER_COLOR]
    return "<br />".join(
        f'<span style={{{{color: "rgb({r}, {g}, {b})"}}}}>■</span> {{{json.dumps(name)}}}'
        for name, (r, g, b) in zip((*names, "no answer"), colors, strict=True)
    )
