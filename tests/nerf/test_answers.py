"""Pictures of answers: each prompt through its own mask."""

import torch

from nerf_methods.answers import answer_pictures
from nerf_methods.query import Query
from ovs3d.outputs.palette import NO_ANSWER_COLOR, heat_table, palette

RGB = torch.rand(1, 3, 3, generator=torch.Generator().manual_seed(0))
SIMILARITY = torch.tensor([[[0.9, 0.2, 0.5], [0.1, 0.8, 0.5], [0.3, 0.2, 0.5]]])  # two prompts, one negative


def pictures(threshold: float = 0.0) -> dict[str, torch.Tensor]:
    query = Query(("mug", "ball"), torch.eye(3), 0, ("wall",), threshold, known=(0, 1))
    return answer_pictures(query, SIMILARITY, RGB)


def test_a_composite_shows_heat_where_its_own_prompt_is_relevant_and_the_photo_elsewhere():
    found = pictures()
    assert set(found) == {"relevancy_0", "relevancy_1", "composited_0", "composited_1", "segmentation"}
    for i in range(2):
        heat = torch.from_numpy(heat_table().copy()).float() / 255
        level = int(255 * (found[f"relevancy_{i}"][0, i, 0] - 0.5) / 0.5)
        torch.testing.assert_close(found[f"composited_{i}"][0, i], heat[level])
        for j in {0, 1, 2} - {i}:
            assert torch.equal(found[f"composited_{i}"][0, j], RGB[0, j])


def test_the_threshold_takes_away_heat_and_answers():
    colors = torch.from_numpy(palette()[:2].copy()).float() / 255
    torch.testing.assert_close(pictures()["segmentation"][0], colors[[0, 1, 0]])
    strict = pictures(threshold=0.97)  # relevancies are 0.982, 0.953 and 0.119
    grey = torch.tensor(NO_ANSWER_COLOR).float() / 255
    torch.testing.assert_close(strict["segmentation"][0], torch.stack([colors[0], grey, grey]))
    assert torch.equal(strict["composited_1"], RGB)
