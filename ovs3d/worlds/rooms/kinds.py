"""Kinds of rooms, and what stands in each."""

from dataclasses import dataclass

from ovs3d.worlds.rooms import fixtures, furniture
from ovs3d.worlds.rooms.plan import Item


@dataclass(frozen=True)
class Kind:
    """A kind of room."""

    wide_m: tuple[float, float]
    """Range of its width."""
    deep_m: tuple[float, float]
    """Range of its depth."""
    items: tuple[Item, ...]
    """What is put into it, in this order: what is hard to place comes first."""
    wet: bool = False
    """Tiled all around."""


_DOOR = Item(fixtures.door, clear_m=0.8)
_BED, _SOFA = Item(furniture.bed, clear_m=0.3), Item(furniture.sofa, clear_m=0.4)
_DESK, _CABINET = Item(furniture.desk), Item(furniture.cabinet, clear_m=0.4)
_BATHTUB, _TOILET = Item(fixtures.bathtub, clear_m=0.3), Item(fixtures.toilet, clear_m=0.4)
_COUNTER, _REFRIGERATOR = Item(fixtures.counter, clear_m=0.5), Item(fixtures.refrigerator, clear_m=0.5)
_BOOKSHELF, _CURTAINS = Item(furniture.bookshelf, clear_m=0.3), Item(fixtures.curtained_window)
_TABLE, _PICTURE = Item(furniture.dining_table, free=True), Item(furniture.picture)


def _maybe(item: Item, chance: float) -> Item:
    return Item(item.build, chance, item.free, item.clear_m)


_OTHERS = (
    Item(fixtures.trash_can, 0.45),
    Item(fixtures.radiator, 0.35),
    Item(fixtures.box, 0.3),
    Item(fixtures.toys, 0.25, free=True),
)
_CLUTTER = (*_OTHERS, Item(fixtures.plant, 0.35), Item(furniture.ottoman, 0.3, free=True))

KINDS = {
    "bedroom": Kind(
        (3.4, 4.4),
        (3.8, 4.8),
        (
            *(_DOOR, _CURTAINS, _BED, _CABINET, _maybe(_DESK, 0.5), _maybe(_BOOKSHELF, 0.5)),
            *(_PICTURE, Item(furniture.nightstand, 0.7), _maybe(_PICTURE, 0.4), *_CLUTTER),
        ),
    ),
    "living room": Kind(
        (3.9, 4.9),
        (4.2, 5.4),
        (
            *(
                _DOOR,
                _CURTAINS,
                _SOFA,
                _BOOKSHELF,
                _maybe(_TABLE, 0.6),
                Item(furniture.coffee_table, free=True),
            ),
            *(_maybe(_CABINET, 0.6), Item(furniture.armchair), _maybe(_SOFA, 0.3), _PICTURE),
            *(_maybe(_CURTAINS, 0.5), _maybe(_PICTURE, 0.6), *_CLUTTER),
        ),
    ),
    "kitchen": Kind(
        (3.2, 4.2),
        (3.6, 4.6),
        (
            *(_DOOR, _COUNTER, _REFRIGERATOR, Item(fixtures.window), _TABLE, _maybe(_CABINET, 0.5)),
            *(_maybe(_PICTURE, 0.4), Item(fixtures.towel, 0.4), *_OTHERS),
        ),
    ),
    "bathroom": Kind(
        (2.5, 3.2),
        (2.7, 3.5),
        (
            *(_DOOR, _BATHTUB, _TOILET, Item(fixtures.washbasin, clear_m=0.4), Item(fixtures.window, 0.6)),
            *(_maybe(_CABINET, 0.4), Item(fixtures.towel, 0.7), *_OTHERS),
        ),
        wet=True,
    ),
    "studio": Kind(
        (5.2, 5.9),
        (5.8, 6.6),
        (
            *(_DOOR, _CURTAINS, _BATHTUB, _COUNTER, _BED, _SOFA, _DESK, _REFRIGERATOR, _TOILET, _CABINET),
            *(_BOOKSHELF, _TABLE, _PICTURE, Item(fixtures.trash_can), Item(furniture.armchair, 0.4)),
            *(Item(furniture.coffee_table, 0.4, free=True), *_CLUTTER),
        ),
    ),
    "office": Kind(
        (3.6, 4.8),
        (3.8, 5.0),
        (
            *(
                _DOOR,
                _maybe(_CURTAINS, 0.6),
                Item(fixtures.window, 0.6),
                _DESK,
                _maybe(_DESK, 0.7),
                _BOOKSHELF,
            ),
            *(
                _CABINET,
                _maybe(_SOFA, 0.4),
                _maybe(_REFRIGERATOR, 0.15),
                _maybe(_TABLE, 0.4),
                _PICTURE,
                *_CLUTTER,
            ),
        ),
    ),
}
"""By name. Of a studio, every room has all 20 classes of ScanNet."""
