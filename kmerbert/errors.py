"""What libraries raise when a file, a network or a checkpoint is at fault, and how that becomes one line for the user."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError

# What a broken file, a disk or the network can raise; the package that huggingface_hub reaches the network by has had
# several names, but its errors are the base of that one.
FAULTS = (pa.ArrowException, OSError, HfHubHTTPError.__bases__[0])
# What libraries raise when a checkpoint or a setting is wrong; the user needs one line.
REFUSALS = (
    *(ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError),
    *(SafetensorError, UnpicklingError),
)


@contextmanager
def reading(flag: str, path: Path) -> Iterator[None]:
    """Surrounds the reading of a file that a flag names; ValueError where it cannot be read, or is no file but stdin."""
    try:
        if str(path) in ("-", "/dev/stdin") or (path.exists() and not (path.is_file() or path.is_dir())):
            raise ValueError(f"{flag} {path}: stdin is not read, nor a pipe: write a file and name that")
        yield
    except OSError as error:
        raise ValueError(
            f"{flag} {path} cannot be read ({error.strerror or error}): name a file that is there and may be read"
        ) from None


def _line(error: Exception) -> str:
    """The beginning of a library's message, in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
