"""The flags of the two training scripts: those of the Trainer, with the defaults and checks of this project."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import huggingface_hub
import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.trainer_utils import SchedulerType

from kmerbert.cli.flags import flag
from kmerbert.cli.launch import check_launch
from kmerbert.errors import one_line
from kmerbert.scoring.metrics import MASKED_LM_METRICS, REGRESSION_METRICS, is_lower_better

PLATEAU = "reduce_lr_on_plateau"


@dataclass
class KmerTrainingArguments(TrainingArguments):
    """The Trainer's own flags, with the defaults of this project, and flags that the Trainer removed or never had."""

    # What --help shows, of some 130 flags; --help all shows the others, too.
    SHOWN_FLAGS: ClassVar[dict[str, str]] = {
        "Output": """output_dir overwrite_output_dir resume_from_checkpoint push_to_hub hub_model_id report_to
            save_total_limit load_best_model_at_end""",
        "Training": """num_train_epochs max_steps per_device_train_batch_size gradient_accumulation_steps learning_rate
            lr_scheduler_type warmup_steps weight_decay loss linear_term baselines seed bf16 use_cpu metric_for_best_model eval_strategy
            eval_steps eval_epochs early_stopping_patience""",
    }

    output_dir: str | None = flag(None, "Folder for everything that the run writes, new or empty.")
    overwrite_output_dir: bool = flag(
        False,
        "Start again in a folder that contains a run. Before training, the files that the run wrote are named and deleted; "
        "other files, links and TensorBoard's logs stay.",
    )
    resume_from_checkpoint: str | None = flag(
        None, "Continue from this checkpoint; true: the newest one in --output_dir that is whole."
    )
    push_to_hub: bool = flag(False, "Upload the finished model, its tokenizer and its card to the Hub.")
    hub_model_id: str | None = flag(
        None, "Repository to upload to, such as you/expression. Default: --output_dir's name."
    )
    report_to: None | str | list[str] = flag("none", "Where to log as well: tensorboard, wandb, ...")
    early_stopping_patience: int | None = flag(
        None, "Stop after this many evaluations without a better --metric_for_best_model."
    )
    eval_epochs: float | None = flag(
        None, "Evaluate after this many epochs (0.2: five times in each). Replaces --eval_strategy."
    )
    eval_steps: float | None = flag(None, "Steps between evaluations, with --eval_strategy steps.")
    max_steps: int = flag(-1, "Steps of the optimizer. Default: as many as --num_train_epochs need.")
    num_train_epochs: float = flag(3.0, "Passes over the training rows.")
    gradient_accumulation_steps: int = flag(1, "Batches whose gradients are added up for one step of the optimizer.")
    lr_scheduler_type: SchedulerType | str = flag(
        "linear", "How the learning rate falls: linear, cosine, reduce_lr_on_plateau, ..."
    )
    seed: int = flag(42, "Seed of new weights, order of rows, masking and dropout.")
    bf16: bool = flag(False, "Compute in bfloat16: faster on GPUs and recent server CPUs.")
    use_cpu: bool = flag(False, "Compute on CPUs even if there is a GPU.")
    do_train: bool = flag(True, "Accepted because other scripts have it: the script always trains.")
    eval_strategy: str = flag("epoch", "When to evaluate: no, steps (every --eval_steps) or epoch.")
    save_strategy: str = flag(
        "epoch", "When to save a checkpoint: no, steps, epoch or best. By default follows --eval_strategy."
    )
    save_total_limit: int | None = flag(2, "Checkpoints to keep, always including the best one.")
    load_best_model_at_end: bool = flag(True, "End with the best checkpoint instead of the last.")
    logging_steps: float = flag(50, "Steps between two log lines; below 1, a share of all steps.")
    per_device_train_batch_size: int = flag(64, "Sequences in a training batch on each device.")
    per_device_eval_batch_size: int = flag(64, "Sequences in an evaluation batch on each device.")
    learning_rate: float = flag(1e-4, "Highest learning rate of the optimizer.")
    weight_decay: float = flag(0.01, "Weight decay of all weights but biases and norms.")
    warmup_steps: float = flag(0.05, "Steps of linear warm-up; below 1, a share of all steps.")
    ddp_find_unused_parameters: bool | None = flag(
        False, "Search for weights without a gradient in every step; the models here have none."
    )
    eval_accumulation_steps: int | None = flag(
        1000, "Evaluation batches whose outputs are kept on the device before they are moved."
    )
    logging_nan_inf_filter: bool = flag(
        False, "Hide losses that are not numbers; every step then waits for the GPU to look."
    )
    remove_unused_columns: bool | None = flag(False, "Must stay false: batches come as whole arrays.")
    hub_strategy: str = flag("end", "Must stay end: only the finished model goes to the Hub.")

    def __post_init__(self) -> None:
        for is_wrong, message in self._mistakes():
            if is_wrong:
                raise ValueError(message)
        if self.save_total_limit is not None and self.save_total_limit < 1:  # the Trainer's way to say: all
            self.save_total_limit = None
        if self.eval_epochs:
            self.eval_strategy, self.eval_steps = "steps", 1  # the true number needs the data: plan_evaluations
        if self.eval_strategy == "no":
            self.load_best_model_at_end = False
        elif self.load_best_model_at_end and self.save_strategy in ("epoch", "steps"):
            # The best checkpoint can only be one that was saved when it was evaluated.
            self.save_strategy = self.eval_strategy
            self.save_steps = self.eval_steps or self.logging_steps
        if not torch.accelerator.is_available() and (self.bf16 or os.environ.get("WORLD_SIZE", "1") == "1"):
            if not self.use_cpu:
                check_launch(1)  # the Trainer's own message for a launch without GPUs is about bf16
            self.use_cpu = True  # the Trainer requires this before it computes in bf16 on a CPU
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.cuda.is_available()
        self.greater_is_better = not is_lower_better(self.metric_for_best_model or "loss")
        super().__post_init__()
        self._check_trackers()
        if self.push_to_hub and self.process_index == 0:
            self._check_push()
        if self.lr_scheduler_type == PLATEAU:
            # The Trainer leaves torch's default, `min`, which would cut the rate whenever a correlation rises.
            self.lr_scheduler_kwargs = {"mode": "max" if self.greater_is_better else "min"} | (
                self.lr_scheduler_kwargs or {}
            )

    def _check_trackers(self) -> None:
        """Raises ValueError for a program to log to that is unknown or not installed."""
        for name in self.report_to:
            if name not in INTEGRATION_TO_CALLBACK:
                raise ValueError(f"--report_to {name}: allowed are none, all, {', '.join(INTEGRATION_TO_CALLBACK)}")
            try:
                INTEGRATION_TO_CALLBACK[name]()
            except (RuntimeError, ImportError) as error:
                raise ValueError(
                    f"--report_to {name} needs a package that is not installed ({one_line(error)}): install it, or leave the "
                    "flag out"
                ) from None

    def _check_push(self) -> None:
        """Raises ValueError for what would stop a push after hours: no network, no token, a name that no repository can have."""
        if huggingface_hub.constants.HF_HUB_OFFLINE:
            raise ValueError("--push_to_hub needs the network, but HF_HUB_OFFLINE is set: unset it, or push later")
        if huggingface_hub.get_token() is None:
            raise ValueError("--push_to_hub needs a token: run `hf auth login`, or set HF_TOKEN")
        name = self.hub_model_id or Path(self.output_dir).absolute().name
        try:
            validate_repo_id(name)
        except HFValidationError as error:
            raise ValueError(f"--hub_model_id {name!r}: {one_line(error)}: give one such as you/expression") from None

    def _mistakes(self) -> tuple[tuple[bool, str], ...]:
        """Settings that cannot be, and the message for each."""
        is_blind = self.eval_strategy == "no"
        patience, needs = self.early_stopping_patience, "needs evaluations: --eval_strategy epoch or steps"
        return (
            (not self.output_dir, "--output_dir is missing: name a new folder for the results"),
            (bool(self.hub_token), "--hub_token would be saved and uploaded: set HF_TOKEN, or run `hf auth login`"),
            (self.hub_strategy != "end", f"--hub_strategy {self.hub_strategy}: allowed is end, the finished model"),
            (not self.do_train, "--do_train false: this script trains; leave the flag out"),
            (self.remove_unused_columns, "--remove_unused_columns true: batches here are whole arrays; leave it out"),
            (self.num_train_epochs <= 0 >= self.max_steps, f"--num_train_epochs {self.num_train_epochs}: allowed is above 0"),
            *(
                (getattr(self, name) < 1, f"--{name} {getattr(self, name)}: allowed is 1 or more")
                for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")
            ),
            *(
                (getattr(self, name) is not None and getattr(self, name) <= 0, f"--{name} {getattr(self, name)}: allowed is above 0")
                for name in ("logging_steps", "save_steps", "eval_steps")
            ),
            *(
                (getattr(self, name) < 0, f"--{name} {getattr(self, name)}: allowed is 0 or more")
                for name in ("learning_rate", "weight_decay")
            ),
            (bool(self.label_smoothing_factor), "--label_smoothing_factor has no effect on the losses here: leave it out"),
            (
                isinstance(self.lr_scheduler_kwargs, str) and not self.lr_scheduler_kwargs.lstrip().startswith("{"),
                f"--lr_scheduler_kwargs {self.lr_scheduler_kwargs} is no JSON object: write '{{\"name\": 1}}', or a mapping in a recipe",
            ),
            (self.eval_accumulation_steps == 0, "--eval_accumulation_steps 0: allowed is 1 or more"),
            (self.metric_for_best_model == "", "--metric_for_best_model is empty: name a metric or leave the flag out"),
            (self.prediction_loss_only, "--prediction_loss_only true: the metrics need predictions; leave it out"),
            (self.label_names is not None, "--label_names: the labels are those of --label_column; leave it out"),
            (self.dataloader_persistent_workers, "--dataloader_persistent_workers true: masks would never change"),
            (self.ignore_data_skip, "--ignore_data_skip true: rows would be seen twice after a resume; leave it out"),
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


@dataclass
class PretrainingArguments(KmerTrainingArguments):
    """The training flags, with what makes the best masked language model."""

    metric_for_best_model: str | None = flag(
        "perplexity", f"Metric of the best checkpoint: loss, {', '.join(MASKED_LM_METRICS)}."
    )


@dataclass
class RegressionArguments(KmerTrainingArguments):
    """The training flags, with what makes the best regression model."""

    metric_for_best_model: str | None = flag(
        "pearsonr", f"Metric of the best checkpoint: loss, {', '.join(REGRESSION_METRICS)}, or one output's."
    )
    baselines: bool = flag(
        True,
        "Fit ridge regression and others to the same training rows, for the verdict: seconds.",
    )
    linear_term: bool = flag(
        True,
        "Add ridge regression on k-mers to a kmer_conv, weighted by the validation rows. With few or noisy rows it is the better "
        "half. Not with --streaming.",
    )
    loss: Literal["mse", "smooth_l1"] = flag(
        "mse",
        "Squared error, or smooth L1 (Huber), which outliers disturb less. Smooth L1 is squared up to an error of one unit "
        "of the labels and absolute above; its value is divided by their standard deviation.",
    )
