"""The feature store: what a foundation model computes from an image, computed once.

A file is named after everything that its content depends on: the image's bytes, the model, its weights and
its parameters. So nothing is ever out of date, and scenes of the same name do not meet.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from ovs3d.atomic import atomic_file, remove_stale_files, try_to_write
from ovs3d.errors import FULL, InputError

FORMAT_VERSION = 1
_OPTION = (
    "--feature-dir (of ns-train: --pipeline.datamanager.feature-dir; of ovs3d-points: --teacher.feature-dir, "
    "--masks.feature-dir or --latent.feature-dir)"
)
_log = logging.getLogger(__name__)

Identity = Mapping[str, str | int | float | bool | list]


class Entry(NamedTuple):
    """What a store keeps of an image, and how to compute it."""

    kind: str
    """First part of the name of the file, for instance ``clip-tiles``."""
    image: bytes
    """Of the image file."""
    identity: Identity
    """All else that the tensors depend on: model, fingerprint of the weights, parameters."""
    compute: Callable[[], dict[str, Tensor]]


class FeatureStore:
    """A folder with one safetensors file per image and kind of feature."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: made when the first file is written; a complete one may be read-only.
        """
        self.folder = Path(folder)
        self._is_prepared = False

    def get_or_compute(
        self, kind: str, image: bytes, identity: Identity, compute: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """The stored tensors, or those that ``compute`` returns, which are stored first.

        Args:
            kind, image, identity: of an `Entry`.
            compute: called at most once.

        Returns:
            Tensors on the CPU, without gradient, the same whether read or computed.

        Raises:
            InputError: the folder cannot be written, or the disk is full.
        """
        path, key = self._file(kind, image, identity)
        stored = _read(path, key) if path.exists() else None
        if stored is not None:
            return stored
        self._prepare()
        tensors = {name: _plain(tensor) for name, tensor in compute().items()}
        with self._disk_errors(), atomic_file(path) as file:
            file.write(save(tensors, metadata={"ovs3d": _stamp(key, tensors)}))
        return tensors

    def fill(self, entries: Iterable[Entry], total: int, name: str) -> None:
        """Compute and keep what has no file, with a bar of progress.

        Files are not read: if one is damaged, that shows when it is asked for.

        Args:
            entries: asked for one after the other, so that not all images are in memory.
            total: their number.
            name: of the bar.

        Raises:
            InputError: the folder cannot be written, or the disk is full.
        """
        for entry in tqdm(entries, name, total, unit="photo"):
            path, _ = self._file(entry.kind, entry.image, entry.identity)
            if not path.exists():
                self.get_or_compute(*entry)

    def _file(self, kind: str, image: bytes, identity: Identity) -> tuple[Path, str]:
        """A file, and all that it depends on."""
        key = _canonical(
            {"kind": kind, "image": _sha256(image), "identity": dict(identity), "format": FORMAT_VERSION}
        )
        return self.folder / f"{kind}-{_sha256(key.encode())[:32]}.safetensors", key

    def _prepare(self) -> None:
        """Find out that the folder cannot be written before the first image is encoded, not after."""
        if self._is_prepared:
            return
        with self._disk_errors():
            try_to_write(self.folder)
            remove_stale_files(self.folder)
        self._is_prepared = True

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                raise InputError(
                    f"no space left for features in {self.folder} ({error.strerror}); what was finished is "
                    f"kept: free some space or choose another folder with {_OPTION}, then run it again"
                ) from error
            raise InputError(
                f"cannot write features to {self.folder} ({error.strerror}): "
                f"choose a folder that can be written with {_OPTION}"
            ) from error


def _read(path: Path, key: str) -> dict[str, Tensor] | None:
    """The tensors of a file, or None, said once, where it is damaged or was made from something else."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            stamp = (file.metadata() or {}).get("ovs3d")
    except SafetensorError as error:
        _log.warning("%s is damaged (%s): computing it again", path, error)
        return None
    if stamp != _stamp(key, tensors):
        _log.warning("%s does not hold what its name says: computing it again", path)
        return None
    return tensors


def _stamp(key: str, tensors: dict[str, Tensor]) -> str:
    """Key and checksum in one string: safetensors writes several metadata entries in random order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return _canonical({"key": json.loads(key), "sha256": digest.hexdigest()})


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
