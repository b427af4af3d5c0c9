"""The store gives back what was computed, whatever happened in between."""

import errno
import logging
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from ovs3d.errors import InputError
from ovs3d.foundation import store as store_module
from ovs3d.foundation.store import Entry, FeatureStore

IDENTITY = {"model": "fake", "weights": "ab12", "scales": [5, 7, 10], "ratio": 0.5, "flip": False}


def make_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        "embeddings": torch.randn(7, 5, generator=generator).half(),
        "boxes": torch.arange(28, dtype=torch.int32).reshape(7, 4),
        "valid": torch.tensor([True, False]),
        "size": torch.tensor(240),
    }


def never():
    raise AssertionError("computed although it was stored")


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_second_call_reads_what_the_first_computed(tmp_path):
    folder = tmp_path / "scene" / ".ovs3d"
    first = FeatureStore(folder).get_or_compute("clip", b"image", IDENTITY, make_tensors)
    second = FeatureStore(folder).get_or_compute("clip", b"image", IDENTITY, never)
    assert_same(first, make_tensors())
    assert_same(second, make_tensors())
    assert only_file(folder).name.startswith("clip-")
    assert only_file(folder).suffix == ".safetensors"
    assert len(only_file(folder).stem) == len("clip-") + 32


def test_order_of_the_identity_does_not_matter(tmp_path):
    store = FeatureStore(tmp_path)
    store.get_or_compute("clip", b"image", IDENTITY, make_tensors)
    store.get_or_compute("clip", b"image", dict(reversed(IDENTITY.items())), never)


@pytest.mark.parametrize(
    ("kind", "image", "identity"),
    [
        ("dino", b"image", IDENTITY),
        ("clip", b"imagf", IDENTITY),
        ("clip", b"image", IDENTITY | {"weights": "ab13"}),
        ("clip", b"image", IDENTITY | {"scales": [5, 7, 11]}),
        ("clip", b"image", IDENTITY | {"extra": 0}),
    ],
)
def test_whatever_differs_is_computed_beside(tmp_path, kind, image, identity):
    store = FeatureStore(tmp_path)
    store.get_or_compute("clip", b"image", IDENTITY, make_tensors)
    other = store.get_or_compute(kind, image, identity, lambda: {"x": torch.ones(2)})
    assert_same(other, {"x": torch.ones(2)})
    assert len(list(tmp_path.iterdir())) == 2
    assert_same(store.get_or_compute("clip", b"image", IDENTITY, never), make_tensors())


def test_what_has_no_file_is_computed_and_the_files_that_there_are_are_not_read(tmp_path, capsys):
    store = FeatureStore(tmp_path)
    store.get_or_compute("clip", b"image", IDENTITY, make_tensors)
    only_file(tmp_path).write_bytes(b"")
    others = [
        ("dino", b"image", IDENTITY),
        ("clip", b"other", IDENTITY),
        ("clip", b"image", IDENTITY | {"x": 0}),
    ]
    missing = [Entry(*other, lambda i=i: {"x": torch.full((2,), i)}) for i, other in enumerate(others)]
    store.fill(iter([Entry("clip", b"image", IDENTITY, never), *missing]), 4, "some name")
    assert "some name: 100%" in capsys.readouterr().err
    for i, other in enumerate(others):
        assert_same(store.get_or_compute(*other, never), {"x": torch.full((2,), i)})


def test_files_of_two_runs_are_the_same_bytes(tmp_path):
    for run in ("a", "b"):
        FeatureStore(tmp_path / run).get_or_compute("clip", b"image", IDENTITY, make_tensors)
    assert only_file(tmp_path / "a").read_bytes() == only_file(tmp_path / "b").read_bytes()


def test_tensors_that_share_memory_or_need_gradients_are_stored(tmp_path):
    base = torch.arange(12.0, requires_grad=True)
    tensors = {"a": base.reshape(3, 4).T, "b": base[2:5]}
    found = FeatureStore(tmp_path).get_or_compute("clip", b"", {}, lambda: tensors)
    assert not found["a"].requires_grad
    assert_same(
        FeatureStore(tmp_path).get_or_compute("clip", b"", {}, never),
        {k: v.detach() for k, v in tensors.items()},
    )


def flip_last_bit(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-3], lambda data: data[:20], lambda data: b"", flip_last_bit]
)
def test_a_damaged_file_is_announced_once_and_computed_again(tmp_path, caplog, damage):
    store = FeatureStore(tmp_path)
    store.get_or_compute("clip", b"image", IDENTITY, make_tensors)
    path = only_file(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING):
        assert_same(store.get_or_compute("clip", b"image", IDENTITY, make_tensors), make_tensors())
        store.get_or_compute("clip", b"image", IDENTITY, never)
    assert len(caplog.records) == 1
    assert path.name in caplog.text
    assert path.read_bytes() == whole


def test_a_foreign_file_under_our_name_is_computed_again(tmp_path, caplog):
    store = FeatureStore(tmp_path)
    store.get_or_compute("clip", b"image", IDENTITY, make_tensors)
    mine = only_file(tmp_path)
    store.get_or_compute("clip", b"image", IDENTITY | {"weights": "other"}, lambda: {"x": torch.ones(1)})
    (other,) = set(tmp_path.iterdir()) - {mine}
    mine.write_bytes(other.read_bytes())
    assert_same(store.get_or_compute("clip", b"image", IDENTITY, make_tensors), make_tensors())
    assert "does not hold" in caplog.text


def make_feature(i: int) -> dict[str, torch.Tensor]:
    return {"a": torch.arange(200_000) * i, "b": torch.full((3,), i)}


KILLED = """
import os, random, signal, sys, time
from contextlib import suppress
from pathlib import Path
from ovs3d.foundation.store import FeatureStore
from test_store import make_feature

folder, log, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def compute(i):
    with open(log, "a") as file:
        file.write("x")
    return make_feature(i)

def extract():
    store = FeatureStore(folder)
    for i in range(12):
        store.get_or_compute("fake", bytes([i]), {}, lambda: compute(i))

log.touch()
random.seed(0)
for _ in range(kills):
    computed, child = log.stat().st_size, os.fork()
    if child == 0:
        extract()
        os._exit(0)
    while log.stat().st_size == computed and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.0005)
    time.sleep(random.uniform(0, 0.01))
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
extract()
"""


def test_killed_at_any_moment_it_redoes_at_most_one_image_and_ends_bit_identical(tmp_path):
    whole, killed, log = tmp_path / "whole", tmp_path / "killed", tmp_path / "log"
    for i in range(12):
        FeatureStore(whole).get_or_compute("fake", bytes([i]), {}, lambda i=i: make_feature(i))
    command = [sys.executable, "-c", KILLED, killed, log, "25"]
    here = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=here)
    assert done.stderr == "", "half a file was visible"
    assert {path.name: path.read_bytes() for path in killed.iterdir()} == {
        path.name: path.read_bytes() for path in whole.iterdir()
    }
    assert 12 < log.stat().st_size <= 12 + 25


def test_only_temporary_files_of_dead_processes_are_removed(tmp_path):
    host = os.uname().nodename
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    stale = [f".{host}-{int(dead.stdout)}-0123abcd-0.tmp", f".{host}-{os.getpid()}-0123abcd-4.tmp"]
    alive = [
        f".{host}-{os.getppid()}-0123abcd-0.tmp",
        f".elsewhere-{int(dead.stdout)}-0123abcd-0.tmp",
        ".mine.tmp",
    ]
    for name in stale + alive:
        (tmp_path / name).touch()
    FeatureStore(tmp_path).get_or_compute("clip", b"", {}, make_tensors)
    left = {path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"}
    assert left == set(alive)


LIMITED = """
import resource, sys
import torch
from pathlib import Path
from ovs3d.errors import exit_on_input_error
from ovs3d.foundation.store import FeatureStore

store = FeatureStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
with exit_on_input_error():
    store.get_or_compute("small", b"", {}, lambda: {"a": torch.ones(9)})
    store.get_or_compute("large", b"", {}, lambda: {"a": torch.ones(99_999)})
"""


def test_a_file_that_does_not_fit_ends_with_one_line_and_leaves_what_was_done(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert str(tmp_path) in run.stderr
    assert only_file(tmp_path).name.startswith("small-")


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_is_told_with_folder_and_cure(tmp_path, monkeypatch, call):
    store = FeatureStore(tmp_path)
    store.get_or_compute("clip", b"done", IDENTITY, make_tensors)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*{"write": (store_module, "save", full), "fsync": (os, "fsync", full)}[call])
    with pytest.raises(InputError, match="no space left") as raised:
        store.get_or_compute("clip", b"next", IDENTITY, make_tensors)
    assert str(tmp_path) in str(raised.value)
    assert "kept" in str(raised.value)
    assert "--feature-dir" in str(raised.value)
    monkeypatch.undo()
    only_file(tmp_path)
    assert_same(FeatureStore(tmp_path).get_or_compute("clip", b"done", IDENTITY, never), make_tensors())


def test_an_error_of_the_computation_passes_through_and_leaves_nothing(tmp_path):
    def fail():
        raise PermissionError(errno.EACCES, "not the store's business")

    with pytest.raises(PermissionError):
        FeatureStore(tmp_path).get_or_compute("clip", b"", {}, fail)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_folder_is_told_before_anything_is_computed(tmp_path, monkeypatch, code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match="--feature-dir"):
        FeatureStore(tmp_path / "new").get_or_compute("clip", b"", {}, never)


def test_a_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--feature-dir"):
        FeatureStore(tmp_path / "file" / "x").get_or_compute("clip", b"", {}, never)


@contextmanager
def as_nobody():
    """Root may write everywhere, so that root becomes somebody else for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_without_write_permission_is_told_but_can_be_read():
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "features"
        FeatureStore(folder).get_or_compute("clip", b"old", IDENTITY, make_tensors)
        for path in (Path(parent), folder):
            path.chmod(0o555)
        with as_nobody():
            store = FeatureStore(folder)
            assert_same(store.get_or_compute("clip", b"old", IDENTITY, never), make_tensors())
            with pytest.raises(InputError, match=r"Permission denied.*--feature-dir"):
                store.get_or_compute("clip", b"new", IDENTITY, never)
        for path in (Path(parent), folder):
            path.chmod(0o755)
