"""What a scene says of itself, and where its photos are."""

import json

import pytest

from ovs3d.errors import InputError
from ovs3d.scene import SceneSettings, read_settings, scene_images


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def write_frames(folder, *names):
    content = {"frames": [{"file_path": name} for name in names]}
    (folder / "transforms.json").write_text(json.dumps(content))


def test_the_frames_of_transforms_come_first_and_in_their_order(tmp_path):
    touch(tmp_path, "images/a.png", "images/b.png", "images/c.png")
    write_frames(tmp_path, "images/c.png", "./images/a.png")
    expected = [tmp_path / "images/c.png", tmp_path / "images/a.png"]
    assert scene_images(tmp_path) == expected
    assert scene_images(tmp_path / "transforms.json") == expected


def test_else_the_folder_images_and_else_the_folder_itself_are_sorted(tmp_path):
    touch(tmp_path, "b.JPG", "a.png", "notes.txt", ".ovs3d/x.safetensors")
    assert scene_images(tmp_path) == [tmp_path / "a.png", tmp_path / "b.JPG"]
    touch(tmp_path, "images/2.jpeg", "images/1.webp")
    assert scene_images(tmp_path) == [tmp_path / "images/1.webp", tmp_path / "images/2.jpeg"]


def test_a_scene_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        scene_images(tmp_path / "absent")
    with pytest.raises(InputError, match="no file"):
        scene_images(tmp_path / "absent.json")
    with pytest.raises(InputError, match="no images"):
        scene_images(touch(tmp_path / "photos", "notes.txt"))
    write_frames(tmp_path)
    with pytest.raises(InputError, match="no images"):
        scene_images(tmp_path)


def test_frames_without_their_image_are_counted_and_the_first_is_named(tmp_path):
    touch(tmp_path, "a.png")
    write_frames(tmp_path, "a.png", "b.png", "c.png")
    with pytest.raises(InputError, match=r"2 of 3 .*b\.png"):
        scene_images(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"frames": [{}]}', '{"frames": [3]}', '{"frames": 3}'])
def test_transforms_of_another_form_are_refused(tmp_path, content):
    (tmp_path / "transforms.json").write_text(content)
    with pytest.raises(InputError, match="expected JSON with a list `frames`"):
        scene_images(tmp_path)


def test_a_scene_need_not_say_anything(tmp_path):
    assert read_settings(tmp_path) == SceneSettings()


def test_settings_name_weights_prompts_and_negatives(tmp_path):
    (tmp_path / "words.txt").write_text("mug\nred ball\n")
    (tmp_path / "ovs3d.yaml").write_text("weights: mini\nprompts: words.txt\nnegatives: [thing, stuff]\n")
    settings = read_settings(tmp_path)
    assert (settings.weights, settings.negatives) == ("mini", ("thing", "stuff"))
    assert settings.vocabulary is not None
    assert settings.vocabulary.names == ("mug", "red ball")


def test_prompts_with_names_of_masks_go_before_a_plain_list(tmp_path):
    (tmp_path / "classes.txt").write_text("sofa_01\n")
    (tmp_path / "prompts.yaml").write_text("classes: [grey sofa: {mask: sofa_01}]\n")
    vocabulary = read_settings(tmp_path).vocabulary
    assert vocabulary is not None
    assert (vocabulary.names, vocabulary.mask_names) == (("grey sofa",), ("sofa_01",))


@pytest.mark.parametrize("name", ["classes.txt", "segmentations/classes.txt"])
def test_prompts_are_found_without_being_named(tmp_path, name):
    (touch(tmp_path, name) / name).write_text("mug\n")
    vocabulary = read_settings(tmp_path).vocabulary
    assert vocabulary is not None
    assert vocabulary.names == ("mug",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("weights: [", "ovs3d.yaml"),
        ("- mini", "expected entries"),
        ("wieghts: mini", "unknown entry 'wieghts'"),
        ("weights: 3", "weights must be a name"),
        ("negatives: thing", "negatives must be a list"),
        ("negatives: [3]", "negatives must be a list"),
        ("prompts: absent.txt", "absent.txt"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(tmp_path, content, said):
    (tmp_path / "ovs3d.yaml").write_text(content)
    with pytest.raises(InputError, match=said):
        read_settings(tmp_path)
