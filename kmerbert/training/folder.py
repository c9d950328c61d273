"""The output folder of a training run: which files belong to the run, and where it resumes."""

import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import PretrainedConfig
from transformers.trainer_utils import get_last_checkpoint

from kmerbert.files import check_folder, write_text
from kmerbert.models.loading import MODEL_FILES
from kmerbert.training.flags import KmerTrainingArguments

# What a run writes into its folder; overwriting it removes these and nothing else.
RUN_FILES = (
    *MODEL_FILES, "README.md", "checkpoint-*", "runs", "*_results.json", "trainer_state.json", "training_args.bin",
    "*_predictions.tsv",
)  # fmt: skip
# If a folder has none of these, it is not a run, and files of the names above are somebody else's.
RUN_MARKS = ("checkpoint-*", "trainer_state.json", "training_args.bin")
# In every checkpoint, so that one that is copied elsewhere still has them.
SETTINGS_FILE = "run_settings.json"
# Flags about model and data that change neither rows nor network, so that a resumed run may have others.
FREE_FLAGS = ("token_cache_dir", "label_unit")
# Flags of the Trainer that decide what is learnt, or which checkpoint is the best, so that a resumed run must have the same.
FIXED_FLAGS = ("seed", "data_seed", "loss", "metric_for_best_model")
PATHS = (
    "train_file", "validation_file", "test_file", "cluster_file", "flank_file", "dataset_name", "model_name_or_path",
)  # fmt: skip
# What a checkpoint must contain; with a missing optimizer the Trainer would silently start from a new one.
PARTS = {
    "trainer_state.json": ("trainer_state.json",),
    "weights": ("*.safetensors", "pytorch_model*"),
    "optimizer.pt": ("optimizer*", "global_step*"),
    "scheduler.pt": ("scheduler.pt", "global_step*"),
}


def claim_folder(folder: Path, overwrite: bool, checkpoint: str | None) -> None:
    """Makes sure that the folder exists, can be written to, and contains nothing that would be lost.

    Args:
        folder: Of the run; created if it does not exist.
        overwrite: Delete an earlier run's files, and nothing else.
        checkpoint: What the run resumes from, which may be in the folder.

    Raises:
        ValueError: The folder cannot be written to, or contains something and is neither overwritten nor resumed.
    """
    check_folder(folder, f"`output_dir` {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoint is not None and Path(checkpoint).resolve().parent == folder.resolve():
        return
    if overwrite:
        old = [path for pattern in RUN_FILES for path in folder.glob(pattern)]
        if old and not any(path.match(mark) for path in old for mark in RUN_MARKS):
            raise ValueError(
                f"`overwrite_output_dir`: {folder} contains {old[0].name}, but no run ({', '.join(RUN_MARKS)}): nothing was "
                "deleted; name another folder"
            )
        for path in old:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif names := sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")):
        raise ValueError(
            f"`output_dir` {folder} is not empty (it contains {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}): "
            "name another folder, continue with `resume_from_checkpoint` true, or start again with `overwrite_output_dir`"
        )


def find_checkpoint(chosen: str | None, folder: Path) -> str | None:
    """Finds the checkpoint to resume from, and checks that it is whole; of the weights, only the header is read.

    Args:
        chosen: Nothing or `false`, `true` for the last one in the folder, or the path of one.
        folder: Of the run.

    Raises:
        ValueError: The checkpoint does not exist, or was not written to its end or cut later.
    """
    if chosen is None or str(chosen).lower() == "false":
        return None
    if str(chosen).lower() != "true":
        checkpoint = str(chosen)
        if not (Path(checkpoint) / "trainer_state.json").is_file():
            raise ValueError(
                f"`resume_from_checkpoint` {checkpoint}: no checkpoint there (it has no trainer_state.json): name another "
                "one, or true for the last one in `output_dir`"
            )
    else:
        checkpoint = get_last_checkpoint(str(folder)) if folder.is_dir() else None
        if checkpoint is None:
            raise ValueError(f"`resume_from_checkpoint` true: {folder} contains no checkpoint to resume from")
    if damage := _damage(Path(checkpoint)):
        others = [path for path in Path(checkpoint).parent.glob("checkpoint-*") if path.name.split("-")[1].isdecimal()]
        whole = [path for path in others if not _damage(path)]
        newest = max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)
        remedy = f"use `resume_from_checkpoint` {newest}" if newest else "start again with `overwrite_output_dir`"
        raise ValueError(f"`resume_from_checkpoint`: {checkpoint} is damaged ({damage}): {remedy}")
    return checkpoint


def _damage(checkpoint: Path) -> str | None:
    """What is missing or cut short in a checkpoint, or None."""
    for part, patterns in PARTS.items():
        if not any(list(checkpoint.glob(pattern)) for pattern in patterns):
            return f"no {part}"
    for path in sorted(checkpoint.iterdir()):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix == ".safetensors":  # its header says how long the file is
                with safe_open(path, "numpy"):
                    pass
            elif path.suffix in (".pt", ".pth", ".bin"):  # zip archives, whose table of contents comes last
                zipfile.ZipFile(path).close()
        except (OSError, ValueError, SafetensorError, zipfile.BadZipFile):
            return f"{path.name} is not whole"
    return None


def run_settings(arguments: KmerTrainingArguments, *groups: Any) -> dict[str, Any]:
    """Returns the flags that decide rows, network and loss; of a file or folder, its name without where it is.

    Args:
        arguments: The training flags.
        groups: The dataclasses of flags about model and data.
    """
    settings = {field.name: getattr(group, field.name) for group in groups for field in fields(group)}
    settings = {name: value for name, value in settings.items() if name not in FREE_FLAGS}
    settings |= {name: getattr(arguments, name) for name in FIXED_FLAGS if hasattr(arguments, name)}
    settings["metric_for_best_model"] = (settings["metric_for_best_model"] or "loss").removeprefix("eval_")
    return settings | {name: Path(settings[name]).name for name in PATHS if settings.get(name)}


def save_settings(checkpoint: Path, settings: Mapping[str, Any]) -> None:
    """Writes the settings into a checkpoint."""
    write_text(checkpoint / SETTINGS_FILE, json.dumps(settings, indent=2) + "\n")


def check_settings(checkpoint: Path, settings: Mapping[str, Any]) -> bool:
    """Checks that a run continues with the settings that it began with; returns False if these are unknown.

    Raises:
        ValueError: Flags have changed; the message has both values of each.
    """
    path = checkpoint / SETTINGS_FILE
    if not path.is_file():
        return False
    saved = json.loads(path.read_text(encoding="utf-8"))
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


def check_rows(checkpoint: Path, config: PretrainedConfig) -> None:
    """Checks that the training rows are those that a checkpoint's config.json describes, by number and checksum.

    Raises:
        ValueError: The data is another.
    """
    path = checkpoint / "config.json"
    saved = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name in ("data_checksum", "n_training_rows"):
        was, now = saved.get(name), getattr(config, name, None)
        if was is not None and now is not None and was != now:
            raise ValueError(
                f"{config.data_name} has other rows than {checkpoint} was trained on ({name} {now}, there {was}): give the "
                "same `train_file` or `dataset_name`, or train a new model in a new `output_dir`"
            )
