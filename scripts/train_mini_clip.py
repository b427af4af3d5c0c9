"""Train the mini CLIP from crops and captions of tables, streets and rooms, and write ovs3d/mini/clip.

python scripts/train_mini_clip.py --minutes 45
"""

import json
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from mini_captions import (
    BARE,
    FIRST,
    HELD_OUT,
    N_OBJECTS,
    PROMPTS,
    TEMPLATES,
    THINGS,
    banks,
    caption_table,
)
from mini_crops import Crops
from mini_optim import Optimizer, block_matrices
from mini_views import SOURCES, training_views
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader

from ovs3d.worlds.words import COLORS, NOUNS, PATTERNS

CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"layers": [1, 1, 1, 1], "width": 32, "image_size": 64},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3},
}
NOT_YET = -1e4  # a logit that never wins


@cache
def _ids(text: str) -> tuple[int, ...]:
    return tuple(_tokenizer()(text)[0].tolist())


@cache
def _tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer(context_length=CONFIG["text_cfg"]["context_length"])


class Words:
    """Token ids of all texts of the training, renumbered from 0 without gaps; the order of ids stays."""

    def __init__(self) -> None:
        captions, _, _ = caption_table()
        filled = [template.format(captions[0]) for template in TEMPLATES]
        asked = [prompt for bank in banks() for prompt in bank.prompts]
        used = {i for text in (*captions, *PROMPTS, *asked, *filled) for i in _ids(text)}
        self.ids = torch.tensor(sorted(used))

    def tokens(self, texts: list[str]) -> Tensor:
        """(texts, longest) renumbered, cut after the longest text: no difference to a causal tower."""
        ids = torch.tensor([_ids(text) for text in texts])
        longest = int((ids != 0).sum(1).max())
        return torch.searchsorted(self.ids, ids[:, :longest].contiguous())


class Model:
    """The CLIP in training, with the small token table."""

    def __init__(self) -> None:
        text = CONFIG["text_cfg"] | {"vocab_size": len(Words().ids)}
        self.words = Words()
        self.clip: Any = CLIP(CONFIG["embed_dim"], CONFIG["vision_cfg"], text)
        self.clip.visual.to(memory_format=torch.channels_last)
        self.mean = torch.tensor(OPENAI_DATASET_MEAN)[:, None, None]
        self.std = torch.tensor(OPENAI_DATASET_STD)[:, None, None]

    def load(self, folder: Path) -> None:
        """Take the weights that `save` wrote; words that they do not know keep their random start."""
        state = load_file(folder / "weights.safetensors")
        known, rows = state.pop("token_embedding.ids"), state.pop("token_embedding.rows")
        kept = torch.isin(known, self.words.ids)
        embedding = self.clip.token_embedding.weight.detach().clone()
        embedding[torch.searchsorted(self.words.ids, known[kept])] = rows[kept].float()
        self.clip.load_state_dict(state | {"token_embedding.weight": embedding})

    def images(self, images: Tensor) -> Tensor:
        """Embeddings (n, d) of uint8 images (n, 3, h, w)."""
        x = ((images.float() / 255 - self.mean) / self.std).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            features = self.clip.visual(x)
        return F.normalize(features.float(), dim=-1)

    def texts(self, texts: list[str]) -> Tensor:
        """Embeddings (n, d)."""
        tokens = self.words.tokens(texts)
        clip, length = self.clip, tokens.shape[1]
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
            x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:length, :length]))
            features = x[torch.arange(len(tokens)), tokens.argmax(1)] @ clip.text_projection
        return F.normalize(features.float(), dim=-1)

    def scale(self) -> Tensor:
        """Inverse temperature, at most 100."""
        return self.clip.logit_scale.exp().clamp(max=100)

    def save(self, folder: Path) -> None:
        """Write config.json and weights.safetensors, whose token embedding has its used rows only."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            k: (v.half() if v.is_floating_point() else v).contiguous()
            for k, v in self.clip.state_dict().items()
        }
        state["token_embedding.rows"] = state.pop("token_embedding.weight")
        save_file(state | {"token_embedding.ids": self.words.ids}, folder / "weights.safetensors")
        (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


class Captioner:
    """Draws captions of things, and harder negatives that share most of their words."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.captions, self.truth, self.draws = caption_table()

    def template(self, text: str) -> str:
        """The text in a random template, mostly bare."""
        return text if self.rng.random() < BARE else TEMPLATES[self.rng.integers(len(TEMPLATES))].format(text)

    def draw(self, things: Tensor) -> tuple[list[str], Tensor]:
        """One caption for each thing, then one hard negative for each; truth bool (captions, PROMPTS)."""
        ids = [self.rng.choice(self.draws[t][0], p=self.draws[t][1]) for t in things.tolist()]
        texts = [self.template(self.captions[i]) for i in ids]
        rivals = [self._rival(t) for t in things.tolist()]
        truth = np.concatenate([self.truth[ids], np.eye(len(PROMPTS), dtype=bool)[rivals]])
        return texts + [PROMPTS[t] for t in rivals], torch.from_numpy(truth)

    def _rival(self, thing: int) -> int:
        """A trained thing of another colour or another pattern, or another background, or what else is there."""
        starts = [N_OBJECTS, *FIRST.values(), len(PROMPTS)]
        while True:
            if thing >= N_OBJECTS:
                sort = int(np.searchsorted(starts, thing, "right"))
                other = int(self.rng.integers(starts[sort - 1], starts[sort]))
            elif self.rng.random() < 0.6:
                other = thing - thing % len(PATTERNS) + int(self.rng.integers(len(PATTERNS)))
            else:
                block = len(COLORS) * len(PATTERNS)
                color = int(self.rng.integers(len(COLORS)))
                other = thing - thing % block + color * len(PATTERNS) + thing % len(PATTERNS)
            if other != thing and not (other < len(THINGS) and HELD_OUT[other]):
                return other


def contrastive_loss(similarity: Tensor, true: Tensor) -> Tensor:
    """InfoNCE of (images, captions) logits, caption i being image i's and the rest negatives.

    Captions that happen to be true of another image are no negatives of it.
    """
    n = len(similarity)
    false_negative = true & ~torch.eye(n, similarity.shape[1], dtype=torch.bool)
    logits = similarity.masked_fill(false_negative, NOT_YET)
    own = torch.arange(n)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits[:, :n].T, own)) / 2


def bank_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy over the prompts of a bank; a target of -1 does not count."""
    return F.cross_entropy(logits, target, ignore_index=-1, reduction="sum") / len(logits)


@dataclass
class Trainer:
    """The loss; the bank of all things is encoded anew every 25 steps and not trained through."""

    model: Model
    captioner: Captioner

    def __post_init__(self) -> None:
        self.banks = [(bank, torch.from_numpy(bank.answer)) for bank in banks()]
        self.held_out = torch.from_numpy(HELD_OUT)
        self.refresh_bank()

    def refresh_bank(self) -> None:
        with torch.no_grad():
            self.bank = self.model.texts(list(THINGS))

    def loss(self, images: Tensor, things: Tensor, objects: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Loss of a batch (see Crops) and what to log."""
        model, scale = self.model, self.model.scale()
        shown = torch.where(things >= 0, things, objects)
        captions, truth = self.captioner.draw(shown)
        asked = [self.captioner.template(prompt) for bank, _ in self.banks for prompt in bank.prompts]
        texts = model.texts(captions + asked)
        x = model.images(images)
        contrast = contrastive_loss(scale * x @ texts[: len(captions)].T, truth.T[shown])
        log = {"contrast": contrast}
        sizes = [len(bank.prompts) for bank, _ in self.banks]
        for (bank, answer), prompts in zip(self.banks, texts[len(captions) :].split(sizes), strict=True):
            logits, target = scale * x @ prompts.T, _of(answer, things)
            log[bank.name] = bank_loss(logits, target)
            if bank.name == "nouns":  # the objects come first
                log["nouns"] = log["nouns"] + bank_loss(logits[:, : len(NOUNS)], _of(answer, objects))
            log[f"{bank.name}_top1"] = (logits.argmax(1) == target)[target >= 0].float().mean()
        logits = (scale * x @ self.bank.T).masked_fill(self.held_out, NOT_YET)
        target = torch.where(things < len(THINGS), things, -1)
        log["things"] = bank_loss(logits, target) + bank_loss(logits[:, :N_OBJECTS], objects)
        log["things_top1"] = (logits.argmax(1) == target)[target >= 0].float().mean()
        total = torch.stack([value for name, value in log.items() if not name.endswith("_top1")]).sum()
        return total, {name: value.item() for name, value in log.items()}


def _of(answer: Tensor, things: Tensor) -> Tensor:
    return torch.where(things >= 0, answer[things], -1)


@dataclass(frozen=True)
class Config:
    """Train the mini CLIP."""

    minutes: float = 45.0
    """Wall time of the training; the learning rate is annealed over it."""
    out: Path = Path("ovs3d/mini/clip")
    """Folder for config.json and weights.safetensors."""
    views: Path = Path("/tmp/mini/views")
    """Folder of the rendered views, 230 to 360 kB each."""
    n_views: dict[str, int] = field(default_factory=lambda: {"table": 6000, "street": 1800, "room": 1500})
    """Number of views of each sort of world."""
    chances: dict[str, float] = field(default_factory=lambda: {"table": 0.5, "street": 0.28, "room": 0.22})
    """Share of the crops."""
    batch: int = 128
    """Crops a step."""
    lr: float = 2e-3
    """Peak learning rate."""
    threads: int = 1
    """Threads of the training; one process more cuts crops."""
    seed: int = 0
    """Seed of weights, crops and captions."""
    checkpoint: Path | None = None
    """Folder for an unannealed copy every three minutes."""
    start: Path | None = None
    """Folder of weights to go on from."""


def main(config: Config) -> None:
    """Train and save."""
    torch.manual_seed(config.seed)
    views = {
        name: training_views(config.views / name, config.n_views[name], 2, of) for name, of in SOURCES.items()
    }
    crops = Crops(
        views,
        config.chances,
        config.batch,
        CONFIG["vision_cfg"]["image_size"],
        config.seed,
    )
    batches = iter(DataLoader(crops, batch_size=None, num_workers=1, prefetch_factor=8))
    torch.set_num_threads(config.threads)
    model = Model()
    if config.start:
        model.load(config.start)
    trainer, clip = Trainer(model, Captioner(config.seed)), model.clip
    matrices = block_matrices(clip, ("visual.conv", "visual.layer", "transformer."))
    optimizer = Optimizer(clip, matrices, config.lr, config.minutes)
    step, saved = 0, time.monotonic()
    while optimizer.progress < 1:
        loss, log = trainer.loss(*next(batches))
        optimizer.step(loss)
        step += 1
        if step % 25 == 0:
            trainer.refresh_bank()
        if step % 100 == 0:
            figures = " ".join(f"{k} {v:.3f}" for k, v in log.items())
            print(f"{optimizer.progress:.3f} samples {step * config.batch} {figures}", flush=True)
        if config.checkpoint and time.monotonic() - saved > 180:
            trainer.model.save(config.checkpoint)
            saved = time.monotonic()
    trainer.model.save(config.out)


if __name__ == "__main__":
    main(tyro.cli(Config))
