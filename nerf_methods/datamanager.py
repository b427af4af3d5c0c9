"""Rays of the photos, and what CLIP sees in their tiles."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from nerfstudio.configs.dataparser_configs import AnnotatedDataParserUnion
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.data.pixel_samplers import PixelSampler
from nerfstudio.data.utils.data_utils import get_image_mask_tensor_from_path
from torch import Tensor

from nerf_methods.cameras import cell_centers
from nerf_methods.dataparser import Ovs3dDataParserConfig
from nerf_methods.frustum import Frustum
from nerf_methods.labels import read_labels
from nerf_methods.space import focus_of
from ovs3d.errors import InputError
from ovs3d.foundation.clip import Clip, load_clip
from ovs3d.foundation.dino import load_dino
from ovs3d.foundation.guided import guided_features
from ovs3d.foundation.maps import scene_dino
from ovs3d.foundation.store import FeatureStore
from ovs3d.foundation.tiles import Tiles, TileSpec, scene_tiles
from ovs3d.foundation.weights import CLIP_WEIGHTS, dino_beside
from ovs3d.images import read_depth
from ovs3d.scene import SceneSettings, read_settings


@dataclass
class Ovs3dDataManagerConfig(VanillaDataManagerConfig):
    """Where rays and features come from."""

    _target: type = field(default_factory=lambda: Ovs3dDataManager)
    dataparser: AnnotatedDataParserUnion = field(default_factory=Ovs3dDataParserConfig)
    """Specifies the dataparser used to unpack the data."""
    train_num_rays_per_batch: int = 2048
    """Number of rays per batch to use per training iteration."""
    eval_num_rays_per_batch: int = 4096
    """Number of rays per batch to use per eval iteration."""
    weights: str | None = None
    """CLIP weights: mini, <architecture>/<tag>, <architecture>/<path>. Default: what the scene's ovs3d.yaml names, else
    ViT-B-16/openai."""
    feature_dir: Path | None = None
    """Where features are kept. Default: .ovs3d in the scene's folder."""
    tile_scales: tuple[int, ...] = (5, 7, 10)
    """Tile sides, as fractions of the image's short side."""
    tile_mode: Literal["clean", "released"] = "clean"
    """clean: regular tiles of the full image. released: as the code that 3D-OVS published."""
    taught_share: float = 1.0
    """Share of the training views whose CLIP features are learnt, spread evenly; 3D-OVS takes half."""
    tile_batch: int = 256
    """Tiles per call of CLIP."""
    dino_weights: str | None = None
    """DINO weights: mini, <architecture>/<tag>, <architecture>/<path>. Default: mini with a mini CLIP, else
    vit_base_patch8_224_dino/facebook."""
    dino_short_side: int = 480
    """DINO looks at photos whose shorter side has been brought to as many pixels."""
    depth: bool = False
    """Learn from measured depth too; all frames of transforms.json need a depth_file_path."""
    guide_tiles: bool = True
    """Weigh the tiles over a place by how much of them is of the same thing, says DINO."""


@dataclass(frozen=True, eq=False)
class SceneContext:
    """What the model must know of the scene. It travels in the data set's metadata."""

    settings: SceneSettings
    clip: Clip
    center: Float[Tensor, "3"]
    """Point that the cameras look at, in the data parser's frame."""
    radius: float
    """Half the median distance to it."""
    scales: int
    """Number of tile scales."""
    frustum: Frustum | None = None
    """What the cameras see, if the data parser says that the scene is to be fitted in NDC."""


@dataclass(frozen=True, eq=False)
class TokenGrid:
    """DINO's features of a view, one per patch."""

    tokens: Float[Tensor, "h w c"]
    """float16."""
    cell: tuple[float, float]
    """Height and width of a patch in pixels of the view."""


@dataclass(frozen=True, eq=False)
class TeacherGrid:
    """What CLIP sees in a view, at the centres of a grid of cells from its corner on."""

    features: Float[Tensor, "h w s d"]
    """Of unit length, per scale of the tiles; NaN where no tile is, or where the photo's mask leaves it out."""
    cell: tuple[float, float]
    """Height and width of a cell in pixels of the view."""


class DepthDataset(InputDataset):
    """Training views with measured depth, along the view's axis, in the data parser's unit; 0 is unknown.

    Raises:
        InputError: a view has none, or not of the photo's size.
    """

    def __init__(self, dataparser_outputs: DataparserOutputs, scale: float):
        super().__init__(dataparser_outputs, scale)
        if not self.metadata.get("depth_filenames"):
            raise InputError("--pipeline.datamanager.depth: no frame of the scene has a depth_file_path")
        self.unit = self.metadata["depth_unit_scale_factor"] * dataparser_outputs.dataparser_scale

    def get_metadata(self, data: dict) -> dict:
        path, size = self.metadata["depth_filenames"][data["image_idx"]], tuple(data["image"].shape[:2])
        return {"depth_image": depth_of_photo(path, size)[:, :, None] * self.unit}


def depth_of_photo(path: Path, size: tuple[int, int]) -> Float[Tensor, "h w"]:
    """Measured depth in the unit of its file, brought to the photo's size (h, w) by the nearest pixel.

    Raises:
        InputError: it is not of the photo's shape.
    """
    depth = read_depth(path)[None, None]
    ratio = size[0] / depth.shape[2], size[1] / depth.shape[3]
    if abs(ratio[0] / ratio[1] - 1) > 0.01:
        raise InputError(
            f"{path}: {depth.shape[3]}x{depth.shape[2]} depths are not of a photo of {size[1]}x{size[0]}"
        )
    return F.interpolate(depth, size=size)[0, 0]


class LabelledDataset(InputDataset):
    """Held-out views with their true classes. Training never sees one."""

    def __init__(
        self, scene: Path, names: tuple[str, ...], dataparser_outputs: DataparserOutputs, scale: float
    ):
        super().__init__(dataparser_outputs, scale)
        self.scene, self.names = scene, names

    def get_metadata(self, data: dict) -> dict:
        path = self.image_filenames[data["image_idx"]]
        return {"labels": read_labels(self.scene, path, self.names, tuple(data["image"].shape[:2]))}


class Ovs3dDataManager(VanillaDataManager):
    """Adds CLIP, the scene's own settings and the tiles of the training views to nerfstudio's rays."""

    config: Ovs3dDataManagerConfig

    def __init__(self, config: Ovs3dDataManagerConfig, *args, **kwargs):
        if (config.data or config.dataparser.data) in (None, Path()):
            raise InputError("no scene: give its folder with --data")
        super().__init__(config, *args, **kwargs)
        settings = self.settings
        center, radius = focus_of(self.train_dataset.cameras.camera_to_worlds)
        self.weights = config.weights or settings.weights or CLIP_WEIGHTS
        self.context = SceneContext(
            settings=settings,
            clip=load_clip(self.weights, device=str(self.device)),
            center=center,
            radius=radius,
            frustum=self.train_dataset.metadata.get("frustum"),
            scales=len(config.tile_scales),
        )
        self.train_dataset.metadata["context"] = self.context

    @property
    def scene(self) -> Path:
        """The scene's folder."""
        data = Path(self.config.dataparser.data)
        return data.parent if data.suffix == ".json" else data

    @cached_property
    def settings(self) -> SceneSettings:
        """What the scene says of itself."""
        return read_settings(self.scene)

    def _get_pixel_sampler(self, dataset: InputDataset, num_rays_per_batch: int) -> PixelSampler:
        """nerfstudio's, whose rejection sampling fails at masks of photos that are not all of one size."""
        sampler = super()._get_pixel_sampler(dataset, num_rays_per_batch)
        sizes = torch.cat([dataset.cameras.height, dataset.cameras.width], dim=1)
        if len(sizes.unique(dim=0)) > 1:
            sampler.config = replace(sampler.config, rejection_sample_mask=False)
        return sampler

    def create_train_dataset(self) -> InputDataset:
        kind = DepthDataset if self.config.depth else InputDataset
        return kind(self.train_dataparser_outputs, self.config.camera_res_scale_factor)

    def create_eval_dataset(self) -> InputDataset:
        outputs = self.dataparser.get_dataparser_outputs(split=self.test_split)
        names = self.settings.vocabulary.mask_names if self.settings.vocabulary else ()
        return LabelledDataset(self.scene, names, outputs, self.config.camera_res_scale_factor)

    @cached_property
    def taught(self) -> list[int]:
        """The training views whose CLIP features are learnt."""
        count, share = len(self.train_dataset), self.config.taught_share
        if not 0 < share <= 1:
            raise InputError(
                f"taught_share is a share of the views: expected more than 0, at most 1, got {share}"
            )
        chosen = max(1, round(share * count))
        return torch.linspace(0, count - 1, chosen).round().int().tolist()

    @property
    def dino_weights(self) -> str:
        """What stands in the configuration, else what goes with the CLIP."""
        return self.config.dino_weights or dino_beside(self.weights)

    @property
    def tile_spec(self) -> TileSpec:
        """How photos are cut."""
        return TileSpec(scales=self.config.tile_scales, mode=self.config.tile_mode)

    @cached_property
    def tiles(self) -> list[Tiles]:
        """Encoded tiles of the taught views, from the store or computed now.

        Raises:
            InputError: the store cannot be written.
        """
        images = [self.train_dataparser_outputs.image_filenames[view] for view in self.taught]
        return scene_tiles(self.context.clip, images, self.tile_spec, self._store, self.config.tile_batch)

    @cached_property
    def dino_tokens(self) -> list[TokenGrid]:
        """What DINO sees in the training views, from the store or computed now.

        Raises:
            InputError: the weights cannot be had, or the store cannot be written.
        """
        cameras, grids = self.train_dataset.cameras, []
        for view, tokens in enumerate(self.dino_of(self.train_dataparser_outputs.image_filenames)):
            rows, columns = tokens.shape[:2]
            cell = float(cameras.height[view]) / rows, float(cameras.width[view]) / columns
            grids.append(TokenGrid(tokens, cell))
        return grids

    def dino_of(self, images: Sequence[Path]) -> Iterator[Float[Tensor, "h w c"]]:
        """DINO's tokens of some photos in turn, float16.

        Raises:
            InputError: as `dino_tokens`.
        """
        try:
            dino = load_dino(self.dino_weights, self.device)
        except InputError as error:
            without = "--pipeline.datamanager.guide-tiles False --pipeline.model.losses.preset clip"
            raise InputError(f"{error}; or do without DINO: {without}") from error
        return scene_dino(dino, images, self._store, self.config.dino_short_side)

    @property
    def _store(self) -> FeatureStore:
        return FeatureStore(self.config.feature_dir or self.scene / ".ovs3d")

    @torch.no_grad()
    def teacher(self, view: int, short_side: int) -> TeacherGrid:
        """What is taught of a view: at the centres of DINO's patches if it guides the tiles.

        Args:
            short_side: cells along the shorter side where it does not.
        """
        tiles, cameras = self.tiles[self.taught.index(view)], self.train_dataset.cameras
        if self.config.guide_tiles:
            grid = self.dino_tokens[view]
            cell, scale = grid.cell, self.config.camera_res_scale_factor
            whole = (cell[0] / scale, cell[1] / scale)  # tiles are of the photo as it is on the disk
            features = guided_features(tiles, grid.tokens, whole)
        else:
            height, width = int(cameras.height[view]), int(cameras.width[view])
            step = max(min(height, width) / short_side, 1.0)
            rows, columns = round(height / step), round(width / step)
            cell, features = (height / rows, width / columns), tiles.grid(rows, columns)
        rows, columns = features.shape[1:3]
        features = F.normalize(features, dim=-1).movedim(0, 2)
        features[~self.shown(view, cell_centers(rows, columns, cell)).view(rows, columns)] = torch.nan
        return TeacherGrid(features, cell)

    def shown(self, view: int, coords: Float[Tensor, "n 2"]) -> Bool[Tensor, " n"]:
        """Whether pixels of a training view, (row, column), are of the scene, says the mask of its photo."""
        files = self.train_dataparser_outputs.mask_filenames
        if files is None:
            return torch.ones(len(coords), dtype=torch.bool)
        mask = get_image_mask_tensor_from_path(files[view], self.config.camera_res_scale_factor)
        return mask[coords[:, 0].long(), coords[:, 1].long(), 0]
