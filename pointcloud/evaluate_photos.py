"""How well photos are segmented, by CLIP or by the network of photos of a run, and what both networks say together."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm import tqdm

from ovs3d.errors import InputError
from ovs3d.images import read_ids, read_image
from ovs3d.prompts.vocabulary import Vocabulary
from pointcloud.cns_samples import votes_for_points
from pointcloud.config import Pairing
from pointcloud.evaluate import Answer, answer
from pointcloud.frame import Photo
from pointcloud.image_runs import ImageRun
from pointcloud.index import IGNORE, Index
from pointcloud.paired import paired_scans
from pointcloud.pixel_labels import GridLabels, PixelLabels
from pointcloud.recent import Recent
from pointcloud.runs import TEMPERATURE, Run
from pointcloud.samples import Samples

PROTOCOL = "labels of all pixels, pooled over the photos; absent classes are skipped"


Placed = tuple[int, Photo]
"""The position of a frame, and a photo of it."""


def asked_photos(index: Index, positions: list[int], labelled: bool) -> list[Placed]:
    """The photos of some frames, all or those that have truth.

    Raises:
        InputError: none has truth.
    """
    photos = [(position, photo) for position in positions for photo in index[position].photos]
    found = [each for each in photos if each[1].labels] if labelled else photos
    if not found:
        raise InputError(
            f"{index.dataset.root}: no photo of these frames has labels to compare with; --predictions writes what "
            "pixels are called"
        )
    return found


def photo_answers(called: PixelLabels, photos: list[Placed], k: int) -> Iterator[Answer]:
    """The labels of each photo.

    Args:
        k: classes of the index.

    Raises:
        InputError: truth has ids of no class.
    """
    for position, photo in tqdm(photos, "photos", unit="photo", leave=False):
        found = called.of(photo)
        truth = torch.full_like(found, IGNORE) if photo.labels is None else _truth(photo.labels, k)
        yield Answer(position, found, truth, torch.ones(len(found)), photo)


def _truth(path: Path, k: int) -> Int64[Tensor, " n"]:
    truth = read_ids(path).flatten().long()
    foreign = truth[(truth >= k) & (truth != IGNORE)].unique().tolist()
    if foreign:
        raise InputError(f"{path}: {foreign} are ids of no class; expected those of the index, or {IGNORE}")
    return truth


@dataclass(frozen=True, eq=False, kw_only=True)
class NetworkLabels(GridLabels):
    """What the network of photos of a run calls them."""

    run: ImageRun
    _grids: Recent[Path, Float[Tensor, "t gh gw"]] = field(default_factory=lambda: Recent(8), init=False)
    """Each photo is asked once, its parts one after the other."""

    @property
    def temperature(self) -> float:
        return TEMPERATURE

    def similarities(self, photo: Path) -> Float[Tensor, "t gh gw"]:
        return self.run.similarities(read_image(photo), self.text)


def together(
    run: Run, photos: PixelLabels, samples: Samples, vocabulary: Vocabulary, how: Pairing
) -> Iterator[Answer]:
    """Labels of points from the mean of the probabilities of both networks; of the one where no photo shows a point."""
    for frame, scan, pairs, batch in paired_scans(samples, how):
        own = run.logits(batch.to(run.device).points, vocabulary, photos.text).softmax(dim=1).cpu()
        seen = votes_for_points(photos, frame, scan, pairs)
        both = torch.where(seen.any(dim=1, keepdim=True), (own + seen) / 2, own)
        yield answer(both, batch, len(vocabulary.distractors))
