"""The processes of a launch, the device of each, and what they print."""

import logging
import os
import sys
import threading
import time

from accelerate import PartialState
from transformers.utils import logging as transformers_logging

from kmerbert.cli.run import with_dashes

# The thread that looks for the launcher, and how often it does.
WATCH, WATCH_SECONDS = "watch for the launcher", 1.0


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


def end_with_launcher() -> None:
    """Ends this process when the program that launched it is gone; without others, it would train on unseen."""
    # torchrun's, and those of `accelerate launch` with several processes; without a launcher, whoever starts a program may
    # end before it.
    if "TORCHELASTIC_RUN_ID" in os.environ and not any(thread.name == WATCH for thread in threading.enumerate()):
        threading.Thread(target=_watch, args=(os.getppid(),), name=WATCH, daemon=True).start()


def _watch(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(WATCH_SECONDS)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print("error: the launcher of this process was killed: the process ends, too", file=sys.stderr, flush=True)
    os._exit(2)  # the main thread may wait for processes that are gone, and would not end by an exception


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
    end_with_launcher()
    return state
