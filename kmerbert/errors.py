"""What libraries raise when a file, a network or a checkpoint is at fault, and how that becomes one line for the user."""

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


def counted(n: int, noun: str) -> str:
    """Returns a number and its noun for a message.

    >>> counted(1, "column"), counted(3, "column")
    ('1 column', '3 columns')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def one_line(error: BaseException, longest: int = 300) -> str:
    """Returns the beginning of an error's message as one line, or the name of its class if it has no message."""
    return " ".join(str(error).split())[:longest] or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether an error says that there is not enough memory, of the machine or of a GPU."""
    # torch's own class is known by its name, because this module starts without torch.
    is_named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return is_named or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
