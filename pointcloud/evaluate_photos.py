"""How well photos are segmented, by CLIP or by the network of photos of a run, and what both networks say together."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm import tqdm

from ovs3d.errors import InputError
from ovs3d.images import read_ids, read_image
from ovs3d.prompts.vocabulary import Vocabulary
from ovs3d.query import labels, probabilities
from pointcloud.clip_labels import ClipLabels
from pointcloud.config import Pairing
from pointcloud.evaluate import Answer, answer
from pointcloud.frame import Photo
from pointcloud.image_runs import ImageRun
from pointcloud.index import IGNORE, Index
from pointcloud.pairing import pair
from pointcloud.refine import UNSURE, normalised
from pointcloud.runs import TEMPERATURE, Run
from pointcloud.samples import Samples, scan_file
from pointcloud.scans import read_scan
from pointcloud.teacher import pixels_of, sample

PROTOCOL = "labels of all pixels, pooled over the photos; absent classes are skipped"
Segmenter = Callable[[Photo], Int64[Tensor, " n"]]
"""Class ids of all pixels of a photo, row by row; -1: no answer."""


def photo_answers(segment: Segmenter, index: Index, positions: list[int]) -> Iterator[Answer]:
    """The labels of each photo that has truth.

    Raises:
        InputError: none has, or one has ids of no class.
    """
    photos = [(position, photo) for position in positions for photo in index[position].photos if photo.labels]
    if not photos:
        raise InputError(f"{index.dataset.root}: no photo of these frames has labels to compare with")
    for position, photo in tqdm(photos, "photos", unit="photo", leave=False):
        assert photo.labels is not None
        truth = read_ids(photo.labels).flatten().long()
        foreign = truth[(truth >= len(index.dataset.classes)) & (truth != IGNORE)].unique().tolist()
        if foreign:
            raise InputError(
                f"{photo.labels}: {foreign} are ids of no class; expected those of the index, or {IGNORE}"
            )
        found = segment(photo)
        yield Answer(position, found, truth, torch.ones(len(found)))


def by_clip(clip: ClipLabels) -> Segmenter:
    """CLIP's labels, brought to one in masks."""

    def segment(photo: Photo) -> Int64[Tensor, " n"]:
        pixels = pixels_of(photo)
        return clip.labels(clip.scores(photo, pixels, clip.mask_at(photo, pixels))).clamp_min(UNSURE)

    return segment


def by_network(run: ImageRun, embeddings: Float[Tensor, "t d"], distractors: int) -> Segmenter:
    """What a network says."""

    def segment(photo: Photo) -> Int64[Tensor, " n"]:
        grid = run.similarities(read_image(photo.path), embeddings)
        return labels(sample(grid, photo, pixels_of(photo)), distractors)

    return segment


def together(
    run: Run, image: ImageRun, samples: Samples, vocabulary: Vocabulary, how: Pairing
) -> Iterator[Answer]:
    """Labels of points from the mean of the probabilities of both networks; of the one where no photo shows a point."""
    embeddings = run.embeddings(vocabulary)
    assert embeddings is not None
    for item in tqdm(range(len(samples)), "scans", unit="scan", leave=False):
        frame = samples.frame(item)
        scan = read_scan(scan_file(frame), samples.index.dataset)
        batch = samples.batch(scan, (0, item))
        own = run.logits(batch.to(run.device).points, vocabulary, embeddings).softmax(dim=1).cpu()
        pairs = pair(scan, frame.photos, how)
        seen = torch.zeros_like(own)
        for number, photo in enumerate(frame.photos):
            mine = pairs.photo == number
            point = torch.from_numpy(pairs.point[mine])
            grid = image.similarities(read_image(photo.path), embeddings)
            found = probabilities(sample(grid, photo, torch.from_numpy(pairs.row_col[mine])), TEMPERATURE)
            seen.index_add_(0, point, found)
        both = torch.where(seen.any(dim=1, keepdim=True), (own + normalised(seen)) / 2, own)
        yield answer(both, batch, len(vocabulary.distractors))
