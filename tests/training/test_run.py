"""Flags, launch and folder checks, resuming, stopping early."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import run_finetune_regression
import run_pretrain_mlm
from kmerbert.tokens.masking import BaseMasking
from kmerbert.training.callbacks import EpochClock, make_callbacks
from kmerbert.training.flags import KmerTrainingArguments
from kmerbert.training.run import describe_run, plan_evaluations, start_run
from tests.support.tiny_runs import flags, planted_table, random_dna

ROWS = {"train": range(1000), "validation": range(5)}


def arguments(folder: Path, **settings: Any) -> KmerTrainingArguments:
    return KmerTrainingArguments(output_dir=str(folder), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output_dir": None}, "--output_dir is missing"),
        ({"hub_token": "secret"}, "--hub_token would be saved and uploaded: set HF_TOKEN"),
        ({"hub_strategy": "every_save"}, "--hub_strategy every_save: allowed is end"),
        ({"do_train": False}, "--do_train false"),
        ({"remove_unused_columns": True}, "--remove_unused_columns true"),
        ({"dataloader_persistent_workers": True, "dataloader_num_workers": 1}, "--dataloader_persistent_workers"),
        ({"dataloader_drop_last": True}, "--dataloader_drop_last true leaves validation and test rows out"),
        ({"early_stopping_patience": 0}, "--early_stopping_patience 0: allowed is 1 or more"),
        ({"early_stopping_patience": 3, "eval_strategy": "no"}, "--early_stopping_patience needs evaluations"),
        (
            {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "no"},
            "reduce_lr_on_plateau needs evaluations",
        ),
        ({"save_strategy": "no"}, "--save_strategy no keeps no best checkpoint.*--load_best_model_at_end false"),
    ],
)
def test_refused_flags(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        KmerTrainingArguments(**{"output_dir": str(tmp_path)} | settings)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "mode"),
    [
        ("pearsonr", "max"),
        ("eval_pearsonr", "max"),
        ("mse", "min"),
        ("perplexity", "min"),
        ("mae_a", "min"),
        (None, "min"),
    ],
)
@pytest.mark.parametrize("given", [None, '{"patience": 3}'])
def test_the_learning_rate_falls_when_the_metric_gets_worse(
    metric: str | None, mode: str, given: str | None, tmp_path: Path
) -> None:
    found = arguments(
        tmp_path, metric_for_best_model=metric, lr_scheduler_type="reduce_lr_on_plateau", lr_scheduler_kwargs=given
    )
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    scheduler = transformers.get_scheduler(
        found.lr_scheduler_type, optimizer, scheduler_specific_kwargs=found.lr_scheduler_kwargs
    )
    assert scheduler.mode == mode
    assert scheduler.patience == (3 if given else 10)
    assert found.greater_is_better == (mode == "max")


def test_checkpoints_are_saved_when_the_model_is_evaluated(tmp_path: Path) -> None:
    assert arguments(tmp_path).save_strategy == arguments(tmp_path).eval_strategy == "epoch"
    by_steps = arguments(tmp_path, eval_strategy="steps", eval_steps=7)
    assert (by_steps.save_strategy, by_steps.save_steps) == ("steps", 7)
    assert arguments(tmp_path, eval_strategy="steps", logging_steps=5).save_steps == 5
    assert arguments(tmp_path, eval_strategy="steps", eval_steps=0.25).save_steps == 0.25
    last = arguments(tmp_path, save_strategy="steps", save_steps=3, load_best_model_at_end=False)
    assert (last.save_strategy, last.save_steps) == ("steps", 3)
    blind = arguments(tmp_path, eval_strategy="no", save_strategy="steps", save_steps=3)
    assert (blind.save_strategy, blind.save_steps, blind.load_best_model_at_end) == ("steps", 3, False)


@pytest.mark.parametrize("metric", ["loss", "eval_loss", "pearsonr", "eval_pearsonr", "pearsonr_b", None])
def test_metrics_to_choose_by(metric: str | None, tmp_path: Path) -> None:
    plan_evaluations(arguments(tmp_path, metric_for_best_model=metric), ROWS, ("pearsonr", "pearsonr_b"))


def test_a_run_that_could_not_choose_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no validation rows: give --validation_file.*--eval_strategy no"):
        plan_evaluations(arguments(tmp_path), {"train": range(9)}, ("mse",))
    with pytest.raises(
        ValueError, match=r"--metric_for_best_model 'accuracy' is not measured: allowed are loss, mse, mae"
    ):
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
    with pytest.raises(ValueError, match="--eval_epochs 0: allowed is above 0"):
        arguments(tmp_path, eval_epochs=0)


def test_description_counts_the_sequences_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = arguments(tmp_path, per_device_train_batch_size=6, gradient_accumulation_steps=5)
    assert "1 process(es) on cpu, fp32; 30 sequences a step (6 x 1 processes x 5 accumulated)" in describe_run(settings)
    assert ", bf16;" in describe_run(arguments(tmp_path, bf16=True))
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert ", bf16;" in describe_run(settings)


def test_processes_that_would_train_alone_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = arguments(tmp_path / "new")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match=r"4 processes were launched.*add --use_cpu.*or launch with --num_processes 1"):
        start_run(settings)
    assert not (tmp_path / "new").exists()


def test_new_and_empty_folders_are_taken(tmp_path: Path) -> None:
    assert start_run(arguments(tmp_path / "a" / "b")) is None
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / ".nfs0001").touch()
    (tmp_path / "a" / "b" / ".hidden").touch()
    assert start_run(arguments(tmp_path / "a" / "b")) is None
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == [".hidden"]


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "d.txt", "c.txt"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"is not empty \(it holds a.txt, b.txt, c.txt, ...\).*--overwrite_output_dir"):
        start_run(arguments(tmp_path))
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("folder", ["file", "file/folder"])
def test_a_folder_that_cannot_be_written_is_refused(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=r"cannot be written \(.*\): name another folder"):
        start_run(arguments(tmp_path / folder))
    assert (tmp_path / "file").read_text() == "mine"


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def write_checkpoint(folder: Path) -> Path:
    """Writes the least that a checkpoint holds."""
    folder.mkdir(parents=True)
    save_file({"weight": torch.zeros(9)}, folder / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt"):
        torch.save({"state": torch.zeros(9)}, folder / name)
    (folder / "trainer_state.json").write_text('{"global_step": 1}')
    return folder


def test_overwriting_deletes_the_files_of_a_run_and_no_others(tmp_path: Path) -> None:
    ours = ["checkpoint-7/model.safetensors", "runs/events", "config.json", "README.md", "train_results.json"]
    ours += [
        "trainer_state.json",
        "training_args.bin",
        "test_predictions.tsv",
        "vocab.txt",
        "model-00001-of-2.safetensors",
    ]
    theirs = ["notes.txt", "my_model.safetensors", "figures/README.md", "data.tsv", "checkpoints/config.json"]
    fill(tmp_path, *ours, *theirs)
    start_run(arguments(tmp_path, overwrite_output_dir=True))
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(theirs)
    assert not (tmp_path / "checkpoint-7").exists()


def test_overwriting_spares_a_folder_that_holds_no_run(tmp_path: Path) -> None:
    """Such as a checkout of this repository, which has a README.md, a tokenization_kmer.py and runs/."""
    fill(tmp_path, "README.md", "tokenization_kmer.py", "runs/mlm/model.safetensors")
    with pytest.raises(ValueError, match=r"--overwrite_output_dir: .* holds .*, but no run .*: nothing was deleted"):
        start_run(arguments(tmp_path, overwrite_output_dir=True))
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


def test_the_checkpoint_to_go_on_from(tmp_path: Path) -> None:
    fill(tmp_path, "out/config.json")
    older, newest = (str(write_checkpoint(tmp_path / "out" / f"checkpoint-{step}")) for step in (9, 10))
    for wanted, expected in (("true", newest), ("True", newest), (older, older)):
        assert start_run(arguments(tmp_path / "out", resume_from_checkpoint=wanted)) == expected
    for overwrite in (False, True):  # going on is stronger than starting anew
        settings = {"resume_from_checkpoint": "true", "overwrite_output_dir": overwrite}
        assert start_run(arguments(tmp_path / "out", **settings)) == newest
    assert (tmp_path / "out" / "config.json").exists()
    assert start_run(arguments(tmp_path / "elsewhere", resume_from_checkpoint=older)) == older
    with pytest.raises(ValueError, match="is not empty"):
        start_run(arguments(tmp_path / "out", resume_from_checkpoint="false"))


def test_checkpoints_that_are_not_there(tmp_path: Path) -> None:
    fill(tmp_path, "out/notes.txt", "out/checkpoint-1/config.json")
    with pytest.raises(
        ValueError, match=r"--resume_from_checkpoint .*checkpoint-1: no checkpoint there .*: name another one, or true"
    ):
        start_run(arguments(tmp_path / "out", resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1")))
    for folder in ("empty", "missing"):
        with pytest.raises(ValueError, match=rf"--resume_from_checkpoint true: .*{folder} holds no checkpoint"):
            start_run(arguments(tmp_path / folder, resume_from_checkpoint="true"))
        assert not (tmp_path / folder).exists()


@pytest.mark.parametrize(("passed", "expected"), [(None, 0), (0.0, 0), (1.0, 1), (1.97, 1), (7.0, 7)])
def test_epoch_clock(passed: float | None, expected: int) -> None:
    rows = SimpleNamespace(epoch=None)
    loader = SimpleNamespace(dataset=rows)
    EpochClock().on_epoch_begin(None, SimpleNamespace(epoch=passed), None, train_dataloader=loader)
    assert rows.epoch == expected


def test_callbacks(tmp_path: Path) -> None:
    assert [type(found).__name__ for found in callbacks(arguments(tmp_path))] == [
        *("EpochClock", "TimeToGo", "KeepSettings"),
    ]
    *_, stop = callbacks(arguments(tmp_path, early_stopping_patience=4))
    assert stop.early_stopping_patience == 4


@pytest.fixture
def seen_epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epoch of every batch that is masked from now on."""
    seen = []
    mask = BaseMasking.__call__
    monkeypatch.setattr(BaseMasking, "__call__", lambda self, batch: seen.append(batch["epoch"]) or mask(self, batch))
    return seen


def resume(main: Any, argv: list[str], folder: Path, checkpoint: str) -> None:
    """Goes on from a copy of one checkpoint in a new folder, as after an interruption."""
    shutil.copytree(folder / checkpoint, folder.with_name("resumed") / checkpoint)
    main([*argv, f"--output_dir={folder.with_name('resumed')}", "--resume_from_checkpoint=true"])


def assert_equal_runs(one: Path, other: Path) -> None:
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


def stopped_after(folder: Path) -> float:
    return json.loads((folder / "trainer_state.json").read_text())["epoch"]


def test_patience_counts_on_after_a_resume(tmp_path: Path) -> None:
    table = planted_table(tmp_path / "train.tsv", 40)
    settings = {"learning_rate": 0, "num_train_epochs": 9, "save_total_limit": 9}
    argv = flags(table, tmp_path / "out", **settings, early_stopping_patience=4)
    run_finetune_regression.main(argv)
    assert stopped_after(tmp_path / "out") == 5  # the first evaluation is the best, the next four are in vain
    checkpoints = sorted((tmp_path / "out").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    third = ["--resume_from_checkpoint", str(checkpoints[2])]  # two in vain by then
    for patience, last in ((4, 5), (6, 7), (3, 4), (1, 4)):  # a new patience counts from there, too
        folder = tmp_path / f"patience_{patience}"
        run_finetune_regression.main([*argv, *third, f"--output_dir={folder}", f"--early_stopping_patience={patience}"])
        assert stopped_after(folder) == last


def test_patience_may_begin_with_a_resume(tmp_path: Path) -> None:
    table = planted_table(tmp_path / "train.tsv", 40)
    argv = flags(table, tmp_path / "out", learning_rate=0)
    run_finetune_regression.main(argv)
    more = ["--resume_from_checkpoint", "true", "--num_train_epochs", "9", "--early_stopping_patience", "2"]
    run_finetune_regression.main([*argv, *more])
    assert stopped_after(tmp_path / "out") == 3


REFUSED = r"^--resume_from_checkpoint: the run of .*checkpoint-\d+ has {}, but now asked for is {}: give the same, or train anew"


@pytest.mark.parametrize("script", [run_finetune_regression, run_pretrain_mlm])
def test_a_run_goes_on_with_its_own_settings(script: Any, tmp_path: Path) -> None:
    table = planted_table(tmp_path / "train.tsv", 60)
    argv = flags(table, tmp_path / "out")
    script.main(argv)
    again = [*argv, "--resume_from_checkpoint"]
    (checkpoint,) = (tmp_path / "out").glob("checkpoint-*")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for more, was, now in (
        (["--split_seed=9"], "--split_seed 42", "--split_seed 9"),
        (["--seed=1", "--test_rows=5"], "no --test_rows, --seed 42", "--test_rows 5, --seed 1"),
        (["--k=4"], "--k 3", "--k 4"),
        (["--streaming"], "--streaming false", "--streaming true"),
        (["--metric_for_best_model=loss"], "--metric_for_best_model \\w+", "--metric_for_best_model loss"),
    ):
        for wanted in ("true", str(checkpoint)):
            with pytest.raises(ValueError, match=REFUSED.format(was, now)):
                script.main([*again, wanted, *more])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / "moved").mkdir()
    moved = shutil.copy(table, tmp_path / "moved")
    free = {"num_train_epochs": 2, "learning_rate": 1e-3, "per_device_train_batch_size": 8, "logging_steps": 3}
    free |= {"train_file": moved, "token_cache_dir": tmp_path / "elsewhere", "lr_scheduler_type": "cosine"}
    script.main([*again, "true", *(f"--{name}={value}" for name, value in free.items())])
    assert stopped_after(tmp_path / "out") == 2


def test_the_loss_may_not_change(tmp_path: Path) -> None:
    argv = flags(planted_table(tmp_path / "train.tsv", 60), tmp_path / "out")
    run_finetune_regression.main(argv)
    with pytest.raises(ValueError, match=REFUSED.format("--loss mse", "--loss smooth_l1")):
        run_finetune_regression.main([*argv, "--resume_from_checkpoint=true", "--loss=smooth_l1"])


def test_a_run_goes_on_with_its_own_rows(tmp_path: Path) -> None:
    table = planted_table(tmp_path / "train.tsv", 60)
    argv = flags(table, tmp_path / "out")
    run_finetune_regression.main(argv)
    planted_table(table, 60, seed=1)
    with pytest.raises(
        ValueError, match=r"^train.tsv has other rows than .*checkpoint-4 was trained on \(data_checksum "
    ):
        run_finetune_regression.main([*argv, "--resume_from_checkpoint=true"])


def test_streamed_runs_go_on_with_their_own_rows(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    settings = {"streaming": True, "eval_strategy": "no"}
    argv = flags(tmp_path / "shards", tmp_path / "out", **settings)
    for n_rows in (60, 70):
        table = pd.read_csv(planted_table(tmp_path / "train.tsv", n_rows), sep="\t")
        table.to_parquet(tmp_path / "shards" / "rows.parquet")
        if n_rows == 60:
            run_pretrain_mlm.main(argv)
    with pytest.raises(
        ValueError, match=r"^shards has other rows than .*checkpoint-\d+ was trained on \(data_checksum "
    ):
        run_pretrain_mlm.main([*argv, "--resume_from_checkpoint=true"])


def test_a_run_of_unknown_settings_goes_on_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(tmp_path / "checkpoint-1")
    start_run(arguments(tmp_path, resume_from_checkpoint="true"))
    assert (
        "checkpoint-1 does not say with which settings it was trained: they are not compared" in capsys.readouterr().err
    )


PARTS = ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json")


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("wanted", ["true", "path"])
def test_damaged_checkpoints_are_refused(name: str, wanted: str, tmp_path: Path) -> None:
    for step in (2, 10, 30):
        write_checkpoint(tmp_path / f"checkpoint-{step}")
    last = tmp_path / "checkpoint-30"
    settings = {"resume_from_checkpoint": "true" if wanted == "true" else str(last)}
    whole = (last / name).read_bytes()
    for share in (0, 0.5, 0.99):
        (last / name).write_bytes(whole[: int(share * len(whole))])
        message = rf"^--resume_from_checkpoint: .*checkpoint-30 is damaged \({name} is not whole\): go on with "
        with pytest.raises(ValueError, match=message + r"--resume_from_checkpoint .*checkpoint-10$"):
            start_run(arguments(tmp_path, **settings))
    (tmp_path / "checkpoint-10" / name).unlink()
    with pytest.raises(ValueError, match=r"go on with --resume_from_checkpoint .*checkpoint-2$"):
        start_run(arguments(tmp_path, **settings))
    (tmp_path / "checkpoint-2" / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"is not whole\): start anew with --overwrite_output_dir$"):
        start_run(arguments(tmp_path, **settings))


@pytest.mark.parametrize(
    ("name", "part"), [(name, "weights" if name == "model.safetensors" else name) for name in PARTS]
)
def test_checkpoints_that_lack_a_file_are_refused(name: str, part: str, tmp_path: Path) -> None:
    (write_checkpoint(tmp_path / "checkpoint-30") / name).unlink()
    message = rf"checkpoint-30 is damaged \(no {part}\): start anew with --overwrite_output_dir$"
    with pytest.raises(ValueError, match=message):
        start_run(arguments(tmp_path, resume_from_checkpoint="true"))
