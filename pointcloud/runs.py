"""A trained network on the disk: ``run.json`` says what it is, ``model.safetensors`` holds its weights."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor, nn

from ovs3d.atomic import atomic_file
from ovs3d.device import usable_device
from ovs3d.errors import InputError
from ovs3d.foundation.state_dict import load_strictly, read_state_dict
from ovs3d.prompts.bank import PromptBank
from ovs3d.prompts.templates import TemplateName, sentences
from ovs3d.prompts.vocabulary import Vocabulary
from ovs3d.query import similarity
from pointcloud.config import Net
from pointcloud.model import PointModel
from pointcloud.nets.points import Points

_KIND, _VERSION = "ovs3d points run", 1
LINEAR, TEXT = "classifier", "final"
"""Names of the head that knows its classes only, and of the one that answers to any text."""
TEMPERATURE = 0.07
"""Similarities to texts are divided by it before a softmax."""


Question = tuple[Vocabulary, Tensor | None]
"""What is asked, and its embeddings; None: of a run that knows its own classes only."""
Said = tuple[Mapping[str, Tensor], Tensor]
"""What each head says, and which row of it is of each point: points of one voxel may share one."""


@dataclass(frozen=True)
class About:
    """What a run is."""

    net: Net
    heads: Mapping[str, int]
    """Name and channels of each head."""
    classes: tuple[str, ...]
    """What it was trained on; class ids are positions."""
    weights: str
    """CLIP weights whose texts the head ``final`` answers to; empty: there is none."""
    settings: Mapping[str, Any]
    """How it was trained."""
    template: TemplateName = "none"
    """Sentences that texts are put into."""
    synonyms: tuple[tuple[str, ...], ...] = ()
    """More words that each class was taught by; empty if there are none at all."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The words that it was taught; distractors teach nothing.

        Raises:
            InputError: there are none.
        """
        return Vocabulary(self.classes, self.synonyms)

    def words_of(self, classes: tuple[str, ...]) -> Vocabulary:
        """Classes in the words that it was taught them by, if those are its own."""
        return self.vocabulary if classes == self.classes else Vocabulary(classes)


@dataclass(frozen=True, eq=False)
class Run:
    """A trained network, ready to be asked."""

    about: About
    model: PointModel
    device: torch.device

    def question(self, asked: Vocabulary | None) -> Question:
        """What is asked, by default all that the run was taught, with its `embeddings`.

        Raises:
            InputError: as `embeddings`, or nothing is asked and the run was trained on no classes.
        """
        if asked is None and not self.about.classes and TEXT in self.about.heads:
            raise InputError(
                "this run was trained on no classes: say what to look for, as in --prompt 'car; road'"
            )
        self._check_taught()
        vocabulary = asked or self.about.vocabulary
        return vocabulary, self.embeddings(vocabulary)

    def embeddings(self, vocabulary: Vocabulary) -> Float[Tensor, "k d"] | None:
        """Text embeddings of classes and then of distractors; None: the run knows its own classes only.

        Raises:
            InputError: it knows its own classes only, and others are asked for; or it knows none.
        """
        if TEXT in self.about.heads:
            return text_embeddings(vocabulary, self.about.weights, self.device, self.about.template)
        self._check_taught()
        foreign = [name for name in vocabulary.names if name not in self.about.classes]
        if foreign or vocabulary.distractors:
            raise InputError(
                f"this run has no head for texts and knows only {'; '.join(self.about.classes)}: ask for some of "
                "these, or train with --head text"
            )
        return None

    def _check_taught(self) -> None:
        """A trunk answers nothing."""
        if not self.about.classes and TEXT not in self.about.heads:
            raise InputError(
                "this run has no head for texts and knows no classes: teach it some with ovs3d-points finetune --init"
            )

    @torch.inference_mode()
    def said(self, points: Points) -> Said:
        """What the network says, whatever it is asked."""
        return self.model.shared(points)

    def logits(
        self, points: Points, vocabulary: Vocabulary, embeddings: Float[Tensor, "k d"] | None
    ) -> Float[Tensor, "n k"]:
        """Of each class, and after them of the distractors, for each point."""
        return self.logits_of(self.said(points), vocabulary, embeddings)

    @torch.inference_mode()
    def logits_of(
        self, said: Said, vocabulary: Vocabulary, embeddings: Float[Tensor, "k d"] | None
    ) -> Float[Tensor, "n k"]:
        """The same from what the network said: a new prompt costs no more than this."""
        answers, row = said
        if embeddings is not None:
            return (similarity(answers[TEXT], embeddings) / TEMPERATURE)[row]
        return answers[LINEAR][:, [self.about.classes.index(name) for name in vocabulary.names]][row]


def text_embeddings(
    vocabulary: Vocabulary, weights: str, device: torch.device, template: TemplateName = "none"
) -> Float[Tensor, "k d"]:
    """Unit embeddings of classes and then of distractors."""
    from ovs3d.foundation.clip import load_clip

    bank = PromptBank(load_clip(weights), sentences(template))
    rows = [bank.encode(vocabulary), *(bank.encode_words([word]) for word in vocabulary.distractors)]
    return torch.cat(rows).to(device)


def write_run(folder: Path, about: About, model: nn.Module) -> None:
    """Write both files; a killed process leaves no half of one."""
    head = {"kind": _KIND, "version": _VERSION, **asdict(about)}
    write_network(folder, "model.safetensors", model, "run.json", head)


def write_network(folder: Path, weights: str, model: nn.Module, about: str, head: Mapping[str, Any]) -> None:
    """Write the weights of a network, and then what it is."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    for name, content in (
        (weights, save(tensors)),
        (about, (json.dumps(head, indent=2, default=str) + "\n").encode()),
    ):
        with atomic_file(folder / name) as file:
            file.write(content)


def read_network(weights: Path, model: nn.Module) -> None:
    """Load what `write_network` wrote.

    Raises:
        InputError: there is none, or it is damaged or of another architecture.
    """
    if not weights.is_file():
        raise InputError(f"no weights at {weights}")
    load_strictly(model, read_state_dict(weights), str(weights))


def read_about(folder: Path) -> About:
    """What a run is.

    Raises:
        InputError: there is none, or it was written by another version.
    """
    path = folder / "run.json"
    try:
        content = json.loads(path.read_text())
        if content["kind"] != _KIND or content["version"] != _VERSION:
            raise ValueError("of another kind or version")
        net = Net(**content["net"] | {"inputs": tuple(content["net"]["inputs"])})
        return About(
            net,
            content["heads"],
            tuple(content["classes"]),
            content["weights"],
            content["settings"],
            content.get("template", "none"),
            tuple(map(tuple, content.get("synonyms", ()))),
        )
    except FileNotFoundError:
        begun = (folder / "settings.json").exists()
        cure = "; this one goes on if its command is given again" if begun else ""
        raise InputError(
            f"no run in {folder}: expected run.json, which a finished training writes{cure}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not what a training of ovs3d-points writes ({error})") from error


def load_run(folder: Path, device: str | None = "cpu") -> Run:
    """A run, in evaluation mode, on a device; None: CUDA where there is one.

    Raises:
        InputError: there is none, its weights are damaged or of another architecture, or there is no such device.
    """
    there = torch.device(usable_device(device))
    about = read_about(folder)
    model = PointModel(about.net, about.heads)
    read_network(folder / "model.safetensors", model)
    return Run(about, model.to(there).eval(), there)
