"""Vocabularies: which words stand for which classes, read from files or from a line of text."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import yaml

from ovs3d.errors import InputError

_BUILTIN = Path(__file__).parent / "vocabularies"


@dataclass(frozen=True)
class Vocabulary:
    """The classes that are asked for.

    Raises:
        InputError: no prompt, an empty one, one that comes twice, or one that cannot name a mask file.
    """

    names: tuple[str, ...]
    """One prompt per class, in the order of the class ids."""
    synonyms: tuple[tuple[str, ...], ...] = ()
    """More words for each class, one tuple per name; empty if there are none at all."""
    distractors: tuple[str, ...] = ()
    """Words that are no answer: what looks most like one of them is labelled -1."""
    masks: tuple[str, ...] = ()
    """Names of the classes' mask files, one per name; empty if prompts name them."""

    def __post_init__(self) -> None:
        if not self.names:
            raise InputError("no prompts: give at least one, for instance --prompt 'mug; red ball'")
        if self.synonyms and len(self.synonyms) != len(self.names):
            raise InputError(f"{len(self.synonyms)} lists of synonyms for {len(self.names)} prompts")
        words = [word for group in (*self.words, self.distractors) for word in group]
        _check_words(words)
        for name in self.mask_names:
            if "/" in name:
                raise InputError(
                    f"the prompt {name!r} has a '/', but mask files are named by prompts: leave it out"
                )
        if len(set(self.mask_names)) != len(self.names):
            raise InputError(f"two prompts have the mask {_twice(self.mask_names)!r}: each needs its own")

    @property
    def mask_names(self) -> tuple[str, ...]:
        """What the classes' mask files are called."""
        return self.masks or self.names

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """All words of each class: its name, then its synonyms."""
        synonyms = self.synonyms or ((),) * len(self.names)
        return tuple((name, *more) for name, more in zip(self.names, synonyms, strict=True))


def _twice(names: tuple[str, ...]) -> str | None:
    return next((name for i, name in enumerate(names) if name in names[:i]), None)


def _check_words(words: list[str]) -> None:
    seen: dict[str, str] = {}
    for word in words:
        key = " ".join(word.split()).lower()
        if not key:
            raise InputError(f"an empty prompt among {[w for w in words if w.strip()][:4]}: take it out")
        if key in seen:
            raise InputError(f"the prompt {word!r} comes twice (as {seen[key]!r}): keep one of them")
        seen[key] = word


def parse_prompts(text: str) -> Vocabulary:
    """The prompts of a line such as ``mug; red ball; table``."""
    return Vocabulary(_stripped(text.split(";")) if text.strip() else ())


def asked_vocabulary(prompt: str | None, prompts: Path | None) -> Vocabulary | None:
    """What a command line asks for by ``--prompt`` or ``--prompts``, if anything.

    Args:
        prompts: a file, or where there is none the name of a vocabulary of the package.

    Raises:
        InputError: both are given, or what is given cannot be asked.
    """
    if prompt is not None and prompts is not None:
        raise InputError("prompts twice: give --prompt or --prompts")
    if prompts is not None:
        known = not prompts.exists() and str(prompts) in builtin_names()
        return builtin_vocabulary(str(prompts)) if known else read_vocabulary(prompts)
    return None if prompt is None else parse_prompts(prompt)


def read_vocabulary(path: Path) -> Vocabulary:
    """A vocabulary from ``classes.txt`` (one prompt a line) or from YAML.

    In YAML ``classes`` is a list of prompts, each alone, with its synonyms (``- sofa: [couch]``), or with the name of
    its masks too (``- grey sofa: {synonyms: [couch], mask: sofa_01}``); ``distractors``, if given, is a list of words.

    Raises:
        InputError: the file cannot be read or does not hold such lists; the message names the file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix in (".yaml", ".yml"):
            return _from_yaml(yaml.safe_load(text))
        return Vocabulary(_stripped(text.rstrip().splitlines()))
    except FileNotFoundError:
        raise InputError(f"no vocabulary at {path}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text in UTF-8") from None
    except (InputError, yaml.YAMLError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error


def _from_yaml(content: object) -> Vocabulary:
    if not isinstance(content, dict) or not isinstance(content.get("classes"), list):
        raise InputError("expected a list `classes`, and if wanted a list `distractors`")
    unknown = set(content) - {"classes", "distractors"}
    if unknown:
        raise InputError(f"unknown entry {sorted(map(str, unknown))[0]!r}; known are classes and distractors")
    entries = [_entry(item) for item in content["classes"]]
    names, synonyms = tuple(entry[0] for entry in entries), tuple(entry[1] for entry in entries)
    masks = tuple(entry[2] for entry in entries)
    return Vocabulary(
        names,
        synonyms if any(synonyms) else (),
        _words(content.get("distractors") or []),
        masks if masks != names else (),
    )


def _entry(item: object) -> tuple[str, tuple[str, ...], str]:
    """Name, synonyms and name of the mask file of a class."""
    if not (isinstance(item, dict) and len(item) == 1):
        name = _words([item])[0]
        return name, (), name
    name, about = next(iter(item.items()))
    name = _words([name])[0]
    if not isinstance(about, dict):
        return name, _words(about or []), name
    unknown = set(about) - {"synonyms", "mask"}
    if unknown:
        raise InputError(f"unknown entry {min(map(str, unknown))!r} of {name!r}; known are synonyms and mask")
    return name, _words(about.get("synonyms") or []), _words([about.get("mask", name)])[0]


def _words(items: object) -> tuple[str, ...]:
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise InputError(f"expected words (quote yes, no and numbers), got {items!r}")
    return _stripped(items)


def _stripped(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(item.strip() for item in items)


def builtin_names() -> tuple[str, ...]:
    """The vocabularies that come with the package."""
    return tuple(sorted(path.stem for path in _BUILTIN.glob("*.yaml")))


def builtin_vocabulary(name: str) -> Vocabulary:
    """A vocabulary of a data set, for instance ``scannet20``.

    Raises:
        InputError: there is none of this name; the message lists the closest.
    """
    if name not in builtin_names():
        close = get_close_matches(name, builtin_names(), n=4, cutoff=0.0)
        raise InputError(f"no vocabulary {name!r}; the closest are {', '.join(close)}")
    return read_vocabulary(_BUILTIN / f"{name}.yaml")
