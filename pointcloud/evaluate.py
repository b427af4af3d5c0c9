"""How well a run segments the scans of a split: labels of all points, pooled counts."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm import tqdm

from ovs3d.eval.confusion import Confusion
from ovs3d.eval.miou import miou, pixel_accuracy
from ovs3d.prompts.vocabulary import Vocabulary
from ovs3d.query import labels
from pointcloud.config import Augment, Pairing
from pointcloud.frame import Photo
from pointcloud.index import IGNORE, Index
from pointcloud.pairing import pair
from pointcloud.runs import Run
from pointcloud.samples import Batch, Samples, scan_file
from pointcloud.scans import read_scan


@dataclass(frozen=True, eq=False)
class Answer:
    """What a run says of one scan."""

    position: int
    """Of the frame in its index."""
    prediction: Int64[Tensor, " n"]
    """Class id of each point, -1 where there is no answer."""
    truth: Int64[Tensor, " n"]
    """255 where there is none."""
    score: Float[Tensor, " n"]
    """Probability of the predicted class among those that were asked for; 1 where there is none, as of photos."""
    photo: Photo | None = None
    """Whose pixels these are, row by row; None: points."""


def answers(run: Run, samples: Samples, vocabulary: Vocabulary, rotations: int = 1) -> Iterator[Answer]:
    """Each scan's labels; with several rotations from the mean of the probabilities over turned copies."""
    embeddings = run.embeddings(vocabulary)
    turned = Samples(
        samples.index, samples.positions, samples.net, Augment(flip=False, scale=0.0), samples.seed
    )
    for item in tqdm(range(len(samples)), "scans", unit="scan", leave=False):
        copies = [samples[0, item], *(turned[copy, item] for copy in range(1, rotations))]
        batches = [copy.to(run.device) for copy in copies]
        probability = torch.stack(
            [run.logits(each.points, vocabulary, embeddings).softmax(dim=1) for each in batches]
        ).mean(dim=0)
        yield answer(probability, batches[0], len(vocabulary.distractors))


def answer(probability: Float[Tensor, "n k"], batch: Batch, distractors: int) -> Answer:
    """The best class of each point of one scan."""
    prediction = labels(probability, distractors)
    score = probability.max(dim=1).values
    return Answer(batch.frames[0], prediction.cpu(), batch.labels.cpu(), score.cpu())


PROTOCOL = "labels of all points, pooled over the scans; absent classes are skipped"


def confusion_of(found: Iterator[Answer], k: int, also: Sequence[Callable[[Answer], None]] = ()) -> Confusion:
    """Counts over all answers; each is also given to other consumers, such as a writer of files."""
    confusion = Confusion.empty(k)
    for each in found:
        confusion = confusion.update(each.truth, each.prediction)
        for consumer in also:
            consumer(each)
    return confusion


@dataclass(eq=False)
class OfShown:
    """Counts of the points that a photo of their frame shows, alone."""

    index: Index
    how: Pairing
    confusion: Confusion
    labelled: int = 0
    """Points with truth that were met, shown or not."""

    def __call__(self, answer: Answer) -> None:
        frame = self.index[answer.position]
        pairs = pair(read_scan(scan_file(frame), self.index.dataset), frame.photos, self.how)
        point = torch.from_numpy(pairs.point).unique()
        self.confusion = self.confusion.update(answer.truth[point], answer.prediction[point])
        self.labelled += int((answer.truth != IGNORE).sum())

    def metrics(self) -> dict[str, float]:
        """Share of the points that is shown, and figures of these alone."""
        return {
            "shown": float(self.confusion.counts.sum()) / self.labelled if self.labelled else math.nan,
            "miou_shown": miou(self.confusion),
            "accuracy_shown": pixel_accuracy(self.confusion),
        }
