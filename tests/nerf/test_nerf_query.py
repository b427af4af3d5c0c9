"""Answers follow the question: against negatives, against each other, or none at all."""

import math

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer

from nerf_methods.query import Query, ask
from ovs3d.foundation.clip import Clip
from ovs3d.prompts.vocabulary import Vocabulary
from ovs3d.query import CANONICAL_NEGATIVES


def make_query(prompts: int, distractors: int = 0, negatives: int = 0, threshold: float = 0.0) -> Query:
    text = F.normalize(torch.randn(prompts + distractors + negatives, 8), dim=-1)
    names = tuple(f"thing {i}" for i in range(prompts))
    return Query(names, text, distractors, negatives, threshold)


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
    assert (query.names, query.distractors, query.negatives, query.threshold) == (("mug", "ball"), 1, 2, 0.3)


def test_none_stands_for_lerfs_negatives_and_an_empty_list_for_none(clip):
    vocabulary = Vocabulary(("mug",))
    default, none = ask(clip, vocabulary, negatives=None), ask(clip, vocabulary, negatives=())
    torch.testing.assert_close(default.text[1:], clip.encode_texts(list(CANONICAL_NEGATIVES)))
    assert (default.negatives, none.negatives, len(none.text)) == (4, 0, 1)
