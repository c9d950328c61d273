"""The flags of the two training scripts: those of the Trainer, with the defaults and checks of this project."""

import os
from dataclasses import dataclass
from typing import Literal

import torch
from transformers import TrainingArguments
from transformers.hf_argparser import HfArg

from kmerbert.scoring.masked import MASKED_METRICS
from kmerbert.scoring.metrics import REGRESSION_METRICS

PLATEAU = "reduce_lr_on_plateau"
LOWER_IS_BETTER = ("loss", "mse", "rmse", "mae", "perplexity")


@dataclass
class KmerTrainingArguments(TrainingArguments):
    """The Trainer's own flags, with the defaults of this project, and two flags that the Trainer lost or never had."""

    output_dir: str | None = HfArg(default=None, help="Folder for everything that the run writes; new or empty.")
    overwrite_output_dir: bool = HfArg(
        default=False, help="Start anew in a folder that holds a run: its files are deleted, other files stay."
    )
    early_stopping_patience: int | None = HfArg(
        default=None, help="Stop after this many evaluations without a better --metric_for_best_model."
    )
    eval_epochs: float | None = HfArg(
        default=None, help="Evaluate after this many epochs (0.2: five times in each), instead of by --eval_strategy."
    )
    do_train: bool = HfArg(default=True, help="Accepted for habit's sake: the script always trains.")
    eval_strategy: str = HfArg(default="epoch", help="When to evaluate: no, steps (every --eval_steps) or epoch.")
    save_strategy: str = HfArg(
        default="epoch", help="When to save a checkpoint: no, steps, epoch or best. Follows --eval_strategy by itself."
    )
    save_total_limit: int | None = HfArg(default=2, help="Checkpoints to keep, the best one always among them.")
    load_best_model_at_end: bool = HfArg(default=True, help="End with the best checkpoint instead of the last.")
    logging_steps: float = HfArg(default=50, help="Steps between two log lines; below 1, a share of all steps.")
    per_device_train_batch_size: int = HfArg(default=64, help="Sequences in a training batch on each device.")
    per_device_eval_batch_size: int = HfArg(default=64, help="Sequences in an evaluation batch on each device.")
    learning_rate: float = HfArg(default=1e-4, help="Highest learning rate of the optimizer.")
    weight_decay: float = HfArg(default=0.01, help="Weight decay of all weights but biases and LayerNorm.")
    warmup_steps: float = HfArg(default=0.05, help="Steps of linear warm-up; below 1, a share of all steps.")
    ddp_find_unused_parameters: bool | None = HfArg(
        default=False, help="Whether every step searches for parameters without gradient; no model here has any."
    )
    eval_accumulation_steps: int | None = HfArg(
        default=1000, help="Evaluation batches whose outputs are kept on the device before they are moved."
    )
    logging_nan_inf_filter: bool = HfArg(
        default=False, help="Hide losses that are no number; a GPU is then waited for at every step."
    )
    remove_unused_columns: bool | None = HfArg(default=False, help="Must stay false: batches come as whole arrays.")
    hub_strategy: str = HfArg(default="end", help="Must stay end: only the finished model goes to the Hub.")

    def _refusals(self) -> tuple[tuple[bool, str], ...]:
        """What cannot be, and what to say about it."""
        is_blind = self.eval_strategy == "no"
        patience, needs = self.early_stopping_patience, "needs evaluations: --eval_strategy epoch or steps"
        return (
            (not self.output_dir, "--output_dir is missing: name a new folder for the results"),
            (bool(self.hub_token), "--hub_token would be saved and uploaded: set HF_TOKEN, or run `hf auth login`"),
            (self.hub_strategy != "end", f"--hub_strategy {self.hub_strategy}: allowed is end, the finished model"),
            (not self.do_train, "--do_train false: this script trains; leave the flag out"),
            (self.remove_unused_columns, "--remove_unused_columns true: batches here are whole arrays; leave it out"),
            (self.num_train_epochs <= 0 >= self.max_steps, f"--num_train_epochs {self.num_train_epochs}: allowed is above 0"),
            (self.gradient_accumulation_steps < 1, "--gradient_accumulation_steps: allowed is 1 or more"),
            (self.eval_accumulation_steps == 0, "--eval_accumulation_steps 0: allowed is 1 or more"),
            (self.metric_for_best_model == "", "--metric_for_best_model is empty: name a metric or leave the flag out"),
            (self.prediction_loss_only, "--prediction_loss_only true: the metrics need predictions; leave it out"),
            (self.label_names is not None, "--label_names: the labels are those of --label_column; leave it out"),
            (self.dataloader_persistent_workers, "--dataloader_persistent_workers true: masks would never change"),
            (self.dataloader_drop_last, "--dataloader_drop_last true leaves validation and test rows out; leave it out"),
            (patience is not None and patience < 1, f"--early_stopping_patience {patience}: allowed is 1 or more"),
            (
                self.eval_epochs is not None and not self.eval_epochs > 0,
                f"--eval_epochs {self.eval_epochs}: allowed is above 0",
            ),
            (is_blind and bool(patience), f"--early_stopping_patience {needs}"),
            (is_blind and self.lr_scheduler_type == PLATEAU, f"--lr_scheduler_type {PLATEAU} {needs}"),
            (
                not is_blind and self.load_best_model_at_end and self.save_strategy == "no",
                "--save_strategy no keeps no best checkpoint to end with: add --load_best_model_at_end false",
            ),
        )  # fmt: skip

    def __post_init__(self) -> None:
        for is_wrong, message in self._refusals():
            if is_wrong:
                raise ValueError(message)
        if self.eval_epochs:
            self.eval_strategy, self.eval_steps = "steps", 1  # the true number needs the data: plan_evaluations
        if self.eval_strategy == "no":
            self.load_best_model_at_end = False
        elif self.load_best_model_at_end and self.save_strategy in ("epoch", "steps"):
            # The best checkpoint can only be one that was saved when it was evaluated.
            self.save_strategy = self.eval_strategy
            self.save_steps = self.eval_steps or self.logging_steps
        if not torch.accelerator.is_available() and os.environ.get("WORLD_SIZE", "1") == "1":
            self.use_cpu = True  # the Trainer wants this said before it computes in bf16 on a CPU
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.cuda.is_available()
        metric = (self.metric_for_best_model or "loss").removeprefix("eval_")
        self.greater_is_better = not metric.startswith(LOWER_IS_BETTER)
        super().__post_init__()
        if self.lr_scheduler_type == PLATEAU:
            # The Trainer leaves torch's default, `min`, which would cut the rate whenever a correlation rises.
            self.lr_scheduler_kwargs = {"mode": "max" if self.greater_is_better else "min"} | (
                self.lr_scheduler_kwargs or {}
            )


@dataclass
class PretrainingArguments(KmerTrainingArguments):
    """The training flags, with what makes the best masked language model."""

    metric_for_best_model: str | None = HfArg(
        default="perplexity", help=f"Metric of the best checkpoint: loss, {', '.join(MASKED_METRICS)}."
    )


@dataclass
class RegressionArguments(KmerTrainingArguments):
    """The training flags, with what makes the best regression model."""

    metric_for_best_model: str | None = HfArg(
        default="pearsonr",
        help=f"Metric of the best checkpoint: loss, {', '.join(REGRESSION_METRICS)}, or one output's.",
    )
    loss: Literal["mse", "smooth_l1"] = HfArg(
        default="mse",
        help="Squared error, or smooth L1: squared up to an error of one unit of the labels, absolute above; the value is "
        "divided by their standard deviation.",
    )
