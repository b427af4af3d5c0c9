"""Download published weights once: to a temporary name, verified, then renamed."""

import hashlib
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from tqdm import tqdm

from ovs3d.errors import InputError
from ovs3d.foundation.published import Published

_CHUNK = 1 << 20
_TIMEOUT_S = 20


def fetch(file: Published, folder: Path) -> Path:
    """The path of a published file below ``folder``, downloaded first if it is not there.

    Raises:
        InputError: no network, or the bytes are not those that were published.
    """
    path = file.path_in(folder)
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        _download(file, part, path)
        record_hash(path, verify(part, file))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def verify(path: Path, file: Published) -> str:
    """The sha256 of a file, compared with the published one, or with its first download's where none is.

    Raises:
        InputError: they differ.
    """
    expected = file.sha256 or recorded_hash(path)
    found = sha256_of(path)
    if not found.startswith(expected):
        raise InputError(
            f"{path} is not the published {file.name}: its sha256 is {found}, expected {expected};"
            f" delete it and run `ovs3d weights fetch {file.name}`"
        )
    return found


def sha256_of(path: Path) -> str:
    """The hex sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def record_hash(path: Path, sha256: str) -> None:
    """Keep the hash of a download beside it, in the format of ``sha256sum``."""
    _hash_file(path).write_text(f"{sha256}  {path.name}\n")


def recorded_hash(path: Path) -> str:
    """The hash that was kept when the file was downloaded; empty if none was."""
    kept = _hash_file(path)
    return kept.read_text().split()[0] if kept.is_file() else ""


def _hash_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _download(file: Published, part: Path, path: Path) -> None:
    request = urllib.request.Request(file.url, headers={"User-Agent": "ovs3d"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as source, part.open("wb") as sink:
            size = int(source.headers.get("Content-Length") or 0) or None
            with tqdm(
                total=size, unit="B", unit_scale=True, desc=f"fetching {file.architecture}/{path.name}"
            ) as bar:
                while chunk := source.read(_CHUNK):
                    bar.update(sink.write(chunk))
            if size not in (None, sink.tell()):
                raise ConnectionError(f"the connection ended after {sink.tell()} of {size} bytes")
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"the weights {file.name} are not on this machine and cannot be fetched ({reason}): where there"
            f" is a network, run `ovs3d weights fetch {file.name}` or download {file.url}, and put it at"
            f" {path}; or use the mini weights (`weights: mini` in the ovs3d.yaml of the scene or data set)"
        ) from error
