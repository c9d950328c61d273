"""How large a run is, and how long it will take."""

import logging
from types import SimpleNamespace

import pytest

from kmerbert.training import callbacks as progress
from kmerbert.training.callbacks import TimeToGo, describe_run, sequences_in_step, as_duration


def arguments(**settings: object) -> SimpleNamespace:
    given = {"train_batch_size": 6, "world_size": 4, "gradient_accumulation_steps": 5, "device": "cuda:0"}
    return SimpleNamespace(**given | {"bf16": False, "fp16": False} | settings)


def test_every_process_and_every_accumulated_batch_counts() -> None:
    assert sequences_in_step(arguments()) == 120
    expected = "4 process(es) on cuda:0, fp32; 120 sequences a step (6 x 4 processes x 5 accumulated)"
    assert describe_run(arguments()) == expected
    assert ", fp16;" in describe_run(arguments(fp16=True))


def test_precision_of_the_launch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert ", bf16;" in describe_run(arguments())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (3600, "1 h 0 min"), (90061, "1 d 1 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert as_duration(seconds) == words


def run(seconds_of_steps: list[float], monkeypatch: pytest.MonkeyPatch, done: int = 0) -> None:
    """Lets steps of so many seconds go by, of 1,000 in all."""
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    clock, state = TimeToGo(), SimpleNamespace(global_step=done, max_steps=1000, num_train_epochs=2.5)
    clock.on_train_begin(arguments(), state, None)
    for seconds in seconds_of_steps:
        now += seconds
        state.global_step += 1
        clock.on_step_end(arguments(), state, None)


def test_first_steps_do_not_count(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run([100.0] * 3 + [2.0] * 50, monkeypatch)
    first, told = (record.getMessage() for record in caplog.records)  # each said once
    assert first == "1000 steps in 2.5 epochs"
    # 13 steps are done when it is said; the 987 that are left take 2 s each.
    assert told == "2 s a step, 60 sequences/s: about 32 min 54 s to go, evaluations not counted"


def test_resumed_runs_count_what_is_left(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run([5.0] * 13, monkeypatch, done=900)
    assert [record.getMessage() for record in caplog.records] == [
        "1000 steps in 2.5 epochs, 900 of them done before",
        "5 s a step, 24 sequences/s: about 7 min 15 s to go, evaluations not counted",
    ]


def test_nothing_is_guessed_from_a_moment(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run([0.1] * 90, monkeypatch)
    assert len(caplog.records) == 1
