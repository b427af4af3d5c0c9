"""Pictures: colours over a photo, legends, and several panels on a sheet."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image, ImageDraw, ImageFont

from ovs3d.outputs.palette import IGNORE_COLOR, NO_ANSWER_COLOR, heat_colors, label_colors

Picture = UInt8[np.ndarray, "_h _w 3"]

FONT_SIZE = 13
ROW = 18
"""Height of a line of text in pixels."""
PAD = 6


def blend(photo: UInt8[np.ndarray, "h w 3"], colors: UInt8[np.ndarray, "h w 3"], opacity: float) -> Picture:
    """Colours over a photo; opacity 0 is the photo, 1 the colours."""
    return (photo + opacity * (colors.astype(np.float32) - photo)).round().astype(np.uint8)


def label_overlay(
    photo: UInt8[np.ndarray, "h w 3"],
    labels: Integer[np.ndarray, "h w"],
    names: Sequence[str],
    opacity: float = 0.6,
    always: bool = False,
) -> Picture:
    """A label map over a photo, with a legend of the classes; opacity 1 hides the photo.

    Args:
        labels: class ids, -1 for "no answer", 255 for what is ignored.
        names: of class 0, 1, ...
        always: the legend explains "no answer" also where all is answered, so that pictures of a film have one size.
    """
    colors = label_colors(np.arange(len(names)))
    entries = [(name, tuple(color.tolist())) for name, color in zip(names, colors, strict=True)]
    extra = [(-1, "no answer", NO_ANSWER_COLOR), (255, "ignored", IGNORE_COLOR)]
    entries += [
        (name, color) for label, name, color in extra if (labels == label).any() or (always and label < 0)
    ]
    return with_legend(blend(photo, label_colors(labels), opacity), entries)


def heat_overlay(
    photo: UInt8[np.ndarray, "h w 3"],
    scores: Float[np.ndarray, "h w"],
    low: float = 0.0,
    high: float = 1.0,
    opacity: float = 0.7,
) -> Picture:
    """Scores as a heat map over the photo in grey, so that colour means score alone; the scale at the right."""
    grey = photo.mean(axis=-1, keepdims=True).repeat(3, axis=-1).astype(np.uint8)
    steps = np.linspace(high, low, 5)
    entries = [(f"{step:.2f}", tuple(heat_colors(step[None], low, high)[0].tolist())) for step in steps]
    return with_legend(blend(grey, heat_colors(scores, low, high), opacity), entries)


def with_legend(picture: Picture, entries: Sequence[tuple[str, tuple[int, int, int]]]) -> Picture:
    """The picture with (name, colour) lines at its right, in as many columns as they need."""
    rows = max(1, (picture.shape[0] - PAD) // ROW)
    columns = [entries[i : i + rows] for i in range(0, len(entries), rows)]
    blocks = [_legend_column(column, picture.shape[0]) for column in columns]
    return np.concatenate([picture, *blocks], axis=1)


def _legend_column(entries: Sequence[tuple[str, tuple[int, int, int]]], height: int) -> Picture:
    font = ImageFont.load_default(FONT_SIZE)
    width = 3 * PAD + FONT_SIZE + int(max(font.getlength(name) for name, _ in entries))
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    for i, (name, color) in enumerate(entries):
        top = PAD // 2 + i * ROW + (ROW - FONT_SIZE) // 2
        draw.rectangle((PAD, top, PAD + FONT_SIZE - 1, top + FONT_SIZE - 1), fill=color, outline="black")
        draw.text((2 * PAD + FONT_SIZE, top - 1), name, fill="black", font=font)
    return np.array(canvas)


def panels(pictures: Sequence[Picture], titles: Sequence[str], columns: int | None = None) -> Picture:
    """Titled pictures on one white sheet, row by row; they may differ in size.

    Args:
        columns: pictures in a row; all of them if not given.
    """
    if len(pictures) != len(titles) or not pictures:
        raise ValueError(f"expected a title per picture, got {len(pictures)} pictures, {len(titles)} titles")
    cells = [_titled(picture, title) for picture, title in zip(pictures, titles, strict=True)]
    columns = columns or len(cells)
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    lefts = _starts([max(cell.shape[1] for cell in cells[i::columns]) for i in range(len(rows[0]))])
    tops = _starts([max(cell.shape[0] for cell in row) for row in rows])
    sheet = np.full((tops[-1], lefts[-1], 3), 255, dtype=np.uint8)
    for i, cell in enumerate(cells):
        top, left = tops[i // columns], lefts[i % columns]
        sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return sheet


def _starts(lengths: Sequence[int]) -> list[int]:
    """Where each of several lengths starts, PAD apart, and where the last one's PAD ends."""
    return [PAD, *(int(end) + PAD for end in np.cumsum(np.array(lengths) + PAD))]


def _titled(picture: Picture, title: str) -> Picture:
    font = ImageFont.load_default(FONT_SIZE)
    width = max(picture.shape[1], int(font.getlength(title)) + 1)
    cell = Image.new("RGB", (width, picture.shape[0] + ROW), "white")
    ImageDraw.Draw(cell).text((0, 0), title, fill="black", font=font)
    cell.paste(Image.fromarray(picture), (0, ROW))
    return np.array(cell)
