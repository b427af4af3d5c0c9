"""What is rendered: colour, depth, a code of CLIP features, and the answers to the current question."""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.model_components.renderers import DepthRenderer
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils import colormaps
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from torchmetrics.functional import peak_signal_noise_ratio

from nerf_methods.answers import answer_pictures
from nerf_methods.datamanager import SceneContext
from nerf_methods.field import AppearanceField, DensityGrid, FeatureField, SelectionField
from nerf_methods.frustum import FrustumSpace
from nerf_methods.geometry import geometry_losses
from nerf_methods.labels import missing, remap
from nerf_methods.last_view import LastView
from nerf_methods.losses import LossConfig
from nerf_methods.quality import picture_quality
from nerf_methods.query import Query, ask, default_negatives
from nerf_methods.rendering import composite, heaviest, visible
from nerf_methods.sampling import ProposalSampler, Sampled
from nerf_methods.space import SceneSpace
from nerf_methods.viewer import QueryPanel
from nerf_methods.volumes import Volume, make_volume
from ovs3d.eval.confusion import Confusion
from ovs3d.prompts.templates import TemplateName
from ovs3d.prompts.vocabulary import Vocabulary, parse_prompts


@dataclass
class Ovs3dModelConfig(ModelConfig):
    """The field and how it is rendered."""

    _target: type = field(default_factory=lambda: Ovs3dModel)
    enable_collider: bool = False
    """Unused: rays are clipped at near_plane and far_plane."""
    eval_num_rays_per_chunk: int = 16384
    """Rays that are rendered at once."""
    near_plane: float = 0.6
    """Where rays start, in distances to the nearest things (the nearest twentieth of what is seen is left out)."""
    far_plane: float = 1000.0
    """Where rays end, in distances from the cameras to what they look at."""
    proposal_resolutions: tuple[int, ...] = (16, 32, 64)
    """Voxels per axis of the proposal's density grids."""
    density_resolutions: tuple[int, ...] = (16, 32, 64, 128)
    """Voxels per axis of the density grids."""
    samples: tuple[int, int] = (64, 32)
    """Samples per ray of the proposal and of the field."""
    volumes: Literal["planes", "hash"] = "planes"
    """planes: planes and lines (TensoRF), fast everywhere. hash: hash grids (Instant NGP), made for CUDA."""
    implementation: Literal["tcnn", "torch"] = "tcnn"
    """Of hash grids: tinycudann, or torch, which is slow."""
    hash_grid: tuple[int, int] = (19, 2048)
    """Logarithm of the entries of a level of a hash grid, and resolution of its finest level."""
    appearance: tuple[int, int] = (16, 384)
    """Channels and resolution of the planes and lines of colour."""
    features: tuple[int, int] = (16, 128)
    """Channels and resolution of the planes and lines of CLIP features."""
    feature_rank: int = 27
    """Rank of the CLIP features: channels that are rendered."""
    selection: tuple[int, int] = (8, 64)
    """Channels and resolution of the planes and lines of the selection volume."""
    visible_weight: float = 0.01
    """Samples of a lower weight get no colour and no feature."""
    surface_samples: int = 4
    """Samples of a ray that features are trained on."""
    distortion_loss_mult: float = 0.01
    """Weight of the distortion loss (Mip-NeRF 360)."""
    total_variation_mult: float = 1e-3
    """Weight of the density's total variation."""
    depth_loss_mult: float = 1e-3
    """Weight of measured depth, where the data manager has it."""
    depth_noise: float = 0.01
    """Standard deviation of measured depth, as a share of it."""
    losses: LossConfig = field(default_factory=LossConfig)
    """What features are learnt by."""
    negatives: tuple[str, ...] | None = None
    """What prompts are compared with for relevancy. Default: what the scene's ovs3d.yaml names, else LERF's four."""
    template: TemplateName = "none"
    """Sentences that prompts are put into."""
    answer_threshold: float = 0.0
    """Relevancy below which a pixel gets no answer."""


class Ovs3dModel(Model):
    """A radiance field with CLIP features, chosen among scales by a selection volume (3D-OVS)."""

    config: Ovs3dModelConfig
    class_texts: Float[Tensor, "c d"]
    """Embeddings of the run's own prompts that the weights know and of its distractors: what a point can be, whatever
    is asked in the viewer while it trains."""

    def populate_modules(self) -> None:
        super().populate_modules()
        config = self.config
        context: SceneContext = self.kwargs["metadata"]["context"]
        self.context = context
        self.losses = config.losses.resolve()
        frustum = context.frustum
        self.space = SceneSpace(context.center, context.radius) if frustum is None else FrustumSpace(frustum)
        self.proposal = DensityGrid(config.proposal_resolutions)
        detail = self._make_volume(config.appearance) if config.volumes == "hash" else None
        self.density = DensityGrid(config.density_resolutions, detail=detail)
        self.appearance = AppearanceField(self._make_volume(config.appearance))
        volume = self._make_volume(config.features)
        self.feature = FeatureField(context.clip.d, config.feature_rank, context.scales, volume)
        self.selection = SelectionField(context.scales, self._make_volume(config.selection))
        self.sampler = ProposalSampler(self.space, self.proposal, self.density, config.samples)
        self.median_depth = DepthRenderer("median")
        self.expected_depth = DepthRenderer("expected")
        self.collider = self._collide
        self.confusion: Confusion | None = None
        self.last_view = LastView()
        self.query: Query | None = None
        self.scale: int | None = None
        own = context.settings.vocabulary
        self.vocabulary = own if config.prompt is None else parse_prompts(config.prompt)
        asked = None if self.vocabulary is None else self.ask(self.vocabulary)
        classes = torch.empty(0, context.clip.d) if asked is None else asked.text[: asked.classes].float()
        self.register_buffer("class_texts", classes, persistent=False)
        without = ("no prompts: features are learnt without RDA and FDA",)
        for note in without if asked is None else asked.notes:
            CONSOLE.print(note, style="bold yellow")
        negatives = self._negatives if self._negatives is not None else default_negatives(context.clip)
        self.panel = QueryPanel(
            self.ask_text, self.query, "; ".join(negatives), config.answer_threshold, context.scales
        )

    def _make_volume(self, planes: tuple[int, int]) -> Volume:
        return make_volume(self.config.volumes, planes, self.config.hash_grid, self.config.implementation)

    def _collide(self, rays: RayBundle) -> RayBundle:
        near = self.config.near_plane * float(self.space.nearest)
        far = self.config.far_plane * 2 * float(self.space.radius)
        rays.nears = torch.full_like(rays.origins[..., :1], near)
        rays.fars = torch.full_like(rays.origins[..., :1], far)
        return rays

    @property
    def _negatives(self) -> tuple[str, ...] | None:
        """What the configuration, else the scene names."""
        return self.context.settings.negatives if self.config.negatives is None else self.config.negatives

    def ask(
        self, vocabulary: Vocabulary, negatives: tuple[str, ...] | None = None, threshold: float | None = None
    ) -> Query:
        """Change the question. Nothing is trained or rendered again but by who asks for a picture.

        Args:
            negatives: what prompts are compared with; none at all stands for each other. Default: what the
                configuration, else the scene names, else LERF's four.
            threshold: relevancy below which there is no answer, 0..1. Default: the configuration's.

        Raises:
            InputError: nothing of it can be answered.
        """
        limit = self.config.answer_threshold if threshold is None else threshold
        against = self._negatives if negatives is None else negatives
        self.query = ask(self.context.clip, vocabulary, against, self.config.template, limit)
        return self.query

    def ask_text(self, prompts: str, negatives: str, threshold: float, scale: int) -> Query:
        """The same from lines such as ``mug; red ball``; scale 0 is the selection volume's mixture, 1 the first."""
        against = tuple(word.strip() for word in negatives.split(";") if word.strip())
        query = self.ask(parse_prompts(prompts), against, threshold)
        self.scale = scale - 1 if scale else None
        return query

    def get_param_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """In one order, always: a checkpoint's moments are matched with parameters by position."""
        density, color, feature, selection = self.density, self.appearance, self.feature, self.selection
        return {
            "density": [*self.proposal.parameters(), *density.grid.parameters()],
            "appearance": [*_volume(color), *_volume(density)],
            "shading": [*_heads(color), *_heads(density)],
            "semantic_volumes": [*_volume(feature), *_volume(selection)],
            "semantic_heads": [*_heads(feature), *_heads(selection)],
        }

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Any]:
        sampled = self.sampler(ray_bundle)
        weights, samples = sampled.weights[..., 0], sampled.samples
        seen, x = self.seen(sampled)
        ray, shown, rays = seen.nonzero()[:, 0], weights[seen], len(weights)
        accumulation = weights.sum(1, keepdim=True)
        color = self.appearance(x, samples.frustums.directions[seen])
        outputs = {
            "rgb": composite(color, shown, ray, rays),
            "accumulation": accumulation,
            "depth": self.median_depth(sampled.weights.detach(), samples),
            "expected_depth": self.expected_depth(sampled.weights.detach(), samples),
        }
        if self.training:
            return outputs | {"sampled": sampled, "directions_norm": ray_bundle.metadata["directions_norm"]}
        code = composite(self.feature(x), shown, ray, rays)
        return outputs | {"features": torch.cat([code, accumulation], dim=1)}

    def seen(self, sampled: Sampled) -> tuple[Bool[Tensor, "r s"], Float[Tensor, "n 3"]]:
        """Which samples get a colour and a feature, and where they are in the cube of the field."""
        seen = visible(sampled.weights[..., 0].detach(), self.config.visible_weight)
        return seen, self.space(sampled.samples.frustums.get_positions()[seen])

    def similarity(self, features: Float[Tensor, "*n c"]) -> Float[Tensor, "*n t"]:
        """Cosine of rendered features with the texts of the question, at the chosen scale."""
        assert self.query is not None
        flat = features.reshape(-1, features.shape[-1])
        text = self.query.text.to(flat)
        found = self.feature.similarity(flat[:, :-1], flat[:, -1:], text, self.scale)
        return found.view(*features.shape[:-1], len(text))

    @torch.no_grad()
    def get_outputs_for_camera(
        self, camera: Cameras, obb_box: OrientedBox | None = None
    ) -> dict[str, Tensor]:
        """As nerfstudio's, but the last camera's picture is rendered once, however often it is asked."""
        if obb_box is not None:
            return super().get_outputs_for_camera(camera, obb_box)
        outputs = self.last_view.find(self, camera)
        if outputs is None:
            outputs = self._pictured(camera.to(self.device).generate_rays(camera_indices=0, keep_shape=True))
            self.last_view.keep(self, camera, outputs)
        return self._answered(outputs)

    @torch.no_grad()
    def get_outputs_for_camera_ray_bundle(self, camera_ray_bundle: RayBundle) -> dict[str, Tensor]:
        return self._answered(self._pictured(camera_ray_bundle))

    def render(self, rays: RayBundle) -> dict[str, Float[Tensor, "h w _c"]]:
        """Colour, depth and features of a picture's rays, without any answer."""
        return super().get_outputs_for_camera_ray_bundle(rays)

    def _pictured(self, rays: RayBundle) -> dict[str, Float[Tensor, "h w _c"]]:
        """All that does not depend on the question."""
        outputs = self.render(rays)
        return outputs | {"feature_pca": self.feature.colors(outputs["features"])}

    def _answered(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The outputs and, if something is asked, the answers as pictures."""
        if self.query is None:
            return outputs
        return outputs | answer_pictures(self.query, self.similarity(outputs["features"]), outputs["rgb"])

    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Tensor]:
        image = batch["image"].to(self.device)[..., :3]
        return {"psnr": peak_signal_noise_ratio(outputs["rgb"].detach().clamp(0, 1), image, data_range=1.0)}

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        image = batch["image"].to(self.device)[..., :3]
        if not self.training:
            return {"rgb_loss": F.mse_loss(outputs["rgb"], image)}
        return geometry_losses(self, outputs, image, batch.get("depth_image"))

    @torch.no_grad()
    def surface(self, rays: RayBundle) -> tuple[Float[Tensor, "r k 3"], Float[Tensor, "r k"]]:
        """Where rays end: their heaviest samples in the cube of the field, and the weights."""
        sampled = self.sampler(self._collide(rays))
        index, weights = heaviest(sampled.weights[..., 0], self.config.surface_samples)
        positions = sampled.samples.frustums.get_positions()
        return self.space(positions.gather(1, index[..., None].expand(-1, -1, 3))), weights

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        image = batch["image"].to(self.device)[..., :3]
        rgb = outputs["rgb"].clamp(0, 1)
        depth = colormaps.apply_depth_colormap(outputs["depth"], accumulation=outputs["accumulation"])
        images = {"img": torch.cat([image, rgb], dim=1), "depth": depth}
        if "segmentation" in outputs:
            images["segmentation"] = outputs["segmentation"]
        if "labels" in batch and self.query is not None:
            self._count(outputs["features"], batch["labels"], self.query)
        return picture_quality(rgb, image, batch.get("mask")), images

    def _count(self, features: Float[Tensor, "h w c"], truth: UInt8[Tensor, "h w"], query: Query) -> None:
        """Add a view to the pooled confusion of the evaluation that is under way, if all that is there is asked."""
        own = self.context.settings.vocabulary
        if self.confusion is not None and own is not None and not missing(own.names, query.names):
            truth = remap(truth, own.names, query.names)
            prediction = query.labels(self.similarity(features))
            self.confusion = self.confusion.update(truth.cpu(), prediction.cpu())


def _volume(field: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [value for name, value in field.named_parameters() if name.startswith("volume.")]


def _heads(field: torch.nn.Module) -> list[torch.nn.Parameter]:
    """What a field has besides its volume and its voxels."""
    return [value for name, value in field.named_parameters() if not name.startswith(("volume.", "grid."))]
