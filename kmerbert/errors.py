"""What libraries raise when a file, a network or a checkpoint is at fault, and how that becomes one line for the user."""

import errno
import re
from pickle import UnpicklingError

import pyarrow as pa
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError

# A damaged file, a disk or the network. huggingface_hub's HTTP backend has changed; the base of its own error is the
# backend's base class.
NETWORK_ERRORS = HfHubHTTPError.__bases__[0]
FILE_ERRORS = (pa.ArrowException, OSError, NETWORK_ERRORS)
# A wrong checkpoint or setting.
LOADING_ERRORS = (
    *(ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError),
    *(SafetensorError, UnpicklingError),
)
# How torch, CUDA and the C library say that memory is short, in errors of other classes.
OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|bad_alloc|_ALLOC_FAILED", re.IGNORECASE
)
# How torch says that a process that reads batches was killed, or cannot hand them over in shared memory.
LOST_WORKER = re.compile(
    r"DataLoader worker .*(?:exited unexpectedly|killed by signal)|unable to (?:write to|open shared memory object|mmap).*<",
    re.DOTALL,
)


def counted(n: int, noun: str) -> str:
    """Returns a number and its noun for a message.

    >>> counted(1, "column"), counted(3, "column")
    ('1 column', '3 columns')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def one_line(error: BaseException, longest: int = 300) -> str:
    """Returns the beginning of an error's message as one line, or the name of its class if it has no message.

    Of an error in a process that reads batches, whose message is a traceback, the last line.
    """
    text = str(error).strip()
    if "\nOriginal Traceback" in text:
        text = text.splitlines()[-1]
    return " ".join(text.split())[:longest] or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether an error says that there is not enough memory, of the machine or of a GPU."""
    # torch's own class is known by its name, because this module starts without torch.
    is_named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    is_of_system = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return (
        is_named or is_of_system or (isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)) is not None)
    )


def has_lost_worker(error: BaseException | None) -> bool:
    """Tells whether an error says that a process that reads batches was killed or has no shared memory."""
    return isinstance(error, RuntimeError) and LOST_WORKER.search(str(error)) is not None
