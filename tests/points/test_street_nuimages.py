"""Street worlds in nuImages' format: the devkit and our reader find the truth of each pixel."""

import base64
import json

import numpy as np
import pytest
from PIL import Image

from ovs3d.prompts.vocabulary import builtin_vocabulary
from ovs3d.worlds.render import SKY, render
from ovs3d.worlds.streets.command import Street
from ovs3d.worlds.streets.kinds import CLASS_OF_KIND, KINDS
from ovs3d.worlds.streets.rig import nuscenes_rig
from ovs3d.worlds.streets.street import make_street
from ovs3d.worlds.streets.write_nuimages import SURFACES
from pointcloud.datasets.nuimages import frames, open_dataset

WIDTH = 160


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nuimages") / "street"
    Street(folder, seed=4, format="nuimages", scenes=2, frames=1, width=WIDTH).run()
    return folder


@pytest.fixture(scope="module")
def kinds():
    """What each camera truly sees in the street of the training split, by the name of the camera."""
    world = make_street(4000, seconds=0.5)
    return {
        camera.name: render(
            world.at(camera.delay_s).scene, camera.at(world.world_from_ego(camera.delay_s))
        ).labels
        for camera in nuscenes_rig(WIDTH).cameras
    }


def test_the_reader_finds_the_class_of_every_pixel(root, kinds):
    problems = []
    found = list(frames(root, "v1.0-train", problems.append))
    assert not problems
    assert len(found) == len(list(frames(root, "v1.0-val", problems.append))) == 6
    classes = open_dataset(root, "v1.0-train").classes
    assert classes == builtin_vocabulary("nuscenes16").names[: len(classes)]
    for frame in found:
        (photo,) = frame.photos
        truth = kinds[photo.name]
        expected = np.where(truth == SKY, 255, CLASS_OF_KIND[truth.clip(0, len(KINDS) - 1)])
        expected[expected >= len(classes)] = 255  # sidewalks, plants and buildings have no masks
        labels = np.asarray(Image.open(photo.labels))
        assert labels.shape == Image.open(photo.path).size[::-1] == (90, WIDTH)
        wrong = labels != expected
        assert (labels[wrong] == 255).all()  # things of a few pixels
        assert wrong.mean() < 0.02
    assert {frame.split for frame in found} == {"train"}


def test_boxes_hold_their_masks_and_surfaces_have_none(root):
    tables = root / "v1.0-train"
    things, surfaces = (
        json.loads((tables / f"{name}_ann.json").read_text()) for name in ("object", "surface")
    )
    names = {row["token"]: row["name"] for row in json.loads((tables / "category.json").read_text())}
    assert {names[row["category_token"]] for row in surfaces} <= set(SURFACES)
    assert not {names[row["category_token"]] for row in things} & set(SURFACES)
    mask_of = pytest.importorskip("pycocotools.mask")
    for row in things:
        left, top, right, bottom = row["bbox"]
        mask = mask_of.decode({**row["mask"], "counts": base64.b64decode(row["mask"]["counts"])})
        assert mask[top:bottom, left:right].sum() == mask.sum() >= 20
        assert mask[top].any()
        assert mask[:, right - 1].any()


def test_the_devkit_paints_the_same(root, kinds):
    devkit = pytest.importorskip("nuimages", reason="needs the nuscenes-devkit").NuImages
    data = devkit("v1.0-train", str(root), lazy=True, verbose=False)
    for sample in data.sample:
        semantic, _ = data.get_segmentation(sample["key_camera_token"])
        camera = data.shortcut("sample_data", "sensor", sample["key_camera_token"])["channel"]
        road = semantic == 24  # flat.driveable_surface
        truth = np.isin(kinds[camera], [i for i, kind in enumerate(KINDS) if kind.nuscenes == SURFACES[0]])
        assert (road == truth).mean() > 0.99
