"""A trained run from Python: ask it, look at it from anywhere, ask it about points in space."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.utils.eval_utils import eval_setup
from torch import Tensor

from nerf_methods.pipeline import Ovs3dPipeline
from nerf_methods.query import Query
from ovs3d.errors import InputError
from ovs3d.geometry import Camera, opengl_from_opencv
from ovs3d.prompts.vocabulary import Vocabulary, parse_prompts

POINTS_AT_ONCE = 1 << 17


@dataclass(frozen=True, eq=False)
class View:
    """A rendered picture on the CPU, which can be asked again and again."""

    rgb: Float[Tensor, "h w 3"]
    """In 0..1."""
    depth: Float[Tensor, "h w"]
    """z-depth in the scene's own unit; along the ray for cameras that are not perspective."""
    opacity: Float[Tensor, "h w"]
    """In 0..1; low where the ray meets nothing."""
    points: Float[Tensor, "h w 3"]
    """Where rays end, in the scene's own frame."""
    features: Float[Tensor, "h w c"]
    """What `Run.labels` and `Run.relevancies` need."""


class Run:
    """What `load_run` returns.

    The scene's own frame is that of the poses which nerfstudio's data parser read, before it centred and scaled them
    (and, as in nerfstudio, before the ``applied_transform`` of a ``transforms.json``).
    """

    def __init__(self, pipeline: Ovs3dPipeline, seed: int = 0) -> None:
        self.pipeline = pipeline
        self.seed = seed
        """Of the training."""
        outputs = pipeline.datamanager.train_dataparser_outputs
        self.scale = float(outputs.dataparser_scale)
        """Length in nerfstudio's frame of the unit of the scene's own."""
        self._transform = torch.eye(4)
        self._transform[:3] = outputs.dataparser_transform

    @property
    def weights(self) -> dict[str, str]:
        """What it was taught by."""
        data = self.pipeline.datamanager
        return {"clip": data.weights} | ({"dino": data.dino_weights} if self.pipeline.needs_dino else {})

    @property
    def query(self) -> Query:
        """The question that is asked at present.

        Raises:
            InputError: there is none.
        """
        if self.pipeline.model.query is None:
            raise InputError("nothing is asked: give prompts, for instance 'mug; red ball'")
        return self.pipeline.model.query

    def ask(
        self,
        prompts: str | Vocabulary | None = None,
        negatives: Sequence[str] | None = None,
        threshold: float | None = None,
    ) -> Query:
        """Ask something else; what was rendered before answers it too.

        Args:
            prompts: ``mug; red ball``, or a vocabulary with synonyms and distractors. Default: as the run was trained.
            negatives: what prompts are compared with; none at all: with each other. Default: as the run was trained.
            threshold: relevancy below which there is no answer, 0..1. Default: as the run was trained.

        Raises:
            InputError: nothing of it can be answered.
        """
        vocabulary = parse_prompts(prompts) if isinstance(prompts, str) else prompts
        vocabulary = self.pipeline.model.vocabulary if vocabulary is None else vocabulary
        if vocabulary is None:
            raise InputError("nothing is asked: give prompts, for instance 'mug; red ball'")
        return self.pipeline.model.ask(vocabulary, None if negatives is None else tuple(negatives), threshold)

    def cameras(self, split: Literal["train", "held-out"] = "held-out") -> Cameras:
        """The cameras of the photos, in nerfstudio's frame."""
        return copy(self._dataset(split).cameras)

    def photos(self, split: Literal["train", "held-out"] = "held-out") -> list[Path]:
        """The files of the photos."""
        return list(self._dataset(split).image_filenames)

    def _dataset(self, split: Literal["train", "held-out"]) -> InputDataset:
        data = self.pipeline.datamanager
        return data.train_dataset if split == "train" else data.eval_dataset

    def camera(self, camera: Camera) -> Cameras:
        """A camera of one's own, given in the scene's own frame."""
        pose = self._transform @ torch.from_numpy(opengl_from_opencv(camera.world_from_camera)).float()
        pose[:3, 3] *= self.scale
        k = torch.from_numpy(camera.intrinsics).float()
        return Cameras(pose[None, :3], k[:1, 0], k[1:2, 1], k[:1, 2], k[1:2, 2], camera.width, camera.height)

    @torch.no_grad()
    def render(self, camera: Cameras) -> View:
        """Render the first of some cameras."""
        model = self.pipeline.model
        rays = camera[:1].to(model.device).generate_rays(camera_indices=0, keep_shape=True)
        out = {name: value.cpu() for name, value in model.render(rays).items()}
        points = rays.origins.cpu() + rays.directions.cpu() * out["depth"]
        return View(
            rgb=out["rgb"].clamp(0, 1),
            depth=(out["depth"] / rays.metadata["directions_norm"].cpu())[..., 0] / self.scale,
            opacity=out["accumulation"][..., 0],
            points=self.to_scene(points),
            features=out["features"],
        )

    @torch.no_grad()
    def labels(self, view: View) -> Int[Tensor, "h w"]:
        """The prompt that each pixel answers to, as its position in the question; -1: no answer."""
        return self.query.labels(self.similarity(view.features)).cpu()

    @torch.no_grad()
    def relevancies(self, view: View) -> Float[Tensor, "h w k"]:
        """How well each pixel fits each prompt, 0..1."""
        return self.query.relevancies(self.similarity(view.features)).cpu()

    def labels_at(self, points: Float[Tensor, "n 3"]) -> Int[Tensor, " n"]:
        """The prompt that each point of the scene's own frame answers to; -1: no answer.

        Features are learnt on surfaces: what is said of points in the open means nothing.
        """
        return self._at(points)[0]

    def relevancies_at(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n k"]:
        """How well each point of the scene's own frame fits each prompt, 0..1."""
        return self._at(points)[1]

    @torch.no_grad()
    def _at(self, points: Float[Tensor, "n 3"]) -> tuple[Int[Tensor, " n"], Float[Tensor, "n k"]]:
        model, query = self.pipeline.model, self.query
        labels, scores = [torch.empty(0, dtype=torch.long)], [torch.empty(0, len(query.names))]
        for chunk in points.split(POINTS_AT_ONCE):
            code = model.feature(model.space(self.from_scene(chunk).to(model.device)))
            similarity = model.similarity(torch.cat([code, torch.ones_like(code[:, :1])], dim=1))
            labels.append(query.labels(similarity).cpu())
            scores.append(query.relevancies(similarity).cpu())
        return torch.cat(labels), torch.cat(scores)

    @torch.no_grad()
    def similarity(self, features: Float[Tensor, "*n c"]) -> Float[Tensor, "*n t"]:
        """Cosine of rendered features with the texts of the question, which a `Query` reads."""
        return self.pipeline.model.similarity(features.to(self.pipeline.model.device))

    def from_scene(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Points of the scene's own frame, in nerfstudio's."""
        return (points @ self._transform[:3, :3].T + self._transform[:3, 3]) * self.scale

    def to_scene(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Points of nerfstudio's frame, in the scene's own."""
        inverse = torch.linalg.inv(self._transform)
        return points / self.scale @ inverse[:3, :3].T + inverse[:3, 3]


def load_run(config: Path | str) -> Run:
    """A trained run, ready to render and to be asked.

    Args:
        config: the ``config.yml`` that ``ns-train`` wrote. It is YAML with Python objects: open only your own.

    Raises:
        InputError: no such file, or a run of another method.
    """
    path = Path(config)
    if not path.is_file():
        raise InputError(f"no run at {path}: give the config.yml that ns-train wrote")
    settings, pipeline, _, _ = eval_setup(path, test_mode="test")
    if not isinstance(pipeline, Ovs3dPipeline):
        raise InputError(f"{path} is a run of another method: expected one of ns-train ovs3d")
    return Run(pipeline, settings.machine.seed)
