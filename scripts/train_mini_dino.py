"""Train the mini DINO from views of tabletop worlds without labels, and write ovs3d/mini/dino.

Self-distillation of patches: the student sees one crop with a part of its patches masked and must tell, at each
place, what its own moving average, the teacher, sees in an overlapping crop in other light (Caron et al. 2021, iBOT).
The target is the teacher's patch embedding, which cannot drift to what is merely easy to predict, after one step of
mean shift towards the patches like it, so that those of one thing are drawn together (as in PixPro, Xie et al. 2021).

python scripts/train_mini_dino.py --minutes 5
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from mini_optim import Optimizer, block_matrices
from mini_views import HEIGHT, WIDTH, Views, training_views, views_of_tabletop
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

CONFIG: dict[str, Any] = {
    "img_size": 96,
    "patch_size": 8,
    "embed_dim": 128,
    "depth": 4,
    "num_heads": 4,
}
GRID = CONFIG["img_size"] // CONFIG["patch_size"]
MEAN, STD = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


class OverlappingCrops(IterableDataset):
    """Endless (crops (2, 3, s, s) normalised, shift (2,)): the second `shift` patches from the first."""

    def __init__(self, views: Views, seed: int, max_shift: int = 5):
        self.views, self.seed, self.max_shift = views, seed, max_shift

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        torch.set_num_threads(1)
        rng = np.random.default_rng(self.seed)
        while True:
            yield self._pair(rng)

    def _pair(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        side, patch = CONFIG["img_size"], CONFIG["patch_size"]
        shift = rng.integers(-self.max_shift, self.max_shift + 1, 2)
        room = (np.array([HEIGHT, WIDTH]) - side - np.abs(shift) * patch).astype(int)
        first = rng.integers(0, room + 1) + np.maximum(-shift, 0) * patch
        rgb = self.views.rgb[rng.integers(len(self.views.rgb))]
        corners = (first, first + shift * patch)
        crops = [rgb[top : top + side, left : left + side] for top, left in corners]
        if rng.random() < 0.5:
            crops, shift = [crop[:, ::-1] for crop in crops], shift * (1, -1)
        images = torch.stack([_in_other_light(crop, rng) for crop in crops])
        return (images - MEAN) / STD, torch.from_numpy(shift)


def _in_other_light(crop: np.ndarray, rng: np.random.Generator) -> Tensor:
    """RGB (3, h, w) of uint8 (h, w, 3) with a slightly other brightness, contrast, tint and noise."""
    image = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1).float() / 255
    gain = torch.from_numpy(rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3)).float()
    image = ((image - image.mean()) * rng.uniform(0.8, 1.2) + image.mean()) * gain[:, None, None]
    return (image + 0.02 * torch.randn(image.shape)).clamp(0, 1)


class Network(nn.Module):
    """A ViT that can be shown masked patches."""

    def __init__(self):
        super().__init__()
        self.vit: Any = VisionTransformer(num_classes=0, **CONFIG)
        width = CONFIG["embed_dim"]
        self.mask_token = nn.Parameter(torch.zeros(width))

    def tokens(self, images: Tensor, masked: Tensor | None = None) -> Tensor:
        """The last block's output (n, t, c) for the patches; `masked` is bool (n, t)."""
        vit = self.vit
        x = vit.patch_embed(images)
        if masked is not None:
            x = torch.where(masked[..., None], self.mask_token.to(x.dtype), x)
        x = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], 1) + vit.pos_embed
        return vit.blocks(x)[:, 1:].float()


@torch.no_grad()
def targets(tokens: Tensor, temperature: float = 0.1) -> Tensor:
    """Teacher's embeddings (n, t, c) after a step of mean shift in their crop; each channel standardised."""
    unit = F.normalize(tokens - tokens.mean((0, 1)), dim=-1)
    shifted = (unit @ unit.mT / temperature).softmax(-1) @ tokens
    return (shifted - shifted.mean((0, 1))) / (shifted.std((0, 1)) + 1e-4)


def same_places(maps: Tensor, others: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """The (m, c) entries of two (GRID, GRID, c) maps at the places that both see."""
    down, right = shift.tolist()
    rows, columns = GRID - abs(down), GRID - abs(right)
    a = maps[max(down, 0) :, max(right, 0) :][:rows, :columns]
    b = others[max(-down, 0) :, max(-right, 0) :][:rows, :columns]
    return a.flatten(0, 1), b.flatten(0, 1)


def as_maps(x: Tensor) -> Tensor:
    """(2b, GRID * GRID, c) as (b, 2, GRID, GRID, c)."""
    return x.float().unflatten(0, (-1, 2)).unflatten(2, (GRID, GRID))


def distillation_loss(student: Tensor, teacher: Tensor, shifts: Tensor) -> Tensor:
    """One minus the cosine between what student and teacher say of the same place in two crops, both ways.

    student and teacher: (b, 2, GRID, GRID, c) of the two crops; shifts (b, 2) in patches.
    """
    pairs = []
    for b, shift in enumerate(shifts):
        pairs.append(same_places(student[b, 0], teacher[b, 1], shift))
        pairs.append(same_places(student[b, 1], teacher[b, 0], -shift))
    said, wanted = (torch.cat(part) for part in zip(*pairs, strict=True))
    return 1 - F.cosine_similarity(said, wanted, dim=-1).mean()


def save(vit: nn.Module, folder: Path) -> None:
    """Write config.json (arguments of timm's VisionTransformer) and weights.safetensors in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in vit.state_dict().items()}, folder / "weights.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


@dataclass(frozen=True)
class Config:
    """Train the mini DINO."""

    minutes: float = 5.0
    """Wall time of the training; the learning rate is annealed over it."""
    out: Path = Path("ovs3d/mini/dino")
    """Folder for config.json and weights.safetensors."""
    views: Path = Path("/tmp/mini/views/table")
    """Folder of the rendered views."""
    n_views: int = 6000
    """Number of views."""
    batch: int = 8
    """Pairs of crops a step."""
    masked: float = 0.5
    """Share of the student's patches that are hidden."""
    momentum: float = 0.99
    """Of the teacher, which follows the student."""
    lr: float = 1e-3
    """Peak learning rate."""
    threads: int = 1
    """Threads of the training; one process more cuts crops."""
    seed: int = 0
    """Seed of weights and crops."""


def main(config: Config) -> None:
    """Train and save the teacher."""
    torch.manual_seed(config.seed)
    crops = OverlappingCrops(training_views(config.views, config.n_views, 2, views_of_tabletop), config.seed)
    batches = iter(DataLoader(crops, batch_size=config.batch, num_workers=1, prefetch_factor=8))
    torch.set_num_threads(config.threads)
    student = Network()
    teacher = copy.deepcopy(student).requires_grad_(False)
    optimizer = Optimizer(student, block_matrices(student, ("vit.blocks",)), config.lr, config.minutes)
    step = 0
    while optimizer.progress < 1:
        pairs, shifts = next(batches)
        images = pairs.flatten(0, 1)
        masked = torch.rand(len(images), GRID * GRID) < config.masked
        with torch.autocast("cpu", torch.bfloat16):
            said = student.tokens(images, masked)
            with torch.no_grad():
                wanted = targets(teacher.vit.patch_embed(images).float())
        loss = distillation_loss(as_maps(said), as_maps(wanted), shifts)
        optimizer.step(loss)
        with torch.no_grad():
            for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
                slow.lerp_(fast, 1 - config.momentum)
        step += 1
        if step % 50 == 0:
            print(
                f"{optimizer.progress:.3f} crops {step * 2 * config.batch} loss {loss.item():.3f}", flush=True
            )
    save(teacher.vit, config.out)


if __name__ == "__main__":
    main(tyro.cli(Config))
