"""The benchmark of evaluations at toy size: ours and the Trainer's defaults agree, and its figures are there."""

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from benchmarks.speed import evaluation as program


def test_ours_and_the_peer_agree(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for file, n, seed in (("train.tsv", 40, 1), ("rows.tsv", 70, 0)):
        program.write_rows(tmp_path / file, n, seed)
    for side in ("ours", "peer"):
        found = program.main(["--measure", side, "--folder", str(tmp_path), "--batch_size", "16"])
        assert json.loads(capsys.readouterr().out.splitlines()[-1]) == found
        assert found["seconds"] > 0 and found["error"] < 1e-5
    ours, peer = (pd.read_csv(tmp_path / f"{side}.tsv", sep="\t") for side in ("ours", "peer"))
    assert ours["sequence"].equals(peer["sequence"])
    # The peer divides the labels' scale by n - 1, so that its predictions are a little wider.
    assert ours["prediction"].corr(peer["prediction"]) == pytest.approx(1, abs=1e-6)


def test_the_table_says_how_memory_grows(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    growth = iter((1000, 3000))

    def run(*_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(stdout=json.dumps({"growth": next(growth), "seconds": 1.0, "error": 1e-9}))

    monkeypatch.setattr(program.subprocess, "run", run)
    found = program.main(["--rows", "10", "110", "--sides", "ours"])
    assert [row["growth"] for row in found["ours"]] == [1000, 3000]
    assert "ours: 20 bytes a row" in capsys.readouterr().out
