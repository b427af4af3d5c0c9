"""Answers follow the question: against negatives, against each other, or none at all."""

import dataclasses
import math

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer

from nerf_methods.query import Query, ask
from ovs3d.errors import InputError
from ovs3d.foundation.clip import Clip
from ovs3d.prompts.vocabulary import Vocabulary
from ovs3d.query import CANONICAL_NEGATIVES


def make_query(prompts: int, distractors: int = 0, negatives: int = 0, threshold: float = 0.0) -> Query:
    text = F.normalize(torch.randn(prompts + distractors + negatives, 8), dim=-1)
    names = tuple(f"thing {i}" for i in range(prompts))
    against = tuple(f"other {i}" for i in range(negatives))
    return Query(names, text, distractors, against, threshold, tuple(range(prompts)))


def sigmoid(difference: float) -> float:
    return 1 / (1 + math.exp(-10 * difference))


SIMILARITY = torch.tensor([0.20, 0.25, 0.10, 0.30, 0.22])


def test_prompts_are_compared_with_the_strongest_negative():
    found = make_query(3, negatives=2).relevancies(SIMILARITY)
    assert found.tolist() == pytest.approx([sigmoid(s - 0.30) for s in (0.20, 0.25, 0.10)])


def test_distractors_are_no_negatives_where_there_are_negatives():
    found = make_query(2, distractors=2, negatives=1).relevancies(SIMILARITY)
    assert found.tolist() == pytest.approx([sigmoid(s - 0.22) for s in (0.20, 0.25)])


def test_without_negatives_prompts_are_compared_with_each_other_and_the_distractors():
    found = make_query(3, distractors=2).relevancies(SIMILARITY)
    assert found.tolist() == pytest.approx([sigmoid(s - 0.30) for s in (0.20, 0.25, 0.10)])
    found = make_query(3).relevancies(SIMILARITY[:3])
    assert found.tolist() == pytest.approx([sigmoid(-0.05), sigmoid(0.05), sigmoid(-0.15)])


def test_a_single_prompt_alone_is_scored_by_its_cosine():
    found = make_query(1).relevancies(torch.tensor([[-1.0], [0.0], [0.5]]))
    assert found.flatten().tolist() == pytest.approx([0, 0.5, 0.75])


def test_the_most_similar_prompt_is_the_answer():
    similarity = torch.rand(4, 5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(make_query(3).labels(similarity), similarity.argmax(-1))


def test_a_distractor_that_wins_is_no_answer():
    query = make_query(2, distractors=1, negatives=1)
    rows = torch.tensor([[0.2, 0.3, 0.1, 0.9], [0.2, 0.3, 0.4, 0.0]])
    assert query.labels(rows).tolist() == [1, -1]


def test_a_winner_below_the_threshold_is_no_answer():
    rows = torch.tensor([[0.30, 0.1, 0.30], [0.31, 0.1, 0.30], [0.1, 0.29, 0.30]])
    assert make_query(2, negatives=1, threshold=0.501).labels(rows).tolist() == [-1, 0, -1]
    assert make_query(2, negatives=1, threshold=0.4).labels(rows).tolist() == [0, 0, 1]


def test_a_prompt_that_is_not_known_is_never_the_answer():
    names, text = ("dragon", "mug", "unicorn", "ball"), torch.zeros(3, 8)  # mug, ball, a negative
    query = Query(names, text, distractors=0, negatives=("wall",), threshold=0.0, known=(1, 3))
    similarity = torch.tensor([[0.25, 0.25, 0.3], [-0.9, -0.8, -0.1]])
    assert query.labels(similarity).tolist() == [1, 3]
    expected = torch.tensor([[0, sigmoid(-0.05), 0, sigmoid(-0.05)], [0, sigmoid(-0.8), 0, sigmoid(-0.7)]])
    torch.testing.assert_close(query.relevancies(similarity), expected)
    alone = Query(names, text, distractors=1, negatives=(), threshold=0.0, known=(1, 3))
    assert alone.labels(torch.tensor([[0.3, 0.2, 0.4], [0.3, 0.4, 0.3]])).tolist() == [-1, 3]


@pytest.fixture(scope="module")
def clip() -> Clip:
    torch.manual_seed(0)
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"layers": 1, "width": 16, "head_width": 8, "patch_size": 8, "image_size": 16}
    model = open_clip.CLIP(embed_dim=8, vision_cfg=vision, text_cfg=text).eval()
    return Clip("tiny", "tiny", "0" * 64, 8, 16, model, SimpleTokenizer())


def test_texts_are_prompts_then_distractors_then_negatives(clip):
    vocabulary = Vocabulary(("mug", "ball"), distractors=("lamp",))
    query = ask(clip, vocabulary, negatives=("wall", "floor"), threshold=0.3)
    expected = clip.encode_texts(["mug", "ball", "lamp", "wall", "floor"])
    torch.testing.assert_close(query.text, expected)
    assert (query.names, query.distractors) == (("mug", "ball"), 1)
    assert (query.negatives, query.threshold) == (("wall", "floor"), 0.3)


def test_none_stands_for_lerfs_negatives_and_an_empty_list_for_none(clip):
    vocabulary = Vocabulary(("mug",))
    default, none = ask(clip, vocabulary, negatives=None), ask(clip, vocabulary, negatives=())
    torch.testing.assert_close(default.text[1:], clip.encode_texts(list(CANONICAL_NEGATIVES)))
    assert (default.negatives, none.negatives, len(none.text)) == (CANONICAL_NEGATIVES, (), 1)


def know(clip: Clip, *words: str) -> Clip:
    """The same weights, as if trained on these words alone."""
    return dataclasses.replace(
        clip, known_ids=frozenset(i for word in words for i in clip.tokenizer.encode(word))
    )


def test_what_the_weights_do_not_know_is_noted_and_the_rest_is_asked(clip):
    few = know(clip, "mug", "ball", "wall")
    query = ask(few, Vocabulary(("dragon", "mug", "unicorn", "ball")), negatives=("wall",))
    assert query.names == ("dragon", "mug", "unicorn", "ball")
    assert query.known == (1, 3)
    torch.testing.assert_close(query.text, clip.encode_texts(["mug", "ball", "wall"]))
    assert [("dragon" in note, "unicorn" in note) for note in query.notes] == [(True, False), (False, True)]


def test_negatives_that_the_weights_do_not_know_are_the_other_prompts(clip):
    few = know(clip, "mug", "ball")
    query = ask(few, Vocabulary(("mug", "ball")), negatives=None)
    assert (query.negatives, len(query.text), len(query.notes)) == ((), 2, 1)


@pytest.mark.parametrize(
    ("prompt", "distractors", "negatives"),
    [("dragon", (), ()), ("mug", (), ("wall",)), ("mug", ("wall",), ())],
    ids=["no prompt", "a negative", "a distractor"],
)
def test_a_question_of_unknown_words_is_refused(clip, prompt, distractors, negatives):
    with pytest.raises(InputError, match="cannot know"):
        ask(know(clip, "mug", "ball"), Vocabulary((prompt,), distractors=distractors), negatives)
