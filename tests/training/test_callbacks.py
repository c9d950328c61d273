"""What callbacks do, how large a run is, and how long it will take."""

import doctest
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kmerbert.training import callbacks
from kmerbert.training.callbacks import (
    EpochClock,
    TimeToGo,
    as_duration,
    describe_run,
    make_callbacks,
    precision_of,
    sequences_in_step,
)
from kmerbert.training.flags import KmerTrainingArguments
from tests.support.messages import check_message


def arguments(**settings: Any) -> SimpleNamespace:
    """What the size of a run depends on."""
    values = {"train_batch_size": 6, "world_size": 4, "gradient_accumulation_steps": 5, "device": "cuda:0"}
    return SimpleNamespace(**values | {"bf16": False, "fp16": False} | settings)


def test_callbacks_of_a_run(tmp_path: Path) -> None:
    plain = make_callbacks(KmerTrainingArguments(output_dir=str(tmp_path)))
    names = ["EpochClock", "TimeToGo"]
    assert [type(callback).__name__ for callback in plain] == names
    stopping = make_callbacks(KmerTrainingArguments(output_dir=str(tmp_path), early_stopping_patience=4))
    assert [type(callback).__name__ for callback in stopping] == [*names, "EarlyStopping"]
    assert stopping[-1].early_stopping_patience == 4


@pytest.mark.parametrize(("passed", "expected"), [(None, 0), (0.0, 0), (1.0, 1), (1.97, 1), (7.0, 7)])
def test_epoch_clock(passed: float | None, expected: int) -> None:
    rows = SimpleNamespace(epoch=None)
    loader = SimpleNamespace(dataset=rows)
    EpochClock().on_epoch_begin(None, SimpleNamespace(epoch=passed), None, train_dataloader=loader)
    assert rows.epoch == expected


def test_every_process_and_every_accumulated_batch_counts() -> None:
    assert sequences_in_step(arguments()) == 6 * 4 * 5
    check_message(describe_run(arguments()), "4 process", "cuda:0", "fp32", "120 sequences", "6 x 4 ", "x 5 ")


def test_description_of_real_flags(tmp_path: Path) -> None:
    settings = {"output_dir": str(tmp_path), "per_device_train_batch_size": 6, "gradient_accumulation_steps": 5}
    check_message(describe_run(KmerTrainingArguments(**settings)), "1 process", "cpu", "fp32", "30 sequences")
    assert "bf16" in describe_run(KmerTrainingArguments(**settings, bf16=True))


def test_precision_is_that_of_the_flags_or_of_the_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision_of(arguments()) == "fp32"
    assert precision_of(arguments(fp16=True)) == "fp16"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert precision_of(arguments()) == "bf16"
    assert precision_of(arguments(fp16=True)) == "fp16"
    assert "bf16" in describe_run(arguments())


@pytest.mark.parametrize(
    ("seconds", "duration"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (3600, "1 h 0 min"), (90061, "1 d 1 h")],
)
def test_durations(seconds: float, duration: str) -> None:
    assert as_duration(seconds) == duration


def messages_of(
    seconds_of_steps: list[float],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    n_done: int = 0,
) -> list[str]:
    """What is logged while steps of so many seconds go by, of 1,000 in all."""
    now = 0.0
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now)
    clock, state = TimeToGo(), SimpleNamespace(global_step=n_done, max_steps=1000, num_train_epochs=2.5)
    with caplog.at_level(logging.INFO):
        clock.on_train_begin(arguments(), state, None)
        for seconds in seconds_of_steps:
            now += seconds
            state.global_step += 1
            clock.on_step_end(arguments(), state, None)
    return caplog.messages


def test_first_steps_do_not_count(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    size, speed = messages_of([100.0] * 3 + [2.0] * 50, monkeypatch, caplog)  # each logged once
    check_message(size, "1000 steps", "2.5 epochs")
    # 13 steps are done when it is logged; the 987 that are left take 2 s each.
    check_message(speed, "2 s a step", "60 sequences/s", "32 min 54 s")


def test_resumed_runs_count_what_is_left(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    size, speed = messages_of([5.0] * 13, monkeypatch, caplog, n_done=900)
    check_message(size, "1000 steps", "2.5 epochs", "900 of them")
    # 87 steps of 5 s are left.
    check_message(speed, "5 s a step", "24 sequences/s", "7 min 15 s")


def test_nothing_is_guessed_from_a_moment(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    assert len(messages_of([0.1] * 90, monkeypatch, caplog)) == 1


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(callbacks)
    assert result.attempted
    assert not result.failed
