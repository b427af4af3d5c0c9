"""``ovs3d features``: fill the feature store of a scene."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ovs3d.foundation.weights import CLIP_WEIGHTS, dino_beside

if TYPE_CHECKING:
    from ovs3d.foundation.clip import Clip
    from ovs3d.foundation.dino import Dino
    from ovs3d.foundation.store import FeatureStore


@dataclass(frozen=True)
class Features:
    """Compute once what CLIP or DINO see in each image of a scene, and keep it; interrupted, it continues."""

    data: Path
    """A scene (a folder with transforms.json or images/, or the JSON file), or any folder of images."""
    kind: Literal["clip-tiles", "clip-dense", "dino"] = "clip-tiles"
    """clip-tiles: an embedding per crop, at several scales. clip-dense (MaskCLIP), dino: a feature per patch."""
    weights: str | None = None
    """mini, <architecture>/<tag> or <architecture>/<path>. Default: what the scene's ovs3d.yaml names, else
    ViT-B-16/openai; for dino mini if ovs3d.yaml names it, else vit_base_patch8_224_dino/facebook."""
    feature_dir: Path | None = None
    """Where features are kept. Default: .ovs3d in the scene's folder."""
    tile_scales: tuple[int, ...] = (5, 7, 10)
    """Tile sides, as fractions of the image's short side (clip-tiles)."""
    tile_mode: Literal["clean", "released"] = "clean"
    """clean: regular tiles of the full image. released: as the code that 3D-OVS published (clip-tiles)."""
    tile_batch: int = 256
    """Tiles per call of CLIP (clip-tiles)."""
    short_side: int = 480
    """Images are made smaller, for dino also larger, until their shorter side has as many pixels (clip-dense, dino)."""
    device: str | None = None
    """cpu, cuda or cuda:<number>. Default: cuda where there is one."""

    def run(self) -> None:
        """Check the scene, then compute what is missing."""
        from ovs3d.foundation.store import FeatureStore
        from ovs3d.images import read_image
        from ovs3d.scene import read_settings, scene_images

        images = scene_images(self.data)
        scene = self.data.parent if self.data.suffix == ".json" else self.data
        weights = self.weights or self._default_weights(read_settings(scene).weights)
        for image in images:
            read_image(image)  # a broken one is told now, not after an hour
        model = self._load(weights)
        folder = self.feature_dir or scene / ".ovs3d"
        before, start = _files(folder, self.kind), time.perf_counter()
        size = sum(self._sizes(model, images, FeatureStore(folder)))
        seconds, computed = time.perf_counter() - start, len(_files(folder, self.kind) - before)
        pace = f" ({seconds / computed:.2f} s per image)" if computed else ""
        print(
            f"{self.kind} of {len(images)} images by {weights} in {folder}: {computed} computed{pace},"
            f" {size / len(images) / 1000:.0f} kB per image"
        )

    def _default_weights(self, of_scene: str | None) -> str:
        return dino_beside(of_scene) if self.kind == "dino" else of_scene or CLIP_WEIGHTS

    def _load(self, weights: str) -> Clip | Dino:
        from ovs3d.device import usable_device
        from ovs3d.foundation.clip import load_clip
        from ovs3d.foundation.dino import load_dino

        load = load_dino if self.kind == "dino" else load_clip
        return load(weights, usable_device(self.device))

    def _sizes(self, model: Clip | Dino, images: Sequence[Path], store: FeatureStore) -> Iterator[int]:
        """Bytes of each image's features, as they are computed or read."""
        from ovs3d.foundation.dino import Dino
        from ovs3d.foundation.maps import scene_dense, scene_dino
        from ovs3d.foundation.tiles import TileSpec, scene_tiles

        if isinstance(model, Dino):
            yield from (x.nbytes for x in scene_dino(model, images, store, self.short_side))
        elif self.kind == "clip-dense":
            yield from (x.nbytes for x in scene_dense(model, images, store, self.short_side))
        else:
            spec = TileSpec(scales=self.tile_scales, mode=self.tile_mode)
            for tiles in scene_tiles(model, images, spec, store, self.tile_batch):
                yield tiles.boxes.nbytes + tiles.scale.nbytes + tiles.embeddings.nbytes


def _files(folder: Path, kind: str) -> set[Path]:
    return set(folder.glob(f"{kind}-*.safetensors"))
