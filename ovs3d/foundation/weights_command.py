"""``ovs3d weights list | fetch | check``."""

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class List:
    """List the published weights that can be fetched, and say which of them are on this machine."""

    kind: Literal["all", "clip", "dino", "sam"] = "all"
    """Only the weights of this model."""

    def run(self) -> None:
        from ovs3d.foundation.published import published_files
        from ovs3d.foundation.weights import weights_folder

        folder = weights_folder()
        print(f"weights folder: {folder} (change it with OVS3D_WEIGHTS); mini weights come with the package")
        for file in published_files():
            if self.kind in ("all", file.kind):
                here = "here" if file.path_in(folder).is_file() else "-"
                print(f"{file.kind:5} {here:5} {file.name:48} {file.url}")


@dataclass(frozen=True)
class Fetch:
    """Download published weights into the weights folder and verify them."""

    weights: Positional[tuple[str, ...]] = ("ViT-B-16/openai",)
    """Names as `ovs3d weights list` prints them, or <architecture>/<https URL>#sha256=<hex>."""

    def run(self) -> None:
        from ovs3d.errors import InputError
        from ovs3d.foundation.weights import parse_weights, published, weights_file

        for text in self.weights:
            spec = parse_weights(text)
            if spec.is_mini or spec.is_path:
                raise InputError(f"nothing to fetch for {text}: it is not a published tag or a URL")
            path, sha256 = weights_file(spec)
            known = "as published" if published(spec).sha256 else "its publisher names none: kept beside it"
            print(f"{spec}: {path} (sha256 {sha256}, {known})")


@dataclass(frozen=True)
class Check:
    """Verify weights against their hashes and load them into their architectures."""

    weights: Positional[tuple[str, ...]] = ()
    """Names, or <architecture>/<path>; by default the mini set and all fetched weights."""

    def run(self) -> None:
        from ovs3d.errors import InputError

        failed = []
        for text in self.weights or _present():
            try:
                print(f"ok     {text}: {_load(text)}")
            except InputError as error:
                failed.append(text)
                print(f"broken {text}: {error}")
        if failed:
            raise InputError(f"{len(failed)} of the weights cannot be used: {', '.join(failed)}")


def _present() -> list[str]:
    """The mini set, and the published weights that are in the weights folder."""
    from ovs3d.foundation.published import published_files
    from ovs3d.foundation.weights import MINI, weights_folder

    folder = weights_folder()
    fetched = [file for file in published_files() if file.path_in(folder).is_file()]
    return [MINI, *(file.name for file in fetched if not file.architecture.endswith("-quickgelu"))]


def _load(text: str) -> str:
    """Load weights of any kind, and say what they are."""
    from ovs3d.foundation import clip, dino, sam
    from ovs3d.foundation.weights import MINI, parse_weights

    architecture = parse_weights(text).architecture.replace(".dino", "_dino")
    if architecture in sam.ARCHITECTURES:
        loaded = sam.load_sam(text)
        return f"SAM for images of {loaded.model.image_encoder.img_size} pixels, sha256 {loaded.fingerprint}"
    if architecture in dino.ARCHITECTURES:
        loaded = dino.load_dino(text)
        return f"DINO with patches of {loaded.patch} pixels, sha256 {loaded.fingerprint}"
    loaded = clip.load_clip(text)
    if architecture == MINI:
        dino.load_dino(text)
        sam.load_sam(text)
    return (
        f"CLIP with {loaded.d} channels for images of {loaded.image_size} pixels, sha256 {loaded.fingerprint}"
    )
