"""The processes and the device that a script without a Trainer computes with, and their messages."""

import logging
import os
import sys

from accelerate import PartialState
from transformers.utils import logging as transformers_logging


def start(use_cpu: bool) -> PartialState:
    """Sets up logging, and the device of this process of those that were launched.

    Args:
        use_cpu: even where there is a GPU.

    Raises:
        ValueError: for several processes that do not know of each other.
    """
    state = PartialState(cpu=use_cpu)
    level = logging.INFO if state.is_main_process else logging.ERROR
    logging.basicConfig(format="%(message)s", level=level, stream=sys.stderr, force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    if (launched := int(os.environ.get("WORLD_SIZE", "1"))) != state.num_processes:
        raise ValueError(
            f"{launched} processes were launched, but without GPUs each would do all the work: add --use_cpu"
        )
    return state
