"""The loading benchmark at toy size: every stage runs, and ours and the peer give the same rows."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed import loading
from tests.support.messages import check_message, fails
from tests.support.tiny_runs import random_dna


def write_rows(path: Path, n: int, n_bases: int = 30) -> Path:
    """Writes rows of different sequences in the challenge's format."""
    rows = enumerate(random_dna(np.random.default_rng(0), n, n_bases))
    path.write_text("".join(f"{sequence}\t{number / 4}\n" for number, sequence in rows))
    return path


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets only the stage that needs no libraries be a process of its own."""
    apart = loading.run_apart

    def run(module: str, *argv: object) -> dict[str, object]:
        return apart(module, *argv) if argv[-1] == "limit" else loading.main(list(map(str, argv)))[argv[-1]]

    monkeypatch.setattr(loading, "run_apart", run)


@pytest.mark.usefixtures("in_process")
def test_every_stage_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = write_rows(tmp_path / "rows.txt", 60)
    figures = loading.main(["--folder", str(tmp_path / "new"), "--input_file", str(rows), "--peer_rows", "20"])
    assert list(figures) == list(loading.STAGES)
    digests = {name: row["digest"] for name, row in figures.items()}
    assert digests.pop("limit") is None
    assert len(set(digests.values())) == 1
    assert figures["plain"]["disk"] == figures["again"]["disk"] > 2 * 27
    for row in figures.values():
        assert row["seconds"] > 0
        assert row["memory"] > 1e7
    table = capsys.readouterr().out
    assert "60 rows, " in table
    assert "the peer did 20 rows" in table
    assert all(title in table for title in loading.STAGES.values())


def test_the_digest_tells_rows_apart() -> None:
    first = loading.digest([[1, 2], [3]], [0.5, 1])
    assert first == loading.digest(np.array([[1, 2], [3]], dtype=object), np.array([[0.5], [1]]))
    for ids, values in ([[1, 2], [4]], [0.5, 1]), ([[1], [2, 3]], [0.5, 1]), ([[1, 2], [3]], [0.5, 2]):
        assert loading.digest(ids, values) != first


@pytest.fixture
def figures() -> dict[str, dict[str, object]]:
    """What the stages return; the peer is 5 times as slow."""
    row = {"seconds": 2.0, "cpu": 1.0, "memory": 1e9, "digest": "a"}
    return {name: dict(row) for name in loading.STAGES} | {"peer": row | {"seconds": 10.0}}


def test_the_peer_is_stretched(
    figures: dict[str, dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens/a").write_bytes(bytes(700))
    (tmp_path / "peer").mkdir()
    (tmp_path / "peer/a").write_bytes(bytes(50))
    monkeypatch.setattr(loading, "run_apart", lambda module, *argv: figures[argv[-1]])
    measured = loading.measure(tmp_path, 100, 10)
    assert (measured["peer"]["seconds"], measured["peer"]["cpu"], measured["plain"]["seconds"]) == (100.0, 10.0, 2.0)
    assert (measured["plain"]["disk"], measured["again"]["disk"], measured["peer"]["disk"]) == (7.0, 7.0, 5.0)


def test_a_peer_that_disagrees_stops_the_program(
    figures: dict[str, dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures["peer"]["digest"] = "b"
    monkeypatch.setattr(loading, "run_apart", lambda module, *argv: figures[argv[-1]])
    with fails("ours", "peer", "tokens or values", error=RuntimeError):
        loading.measure(tmp_path, 100, 10)


def test_one_stage_prints_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_rows(tmp_path / "rows.txt", 30)
    figures = loading.main(["--folder", str(tmp_path), "--stage", "limit"])
    assert {"limit": json.loads(capsys.readouterr().out)} == figures
    assert figures["limit"]["digest"] is None


def test_a_stage_that_fails_says_why_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:  # the folder has no rows
        loading.measure(tmp_path, 30, 20)
    check_message(str(stopped.value), "--stage limit", "FileNotFoundError", tmp_path / "rows.txt")


def test_rows_that_cannot_be_used_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("ACGTACGTAC\t1\n" * 30)
    with fails("rows.txt, line 1", "line 2"):
        loading.run_stage("plain", tmp_path, 20)


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--rows", "3"], ("--rows 3", "20 or more")),
        (["--peer_rows", "0"], ("--peer_rows 0", "20 or more")),
        (["--input_file", "absent.txt"], ("--input_file absent.txt",)),
    ],
)
def test_flags_that_cannot_be(
    flags: list[str], parts: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        loading.main(["--folder", str(tmp_path / "new"), *flags])
    check_message(capsys.readouterr().err.splitlines()[-1], *parts)
    assert not (tmp_path / "new").exists()


def test_a_folder_with_files_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(SystemExit):
        loading.main(["--folder", str(tmp_path)])
    check_message(capsys.readouterr().err.splitlines()[-1], f"--folder {tmp_path}", "not empty")
