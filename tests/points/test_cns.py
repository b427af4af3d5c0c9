"""CNS: labels that switch between their sources, a latent space that is fixed, crops of photos, members of masks."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tiny_scans import pixels_of
from torch import nn
from torch.nn import functional as F
from voting import majority

from ovs3d.geometry import Camera
from ovs3d.images import read_image, write_png
from ovs3d.prompts.vocabulary import Vocabulary
from pointcloud.cns import LATENT, BothNetworks, CrossModal, at_members
from pointcloud.cns_samples import CnsSamples, MemberBatch
from pointcloud.config import Augment, Felzenszwalb, ImageNetwork, Latent, Masks, Net, Pairing, Teacher
from pointcloud.frame import Frame, Photo
from pointcloud.index import read_index
from pointcloud.masks import load_masks
from pointcloud.model import PointModel
from pointcloud.nets.photos import PhotoNet
from pointcloud.objectives.cns import latent_consistency, switched
from pointcloud.objectives.labels import label_cross_entropy
from pointcloud.photo_crops import PhotoCrop, draw, in_other_light
from pointcloud.pixel_labels import FOREIGN, ClipLabels, PixelLabels, clip_labels
from pointcloud.pretrain_command import Cns
from pointcloud.refine import votes_of_labels
from pointcloud.runs import TEXT
from pointcloud.sam_features import load_sam_features, principal_axes
from pointcloud.samples import Samples
from pointcloud.teacher import load_teacher

# losses


def test_members_without_a_label_do_not_count():
    logits = torch.randn(5, 3, requires_grad=True)
    labels = torch.tensor([0, -1, 2, -1, 1])
    loss = label_cross_entropy(logits, labels)
    kept = labels >= 0
    torch.testing.assert_close(loss, F.cross_entropy(logits[kept], labels[kept]))
    assert label_cross_entropy(logits, torch.full((5,), -1)).item() == 0


def test_members_count_by_how_rare_their_class_is():
    logits, labels = torch.randn(6, 4), torch.tensor([0, 0, 0, 0, 2, -1])
    each = F.cross_entropy(logits[:5], labels[:5], reduction="none")
    torch.testing.assert_close(label_cross_entropy(logits, labels, 1.0), (each[:4].mean() + each[4]) / 2)
    half = (each[:4].sum() / 2 + each[4]) / 3  # 4 of 5 and 1 of 5, to the power of minus a half
    torch.testing.assert_close(label_cross_entropy(logits, labels, 0.5), half)


def test_each_member_has_the_label_of_its_source():
    sources = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])
    assert switched(sources, torch.tensor([2, 0, 1, 1])).tolist() == [8, 1, 6, 7]


def test_features_that_agree_with_the_frozen_ones_have_no_loss():
    frozen = torch.randn(6, 4)
    assert latent_consistency(3 * frozen, 0.1 * frozen, frozen).item() == pytest.approx(0, abs=1e-6)
    assert latent_consistency(-frozen, -frozen, frozen).item() == pytest.approx(4)
    assert latent_consistency(frozen, -frozen, frozen).item() == pytest.approx(2)


def test_nothing_flows_into_the_frozen_features():
    pixels, points, frozen = torch.randn(3, 6, 4).unbind()
    leaves = [each.requires_grad_() for each in (pixels, points, frozen)]
    latent_consistency(*leaves).backward()
    assert frozen.grad is None
    assert all(each.grad.abs().sum() > 0 for each in leaves[:2])


def test_a_mapping_that_could_be_trained_would_collapse():
    """Eq. 7 with a trainable linear map on SAM's side: the loss falls to nothing, and all features look alike."""
    generator = torch.Generator().manual_seed(0)
    frozen = torch.randn(64, 16, generator=generator)
    pixels, points = (
        torch.randn(64, 16, generator=generator) for _ in range(2)
    )  # networks that know nothing of it

    def spread(loss_of) -> tuple[float, float]:
        torch.manual_seed(0)
        maps = nn.ModuleList([nn.Linear(16, 8) for _ in range(3)])
        optimizer = torch.optim.Adam(maps.parameters(), 0.05)
        for _ in range(300):
            loss = loss_of(maps[0](pixels), maps[1](points), maps[2](frozen))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        unit = F.normalize(maps[2](frozen).detach(), dim=1)
        return loss.item(), unit.var(dim=0).sum().item()

    def trainable(x, p, s):
        return sum((1 - F.cosine_similarity(each, s)).mean() for each in (x, p))

    (loss, alike), (kept_loss, kept) = spread(trainable), spread(latent_consistency)
    assert loss < 0.05
    assert alike < 0.05
    assert kept_loss > 10 * loss
    assert kept > 0.3


def test_principal_axes_keep_what_tells_features_apart():
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(10, 3, generator=generator)).Q
    features = torch.randn(50, 3, generator=generator) @ basis.T
    axes = principal_axes(features, 3)
    torch.testing.assert_close(axes.T @ axes, torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(features @ axes @ axes.T, features, atol=1e-5, rtol=0)


# crops of photos


def in_image(crop: PhotoCrop, pixels: torch.Tensor) -> torch.Tensor:
    return (crop.places(pixels).abs() <= 1).all(dim=1)


@pytest.mark.parametrize("mirrored", [False, True])
def test_places_are_where_the_crop_shows_the_pixels(mirrored):
    photo = torch.zeros(40, 60, 3, dtype=torch.uint8)
    photo[18:22, 33:37] = 255
    crop = PhotoCrop(10, 20, 20, 30, mirrored)
    image = crop.of(photo, (40, 60))
    assert image.shape == (3, 40, 60)
    pixels = torch.tensor([[20, 35], [12, 22]])
    assert in_image(crop, pixels).all()
    borders = torch.tensor([[9, 25], [10, 20], [29, 49], [30, 30]])
    assert in_image(crop, borders).tolist() == [False, True, True, False]
    values = at_members(image[None], torch.zeros(2, dtype=torch.int64), crop.places(pixels))
    assert values[:, 0].tolist() == pytest.approx([1, 0], abs=0.01)


def test_crops_lie_within_the_photo_and_differ():
    random = np.random.default_rng(0)
    crops = [draw(90, 160, ImageNetwork(), random) for _ in range(50)]
    for crop in crops:
        assert 0 <= crop.top <= 90 - crop.height
        assert 0 <= crop.left <= 160 - crop.width
        assert in_image(crop, crop.pixels(100, random)).all()
    assert len(set(crops)) > 30
    assert {crop.mirrored for crop in crops} == {True, False}
    assert not any(draw(90, 160, ImageNetwork(flip=False), random).mirrored for _ in range(20))


@pytest.mark.parametrize(
    ("height", "width", "size"), [(90, 160, (90, 160)), (120, 160, (90, 160)), (90, 200, (90, 160))]
)
def test_the_largest_crops_keep_the_proportions_of_the_network(height, width, size):
    random, how = np.random.default_rng(0), ImageNetwork(height=45, width=80, crops="largest")
    crops = [draw(height, width, how, random) for _ in range(20)]
    assert {(crop.height, crop.width) for crop in crops} == {size}
    assert all(0 <= crop.top <= height - size[0] and 0 <= crop.left <= width - size[1] for crop in crops)
    places = {(crop.top, crop.left) for crop in crops}
    assert len(places) == 1 if size == (height, width) else len(places) > 10
    assert {crop.mirrored for crop in crops} == {True, False}


def test_light_changes_colours_within_their_range():
    image = torch.rand(3, 8, 8)
    changed = in_other_light(image, 0.5, np.random.default_rng(0))
    assert not torch.allclose(changed, image)
    assert 0 <= changed.min() <= changed.max() <= 1
    torch.testing.assert_close(in_other_light(image, 0.0, np.random.default_rng(0)), image)


# members of masks


def cns_samples(index, **changes) -> CnsSamples:
    scans = Samples(read_index(index), range(4), Net(voxel_size_m=0.3), Augment())
    root = scans.index.dataset.root
    teacher = load_teacher(Teacher(), root)
    words = Vocabulary(("green floor", "red box"))
    masks = load_masks(Masks("felzenszwalb", felzenszwalb=Felzenszwalb(scale=50.0)), root)
    fields = {
        "called": clip_labels(words, teacher, "none", masks, "hard", 0.1),
        "image": ImageNetwork("deeplabv3-mobilenet", height=48, width=64, pixels=100),
        "sam": None,
        "photos_each": 0,
        "multi_view": False,
    }
    return CnsSamples(scans, Pairing(), **fields | changes)


def test_members_are_drawn_pixels_and_those_that_show_points(index):
    samples = cns_samples(index)
    batch = samples[3, 1]
    shown = batch.point >= 0
    assert (~shown).sum() == 100
    assert batch.inside[~shown].all()
    assert batch.images.shape == (1, 3, 48, 64)
    assert 100 < (shown & batch.inside).sum() < shown.sum() <= 700
    assert torch.equal(batch.point[shown], samples[4, 1].shown)  # whatever the crop shows
    shown &= batch.inside
    assert (batch.label < 2).all()
    frame = samples.samples.frame(1)
    points = np.fromfile(frame.scan.path, "<f4").reshape(-1, 4)
    row, col = (np.floor(each).astype(int) for each in pixels_of(points[batch.point[shown].numpy()]))
    photo = read_image(frame.photos[0].path).float()[row, col] / 255
    seen = at_members(batch.images, batch.photo[shown], batch.place[shown])
    brightness = np.corrcoef(photo.mean(1), seen.mean(1))[0, 1]
    assert brightness > 0.7  # the image is coarser, and in other light
    assert torch.equal(samples[3, 1].place, batch.place)
    assert not torch.equal(samples[4, 1].images, batch.images)


def test_members_of_a_mask_have_one_label(index):
    batch = cns_samples(index)[0, 0]
    for mask in batch.mask.unique().tolist():
        assert mask >= 0
        assert len(batch.label[batch.mask == mask].unique()) == 1
    alone = cns_samples(index)
    alone = replace(alone, called=replace(alone.called, masks=None, refine="none"))[0, 0]
    assert (alone.mask == -1).all()


@pytest.mark.parametrize("refine", ["none", "hard", "soft"])
def test_a_large_photo_is_called_the_same_in_parts(refine, index, monkeypatch):
    samples = cns_samples(index)
    clip, photo = samples.called, samples.samples.frame(0).photos[0]
    masks = None if refine == "none" else clip.masks
    whole, parts = (replace(clip, masks=masks, refine=refine) for _ in range(2))
    expected = whole.of(photo)
    assert set(expected.tolist()) >= {0, 1}
    monkeypatch.setattr("pointcloud.pixel_labels._PIXELS", 1000)
    assert torch.equal(parts.of(photo), expected)


@dataclass(frozen=True, eq=False, kw_only=True)
class GivenLabels(PixelLabels):
    """Labels of pixels that are already there; -1: none."""

    given: torch.Tensor

    def votes_of_pixels(self, photo, row_col):
        return votes_of_labels(self.given[row_col[:, 0], row_col[:, 1]], 2)


@pytest.mark.parametrize("refine", ["hard", "soft"])
def test_a_photo_whose_masks_have_voted_stays_as_it_is(refine, index):
    samples = cns_samples(index)
    clip, photo = samples.called, samples.samples.frame(0).photos[0]
    size = photo.camera.height, photo.camera.width
    noise = torch.randint(-1, 2, size, generator=torch.Generator().manual_seed(0))

    def voted(labels: torch.Tensor) -> torch.Tensor:
        called = GivenLabels(clip.text, 2, clip.masks, refine, 0.02, given=labels)
        return called.of(photo).view(size)

    once = voted(noise)
    assert not torch.equal(once, noise)
    assert torch.equal(voted(once), once)
    assert refine == "hard" or (once == -1).any()


def test_votes_of_masks_are_found_once_for_each_vocabulary(index, monkeypatch):
    samples = cns_samples(index)
    clip, photo = samples.called, samples.samples.frame(0).photos[0]
    found = clip.votes_of_masks(photo)
    turned = clip_labels(
        Vocabulary(("red box", "green floor")), clip.teacher, "none", clip.masks, "hard", 0.1
    )
    other = turned.votes_of_masks(photo)
    torch.testing.assert_close(other, found.flip(1))
    soft = replace(clip, refine="soft").votes_of_masks(photo)
    assert not torch.equal(soft, found)
    monkeypatch.setattr(ClipLabels, "votes_of_pixels", None)
    again = cns_samples(index).called
    elsewhere = replace(again, text=again.text * (1 + 1e-6))  # as another machine would embed the same words
    for each in (again, elsewhere):
        assert torch.equal(each.votes_of_masks(photo), found)
    with pytest.raises(TypeError):
        replace(again, words=again.words | {"template": "photo"}).votes_of_masks(photo)


def test_what_pixels_are_called_is_prepared_and_not_worked_out_in_training(index, tmp_path, monkeypatch):
    def samples(feature_dir: Path) -> CnsSamples:
        masks = load_masks(Masks("felzenszwalb", feature_dir=feature_dir), root)
        teacher = load_teacher(Teacher(feature_dir=feature_dir), root)
        return cns_samples(index, called=replace(clip, masks=masks, teacher=teacher))

    clip, root = cns_samples(index).called, read_index(index).dataset.root
    expected = samples(tmp_path / "unprepared")[0, 0].label
    assert set(expected.tolist()) == {0, 1}
    samples(tmp_path / "prepared").prepare()
    monkeypatch.setattr(ClipLabels, "votes_of_pixels", None)
    monkeypatch.setattr("pointcloud.masks.felzenszwalb", None)
    assert torch.equal(samples(tmp_path / "prepared")[0, 0].label, expected)


def test_what_is_prepared_is_not_read_again_but_for_a_few_masks(index, tmp_path, monkeypatch):
    def opened(path: Path, framework: str) -> AbstractContextManager:
        kinds.append(path.name.rsplit("-", 1)[0])
        return safe_open(path, framework)

    kinds: list[str] = []
    root = read_index(index).dataset.root
    masks = load_masks(Masks("felzenszwalb", feature_dir=tmp_path), root)
    teacher = load_teacher(Teacher(feature_dir=tmp_path), root)
    sam = load_sam_features(Latent(feature_dir=tmp_path), root)
    monkeypatch.setattr("pointcloud.masks._PHOTOS_TO_TELL", 1)
    monkeypatch.setattr("ovs3d.foundation.store.safe_open", opened)
    called = replace(cns_samples(index).called, masks=masks, teacher=teacher)
    samples = cns_samples(index, called=called, sam=sam)
    samples.prepare()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4 * len(samples.photos())
    kinds.clear()
    samples.prepare()
    assert kinds == ["masks"]
    for file in files[::3]:
        file.unlink()
    samples.prepare()
    assert sorted(tmp_path.iterdir()) == files


def test_distractors_and_unsure_masks_teach_nothing(index):
    whole = cns_samples(index)
    clip = whole.called
    distracted = replace(clip, known=1)
    unsure = replace(clip, refine="soft", margin=0.9999)
    sure, one, none = (cns_samples(index, called=each)[0, 0].label for each in (clip, distracted, unsure))
    assert set(sure.tolist()) == {0, 1}
    assert one.tolist() == torch.where(sure == 1, FOREIGN, sure).tolist()
    assert (none == -1).all()


def test_distractors_that_are_much_alike_are_distractors_still(index):
    called = replace(cns_samples(index).called, text=torch.eye(4), known=2, refine="soft", margin=0.1)
    shares = [[0.1, 0.0, 0.44, 0.46], [0.4, 0.0, 0.25, 0.35], [0.6, 0.0, 0.2, 0.2], [0.0, 0.0, 0.0, 0.0]]
    assert called.labels(torch.tensor(shares)).tolist() == [FOREIGN, -1, 0, -1]
    assert replace(called, refine="hard").labels(torch.tensor(shares)).tolist() == [FOREIGN, 0, 0, -1]


def test_distractors_teach_nothing_when_labels_switch_either(index):
    samples = cns_samples(index)
    batch = samples.collate([samples[0, 0], samples[0, 1]])
    batch = replace(batch, label=torch.where(batch.label == 1, FOREIGN, batch.label))
    for switch_from in (0, 9):
        model = training(samples, switch_from=switch_from, switch_probs=(0.0, 1.0, 0.0))
        pixels, points = both_logits(model, batch)
        labels = model._labels(batch, pixels.detach(), points.detach())
        assert (labels[batch.label == FOREIGN] == -1).all()
        assert (labels[batch.label == 0] >= 0).all()


def test_batches_keep_photos_points_and_masks_apart(index):
    samples = cns_samples(index)
    first, second = samples[0, 0], samples[0, 1]
    batch = samples.collate([first, second])
    n = len(first.photo)
    assert batch.photo.tolist() == [0] * n + [1] * len(second.photo)
    assert torch.equal(batch.place, torch.cat([first.place, second.place]))
    assert torch.equal(batch.label, torch.cat([first.label, second.label]))
    moved = torch.where(second.point < 0, -1, second.point + len(first.scans.labels))
    assert torch.equal(batch.point, torch.cat([first.point, moved]))
    assert torch.equal(batch.mask[:n], first.mask)
    assert torch.equal(batch.mask[n:] - batch.mask[n:].min(), second.mask - second.mask.min())
    assert not set(batch.mask[:n].tolist()) & set(batch.mask[n:].tolist())


class ThreePhotos(Samples):
    """The photo of a frame, and twice one in other colours."""

    def frame(self, item: int) -> Frame:
        frame = super().frame(item)
        (photo,) = frame.photos
        other = photo.path.with_name(f"{photo.path.stem}_other.png")
        if not other.exists():
            write_png(other, np.ascontiguousarray(255 - read_image(photo.path).numpy()))
        return replace(frame, photos=(photo, replace(photo, path=other), replace(photo, path=other)))


def test_points_are_called_what_all_photos_together_call_them(index):
    samples = cns_samples(index, multi_view=True)
    scans = ThreePhotos(samples.samples.index, range(4), samples.samples.net, Augment())
    alone, together = replace(samples, samples=scans, multi_view=False), replace(samples, samples=scans)
    by_itself, batch = alone[0, 0], together[0, 0]
    assert torch.equal(by_itself.point, batch.point)
    said = {photo: {} for photo in range(3)}
    shown = batch.point >= 0
    for photo, point, label in zip(
        batch.photo[shown], batch.point[shown], by_itself.label[shown], strict=True
    ):
        said[int(photo)][int(point)] = int(label)
    assert said[1] != said[0]
    both = said[1].keys() & said[2].keys()
    labels = dict(zip(batch.point[shown].tolist(), batch.label[shown].tolist(), strict=True))
    assert len(both) > 50
    assert all(labels[point] == said[1][point] for point in both)  # two votes of three


class TwoPhotos(ThreePhotos):
    """Those of which each point has one vote."""

    def frame(self, item: int) -> Frame:
        frame = super().frame(item)
        return replace(frame, photos=frame.photos[:2])


def test_photos_that_disagree_by_hard_votes_say_nothing_together(index):
    samples = cns_samples(index, multi_view=True)
    scans = TwoPhotos(samples.samples.index, range(4), samples.samples.net, Augment())
    by_itself, batch = (replace(samples, samples=scans, multi_view=each)[0, 0] for each in (False, True))
    first, second = ((batch.photo == photo) & (batch.point >= 0) for photo in range(2))
    assert torch.equal(batch.point[first], batch.point[second])
    said, other = by_itself.label[first], by_itself.label[second]
    assert 0 < (said != other).sum() < len(said)
    assert batch.label[first].tolist() == torch.where(said == other, said, -1).tolist()
    distracted = replace(samples, samples=scans, called=replace(samples.called, known=0))[0, 0]
    assert (distracted.label == FOREIGN).all()  # they agree that it is no class


def test_some_of_the_photos_are_drawn_for_a_step(index):
    samples = cns_samples(index, photos_each=2)
    samples = replace(
        samples, samples=ThreePhotos(samples.samples.index, range(4), samples.samples.net, Augment())
    )
    drawn = [samples[epoch, 0] for epoch in range(6)]
    assert all(len(each.images) == 2 and set(each.photo.tolist()) == {0, 1} for each in drawn)
    assert len({tuple(each.label[each.point >= 0].tolist()) for each in drawn}) > 1


class LookingAway(ThreePhotos):
    """Cameras of all but the first photo stand where no point can be seen."""

    def frame(self, item: int) -> Frame:
        frame = super().frame(item)
        first, *rest = frame.photos
        pose = first.camera.world_from_camera.copy()
        pose[0, 3] += 1e4
        away = replace(first.camera, world_from_camera=pose)
        return replace(frame, photos=(first, *(replace(each, camera=away) for each in rest)))


def test_sam_does_not_look_at_photos_that_show_no_point(index):
    samples = cns_samples(index)
    scans = LookingAway(samples.samples.index, range(4), samples.samples.net, Augment())
    sam = load_sam_features(Latent(keep=False), scans.index.dataset.root)
    looked: list[Path] = []
    seen = replace(sam)
    object.__setattr__(seen, "map", lambda photo: looked.append(photo) or sam.map(photo))
    batch = replace(samples, samples=scans, sam=seen)[0, 1]
    assert batch.photo.unique().tolist() == [0, 1, 2]
    assert looked == [scans.frame(1).photos[0].path]
    assert batch.latent.shape == (len(batch.shown), sam.d)


# training


ONLY = {"photos": (0.0, 1.0, 0.0), "points": (0.0, 0.0, 1.0)}
"""Shares of the sources, when labels come from one network alone."""


def training(samples: CnsSamples, **flags) -> CrossModal:
    torch.manual_seed(0)
    command = Cns(index=Path(), out=Path(), **flags)
    d = samples.called.teacher.d
    heads = {TEXT: d, LATENT: d}
    points = PointModel(Net(voxel_size_m=0.3), heads)
    model = BothNetworks(points, PhotoNet("deeplabv3-mobilenet", heads))
    return CrossModal(model.eval(), samples, samples.called.text, command)


def both_logits(model: CrossModal, batch: MemberBatch) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.einsum("pdhw,kd->pkhw", model.model.image(batch.images)[TEXT], model.text)
    points = model.model(batch.scans.points)[TEXT][batch.point[batch.point >= 0]] @ model.text.T
    return at_members(pixels, batch.photo, batch.place), points


def test_at_first_labels_are_those_of_clip(index):
    samples = cns_samples(index)
    batch = samples.collate([samples[0, 0], samples[0, 1]])
    model = training(samples, switch_from=1, switch_probs=(0.0, 0.5, 0.5))
    pixels, points = both_logits(model, batch)
    parts = model.losses(batch)
    assert set(parts) == {"pixels", "points"}
    seen = batch.inside
    assert not seen.all()
    torch.testing.assert_close(parts["pixels"], label_cross_entropy(pixels[seen], batch.label[seen]))
    torch.testing.assert_close(parts["points"], label_cross_entropy(points, batch.label[batch.point >= 0]))


@pytest.mark.parametrize("switch_from", [0, 1])
def test_points_that_learn_alone_learn_the_same(switch_from, index):
    how = {"switch_from": switch_from, "switch_probs": (0.0, 0.0, 1.0)}
    beside = cns_samples(index)
    alone = replace(beside, image=replace(beside.image, name="none"))
    batches = [each.collate([each[0, 0], each[0, 1]]) for each in (beside, alone)]
    models = [training(beside, **how) for _ in range(2)]
    models[1].model.image = None
    of_both, of_points = (model.losses(batch) for model, batch in zip(models, batches, strict=True))
    assert set(of_points) == {"points"}
    torch.testing.assert_close(of_points["points"], of_both["points"])
    of_points["points"].backward()
    assert all(each.grad is not None for name, each in models[1].model.named_parameters() if "final" in name)
    ids = dict.fromkeys(("photo", "mask", "label", "point"), torch.zeros(0, dtype=torch.int64))
    nothing = replace(batches[1], **ids, place=torch.zeros(0, 2), latent=torch.zeros(0, 0))
    assert models[1].losses(nothing)["points"].item() == 0


@pytest.mark.parametrize("source", ["photos", "points"])
def test_labels_switch_to_what_the_masks_make_of_a_network(source, index):
    samples = cns_samples(index)
    batch = samples.collate([samples[0, 0], samples[0, 1]])
    batch.mask[:10] = batch.mask.max() + 1  # a mask without a point
    beside = (~batch.inside).nonzero()[:10, 0]
    batch.mask[beside] = batch.mask.max() + 1  # a mask of which the image shows nothing
    model = training(samples, switch_from=0, switch_probs=ONLY[source])
    with torch.no_grad():
        pixels, points = both_logits(model, batch)
    own = torch.full_like(batch.point, -1)
    own[batch.point >= 0] = points.argmax(1)
    if source == "photos":
        own = torch.where(batch.inside, pixels.argmax(1), -1)
    labels = majority(own, batch.mask, 2)
    assert not torch.equal(labels, batch.label)
    if source == "points":
        assert labels[:10].tolist() == [-1] * 10
    else:
        assert labels[beside].tolist() == [-1] * 10
        assert (labels[~batch.inside] >= 0).any()  # a mask that the image cuts is called what is seen of it
    parts = model.losses(batch)
    of_image = label_cross_entropy(pixels[batch.inside], labels[batch.inside])
    torch.testing.assert_close(parts["pixels"].detach(), of_image)
    torch.testing.assert_close(
        parts["points"].detach(), label_cross_entropy(points, labels[batch.point >= 0])
    )


@pytest.mark.parametrize("refine", ["hard", "soft"])
@pytest.mark.parametrize("source", ["photos", "points"])
def test_nothing_flows_back_through_labels_into_the_network_that_gave_them(source, refine, index):
    samples = cns_samples(index)
    batch = samples.collate([samples[0, 0], samples[0, 1]])
    model = training(samples, switch_from=0, switch_probs=ONLY[source], refine=refine, margin=0.0)
    of_photos, of_points = list(model.model.image.parameters()), list(model.model.net.parameters())
    giver, taught = (of_photos, "points") if source == "photos" else (of_points, "pixels")
    loss = model.losses(batch)[taught]
    assert loss > 0
    grads = torch.autograd.grad(loss, [*giver, *of_photos, *of_points], allow_unused=True)
    assert all(each is None for each in grads[: len(giver)])
    assert any(each is not None for each in grads[len(giver) :])


@pytest.mark.parametrize("unit", ["step", "mask"])
def test_sources_are_drawn_with_their_shares(unit, index, monkeypatch):
    samples = cns_samples(index)
    model = training(samples, switch_from=0, switch_unit=unit)
    mask = torch.cat([torch.arange(4000).repeat(2), torch.full((1000,), -1)])
    steps = 10_000 if unit == "step" else 4
    counts, drawn = torch.zeros(3), []
    for step in range(steps):
        monkeypatch.setattr(CrossModal, "global_step", step)
        choice = model._choice(mask[:: 4000 if unit == "step" else 1])
        drawn.append(choice)
        counts += torch.bincount(choice[:1] if unit == "step" else choice, minlength=3)
        if unit == "step":
            assert len(choice.unique()) == 1
        else:
            assert torch.equal(choice[:4000], choice[4000:8000])
            assert len(choice[8000:].unique()) == 3
    shares = (counts / counts.sum()).tolist()
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.015)
    assert not all(torch.equal(drawn[0], each) for each in drawn)
    assert len(model._choice(mask[:0])) == 0  # a step that shows no point


def test_slow_copies_follow_and_name_the_labels(index):
    samples = cns_samples(index)
    batch = samples.collate([samples[0, 0], samples[0, 1]])
    model = training(samples, switch_from=0, switch_probs=(0.0, 1.0, 0.0), ema=0.75)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    assert not any(p.requires_grad for p in model.slow.parameters())
    with torch.no_grad():
        pixels, _ = both_logits(model, batch)
        for p in model.model.image.heads[TEXT].parameters():
            p.neg_()
        labels = majority(torch.where(batch.inside, pixels.argmax(1), -1), batch.mask, 2)
        found = model.losses(batch)["pixels"]
        expected = both_logits(model, batch)[0][batch.inside]
        torch.testing.assert_close(found, label_cross_entropy(expected, labels[batch.inside]))
    model.on_train_batch_start()
    slow, fast = model.slow.state_dict(), model.model.state_dict()
    for name, value in before.items():
        if value.is_floating_point():
            torch.testing.assert_close(slow[name], 0.75 * value + 0.25 * fast[name])


def test_both_networks_agree_with_sam(index):
    samples = cns_samples(index, sam=load_sam_features(Latent(), index.parent.parent))
    batch = samples.collate([samples[0, 0], samples[0, 1]])
    shown = batch.point >= 0
    assert batch.latent.shape == (shown.sum(), samples.sam.d)
    model = training(samples, latent=Latent(0.5))
    model.axes = torch.randn(samples.sam.d, samples.called.teacher.d)
    both = shown & batch.inside
    with torch.no_grad():
        pixels = at_members(model.model.image(batch.images)[LATENT], batch.photo[both], batch.place[both])
        points = model.model(batch.scans.points)[LATENT][batch.point[both]]
        expected = 0.5 * latent_consistency(pixels, points, batch.latent[both[shown]] @ model.axes)
        torch.testing.assert_close(model.losses(batch)["latent"], expected)


def test_sam_is_asked_at_the_pixels_of_the_photo(tmp_path):
    """Left half dark, right half bright: features differ across the border and hardly within a side."""
    picture = np.zeros((90, 160, 3), np.uint8)
    picture[:, 80:] = 230
    write_png(tmp_path / "a.png", picture)
    photo = Photo("a", tmp_path / "a.png", Camera(np.eye(3), np.eye(4), 90, 160))
    sam = load_sam_features(Latent(weights="mini"), tmp_path)
    cols = torch.tensor([20, 40, 60, 100, 120, 140])
    found = sam.at(photo, torch.stack([torch.full_like(cols, 45), cols], 1)).rows()
    alike = F.cosine_similarity(found[:, None], found[None], dim=2)
    within = torch.cat([alike[:3, :3].flatten(), alike[3:, 3:].flatten()])
    assert within.min() > alike[:3, 3:].max()
    grid = sam.map(photo.path)
    size = sam.sam.model.image_encoder.img_size
    assert grid.shape[:2] == (-(-size * 90 // 160 // 16), size // 16)
    assert sam.bytes_of([photo.path]) == grid.nbytes
    assert len(list((tmp_path / ".ovs3d").iterdir())) == 1
    fresh = load_sam_features(Latent(weights="mini", keep=False), tmp_path / "none")
    assert torch.equal(fresh.map(photo.path), grid)
    assert not (tmp_path / "none").exists()
