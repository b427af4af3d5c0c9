"""How well photos are segmented, by CLIP or by the network of photos of a run, and what both networks say together."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
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


def labelled_photos(index: Index, positions: list[int]) -> list[tuple[int, Photo]]:
    """The photos that have truth, and the positions of their frames.

    Raises:
        InputError: none has.
    """
    photos = [(position, photo) for position in positions for photo in index[position].photos if photo.labels]
    if not photos:
        raise InputError(f"{index.dataset.root}: no photo of these frames has labels to compare with")
    return photos


def photo_answers(called: PixelLabels, index: Index, positions: list[int]) -> Iterator[Answer]:
    """The labels of each photo that has truth.

    Raises:
        InputError: none has, or one has ids of no class.
    """
    for position, photo in tqdm(labelled_photos(index, positions), "photos", unit="photo", leave=False):
        assert photo.labels is not None
        truth = read_ids(photo.labels).flatten().long()
        foreign = truth[(truth >= len(index.dataset.classes)) & (truth != IGNORE)].unique().tolist()
        if foreign:
            raise InputError(
                f"{photo.labels}: {foreign} are ids of no class; expected those of the index, or {IGNORE}"
            )
        found = called.of(photo)
        yield Answer(position, found, truth, torch.ones(len(found)))


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
