"""CLIP's answers for points by themselves: the raw labels that training starts from."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from ovs3d.query import labels, probabilities, similarity
from pointcloud.cns_samples import votes_for_points
from pointcloud.config import Pairing
from pointcloud.evaluate import Answer
from pointcloud.objectives.distillation import over_photos
from pointcloud.paired import look, paired_scans
from pointcloud.pixel_labels import ClipLabels
from pointcloud.refine import UNSURE
from pointcloud.runs import TEMPERATURE
from pointcloud.samples import Samples
from pointcloud.teacher import Teacher


def projected(
    teacher: Teacher, samples: Samples, how: Pairing, embeddings: Float[Tensor, "k d"], distractors: int
) -> Iterator[Answer]:
    """What CLIP calls the points of each scan, from the mean of what their photos show.

    Args:
        embeddings: of the classes, and after them of distractors.

    Returns:
        Answers; -1 for points that no photo shows, with score 0.
    """
    for frame, scan, pairs, batch in paired_scans(samples, how):
        point, seen = look(teacher, pairs, frame.photos)
        rows, which = point.unique(return_inverse=True)
        features = over_photos(seen, which, len(rows))
        similarities = similarity(features, embeddings)
        prediction, score = torch.full((len(scan.xyz),), -1), torch.zeros(len(scan.xyz))
        prediction[rows] = labels(similarities, distractors)
        score[rows] = probabilities(similarities, TEMPERATURE).amax(dim=1)
        yield Answer(batch.frames[0], prediction, batch.labels, score)


def projected_votes(clip: ClipLabels, samples: Samples, how: Pairing) -> Iterator[Answer]:
    """The same from the mean of the votes of the masks that show a point."""
    for frame, scan, pairs, batch in paired_scans(samples, how):
        scores = votes_for_points(clip, frame, scan, pairs)
        said = clip.labels(scores).clamp_min(UNSURE)
        yield Answer(batch.frames[0], said, batch.labels, scores.amax(dim=1))
