"""The streaming benchmark at toy size: every stage reads the rows that it should, and rows that differ stop it."""

import json
from pathlib import Path

import datasets.config
import pytest

from benchmarks.speed import streaming
from tests.support.messages import check_message, fails

SIZES = {"rows": 400, "shards": 5, "group_rows": 30, "batch_size": 16, "peer_rows": 64}


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` sleeps at the end of a stream, so that its threads end before Python does."""
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)


def test_every_stage_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = set()

    def run(module: str, *argv: object) -> dict[str, float]:
        """In this process: loading torch in five more would take most of the time."""
        modules.add(module)
        figures = streaming.main(list(map(str, argv)))[argv[-1]]
        assert json.loads(capsys.readouterr().out) == figures
        return figures

    monkeypatch.setattr(streaming, "run_apart", run)
    monkeypatch.setattr(streaming, "check_agreement", lambda: None)
    argv = [f"--folder={tmp_path / 'new'}", *(f"--{name}={value}" for name, value in SIZES.items())]
    figures = streaming.main(argv)
    assert modules == {"benchmarks.speed.streaming"}
    assert {stage: row["rows"] for stage, row in figures.items()} == {
        "limit": 400, "ours": 400, "first": 80, "peer": 64, "peer_ours": 64,
    }  # fmt: skip
    assert all(row["seconds"] > 0 and row["memory"] > 1e7 for row in figures.values())
    table = capsys.readouterr().out
    assert all(title in table for title in streaming.STAGES.values())
    with pytest.raises(SystemExit):
        streaming.main(argv)
    check_message(capsys.readouterr().err.splitlines()[-1], f"--folder {tmp_path / 'new'}", "not empty")


def test_all_ways_give_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    streaming.check_agreement(batch_size=20, n_rows=120)
    monkeypatch.setitem(streaming.DICTIONARY.vocabulary, "AAAAAA", 6)
    with fails("ours", "peer", "different rows", error=RuntimeError):
        streaming.check_agreement(batch_size=20, n_rows=120)  # one in 40 sequences of 110 bases has this 6-mer


def test_rows_that_are_not_shuffled_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(folder: Path, batch_size: int) -> list[dict[str, object]]:
        return [{key: rows[order] for key, rows in batch.items()} for batch in whole(folder)]

    def whole(folder: Path) -> list[dict[str, object]]:
        nonlocal order
        (batch,) = streaming.read_ours(folder, 120)
        rows = [(tuple(ids), label) for ids, label in zip(batch["input_ids"].tolist(), batch["labels"], strict=True)]
        order = sorted(range(120), key=rows.__getitem__)
        return [batch]

    order: list[int] = []
    monkeypatch.setitem(streaming.READERS, "ours", read)
    with fails(streaming.STAGES["ours"], "not shuffled", error=RuntimeError):
        streaming.check_agreement(batch_size=20, n_rows=120)


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ({"shards": 0}, ("at least 1",)),
        ({"peer_rows": 15}, ("--peer_rows", "--batch_size")),
        ({"rows": 399}, ("--rows", "400")),
    ],
)
def test_sizes_that_cannot_be(
    sizes: dict[str, int], parts: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        streaming.main([f"--folder={tmp_path / 'new'}", *(f"--{name}={n}" for name, n in (SIZES | sizes).items())])
    check_message(capsys.readouterr().err.splitlines()[-1], *parts)
    assert not (tmp_path / "new").exists()
