"""The processes of a launch, the device of each, and what they print."""

import logging
import os
import sys

from accelerate import PartialState
from transformers.utils import logging as transformers_logging

from kmerbert.cli.run import with_dashes


class FlagFormatter(logging.Formatter):
    """Prints the bare message, with its argument names as flags."""

    def format(self, record: logging.LogRecord) -> str:
        return with_dashes(record.getMessage())


def set_up_logging(is_main_process: bool) -> None:
    """Prints messages to stderr; of processes other than the main one, only errors."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FlagFormatter())
    logging.basicConfig(level=logging.INFO if is_main_process else logging.ERROR, handlers=[handler], force=True)
    for chatty in ("httpx", "fsspec", "urllib3", "filelock", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # Its warnings here are about weights that are shared or new on purpose; load_model says which are new.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def check_launch(n_processes: int) -> None:
    """Checks that the launched processes know of each other.

    Args:
        n_processes: Processes in the group of this one, itself included.

    Raises:
        ValueError: More were launched: each would do all the work, and all would write to the same files.
    """
    n_launched = int(os.environ.get("WORLD_SIZE", "1"))
    if n_launched != n_processes:
        raise ValueError(
            f"{n_launched} processes were launched, but without GPUs each would do all the work: add --use_cpu to share "
            "it on CPUs, or launch with --num_processes 1"
        )


def start(use_cpu: bool) -> PartialState:
    """Sets up logging, and the device of this process, for a script without a Trainer.

    Args:
        use_cpu: Compute on CPUs even if there is a GPU.

    Raises:
        ValueError: Several processes do not know of each other.
    """
    state = PartialState(cpu=use_cpu)
    set_up_logging(state.is_main_process)
    check_launch(state.num_processes)
    return state
