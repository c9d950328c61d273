"""Checkpoints of a run: complete with checksums, checked before a run continues from them, and with the same settings and rows."""

import json
import logging
import math
import re
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import PretrainedConfig
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, SchedulerType

from kmerbert.errors import FILE_ERRORS, one_line
from kmerbert.files import file_checksum, read_json, write_text
from kmerbert.training.flags import KmerTrainingArguments

logger = logging.getLogger(__name__)
# In every checkpoint, so that one that is copied elsewhere still has them: the flags that decide rows, network and loss; ...
SETTINGS_FILE = "run_settings.json"
# ... where in the rows it stands, with which other flags, and checksums of the rows; ...
PROGRESS_FILE = "run_progress.json"
# ... and the checksums of all other files, written last. Until then it has none, so that what a killed run leaves is not taken
# for a checkpoint of a version without checksums.
CHECKPOINT_FILE = "checksums.json"
# Flags about model and data that change neither rows nor network, so that a resumed run may have others.
FREE_FLAGS = ("token_cache_dir", "label_unit", "keep_columns", "replicate_columns")
# Flags of the Trainer that decide what is learnt, or which checkpoint is the best, so that a resumed run must have the same.
FIXED_FLAGS = (
    "seed", "data_seed", "loss", "metric_for_best_model", "optim", "optim_args",
    "neftune_noise_alpha", "train_sampling_strategy",
)  # fmt: skip
# With these, the learning rate has a history that cannot be computed anew, so that its flags are fixed, too.
SCHEDULES_WITH_HISTORY = (SchedulerType.REDUCE_ON_PLATEAU, SchedulerType.GREEDY)
SCHEDULE_FLAGS = ("lr_scheduler_type", "lr_scheduler_kwargs", "learning_rate")
# Flags that a resumed run may have otherwise: they hold from there on, and the card says so.
CHANGEABLE_FLAGS = (
    "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate",
    "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon",
    "max_grad_norm", "early_stopping_patience", "bf16", "fp16",
)  # fmt: skip
PATHS = (
    "train_file", "validation_file", "test_file", "cluster_file", "flank_file", "dataset_name", "model_name_or_path",
)  # fmt: skip
# What a checkpoint must contain; with a missing optimizer the Trainer would silently start from a new one.
PARTS = {
    "trainer_state.json": ("trainer_state.json",),
    "weights": ("*.safetensors", "pytorch_model*"),
    "optimizer.pt": ("optimizer*", "global_step*"),
    "scheduler.pt": ("scheduler.pt", "global_step*"),
    "rng_state.pth": ("rng_state*.pth",),
}
# Files of a checkpoint that was not written to its end, or by a version without checksums.
PART_NAMES = re.compile(
    r".*\.safetensors|.*\.index\.json|.*config\.json|tokenizer\.json|tokenization_kmer\.py|modeling_kmer_\w+\.py|vocab\.txt"
    r"|special_tokens_map\.json|added_tokens\.json|(optimizer|pytorch_model|scaler|scheduler|training_args)\.(pt|bin)"
    rf"|rng_state(_\d+)?\.pth|trainer_state\.json|{SETTINGS_FILE}|{PROGRESS_FILE}|{CHECKPOINT_FILE}|\.[^/]*\.partial"
    r"|(optimizer|pytorch_model_fsdp)_\d+/.*"
)


# --- where they are


def is_checkpoint_name(name: str) -> bool:
    """Tells whether a folder's name is exactly that of a checkpoint.

    >>> is_checkpoint_name("checkpoint-30"), is_checkpoint_name("checkpoint-30-best"), is_checkpoint_name("checkpoint-notes")
    (True, False, False)
    """
    return re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-[0-9]+", name) is not None


def step_of(checkpoint: Path) -> int:
    """The number of optimizer steps in a checkpoint's name."""
    return int(checkpoint.name.rpartition("-")[2])


def checkpoints_in(folder: Path) -> list[Path]:
    """Returns the checkpoints in a folder in the order in which they were saved, whole or not; links are none.

    Those that do not say when they were saved come first, by their steps.
    """
    real = [path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.is_dir() and not path.is_symlink()]
    own = [path for path in real if is_checkpoint_name(path.name) and any(map(_is_part, path.iterdir()))]
    return sorted(own, key=lambda path: (_saved_at(path), step_of(path)))


def _saved_at(checkpoint: Path) -> float:
    """When a checkpoint was saved, in seconds since 1970; 0 if it does not say."""
    seconds = _read_json(checkpoint / CHECKPOINT_FILE).get("saved_at")
    return seconds if isinstance(seconds, (int, float)) else 0.0


def _is_part(path: Path) -> bool:
    return PART_NAMES.fullmatch(path.name if path.is_file() else f"{path.name}/") is not None


def remove_checkpoint(checkpoint: Path) -> None:
    """Deletes the files that a run wrote into a checkpoint, and its folder unless that has others."""
    noted = _read_json(checkpoint / CHECKPOINT_FILE).get("files", {})
    paths = sorted(checkpoint.rglob("*"), reverse=True)  # what is in a folder comes before it
    # First what no checkpoint can be without, so that one that is deleted in part is not taken for a whole one; last what
    # says that it is of this version.
    order = {"trainer_state.json": 0, CHECKPOINT_FILE: 2}
    paths.sort(key=lambda path: order.get(str(path.relative_to(checkpoint)), 1))
    for path in paths:
        name = str(path.relative_to(checkpoint))
        if path.is_symlink() or (path.is_file() and not (name in noted or PART_NAMES.fullmatch(name))):
            continue
        with suppress(OSError):  # a folder that is not empty
            path.rmdir() if path.is_dir() else path.unlink()
    with suppress(OSError):
        checkpoint.rmdir()


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty if there is none."""
    with suppress(OSError, ValueError):
        content = read_json(path)
        return content if isinstance(content, dict) else {}
    return {}


# --- whether they are whole


def begin(checkpoint: Path) -> None:
    """Makes a checkpoint's folder, which is not complete until `complete` says so."""
    checkpoint.mkdir(exist_ok=True)
    _write_checksums(checkpoint, {})


def is_complete(checkpoint: Path) -> bool:
    """Tells whether a checkpoint was saved to its end, by a version with checksums."""
    return bool(_read_json(checkpoint / CHECKPOINT_FILE).get("files"))


def _write_checksums(checkpoint: Path, files: Mapping[str, Any]) -> None:
    write_text(checkpoint / CHECKPOINT_FILE, json.dumps({"saved_at": time.time(), "files": files}, indent=2) + "\n")


def complete(checkpoint: Path, settings: Mapping[str, Any], progress: Mapping[str, Any]) -> None:
    """Writes the settings and the progress of a run into a checkpoint and then, as its last file, the checksums of all.

    Args:
        checkpoint: With all its other files.
        settings: Result of `run_settings`.
        progress: What `read_progress` is to return.
    """
    for name, content in ((SETTINGS_FILE, settings), (PROGRESS_FILE, progress)):
        write_text(checkpoint / name, json.dumps(content, indent=2) + "\n")
    files = {
        str(path.relative_to(checkpoint)): {"bytes": path.stat().st_size, "sha256": file_checksum(path)}
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != CHECKPOINT_FILE
    }
    _write_checksums(checkpoint, files)


def read_progress(checkpoint: Path) -> dict[str, Any]:
    """Returns what `complete` was given; empty for a checkpoint of an earlier version."""
    return _read_json(checkpoint / PROGRESS_FILE)


def find_checkpoint(chosen: str | None, folder: Path, needs_best: bool = False) -> str | None:
    """Finds the checkpoint to resume from, and checks every file that the run will read of it.

    Args:
        chosen: Nothing or `false`, `true` for the newest whole one in the folder, or the path of one.
        folder: Of the run.
        needs_best: Whether the run will end with its best checkpoint, which must then be whole, too.

    Raises:
        ValueError: There is no checkpoint, or none is whole, or the one at the path is not.
    """
    if chosen is None or str(chosen).lower() == "false":
        return None
    if str(chosen).lower() == "true":
        return _newest_whole(folder, needs_best)
    checkpoint = Path(chosen)
    if not (checkpoint / "trainer_state.json").is_file():
        raise ValueError(
            f"`resume_from_checkpoint` {checkpoint}: no checkpoint there (it has no trainer_state.json): name another one, or "
            "true for the last one in `output_dir`"
        )
    if problem := _problem(checkpoint, needs_best):
        whole = [path for path in checkpoints_in(checkpoint.parent) if not _problem(path, needs_best)]
        remedy = f"use `resume_from_checkpoint` {whole[-1]}" if whole else "start again with `overwrite_output_dir`"
        raise ValueError(f"`resume_from_checkpoint`: {problem}: {remedy}")
    return str(chosen)


def _newest_whole(folder: Path, needs_best: bool) -> str:
    checkpoints = checkpoints_in(folder)[::-1] if folder.is_dir() else []
    if not checkpoints:
        raise ValueError(
            f"`resume_from_checkpoint` true: {folder} contains no checkpoint to resume from: leave the flag out to start anew"
        )
    # An earlier version saves nothing after this one has.
    with_checksums = [step_of(path) for path in checkpoints if (path / CHECKPOINT_FILE).is_file()]
    problems = {
        path: f"{path} is damaged (no {CHECKPOINT_FILE})"
        for path in checkpoints
        if step_of(path) > min(with_checksums, default=math.inf) and not (path / CHECKPOINT_FILE).is_file()
    }
    for path in [path for path in checkpoints if path not in problems]:
        if problem := _problem(path, needs_best):
            problems[path] = problem
            continue
        # Also those whose time is not known, which are looked at last.
        further = [other for other in checkpoints if step_of(other) > step_of(path)]
        for problem in filter(None, (problems.get(other) or _problem(other, needs_best) for other in further)):
            logger.warning("%s: the run continues from %s instead", problem, path)
        return str(path)
    problems = list(problems.values())
    is_best_alone = needs_best and not _problem(checkpoints[0], needs_best=False)
    hint = ", or end with the last checkpoint by `load_best_model_at_end` false" if is_best_alone else ""
    more = f" and {len(problems) - 2} more" if len(problems) > 2 else ""
    raise ValueError(
        f"`resume_from_checkpoint` true: {'; '.join(problems[:2])}{more}: no whole one is left; start again with "
        f"`overwrite_output_dir`{hint}"
    )


def _problem(checkpoint: Path, needs_best: bool) -> str | None:
    """Why a run cannot continue from a checkpoint, or None."""
    if damage := damage_of(checkpoint):
        return f"{checkpoint} is damaged ({damage})"
    state = _read_json(checkpoint / "trainer_state.json")
    if needs_best and state.get("best_global_step"):
        best = best_checkpoint(checkpoint, state)
        if best is None:
            return f"{checkpoint} has its best checkpoint in {state.get('best_model_checkpoint')}, which is not there"
        if best.resolve() == checkpoint.resolve():
            return None
        if damage := damage_of(best):
            return f"{best}, the best checkpoint of the run up to {checkpoint.name}, is damaged ({damage})"
        if not _is_earlier(_read_json(best / "trainer_state.json"), state):
            return f"{best} is not the best checkpoint of {checkpoint}, but one of another run, or of another step"
    return None


def _is_earlier(best: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    """Tells whether one state of a trainer is that of the best step of another: it has logged the same up to there."""
    history, others = best.get("log_history", []), state.get("log_history", [])
    is_same = json.dumps(history) == json.dumps(others[: len(history)])  # as text, in which NaN is NaN
    return is_same and best.get("global_step") == state.get("best_global_step")


def best_checkpoint(checkpoint: Path, state: Mapping[str, Any]) -> Path | None:
    """Returns the folder of a run's best checkpoint, also if the run's folder was moved; None if it is not there.

    Args:
        checkpoint: A checkpoint of the run.
        state: What is in its trainer_state.json.
    """
    named = f"{PREFIX_CHECKPOINT_DIR}-{state.get('best_global_step')}"
    places = [checkpoint] if checkpoint.name == named else [checkpoint.parent / named]
    places += [Path(path) for path in (state.get("best_model_checkpoint"),) if path]
    return next((path for path in places if path.is_dir()), None)


def damage_of(checkpoint: Path) -> str | None:
    """What is missing, cut short or changed in a checkpoint, or None."""
    files = _read_json(checkpoint / CHECKPOINT_FILE).get("files")
    if files == {}:
        return "it was not saved to its end"
    for part, patterns in PARTS.items():
        if not any(list(checkpoint.glob(pattern)) for pattern in patterns):
            return f"no {part}"
    if not (checkpoint / CHECKPOINT_FILE).is_file():
        return _damage_without_checksums(checkpoint)
    if not isinstance(files, dict):
        return f"{CHECKPOINT_FILE} is not whole"
    for name, known in files.items():
        path = checkpoint / name
        try:
            if not path.is_file():
                return f"no {name}"
            if path.stat().st_size != known["bytes"]:
                return f"{name} is not whole"
            if file_checksum(path) != known["sha256"]:
                return f"{name} is not as it was saved"
        except (OSError, LookupError, TypeError) as error:
            return f"{name} cannot be checked: {one_line(error)}"
    return None


def _damage_without_checksums(checkpoint: Path) -> str | None:
    for path in sorted(checkpoint.iterdir()):
        try:
            if path.suffix == ".json":
                read_json(path)
            elif path.suffix == ".safetensors":  # its header says how long the file is
                with safe_open(path, "numpy"):
                    pass
            elif path.suffix in (".pt", ".pth", ".bin"):  # zip archives, whose table of contents comes last
                zipfile.ZipFile(path).close()
        except (*FILE_ERRORS, ValueError, SafetensorError, zipfile.BadZipFile):
            return f"{path.name} is not whole"
    return None


# --- whether they are of this run


def run_settings(arguments: KmerTrainingArguments, *groups: Any) -> dict[str, Any]:
    """Returns the flags that decide rows, network and loss; of a file or folder, its name without where it is.

    Args:
        arguments: The training flags.
        groups: The dataclasses of flags about model and data.
    """
    settings = {field.name: getattr(group, field.name) for group in groups for field in fields(group)}
    settings = {name: value for name, value in settings.items() if name not in FREE_FLAGS}
    fixed = FIXED_FLAGS + (SCHEDULE_FLAGS if arguments.lr_scheduler_type in SCHEDULES_WITH_HISTORY else ())
    settings |= _plain(arguments, fixed)
    settings["metric_for_best_model"] = (settings["metric_for_best_model"] or "loss").removeprefix("eval_")
    return settings | {name: Path(settings[name]).name for name in PATHS if settings.get(name)}


def changeable_settings(arguments: KmerTrainingArguments) -> dict[str, Any]:
    """Returns the flags that a resumed run may change, and the number of processes."""
    return _plain(arguments, CHANGEABLE_FLAGS) | {"processes": arguments.world_size}


def _plain(arguments: KmerTrainingArguments, names: tuple[str, ...]) -> dict[str, Any]:
    """Flags by their names, as JSON has them."""
    values = {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
    return {name: getattr(value, "value", value) for name, value in values.items()}


def check_settings(checkpoint: Path, settings: Mapping[str, Any], schedule: str | None = None) -> bool:
    """Checks that a run continues with the settings that it began with; returns False if these are unknown.

    Args:
        checkpoint: What is resumed.
        settings: Result of `run_settings`.
        schedule: How the learning rate falls now.

    Raises:
        ValueError: Flags have changed; the message has both values of each.
    """
    saved = _read_json(checkpoint / SETTINGS_FILE)
    if not saved:
        return False
    before = read_progress(checkpoint).get("flags", {}).get("lr_scheduler_type")
    if before and (before in SCHEDULES_WITH_HISTORY or schedule in SCHEDULES_WITH_HISTORY):
        # One of the two may have no such entry, because its learning rate needs no history.
        saved = saved | {"lr_scheduler_type": before}
        settings = {**settings, "lr_scheduler_type": schedule}
    # Flags that only one of two versions of this project has cannot be compared.
    changed = [name for name in settings if name in saved and saved[name] != settings[name]]
    if changed:
        was, now = (", ".join(_describe(name, values[name]) for name in changed) for values in (saved, settings))
        raise ValueError(
            f"`resume_from_checkpoint`: the run of {checkpoint} has {was}, but now there is {now}: give the same, or train a "
            "new model in a new `output_dir`"
        )
    return True


def _describe(name: str, value: Any) -> str:
    return f"no `{name}`" if value is None else f"`{name}` {str(value).lower() if isinstance(value, bool) else value}"


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Says which flags of a resumed run are others, with both values; empty if none are.

    >>> describe_changes({"learning_rate": 0.1, "bf16": False}, {"learning_rate": 0.2, "bf16": False})
    'learning_rate 0.1 -> 0.2'
    """
    changed = [name for name in now if name in before and before[name] != now[name]]
    return ", ".join(f"{name} {before[name]} -> {now[name]}" for name in changed)


def check_rows(checkpoint: Path, rows: Mapping[str, Mapping[str, str]]) -> None:
    """Checks that the rows of every split are those that the run began with.

    Args:
        checkpoint: What is resumed.
        rows: `name` and `checksum` of each split; the checksum is of the rows in their order, with their labels.

    Raises:
        ValueError: A split has other rows, in another order, or with other values.
    """
    saved = read_progress(checkpoint).get("rows", {})
    for split, now in rows.items():
        if split in saved and saved[split]["checksum"] != now["checksum"]:
            raise ValueError(
                f"{now['name']}: the {split} rows are others than those of {checkpoint}, or in another order, or have other "
                f"values (checksum {now['checksum'][:12]}, there {saved[split]['checksum'][:12]}): give the same data, or train "
                "a new model in a new `output_dir`"
            )


def check_source(checkpoint: Path, config: PretrainedConfig) -> None:
    """Checks that the training data is what a checkpoint's config.json describes, by number and checksum.

    Raises:
        ValueError: The data is another.
    """
    saved = _read_json(checkpoint / "config.json")
    for name in ("data_checksum", "n_training_rows"):
        was, now = saved.get(name), getattr(config, name, None)
        if was is not None and now is not None and was != now:
            raise ValueError(
                f"{config.data_name} has other rows than {checkpoint} was trained on ({name} {now}, there {was}): give the "
                "same `train_file` or `dataset_name`, or train a new model in a new `output_dir`"
            )
