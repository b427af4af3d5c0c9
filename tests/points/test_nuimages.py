"""nuImages: photos with their lens, and masks painted once as the devkit paints them."""

import base64
import json

import numpy as np
import pytest
from nuimages import NuImages
from nuimages.utils.utils import name_to_index_mapping
from nuscenes.utils.geometry_utils import transform_matrix
from PIL import Image
from pycocotools import mask as coco
from pyquaternion import Quaternion

from ovs3d.errors import InputError
from pointcloud.datasets import nuimages
from pointcloud.datasets.devkit_tables import category_ids
from pointcloud.index import read_index, write_index

HEIGHT, WIDTH = 18, 32
DISTORTION = [-0.31, 0.12, 0.001, -0.002, -0.03, 0.07]
CATEGORIES = (
    *("animal", "human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.construction_worker"),
    *("human.pedestrian.personal_mobility", "human.pedestrian.police_officer", "human.pedestrian.stroller"),
    *("human.pedestrian.wheelchair", "movable_object.barrier", "movable_object.debris"),
    *("movable_object.pushable_pullable", "movable_object.trafficcone", "static_object.bicycle_rack"),
    *("vehicle.bicycle", "vehicle.bus.bendy", "vehicle.bus.rigid", "vehicle.car", "vehicle.construction"),
    *("vehicle.ego", "vehicle.emergency.ambulance", "vehicle.emergency.police", "vehicle.motorcycle"),
    *("vehicle.trailer", "vehicle.truck", "flat.driveable_surface"),
)


def encoded(top, left, bottom, right):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[top:bottom, left:right] = 1
    rle = coco.encode(mask)
    return {"size": rle["size"], "counts": base64.b64encode(rle["counts"]).decode()}


def annotation(photo, token, category, box):
    mask = None if box is None else encoded(*box)
    category_token = f"category-{CATEGORIES.index(category)}"
    return {
        "token": token,
        "sample_data_token": photo,
        "category_token": category_token,
        "attribute_tokens": [],
        "mask": mask,
    }


def write(root, version):
    """Two logs with two photos and one; each photo has a neighbour in time, the vehicle has a LiDAR."""
    rng, poses, data, samples = np.random.default_rng(4), [], [], []
    (root / version).mkdir(parents=True)
    (root / "samples" / "CAM_BACK").mkdir(parents=True, exist_ok=True)
    for number, (log, time_us) in enumerate((("b", 5_500_000), ("b", 2_000_000), ("a", 9_000_000))):
        stem = f"log-{log}__CAM_BACK__{time_us}"
        for is_key, suffix in ((True, ""), (False, "_next")):
            token = f"photo-{number}{suffix}"
            turn = Quaternion(axis=[0, 0, 1], radians=0.3 + number)
            pose = {
                "token": f"pose-{token}",
                "translation": [3.0 * number, 1, 0],
                "rotation": turn.elements.tolist(),
            }
            poses.append(pose)
            row = {"token": token, "sample_token": f"sample-{number}", "ego_pose_token": pose["token"]}
            row |= {
                "calibrated_sensor_token": "calibrated",
                "filename": f"samples/CAM_BACK/{stem}{suffix}.png",
            }
            row |= {
                "width": WIDTH,
                "height": HEIGHT,
                "timestamp": time_us + 7 * (not is_key),
                "is_key_frame": is_key,
            }
            data.append(row)
        Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)).save(
            root / "samples" / "CAM_BACK" / f"{stem}.png"
        )
        sample = {"token": f"sample-{number}", "timestamp": time_us, "log_token": log}
        samples.append(sample | {"key_camera_token": f"photo-{number}"})
    tables = {
        "category": [{"token": f"category-{i}", "name": name} for i, name in enumerate(CATEGORIES)],
        "log": [{"token": each, "logfile": f"log-{each}"} for each in "ab"],
        "sensor": [
            {"token": "back", "channel": "CAM_BACK", "modality": "camera"},
            {"token": "lidar", "channel": "LIDAR_TOP", "modality": "lidar"},
        ],
        "calibrated_sensor": [
            {
                "token": "calibrated",
                "sensor_token": "back",
                "translation": [0.1, 0.2, 1.5],
                "rotation": Quaternion(axis=[1, 2, 0.5], degrees=70).elements.tolist(),
                "camera_intrinsic": [[25, 0, 15.5], [0, 26, 8.5], [0, 0, 1]],
                "camera_distortion": DISTORTION,
            },
            {"token": "roof", "sensor_token": "lidar", "translation": [0, 0, 2], "rotation": [1, 0, 0, 0]},
        ],
        "ego_pose": poses,
        "sample_data": data,
        "sample": samples,
        "surface_ann": [
            annotation("photo-0", "s2", "flat.driveable_surface", (6, 0, 18, 32)),
            annotation("photo-0", "s1", "vehicle.ego", (15, 0, 18, 32)),
            annotation("photo-2", "s3", "flat.driveable_surface", (0, 0, 3, 32)),
        ],
        "object_ann": [
            annotation("photo-0", "o2", "vehicle.car", (4, 5, 12, 14)),
            annotation("photo-0", "o1", "human.pedestrian.child", (2, 10, 9, 20)),
            annotation("photo-0", "o3", "static_object.bicycle_rack", (7, 24, 11, 30)),
            annotation("photo-0", "o4", "vehicle.truck", None),
            annotation("photo-2", "o5", "vehicle.bus.rigid", (1, 1, 2, 2)),
        ],
        "attribute": [],
    }
    for name, rows in tables.items():
        (root / version / f"{name}.json").write_text(json.dumps(rows))


@pytest.fixture
def root(tmp_path):
    write(tmp_path, "v1.0-val")
    return tmp_path


def read(root, version="v1.0-val"):
    problems = []
    found = list(nuimages.frames(root, version, problems.append))
    return found, problems


def labels(frame):
    return np.asarray(Image.open(frame.photos[0].labels))


def test_frames_are_the_annotated_photos_with_their_lens_pose_and_time(root):
    frames, problems = read(root)
    assert problems == []
    assert [(each.name, each.scene, each.split, each.scan) for each in frames] == [
        ("log-b__CAM_BACK__5500000", "log-b", "val", None),
        ("log-b__CAM_BACK__2000000", "log-b", "val", None),
        ("log-a__CAM_BACK__9000000", "log-a", "val", None),
    ]
    photos = [each.photos[0] for each in frames]
    assert [photo.time_s for photo in photos] == pytest.approx([3.5, 0, 0])
    assert photos[2].name == "CAM_BACK"
    assert photos[2].distortion == tuple(DISTORTION)
    assert photos[2].camera.intrinsics.tolist() == [[25, 0, 16], [0, 26, 9], [0, 0, 1]]
    world_from_ego = transform_matrix([6.0, 1, 0], Quaternion(axis=[0, 0, 1], radians=2.3))
    ego_from_camera = transform_matrix([0.1, 0.2, 1.5], Quaternion(axis=[1, 2, 0.5], degrees=70))
    assert photos[2].camera.world_from_camera == pytest.approx(world_from_ego @ ego_from_camera)


def test_masks_are_painted_as_the_devkit_paints_them_with_our_ids(root):
    devkit = NuImages("v1.0-val", str(root), lazy=True, verbose=False)
    classes = nuimages.open_dataset(root, "v1.0-val").classes
    names = {index: name for name, index in name_to_index_mapping(devkit.category).items()}
    ours = {0: 255} | {index: category_ids([name], classes, root)[0] for index, name in names.items()}
    for number, frame in enumerate(read(root)[0]):
        semantic, _ = devkit.get_segmentation(f"photo-{number}")
        assert labels(frame).tolist() == np.vectorize(ours.get)(semantic).tolist()


def test_objects_lie_over_surfaces_later_tokens_over_earlier_and_the_rest_is_ignored(root):
    dataset = nuimages.open_dataset(root, "v1.0-val")
    ids = {name: index for index, name in enumerate(dataset.classes)}
    image = labels(read(root)[0][0])
    assert image[13, 2] == ids["driveable surface"]
    assert image[16, 2] == 255  # the car itself
    assert image[6, 12] == ids["car"]  # over the child, whose token comes first
    assert image[3, 15] == ids["pedestrian"]
    assert image[8, 26] == 255  # a bicycle rack, over the road
    assert image[0, 0] == 255
    assert set(np.unique(image)) == {ids["driveable surface"], ids["car"], ids["pedestrian"], 255}


def test_ids_are_those_of_nuscenes(root):
    from ovs3d.prompts.vocabulary import builtin_vocabulary

    classes = nuimages.open_dataset(root, "v1.0-val").classes
    assert classes == builtin_vocabulary("nuscenes16").names[:11]


def test_a_painted_mask_is_not_painted_again_and_needs_no_table_of_masks(root):
    before = read(root)[0]
    Image.new("L", (WIDTH, HEIGHT), 3).save(before[1].photos[0].labels)
    for name in ("object_ann", "surface_ann"):
        (root / "v1.0-val" / f"{name}.json").unlink()
    after, problems = read(root)
    assert problems == []
    assert (labels(after[1]) == 3).all()
    after[0].photos[0].labels.unlink()
    with pytest.raises(InputError, match=r"surface_ann\.json"):
        read(root)


def test_the_test_version_has_no_labels_and_the_mini_version_counts_as_training(tmp_path):
    for version, split in (("v1.0-test", "test"), ("v1.0-mini", "train"), ("v1.0-train", "train")):
        write(tmp_path / version, version)
        frames, _ = read(tmp_path / version, version)
        assert {frame.split for frame in frames} == {split}
        assert [frame.photos[0].labels is None for frame in frames] == [split == "test"] * 3


def test_a_missing_photo_is_left_out_and_named(root):
    path = read(root)[0][1].photos[0].path
    path.unlink()
    frames, problems = read(root)
    assert [frame.name for frame in frames] == ["log-b__CAM_BACK__5500000", "log-a__CAM_BACK__9000000"]
    assert problems == [f"{path} is missing: photo left out"]


def test_a_mask_of_another_size_is_named(root):
    path = root / "v1.0-val" / "object_ann.json"
    rows = json.loads(path.read_text())
    rows[4]["mask"]["size"] = [WIDTH, HEIGHT]
    path.write_text(json.dumps(rows))
    frames, problems = read(root)
    assert len(frames) == 2
    assert problems == [
        "samples/CAM_BACK/log-a__CAM_BACK__9000000.png has a mask of (32, 18) pixels: photo left out"
    ]


def test_frames_survive_the_index(root, tmp_path):
    frames = read(root)[0]
    write_index(tmp_path / "index.jsonl", nuimages.open_dataset(root, "v1.0-val"), frames)
    back = read_index(tmp_path / "index.jsonl")[2]
    assert back.photos[0].labels == frames[2].photos[0].labels
    assert back.photos[0].distortion == tuple(DISTORTION)


def test_another_version_is_refused_with_those_that_are_there(root):
    with pytest.raises(InputError, match=r"'v1.0-mini'.*versions there: v1.0-val"):
        nuimages.open_dataset(root, "v1.0-mini")
