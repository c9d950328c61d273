"""The output folder of a training run: which files are the run's, that nobody else's are lost, what a run goes on from."""

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers.trainer_utils import get_last_checkpoint

# What a run writes into its folder; --overwrite_output_dir removes these and nothing else.
RUN_FILES = (
    "checkpoint-*", "runs", "*_results.json", "trainer_state.json", "training_args.bin", "config.json", "model.safetensors",
    "model-*.safetensors", "model.safetensors.index.json", "README.md", "tokenization_kmer.py", "modeling_kmer_regression.py",
    "modeling_kmer_conv.py", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt", "*_predictions.tsv",
)  # fmt: skip
# Some of them stand in every folder of a run; without, files of the same names are somebody else's.
RUN_MARKS = ("checkpoint-*", "trainer_state.json", "training_args.bin")
NOT_PUSHED = ("checkpoint-*", "runs/*", "training_args.bin", "*_predictions.tsv")
# In every checkpoint, so that one that is copied elsewhere still knows them.
RUN_SETTINGS = "run_settings.json"
# Of the flags about model and data, those that change neither rows nor network; of the Trainer's, those that do, or that
# say what the best checkpoint so far is best in.
FREE_FLAGS = ("token_cache_dir", "label_unit")
FIXED_FLAGS = ("seed", "data_seed", "loss", "metric_for_best_model")
PLACES = (
    "train_file",
    "validation_file",
    "test_file",
    "cluster_file",
    "flank_file",
    "dataset_name",
    "model_name_or_path",
)
# What a checkpoint must hold; the Trainer would begin anew, without a word, with an optimizer that it does not find.
PARTS = {
    "trainer_state.json": ("trainer_state.json",),
    "weights": ("*.safetensors", "pytorch_model*"),
    "optimizer.pt": ("optimizer*", "global_step*"),
    "scheduler.pt": ("scheduler.pt", "global_step*"),
}


def claim_folder(folder: Path, overwrite: bool, checkpoint: str | None) -> None:
    """Makes sure that the folder is there, can be written, and holds nothing that would be lost.

    Args:
        folder: of the run; made where it is missing.
        overwrite: delete an earlier run's files, and nothing else.
        checkpoint: what the run goes on from, which may be in the folder.

    Raises:
        ValueError: for a folder that cannot be written, or holds something and is neither to be overwritten nor resumed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"--output_dir {folder} cannot be written ({error.strerror}): name another folder") from None
    if checkpoint is not None and Path(checkpoint).resolve().parent == folder.resolve():
        return
    if overwrite:
        found = [path for pattern in RUN_FILES for path in folder.glob(pattern)]
        if found and not any(path.match(mark) for path in found for mark in RUN_MARKS):
            raise ValueError(
                f"--overwrite_output_dir: {folder} holds {found[0].name}, but no run ({', '.join(RUN_MARKS)}): nothing was "
                "deleted; name another folder"
            )
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif found := sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")):
        raise ValueError(
            f"--output_dir {folder} is not empty (it holds {', '.join(found[:3])}{', ...' if len(found) > 3 else ''}): name "
            "another folder, go on with --resume_from_checkpoint true, or start anew with --overwrite_output_dir"
        )


def find_checkpoint(wanted: str | None, folder: Path) -> str | None:
    """Finds the checkpoint to go on from, and looks whether it is whole; of the weights, only their header is read.

    Args:
        wanted: nothing or `false`, `true` for the last one in the folder, or the path of one.
        folder: of the run.

    Raises:
        ValueError: for one that is not there, or was not written to its end or cut later.
    """
    if wanted is None or str(wanted).lower() == "false":
        return None
    if str(wanted).lower() != "true":
        found = str(wanted)
        if not (Path(found) / "trainer_state.json").is_file():
            raise ValueError(
                f"--resume_from_checkpoint {found}: no checkpoint there (it holds no trainer_state.json): name another one, or "
                "true for the last one in --output_dir"
            )
    else:
        found = get_last_checkpoint(str(folder)) if folder.is_dir() else None
        if found is None:
            raise ValueError(f"--resume_from_checkpoint true: {folder} holds no checkpoint to go on from")
    if damage := _damage(Path(found)):
        others = [path for path in Path(found).parent.glob("checkpoint-*") if path.name.split("-")[1].isdecimal()]
        whole = [path for path in others if not _damage(path)]
        newest = max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)
        mend = f"go on with --resume_from_checkpoint {newest}" if newest else "start anew with --overwrite_output_dir"
        raise ValueError(f"--resume_from_checkpoint: {found} is damaged ({damage}): {mend}")
    return found


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
            elif path.suffix in (".pt", ".pth", ".bin"):  # zip archives, whose table of contents stands last
                zipfile.ZipFile(path).close()
        except (OSError, ValueError, SafetensorError, zipfile.BadZipFile):
            return f"{path.name} is not whole"
    return None


def run_settings(arguments: Any, *groups: Any) -> dict[str, Any]:
    """Returns the flags that decide rows, network and loss; of a file or folder, its name without where it is.

    Args:
        arguments: of the Trainer.
        groups: the dataclasses of flags about model and data.
    """
    found = {field.name: getattr(group, field.name) for group in groups for field in fields(group)}
    found = {name: value for name, value in found.items() if name not in FREE_FLAGS}
    found |= {name: getattr(arguments, name) for name in FIXED_FLAGS if hasattr(arguments, name)}
    found["metric_for_best_model"] = (found["metric_for_best_model"] or "loss").removeprefix("eval_")
    return found | {name: Path(found[name]).name for name in PLACES if found.get(name)}


def keep_settings(checkpoint: Path, settings: Mapping[str, Any]) -> None:
    """Writes the settings into a checkpoint."""
    unfinished = checkpoint / f".{RUN_SETTINGS}.unfinished"
    unfinished.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(checkpoint / RUN_SETTINGS)


def check_settings(checkpoint: Path, settings: Mapping[str, Any]) -> bool:
    """Makes sure that a run goes on with the settings that it began with; false where these are not known.

    Raises:
        ValueError: for every flag that is another one now, with both values.
    """
    path = checkpoint / RUN_SETTINGS
    if not path.is_file():
        return False
    saved = json.loads(path.read_text(encoding="utf-8"))
    # Flags that only one of two versions of this project knows cannot be compared.
    changed = [name for name in settings if name in saved and saved[name] != settings[name]]
    if changed:
        was, now = (", ".join(_words(name, values[name]) for name in changed) for values in (saved, settings))
        raise ValueError(
            f"--resume_from_checkpoint: the run of {checkpoint} has {was}, but now asked for is {now}: give the same, or train "
            "anew in a new --output_dir"
        )
    return True


def _words(name: str, value: Any) -> str:
    return f"no --{name}" if value is None else f"--{name} {str(value).lower() if isinstance(value, bool) else value}"


def check_rows(checkpoint: Path, config: Any) -> None:
    """Makes sure that the training rows are those that a checkpoint's config.json tells of, as far as their checksum says.

    Raises:
        ValueError: for other data.
    """
    path = checkpoint / "config.json"
    saved = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name in ("data_checksum", "n_training_rows"):
        was, now = saved.get(name), getattr(config, name, None)
        if was is not None and now is not None and was != now:
            raise ValueError(
                f"{config.data_name} has other rows than {checkpoint} was trained on ({name} {now}, there {was}): give the same "
                "--train_file or --dataset_name, or train anew in a new --output_dir"
            )
