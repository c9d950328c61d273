"""What leaves the output folder: the card, and a push to the Hub of the finished model."""

import logging
from pathlib import Path

from huggingface_hub import HfApi
from transformers import Trainer

from kmerbert.models.loading import MODEL_FILES
from kmerbert.sharing.card import CardFacts, write_card

logger = logging.getLogger(__name__)
# Predictions with their sequences, checkpoints, logs and the pickled arguments stay where they are.
PUSHED_FILES = (*MODEL_FILES, "README.md", "*_results.json", "trainer_state.json")


def publish(trainer: Trainer, facts: CardFacts) -> None:
    """Writes the card next to the saved model, leaves the process group, and pushes if the flags say so.

    Args:
        trainer: Whose output folder has the final model.
        facts: About the run, for the card.
    """
    arguments, folder = trainer.args, Path(trainer.args.output_dir)
    is_main = trainer.is_world_process_zero()
    if is_main:
        write_card(folder, trainer.hub_model_id if arguments.push_to_hub else folder.name, facts, trainer.model.config)
        logger.info("model, metrics and card: %s", folder)
    # Processes on CPUs (gloo) that leave without these two may abort or hang as they exit, because one of their threads
    # still holds a tensor; the launcher would then kill the one that pushes (pytorch/pytorch#179291).
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()  # Trainer.end() of newer releases
    if arguments.push_to_hub and is_main:
        push_folder(folder, trainer.hub_model_id, arguments.hub_revision)


def push_folder(folder: Path, repository: str, revision: str | None = None) -> None:
    """Uploads the files of a finished run that another user of the model needs; the repository must exist."""
    # Not Trainer.push_to_hub: it would replace the card, too.
    HfApi().upload_folder(
        repo_id=repository,
        folder_path=folder,
        commit_message="End of training",
        revision=revision,
        allow_patterns=list(PUSHED_FILES),
    )
    logger.info("pushed to %s", repository)
