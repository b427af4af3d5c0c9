"""ScanNet's masks of photos, and its table of raw class ids."""

import csv
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from ovs3d.errors import InputError
from ovs3d.images import read_depth, write_png
from pointcloud.datasets import Say
from pointcloud.index import IGNORE
from pointcloud.label_files import class_ids

_TABLES = ("scannetv2-labels.combined.tsv", "scannet-labels.combined.tsv")
_STORE = Path(".ovs3d") / "scannet-1"


def nyu40_of_raw(path: Path) -> dict[int, int]:
    """nyu40 id of each raw id, from ScanNet's table (columns ``id`` and ``nyu40id``); 0 is unlabelled.

    Raises:
        InputError: no such file, or one without these columns.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            return {0: 0} | {int(row["id"]): int(row["nyu40id"] or 0) for row in rows}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected columns id and nyu40id, split by tabs ({error})") from error


class PhotoLabels:
    """Masks as PNG of class ids, written once."""

    def __init__(self, root: Path, label_map: Mapping[int, int], say: Say) -> None:
        self.root, self.label_map, self.say = root, label_map, say

    @cached_property
    def _raw_map(self) -> Mapping[int, int] | None:
        """Class id of each raw id; None, said once, without a table."""
        path = next(
            (self.root / name for name in _TABLES if (self.root / name).exists()), self.root / _TABLES[0]
        )
        try:
            return {raw: self.label_map.get(nyu40, IGNORE) for raw, nyu40 in nyu40_of_raw(path).items()}
        except InputError as error:
            self.say(f"{error}; masks of raw ids are left out")
            return None

    def of(self, folder: Path, scene: str, frame: str, height: int, width: int) -> Path | None:
        """The mask of a photo of this size; None where there is none.

        ``label-filt/`` goes before ``label/``. Ids in 8 bits are nyu40's, in 16 bits raw ones; a mask of another size
        than its photo takes the nearest pixel.
        """
        sources = [folder / name / f"{frame}.png" for name in ("label-filt", "label")]
        source = next((path for path in sources if path.exists()), None)
        path = self.root / _STORE / scene / f"{frame}.png"
        if source is None or path.exists():
            return None if source is None else path
        try:
            mask = self._class_ids(source)
        except InputError as error:
            self.say(f"{error}; the photo has no mask")
            return None
        if mask is None:
            return None
        image = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
        write_png(path, np.asarray(image))
        return path

    def _class_ids(self, source: Path) -> np.ndarray | None:
        raw = read_depth(source).numpy()
        with Image.open(source) as image:
            label_map = self.label_map if image.mode == "L" else self._raw_map
        return None if label_map is None else class_ids(raw, label_map, source)
