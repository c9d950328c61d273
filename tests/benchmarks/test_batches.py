"""The batches benchmark at toy size: every way is measured, and ours and the peer give the model the same tokens."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed import batches
from kmerbert.tokens.batches import collate
from kmerbert.tokens.targets import TargetScaler
from tests.support.messages import check_message, fails
from tokenization_kmer import KmerTokenizer

SIZES = ["--rows", "40", "--peer_rows", "9", "--length", "12", "--k", "3", "--batch_sizes", "4", "16"]


def test_every_way_is_measured(capsys: pytest.CaptureFixture) -> None:
    rates = batches.main(SIZES)
    assert len(rates) == 6
    for by_size in rates.values():
        assert list(by_size) == [4, 16]
        assert min(by_size.values()) > 0
    table = capsys.readouterr().out
    assert "40 random sequences of 12 bases, 3-mers" in table
    assert all(table.count(f"\n{name} ") == 2 for name in rates)


def test_every_row_goes_by_once(tmp_path: Path) -> None:
    rows = batches.random_rows(tmp_path, 20, 10, 0, KmerTokenizer(3))
    seen: list[float] = []

    def watch(batch: dict[str, np.ndarray]) -> dict:
        seen.extend(batch["labels"][:, 0].tolist())
        return collate(batch)

    assert batches.pass_over(batches.make_trainer(tmp_path, rows, watch, 8)) == 20
    assert sorted(seen) == sorted(rows.targets[:, 0].tolist())
    assert seen != rows.targets[:, 0].tolist()


def test_a_peer_that_disagrees_stops_the_program(tmp_path: Path) -> None:
    rows = batches.random_rows(tmp_path, 10, 10, 0, KmerTokenizer(3))
    lists = batches.as_lists(rows, 4)
    batches.check(rows, lists)
    others = rows.with_targets(TargetScaler((0.0,), (1.0,)))
    with fails("ours", "peer", "different batches", error=RuntimeError):
        batches.check(others, lists)


def test_the_limit_copies_every_row() -> None:
    assert batches.gather(np.arange(14, dtype=np.int16).reshape(7, 2), 3, 0)() == 7


@pytest.mark.parametrize("flags", [["--rows", "0"], ["--batch_sizes", "8", "0"], ["--k", "8"], ["--length", "5"]])
def test_sizes_that_cannot_be(flags: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        batches.main(flags)
    check_message(capsys.readouterr().err.splitlines()[-1], "--rows", "--peer_rows", "--batch_sizes", "--k", "--length")
