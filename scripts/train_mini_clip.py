"""Train the mini CLIP from crops and captions of tabletop worlds, and write ovs3d/mini/clip.

python scripts/train_mini_clip.py --minutes 45
"""

import json
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from mini_captions import (
    BARE,
    HELD_OUT,
    N_OBJECTS,
    NOUN_OF_THING,
    NOUN_PROMPTS,
    TEMPLATES,
    THINGS,
    caption_table,
)
from mini_crops import Crops
from mini_optim import Optimizer, block_matrices
from mini_views import training_views
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
        used = {i for text in (*captions, *THINGS, *NOUN_PROMPTS, *filled) for i in _ids(text)}
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
        """Take the weights that `save` wrote."""
        state = load_file(folder / "weights.safetensors")
        if not torch.equal(state.pop("token_embedding.ids"), self.words.ids):
            raise ValueError(f"{folder} was trained on other words than {TEMPLATES} and the worlds' now")
        state["token_embedding.weight"] = state.pop("token_embedding.rows")
        self.clip.load_state_dict(state)

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
        """One caption for each thing, then one hard negative for each; truth bool (captions, THINGS)."""
        ids = [self.rng.choice(self.draws[t][0], p=self.draws[t][1]) for t in things.tolist()]
        texts = [self.template(self.captions[i]) for i in ids]
        rivals = [self._rival(t) for t in things.tolist()]
        truth = np.concatenate([self.truth[ids], np.eye(len(THINGS), dtype=bool)[rivals]])
        return texts + [THINGS[t] for t in rivals], torch.from_numpy(truth)

    def _rival(self, thing: int) -> int:
        """A trained thing of another colour or another pattern, or another background."""
        while True:
            if thing >= N_OBJECTS:
                other = int(self.rng.integers(N_OBJECTS, len(THINGS)))
            elif self.rng.random() < 0.6:
                other = thing - thing % len(PATTERNS) + int(self.rng.integers(len(PATTERNS)))
            else:
                block = len(COLORS) * len(PATTERNS)
                color = int(self.rng.integers(len(COLORS)))
                other = thing - thing % block + color * len(PATTERNS) + thing % len(PATTERNS)
            if other != thing and not HELD_OUT[other]:
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


def bank_loss(logits: Tensor, target: Tensor, objects: Tensor, n_objects: int) -> Tensor:
    """Cross-entropy over all prompts for what dominates, and over the object prompts for the dominant object.

    Objects come first in the bank; a target of -1 does not count.
    """
    everything = F.cross_entropy(logits, target, ignore_index=-1, reduction="sum")
    only_objects = F.cross_entropy(logits[:, :n_objects], objects, ignore_index=-1, reduction="sum")
    return (everything + only_objects) / len(logits)


@dataclass
class Trainer:
    """The loss; the bank of all things is encoded anew every 25 steps and not trained through."""

    model: Model
    captioner: Captioner

    def __post_init__(self) -> None:
        self.noun_of_thing = torch.from_numpy(NOUN_OF_THING)
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
        nouns = [self.captioner.template(noun) for noun in NOUN_PROMPTS]
        texts = model.texts(captions + nouns)
        x = model.images(images)
        contrast = contrastive_loss(scale * x @ texts[: len(captions)].T, truth.T[shown])
        noun_logits = scale * x @ texts[len(captions) :].T
        noun = bank_loss(noun_logits, self._noun(things), self._noun(objects), len(NOUNS))
        thing_logits = (scale * x @ self.bank.T).masked_fill(self.held_out, NOT_YET)
        thing = bank_loss(thing_logits, things, objects, N_OBJECTS)
        right = (noun_logits.argmax(1) == self._noun(things))[things >= 0].float().mean()
        right_thing = (thing_logits.argmax(1) == things)[things >= 0].float().mean()
        log = {
            "contrast": contrast,
            "noun": noun,
            "thing": thing,
            "noun_top1": right,
            "thing_top1": right_thing,
        }
        return contrast + noun + thing, {k: v.item() for k, v in log.items()}

    def _noun(self, things: Tensor) -> Tensor:
        return torch.where(things >= 0, self.noun_of_thing[things], -1)


@dataclass(frozen=True)
class Config:
    """Train the mini CLIP."""

    minutes: float = 45.0
    """Wall time of the training; the learning rate is annealed over it."""
    out: Path = Path("ovs3d/mini/clip")
    """Folder for config.json and weights.safetensors."""
    views: Path = Path("/tmp/mini/views")
    """Folder of the rendered views, 230 kB each."""
    n_views: int = 6000
    """Number of views."""
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
    crops = Crops(
        training_views(config.views, config.n_views, 2),
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
