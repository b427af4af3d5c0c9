"""Measure a trained run on its held-out views: pictures, geometry and answers."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from nerfstudio.utils.eval_utils import eval_setup
from PIL import Image
from torch import Tensor

from nerf_methods.labels import remap
from nerf_methods.pipeline import Ovs3dPipeline
from nerf_methods.quality import picture_quality
from ovs3d.eval.confusion import Confusion
from ovs3d.foundation.tiles import TileSpec, encode_tiles
from ovs3d.images import read_image
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


def load_run(config: Path) -> Ovs3dPipeline:
    """A trained run, ready to render and to be asked.

    Args:
        config: the ``config.yml`` that ``ns-train`` wrote. It is YAML with Python objects: open only your own.
    """
    _, pipeline, _, _ = eval_setup(config, test_mode="test")
    assert isinstance(pipeline, Ovs3dPipeline)
    return pipeline


@torch.no_grad()
def held_out_views(pipeline: Ovs3dPipeline) -> Iterator[HeldOutView]:
    """Render the held-out views one by one."""
    model, dataset = pipeline.model, pipeline.datamanager.eval_dataset
    assert model.query is not None
    assert model.context.settings.vocabulary is not None
    own, asked = model.context.settings.vocabulary.names, model.query.names
    depth_files = dataset.metadata.get("depth_filenames") or [None] * len(dataset)
    scale = pipeline.datamanager.train_dataparser_outputs.dataparser_scale
    for index, depth_file in enumerate(depth_files):
        camera = dataset.cameras[index : index + 1].to(model.device)
        rays = camera.generate_rays(camera_indices=0, keep_shape=True)
        out = {name: value.cpu() for name, value in model.get_outputs_for_camera_ray_bundle(rays).items()}
        answers = model.similarity(out["features"].to(model.device))
        data = dataset[index]
        yield HeldOutView(
            path=dataset.image_filenames[index],
            photo=read_image(dataset.image_filenames[index]),
            mask=data.get("mask"),
            rgb=out["rgb"].clamp(0, 1),
            depth=(out["depth"] / rays.metadata["directions_norm"].cpu())[..., 0] / scale,
            true_depth=_read_depth(depth_file, dataset.metadata["depth_unit_scale_factor"])
            if depth_file
            else None,
            truth=remap(data["labels"], own, asked),
            answer=model.query.labels(answers).cpu(),
            relevancies=model.query.relevancies(answers).cpu(),
        )


@torch.no_grad()
def teacher_answer(pipeline: Ovs3dPipeline, photo: UInt8[Tensor, "h w 3"]) -> Int[Tensor, "h w"]:
    """What the teacher says of a photo by itself: the best class of its tiles' mean embedding over scales."""
    config, query = pipeline.datamanager.config, pipeline.model.query
    assert query is not None
    spec = TileSpec(scales=config.tile_scales, mode=config.tile_mode)
    tiles = encode_tiles(pipeline.model.context.clip, photo, spec, config.tile_batch)
    features = torch.nn.functional.normalize(tiles.grid(*photo.shape[:2]), dim=-1).mean(0)
    return query.best(similarity(features, query.text.float().cpu()))


def picture_metrics(view: HeldOutView) -> dict[str, float]:
    """PSNR in dB, SSIM, and the median relative error of depth where it is known."""
    metrics = picture_quality(view.rgb, view.photo / 255, view.mask)
    if view.true_depth is not None:
        known = view.true_depth > 0
        error = (view.depth - view.true_depth).abs()[known] / view.true_depth[known]
        metrics["depth_error"] = float(error.median())
    return metrics


def pooled(views: list[HeldOutView], answers: list[Int[Tensor, "h w"]], k: int) -> Confusion:
    """Confusion of answers with the truth, over all views."""
    confusion = Confusion.empty(k)
    for view, answer in zip(views, answers, strict=True):
        confusion = confusion.update(view.truth, answer)
    return confusion


def _read_depth(path: Path, unit: float) -> Float[Tensor, "h w"]:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image).astype(np.float32)) * unit
