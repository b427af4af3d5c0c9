"""Bytes on the disk of a view's CLIP features: our store of tiles against the published dense map.

The tiles are those of a photo of random pixels, cut and stored as ever, with random embeddings. The published map is
one float32 tensor of [scales, 512, height // 8, width // 8], whose size is computed; so is that of the tokens of DINO
ViT-B/8, which we keep too and the published code does not. Writes docs/reports/store.json;
`scripts/write_results.py` makes the table.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from nerf_methods.datamanager import Ovs3dDataManagerConfig
from ovs3d.eval.environment import environment
from ovs3d.eval.report import Report
from ovs3d.foundation.dino import ARCHITECTURES
from ovs3d.foundation.store import FeatureStore, Identity
from ovs3d.foundation.tiles import TileSpec, scene_tiles
from ovs3d.images import write_png

DOWNSCALE = 8
"""Of the published map."""
DINO = ARCHITECTURES["vit_base_patch8_224_dino"]


@dataclass(frozen=True)
class RandomEncoder:
    """Embeddings that no packing could make smaller."""

    d: int
    random: torch.Generator
    image_size: int = 8

    @property
    def identity(self) -> Identity:
        return {"model": "random"}

    def encode_images(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        return torch.randn(len(images), self.d, generator=self.random)


@dataclass(frozen=True)
class BenchStore:
    """Measure bytes per view."""

    out: Path = Path("docs/reports/store.json")
    """The report."""
    sizes: tuple[tuple[int, int], ...] = ((4032, 3024), (1920, 1080))
    """Columns and rows of the photos."""
    d: int = 512
    """Embedding size."""
    seed: int = 0
    """Of pixels and embeddings."""

    def run(self) -> None:
        start = time.perf_counter()
        metrics = {}
        for columns, rows in self.sizes:
            for mode in ("released", "clean"):
                metrics[f"{columns}x{rows}, {mode} tiles"] = self._compare(rows, columns, mode)
        report = Report(
            task="Bytes per view of stored CLIP features",
            protocol=f"size of the file of tiles, against float32 [{len(TileSpec().scales)}, {self.d}, height // "
            f"{DOWNSCALE}, width // {DOWNSCALE}]",
            classes=(),
            metrics=metrics,
            split="a photo of each size",
            weights={"clip": f"random embeddings of {self.d} channels"},
            config={"scales": TileSpec().scales},
            seed=self.seed,
            seconds=time.perf_counter() - start,
            **environment(),
        )
        self.out.write_text(report.to_json())
        print(report.to_markdown())

    def _compare(self, rows: int, columns: int, mode: Literal["released", "clean"]) -> dict[str, float]:
        spec = TileSpec(mode=mode)
        encoder = RandomEncoder(self.d, torch.Generator().manual_seed(self.seed))
        with tempfile.TemporaryDirectory() as folder:
            photo, store = Path(folder) / "photo.png", Path(folder) / "store"
            write_png(photo, np.random.default_rng(self.seed).integers(0, 256, (rows, columns, 3), np.uint8))
            (tiles,) = scene_tiles(encoder, [photo], spec, FeatureStore(store))
            stored = sum(file.stat().st_size for file in store.iterdir())
        dense = len(spec.scales) * self.d * (rows // DOWNSCALE) * (columns // DOWNSCALE) * 4
        factor = Ovs3dDataManagerConfig().dino_short_side / min(rows, columns) / DINO["patch_size"]
        dino = round(rows * factor) * round(columns * factor) * DINO["embed_dim"] * 2  # half precision
        return {
            "tiles": len(tiles.scale),
            "store_bytes": stored,
            "published_bytes": dense,
            "ratio": dense / stored,
            "dino_bytes": dino,
            "ratio_with_dino": dense / (stored + dino),
        }


if __name__ == "__main__":
    tyro.cli(BenchStore).run()
