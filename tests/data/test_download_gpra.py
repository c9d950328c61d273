"""The program that downloads the challenge's files: each arrives whole and checked, or not at all."""

import hashlib
import importlib.util
import io
import json
import random
import re
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from huggingface_hub import constants

from kmerbert.files import writer_tag
from kmerbert.scoring import dream
from tests.support.file_server import FileServer, serving

PROGRAM = Path(__file__).resolve().parents[2] / "data" / "download_gpra.py"
RECORD = "/api/records/10633252"
TRAIN, IDS = (f"/records/10633252/files/{name}" for name in ("train_sequences.txt", "public_leaderboard_ids.tar.gz"))
REPOSITORY = "/de-Boer-Lab/random-promoter-dream-challenge-2022/1b40970e8dcddf31d07ccc4604a82afac8f49095/data/"
DEMO, PLASMID = f"{REPOSITORY}demo_train.txt", f"{REPOSITORY}plasmid.json"
SHARD = "supervised/validation-00000-of-00001.parquet"
HUB = f"/datasets/HuggingFaceBio/random-promoter-dream-2022/resolve/095ecf8da1e69d70c21812af809df7b19c7d8a84/{SHARD}"
CONTENT = random.Random(0).randbytes(300_000)
OTHER = CONTENT[::-1]
Run = Callable[..., str]


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def record(**files: bytes) -> bytes:
    """The answer of Zenodo's API; a double underscore stands for a point."""
    entries = [{"key": name.replace("__", "."), "checksum": f"md5:{md5(files[name])}"} for name in files]
    return json.dumps({"files": entries}).encode()


def archive(*members: str | tarfile.TarInfo) -> bytes:
    """A tar.gz whose files contain their names."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for member in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(info.name) if info.isfile() else 0
            tar.addfile(info, io.BytesIO(info.name.encode()))
    return file.getvalue()


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Imported by path: `data/` is no package."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(time, "sleep", lambda _: None)  # between attempts
    specification = importlib.util.spec_from_file_location("download_gpra", PROGRAM)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as server:
        server.files = {RECORD: record(train_sequences__txt=CONTENT), TRAIN: CONTENT, DEMO: CONTENT, HUB: CONTENT}
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "gpra"


@pytest.fixture
def run(program: ModuleType, server: FileServer, folder: Path, capsys: pytest.CaptureFixture) -> Run:
    """Downloads groups from the server, the mirror of every source; returns the error line, or "" after a success."""
    program.GROUPS["ids_archive"] = "zenodo", "", {"public_leaderboard_ids.tar.gz": None}

    def run(*groups: str, flags: tuple[str, ...] = (), status: int = 2) -> str:
        mirrors = [argument for source in program.SOURCES for argument in (f"--{source}_url", server.url)]
        server.requests.clear()
        try:
            arguments = [*mirrors, "--output_dir", str(folder), "--retries", "0", *flags, "--files", *groups]
            program.run(lambda: program.main(arguments))
        except SystemExit as stopped:
            message = capsys.readouterr().err
            assert stopped.code == status
            assert message.startswith("error: " if status == 2 else "interrupted")
            assert message.count("\n") == 1
            return message
        assert capsys.readouterr().err == ""
        return ""

    return run


def test_a_file_is_downloaded_once(run: Run, server: FileServer, folder: Path) -> None:
    assert run("train") == ""
    path = folder / "train_sequences.txt"
    assert path.read_bytes() == CONTENT
    assert (folder / "SHA256SUMS").read_text() == f"{sha256(CONTENT)}  train_sequences.txt\n"
    assert names(folder) == ["SHA256SUMS", "train_sequences.txt"]
    assert path.stat().st_mode == (folder / "SHA256SUMS").stat().st_mode  # that of the umask
    assert [name for name, _ in server.requests] == [RECORD, TRAIN]
    for _, headers in server.requests:
        assert not headers["User-Agent"].startswith("python-requests")  # Zenodo has rejected it
        assert headers["Accept-Encoding"] == "identity"
    assert run("train") == ""
    assert server.requests == []
    path.write_bytes(OTHER)
    message = run("train")
    assert str(path) in message
    assert sha256(OTHER) in message
    assert sha256(CONTENT) in message
    assert server.requests == []


def test_an_existing_file(run: Run, server: FileServer, folder: Path) -> None:
    folder.mkdir()
    path = folder / "train_sequences.txt"
    path.write_bytes(b"old")
    message = run("train")
    assert md5(b"old") in message
    assert "--overwrite" in message
    server.files[TRAIN] = OTHER
    assert md5(OTHER) in run("train", flags=("--overwrite",))
    assert path.read_bytes() == b"old"
    server.files[TRAIN] = CONTENT
    assert run("train", flags=("--overwrite",)) == ""
    assert path.read_bytes() == CONTENT
    (folder / "SHA256SUMS").unlink()
    assert run("train") == ""
    assert [name for name, _ in server.requests] == [RECORD]
    assert sha256(CONTENT) in (folder / "SHA256SUMS").read_text()


def test_a_file_without_a_public_checksum(run: Run, server: FileServer, folder: Path) -> None:
    folder.mkdir()
    path = folder / "demo_train.txt"
    path.write_bytes(b"mine")
    for flags in ((), ("--overwrite",)):
        assert str(path) in run("demo", flags=flags)
        assert path.read_bytes() == b"mine"
        assert server.requests == []
    path.unlink()
    assert run("demo") == ""
    path.unlink()
    server.files[DEMO] = OTHER
    assert sha256(OTHER) in run("demo")
    assert names(folder) == ["SHA256SUMS"]


@pytest.mark.parametrize(
    ("group", "path", "answer", "parts"),
    [
        ("train", TRAIN, OTHER, [md5(CONTENT), md5(OTHER), "--zenodo_url"]),
        ("plasmid", PLASMID, OTHER, [sha256(OTHER), "e1444cace", "--repository_url"]),
        ("hub_validation", HUB, OTHER, [sha256(OTHER), "a4a7c321d", "--hub_url"]),
        ("demo", DEMO, None, ["404", "--repository_url"]),
        ("hub_validation", HUB, None, ["404", "--hub_url"]),
        ("demo", DEMO, b"\n<!DOCTYPE html>", ["page"]),
        ("demo", DEMO, b"version https://git-lfs.github.com/spec/v1", ["page"]),
        ("train", RECORD, None, ["404", "--zenodo_url"]),
        ("train", RECORD, b"Sign in", ["--zenodo_url"]),
        ("train", RECORD, b"[]", ["--zenodo_url"]),
        ("train", RECORD, b'{"files": [{"key": "train_sequences.txt"}]}', ["--zenodo_url"]),
        ("train", RECORD, record(a=b"", b=b""), ["train_sequences.txt", "a, b"]),
    ],
)
def test_a_wrong_answer(
    run: Run, server: FileServer, folder: Path, group: str, path: str, answer: bytes | None, parts: list[str]
) -> None:
    server.files[path] = answer
    message = run(group)
    assert server.url + path in message
    assert all(part in message for part in parts)
    assert names(folder) == []


@pytest.mark.parametrize("path", [DEMO, TRAIN, RECORD])
@pytest.mark.parametrize("fault", ["status", "cut"])
def test_a_failure_may_pass(run: Run, server: FileServer, folder: Path, path: str, fault: str) -> None:
    queue, group = server.statuses if fault == "status" else server.cuts, "demo" if path == DEMO else "train"
    queue[path] = [503 if fault == "status" else 5] * 3
    assert server.url + path in run(group)
    assert names(folder) == []
    assert run(group, flags=("--retries", "2")) == ""
    assert queue[path] == []
    assert len(names(folder)) == 2


def test_a_file_of_the_hub(
    program: ModuleType, run: Run, server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.GROUPS["hub_validation"][2][SHARD] = sha256(CONTENT)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")  # not for mirrors
    program.main(["--files", "hub_validation", "--output_dir", str(folder)])
    assert (folder / SHARD).read_bytes() == CONTENT
    assert names(folder) == ["SHA256SUMS", SHARD]
    assert {(name, headers["Authorization"]) for name, headers in server.requests} == {(HUB, None)}
    assert run("hub_validation") == ""
    assert server.requests == []


def test_an_archive_is_unpacked(run: Run, server: FileServer, folder: Path) -> None:
    link = tarfile.TarInfo("ids/link.json")
    link.type, link.linkname = tarfile.SYMTYPE, "low.json"
    server.files[IDS] = archive("ground.json", "./ids/low.json", "ids/._low.json", link)
    server.files[RECORD] = record(public_leaderboard_ids__tar__gz=server.files[IDS])
    assert run("ids_archive") == ""
    ground, low = folder / "public_leaderboard_ids/ground.json", folder / "public_leaderboard_ids/low.json"
    files = ["public_leaderboard_ids.tar.gz", "public_leaderboard_ids/ground.json", "public_leaderboard_ids/low.json"]
    assert names(folder) == ["SHA256SUMS", *files]
    sums = "".join(f"{sha256((folder / name).read_bytes())}  {name}\n" for name in files)
    assert (folder / "SHA256SUMS").read_text() == sums
    low.unlink()
    ground.write_text("mine")
    assert str(ground) in run("ids_archive")
    assert not low.exists()
    assert ground.read_text() == "mine"
    assert run("ids_archive", flags=("--overwrite",)) == ""
    assert server.requests == []
    assert (low.read_text(), ground.read_text()) == ("./ids/low.json", "ground.json")


@pytest.mark.parametrize(
    "name", ["../../evil.csv", "public_leaderboard_ids/../../evil.csv", "cut", "link", "sub/good.csv"]
)
def test_an_archive_that_cannot_be_unpacked(
    run: Run, server: FileServer, folder: Path, tmp_path: Path, name: str
) -> None:
    link = tarfile.TarInfo("link.csv")
    link.type, link.linkname = tarfile.LNKTYPE, "absent.csv"
    content = archive("good.csv", link if name == "link" else name)
    server.files[IDS] = content[: len(content) // 2] if name == "cut" else content
    server.files[RECORD] = record(public_leaderboard_ids__tar__gz=server.files[IDS])
    assert str(folder / "public_leaderboard_ids.tar.gz") in run("ids_archive")
    assert not list(tmp_path.rglob("evil.csv"))
    assert names(folder) == ["public_leaderboard_ids.tar.gz"]


def test_mistakes_of_the_user(run: Run, server: FileServer, folder: Path) -> None:
    message = run("labls")
    assert all(part in message for part in ("--files", "labls", "labels?", "hub_train"))
    assert "--retries -1" in run("demo", flags=("--retries", "-1"))
    assert "--retires" in run("demo", flags=("--retires", "1"))
    assert "--output_dir" in run("demo", flags=("--output_dir", str(PROGRAM)))
    assert server.requests == []
    assert not folder.exists()
    folder.mkdir()
    (folder / "SHA256SUMS").write_text(f"{sha256(b'')}  good.txt\n123 demo_train.txt\n")
    message = run("demo")
    assert str(folder / "SHA256SUMS") in message
    assert "123 demo_train.txt" in message
    (folder / "SHA256SUMS").unlink()
    assert f"http://127.0.0.1:9{DEMO}" in run("demo", flags=("--repository_url", "http://127.0.0.1:9"))  # no server


def test_an_interruption_keeps_complete_files_only(
    program: ModuleType, run: Run, server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = program.pooch.HTTPDownloader.__call__

    def interrupt(downloader: object, url: str, output_file: str, manager: object) -> None:
        write(downloader, url, output_file, manager)
        if TRAIN in url:
            raise KeyboardInterrupt

    monkeypatch.setattr(program.pooch.HTTPDownloader, "__call__", interrupt)
    run("demo", "train", status=130)
    assert names(folder) == ["SHA256SUMS", "demo_train.txt"]


def test_the_catalogue(program: ModuleType, capsys: pytest.CaptureFixture) -> None:
    program.main(["--list"])
    listed = capsys.readouterr().out
    files = {name: group for group, (_, _, members) in program.GROUPS.items() for name in members}
    assert all(part in listed for part in (*program.GROUPS, *files))
    assert len(files) == 31
    assert len(re.findall(r"\b[0-9a-f]{64}\b", listed)) == 16
    labels = {group for name, group in files.items() if "MAUDE" in name or "/test-" in name}
    assert labels == {"labels", "hub_labels"}
    assert not labels & set(program.DEFAULT_GROUPS)
    assert dream.TEST_FILE in files
    for subset in dream.SUBSETS:
        assert f"{dream.PUBLIC_FOLDER}/{subset.public_file}" in files
        assert not subset.tables or {f"{dream.SUBSET_FOLDER}/{name}" for name in subset.tables} & set(files)


def test_what_a_killed_download_left_is_deleted(run: Run, folder: Path) -> None:
    host, *_ = writer_tag().split("-")
    left = folder / f"writing-{host}-{2**22 + 1}-1-0a1b2c3d"
    left.mkdir(parents=True)
    (left / "tmpdata").write_bytes(CONTENT)
    assert run("train") == ""
    assert names(folder) == ["SHA256SUMS", "train_sequences.txt"]
