import io
import os
import pickle
import re
import urllib.error
import urllib.request
import warnings
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ovs3d.errors import InputError
from ovs3d.foundation import weights_command
from ovs3d.foundation.fetch import fetch, recorded_hash, verify
from ovs3d.foundation.published import Published, find_published, published_files
from ovs3d.foundation.state_dict import load_strictly, read_state_dict
from ovs3d.foundation.torchscript import is_torchscript, read_torchscript
from ovs3d.foundation.weights import parse_weights, weights_file, weights_folder

CONTENT = b"weights" * 1000
HASH = sha256(CONTENT).hexdigest()


class Server:
    """Stands for the network."""

    def __init__(self, content: bytes | Exception, length: int | None = None) -> None:
        self.content, self.length, self.calls = content, length, 0

    def __call__(self, request: urllib.request.Request, timeout: float) -> io.BytesIO:
        self.calls += 1
        if isinstance(self.content, Exception):
            raise self.content
        answer = io.BytesIO(self.content)
        answer.headers = {"Content-Length": str(self.length or len(self.content))}
        return answer


@pytest.fixture
def serve(monkeypatch):
    def start(content: bytes | Exception, length: int | None = None) -> Server:
        server = Server(content, length)
        monkeypatch.setattr(urllib.request, "urlopen", server)
        return server

    return start


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("OVS3D_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def file(digest: str = HASH) -> Published:
    return Published("clip", "ViT-X", "tag", "https://host/a/file.pt", digest)


# names


def test_a_name_is_mini_a_tag_a_path_or_a_url():
    assert parse_weights("mini").is_mini
    tag = parse_weights("ViT-B-16/openai")
    assert (tag.architecture, tag.source, tag.is_path, tag.is_url) == ("ViT-B-16", "openai", False, False)
    for text in ("a/b.pt", "a/b.safetensors", "a/./b", "a//abs/b", "a/~/b.pth"):
        assert parse_weights(text).is_path, text
    url = parse_weights(f"a/https://h/b.pt#sha256={HASH.upper()}")
    assert (url.is_url, url.is_path, url.source, url.sha256) == (True, False, "https://h/b.pt", HASH)


@pytest.mark.parametrize("text", ["mini", "a/b", "a/./b.pt", f"a/https://h/b.pt#sha256={HASH}"])
def test_a_name_is_written_as_it_is_read(text):
    assert str(parse_weights(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ViT-B-16",
        "/abs.pt",
        "a/",
        "a/https://h/b.pt",
        "a/https://h/b#sha256=12",
        f"a/http://h/b#sha256={HASH}",
    ],
)
def test_what_has_none_of_the_four_forms_is_refused(text):
    with pytest.raises(InputError, match=r"mini|https") as caught:
        parse_weights(text)
    assert "\n" not in str(caught.value)


def test_an_unknown_tag_is_answered_with_the_closest():
    with pytest.raises(InputError, match="ViT-B-16/openai"):
        find_published("ViT-B-16", "opnai")
    with pytest.raises(InputError, match="vit_base_patch8_224_dino/facebook"):
        find_published("vit_base_patch8_224_dino", "fb")


def test_timm_spells_dino_in_two_ways():
    assert find_published("vit_base_patch8_224.dino", "facebook").architecture == "vit_base_patch8_224_dino"


def test_each_openai_file_has_its_whole_hash_from_its_url():
    files = [file for file in published_files() if file.tag == "openai"]
    assert {"RN50", "ViT-B-16", "ViT-B-32", "ViT-L-14"} <= {file.architecture for file in files}
    assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) and file.sha256 in file.url for file in files)
    assert all(file.quick_gelu for file in files)


def test_a_file_of_open_clip_has_the_first_digits_of_its_hash():
    assert find_published("ViT-B-16", "laion400m_e32").sha256 == "55e67d44"
    assert find_published("ViT-B-16", "laion2b_s34b_b88k").sha256 == ""


def test_no_two_published_files_share_a_place(folder):
    files = [file for file in published_files() if not file.architecture.endswith("-quickgelu")]
    assert len({file.path_in(folder) for file in files}) == len(files)
    quick = find_published("ViT-B-16-quickgelu", "openai")
    assert quick.path_in(folder) == find_published("ViT-B-16", "openai").path_in(folder)


def test_the_weights_folder_is_in_the_home_unless_set(monkeypatch, folder):
    assert weights_folder() == folder
    monkeypatch.delenv("OVS3D_WEIGHTS")
    assert weights_folder() == Path.home() / ".cache" / "ovs3d" / "weights"


# fetching


def test_a_file_is_fetched_once(serve, folder):
    server = serve(CONTENT)
    path = fetch(file(), folder)
    assert path == folder / "ViT-X" / "tag.pt"
    assert path.read_bytes() == CONTENT
    assert fetch(file(), folder) == path
    assert server.calls == 1
    assert sorted(p.name for p in path.parent.iterdir()) == ["tag.pt", "tag.pt.sha256"]


@pytest.mark.parametrize(
    ("content", "length", "match"),
    [
        (b"other", None, "expected " + HASH),
        (CONTENT, 2 * len(CONTENT), f"after {len(CONTENT)} of {2 * len(CONTENT)} bytes"),
        (urllib.error.URLError("no route"), None, "no route"),
        (TimeoutError("timed out"), None, "timed out"),
    ],
)
def test_a_failed_download_leaves_nothing_and_says_one_line(serve, folder, content, length, match):
    serve(content, length)
    with pytest.raises(InputError, match=match) as caught:
        fetch(file(), folder)
    assert "\n" not in str(caught.value)
    assert list((folder / "ViT-X").iterdir()) == []


def test_a_cut_download_is_refused_where_no_hash_is_published(serve, folder):
    serve(CONTENT, len(CONTENT) + 1)
    with pytest.raises(InputError, match="bytes"):
        fetch(file(""), folder)


def test_offline_the_line_names_the_ways_out(serve, folder):
    serve(urllib.error.URLError("Name or service not known"))
    with pytest.raises(InputError) as caught:
        weights_file(parse_weights("ViT-B-16/openai"))
    place = str(folder / "ViT-B-16" / "openai.pt")
    for part in (
        "ovs3d weights fetch ViT-B-16/openai",
        place,
        "https://openaipublic",
        "`weights: mini`",
        "ovs3d.yaml",
    ):
        assert part in str(caught.value)


def test_a_file_that_changed_after_its_download_is_refused(serve, folder):
    serve(CONTENT)
    path = fetch(file(""), folder)
    assert recorded_hash(path) == verify(path, file("")) == HASH
    path.write_bytes(CONTENT[1:])
    with pytest.raises(InputError, match="is not the published ViT-X/tag"):
        verify(path, file(""))


def test_weights_by_url_are_fetched_and_verified(serve, folder):
    serve(CONTENT)
    assert weights_file(parse_weights(f"X/https://h/b.pth#sha256={HASH}")) == (
        folder / "X" / f"{HASH[:16]}.pth",
        HASH,
    )
    with pytest.raises(InputError, match="expected"):
        weights_file(parse_weights(f"X/https://h/b.pth#sha256={HASH[::-1]}"))


def test_weights_by_path_are_taken_where_they_are(tmp_path):
    (tmp_path / "a.pt").write_bytes(CONTENT)
    assert weights_file(parse_weights(f"X/{tmp_path}/a.pt")) == (tmp_path / "a.pt", HASH)
    with pytest.raises(InputError, match="no weights at"):
        weights_file(parse_weights(f"X/{tmp_path}/b.pt"))


# files


def tensors() -> dict[str, torch.Tensor]:
    return {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2, dtype=torch.float16)}


def test_every_format_holds_the_same_tensors(tmp_path):
    state = tensors()
    save_file(state, tmp_path / "0.safetensors")
    torch.save(state, tmp_path / "1.pt")
    torch.save(state, tmp_path / "2.pt", _use_new_zipfile_serialization=False)
    wrapped = {"module." + name: value for name, value in state.items()}
    torch.save({"epoch": 3, "name": "x", "state_dict": wrapped}, tmp_path / "3.pt")
    for path in sorted(tmp_path.glob("*.*")):
        read = read_state_dict(path)
        assert list(read) == list(state)
        assert all(torch.equal(read[name], state[name]) for name in state)
        assert read["a.bias"].dtype == torch.float16


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def write_evil(kind: str, path: Path, marker: Path) -> None:
    if kind == "script":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/code/a.py", "")
            archive.writestr("x/data.pkl", pickle.dumps(Evil(marker)))
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"a": Evil(marker)}, protocol=2))
    else:
        torch.save({"a": Evil(marker)}, path, _use_new_zipfile_serialization=kind == "zip")


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "script"])
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path, kind):
    write_evil(kind, tmp_path / "evil.pt", tmp_path / "marker")
    with pytest.raises(InputError, match=r"would call posix\.mkdir") as caught:
        read_state_dict(tmp_path / "evil.pt")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_damaged_file_is_an_error_of_one_line(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    torch.save(tensors(), path) if suffix == ".pt" else save_file(tensors(), path)
    content = path.read_bytes()
    for end in range(0, len(content), max(len(content) // 20, 1)):
        path.write_bytes(content[:end])
        with pytest.raises(InputError, match="no weights") as caught:
            read_state_dict(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[torch.ones(2)], {"epoch": 3}, {}, torch.ones(2)])
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(InputError, match="holds no weights"):
        read_state_dict(tmp_path / "a.pt")


def scripted(module: nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module).save(path)


class Odd(nn.Module):
    """Views, shared and empty tensors, several dtypes."""

    def __init__(self) -> None:
        super().__init__()
        base = torch.arange(12.0)
        self.linear = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        self.view = nn.Parameter(base.view(3, 4).T[1:])
        self.register_buffer("tail", base[7:])
        self.register_buffer("half_precision", torch.randn(2, 2).half())
        self.register_buffer("number", torch.tensor(7))
        self.register_buffer("empty", torch.zeros(0, 3))
        self.names = ["a", "b"]
        self.numbers = [1, 2]
        self.mask = torch.ones(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


def test_a_torchscript_archive_is_read_as_torch_reads_it(tmp_path):
    scripted(Odd(), tmp_path / "a.pt")
    assert is_torchscript(tmp_path / "a.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch.jit.load(tmp_path / "a.pt").state_dict()
    read = read_torchscript(tmp_path / "a.pt")
    assert set(read) == {*expected, "mask"}
    for name, value in expected.items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name], value), name


def test_a_file_of_torch_save_is_no_torchscript(tmp_path):
    torch.save(tensors(), tmp_path / "a.pt")
    (tmp_path / "b.pt").write_text("no archive")
    assert not is_torchscript(tmp_path / "a.pt")
    assert not is_torchscript(tmp_path / "b.pt")


# loading


def test_a_state_that_does_not_fit_names_what_differs():
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    state = module.state_dict()
    state["extra"] = state.pop("1.bias")
    state["0.weight"] = torch.zeros(2, 2)
    with pytest.raises(InputError) as caught:
        load_strictly(module, state, "a.pt")
    for part in ("a.pt", "1 missing (1.bias)", "(extra)", "0.weight is (2, 2), expected (3, 2)"):
        assert part in str(caught.value)


def test_nothing_is_loaded_from_a_state_that_does_not_fit():
    module = nn.Linear(2, 2)
    before = module.weight.clone()
    with pytest.raises(InputError):
        load_strictly(module, {"weight": torch.zeros(2, 2)}, "a.pt")
    assert torch.equal(module.weight, before)


# commands


def test_fetch_says_where_the_file_is_and_what_is_known_of_it(serve, capsys, folder):
    serve(CONTENT)
    weights_command.Fetch((f"X/https://h/b.pt#sha256={HASH}", "ViT-B-16/laion2b_s34b_b88k")).run()
    first, second = capsys.readouterr().out.splitlines()
    assert str(folder / "X") in first
    assert "as published" in first
    assert "names none" in second


@pytest.mark.parametrize("text", ["mini", "X/./a.pt"])
def test_there_is_nothing_to_fetch_for_a_file_on_this_machine(text):
    with pytest.raises(InputError, match="nothing to fetch"):
        weights_command.Fetch((text,)).run()


def test_list_marks_what_is_here(capsys, folder):
    (folder / "vit_b").mkdir(parents=True)
    (folder / "vit_b" / "facebook.pth").write_bytes(b"")
    weights_command.List("sam").run()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:3] for line in lines[1:]] == [
        ["here", "vit_b/facebook"],
        ["-", "vit_l/facebook"],
        ["-", "vit_h/facebook"],
    ]


def test_check_names_every_file_that_is_broken(capsys, tmp_path):
    (tmp_path / "a.pt").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"2 of the weights"):
        weights_command.Check((f"vit_b/{tmp_path}/a.pt", f"ViT-B-32/{tmp_path}/b.pt")).run()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["broken", "broken"]
