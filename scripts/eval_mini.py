"""Measure the mini models on worlds that they were not trained on, and write docs/reports/mini.json.

python scripts/eval_mini.py            # everything
python scripts/eval_mini.py --models clip --out /tmp/clip.json
"""

import json
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import open_clip
import timm
import torch
import tyro
from mini_captions import HELD_OUT, N_OBJECTS, NOUN_OF_THING, THING_ID, THINGS
from mini_crops import Window
from mini_scenery_figures import WORLDS, scenery_figures, scenery_views
from mini_views import regions
from segment_anything import SamPredictor
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ovs3d.foundation.clip import Clip, load_clip
from ovs3d.foundation.dino import Dino, load_dino
from ovs3d.foundation.sam import load_sam
from ovs3d.worlds.tabletop import Render, TabletopWorld, make_tabletop, render
from ovs3d.worlds.words import NOUNS

FIRST_SEED = 50_000
MIN_VISIBLE = 200  # pixels of an object that is asked for
CROPS = {"tight": 1.1, "medium": 1.5, "loose": 2.0}  # side of the square in longer sides of the object's box
SCALES = (5, 7, 10)  # tile side = image height / scale


@dataclass(frozen=True)
class Config:
    """Measure the mini models on held-out worlds."""

    models: tuple[Literal["clip", "dino", "sam"], ...] = ("clip", "dino", "sam")
    """What to measure."""
    out: Path = Path("docs/reports/mini.json")
    """The report; figures of models that are not measured stay as they are."""
    crop_worlds: int = 200
    """Worlds for zero-shot classification, one view each."""
    image_worlds: int = 12
    """Worlds for whole images, one view each."""


def held_out_views(count: int) -> Iterator[tuple[TabletopWorld, Render]]:
    """World and one of its 30 views, another one for each seed."""
    for seed in tqdm(range(FIRST_SEED, FIRST_SEED + count)):
        world = make_tabletop(seed)
        yield world, render(world, world.cameras()[seed % 30])


def visible_objects(world: TabletopWorld, picture: Render) -> list[int]:
    """Class ids of the objects of which enough is seen."""
    pixels = np.bincount(picture.labels.ravel(), minlength=len(world.classes))[: len(world.objects)]
    return np.flatnonzero(pixels >= MIN_VISIBLE).tolist()


class Crop(NamedTuple):
    """A square around an object."""

    image: Tensor
    """float (3, size, size) in 0..1"""
    thing: int
    """What the object is, an index of THINGS."""
    clear: bool
    """Whether it has the largest share of all objects in the crop, by centre-weighted area."""


def object_crops(world: TabletopWorld, picture: Render, factor: float, size: int) -> Iterator[Crop]:
    """The visible objects in squares whose side is `factor` times the longer side of the object's box."""
    for k in visible_objects(world, picture):
        rows, columns = np.nonzero(picture.labels == k)
        top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        side = factor * max(bottom - top, right - left)
        window = Window.around((top + bottom) / 2, (left + right) / 2, side)
        shares = window.shares(picture.labels, len(world.objects) + 2)[: len(world.objects)]
        image = window.image(picture.rgb, size) / 255
        yield Crop(image, THING_ID[world.classes[k]], int(shares.argmax()) == k)


def zero_shot(clip: Clip, count: int) -> dict:
    """Top-1 over all nouns and over all colour-pattern-noun combinations, bare prompts, per kind of crop.

    A crop counts if the object at its centre is also the one that it mostly shows (`mini_crops.dominant`); the
    figures that end in `any_crop` also count those before which another object stands.
    """
    views = list(held_out_views(count))
    nouns, things = clip.encode_texts(NOUNS), clip.encode_texts(THINGS[:N_OBJECTS])
    figures = {}
    for kind, factor in CROPS.items():
        crops = [c for world, picture in views for c in object_crops(world, picture, factor, clip.image_size)]
        truth, clear = np.array([c.thing for c in crops]), np.array([c.clear for c in crops])
        x = F.normalize(clip.encode_images(torch.stack([c.image for c in crops])), dim=-1)
        right_noun = (x @ nouns.T).argmax(1).numpy() == NOUN_OF_THING[truth]
        right_thing = (x @ things.T).argmax(1).numpy() == truth
        new = HELD_OUT[truth]
        figures[kind] = {
            "nouns": float(right_noun[clear].mean()),
            "combinations": float(right_thing[clear].mean()),
            "nouns_never_trained": float(right_noun[clear & new].mean()),
            "combinations_never_trained": float(right_thing[clear & new].mean()),
            "nouns_any_crop": float(right_noun.mean()),
            "combinations_any_crop": float(right_thing.mean()),
            "crops": int(clear.sum()),
            "crops_never_trained": int((clear & new).sum()),
            "crops_of_another_object": int((~clear).sum()),
        }
    return figures


def tile_scores(clip: Clip, rgb: np.ndarray, texts: Tensor) -> Tensor:
    """Scores (k, h, w): similarity of square tiles, mean over the tiles on a pixel, then over the scales."""
    h, w, _ = rgb.shape
    image = torch.from_numpy(rgb).permute(2, 0, 1).float() / 255
    per_scale = []
    for scale in SCALES:
        side = h // scale
        corners = [(r, c) for r in _starts(h, side) for c in _starts(w, side)]
        tiles = torch.stack([image[:, r : r + side, c : c + side] for r, c in corners])
        parts = [clip.encode_images(part) for part in tiles.split(256)]
        similarity = F.normalize(torch.cat(parts), dim=-1) @ texts.T
        total = torch.zeros(len(texts) + 1, h, w)
        for (r, c), values in zip(corners, F.pad(similarity, (0, 1), value=1.0), strict=True):
            total[:, r : r + side, c : c + side] += values[:, None, None]
        per_scale.append(total[:-1] / total[-1])
    return torch.stack(per_scale).mean(0)


def _starts(length: int, side: int) -> list[int]:
    """First pixels of tiles a quarter of a side apart, the last one at the border."""
    return sorted({*range(0, length - side, max(side // 4, 1)), length - side})


def raw_teacher(clip: Clip, count: int) -> dict:
    """Mean IoU (over the classes in an image, then over images) and pixel accuracy of the argmax."""
    ious, accuracies = [], []
    for world, picture in held_out_views(count):
        scores = tile_scores(clip, picture.rgb, clip.encode_texts(list(world.classes)))
        predicted, truth = scores.argmax(0).numpy(), picture.labels
        classes = np.unique(truth)
        ious.append(np.mean([_iou(predicted == k, truth == k) for k in classes]))
        accuracies.append((predicted == truth).mean())
    return {"teacher_miou": float(np.mean(ious)), "teacher_accuracy": float(np.mean(accuracies))}


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / max((a | b).sum(), 1)


def same_object_auc(dino: Dino, count: int) -> dict:
    """AUC of the cosine of two patches for "of one object", over all pairs of an image, mean over images.

    A patch belongs to the class of most of its pixels; table and wall are classes as well. The second figure
    takes only pairs of which both are on objects.
    """
    everything, objects = [], []
    for world, picture in held_out_views(count):
        image = torch.from_numpy(picture.rgb).permute(2, 0, 1)[None].float() / 255
        tokens = F.normalize(dino.tokens(image)[0].flatten(0, 1), dim=-1).numpy()
        labels = majority(picture.labels, dino.patch, len(world.classes)).ravel()
        everything.append(pair_auc(tokens, labels))
        on_object = labels < len(world.objects)
        objects.append(pair_auc(tokens[on_object], labels[on_object]))
    return {"auc": float(np.mean(everything)), "auc_between_objects": float(np.mean(objects))}


def majority(labels: np.ndarray, patch: int, k: int) -> np.ndarray:
    """The most frequent label of each patch."""
    h, w = labels.shape
    blocks = labels.reshape(h // patch, patch, w // patch, patch)
    return np.stack([(blocks == c).sum((1, 3)) for c in range(k)]).argmax(0)


def pair_auc(tokens: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve of cosine against "same label", over all unordered pairs."""
    i, j = np.triu_indices(len(labels), 1)
    return float(roc_auc_score(labels[i] == labels[j], (tokens @ tokens.T)[i, j]))


def point_masks(predictor: SamPredictor, count: int) -> dict:
    """IoU of the mask of one click, a random pixel of each visible object, table and wall.

    `iou` takes of the three masks the one that the model scores highest; `iou_oracle` the best of the three.
    """
    rng = np.random.default_rng(0)
    clicks, of_object = [], []
    for world, picture in held_out_views(count):
        predictor.set_image(picture.rgb)
        objects = visible_objects(world, picture)
        backgrounds = [k for k in np.unique(picture.labels).tolist() if k >= len(world.objects)]
        clicks += [_click(predictor, picture.labels == k, rng) for k in objects + backgrounds]
        of_object += [True] * len(objects) + [False] * len(backgrounds)
    ious, of_objects = np.array(clicks), np.array(of_object)
    return {
        "iou": float(ious[:, 0].mean()),
        "iou_oracle": float(ious[:, 1].mean()),
        "iou_objects": float(ious[of_objects, 0].mean()),
        "iou_table_and_wall": float(ious[~of_objects, 0].mean()),
        "masks": len(ious),
    }


def region_masks(predictor: SamPredictor) -> dict[str, dict[str, float]]:
    """The same of the connected regions of one kind in photos of streets and rooms."""
    rng, figures = np.random.default_rng(0), {}
    for name in WORLDS:
        clicks, views = [], scenery_views(name, FIRST_SEED)
        for rgb, labels in zip(views.rgb, views.labels, strict=True):
            predictor.set_image(np.ascontiguousarray(rgb))
            ids = regions(labels)
            large = np.flatnonzero(np.bincount(ids.ravel()) >= MIN_VISIBLE)
            clicks += [_click(predictor, ids == k, rng) for k in large]
        iou, oracle = np.array(clicks).mean(0)
        figures[name] = {"iou": float(iou), "iou_oracle": float(oracle), "masks": len(clicks)}
    return figures


def _click(predictor: SamPredictor, truth: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """IoU of the mask that the model scores highest, and the best of the three."""
    row, column = rng.choice(np.argwhere(truth))
    point = np.array([[column + 0.5, row + 0.5]])
    masks, scores, _ = predictor.predict(point, np.array([1]), multimask_output=True)
    ious = [_iou(np.asarray(mask), truth) for mask in masks]
    return ious[int(scores.argmax())], max(ious)


def measure(model: str, config: Config) -> dict:
    """All figures of one of the mini models."""
    start = time.monotonic()
    if model == "clip":
        clip = load_clip("mini")
        figures = zero_shot(clip, config.crop_worlds) | raw_teacher(clip, config.image_worlds)
        figures["scenery"] = scenery_figures(clip, FIRST_SEED)
        figures["fingerprint"] = clip.fingerprint
    elif model == "dino":
        dino = load_dino("mini")
        figures = same_object_auc(dino, config.image_worlds) | {"fingerprint": dino.fingerprint}
    else:
        predictor = SamPredictor(load_sam("mini").model)
        figures = point_masks(predictor, config.image_worlds) | {"scenery": region_masks(predictor)}
    return figures | {"seconds": round(time.monotonic() - start, 1)}


def main(config: Config) -> None:
    """Measure, print and merge into the report."""
    report = json.loads(config.out.read_text()) if config.out.exists() else {}
    report |= {
        "task": "mini models on held-out worlds",
        "protocol": "world seeds from 50000, view seed % 30, 320x240, bare prompts; see scripts/eval_mini.py",
        "crop_factors": CROPS,
        "min_visible_pixels": MIN_VISIBLE,
        "tile_scales": SCALES,
        "config": {k: v for k, v in asdict(config).items() if k not in ("models", "out")},
        "versions": {
            "torch": torch.__version__,
            "open_clip": open_clip.__version__,
            "timm": timm.__version__,
        },
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} thread(s), CPU",
    }
    for model in config.models:
        report[model] = measure(model, config)
        print(model, json.dumps(report[model], indent=2))
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Config))
