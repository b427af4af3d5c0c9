"""Measure a trained run on its held-out views: pictures, geometry and answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from nerf_methods.datamanager import depth_of_photo
from nerf_methods.labels import remap
from nerf_methods.quality import picture_quality
from nerf_methods.run import Run
from ovs3d.eval.confusion import Confusion
from ovs3d.foundation.tiles import Tiles, encode_tiles
from ovs3d.query import similarity


@dataclass(frozen=True, eq=False)
class HeldOutView:
    """A view that was not trained on, as rendered and as it is."""

    path: Path
    photo: UInt8[Tensor, "h w 3"]
    mask: Bool[Tensor, "h w 1"] | None
    """False where the photo shows what is not of the scene."""
    rgb: Float[Tensor, "h w 3"]
    depth: Float[Tensor, "h w"]
    """z-depth in the scene's own unit (metres for worlds)."""
    true_depth: Float[Tensor, "h w"] | None
    """0 where unknown."""
    truth: UInt8[Tensor, "h w"]
    """Position in the prompts that are asked; 255 where there is no truth."""
    answer: Int[Tensor, "h w"]
    """The same as predicted; -1 where there is no answer."""
    relevancies: Float[Tensor, "h w k"]


def held_out_views(run: Run) -> Iterator[HeldOutView]:
    """Render the held-out views one by one."""
    dataset = run.pipeline.datamanager.eval_dataset
    depth_files = dataset.metadata.get("depth_filenames") or [None] * len(dataset)
    for index, depth_file in enumerate(depth_files):
        view, data = run.render(dataset.cameras[index : index + 1]), dataset[index]
        unit = dataset.metadata["depth_unit_scale_factor"] if depth_file else 1.0
        height, width = view.depth.shape
        yield HeldOutView(
            path=dataset.image_filenames[index],
            photo=(data["image"][..., :3] * 255).round().byte(),
            mask=data.get("mask"),
            rgb=view.rgb,
            depth=view.depth,
            true_depth=depth_of_photo(depth_file, (height, width)) * unit if depth_file else None,
            truth=asked_truth(run, data["labels"]),
            answer=run.labels(view),
            relevancies=run.relevancies(view),
        )


def asked_truth(run: Run, labels: UInt8[Tensor, "h w"]) -> UInt8[Tensor, "h w"]:
    """The scene's class ids as positions in the prompts that are asked; 255 where there is no truth."""
    return remap(labels, own_prompts(run), run.query.names)


def own_prompts(run: Run) -> tuple[str, ...]:
    """The classes of the scene's own truth."""
    vocabulary = run.pipeline.datamanager.settings.vocabulary
    return vocabulary.names if vocabulary else ()


def photo_tiles(run: Run, photo: UInt8[Tensor, "h w 3"]) -> Tiles:
    """What the teacher sees in a photo by itself."""
    data = run.pipeline.datamanager
    return encode_tiles(data.context.clip, photo, data.tile_spec, data.config.tile_batch)


def teacher_answer(run: Run, photo: UInt8[Tensor, "h w 3"]) -> Int[Tensor, "h w"]:
    """What the teacher says of a photo by itself."""
    return tiles_answer(run, photo_tiles(run, photo))


@torch.no_grad()
def tiles_answer(run: Run, tiles: Tiles) -> Int[Tensor, "h w"]:
    """The best class of the mean embedding over the scales of the tiles, at each pixel of their photo."""
    features = F.normalize(tiles.grid(tiles.height, tiles.width), dim=-1).mean(0)
    return run.query.best(similarity(features, run.query.text.float().cpu()))


def picture_metrics(view: HeldOutView) -> dict[str, float]:
    """PSNR in dB, SSIM, and the median relative error of depth where it is known."""
    metrics = picture_quality(view.rgb, view.photo / 255, view.mask)
    if view.true_depth is not None:
        known = view.true_depth > 0
        error = (view.depth - view.true_depth).abs()[known] / view.true_depth[known]
        metrics["depth_error"] = float(error.median())
    return metrics


def pooled(
    truths: Sequence[UInt8[Tensor, "_h _w"]], answers: Sequence[Int[Tensor, "_h _w"]], k: int
) -> Confusion:
    """Confusion of answers with the truth, over all views."""
    confusion = Confusion.empty(k)
    for truth, answer in zip(truths, answers, strict=True):
        confusion = confusion.update(truth, answer)
    return confusion
