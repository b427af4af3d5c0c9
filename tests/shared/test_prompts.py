from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ovs3d.errors import InputError
from ovs3d.prompts.bank import PromptBank
from ovs3d.prompts.templates import TEMPLATES, TemplateName, sentences
from ovs3d.prompts.vocabulary import (
    Vocabulary,
    asked_vocabulary,
    builtin_names,
    builtin_vocabulary,
    parse_prompts,
    read_vocabulary,
)


class Encoder:
    """A text encoder whose embedding of a text depends on every letter."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        self.texts.extend(texts)
        rows = [torch.randn(5, generator=torch.Generator().manual_seed(sum(map(ord, t)))) for t in texts]
        return F.normalize(torch.stack(rows), dim=-1)


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


# reading


def test_a_line_of_prompts_is_split_at_semicolons():
    assert parse_prompts("mug; red ball ;table, wooden").names == ("mug", "red ball", "table, wooden")


def test_a_text_file_has_one_prompt_a_line(tmp_path):
    path = write(tmp_path, "classes.txt", "\ufeffmug\n red ball \r\ntable\n\n")
    assert read_vocabulary(path) == Vocabulary(("mug", "red ball", "table"))


def test_yaml_has_synonyms_and_distractors(tmp_path):
    text = "classes:\n  - wall\n  - sofa: [couch, settee]\ndistractors: [ceiling]\n"
    vocabulary = read_vocabulary(write(tmp_path, "v.yaml", text))
    assert vocabulary == Vocabulary(("wall", "sofa"), ((), ("couch", "settee")), ("ceiling",))
    assert vocabulary.words == (("wall",), ("sofa", "couch", "settee"))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no prompts"),
        ("  ", "no prompts"),
        ("mug; ;ball", "empty"),
        ("mug;", "empty"),
        ("mug; ball; Mug", "'Mug' comes twice"),
        ("red  mug; red mug", "twice"),
        ("mug; ball/cone", "mask files"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused_in_one_line(text, match):
    with pytest.raises(InputError, match=match) as caught:
        parse_prompts(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("classes.txt", "mug\n\nball\n", "empty"),
        ("classes.txt", "", "no prompts"),
        ("v.yaml", "classes: [mug, {ball: [mug]}]", "twice"),
        ("v.yaml", "classes: [mug]\ndistractors: [MUG]", "twice"),
        ("v.yaml", "classes: mug", "list `classes`"),
        ("v.yaml", "- mug", "list `classes`"),
        ("v.yaml", "classes: [mug]\nsynonyms: [cup]", "unknown entry 'synonyms'"),
        ("v.yaml", "classes: [1, 2]", "expected words"),
        ("v.yaml", "classes: [yes]", "expected words"),
        ("v.yaml", "classes: [mug: cup]", "expected words"),
        ("v.yaml", "classes: [mug: {masks: a}]", "unknown entry 'masks' of 'mug'"),
        ("v.yaml", "classes: [mug: {mask: 3}]", "expected words"),
        ("v.yaml", "classes: [mug: {mask: a/b}]", "'a/b' has a '/'"),
        ("v.yaml", "classes: [mug: {mask: ball}, ball]", "two prompts have the mask 'ball'"),
        ("v.yaml", "classes: [mug", "v.yaml"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_in_one_line(tmp_path, name, text, match):
    with pytest.raises(InputError, match=match) as caught:
        read_vocabulary(write(tmp_path, name, text))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path):
    with pytest.raises(InputError, match="no vocabulary at"):
        read_vocabulary(tmp_path / "classes.txt")
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\x00mug")
    with pytest.raises(InputError, match="UTF-8"):
        read_vocabulary(tmp_path / "classes.txt")


def test_masks_may_be_named_otherwise_than_prompts(tmp_path):
    text = (
        "classes:\n- grey sofa: {synonyms: [couch], mask: sofa_01}\n- on/off switch: {mask: switch}\n- mug\n"
    )
    vocabulary = read_vocabulary(write(tmp_path, "prompts.yaml", text))
    assert vocabulary.names == ("grey sofa", "on/off switch", "mug")
    assert vocabulary.words == (("grey sofa", "couch"), ("on/off switch",), ("mug",))
    assert vocabulary.mask_names == ("sofa_01", "switch", "mug")


def test_synonyms_come_one_list_per_prompt():
    with pytest.raises(InputError, match="1 lists of synonyms for 2"):
        Vocabulary(("a", "b"), (("c",),))


# what comes with the package


@pytest.mark.parametrize("name", builtin_names())
def test_every_vocabulary_of_the_package_can_be_read(name):
    vocabulary = builtin_vocabulary(name)
    assert all(word == word.strip() for words in vocabulary.words for word in words)
    assert not any("_" in word for words in vocabulary.words for word in words)


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("scannet20", 20, "wall", "other furniture"),
        ("nuscenes16", 16, "barrier", "vegetation"),
        ("nuimages", 11, "barrier", "driveable surface"),
        ("semantickitti19", 19, "car", "traffic sign"),
    ],
)
def test_classes_of_a_benchmark_are_in_its_order(name, count, first, last):
    names = builtin_vocabulary(name).names
    assert (len(names), names[0], names[-1]) == (count, first, last)


def test_3dovs_scenes_are_sorted_as_the_published_code_sorts_them():
    scenes = [name for name in builtin_names() if name.startswith("3dovs_")]
    assert {"3dovs_bed", "3dovs_sofa", "3dovs_lawn", "3dovs_bench"} <= set(scenes)
    for scene in scenes:
        names = builtin_vocabulary(scene).names
        assert list(names) == sorted(names)


def test_a_command_line_may_name_a_vocabulary_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert asked_vocabulary(None, Path("nuscenes16")) == builtin_vocabulary("nuscenes16")
    (tmp_path / "nuscenes16").write_text("mug\n")
    assert asked_vocabulary(None, Path("nuscenes16")) == Vocabulary(("mug",))  # a file goes first


def test_an_unknown_vocabulary_is_answered_with_the_closest():
    with pytest.raises(InputError, match="scannet20"):
        builtin_vocabulary("scannet200")


def test_every_template_has_one_place_for_the_word():
    for name in get_args(TemplateName):
        assert all(template.count("{}") == 1 for template in sentences(name))


def test_long_lists_are_clips_own_and_five_more():
    assert all(sentences(name) == templates for name, templates in TEMPLATES.items())
    of_imagenet, of_clip2scene = sentences("imagenet80"), sentences("clip2scene")
    assert len(set(of_imagenet)) == 80
    assert set(TEMPLATES["imagenet7"]) <= set(of_imagenet)
    assert of_clip2scene[:80] == of_imagenet
    assert len(set(of_clip2scene)) == 85


# embeddings


def test_a_class_is_the_renormalised_mean_over_words_and_templates():
    encoder = Encoder()
    vocabulary = Vocabulary(("wall", "sofa"), ((), ("couch",)))
    embeddings = PromptBank(encoder, ("a {}", "the {}.")).encode(vocabulary)
    rows = encoder.encode_texts(["a sofa", "the sofa.", "a couch", "the couch."])
    expected = torch.zeros(5)
    for row in rows:
        expected += row / 4
    torch.testing.assert_close(embeddings[1], expected / expected.norm())
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))


def test_without_template_the_prompt_itself_is_encoded():
    encoder = Encoder()
    PromptBank(encoder).encode(parse_prompts("red mug; {curly}"))
    assert encoder.texts == ["red mug", "{curly}"]


def test_classes_keep_their_order_and_do_not_see_each_other():
    bank = PromptBank(Encoder())
    one, two = bank.encode(parse_prompts("mug; ball")), bank.encode(parse_prompts("ball; mug; cone"))
    torch.testing.assert_close(one, two[[1, 0]])
