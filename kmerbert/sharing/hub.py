"""What leaves the output folder: the card, and a push to the Hub of the finished model."""

import logging
import shlex
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from transformers import Trainer, TrainingArguments

from kmerbert.errors import FILE_ERRORS, one_line
from kmerbert.files import read_json
from kmerbert.models.loading import MODEL_FILES
from kmerbert.sharing.card import CardFacts, write_card

logger = logging.getLogger(__name__)
# What is uploaded, if the run folder has it. Predictions with their sequences, checkpoints, logs, the pickled arguments and
# the Trainer's state, which has paths of this machine, stay where they are.
RESULTS = (*(f"{split}_results.json" for split in ("train", "eval", "test", "all")), "cross_validation.json")
PUSHED_FILES = (*MODEL_FILES, "README.md", *RESULTS)


def publish(trainer: Trainer, facts: CardFacts) -> None:
    """Writes the card next to the saved model, leaves the process group, and pushes if the flags say so.

    Args:
        trainer: Whose output folder has the final model.
        facts: About the run, for the card.
    """
    arguments, folder = trainer.args, Path(trainer.args.output_dir)
    is_main = trainer.is_world_process_zero()
    if is_main:
        write_card(
            folder,
            trainer.hub_model_id if arguments.push_to_hub else folder.absolute().resolve().name,
            facts,
            trainer.model.config,
        )
        logger.info("model, metrics and card: %s", folder)
    # Processes on CPUs (gloo) that leave without these two may abort or hang as they exit, because one of their threads
    # still holds a tensor; the launcher would then kill the one that pushes (pytorch/pytorch#179291).
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()  # Trainer.end() of newer releases
    if arguments.push_to_hub and is_main:
        push_folder(folder, trainer.hub_model_id, arguments.hub_revision)


def open_repository(arguments: TrainingArguments) -> str:
    """Creates the repository to push to, unless it exists, as the Trainer does for a run of its own; returns its name."""
    name = arguments.hub_model_id or Path(arguments.output_dir).absolute().name
    return HfApi().create_repo(name, private=arguments.hub_private_repo, exist_ok=True).repo_id


def files_to_push(folder: Path) -> list[str]:
    """Returns the names of a run's files that another user of the model needs; a symbolic link is never one of them."""
    files = [path.name for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink()]
    return [name for name in files if any(fnmatchcase(name, pattern) for pattern in PUSHED_FILES)]


def missing_files(folder: Path, names: Collection[str]) -> set[str]:
    """Returns what a finished run's folder must have for another user of the model, and is not among some of its names."""
    index = folder / "model.safetensors.index.json"
    weights = set(read_json(index)["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    return {"config.json", "README.md", *weights} - set(names)


def push_folder(folder: Path, repository: str, revision: str | None = None) -> None:
    """Uploads the files of a finished run that another user of the model needs; the repository must exist.

    Raises:
        ValueError: Nothing was uploaded; the message has the command that repeats this alone.
    """
    names = files_to_push(folder)
    if missing := missing_files(folder, names):
        raise ValueError(f"{folder} has no file {min(missing)} (a link is not uploaded): nothing was pushed")
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in names]
    try:
        # Not Trainer.push_to_hub, which would replace the card, too; and not by patterns: these files and no others.
        HfApi().create_commit(repository, operations, commit_message="End of training", revision=revision)
    except (*FILE_ERRORS, ValueError, RuntimeError) as error:
        chosen = " ".join(f"--include {shlex.quote(name)}" for name in names)
        at = f" --revision {shlex.quote(revision)}" if revision else ""
        raise ValueError(
            f"not pushed to {repository} ({one_line(error)}); the model is complete in {folder}. To repeat only the push: "
            f"hf upload {repository} {shlex.quote(str(folder))} . {chosen}{at}"
        ) from error
    logger.info("pushed to %s", repository)
