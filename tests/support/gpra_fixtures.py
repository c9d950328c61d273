"""The program that downloads the challenge's files, and a server that stands for all of its homes."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.file_server import FileServer, serving
from tests.support.gpra_mirror import CONTENT, DEMO, RECORD, TRAIN, record

PROGRAM = Path(__file__).resolve().parents[2] / "data" / "download_gpra.py"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import by path: `data/` holds programs and is no package."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.syspath_prepend(PROGRAM.parent)  # where it finds its neighbour
    specification = importlib.util.spec_from_file_location("download_gpra", PROGRAM)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as server:
        server.files = {RECORD: record(train_sequences__txt=CONTENT), TRAIN: CONTENT, DEMO: CONTENT}
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "gpra"


@pytest.fixture
def fetch(program: ModuleType, server: FileServer, folder: Path) -> Callable[..., dict[str, str]]:
    """Runs the program on the server, with two further attempts and no waiting."""

    def run(*files: str, flags: tuple[str, ...] = ()) -> dict[str, str]:
        urls = [word for source in program.HOMES for word in (f"--{source}_url", server.url)]
        fast = ["--output_dir", str(folder), "--retries", "2", "--backoff", "0"]
        return program.main([*fast, *urls, "--files", *files, *flags])

    return run


@pytest.fixture
def refused(fetch: Callable[..., dict[str, str]], capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs the program, which must end in one line, and returns it."""

    def run(*files: str, flags: tuple[str, ...] = ()) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            fetch(*files, flags=flags)
        message = capsys.readouterr().err
        assert stopped.value.code == 2
        assert message.startswith("error: ")
        assert message.count("\n") == 1
        return message

    return run
