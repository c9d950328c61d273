"""The Trainer of a run that keeps its promises: whole checkpoints, a resume by rows seen, a result that was looked at."""

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from kmerbert.errors import is_out_of_memory, one_line
from kmerbert.files import free_space, in_bytes, why_full
from kmerbert.tokens.batches import TrainingRows
from kmerbert.training.checkpoints import (
    begin,
    best_checkpoint,
    changeable_settings,
    complete,
    damage_of,
    describe_changes,
    read_progress,
    remove_checkpoint,
)
from kmerbert.training.flags import KmerTrainingArguments
from kmerbert.training.folder import RunFolder

logger = logging.getLogger(__name__)
# Settings of the optimizer that follow the flags of a resumed run; all else of its state is the checkpoint's.
OPTIMIZER_SETTINGS = ("weight_decay", "betas", "eps")
# Another machine may see a new file in a shared folder this much later.
SHARED_FOLDER_SECONDS = 60.0


class Position(NamedTuple):
    """Where a run stands in its rows: whole epochs, and batches (of all processes together) of the one that is going on."""

    epochs: int
    batches: int


class RunTrainer(Trainer):
    """The Trainer, for a run in a folder of its own.

    In addition to the Trainer's work:

    - A checkpoint is complete when its checksums are written, and only then are older ones deleted.
    - A resumed run stands where the checkpoint stood in the rows, whatever its batches were, and has the learning rate, the
      weight decay and the other changeable flags that are given now. Steps go on counting: each is one of the optimizer.
    - The logged losses, `train_loss` and `train_runtime` are those of the whole run.
    - Weights that are not numbers end the run before anything is saved.

    Args:
        model, args: As of `Trainer`.
        folder: The run's folder.
        splits: All rows, by split; the training and the validation rows are those that the Trainer gets.
        given: The other arguments of `Trainer`.
    """

    args: KmerTrainingArguments

    def __init__(
        self,
        model: PreTrainedModel,
        args: KmerTrainingArguments,
        folder: RunFolder,
        splits: Mapping[str, TrainingRows],
        **given: Any,
    ) -> None:
        super().__init__(model, args, train_dataset=splits["train"], eval_dataset=splits.get("validation"), **given)
        self.folder = folder
        self.rows = {split: {"name": rows.name, "checksum": rows.checksum()} for split, rows in splits.items()}
        self.progress = read_progress(Path(folder.checkpoint)) if folder.checkpoint else {}
        self.changes: list[str] = list(self.progress.get("changes", []))
        self.position = Position(0, 0)
        # Steps that were taken before, less those that the same rows take with the batches of today.
        self.step_offset = 0
        self.batches_in_epoch = 0
        self.began = 0.0
        self.last_batch: dict[str, torch.Tensor] | None = None  # that was trained on
        self.add_callback(_Watch(self))

    # --- where a resumed run stands

    def set_initial_training_values(self, args: TrainingArguments, dataloader: Any) -> tuple[Any, ...]:
        """The numbers of epochs and steps; a resumed run has steps that were taken with other batches."""
        epochs, updates, examples, samples, batch, batches, steps = super().set_initial_training_values(
            args, dataloader
        )
        self.batches_in_epoch = batches
        if self.folder.checkpoint:
            state = TrainerState.load_from_json(str(Path(self.folder.checkpoint) / "trainer_state.json"))
            self.position = self._find_position(state, updates)
            done = self.position.epochs * updates + self.position.batches // args.gradient_accumulation_steps
            self.step_offset = state.global_step - done
            if args.max_steps > 0:
                epochs = math.ceil((steps - self.step_offset) / updates)
            else:
                steps += self.step_offset
            if steps < state.global_step:
                flag, value = (
                    ("max_steps", args.max_steps) if args.max_steps > 0 else ("num_train_epochs", args.num_train_epochs)
                )
                raise ValueError(
                    f"`{flag}` {value}: {self.folder.checkpoint} has had {state.global_step} steps, {state.epoch:.4g} epochs, "
                    "already: give more, or continue from an earlier checkpoint"
                )
            self._note_changes(state)
        return epochs, updates, examples, samples, batch, batches, steps

    def _find_position(self, state: TrainerState, updates: int) -> Position:
        """Where in the rows the checkpoint stood, in batches of today.

        Args:
            state: The checkpoint's.
            updates: Steps of the optimizer in an epoch, today.
        """
        accumulated = self.args.gradient_accumulation_steps
        if "position" not in self.progress:  # of an earlier version: its steps are counted as today's
            epochs, steps = divmod(state.global_step, updates)
            position = Position(epochs, steps * accumulated)
            epoch = epochs + min(position.batches, self.batches_in_epoch) / self.batches_in_epoch
            if not math.isclose(epoch, state.epoch or 0.0, abs_tol=1e-6):
                raise ValueError(
                    f"`resume_from_checkpoint` {self.folder.checkpoint} does not say how many sequences a step had, and "
                    f"{self._in_step()} are not as many: give the batch size, accumulation and processes that it had"
                )
            return position
        before = self.progress["position"]
        epochs, batches, per_batch = before["epochs"], before["batches"], before["batch"] * before["processes"]
        if not batches:
            return Position(epochs, 0)
        batch = self._train_batch_size * self.args.world_size
        is_dealt_anew = (before["batch"], before["processes"]) != (self._train_batch_size, self.args.world_size)
        is_dealt_by_batches = (
            self.train_dataset.is_dealt_by_batches or self.args.train_sampling_strategy == "group_by_length"
        )
        if is_dealt_anew and is_dealt_by_batches:
            raise ValueError(
                f"`resume_from_checkpoint` {self.folder.checkpoint} is in the midst of an epoch ({state.epoch:.4g}), whose "
                f"order depends on the batches: give `per_device_train_batch_size` {before['batch']} on "
                f"{before['processes']} process(es), or continue from the end of an epoch"
            )
        rows = batches * per_batch
        # Down to a whole step, since the gradients of a part of one are not in the checkpoint.
        position = Position(epochs, rows // (batch * accumulated) * accumulated)
        if repeated := rows - position.batches * batch:
            logger.info(
                "%d rows of epoch %d are trained on again: the checkpoint's %d are no multiple of the %d of a step",
                *(repeated, epochs + 1, rows, batch * accumulated),
            )
        return position

    def _in_step(self) -> str:
        return f"{self._train_batch_size} x {self.args.world_size} x {self.args.gradient_accumulation_steps}"

    def _note_changes(self, state: TrainerState) -> None:
        changes = describe_changes(self.progress.get("flags", {}), changeable_settings(self.args))
        if changes:
            logger.info("from step %d (epoch %.4g) on: %s", state.global_step, state.epoch, changes)
            if "processes" in changes:
                logger.info("random numbers, such as of dropout, begin anew: each process has its own")
            self.changes.append(f"from step {state.global_step} (epoch {state.epoch:.4g}) on: {changes}")

    def _init_training_state(self, max_steps: int, *given: Any) -> tuple[int, int]:
        epochs_and_batches = super()._init_training_state(max_steps, *given)
        if not self.folder.checkpoint:
            return epochs_and_batches
        # The Trainer goes on with these of the checkpoint, whatever the flags say now.
        self.state.compute_steps(self.args, max_steps)
        self.state.train_batch_size = self._train_batch_size
        if self.args.load_best_model_at_end and self.state.best_global_step:
            best = best_checkpoint(Path(self.folder.checkpoint), vars(self.state))
            self.state.best_model_checkpoint = str(best) if best else None
        return self.position

    def create_scheduler(self, num_training_steps: int, *given: Any, **named: Any) -> Any:
        """The schedule of the learning rate, over the steps that the whole run has with the batches of today."""
        try:
            return super().create_scheduler(num_training_steps - self._schedule_offset(), *given, **named)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"`lr_scheduler_kwargs` {self.args.lr_scheduler_kwargs}: {one_line(error)}: allowed are the settings of "
                f"`lr_scheduler_type` {self.args.lr_scheduler_type.value}"
            ) from error

    def create_optimizer(self, *given: Any) -> Any:
        """The optimizer of the flags."""
        try:
            return super().create_optimizer(*given)
        except (TypeError, ValueError) as error:
            of_flag = f"`optim` {self.args.optim.value}"
            if self.args.optim_args:
                of_flag += f" with `optim_args` {self.args.optim_args}"
            raise ValueError(f"{of_flag}: {one_line(error)}: correct its settings") from error

    def _schedule_offset(self) -> int:
        return 0 if self.args.max_steps > 0 else self.step_offset

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """The optimizer's state is the checkpoint's, its settings and the learning rate are those of the flags."""
        if checkpoint is None:
            return
        settings = [
            {name: group[name] for name in OPTIMIZER_SETTINGS if name in group} for group in self.optimizer.param_groups
        ]
        rates = list(getattr(self.lr_scheduler, "base_lrs", []))
        try:
            super()._load_optimizer_and_scheduler(checkpoint)
        except (LookupError, ValueError, RuntimeError, AttributeError, TypeError) as error:
            if is_out_of_memory(error):
                raise
            raise ValueError(
                f"`resume_from_checkpoint`: the optimizer's state in {checkpoint} is not one of `optim` "
                f"{self.args.optim.value if hasattr(self.args.optim, 'value') else self.args.optim} ({one_line(error)}): give "
                "the optimizer and the network that it was saved with"
            ) from error
        for group, given in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(given)
        schedule = self.lr_scheduler
        if isinstance(schedule, LambdaLR):  # all but those whose rate depends on what happened
            schedule.base_lrs = rates
            schedule.last_epoch = self.state.global_step - self._schedule_offset()
            for group, rate, factor in zip(self.optimizer.param_groups, rates, schedule.lr_lambdas, strict=True):
                group["initial_lr"] = rate
                group["lr"] = rate * factor(schedule.last_epoch)
            schedule._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def training_step(self, model: nn.Module, inputs: dict[str, torch.Tensor], *given: Any) -> torch.Tensor:
        """A forward and a backward pass."""
        self.last_batch = dict(inputs)  # the Trainer takes the labels out
        return super().training_step(model, inputs, *given)

    def _run_epoch(self, *given: Any, **named: Any) -> None:
        # The Trainer would take one step more of a run that had all its steps in the midst of an epoch.
        if self.control.should_training_stop or self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*given, **named)

    # --- checkpoints

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Saves a checkpoint, completes it, and deletes those that are too many."""
        check_weights(self.model)
        path = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        losses = self.accelerator.gather(self._tr_loss.detach().reshape(1)).tolist()
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            if self.args.should_save:
                if path.is_dir():  # damaged, or of a run that went on from an earlier checkpoint in another way
                    remove_checkpoint(path)
                self.folder.note(path.name)
                begin(path)
            self.accelerator.wait_for_everyone()
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # other processes save their random state
            if self.args.should_save:
                complete(path, self.folder.settings, self._progress(losses))
                self.folder.remove_old_checkpoints(limit, self.state.best_model_checkpoint)
        except Exception as error:
            reason = why_full(error) or why_full(error.__cause__ or error)
            if not reason and isinstance(error, (OSError, SafetensorError)):
                reason = one_line(error)
            if not reason:
                raise
            if self.args.should_save and path.is_dir():
                remove_checkpoint(path)
            free = in_bytes(free_space(Path(self.args.output_dir)))
            raise ValueError(
                f"{path} cannot be saved: {reason} ({free} free there): make room, or keep fewer with `save_total_limit`"
            ) from error
        finally:
            self.args.save_total_limit = limit

    def _progress(self, losses: list[float]) -> dict[str, Any]:
        """What a checkpoint says of a run, for its resume.

        Args:
            losses: Sum of the losses since they were last logged, of each process.
        """
        accumulated = self.args.gradient_accumulation_steps
        updates = math.ceil(self.batches_in_epoch / accumulated)
        epochs, steps = divmod(self.state.global_step - self.step_offset, updates)
        return {
            "rows": self.rows,
            "position": {
                "epochs": epochs,
                "batches": steps * accumulated,
                "batch": self._train_batch_size,
                "processes": self.args.world_size,
            },
            "losses": {
                "logged": self._total_loss_scalar,
                "logged_step": self._globalstep_last_logged,
                "since": losses,
            },
            "seconds": self.seconds(),
            "flags": changeable_settings(self.args),
            "changes": self.changes,
        }

    def _finalize_training(self, *given: Any) -> Any:
        self._check_best()
        limit, self.args.save_total_limit = self.args.save_total_limit, None  # ours are deleted by exact names
        try:
            output = super()._finalize_training(*given)
        finally:
            self.args.save_total_limit = limit
        best = self.state.best_model_checkpoint
        if limit == 1 and best and self.args.should_save:
            self.folder.keep_only(best)
        return output

    def _check_best(self) -> None:
        """Raises ValueError if the best checkpoint is not there any more; the Trainer would end with the last weights."""
        best = self.state.best_model_checkpoint
        if not (self.args.load_best_model_at_end and best):
            return
        self.accelerator.wait_for_everyone()  # the main process may still be completing it
        began = time.monotonic()
        while damage := damage_of(Path(best)):
            if self.args.should_save or time.monotonic() > began + SHARED_FOLDER_SECONDS:
                break
            time.sleep(1.0)
        if damage:
            raise ValueError(
                f"{best}, the best checkpoint, was deleted or changed while the run went on ({damage}): put it back, or end "
                "with the last checkpoint by `load_best_model_at_end` false"
            )

    # --- losses and time

    def take_up_losses(self) -> None:
        """Goes on summing the losses where the checkpoint stopped."""
        losses = self.progress.get("losses")
        if losses is None:  # of an earlier version: the mean of what was logged
            logged = [entry for entry in self.state.log_history if "loss" in entry]
            steps = [entry["step"] for entry in logged]
            lengths = [step - before for before, step in zip([0, *steps], steps, strict=False)]
            total = sum(entry["loss"] * n for entry, n in zip(logged, lengths, strict=True))
            self._total_loss_scalar = total / max(sum(lengths), 1) * self.state.global_step
            return
        since = losses["since"]
        is_same = len(since) == self.args.world_size
        own = since[self.args.process_index] if is_same else sum(since) / len(since)
        self._tr_loss = torch.tensor(own, dtype=self._tr_loss.dtype, device=self._tr_loss.device)
        self._total_loss_scalar, self._globalstep_last_logged = losses["logged"], losses["logged_step"]

    def seconds(self) -> float:
        """How long the run has trained, before and after it was resumed; what a killed process did in vain does not count."""
        return self.progress.get("seconds", 0.0) + time.monotonic() - self.began

    def log(self, logs: dict[str, float], *given: Any) -> None:
        """Logs, with the `train_loss` and the time of the whole run instead of those since a resume."""
        if "train_loss" in logs:
            logs["train_loss"] = self._total_loss_scalar / max(self.state.global_step, 0.001)
            if "seconds" in self.progress:
                seconds, n_rows = self.seconds(), len(self.train_dataset) * (self.state.epoch or 0.0)
                logs["train_runtime"] = round(seconds, 4)
                logs["train_samples_per_second"] = round(n_rows / seconds, 3)
                logs["train_steps_per_second"] = round(self.state.global_step / seconds, 3)
        super().log(logs, *given)


class _Watch(TrainerCallback):
    """Takes the time, takes up the losses of a resumed run, and ends a run whose weights are no numbers any more."""

    def __init__(self, trainer: RunTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        self.trainer.began = time.monotonic()
        if self.trainer.folder.checkpoint:
            self.trainer.take_up_losses()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        loss = (given.get("logs") or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            check_weights(self.trainer.model, f"the loss is {loss} at step {state.global_step}, and ")
            logger.warning("the loss is %s at step %d, but the weights are still numbers", loss, state.global_step)


def check_weights(model: nn.Module, finding: str = "") -> None:
    """Checks that the weights are those of a model that can answer.

    Args:
        model: The model.
        finding: The beginning of the message.

    Raises:
        ValueError: A weight is NaN or infinite, or all weight matrices are zero.
    """
    tensors = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()]
    tensors = [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]
    matrices = [tensor for tensor in tensors if tensor.ndim >= 2 and tensor.numel()]
    with torch.no_grad():
        is_finite = torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).tolist()
        is_zero = bool(matrices) and not torch.stack([tensor.any() for tensor in matrices]).any()
    remedy = "lower `learning_rate`, or warm up longer with `warmup_steps`"
    if not all(is_finite):
        n = is_finite.count(False)
        raise ValueError(f"{finding}{n} of {len(tensors)} weight tensors are NaN or infinite: {remedy}")
    if is_zero:
        raise ValueError(f"{finding}all weights are zero: {remedy}, or lower `weight_decay`")
