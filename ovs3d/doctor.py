"""``ovs3d doctor``: what of all that ovs3d stands on is here, and how to get the rest."""

import importlib
import importlib.metadata
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_IMPORT_ERRORS = (ImportError, OSError, RuntimeError, AttributeError)
"""What packages raise that do not fit the rest of the machine."""
_REQUIRED = {  # module: its distribution
    "torch": "torch",
    "torchvision": "torchvision",
    "open_clip": "open_clip_torch",
    "timm": "timm",
    "segment_anything": "segment-anything",
    "trimesh": "trimesh",
    "embreex": "embreex",
}
_POINTS = {  # what the point branch needs besides
    "lightning": "lightning",
    "tensorboard": "tensorboard",
    "nuscenes": "nuscenes-devkit",
    "pycocotools": "pycocotools",
    "plyfile": "plyfile",
    "viser": "viser",
}
_BACKENDS = {  # of sparse convolution, on request: module, distribution, cure
    "spconv": ("spconv-cu126", "only on request and with CUDA: pip install 'ovs3d[spconv]'"),
    "MinkowskiEngine": (
        "MinkowskiEngine",
        "only on request, needs a compiler: pip install 'ovs3d[minkowski]'",
    ),
}
_PLUGIN = (  # entry points: group and name
    ("nerfstudio.method_configs", "ovs3d"),
    ("nerfstudio.dataparser_configs", "ovs3d-data"),
    ("nerfstudio.dataparser_configs", "ovs3d-llff"),
)
_REAL_WEIGHTS = ("ViT-B-16/openai", "vit_base_patch8_224_dino/facebook", "vit_b/facebook")
_TINYCUDANN = "git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    state: Literal["ok", "missing", "broken"]
    name: str
    note: str
    """Version or place if it is ok, else the cure."""
    required: bool = True

    def __str__(self) -> str:
        return f"{self.state:8} {self.name}: {' '.join(self.note.split())}"


@dataclass(frozen=True)
class Doctor:
    """Say what is installed, what is missing and how to get it."""

    def run(self) -> None:
        """Print a line per finding.

        Raises:
            InputError: something is missing or broken without which ovs3d does not work.
        """
        from ovs3d.errors import InputError

        failed = []
        for finding in examine():
            print(finding, flush=True)
            if finding.required and finding.state != "ok":
                failed.append(finding.name)
        if failed:
            raise InputError(f"{len(failed)} required parts cannot be used, see above: {', '.join(failed)}")


def examine() -> Iterator[Finding]:
    """Packages of both branches, the nerfstudio plugin, weights."""
    yield Finding("ok", "python", platform.python_version())
    packages = [_package(module, name, "pip install --upgrade ovs3d") for module, name in _REQUIRED.items()]
    yield from packages
    if packages[0].state == "ok":
        yield _cuda()
    nerfstudio = _package("nerfstudio", "nerfstudio", "pip install 'ovs3d[nerf]'", required=False)
    yield nerfstudio
    yield _package(
        "tinycudann", "tinycudann", f"only for hash grids: pip install {_TINYCUDANN}", required=False
    )
    if nerfstudio.state == "ok":
        yield from (_entry_point(group, name) for group, name in _PLUGIN)
    for module, name in _POINTS.items():
        yield _package(module, name, "pip install 'ovs3d[points]'", required=False)
    for module, (name, cure) in _BACKENDS.items():
        yield _package(module, name, cure, required=False)
    yield from (_mini(kind) for kind in ("clip", "dino", "sam"))
    if all(package.state == "ok" for package in packages):
        yield from (_published(name) for name in _REAL_WEIGHTS)


def _package(module: str, distribution: str, cure: str, required: bool = True) -> Finding:
    try:
        importlib.import_module(module)
        version = importlib.metadata.version(distribution)
    except ModuleNotFoundError as error:
        if error.name == module:
            return Finding("missing", distribution, cure, required)
        return Finding("broken", distribution, f"{error}; {cure}", required)
    except _IMPORT_ERRORS as error:
        return Finding("broken", distribution, f"{error}; {cure}", required)
    return Finding("ok", distribution, version, required)


def _cuda() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("ok", "CUDA", f"{torch.version.cuda}, {torch.cuda.get_device_name()}", required=False)
    built = (
        f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built for CPU"
    )
    cure = "all runs on the CPU; a GPU needs its driver and a torch with CUDA (pytorch.org)"
    return Finding("missing", "CUDA", f"{built}; {cure}", required=False)


def _entry_point(group: str, name: str) -> Finding:
    """A plugin that is not registered is not found; one that cannot be imported breaks every ns-* command."""
    label = f"{group} {name}"
    found = importlib.metadata.entry_points(group=group, name=name)
    if not found:
        return Finding(
            "missing", label, "not registered: install ovs3d again (pip install -e . in a checkout)"
        )
    entry = next(iter(found))
    try:
        entry.load()
    except _IMPORT_ERRORS as error:
        return Finding("broken", label, f"{entry.value}: {error}; install ovs3d again")
    return Finding("ok", label, entry.value)


def _mini(kind: str) -> Finding:
    from ovs3d.errors import InputError
    from ovs3d.foundation.weights import mini_folder

    try:
        return Finding("ok", f"mini {kind}", str(mini_folder(kind)))
    except InputError as error:
        return Finding("missing", f"mini {kind}", f"{error}: install ovs3d again")


def _published(name: str) -> Finding:
    from ovs3d.foundation.published import find_published
    from ovs3d.foundation.weights import weights_folder

    path = find_published(*name.split("/")).path_in(weights_folder())
    if path.is_file():
        return Finding("ok", f"weights {name}", str(path), required=False)
    cure = f"ovs3d weights fetch {name}, or use the mini weights"
    return Finding("missing", f"weights {name}", cure, required=False)
