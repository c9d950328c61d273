"""The benchmark of several processes: one at toy size, and its arithmetic on paper."""

import pytest

from benchmarks.speed import processes


def test_one_process_at_toy_size(capsys: pytest.CaptureFixture) -> None:
    small = ["--hidden_size", "16", "--layers", "1", "--global_batch", "4", "--steps", "1"]
    (row,) = processes.main(["--processes", "1", *small])
    assert row["share"] == pytest.approx(1)
    assert row["differs"] == 0
    assert len(row["losses"]) == processes.SKIPPED + 1
    printed = capsys.readouterr().out
    assert "of linear" in printed
    # BERT-base on 4 GPUs: 89.2 million weights of 4 bytes, 6/4 of them sent by each.
    assert "535" in next(line for line in printed.splitlines() if line.startswith("BERT-base"))


def test_batches_must_divide(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        processes.main(["--processes", "3", "--global_batch", "64"])
    assert "--global_batch 64 must divide by each of --processes" in capsys.readouterr().err
