"""The network of photos of a run: ``image.json`` says what it is, ``image.safetensors`` holds its weights."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from ovs3d.errors import InputError
from ovs3d.query import similarity
from pointcloud.config import ImageNetworkName
from pointcloud.nets.photos import STRIDE, PhotoNet
from pointcloud.runs import TEXT, read_network, write_network

_KIND, _VERSION = "ovs3d image network", 1


@dataclass(frozen=True)
class ImageAbout:
    """What a network of photos is."""

    name: ImageNetworkName
    heads: Mapping[str, int]
    """Name and channels of each head; ``final`` answers to texts."""
    weights: str
    """CLIP weights whose texts it answers to."""
    width: int
    """Columns of the photos that it takes; rows are as many as keep the proportions, up to whole cells."""


@dataclass(frozen=True, eq=False)
class ImageRun:
    """A trained network of photos, ready to be asked."""

    about: ImageAbout
    net: PhotoNet

    @torch.inference_mode()
    def similarities(
        self, image: UInt8[Tensor, "h w 3"], embeddings: Float[Tensor, "t d"]
    ) -> Float[Tensor, "t gh gw"]:
        """Cosines with texts on a coarse grid that covers the photo, which nearly keeps its proportions."""
        device, width = self.net.mean.device, self.about.width
        height = STRIDE * max(1, round(width * len(image) / image.shape[1] / STRIDE))
        colours = tv.resize(image.permute(2, 0, 1), [height, width], antialias=True).to(device).float() / 255
        features = self.net(colours[None])[TEXT][0].permute(1, 2, 0)
        return similarity(features, embeddings.to(device)).permute(2, 0, 1).cpu()


def write_image_net(folder: Path, about: ImageAbout, net: PhotoNet) -> None:
    """Write both files; a killed process leaves no half of one."""
    head = {"kind": _KIND, "version": _VERSION, **asdict(about)}
    write_network(folder, "image.safetensors", net, "image.json", head)


def load_image_run(folder: Path, device: torch.device) -> ImageRun:
    """The network of photos of a run, in evaluation mode.

    Raises:
        InputError: there is none, or its weights are damaged or of another architecture.
    """
    path = folder / "image.json"
    try:
        content = json.loads(path.read_text())
        if (content.pop("kind"), content.pop("version")) != (_KIND, _VERSION):
            raise ValueError("of another kind or version")
        about = ImageAbout(**content)
        net = PhotoNet(about.name, about.heads)
    except FileNotFoundError:
        raise InputError(
            f"no network of photos in {folder}: expected image.json, which ovs3d-points pretrain cns writes, but not "
            "with --image.name none"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not what ovs3d-points pretrain cns writes ({error})") from error
    read_network(folder / "image.safetensors", net)
    return ImageRun(about, net.to(device).eval())
