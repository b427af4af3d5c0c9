"""What things in rooms are called: ScanNet's raw categories, and the NYU40 class of each.

Raw ids are those of ScanNet's own table, as far as a category is in ScanNet200 (Rozenberszki et al. 2022).
"""

from dataclasses import dataclass

NYU40 = (
    *("unannotated", "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window"),
    *("bookshelf", "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow"),
    *("mirror", "floor mat", "clothes", "ceiling", "books", "refridgerator", "television", "paper"),
    *("towel", "shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp"),
    *("bathtub", "bag", "otherstructure", "otherfurniture", "otherprop"),
)
"""Names by NYU40 id, spelt as in ScanNet's table; 0 is what nobody annotated."""

BENCHMARK = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)
"""NYU40 ids of the 20 classes of ScanNet's benchmark, in its order."""


@dataclass(frozen=True)
class Category:
    """A raw category of ScanNet."""

    raw_id: int
    nyu40: int


CATEGORIES = {
    "unannotated": Category(0, 0),
    "wall": Category(1, 1),
    "chair": Category(2, 5),
    "floor": Category(3, 2),
    "table": Category(4, 7),
    "door": Category(5, 8),
    "couch": Category(6, 6),
    "cabinet": Category(7, 3),
    "desk": Category(9, 14),
    "office chair": Category(10, 5),
    "bed": Category(11, 4),
    "pillow": Category(13, 18),
    "sink": Category(14, 34),
    "picture": Category(15, 11),
    "window": Category(16, 9),
    "toilet": Category(17, 33),
    "bookshelf": Category(18, 10),
    "monitor": Category(19, 40),
    "curtain": Category(21, 16),
    "book": Category(22, 23),
    "armchair": Category(23, 5),
    "coffee table": Category(24, 7),
    "box": Category(26, 29),
    "refrigerator": Category(27, 24),
    "lamp": Category(28, 35),
    "kitchen cabinet": Category(29, 3),
    "towel": Category(31, 27),
    "nightstand": Category(34, 32),
    "counter": Category(35, 12),
    "plant": Category(40, 40),
    "ceiling": Category(41, 22),
    "bathtub": Category(42, 36),
    "shower curtain": Category(55, 28),
    "trash can": Category(56, 39),
    "ottoman": Category(67, 39),
    "mirror": Category(71, 19),
    "radiator": Category(95, 39),
}
"""By ``raw_category``. Rooms hold nothing else."""

_COLUMNS = (
    *("id", "raw_category", "category", "count", "nyu40id", "eigen13id", "nyuClass", "nyu40class"),
    *("eigen13class", "ModelNet40", "ModelNet10", "ShapeNetCore55", "synsetoffset", "wnsynsetid"),
    *("wnsynsetkey", "mpcat40", "mpcat40index"),
)


def label_table() -> str:
    """``scannetv2-labels.combined.tsv``: the official columns; those that only name other data sets are empty."""
    rows = ["\t".join(_COLUMNS)]
    for name, category in CATEGORIES.items():
        if category.nyu40 == 0:
            continue
        known = {
            "id": str(category.raw_id),
            "raw_category": name,
            "category": name,
            "count": "1",
            "nyu40id": str(category.nyu40),
            "nyu40class": NYU40[category.nyu40],
        }
        rows.append("\t".join(known.get(column, "") for column in _COLUMNS))
    return "\n".join(rows) + "\n"
