"""Runs of the training scripts: what is checked before, resuming, equal seeds, stopping early."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import run_finetune_regression
import run_pretrain_mlm
from kmerbert.tokens.masking import NucleotideMasking
from kmerbert.training.flags import KmerTrainingArguments
from kmerbert.training.run import flatten, plan_evaluations, start_run
from tests.support.messages import fails
from tests.support.tiny_runs import flags, planted_table, random_dna

ROWS = {"train": range(1000), "validation": range(5)}


def arguments(folder: Path, **settings: Any) -> KmerTrainingArguments:
    """Training flags."""
    return KmerTrainingArguments(output_dir=str(folder), **settings)


# --- before a run


@pytest.mark.parametrize("metric", ["loss", "eval_loss", "pearsonr", "eval_pearsonr", "pearsonr_b", None])
def test_metrics_to_choose_by(metric: str | None, tmp_path: Path) -> None:
    plan_evaluations(arguments(tmp_path, metric_for_best_model=metric), ROWS, ("pearsonr", "pearsonr_b"))


def test_a_run_that_could_not_choose_its_best_checkpoint(tmp_path: Path) -> None:
    with fails("no validation rows", "`validation_file`", "`eval_strategy` no"):
        plan_evaluations(arguments(tmp_path), {"train": range(9)}, ("mse",))
    with fails("`metric_for_best_model` 'accuracy'", "loss, mse, mae"):
        plan_evaluations(arguments(tmp_path, metric_for_best_model="accuracy"), ROWS, ("mse", "mae"))
    plan_evaluations(arguments(tmp_path, eval_strategy="no", metric_for_best_model="accuracy"), {}, ("mse",))


@pytest.mark.parametrize(
    ("epochs", "batch", "accumulation", "steps"),
    [(0.2, 10, 1, 20), (0.2, 32, 1, 6), (0.5, 32, 4, 4), (1e-6, 10, 1, 1), (2, 10, 1, 200)],
)
def test_evaluations_after_a_part_of_an_epoch(
    epochs: float, batch: int, accumulation: int, steps: int, tmp_path: Path
) -> None:
    settings = arguments(
        tmp_path, eval_epochs=epochs, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation
    )
    plan_evaluations(settings, ROWS, ("mse",))
    assert (settings.eval_strategy.value, settings.eval_steps) == ("steps", steps)
    assert (settings.save_strategy.value, settings.save_steps) == ("steps", steps)


def test_processes_that_would_train_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = arguments(tmp_path / "new")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with fails("4 processes", "--use_cpu", "--num_processes 1"):
        start_run(settings)
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with fails("4 processes", "--use_cpu", "--num_processes 1"):  # not the Trainer's message about bf16
        arguments(tmp_path / "new", bf16=True)


def test_metrics_of_all_splits_in_one() -> None:
    metrics = {"validation": {"eval_mse": 1.0}, "test": {"test_mse": 2.0, "test_mae": 3.0}}
    assert flatten(metrics) == {"eval_mse": 1.0, "test_mse": 2.0, "test_mae": 3.0}


# --- whole runs


@pytest.fixture
def seen_epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epoch of every batch that is masked from now on."""
    seen = []
    mask = NucleotideMasking.__call__
    monkeypatch.setattr(
        NucleotideMasking, "__call__", lambda self, batch: seen.append(batch["epoch"]) or mask(self, batch)
    )
    return seen


def resume(main: Any, argv: list[str], folder: Path, checkpoint: str) -> None:
    """Continues from a copy of one checkpoint in a new folder, as after an interruption."""
    shutil.copytree(folder / checkpoint, folder.with_name("resumed") / checkpoint)
    main([*argv, f"--output_dir={folder.with_name('resumed')}", "--resume_from_checkpoint=true"])


def assert_equal_runs(one: Path, other: Path) -> None:
    """Compares weights and the losses of 21 steps."""
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name
    histories = [json.loads((run / "trainer_state.json").read_text())["log_history"] for run in (one, other)]
    losses = [{entry["step"]: entry["loss"] for entry in history if "loss" in entry} for history in histories]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 21


EVERY_STEP = {
    "num_train_epochs": 3,
    "eval_strategy": "no",
    "save_strategy": "steps",
    "save_steps": 10,
    "save_total_limit": 9,
    "logging_steps": 1,
}


def test_resumed_pretraining_equals_uninterrupted(tmp_path: Path, seen_epochs: list[int]) -> None:
    table = tmp_path / "dna.txt"
    table.write_text("".join(f"{row}\n" for row in random_dna(np.random.default_rng(0), 112)))
    argv = flags(table, tmp_path / "out", validation_split_percentage=0, **EVERY_STEP)
    run_pretrain_mlm.main(argv)
    assert seen_epochs == [0] * 7 + [1] * 7 + [2] * 7
    seen_epochs.clear()
    resume(run_pretrain_mlm.main, argv, tmp_path / "out", "checkpoint-10")  # in the middle of the second epoch
    assert seen_epochs[-11:] == [1] * 4 + [2] * 7
    assert_equal_runs(tmp_path / "out", tmp_path / "resumed")


def test_resumed_regression_equals_uninterrupted(tmp_path: Path) -> None:
    table = planted_table(tmp_path / "train.tsv", 112)
    argv = flags(table, tmp_path / "out", validation_split_percentage=0, **EVERY_STEP)
    run_finetune_regression.main(argv)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["hidden_dropout_prob"] == 0.1
    resume(run_finetune_regression.main, argv, tmp_path / "out", "checkpoint-10")
    assert_equal_runs(tmp_path / "out", tmp_path / "resumed")


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("script", [run_finetune_regression, run_pretrain_mlm])
def test_the_same_seed_gives_the_same_bytes(script: Any, bf16: bool, tmp_path: Path) -> None:
    table = planted_table(tmp_path / "train.tsv", 60)
    weights = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        script.main(flags(table, tmp_path / name, seed=seed, bf16=bf16))
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_early_stopping_stops(tmp_path: Path) -> None:
    table = planted_table(tmp_path / "train.tsv", 40)
    # Nothing can get better at a learning rate of 0: the second and the third evaluation are in vain.
    settings = {"learning_rate": 0, "num_train_epochs": 9, "early_stopping_patience": 2}
    run_finetune_regression.main(flags(table, tmp_path / "out", **settings))
    assert json.loads((tmp_path / "out" / "trainer_state.json").read_text())["epoch"] == 3


def last_epoch(folder: Path) -> float:
    """The epoch at the end of a run."""
    return json.loads((folder / "trainer_state.json").read_text())["epoch"]


def test_patience_keeps_counting_after_a_resume(tmp_path: Path) -> None:
    table = planted_table(tmp_path / "train.tsv", 40)
    settings = {"learning_rate": 0, "num_train_epochs": 9, "save_total_limit": 9}
    argv = flags(table, tmp_path / "out", **settings, early_stopping_patience=4)
    run_finetune_regression.main(argv)
    assert last_epoch(tmp_path / "out") == 5  # the first evaluation is the best, the next four are in vain
    checkpoints = sorted((tmp_path / "out").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    third = ["--resume_from_checkpoint", str(checkpoints[2])]  # two in vain by then
    for patience, last in ((4, 5), (6, 7), (3, 4), (1, 3)):  # a new patience counts from there, too
        folder = tmp_path / f"patience_{patience}"
        run_finetune_regression.main([*argv, *third, f"--output_dir={folder}", f"--early_stopping_patience={patience}"])
        assert last_epoch(folder) == last


def test_patience_may_begin_with_a_resume(tmp_path: Path) -> None:
    table = planted_table(tmp_path / "train.tsv", 40)
    argv = flags(table, tmp_path / "out", learning_rate=0)
    run_finetune_regression.main(argv)
    more = ["--resume_from_checkpoint", "true", "--num_train_epochs", "9", "--early_stopping_patience", "2"]
    run_finetune_regression.main([*argv, *more])
    assert last_epoch(tmp_path / "out") == 3


@pytest.mark.parametrize("script", [run_finetune_regression, run_pretrain_mlm])
def test_a_run_continues_with_its_own_settings(script: Any, tmp_path: Path) -> None:
    table = planted_table(tmp_path / "train.tsv", 60)
    argv = flags(table, tmp_path / "out")
    script.main(argv)
    again = [*argv, "--resume_from_checkpoint"]
    (checkpoint,) = (tmp_path / "out").glob("checkpoint-*")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for more, was, now in (
        (["--split_seed=9"], "`split_seed` 42", "`split_seed` 9"),
        (["--seed=1", "--test_rows=5"], "no `test_rows`, `seed` 42", "`test_rows` 5, `seed` 1"),
        (["--k=4"], "`k` 3", "`k` 4"),
        (["--streaming"], "`streaming` false", "`streaming` true"),
        (["--metric_for_best_model=loss"], "`metric_for_best_model` pe", "`metric_for_best_model` loss"),
    ):
        for chosen in ("true", str(checkpoint)):
            with fails("`resume_from_checkpoint`", checkpoint, was, now):
                script.main([*again, chosen, *more])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / "moved").mkdir()
    moved = shutil.copy(table, tmp_path / "moved")
    free = {"num_train_epochs": 2, "learning_rate": 1e-3, "per_device_train_batch_size": 8, "logging_steps": 3}
    free |= {"train_file": moved, "token_cache_dir": tmp_path / "elsewhere", "lr_scheduler_type": "cosine"}
    script.main([*again, "true", *(f"--{name}={value}" for name, value in free.items())])
    assert last_epoch(tmp_path / "out") == 2


def test_the_loss_may_not_change(tmp_path: Path) -> None:
    argv = flags(planted_table(tmp_path / "train.tsv", 60), tmp_path / "out")
    run_finetune_regression.main(argv)
    with fails("`resume_from_checkpoint`", "`loss` mse", "`loss` smooth_l1"):
        run_finetune_regression.main([*argv, "--resume_from_checkpoint=true", "--loss=smooth_l1"])


def test_a_run_continues_with_its_own_rows(tmp_path: Path) -> None:
    table = planted_table(tmp_path / "train.tsv", 60)
    argv = flags(table, tmp_path / "out")
    run_finetune_regression.main(argv)
    planted_table(table, 60, seed=1)
    with fails("train.tsv", tmp_path / "out" / "checkpoint-3", "data_checksum"):
        run_finetune_regression.main([*argv, "--resume_from_checkpoint=true"])


def test_a_streamed_run_continues_with_its_own_rows(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    argv = flags(tmp_path / "shards", tmp_path / "out", streaming=True, eval_strategy="no")
    for n_rows in (60, 70):
        table = pd.read_csv(planted_table(tmp_path / "train.tsv", n_rows), sep="\t")
        table.to_parquet(tmp_path / "shards" / "rows.parquet")
        if n_rows == 60:
            run_pretrain_mlm.main(argv)
    with fails("shards", tmp_path / "out" / "checkpoint-", "data_checksum"):
        run_pretrain_mlm.main([*argv, "--resume_from_checkpoint=true"])
