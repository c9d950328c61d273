"""The loading benchmark at toy size: every stage runs, and ours and the peer give the same rows."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed import loading
from tests.support.tiny_runs import random_dna


def write_rows(path: Path, n: int, n_bases: int = 30) -> Path:
    """Writes rows of different sequences in the challenge's format."""
    rows = enumerate(random_dna(np.random.default_rng(0), n, n_bases))
    path.write_text("".join(f"{sequence}\t{number / 4}\n" for number, sequence in rows))
    return path


def test_every_stage_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = write_rows(tmp_path / "rows.txt", 60)
    found = loading.main(["--folder", str(tmp_path / "new"), "--input_file", str(rows), "--peer_rows", "20"])
    assert list(found) == list(loading.STAGES)
    digests = {name: row["digest"] for name, row in found.items()}
    assert digests.pop("limit") is None
    assert len(set(digests.values())) == 1
    assert found["plain"]["disk"] == found["again"]["disk"] > 2 * 27
    for row in found.values():
        assert row["seconds"] > 0
        assert row["memory"] > 0.01
    table = capsys.readouterr().out
    assert table.startswith("60 rows, ")
    assert "the peer did 20 rows" in table
    assert all(title in table for title in loading.STAGES.values())


def test_the_digest_tells_rows_apart() -> None:
    first = loading.digest([[1, 2], [3]], [0.5, 1])
    assert first == loading.digest(np.array([[1, 2], [3]], dtype=object), np.array([[0.5], [1]]))
    for ids, values in ([[1, 2], [4]], [0.5, 1]), ([[1], [2, 3]], [0.5, 1]), ([[1, 2], [3]], [0.5, 2]):
        assert loading.digest(ids, values) != first


def test_a_peer_that_disagrees_stops_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"seconds": 1.0, "cpu": 1.0, "memory": 1.0}
    monkeypatch.setattr(loading, "run", lambda name, *_: figures | {"digest": "b" if name == "peer" else "a"})
    with pytest.raises(RuntimeError, match="^ours and the peer give different tokens or values$"):
        loading.measure(tmp_path, 100, 10)


def test_one_stage_prints_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_rows(tmp_path / "rows.txt", 30)
    found = loading.main(["--folder", str(tmp_path), "--stage", "limit"])
    assert {"limit": json.loads(capsys.readouterr().out)} == found
    assert found["limit"]["digest"] is None


def test_a_stage_that_fails_says_why_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("ACGTACGTAC\t1\n" * 30)
    with pytest.raises(
        SystemExit, match=r"^ours, plain file: ValueError: .*rows.txt, line 1 and .*, line 2 hold the same"
    ):
        loading.run("plain", tmp_path, 20)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "3"], "--rows 3, --peer_rows 100000: allowed are 20 or more"),
        (["--peer_rows", "0"], "--peer_rows 0: allowed are 20 or more"),
        (["--input_file", "absent.txt"], "--input_file absent.txt: no such file"),
    ],
)
def test_refused_flags(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        loading.main(["--folder", str(tmp_path / "new"), *words])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_folder_with_files_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(SystemExit):
        loading.main(["--folder", str(tmp_path)])
    assert "is not empty: name another" in capsys.readouterr().err
