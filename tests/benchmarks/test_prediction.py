"""The benchmark of predictions at toy size: the pipeline and ours agree, and the table has all that it should."""

from pathlib import Path

import numpy as np
import pytest

import run_predict
from benchmarks.speed import prediction as program


@pytest.mark.parametrize("lengths", [[], ["--equal_lengths", "30"]])
def test_ours_and_the_peers_agree(
    lengths: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "product_rate", lambda *_, **__: 1e9)
    flags = "--n_sequences 6 --loop_sequences 4 --hidden_size 16 --n_layers 2 --batch_size 3 --device cpu"
    table = program.main(flags.split() + lengths)
    (_, loop), (_, batched), (_, ours), (_, rounded) = table.values()
    assert (len(loop), len(batched), len(ours), len(rounded)) == (4, 6, 6, 6)
    np.testing.assert_allclose(batched[:4], loop, atol=1e-5)
    np.testing.assert_allclose(ours, batched, atol=1e-5)
    np.testing.assert_allclose(rounded, batched, atol=1e-2)
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*table, "GFLOP/s", "of limit", "ratio"))
    assert "of 30 to 30 bases" in printed if lengths else "of 60 to 140 bases" in printed


def test_the_memory_of_long_files(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []

    def run(module: str, *command: str) -> dict[str, float]:
        assert module == "benchmarks.measuring"
        commands.append(command)
        assert (tmp_path / "rows.fa").read_text().count(">") == (3, 5)[len(commands) - 1]
        assert command[0] == "run_predict.py"
        run_predict.main(list(command[1:]))
        assert len((tmp_path / "out.tsv").read_text().splitlines()) == 1 + (3, 5)[len(commands) - 1]
        return {"memory": 5 * 2**20}

    monkeypatch.setattr(program, "run_apart", run)
    table = program.compare_memory([3, 5], tmp_path)
    assert [row["memory"] for row in table] == [5 * 2**20] * 2
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[-2:]] == [["3", "5"], ["5", "5"]]
