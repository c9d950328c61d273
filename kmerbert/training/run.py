"""A training run from start to finish: launch and folder checks, resume, training, metrics files, the saved model."""

import json
import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import set_seed

from kmerbert.cli.launch import check_launch, end_with_launcher, set_up_logging
from kmerbert.files import check_folder, free_space, in_bytes, read_json, space_to_write, write_text
from kmerbert.models.kernels import fast_kernels
from kmerbert.models.outputs import in_other_unit
from kmerbert.training.callbacks import describe_run, precision_of
from kmerbert.training.checkpoints import (
    SETTINGS_FILE,
    check_rows,
    check_settings,
    check_source,
    checkpoints_in,
    find_checkpoint,
    run_settings,
)
from kmerbert.training.flags import KmerTrainingArguments
from kmerbert.training.folder import CARD, FolderLock, RunFolder, claim_folder
from kmerbert.training.trainer import RunTrainer, check_weights

logger = logging.getLogger(__name__)
# The final model is saved here first, and its files are then moved to their names.
SCRATCH = ".saving"
# Bytes of a checkpoint for each byte of weights: the weights, and what Adam and its kind remember of each.
ADAM_CHECKPOINT = 3
# Of so many rows, a tenth is one when rounded.
FEWEST_ROWS = 6
# With fewer validation rows, equal predictions may be chance: bf16 has 8 bits.
ROWS_THAT_TELL = 10


def start_run(arguments: KmerTrainingArguments, *groups: Any) -> RunFolder:
    """Sets up logging and the seed, takes the output folder, and checks the launch and what is resumed.

    Args:
        arguments: The training flags.
        groups: The other dataclasses of flags, which must be those of the run that is resumed.

    Returns:
        The folder, for a `with` block that contains all of the run.

    Raises:
        ValueError: The launched processes would each train alone; the folder is another run's, contains something or cannot
            be written to; the checkpoint does not exist, is damaged, or is of a run with other settings.
    """
    set_up_logging(arguments.process_index == 0)
    check_launch(arguments.world_size)
    end_with_launcher()
    set_seed(arguments.seed)  # before the folder is taken, because a seed may be too large
    has_folds = any(getattr(group, "cross_validates", False) for group in groups)
    folder = RunFolder(
        Path(arguments.output_dir),
        run_settings(arguments, *groups),
        trackers=tuple(arguments.report_to),
        has_folds=has_folds,
    )
    _take_together(folder, arguments)
    if arguments.n_gpu > 1:
        logger.warning("there are %d GPUs, one is used: start with `accelerate launch` to use all", arguments.n_gpu)
        arguments._n_gpu = 1  # the Trainer would divide each batch among threads, which is slow
    logger.info("%s", describe_run(arguments))
    return folder


def start_fold(
    whole: RunFolder, arguments: KmerTrainingArguments, fold: int
) -> tuple[RunFolder, KmerTrainingArguments]:
    """Begins the run of one model of a cross-validation, in a folder within that of the whole.

    If the whole is resumed, the run continues from its newest checkpoint, begins anew if it has none, and is left alone if it
    was finished.

    Args:
        whole: The folder of the cross-validation, result of `start_run`.
        arguments: The training flags.
        fold: Number of the fold that validates this model, from 0.

    Returns:
        The folder, for a `with` block, and the flags of this run.

    Raises:
        ValueError: As for `start_run`.
    """
    own = copy(arguments)
    own.output_dir, own.push_to_hub = str(fold_folder(whole.path, fold)), False
    settings = whole.settings | {"fold": fold}
    folder = RunFolder(Path(own.output_dir), settings, trackers=whole.trackers, whole=whole)
    _take_together(folder, own)
    set_seed(own.seed)
    return folder, own


def fold_folder(whole: Path, fold: int) -> Path:
    """The folder of the model that a fold validates, within that of the cross-validation."""
    return whole / f"fold_{fold}"


def finish_fold(folder: RunFolder) -> None:
    """Notes that a run of a cross-validation is done, so that it is not repeated when the whole is resumed."""
    folder.note(SETTINGS_FILE)
    write_text(folder.path / SETTINGS_FILE, json.dumps(folder.settings, indent=2) + "\n")


def _take_together(folder: RunFolder, arguments: KmerTrainingArguments) -> None:
    """Takes the folder for this run. One process decides for all: they would otherwise look at different moments."""
    answer = [None, None, (), False, False]
    if arguments.process_index == 0:
        try:
            _take(folder, arguments)
            answer = [None, folder.checkpoint, folder.to_delete, folder.is_resumed, folder.is_finished]
        except (ValueError, OSError) as error:
            answer[0] = str(error)
    if arguments.world_size > 1:
        broadcast_object_list(answer)
    problem, folder.checkpoint, folder.to_delete, folder.is_resumed, folder.is_finished = answer
    if problem:
        raise ValueError(problem)
    if folder.checkpoint and not Path(folder.checkpoint).is_dir():  # never on the main process, which has looked
        raise ValueError(f"`resume_from_checkpoint`: {folder.checkpoint} is not on this machine: copy it there")


def _take(folder: RunFolder, arguments: KmerTrainingArguments) -> None:
    """Takes the folder for this run, and finds out from what it continues and what is to be deleted."""
    path = folder.path
    check_folder(path, f"`output_dir` {path}")
    if not path.is_dir() and not (folder.has_folds or folder.whole):
        find_checkpoint(arguments.resume_from_checkpoint, path)  # before the folder is made for nothing
    if folder.has_folds:
        folder.is_resumed = _resumes_folds(path, arguments.resume_from_checkpoint)
    path.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(path)
    try:
        if folder.whole:
            _take_fold(folder, arguments)
        elif not folder.is_resumed:
            _take_run(folder, arguments)
    except BaseException:
        lock.release()
        raise
    folder.lock = lock


def _resumes_folds(path: Path, chosen: str | None) -> bool:
    """Whether a cross-validation is continued; ValueError if there is none, or a single checkpoint is named."""
    if chosen is None or str(chosen).lower() == "false":
        return False
    if str(chosen).lower() != "true":
        raise ValueError(
            f"`resume_from_checkpoint` {chosen}: allowed in a cross-validation is true: each fold continues from its newest "
            "checkpoint"
        )
    if not fold_folder(path, 0).is_dir():
        raise ValueError(
            f"`resume_from_checkpoint` true: {path} contains no folds to continue with: leave the flag out to start anew"
        )
    return True


def _take_fold(folder: RunFolder, arguments: KmerTrainingArguments) -> None:
    """Finds out whether a fold is finished, from what it continues, or what of an earlier run is to be deleted."""
    path = folder.path
    if folder.whole.is_resumed:
        if (path / SETTINGS_FILE).is_file():
            folder.is_finished = check_settings(path, folder.settings)
            return
        if checkpoints_in(path):
            try:
                folder.checkpoint = find_checkpoint("true", path, arguments.load_best_model_at_end)
            except ValueError as error:
                logger.warning("%s: this fold begins anew (%s)", path, error)
            else:
                check_settings(Path(folder.checkpoint), folder.settings, _schedule(arguments))
    folder.to_delete = claim_folder(path, overwrite=True, checkpoint=folder.checkpoint)


def _schedule(arguments: KmerTrainingArguments) -> str:
    return getattr(arguments.lr_scheduler_type, "value", arguments.lr_scheduler_type)


def _take_run(folder: RunFolder, arguments: KmerTrainingArguments) -> None:
    """Finds out from what a run continues, and what of an earlier one is to be deleted."""
    path = folder.path
    folder.checkpoint = find_checkpoint(arguments.resume_from_checkpoint, path, arguments.load_best_model_at_end)
    if folder.checkpoint and not check_settings(Path(folder.checkpoint), folder.settings, _schedule(arguments)):
        message = "%s is of an earlier version, without its settings and checksums: they are not compared"
        logger.info(message, folder.checkpoint)
    folder.to_delete = claim_folder(path, arguments.overwrite_output_dir, folder.checkpoint)


def plan_evaluations(arguments: KmerTrainingArguments, rows: Mapping[str, Sized], metrics: Sequence[str]) -> None:
    """Turns `--eval_epochs` into steps, and checks before the run costs time that it can choose its best checkpoint.

    Args:
        arguments: Changed in place.
        rows: The splits: `train` and, if there are such rows, `validation`.
        metrics: Names of what is measured, in addition to the loss.

    Raises:
        ValueError: There are no validation rows to evaluate on, or the metric of the best checkpoint is not measured.
    """
    if arguments.eval_strategy == "no":
        return
    if not rows.get("validation"):
        n, few = len(rows["train"]), ""
        if n < FEWEST_ROWS:
            few = f" ({n} {'row is' if n == 1 else 'rows are'} too few to hold a tenth of them out)"
        raise ValueError(
            f"no validation rows{few}: give `validation_file`, `validation_split_percentage` or `validation_rows`, or train "
            "without them with `eval_strategy` no"
        )
    metric = (arguments.metric_for_best_model or "loss").removeprefix("eval_")
    if metric not in ("loss", *metrics):
        raise ValueError(f"`metric_for_best_model` {metric!r} is not measured: allowed are loss, {', '.join(metrics)}")
    if arguments.eval_epochs:
        batches = math.ceil(len(rows["train"]) / (arguments.train_batch_size * arguments.world_size))
        steps = math.ceil(batches / arguments.gradient_accumulation_steps)
        arguments.eval_steps = max(1, round(arguments.eval_epochs * steps))
        if arguments.load_best_model_at_end:
            arguments.save_steps = arguments.eval_steps


def train(trainer: RunTrainer) -> dict[str, float]:
    """Trains, and looks at the result.

    Returns:
        The training metrics, with their prefix.

    Raises:
        ValueError: The rows are not those of the checkpoint, the disk has too little room, or the result is no model.
    """
    folder, arguments = trainer.folder, trainer.args
    if folder.checkpoint:
        check_source(Path(folder.checkpoint), trainer.model.config)
        check_rows(Path(folder.checkpoint), trainer.rows)
    if trainer.is_world_process_zero():
        _check_space(trainer)
        folder.clear(trainer.rows)
        shutil.rmtree(folder.path / SCRATCH, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    folder.is_training = True
    with fast_kernels([trainer.model], precision_of(arguments) == "bf16", arguments.device):
        result = trainer.train(resume_from_checkpoint=folder.checkpoint)
    check_result(trainer)
    check_answers(trainer)
    if not math.isfinite(result.metrics["train_loss"]) and precision_of(arguments) != "fp16":  # which leaves steps out
        raise ValueError(
            f"the loss of the run is {result.metrics['train_loss']}: lower `learning_rate`, or warm up longer with "
            "`warmup_steps`"
        )
    return result.metrics


def _check_space(trainer: RunTrainer) -> None:
    """Raises ValueError if the disk has no room for the checkpoints that exist at one time, and the final model."""
    arguments = trainer.args
    weights = sum(weight.numel() * weight.element_size() for weight in trainer.model.parameters())
    n_saves = {"no": 0, "epoch": math.ceil(arguments.num_train_epochs)}.get(arguments.save_strategy, 1)
    if n_saves and arguments.max_steps > 0:
        n_saves = 1
    # The oldest is deleted after the newest is complete.
    n_kept = min(n_saves, arguments.save_total_limit + 1 if arguments.save_total_limit else n_saves)
    n_new = max(n_kept - len(checkpoints_in(trainer.folder.path)), min(n_saves, 1))
    size = weights * (ADAM_CHECKPOINT if "adam" in str(getattr(arguments.optim, "value", arguments.optim)) else 1)
    needed, free = n_new * size + weights, free_space(trainer.folder.path)
    if needed > free:
        raise ValueError(
            f"`output_dir` {trainer.folder.path}: {in_bytes(free)} are free, but the run needs {in_bytes(needed)}, "
            f"{n_new} checkpoint(s) of {in_bytes(size)} and the model of {in_bytes(weights)}: make room, write to another "
            "disk, or keep fewer with `save_total_limit`"
        )


def check_result(trainer: RunTrainer) -> None:
    """Checks that what was trained is a model that can answer, before it is saved.

    Raises:
        ValueError: Weights are no numbers or all zero; no evaluation gave a number to choose the best checkpoint by; the loss
            of the evaluation is no number; or the model predicts the same for every sequence.
    """
    check_weights(trainer.model, "after training, ")
    state, arguments = trainer.state, trainer.args
    metric = f"eval_{(arguments.metric_for_best_model or 'loss').removeprefix('eval_')}"
    evaluations = [entry for entry in state.log_history if metric in entry]
    if arguments.load_best_model_at_end and evaluations and state.best_model_checkpoint is None:
        values = ", ".join(f"{entry[metric]:g}" for entry in evaluations[-3:])
        raise ValueError(
            f"none of {len(evaluations)} evaluations gave a better {metric} than the one before training (the last: {values}), "
            "so that no checkpoint is the best: lower `learning_rate`, or choose another `metric_for_best_model`"
        )
    step = saved_step(trainer)
    for entry in [entry for entry in state.log_history if entry["step"] == step and "eval_loss" in entry][-1:]:
        if not math.isfinite(entry["eval_loss"]):
            raise ValueError(
                f"the loss of the evaluation at step {step} is {entry['eval_loss']}, although the weights are numbers: lower "
                "`learning_rate`, or warm up longer with `warmup_steps`"
            )
    if len(trainer.eval_dataset or ()) < ROWS_THAT_TELL:
        return
    for entry in [entry for entry in evaluations if entry["step"] == step][-1:]:
        for name in [name for name in entry if name.startswith("eval_pearsonr")]:
            rho, r2 = (entry.get(name.replace("pearsonr", other), 1.0) for other in ("spearmanr", "r2"))
            if entry[name] == 0.0 == rho and r2 != 0.0:  # r2 is 0 for measured values that do not differ themselves
                raise ValueError(
                    f"the model predicts the same value for every validation row ({name} 0 at step {step}), although their "
                    "measured values differ: lower `learning_rate` or `weight_decay`, train longer, or look at the labels"
                )


def saved_step(trainer: RunTrainer) -> int:
    """Returns the step whose weights the model has after training."""
    state = trainer.state
    return state.best_global_step if trainer.args.load_best_model_at_end else state.global_step


def check_answers(trainer: RunTrainer) -> None:
    """Checks that the final weights, as they will be used, give a number for the last rows that were trained on.

    Weights that are numbers may be too large to compute with, and a run without validation rows is evaluated nowhere else.

    Raises:
        ValueError: The loss of these rows is NaN or infinite.
    """
    if trainer.last_batch is None:
        return
    was_training = trainer.model.training
    trainer.model.eval()
    loss, *_ = trainer.prediction_step(trainer.model, dict(trainer.last_batch), prediction_loss_only=True)
    trainer.model.train(was_training)
    if not math.isfinite(loss):
        raise ValueError(
            f"after training, the loss of the last {len(trainer.last_batch['input_ids'])} training rows is {loss.item()}: lower "
            "`learning_rate`, or warm up longer with `warmup_steps`"
        )


def report(trainer: RunTrainer, split: str, metrics: dict[str, float]) -> None:
    """Prints and saves metrics that are already prefixed with the split's name, as `Trainer` does, but in whole files."""
    trainer.log_metrics(split, metrics)
    if trainer.is_world_process_zero():
        write_results(trainer.folder, split, metrics)


def write_results(folder: RunFolder, split: str, metrics: Mapping[str, float]) -> None:
    """Writes prefixed metrics of a split into its own file, and adds them to those of the other splits."""
    files = (f"{split}_results.json", "all_results.json")
    folder.note(*files)
    together = folder.path / files[1]
    before = read_json(together) if together.exists() else {}
    for name, values in zip(files, (metrics, {**before, **metrics}), strict=True):
        write_text(folder.path / name, json.dumps(values, indent=4, sort_keys=True))


def flatten(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Returns the metrics of all splits in one dictionary, with the Trainer's prefixes."""
    return {name: value for values in metrics.values() for name, value in values.items()}


def save_run(trainer: RunTrainer, factor: Sequence[float] = (), shift: Sequence[float] = ()) -> None:
    """Saves the final model with its tokenizer into the output folder, before anything else can fail, and the run's log.

    Args:
        trainer: After training.
        factor, shift: One number for each output: what is saved answers output * factor + shift. The model itself stays as
            it is. Empty if nothing is to change.

    Raises:
        ValueError: The disk is full.
    """
    with whole_model(trainer.folder, trainer.args.should_save) as scratch:
        with in_other_unit(trainer.model, factor, shift):
            # A call that is not internal would push at once: without our card, and with the pickled arguments.
            trainer.save_model(str(scratch), _internal_call=True)
        if trainer.args.should_save:
            trainer.state.save_to_json(str(scratch / "trainer_state.json"))


@contextmanager
def whole_model(folder: RunFolder, should_save: bool = True) -> Iterator[Path]:
    """Lets the files of a model appear in a run's folder when all of them are complete.

    Args:
        folder: Of the run.
        should_save: Whether this process moves the files to their names.

    Yields:
        A folder to write them into, which need not exist.

    Raises:
        ValueError: The disk is full.
    """
    scratch = folder.path / SCRATCH
    try:
        with space_to_write(folder.path / "model.safetensors"):
            yield scratch
        if should_save:
            names = sorted(path.name for path in scratch.iterdir())
            try:
                folder.note(*names, CARD)
            finally:  # even if there is no room for the list of files
                for name in names:
                    os.replace(scratch / name, folder.path / name)
                folder.is_saved = True
    finally:
        if should_save:
            shutil.rmtree(scratch, ignore_errors=True)
    folder.is_saved = True


def run_facts(trainer: RunTrainer) -> dict[str, Any]:
    """Returns lines for the card's table: how far a run went, and what changed on its way."""
    state, arguments = trainer.state, trainer.args
    facts = {}
    if arguments.max_steps <= 0 and state.epoch is not None and state.epoch < arguments.num_train_epochs - 1e-6:
        facts["epochs"] = f"{state.epoch:.4g} of at most {arguments.num_train_epochs:g}"
    if trainer.changes:
        facts["changed on the way"] = "; ".join(trainer.changes)
    return facts
