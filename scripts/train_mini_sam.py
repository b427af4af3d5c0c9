"""Train the mini SAM from exact masks of tables, streets and rooms and random points in them; write ovs3d/mini/sam.

The classes are segment_anything's own; only the sizes differ.   python scripts/train_mini_sam.py --minutes 20
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import tyro
from mini_optim import Optimizer, block_matrices
from mini_views import SOURCES, Views, regions, training_views
from safetensors.torch import load_file, save_file
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, IterableDataset

from ovs3d.foundation.sam import SamConfig, build_sam

CONFIG = SamConfig(
    image_size=320,
    patch_size=16,
    embed_dim=192,
    depth=5,
    num_heads=4,
    global_attn_indexes=(2, 4),
    window_size=10,
    prompt_dim=64,
    decoder_num_heads=4,
    decoder_mlp_dim=256,
)
MIN_PIXELS = 60


class PointPrompts(IterableDataset):
    """Endless batches: images uint8 (b, 3, h, w), masks bool (b, p, m, m), points (b, p, 2) as x, y pixels.

    Images are resized until the longer side has s pixels, as Sam does it; the masks are of the mask decoder's
    resolution, padded. A batch is of one sort of world. A mask is all of an object of a table, and of streets and rooms
    a connected region of one kind. They are drawn alike, however large they are, and a point is uniform over its mask.
    """

    def __init__(
        self,
        views: Mapping[str, Views],
        chances: Mapping[str, float],
        batch: int,
        prompts: int,
        size: int,
        mask_size: int,
        seed: int,
    ):
        self.views, self.chances, self.batch = views, chances, batch
        self.prompts, self.size, self.mask_size, self.seed = prompts, size, mask_size, seed

    def __iter__(self) -> Iterator[list[Tensor]]:
        torch.set_num_threads(1)
        rng = np.random.default_rng(self.seed)
        names, chances = list(self.chances), list(self.chances.values())
        while True:
            name = str(rng.choice(names, p=chances))
            samples = [self._sample(name, rng) for _ in range(self.batch)]
            yield [torch.stack(each) for each in zip(*samples, strict=True)]

    def _sample(self, name: str, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        views = self.views[name]
        i = rng.integers(len(views.rgb))
        rgb, labels = views.rgb[i], views.labels[i]
        if rng.random() < 0.5:
            rgb, labels = rgb[:, ::-1], labels[:, ::-1]
        ids = labels if name == "table" else regions(labels)
        chosen = rng.choice(np.flatnonzero(np.bincount(ids.ravel()) >= MIN_PIXELS), self.prompts)
        points = np.stack([_point_in(ids == each, rng) for each in chosen])
        h, w = labels.shape
        scale = self.size / max(h, w)
        masks = torch.from_numpy(ids[None] == chosen[:, None, None]).float()
        small = (round(h * scale * self.mask_size / self.size), round(w * scale * self.mask_size / self.size))
        masks = F.interpolate(masks[None], small, mode="area")[0] > 0.5
        masks = F.pad(masks, (0, self.mask_size - small[1], 0, self.mask_size - small[0]))
        image = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None].float()
        image = F.interpolate(image, (round(h * scale), round(w * scale)), mode="bilinear", antialias=True)
        return image[0].round().byte(), masks, torch.from_numpy(points * scale).float()


def _point_in(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Centre (x, y) of a random pixel of a mask."""
    rows, columns = np.nonzero(mask)
    k = rng.integers(len(rows))
    return np.array([columns[k] + 0.5, rows[k] + 0.5])


def mask_loss(logits: Tensor, scores: Tensor, masks: Tensor) -> Tensor:
    """Loss of the four masks of each click [Kirillov et al. 2023, appendix A].

    20 focal + dice of the first mask, which answers alone, and of the best of the other three; squared error of all
    predicted IoUs.   logits (p, 4, m, m); scores (p, 4); masks bool (p, m, m)
    """
    truth = masks[:, None].float().expand_as(logits)
    probability = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrong = probability + truth - 2 * probability * truth
    focal = (cross_entropy * wrong**2).mean((2, 3))
    overlap = (probability * truth).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + truth.sum((2, 3)) + 1)
    loss = 20 * focal + dice
    predicted = logits > 0
    union = (predicted | masks[:, None]).sum((2, 3)).clamp(min=1)
    iou = (predicted & masks[:, None]).sum((2, 3)) / union
    return 0.5 * loss[:, 0].mean() + loss[:, 1:].amin(1).mean() + F.mse_loss(scores, iou)


def predict(sam: Sam, images: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Mask logits (b, p, 4, m, m) and scores (b, p, 4) of clicks (b, p, 2) on images (b, 3, h, w)."""
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        features = sam.image_encoder(torch.stack([sam.preprocess(image.float()) for image in images]))
        answers = [_answer(sam, feature, xy) for feature, xy in zip(features, points, strict=True)]
    logits, scores = zip(*answers, strict=True)
    return torch.stack(logits).float(), torch.stack(scores).float()


def _answer(sam: Sam, feature: Tensor, xy: Tensor) -> tuple[Tensor, Tensor]:
    """Masks and scores of the clicks (p, 2) on one image."""
    label = torch.ones(len(xy), 1, dtype=torch.int)
    sparse, dense = sam.prompt_encoder(points=(xy[:, None], label), boxes=None, masks=None)
    return sam.mask_decoder.predict_masks(
        image_embeddings=feature[None],
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
    )


def save(sam: Sam, folder: Path) -> None:
    """Write config.json and weights.safetensors in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in sam.state_dict().items()}, folder / "weights.safetensors")
    (folder / "config.json").write_text(json.dumps(asdict(CONFIG), indent=2) + "\n")


@dataclass(frozen=True)
class Config:
    """Train the mini SAM."""

    minutes: float = 20.0
    """Wall time of the training; the learning rate is annealed over it."""
    out: Path = Path("ovs3d/mini/sam")
    """Folder for config.json and weights.safetensors."""
    views: Path = Path("/tmp/mini/views")
    """Folder of the rendered views."""
    n_views: dict[str, int] = field(default_factory=lambda: {"table": 6000, "street": 1800, "room": 1500})
    """Number of views of each sort of world."""
    chances: dict[str, float] = field(default_factory=lambda: {"table": 0.5, "street": 0.25, "room": 0.25})
    """Share of the images."""
    batch: int = 4
    """Images a step."""
    prompts: int = 8
    """Points an image."""
    lr: float = 1e-3
    """Peak learning rate."""
    threads: int = 1
    """Threads of the training; one process more prepares images."""
    seed: int = 0
    """Seed of weights and prompts."""
    start: Path | None = None
    """Folder of weights to go on from."""


def main(config: Config) -> None:
    """Train and save."""
    torch.manual_seed(config.seed)
    size, mask_size = CONFIG.image_size, 4 * CONFIG.image_size // CONFIG.patch_size
    views = {
        name: training_views(config.views / name, config.n_views[name], 2, of) for name, of in SOURCES.items()
    }
    data = PointPrompts(views, config.chances, config.batch, config.prompts, size, mask_size, config.seed)
    batches = iter(DataLoader(data, batch_size=None, num_workers=1, prefetch_factor=8))
    torch.set_num_threads(config.threads)
    sam = build_sam(CONFIG)
    if config.start:
        sam.load_state_dict(load_file(config.start / "weights.safetensors"))
    matrices = block_matrices(sam, ("image_encoder.blocks", "image_encoder.neck", "mask_decoder.transformer"))
    optimizer = Optimizer(sam, [n for n in matrices if "rel_pos" not in n], config.lr, config.minutes)
    step = 0
    while optimizer.progress < 1:
        images, masks, points = next(batches)
        logits, scores = predict(sam, images, points)
        loss = mask_loss(logits.flatten(0, 1), scores.flatten(0, 1), masks.flatten(0, 1))
        optimizer.step(loss)
        step += 1
        if step % 50 == 0:
            print(f"{optimizer.progress:.3f} images {step * config.batch} loss {loss.item():.3f}", flush=True)
    save(sam, config.out)


if __name__ == "__main__":
    main(tyro.cli(Config))
