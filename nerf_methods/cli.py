"""The command ``ovs3d-nerf``. Nothing heavy is imported before a command runs."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from ovs3d.errors import InputError, command_line
from ovs3d.prompts.vocabulary import asked_vocabulary

if TYPE_CHECKING:
    from nerf_methods.run import Run

_DESCRIPTION = "Ask runs of `ns-train ovs3d`: pictures and films, points and meshes, figures."


@dataclass(frozen=True, kw_only=True)
class Question:
    """A trained run and the words to ask it."""

    run: Path
    """config.yml that ns-train wrote. It is YAML with Python objects: open only your own."""
    prompt: str | None = None
    """What to look for, such as "mug; red ball". Default: what the run was trained with."""
    prompts: Path | None = None
    """A file of prompts instead: one a line, or YAML with synonyms and distractors. Or the vocabulary of a data set
    that comes with the package, such as nuscenes16 or scannet20."""
    negatives: tuple[str, ...] | None = None
    """What prompts are compared with for relevancy. Default: as the run was trained."""
    threshold: float | None = None
    """Relevancy below which there is no answer, 0..1. Default: as the run was trained."""

    def ask(self) -> "Run":
        """The run, asked."""
        vocabulary = asked_vocabulary(self.prompt, self.prompts)
        run = self.load()
        query = run.ask(vocabulary, self.negatives, self.threshold)
        for note in query.notes:
            print(note)
        return run

    def load(self) -> "Run":
        """The run, as it was trained."""
        from nerf_methods.run import load_run

        return load_run(self.run)


@dataclass(frozen=True, kw_only=True)
class Query(Question):
    """Pictures or films of what a run answers: labels with a legend, a heat map per prompt, class ids."""

    out: Path
    """Folder to write into."""
    views: Literal["held-out", "train"] = "held-out"
    """Photos whose cameras are rendered from."""
    cameras: Path | None = None
    """A camera path that nerfstudio's viewer wrote (JSON), instead of the photos' cameras."""
    images: bool = False
    """PNGs. This is the default."""
    video: bool = False
    """Films in MP4: along the camera path, else through the photos' cameras in turn."""
    fps: int = 24
    """Pictures per second of a film."""
    seconds: float = 8.0
    """Length of a film through the photos' cameras."""
    short_side: int | None = None
    """Make pictures smaller until their shorter side has as many pixels."""

    def execute(self) -> None:
        """Write them."""
        from nerf_methods.pictures import path_through_photos, read_camera_path, write_films, write_pictures

        if self.images and self.video:
            raise InputError("--images or --video: which of them?")
        cameras = None if self.cameras is None else read_camera_path(self.cameras)
        run = self.ask()
        if cameras is not None:
            names = [f"{i:05d}" for i in range(len(cameras))]
        elif self.video:
            cameras, names = path_through_photos(run, self.views, round(self.fps * self.seconds)), []
        else:
            cameras, names = run.cameras(self.views), [photo.stem for photo in run.photos(self.views)]
        if self.short_side is not None:
            side = min(int(cameras.height.min()), int(cameras.width.min()))
            cameras.rescale_output_resolution(min(1.0, self.short_side / side))
        if self.video:
            write_films(run, cameras, self.out, self.fps)
        else:
            write_pictures(run, cameras, names, self.out)
        print(f"wrote {self.out}")


@dataclass(frozen=True, kw_only=True)
class Export(Question):
    """Labelled points (PLY), a mesh coloured by label, and a mesh in its own colours for each prompt."""

    out: Path
    """Folder to write into."""
    resolution: int = 192
    """Voxels along the longest side of what is seen."""
    short_side: int = 240
    """Pixels along the shorter side of the renderings that points and depth come from."""
    formats: tuple[Literal["ply", "glb"], ...] = ("ply", "glb")
    """Of the meshes."""

    def execute(self) -> None:
        """Write them."""
        from nerf_methods.export import export

        for path in export(self.ask(), self.out, self.resolution, self.short_side, self.formats):
            print(f"wrote {path}")


@dataclass(frozen=True, kw_only=True)
class Evaluate(Question):
    """Figures by a published protocol, in report.json and report.md.

    3dovs-heldout: mIoU and accuracy over held-out views, pixels pooled. 3dovs-released: the metrics of 3D-OVS's code.
    lerf-localization: LERF's boxes. lerf-ovs: LangSplat's 2D protocol. lerf-mask: Gaussian Grouping's masks.
    """

    out: Path
    """Folder of the report."""
    protocol: Literal["3dovs-heldout", "3dovs-released", "lerf-localization", "lerf-ovs", "lerf-mask"] = (
        "3dovs-heldout"
    )
    """Views, masks and means of the figures."""
    truth: Path | None = None
    """Annotations of LERF's protocols: a folder of JSON files, or for lerf-mask of <view>/<prompt>.png."""

    def execute(self) -> None:
        """Measure, write the report and print it."""
        from nerf_methods.protocols import evaluate

        asked = {"--prompt": self.prompt, "--prompts": self.prompts, "--threshold": self.threshold}
        given = [flag for flag, value in asked.items() if value is not None]
        if self.protocol.startswith("lerf") and given:
            raise InputError(
                f"{self.protocol} asks for what is annotated, by rules of its own: leave out {' and '.join(given)}"
            )
        print(evaluate(self.load() if self.protocol.startswith("lerf") else self.ask(), self).to_markdown())
        print(f"wrote {self.out / 'report.json'}")


Command = (
    Annotated[Query, subcommand("query")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Evaluate, subcommand("evaluate")]
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line; without a command it prints the help.

    Raises:
        SystemExit: with status 2 for wrong flags and for input that cannot be used.
    """
    args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    config = (OmitSubcommandPrefixes, OmitArgPrefixes)
    with command_line():
        tyro.cli(Command, prog="ovs3d-nerf", description=_DESCRIPTION, args=args, config=config).execute()


if __name__ == "__main__":
    main()
