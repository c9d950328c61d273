"""What the benchmarks need in order to train: rows as the scripts read them, and the time of a step by hand."""

from pathlib import Path

import pytest
import torch
from transformers import trainer

from benchmarks.measuring import write_table
from benchmarks.training import StepTimer, load_rows, timed_steps
from tokenization_kmer import KmerTokenizer


def test_rows_are_divided_as_the_flags_say(tmp_path: Path) -> None:
    write_table(tmp_path / "rows.tsv", 20, 12)
    splits = load_rows(tmp_path, KmerTokenizer(3), train_file=str(tmp_path / "rows.tsv"), validation_rows=5)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 15, "validation": 5}
    assert splits["train"].labels.shape == (15, 1)
    assert (tmp_path / "tokens").is_dir()


def test_the_middle_step_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    timer = StepTimer()
    timer.ends = [0.0, 50.0, 90.0, 91.0, 93.0, 94.0, 99.0]  # steps of 1, 2, 1 and 5 s are counted
    assert timer.seconds() == 1.5
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert timer.seconds() == 9 / 4


def test_steps_are_timed_in_the_block_alone() -> None:
    before = list(trainer.DEFAULT_CALLBACKS)
    with pytest.raises(RuntimeError), timed_steps(iter([3.0, 5.0]).__next__) as timer:
        assert trainer.DEFAULT_CALLBACKS == [*before, timer]
        timer.on_step_end(None, trainer.TrainerState(), None)
        raise RuntimeError
    assert timer.ends == [3.0]
    assert before == trainer.DEFAULT_CALLBACKS
