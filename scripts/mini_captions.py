"""What the mini CLIP can be told: every prompt of the worlds, and the captions that are true of what they show.

A *thing* is an object of one colour, pattern and noun, or one table or wall; its id is its place in `THINGS`. The ids
of the kinds of streets, then of rooms, follow.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from mini_scenery import BROAD, THIN, rooms, streets

from ovs3d.worlds.words import COLORS, NOUNS, PATTERNS, TABLES, WALLS

BACKGROUNDS: tuple[str, ...] = (*TABLES, *WALLS)
OBJECT_THINGS = [(color, pattern, noun) for noun in NOUNS for color in COLORS for pattern in PATTERNS]
N_OBJECTS = len(OBJECT_THINGS)
NOUN_PROMPTS: tuple[str, ...] = (*NOUNS, *BACKGROUNDS)
TEMPLATES = (
    "a photo of a {}",
    "a photo of the {}",
    "a {}",
    "the {}",
    "an image of a {}",
    "a picture of a {}",
    "a rendering of a {}",
    "a close-up photo of a {}",
    "a bad photo of the {}.",
    "itap of a {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a photo of the small {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of a {}.",
    "there is a {} in the scene.",
)
BARE = 0.6  # share of captions without a template: 3D-OVS and LERF query so


def _join(color: str, pattern: str, noun: str) -> str:
    """A plain thing is named without a pattern, as in the worlds' class prompts."""
    return f"{color} {noun}" if pattern == "plain" else f"{color} {pattern} {noun}"


THINGS: tuple[str, ...] = (*(_join(*thing) for thing in OBJECT_THINGS), *BACKGROUNDS)
THING_ID = {prompt: i for i, prompt in enumerate(THINGS)}
NOUN_OF_THING = np.array(
    [NOUNS.index(noun) for _, _, noun in OBJECT_THINGS] + [len(NOUNS) + i for i in range(len(BACKGROUNDS))]
)
# One combination in sixteen is never a training label nor a training caption: the measure of composition.
HELD_OUT = np.array([i < N_OBJECTS and zlib.crc32(p.encode()) % 16 == 0 for i, p in enumerate(THINGS)])
SCENERY = {"street": streets(), "room": rooms()}
FIRST = {"street": len(THINGS), "room": len(THINGS) + len(SCENERY["street"].kinds)}
"""Id of the first kind of each."""
PROMPTS: tuple[str, ...] = (
    *THINGS,
    *(names[0] for scenery in SCENERY.values() for names in scenery.kinds.values()),
)
"""The full prompt of each thing; those of kinds may be words of tabletop worlds too."""
WEIGHT = np.array(
    [*[1.0] * N_OBJECTS, *[0.5] * len(BACKGROUNDS)]
    + [0.5 if k in BROAD else 2.0 if k in THIN else 1.0 for s in SCENERY.values() for k in s.kinds]
    + [1.0]
)
"""How much of a crop's area each thing counts; the last is for what has no name."""


@dataclass(frozen=True)
class Bank:
    """Prompts of which exactly one is right."""

    name: str
    prompts: tuple[str, ...]
    answer: np.ndarray
    """int64 (len(PROMPTS),), the prompt of each thing; -1 where none is."""


@cache
def banks() -> tuple[Bank, ...]:
    """Nouns, tables and walls; then, of streets and rooms, kinds and the classes of data sets."""
    nouns = np.full(len(PROMPTS), -1)
    nouns[: len(THINGS)] = NOUN_OF_THING
    found = [Bank("nouns", NOUN_PROMPTS, nouns)]
    for name, scenery in SCENERY.items():
        kinds = {names[0]: (kind,) for kind, names in scenery.kinds.items()}
        for bank, classes in {name: kinds, **scenery.banks}.items():
            answer = np.full(len(PROMPTS), -1)
            for i, members in enumerate(classes.values()):
                answer[_ids(name, members)] = i
            found.append(Bank(bank, tuple(classes), answer))
    return tuple(found)


def _ids(name: str, kinds: Iterable[str]) -> list[int]:
    every = list(SCENERY[name].kinds)
    return [FIRST[name] + every.index(kind) for kind in kinds]


@cache
def caption_table() -> tuple[tuple[str, ...], np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Captions; truth bool (captions, PROMPTS); and per thing the captions to draw from with their chances."""
    captions: dict[str, int] = {}
    truths: list[np.ndarray] = []
    draws: list[tuple[list[int], list[float]]] = [([], []) for _ in PROMPTS]

    def add(text: str, true_of: list[int], chance: float) -> None:
        if text not in captions:
            captions[text] = len(truths)
            truths.append(np.zeros(len(PROMPTS), bool))
        truths[captions[text]][true_of] = True
        for thing in true_of:
            draws[thing][0].append(captions[text])
            draws[thing][1].append(chance)

    _add_object_captions(add)
    for first, names, word in ((N_OBJECTS, TABLES, "table"), (N_OBJECTS + len(TABLES), WALLS, "wall")):
        things = list(range(first, first + len(names)))
        for thing, name in zip(things, names, strict=True):
            add(name, [thing], 0.7)
        add(word, things, 0.2)
    everything_else = list(range(N_OBJECTS, len(THINGS)))
    for word in ("background", "stuff", "texture"):
        add(word, everything_else, 0.033)
    for name in SCENERY:
        _add_scenery_captions(add, name)
    return (
        tuple(captions),
        np.stack(truths),
        [(np.array(ids), np.array(p) / np.sum(p)) for ids, p in draws],
    )


def _add_object_captions(add) -> None:
    def where(*words: str) -> list[int]:
        return [i for i, thing in enumerate(OBJECT_THINGS) if set(words) <= set(thing)]

    for i, (color, pattern, noun) in enumerate(OBJECT_THINGS):
        add(_join(color, pattern, noun), [i], 0.5)
    for noun in NOUNS:
        add(noun, where(noun), 0.3)
        for pattern in PATTERNS[1:]:
            add(f"{pattern} {noun}", where(pattern, noun), 0.08)
    for color in COLORS:
        add(f"{color} object", where(color), 0.06)
    for pattern in PATTERNS[1:]:
        add(f"{pattern} object", where(pattern), 0.04)
    for word in ("object", "things"):
        add(word, list(range(N_OBJECTS)), 0.02)


def _add_scenery_captions(add, name: str) -> None:
    scenery = SCENERY[name]
    for kind, names in scenery.kinds.items():
        for i, text in enumerate(names):
            add(text, _ids(name, [kind]), 0.5 if i == 0 else 0.25 / (len(names) - 1))
    for bank in (scenery.groups, *scenery.banks.values()):
        for text, kinds in bank.items():
            if kinds:
                add(text, _ids(name, kinds), 0.15)
