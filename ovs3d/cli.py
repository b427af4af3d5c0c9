"""The command ``ovs3d``. Nothing heavy is imported before a command runs."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from ovs3d import __version__
from ovs3d.doctor import Doctor
from ovs3d.errors import command_line
from ovs3d.foundation.features_command import Features
from ovs3d.foundation.weights_command import Check, Fetch, List
from ovs3d.worlds.command import Tabletop
from ovs3d.worlds.rooms.command import Room
from ovs3d.worlds.streets.command import Street

_DESCRIPTION = (
    "Open-vocabulary 3D segmentation: worlds, features and weights. `ns-train ovs3d` trains on them."
)


@dataclass(frozen=True)
class World:
    """Write a procedural scene with exact truth."""

    world: (
        Annotated[Tabletop, subcommand("tabletop")]
        | Annotated[Room, subcommand("room")]
        | Annotated[Street, subcommand("street")]
    )

    def run(self) -> None:
        self.world.run()


@dataclass(frozen=True)
class Weights:
    """List, fetch or check the weights of CLIP, DINO and SAM."""

    action: (
        Annotated[List, subcommand("list")]
        | Annotated[Fetch, subcommand("fetch")]
        | Annotated[Check, subcommand("check")]
    )

    def run(self) -> None:
        self.action.run()


Command = (
    Annotated[World, subcommand("world")]
    | Annotated[Features, subcommand("features")]
    | Annotated[Weights, subcommand("weights")]
    | Annotated[Doctor, subcommand("doctor")]
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line; without a command it prints the help.

    Raises:
        SystemExit: with status 2 for wrong flags and for input that cannot be used.
    """
    args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if args == ["--version"]:
        print(f"ovs3d {__version__}")
        return
    config = (OmitSubcommandPrefixes, OmitArgPrefixes)
    with command_line():
        tyro.cli(Command, prog="ovs3d", description=_DESCRIPTION, args=args, config=config).run()


if __name__ == "__main__":
    main()
