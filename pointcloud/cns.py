"""``ovs3d-points pretrain cns``: a network of photos and one of points learn from CLIP, SAM and each other.

Chen et al., "Towards Label-free Scene Understanding by Vision Foundation Models" (NeurIPS 2023).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int64
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from tqdm import tqdm

from ovs3d.errors import InputError, check_range
from ovs3d.prompts.vocabulary import Vocabulary
from pointcloud.cns_samples import CnsSamples, MemberBatch
from pointcloud.image_runs import ImageAbout, write_image_net
from pointcloud.lightning_module import new_model
from pointcloud.masks import check_masks, load_masks
from pointcloud.model import PointModel
from pointcloud.nets.photos import STRIDE, PhotoNet
from pointcloud.objectives.cns import latent_consistency, switched
from pointcloud.objectives.labels import label_cross_entropy
from pointcloud.pixel_labels import FOREIGN, PixelLabels, clip_labels
from pointcloud.pretrain import PairedTraining, about_texts, photographed, say_if_never, taught_words, train
from pointcloud.refine import UNSURE, decided, mean_in_masks, votes
from pointcloud.runs import TEXT, write_run
from pointcloud.sam_features import SamFeatures, axes_of, load_sam_features
from pointcloud.samples import Samples
from pointcloud.teacher import Teacher, at_places, load_teacher

if TYPE_CHECKING:
    from pointcloud.pretrain_command import Cns

LATENT = "latent_feature"
"""Name of the heads that agree with SAM's features."""


class BothNetworks(PointModel):
    """The network of points, and that of photos beside it; None: points learn alone."""

    def __init__(self, model: PointModel, image: PhotoNet | None) -> None:
        nn.Module.__init__(self)
        self.net, self.image = model.net, image

    def parameter_groups(self, lr: float, lr_head: float) -> list[dict]:
        of_points = [each for each in self.named_parameters() if not each[0].startswith("image.")]
        of_photos = [] if self.image is None else self.image.parameter_groups(lr, lr_head)
        return [*self._grouped(of_points, lr, lr_head), *of_photos]


class CrossModal(PairedTraining):
    """Both networks learn one label for all that is in a mask; later it also comes from themselves."""

    model: BothNetworks
    samples: CnsSamples
    text: Tensor
    axes: Tensor
    """Directions of SAM's features that are kept. In checkpoints: a run that goes on agrees with the same."""

    def __init__(self, model: BothNetworks, samples: CnsSamples, text: Tensor, command: Cns) -> None:
        """
        Args:
            text: embeddings of the classes.
        """
        super().__init__(model, command.fit, samples)
        self.command = command
        d = 0 if samples.sam is None else samples.sam.d
        self.register_buffer("text", text, persistent=False)
        self.register_buffer("axes", torch.eye(d)[:, : command.latent.channels or d])
        self.slow = copy.deepcopy(model).requires_grad_(False) if command.ema else None

    def setup(self, stage: str) -> None:
        """SAM has looked at all photos by now, where its features are kept."""
        if self.samples.sam is not None and self.command.latent.channels:
            self.axes.copy_(axes_of(self.samples.sam, self.samples.photos(), self.axes.shape[1]))

    def losses(self, batch: MemberBatch) -> Mapping[str, Tensor]:
        torch.manual_seed(self._seed())  # of DeepLab's dropout: the same wherever training resumes
        seen, felt = self._answers(self.model, batch)
        pixels, points = self._logits(seen, felt, batch)
        labels, shown = self._labels(batch, pixels.detach(), points.detach()), batch.point >= 0
        balance, inside = self.command.balance, batch.inside
        parts = {"points": label_cross_entropy(points, labels[shown], balance)}
        if seen is not None:
            parts["pixels"] = label_cross_entropy(pixels, labels.masked_fill(~inside, UNSURE), balance)
        if seen is not None and self.axes.shape[1]:
            both, known = shown & inside, inside[shown]
            of_pixels = at_members(seen[LATENT], batch.photo[both], batch.place[both])
            of_points = felt[LATENT].float()[known]
            with self.full_precision():
                of_sam = batch.latent[known] @ self.axes
            agreed = latent_consistency(of_pixels, of_points, of_sam)
            parts["latent"] = self.command.latent.weight * agreed
        return parts

    def on_train_batch_start(self, *_: object) -> None:
        """The slow copies follow the step before: what a checkpoint after it holds lacks no more than this."""
        if self.slow is not None:
            for slow, fast in zip(
                self.slow.state_dict().values(), self.model.state_dict().values(), strict=True
            ):
                if slow.is_floating_point():
                    slow.lerp_(fast, 1 - self.command.ema)
                else:
                    slow.copy_(fast)

    def _answers(
        self, model: BothNetworks, batch: MemberBatch
    ) -> tuple[Mapping[str, Tensor] | None, Mapping[str, Tensor]]:
        """Of the network of photos, if there is one, classes in the place of CLIP's features; of that of points."""
        seen = None if model.image is None else model.image(batch.images, {TEXT: self.text})
        return seen, model(batch.scans.points, batch.shown)

    def _logits(
        self, seen: Mapping[str, Tensor] | None, felt: Mapping[str, Tensor], batch: MemberBatch
    ) -> tuple[Tensor, Tensor]:
        """Of all members by the network of photos, and of those that show points by that of points."""
        with self.full_precision():
            points = felt[TEXT].float() @ self.text.T
            if seen is None:
                return points.new_zeros(len(batch.point), len(self.text)), points
            return at_members(seen[TEXT], batch.photo, batch.place), points

    @torch.no_grad()
    def _labels(self, batch: MemberBatch, pixels: Tensor, points: Tensor) -> Tensor:
        """What members are called in this step: by CLIP, by the network of photos, or by that of points."""
        of_clip = batch.label.clamp_min(UNSURE)
        if self.current_epoch < self.command.switch_from:
            return of_clip
        choice = self._choice(batch.mask)
        if not choice.any():
            return of_clip
        if self.slow is not None:
            self.slow.eval()
            pixels, points = self._logits(*self._answers(self.slow, batch), batch)
        how = self.command
        of_photos = votes(pixels.softmax(dim=1), how.refine).masked_fill(~batch.inside[:, None], 0)
        of_points = torch.zeros_like(pixels)
        of_points[batch.point >= 0] = votes(points.softmax(dim=1), how.refine)
        said = [mean_in_masks(each, batch.mask) for each in (of_photos, of_points)]
        sources = torch.stack([of_clip, *(decided(each, how.refine, how.margin) for each in said)])
        return switched(sources, choice).masked_fill(batch.label == FOREIGN, UNSURE)

    def _choice(self, mask: Tensor) -> Tensor:
        """The source of each member: 0 CLIP, 1 the network of photos, 2 that of points."""
        random = np.random.default_rng(self._seed())
        shares = np.array(self.command.switch_probs) / sum(self.command.switch_probs)
        if self.command.switch_unit == "step":
            return torch.full_like(mask, int(random.choice(3, p=shares)))
        if not len(mask):
            return mask
        alone = mask < 0
        unit = torch.where(alone, alone.cumsum(0) + mask.max(), mask)
        drawn = random.choice(3, size=int(unit.max()) + 1, p=shares)
        return torch.from_numpy(drawn).to(mask.device)[unit]

    def _seed(self) -> int:
        """Of all that is drawn in this step."""
        return int(np.random.SeedSequence((self.fit.seed, self.global_step)).generate_state(1)[0])


def at_members(
    grid: Float[Tensor, "p c gh gw"], photo: Int64[Tensor, " n"], place: Float[Tensor, "n 2"]
) -> Float[Tensor, "n c"]:
    """Values of grids, which cover photos, at places of these, between the centres of cells linearly.

    Args:
        photo: which one each place is of.
        place: (x, y), -1 and 1 at the borders of the photo.
    """
    rows = [(photo == number).nonzero()[:, 0] for number in range(len(grid))]
    values = [at_places(each, place[mine]) for each, mine in zip(grid.float(), rows, strict=True)]
    return torch.cat(values)[torch.cat(rows).argsort()]


def cns(command: Cns) -> None:
    """Cross-modality noisy supervision: train on what CLIP calls the masks of photos, and write the run.

    Raises:
        InputError: shares of sources that are none, one photo in a step, one class, unknown weights, or as `learn`.
    """
    _check(command)
    scans = photographed(command)
    _check_photos(scans, command)
    dataset = scans.index.dataset
    teacher = load_teacher(command.teacher, dataset.root)
    vocabulary = taught_words(command, dataset.classes)
    masks = None if command.refine == "none" else load_masks(command.masks, dataset.root)
    template = command.teacher.template
    labels = clip_labels(vocabulary, teacher, template, masks, command.refine, command.margin)
    learn(command, scans, labels, teacher, vocabulary)


def learn(
    command: Cns, scans: Samples, labels: PixelLabels, teacher: Teacher, vocabulary: Vocabulary
) -> None:
    """Train both networks on what pixels are called, and write the run.

    Args:
        scans: those that have photos, as `photographed` finds them.
        labels: what pixels are called.
        teacher: the one whose texts the run answers to.
        vocabulary: the words of the classes, which the run will know.

    Raises:
        InputError: more latent channels than SAM has, a backbone that cannot be taken, a file that cannot be read, or
            a run with other settings in the folder.
    """
    sam = _sam(command, scans) if command.latent.weight else None
    samples = CnsSamples(scans, command.pairs, command.photos, labels, command.image, sam, command.multi_view)
    heads = {TEXT: teacher.d}
    if sam is not None:
        if command.latent.channels > sam.d:
            raise InputError(
                f"--latent.channels: SAM has {sam.d} channels, {command.latent.channels} are asked for"
            )
        heads[LATENT] = command.latent.channels or sam.d
        _say_size(sam, samples.photos())
    torch.manual_seed(command.fit.seed)  # the same start, whatever was loaded before
    model = new_model(command, heads)
    torch.manual_seed(command.fit.seed)
    name = command.image.name
    image = None if name == "none" else PhotoNet(name, heads)
    if image is not None and command.image.init is not None:
        image.load_backbone(command.image.init)
    text = labels.text[: labels.known]
    training = CrossModal(BothNetworks(model, image), samples, text, command)
    about = about_texts(command, heads, teacher, vocabulary.names, vocabulary.synonyms)
    if train(training, about.settings, command.out):
        if image is not None and name != "none":
            about_image = ImageAbout(name, heads, teacher.clip.weights, command.image.width)
            write_image_net(command.out, about_image, image)
        write_run(command.out, about, model)  # the last of all files: it says that there is a run


def _sam(command: Cns, scans: Samples) -> SamFeatures:
    """By default the one that finds the masks, if there is one."""
    latent = replace(command.latent, weights=command.latent.weights or command.masks.weights)
    return load_sam_features(latent, scans.index.dataset.root)


@rank_zero_only
def _say_size(sam: SamFeatures, photos: list[Path]) -> None:
    """What SAM's features take on the disk, before the first of them is computed."""
    if sam.store is not None:
        size = tqdm.format_sizeof(sam.bytes_of(photos), "B")
        print(f"SAM's features of {len(photos)} photos: {size} in {sam.store.folder}")


def _check(command: Cns) -> None:
    probabilities, image = command.switch_probs, command.image
    if not (min(probabilities) >= 0 and abs(sum(probabilities) - 1) < 1e-3):
        raise InputError(
            f"--switch-probs are three shares that sum to 1, of CLIP, photos and points; not {probabilities}"
        )
    check_range("ema", command.ema, 0, 0.999999)
    check_range("switch-from", command.switch_from, 0, 10**6)
    check_range("margin", command.margin, 0, 1)
    check_range("balance", command.balance, 0, 1)
    check_range("image.pixels", image.pixels, 1, 10**7)
    check_range("image.height", image.height, 32, 10**4)
    check_range("image.width", image.width, 32, 10**4)
    if image.height % STRIDE or image.width % STRIDE:
        raise InputError(
            f"--image.height and --image.width are multiples of {STRIDE}, not {image.height} and {image.width}"
        )
    check_range("image.jitter", image.jitter, 0, 1)
    check_range("latent.channels", command.latent.channels, 0, 10**4)
    check_range("latent.weight", command.latent.weight, 0, 1e6)
    check_masks(command.masks)
    alone = image.name == "none"
    if alone and (probabilities[1] or command.latent.weight or image.init):
        raise InputError(
            "--image.name none: points learn alone, so --switch-probs has no share of photos, --latent.weight is 0 "
            "and there is no --image.init"
        )
    if command.latent.weight and not command.latent.keep and command.fit.workers:
        raise InputError("--latent.no-keep asks SAM in each step: leave --fit.workers at 0")
    if command.ema and not any(probabilities[1:]):
        raise InputError("--ema is about labels of the networks: --switch-probs 1 0 0 takes none from them")
    if any(probabilities[1:]):
        say_if_never("switch-from", command.switch_from, command.fit)


def _check_photos(scans: Samples, command: Cns) -> None:
    """Refuse frames whose photos are too few for a step.

    Raises:
        InputError: there is one.
    """
    fewest = min(len(scans.index[each].photos) for each in scans.positions)
    own = min(command.photos, fewest) if command.photos else fewest
    if own * command.fit.batch_size < 2 and command.image.name.startswith("deeplab"):
        raise InputError(
            f"{own} photos of a frame would be all of a step, and batch normalisation wants two: take a larger "
            "--fit.batch-size or --photos, or --image.name lraspp-mobilenet"
        )
