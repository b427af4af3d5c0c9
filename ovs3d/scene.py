"""A scene on the disk: where its photos are, and what its ``ovs3d.yaml`` says of it."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from ovs3d.errors import InputError
from ovs3d.prompts.vocabulary import Vocabulary, read_vocabulary

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
PROMPT_FILES = ("prompts.yaml", "classes.txt", "segmentations/classes.txt")


@dataclass(frozen=True)
class SceneSettings:
    """What a scene says of itself."""

    weights: str | None = None
    """CLIP weights that suit the scene."""
    vocabulary: Vocabulary | None = None
    """Prompts; class ids of masks are positions in it."""
    negatives: tuple[str, ...] | None = None
    """What prompts are compared with for relevancy; empty: with each other."""


def read_settings(scene: Path) -> SceneSettings:
    """``<scene>/ovs3d.yaml`` if there is one, else the prompts of ``prompts.yaml`` or ``classes.txt`` if there is one.

    Raises:
        InputError: the file is not YAML, holds an unknown entry, or names a prompt file that cannot be used.
    """
    path = scene / "ovs3d.yaml"
    content = _read_yaml(path) if path.exists() else {}
    unknown = set(content) - {"weights", "prompts", "negatives"}
    if unknown:
        raise InputError(
            f"{path}: unknown entry {min(map(str, unknown))!r}; known are weights, prompts, negatives"
        )
    weights, negatives = content.get("weights"), content.get("negatives")
    if not isinstance(weights, str | None):
        raise InputError(f"{path}: weights must be a name such as mini, got {weights!r}")
    if negatives is not None and not (
        isinstance(negatives, list) and all(isinstance(word, str) for word in negatives)
    ):
        raise InputError(f"{path}: negatives must be a list of words, got {negatives!r}")
    named = content.get("prompts")
    files = [scene / named] if named else [scene / name for name in PROMPT_FILES if (scene / name).exists()]
    return SceneSettings(
        weights=weights,
        vocabulary=read_vocabulary(files[0]) if files else None,
        negatives=None if negatives is None else tuple(negatives),
    )


def _read_yaml(path: Path) -> dict:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected entries such as `weights: mini`")
    return content


def scene_images(data: Path) -> list[Path]:
    """The photos of a scene: the frames of its ``transforms.json``, else of ``images/``, else of the folder.

    Args:
        data: the scene's folder, or its JSON file.

    Raises:
        InputError: no such folder, no images in it, or a frame without its image.
    """
    if data.suffix == ".json":
        return _frames(data)
    if not data.is_dir():
        raise InputError(f"no folder {data}: --data takes a scene, or any folder of images")
    if (data / "transforms.json").is_file():
        return _frames(data / "transforms.json")
    folder = data / "images" if (data / "images").is_dir() else data
    images = photos_in(folder)
    if not images:
        raise InputError(f"no images in {folder}: expected files such as {', '.join(IMAGE_SUFFIXES[:3])}")
    return images


def photos_in(folder: Path) -> list[Path]:
    """The image files of a folder, sorted by name."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def _frames(path: Path) -> list[Path]:
    try:
        images = [path.parent / frame["file_path"] for frame in json.loads(path.read_text())["frames"]]
    except FileNotFoundError as error:
        raise InputError(f"no file {path}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected JSON with a list `frames`, each with `file_path`") from error
    if not images:
        raise InputError(f"{path}: no images: the list `frames` is empty")
    missing = [image for image in images if not image.is_file()]
    if missing:
        raise InputError(f"{len(missing)} of {len(images)} images of {path} are missing: first {missing[0]}")
    return images
