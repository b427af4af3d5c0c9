"""The command ``ovs3d-points``. Nothing heavy is imported before a command runs."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import OmitSubcommandPrefixes, subcommand

from ovs3d.errors import command_line
from ovs3d.prompts.vocabulary import Vocabulary, asked_vocabulary
from pointcloud.config import Masks, Pairing, Refine, Teacher, Training
from pointcloud.index_command import Index
from pointcloud.presets import Pretrain
from pointcloud.pretrain_command import Features

_DESCRIPTION = "Sparse 3D networks on LiDAR and RGB-D scans: index a data set, train, evaluate, ask."


@dataclass(frozen=True, kw_only=True)
class Finetune(Training):
    """Train on labels, from scratch or from a pre-trained network; a run that was interrupted goes on."""

    held_out: Literal["val", "test"] = "val"
    """Split that the report is about."""
    head: Literal["linear", "text"] = "linear"
    """linear: one output per class, as published. text: CLIP's space, so that the run may be asked for new words."""
    weights: str | None = None
    """CLIP weights of the texts, for --head text. Default: those of --init, else what ovs3d.yaml in the data set's
    folder names, else ViT-B-16/openai."""
    freeze: bool = False
    """Train the head alone, on the trunk of --init as it is (linear probe)."""

    def run(self) -> None:
        """Train, and print the report."""
        from pointcloud.finetune import finetune

        report = finetune(self)
        if report is not None:
            print(report.with_suffix(".md").read_text())


@dataclass(frozen=True, kw_only=True)
class _Question:
    run_folder: Annotated[Path, tyro.conf.arg(name="run")]
    """Folder of a run."""
    prompt: str | None = None
    """What to look for, such as "car; road; tree". Default: the classes that the run was trained on."""
    prompts: Path | None = None
    """A file of prompts instead: one a line, or YAML with synonyms and distractors. Or the vocabulary of a data set
    that comes with the package, such as nuscenes16 or scannet20."""
    device: str | None = None
    """Where the network runs: cpu, cuda or cuda:<number>. Default: cuda where there is one."""

    def vocabulary(self) -> Vocabulary | None:
        """What is asked for, if anything in particular."""
        return asked_vocabulary(self.prompt, self.prompts)


@dataclass(frozen=True, kw_only=True)
class Evaluate(_Question):
    """Measure a run, or CLIP itself, on a split of a data set: mIoU of all points or pixels, pooled."""

    run_folder: Annotated[Path | None, tyro.conf.arg(name="run")] = None
    """Folder of a run. Default: what CLIP calls the pixels that show the points; hidden points have no answer."""
    prompt: str | None = None
    """One prompt for each class of the index, in their order. Default: their names, with the synonyms by which the run
    was taught them."""
    index: Path
    """Index of the data set."""
    out: Path
    """Folder for report.json and report.md."""
    root: Path | None = None
    """Where the data set lies now, if it was moved since."""
    split: Literal["train", "val", "test"] = "val"
    """Which scans."""
    of: Literal["points", "photos", "both"] = "points"
    """What is labelled: points, photos, or points by both networks of pretrain cns together."""
    rotations: int = 1
    """Mean over so many turned copies of each scan."""
    predictions: bool = False
    """Also write the labels of each scan, as the data set's own benchmark wants them, or else class ids: int16 .npy
    files, -1 where there is no answer. Of photos: PNGs of class ids."""
    shown: bool = False
    """Also measure the points that a photo shows by themselves: CLIP alone has no answer for others."""
    refine: Refine = "none"
    """What masks make of the labels of photos, as in pretrain cns: of CLIP's, or with --of photos or both of those that
    the run's network of photos gives."""
    margin: float = 0.0
    """By how much the best class of a mask has to lead, for soft; masks whose best class leads by less get no answer.
    Not for --of both."""
    teacher: Teacher = field(default_factory=Teacher)
    masks: Masks = field(default_factory=Masks)
    pairs: Pairing = field(default_factory=Pairing)

    def run(self) -> None:
        """Write the report and print it."""
        from pointcloud.evaluate_command import evaluate

        print(evaluate(self).with_suffix(".md").read_text())


@dataclass(frozen=True, kw_only=True)
class Infer(_Question):
    """Label point clouds by any words: PLY files with a colour, a class and a score for each point."""

    points: tuple[Path, ...]
    """Files of points (.bin, .npy, .npz, .ply, .pcd), or folders of them."""
    out: Path
    """Folder to write into."""
    threshold: float | None = None
    """Probability below which a point gets no answer, 0..1."""
    intensity_max: float | None = None
    """What the strongest return is in the files, such as 255. Default: as usual for their format."""

    def run(self) -> None:
        """Write one PLY for each file."""
        from pointcloud.infer import infer

        infer(self)


@dataclass(frozen=True, kw_only=True)
class View(_Question):
    """Show the scans of a data set in the browser: colours, truth, what a run says, heat of a typed prompt, cameras."""

    run_folder: Annotated[Path | None, tyro.conf.arg(name="run")] = None
    """Folder of a run. Default: only what the data set holds."""
    index: Path
    """Index of the data set."""
    root: Path | None = None
    """Where the data set lies now, if it was moved since."""
    split: Literal["train", "val", "test"] = "val"
    """Which scans."""
    port: int = 7008
    """Port of the page."""
    host: str = "127.0.0.1"
    """Address that is listened at; 0.0.0.0 lets other machines in."""

    def run(self) -> None:
        """Serve the page until interrupted."""
        from pointcloud.view import view

        view(self)


Command = (
    Annotated[Index, subcommand("index")]
    | Annotated[Features, subcommand("features")]
    | Annotated[Pretrain, subcommand("pretrain")]
    | Annotated[Finetune, subcommand("finetune")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Infer, subcommand("infer")]
    | Annotated[View, subcommand("view")]
)


def parse(args: Sequence[str]) -> Command:
    """The command of a line.

    Raises:
        SystemExit: wrong flags (status 2), or help was asked for.
    """
    config = (OmitSubcommandPrefixes,)
    return tyro.cli(Command, prog="ovs3d-points", description=_DESCRIPTION, args=args, config=config)


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line; without a command it prints the help.

    Raises:
        SystemExit: with status 2 for wrong flags and for input that cannot be used.
    """
    with command_line():
        parse(list(sys.argv[1:] if argv is None else argv) or ["--help"]).run()


if __name__ == "__main__":
    main()
