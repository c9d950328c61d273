"""A resumed run keeps its promises, a result is looked at, and what was trained is saved before anything else can fail."""

import json
import math
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import run_finetune_regression
import run_pretrain_mlm
from kmerbert.training import run as run_module
from kmerbert.training.checkpoints import CHECKPOINT_FILE
from kmerbert.training.run import check_result
from kmerbert.training.trainer import RunTrainer, check_weights
from tests.support.messages import check_message, fails
from tests.support.tiny_runs import flags, planted_table

N_ROWS = 88  # of which 80 train: 10 batches of 8 an epoch


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_table(tmp_path_factory.mktemp("data") / "rows.tsv", N_ROWS)


@pytest.fixture(scope="module")
def whole(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs in steps of 8 rows, with checkpoints in the midst and at the end of each epoch."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_finetune_regression.main(settings(table, folder))
    return folder


def settings(table: Path, folder: Path, **more: Any) -> list[str]:
    """Flags of `whole`, and others."""
    given = {"per_device_train_batch_size": 8, "num_train_epochs": 2, "validation_rows": 8, "eval_strategy": "no"}
    given |= {"save_strategy": "steps", "save_steps": 5, "save_total_limit": 9, "logging_steps": 3}
    return flags(table, folder, **given | more)


def resume(whole: Path, step: int, table: Path, folder: Path, **more: Any) -> dict[str, Any]:
    """Continues from a copy of a checkpoint; returns the trainer's state at the end."""
    shutil.copytree(whole / f"checkpoint-{step}", folder / f"checkpoint-{step}")
    run_finetune_regression.main(settings(table, folder, resume_from_checkpoint="true", **more))
    return json.loads((folder / "trainer_state.json").read_text())


def logged(state: dict[str, Any], key: str) -> dict[int, float]:
    return {entry["step"]: entry[key] for entry in state["log_history"] if key in entry}


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)


# --- a resume


def test_a_resumed_run_logs_what_it_would_have_logged(whole: Path, table: Path, tmp_path: Path) -> None:
    """The checkpoint is between two log lines, which are means over the steps since the last."""
    state, before = resume(whole, 5, table, tmp_path), json.loads((whole / "trainer_state.json").read_text())
    for key in ("loss", "learning_rate", "grad_norm", "train_loss"):
        assert logged(state, key) == logged(before, key), key
    progress = json.loads((whole / "checkpoint-5" / "run_progress.json").read_text())
    ((_, seconds),) = logged(state, "train_runtime").items()
    assert seconds > progress["seconds"] > 0
    assert logged(state, "train_steps_per_second")[20] == pytest.approx(20 / seconds, rel=0.01)
    results = [json.loads((run / "train_results.json").read_text())["train_loss"] for run in (whole, tmp_path)]
    assert results[0] == results[1]
    assert_same_weights(whole, tmp_path)


def test_a_finished_run_takes_no_more_steps(table: Path, tmp_path: Path) -> None:
    """Also one that ended in the midst of an epoch."""
    argv = settings(table, tmp_path / "run", max_steps=7)
    run_finetune_regression.main(argv)
    shutil.copytree(tmp_path / "run", tmp_path / "before")
    run_finetune_regression.main([*argv, "--resume_from_checkpoint=true"])
    assert_same_weights(tmp_path / "before", tmp_path / "run")
    results = [json.loads((tmp_path / run / "train_results.json").read_text()) for run in ("before", "run")]
    assert results[0]["train_loss"] == results[1]["train_loss"] > 0
    with fails("`max_steps` 4", "checkpoint-7", "7 steps"):
        run_finetune_regression.main([*argv, "--resume_from_checkpoint=true", "--max_steps=4"])


@pytest.mark.parametrize(
    ("step", "more", "n_steps", "repeated"),
    [
        (10, {"per_device_train_batch_size": 16}, 15, None),  # at the end of an epoch
        (5, {"per_device_train_batch_size": 16}, 13, "8 rows"),  # of 40 rows, 32 are two whole steps of 16
        (15, {"gradient_accumulation_steps": 2}, 18, "8 rows"),
        (5, {"per_device_train_batch_size": 10, "gradient_accumulation_steps": 4}, 8, None),
    ],
)
def test_other_batches_continue_by_rows_seen(
    step: int, more: dict[str, int], n_steps: int, repeated: str | None,
    whole: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Steps go on counting; the learning rate is that of the rows seen, and falls to 0 at the end."""
    state = resume(whole, step, table, tmp_path, logging_steps=1, **more)
    said = capsys.readouterr().err.splitlines()
    assert (state["global_step"], state["max_steps"], state["epoch"]) == (n_steps, n_steps, 2.0)
    in_step = math.prod({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, **more}.values())
    rates = list(logged(state, "learning_rate").values())
    left, steps_of_all = n_steps - step, 2 * math.ceil(80 / in_step)
    n_warmup = math.ceil(0.05 * steps_of_all)
    # Each logged with its own step: `left` steps before the end, one less ...
    expected = [3e-3 * (left - n) / (steps_of_all - n_warmup) for n in range(left)]
    assert rates[-left:] == pytest.approx(expected)
    assert any("are trained on again" in line for line in said) == (repeated is not None)
    if repeated:
        (line,) = (line for line in said if "are trained on again" in line)
        check_message(line, repeated, f"epoch {1 + step // 10}")
    card = (tmp_path / "README.md").read_text()
    assert "| epochs | 2.0 |" in card
    for name, value in more.items():
        assert f"from step {step} (epoch {step / 10:g}) on: " in card
        assert f"{name} {8 if 'batch' in name else 1} -> {value}" in card


def test_a_second_resume_continues_by_rows_seen(whole: Path, table: Path, tmp_path: Path) -> None:
    """The second with the batches of the first, from a checkpoint that the first saved in the midst of an epoch."""
    more = {"per_device_train_batch_size": 16, "save_steps": 3}
    resume(whole, 5, table, tmp_path / "first", **more)
    resume(tmp_path / "first", 9, table, tmp_path / "second", **more)
    assert_same_weights(tmp_path / "first", tmp_path / "second")
    assert (tmp_path / "second" / "README.md").read_text().count("per_device_train_batch_size") == 1


def test_the_learning_rate_and_the_decay_are_those_that_are_given(whole: Path, table: Path, tmp_path: Path) -> None:
    state = resume(whole, 10, table, tmp_path, learning_rate=1e-5, weight_decay=0.5, adam_beta1=0.5, logging_steps=1)
    rates = logged(state, "learning_rate")
    assert [rates[step] for step in range(11, 21)] == pytest.approx([1e-5 * (20 - n) / 19 for n in range(10, 20)])
    optimizer = torch.load(tmp_path / "checkpoint-20" / "optimizer.pt", weights_only=True)
    assert [group["weight_decay"] for group in optimizer["param_groups"]] == [0.5, 0.0]
    assert {group["betas"] for group in optimizer["param_groups"]} == {(0.5, 0.999)}
    card = (tmp_path / "README.md").read_text()
    assert "learning_rate 0.003 -> 1e-05" in card
    assert "weight_decay 0.01 -> 0.5" in card


def test_more_epochs_are_as_if_they_had_been_asked_for(whole: Path, table: Path, tmp_path: Path) -> None:
    """The schedule of all three epochs holds from the first step on; fewer than there were are an error."""
    state = resume(whole, 20, table, tmp_path, num_train_epochs=3, logging_steps=1)
    rates = logged(state, "learning_rate")
    assert [rates[step] for step in range(21, 31)] == pytest.approx([3e-3 * (30 - n) / 28 for n in range(20, 30)])
    with fails("`num_train_epochs` 1", "checkpoint-30", "3 epochs"):
        argv = settings(table, tmp_path, num_train_epochs=1, resume_from_checkpoint="true")
        run_finetune_regression.main(argv)


def test_steps_between_evaluations_and_log_lines_are_those_that_are_given(
    whole: Path, table: Path, tmp_path: Path
) -> None:
    state = resume(whole, 10, table, tmp_path, eval_strategy="steps", eval_steps=2, logging_steps=5)
    assert list(logged(state, "eval_pearsonr")) == [12, 14, 16, 18, 20]
    assert [step for step in logged(state, "loss") if step > 10] == [15, 20]


def test_the_held_out_rows_may_not_change(table: Path, tmp_path: Path) -> None:
    held_out = planted_table(tmp_path / "held_out.tsv", 12, seed=5)
    argv = flags(table, tmp_path / "run", validation_file=held_out)
    run_finetune_regression.main(argv)
    lines = held_out.read_text().splitlines()
    held_out.write_text("\n".join([lines[0], lines[2], lines[1], *lines[3:]]) + "\n")
    with fails("held_out.tsv", "validation rows", tmp_path / "run" / "checkpoint-6"):
        run_finetune_regression.main([*argv, "--resume_from_checkpoint=true"])


def test_a_folder_that_was_moved_still_has_its_best_checkpoint(table: Path, tmp_path: Path) -> None:
    """And what the user made of a checkpoint stays, although its name begins like one."""
    more = {"eval_strategy": "epoch", "num_train_epochs": 1, "save_total_limit": 1}
    run_finetune_regression.main(settings(table, tmp_path / "run", **more))
    (tmp_path / "run").rename(tmp_path / "moved")
    best = tmp_path / "moved" / "checkpoint-10"
    shutil.copytree(best, tmp_path / "moved" / "checkpoint-10-of-mine")
    more |= {"learning_rate": 0, "num_train_epochs": 2, "lr_scheduler_type": "constant"}  # nothing gets better
    run_finetune_regression.main(settings(table, tmp_path / "moved", resume_from_checkpoint="true", **more))
    state = json.loads((tmp_path / "moved" / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"] == str(best)
    assert sorted(path.name for path in (tmp_path / "moved").glob("checkpoint-*")) == [
        "checkpoint-10",
        "checkpoint-10-of-mine",
    ]


def test_the_best_checkpoint_is_there_at_the_end(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Trainer would end with the last weights, and say nothing."""
    real = RunTrainer._finalize_training

    def delete_best(trainer: RunTrainer, *given: Any) -> Any:
        shutil.rmtree(trainer.state.best_model_checkpoint)
        return real(trainer, *given)

    monkeypatch.setattr(RunTrainer, "_finalize_training", delete_best)
    with fails("checkpoint-", "the best", "`load_best_model_at_end` false"):
        run_finetune_regression.main(settings(table, tmp_path / "run", eval_strategy="epoch", num_train_epochs=1))
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_settings_that_optimizer_and_schedule_do_not_have(table: Path, tmp_path: Path) -> None:
    argv = settings(table, tmp_path / "run", max_steps=1)
    with fails("`lr_scheduler_kwargs`", "min_lr", "`lr_scheduler_type` linear"):
        run_finetune_regression.main([*argv, '--lr_scheduler_kwargs={"min_lr": 0.1}'])
    with fails("`optim` adamw_torch", "`optim_args` fast"):
        run_finetune_regression.main([*argv, "--optim_args=fast"])


# --- looked at before it is saved


def test_weights_that_can_answer() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    check_weights(model)
    model[1].running_mean[1] = torch.nan
    with fails("1 of 6", "`learning_rate`"):
        check_weights(model)
    model[1].running_mean[1] = 0.0
    nn.init.zeros_(model[0].weight)
    with fails("zero", "`weight_decay`"):
        check_weights(model)


@pytest.mark.parametrize("script", [run_finetune_regression, run_pretrain_mlm])
def test_a_run_that_diverged_is_not_saved(script: Any, table: Path, tmp_path: Path) -> None:
    """Its earlier checkpoint is not replaced."""
    argv = flags(
        table, tmp_path / "run", learning_rate=1e-3, save_total_limit=1, eval_strategy="no", save_strategy="epoch"
    )
    script.main(argv)
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    more = ["--resume_from_checkpoint=true", "--learning_rate=1e30", "--num_train_epochs=3", "--max_grad_norm=0"]
    with fails("NaN or infinite", "`learning_rate`", f"{checkpoint} is complete", "`resume_from_checkpoint` true"):
        script.main([*argv, *more])
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: content for path, content in after.items() if path in before and path.name != "run_files.json"} == {
        path: content for path, content in before.items() if path.name != "run_files.json"
    }


def test_a_model_that_cannot_answer_is_not_saved(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights are numbers, and there are no validation rows on which to see what comes of them."""
    real = RunTrainer.prediction_step

    def overflow(trainer: RunTrainer, *given: Any, **named: Any) -> Any:
        loss, *others = real(trainer, *given, **named)
        return loss * math.inf, *others

    monkeypatch.setattr(RunTrainer, "prediction_step", overflow)
    argv = flags(table, tmp_path / "run", eval_strategy="no", validation_split_percentage=0, max_steps=2)
    for script in (run_finetune_regression, run_pretrain_mlm):
        with fails("loss", "inf", "`learning_rate`", "checkpoint-2 is complete"):
            script.main([*argv, "--overwrite_output_dir"])
        assert not (tmp_path / "run" / "model.safetensors").exists()


def check(evaluations: list[dict[str, float]], best: int | None, n_rows: int = 10, **given: Any) -> None:
    """Looks at the result of a run of three steps whose weights are good."""
    history = [
        {"step": step, **{f"eval_{name}": value for name, value in entry.items()}}
        for step, entry in enumerate(evaluations, 1)
    ]
    state = {"log_history": history, "best_global_step": best, "best_model_checkpoint": best and f"checkpoint-{best}"}
    arguments = {"metric_for_best_model": "pearsonr", "load_best_model_at_end": True} | given
    parts = {"args": SimpleNamespace(**arguments), "eval_dataset": range(n_rows), "model": nn.Linear(2, 2)}
    check_result(SimpleNamespace(state=SimpleNamespace(global_step=3, **state), **parts))


def test_a_model_that_says_the_same_about_every_sequence_is_not_saved() -> None:
    good, constant = ({"pearsonr": r, "spearmanr": r, "r2": -0.1} for r in (0.1, 0.0))
    check([constant, good, constant], best=2)
    check([constant, constant | {"r2": 0.0}], best=2)  # the measured values do not differ either
    check([constant, constant], best=2, n_rows=9)  # which may be chance
    for history, best, more in (
        ([good, constant], 2, {}),
        ([good, good, constant], 1, {"load_best_model_at_end": False, "metric_for_best_model": "loss"}),
        ([{"pearsonr": 0.2, "pearsonr_b": 0.0, "spearmanr_b": 0.0, "r2_b": -1.0, "loss": 1.0}], 1, {}),
    ):
        history = [entry | {"loss": 1.0} for entry in history]
        with fails("eval_pearsonr", "same value", f"step {len(history)}"):
            check(history, best, **more)


def test_without_a_best_checkpoint_there_is_no_model() -> None:
    check([{"loss": 1.0}], best=1, metric_for_best_model=None)
    check([{"loss": math.nan}], best=None, metric_for_best_model=None, load_best_model_at_end=False)
    with fails("step 2", "inf"):
        check([{"loss": 1.0, "pearsonr": 0.1}, {"loss": math.inf, "pearsonr": 0.2}], best=2)
    with fails("none of 2 evaluations", "eval_pearsonr", "nan, nan", "`metric_for_best_model`"):
        check([{"pearsonr": math.nan}] * 2, best=None)


# --- saved before anything else can fail


def test_the_model_is_saved_before_its_predictions(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is saved answers in the labels' unit, and is the same as of a run that does not fail."""
    run_finetune_regression.main(flags(table, tmp_path / "good"))

    def fail(*_: object) -> None:
        raise ValueError("rows.tsv, line 3: another row")

    monkeypatch.setattr(run_finetune_regression, "write_predictions", fail)
    with fails("rows.tsv, line 3", f"the model is saved in {tmp_path / 'failed'}"):
        run_finetune_regression.main(flags(table, tmp_path / "failed"))
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "failed" / name).read_bytes() == (tmp_path / "good" / name).read_bytes()
    assert json.loads((tmp_path / "failed" / "config.json").read_text())["outputs_in_label_units"] is True


@contextmanager
def file_limit(n_bytes: int) -> Iterator[None]:
    """No larger file can be written, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_names_the_checkpoint_and_what_is_safe(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = flags(table, tmp_path / "run", eval_strategy="no", save_strategy="epoch")
    run_finetune_regression.main(argv)
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    more = ["--resume_from_checkpoint=true", "--num_train_epochs=2"]
    failed = tmp_path / "run" / f"checkpoint-{2 * int(checkpoint.name.split('-')[1])}"
    with fails(failed, "File too large", "`save_total_limit`", f"{checkpoint} is complete"), file_limit(20_000):
        run_finetune_regression.main([*argv, *more])
    assert not failed.exists()
    monkeypatch.setattr(run_module, "free_space", lambda _: 100_000)
    with fails(f"`output_dir` {tmp_path / 'run'}", "100.0 kB", "1 checkpoint(s)"):
        run_finetune_regression.main([*argv, *more])
    monkeypatch.undo()
    run_finetune_regression.main([*argv, *more])
    assert (failed / CHECKPOINT_FILE).is_file()


def test_overwriting_a_run_begins_when_the_new_one_can_train(table: Path, tmp_path: Path) -> None:
    argv = flags(table, tmp_path / "run")
    run_finetune_regression.main(argv)
    shutil.copytree(tmp_path / "run", tmp_path / "before")
    (tmp_path / "run" / "notes_results.json").write_text("mine")
    with fails("`label_column`"):
        run_finetune_regression.main([*argv, "--overwrite_output_dir", "--label_column=strength"])
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (
        tmp_path / "before" / "model.safetensors"
    ).read_bytes()
    run_finetune_regression.main(
        [*argv, "--overwrite_output_dir", "--seed=5", "--save_strategy=no", "--eval_strategy=no"]
    )
    assert not list((tmp_path / "run").glob("checkpoint-*"))
    assert (tmp_path / "run" / "notes_results.json").read_text() == "mine"
