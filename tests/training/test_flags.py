"""Flags of the Trainer: their defaults, what follows from them, and those that cannot be."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import transformers

from kmerbert.cli.parser import parse
from kmerbert.training import flags as flags_module
from kmerbert.training.flags import KmerTrainingArguments
from tests.support.messages import fails


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"output_dir": None}, ("--output_dir",)),
        ({"hub_token": "secret"}, ("--hub_token", "HF_TOKEN")),
        ({"hub_strategy": "every_save"}, ("--hub_strategy every_save", "end")),
        ({"do_train": False}, ("--do_train false",)),
        ({"remove_unused_columns": True}, ("--remove_unused_columns true",)),
        (
            {"dataloader_persistent_workers": True, "dataloader_num_workers": 1},
            ("--dataloader_persistent_workers true",),
        ),
        ({"dataloader_drop_last": True}, ("--dataloader_drop_last true",)),
        ({"early_stopping_patience": 0}, ("--early_stopping_patience 0", "1")),
        ({"early_stopping_patience": 3, "eval_strategy": "no"}, ("--early_stopping_patience", "--eval_strategy")),
        (
            {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "no"},
            ("--lr_scheduler_type reduce_lr_on_plateau", "--eval_strategy"),
        ),
        ({"save_strategy": "no"}, ("--save_strategy no", "--load_best_model_at_end false")),
        ({"eval_epochs": 0}, ("--eval_epochs 0", "above 0")),
        ({"num_train_epochs": 0}, ("--num_train_epochs 0", "above 0")),
        ({"gradient_accumulation_steps": 0}, ("--gradient_accumulation_steps", "1 or more")),
        ({"eval_accumulation_steps": 0}, ("--eval_accumulation_steps 0", "1 or more")),
        ({"metric_for_best_model": ""}, ("--metric_for_best_model",)),
        ({"ignore_data_skip": True}, ("--ignore_data_skip true",)),
        ({"learning_rate": -1e-3}, ("--learning_rate -0.001", "0 or more")),
        ({"weight_decay": -0.1}, ("--weight_decay -0.1", "0 or more")),
        ({"save_steps": 0}, ("--save_steps 0", "above 0")),
        ({"eval_steps": -5}, ("--eval_steps -5", "above 0")),
        ({"logging_steps": 0}, ("--logging_steps 0", "above 0")),
        ({"label_smoothing_factor": 0.1}, ("--label_smoothing_factor",)),
        ({"lr_scheduler_kwargs": "min_lr=1"}, ("--lr_scheduler_kwargs min_lr=1", "JSON")),
        ({"report_to": "pigeon"}, ("--report_to pigeon", "tensorboard", "wandb")),
        ({"prediction_loss_only": True}, ("--prediction_loss_only true",)),
        ({"label_names": ["labels"]}, ("--label_names", "--label_column")),
    ],
)
def test_flags_that_cannot_be(settings: dict[str, Any], parts: tuple[str, ...], tmp_path: Path) -> None:
    with fails(*parts):
        KmerTrainingArguments(**{"output_dir": str(tmp_path)} | settings)


def test_a_program_to_log_to_must_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("wandb: `pip install wandb`")

    monkeypatch.setitem(flags_module.INTEGRATION_TO_CALLBACK, "wandb", fail)
    with fails("--report_to wandb", "not installed", "pip install wandb"):
        KmerTrainingArguments(output_dir=str(tmp_path), report_to="wandb")


def test_a_token_is_not_repeated_in_its_message(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        KmerTrainingArguments(output_dir=str(tmp_path), hub_token="secret")
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
@pytest.mark.parametrize("kwargs", [None, '{"patience": 3}'])
def test_the_learning_rate_falls_when_the_metric_gets_worse(
    metric: str | None, mode: str, kwargs: str | None, tmp_path: Path
) -> None:
    arguments = KmerTrainingArguments(
        output_dir=str(tmp_path),
        metric_for_best_model=metric,
        lr_scheduler_type="reduce_lr_on_plateau",
        lr_scheduler_kwargs=kwargs,
    )
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    scheduler = transformers.get_scheduler(
        arguments.lr_scheduler_type, optimizer, scheduler_specific_kwargs=arguments.lr_scheduler_kwargs
    )
    assert scheduler.mode == mode
    assert scheduler.patience == (3 if kwargs else 10)
    assert arguments.greater_is_better == (mode == "max")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"eval_strategy": "epoch", "save_strategy": "epoch"}),
        ({"eval_strategy": "steps", "eval_steps": 7}, {"save_strategy": "steps", "save_steps": 7}),
        ({"eval_strategy": "steps", "logging_steps": 5}, {"save_steps": 5}),
        ({"eval_strategy": "steps", "eval_steps": 0.25}, {"save_steps": 0.25}),
        (
            {"save_strategy": "steps", "save_steps": 3, "load_best_model_at_end": False},
            {"save_strategy": "steps", "save_steps": 3},
        ),
        (
            {"eval_strategy": "no", "save_strategy": "steps", "save_steps": 3},
            {"save_strategy": "steps", "save_steps": 3, "load_best_model_at_end": False},
        ),
    ],
)
def test_checkpoints_are_saved_when_the_model_is_evaluated(
    settings: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    arguments = KmerTrainingArguments(output_dir=str(tmp_path), **settings)
    assert {name: getattr(arguments, name) for name in expected} == expected


def test_a_push_that_cannot_be_is_found_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*flags: str) -> None:
        parse([KmerTrainingArguments], ["--output_dir", str(tmp_path / "run"), "--push_to_hub", *flags])

    with fails("--push_to_hub", "HF_HUB_OFFLINE"):  # set for all tests
        read()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with fails("--push_to_hub", "HF_TOKEN", "hf auth login"):
        read()
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    with fails("--hub_model_id 'https://huggingface.co/you/x'"):
        read("--hub_model_id", "https://huggingface.co/you/x")
    read("--hub_model_id", "you/x")
