"""The benchmark of evaluations at toy size: ours and the Trainer's defaults agree, and its figures are there."""

import json
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.measuring import write_table
from benchmarks.speed import evaluation as program


def test_ours_and_the_peer_agree(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for file, n, seed in (("train.tsv", 40, 1), ("rows.tsv", 70, 0)):
        write_table(tmp_path / file, n, program.N_BASES, seed)
    for side in ("ours", "peer"):
        figures = program.main(["--measure", side, "--folder", str(tmp_path), "--batch_size", "16"])
        assert json.loads(capsys.readouterr().out.splitlines()[-1]) == figures
        assert figures["seconds"] > 0 and figures["error"] < 1e-5
    ours, peer = (pd.read_csv(tmp_path / f"{side}.tsv", sep="\t") for side in ("ours", "peer"))
    assert ours["sequence"].equals(peer["sequence"])
    # The peer divides the labels' scale by n - 1, so that its predictions are a little wider.
    assert ours["prediction"].corr(peer["prediction"]) == pytest.approx(1, abs=1e-6)


def test_the_table_says_how_memory_grows(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    growth = iter((1000, 3000))

    def run(module: str, *argv: object) -> dict[str, float]:
        assert module == "benchmarks.speed.evaluation"
        assert argv[:2] == ("--measure", "ours")
        return {"growth": next(growth), "seconds": 1.0, "error": 1e-9}

    monkeypatch.setattr(program, "run_apart", run)
    table = program.main(["--rows", "10", "110", "--sides", "ours"])
    assert [row["growth"] for row in table["ours"]] == [1000, 3000]
    assert "ours: 20 bytes a row" in capsys.readouterr().out
