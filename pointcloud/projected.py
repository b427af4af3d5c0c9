"""CLIP's answers for points by themselves: the raw labels that training starts from."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from ovs3d.query import labels, probabilities, similarity
from pointcloud.cns_samples import votes_for_points
from pointcloud.config import Pairing
from pointcloud.evaluate import Answer
from pointcloud.objectives.distillation import over_photos
from pointcloud.paired import look
from pointcloud.pairing import pair
from pointcloud.pixel_labels import ClipLabels
from pointcloud.refine import UNSURE
from pointcloud.runs import TEMPERATURE
from pointcloud.samples import Samples, scan_file
from pointcloud.scans import read_scan
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
    for item in tqdm(range(len(samples)), "scans", unit="scan", leave=False):
        frame = samples.frame(item)
        scan = read_scan(scan_file(frame), samples.index.dataset)
        point, seen = look(teacher, pair(scan, frame.photos, how), frame.photos)
        rows, which = point.unique(return_inverse=True)
        features = over_photos(seen, which, len(rows))
        similarities = similarity(features, embeddings)
        prediction, score = torch.full((len(scan.xyz),), -1), torch.zeros(len(scan.xyz))
        prediction[rows] = labels(similarities, distractors)
        score[rows] = probabilities(similarities, TEMPERATURE).amax(dim=1)
        yield Answer(samples.positions[item], prediction, samples.batch(scan, (0, item)).labels, score)


def projected_votes(clip: ClipLabels, samples: Samples, how: Pairing) -> Iterator[Answer]:
    """The same from the mean of the votes of the masks that show a point."""
    for item in tqdm(range(len(samples)), "scans", unit="scan", leave=False):
        frame = samples.frame(item)
        scan = read_scan(scan_file(frame), samples.index.dataset)
        scores = votes_for_points(clip, frame, scan, pair(scan, frame.photos, how))
        truth = samples.batch(scan, (0, item)).labels
        yield Answer(
            samples.positions[item], clip.labels(scores).clamp_min(UNSURE), truth, scores.amax(dim=1)
        )
