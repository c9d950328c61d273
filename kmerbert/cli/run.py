"""What every script does around its `main`: a user's mistake ends in one line and exit status 2."""

import hashlib
import os
import re
import select
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from kmerbert.errors import is_out_of_memory, one_line

# What a training script says to somebody who stops it.
RESUME = "continue the training run from its last checkpoint with --resume_from_checkpoint true"
# How gloo and NCCL say that another process of the launch is gone.
LOST_PROCESS = re.compile(
    r"closed by (?:remote )?peer|connection (?:was )?(?:reset|refused|closed)|socket|broken pipe|gloo|nccl",
    re.IGNORECASE,
)


def with_dashes(message: str) -> str:
    """Turns the argument names of a library's message, which are in backticks, into flags.

    >>> with_dashes("`interval_coverage` 2: allowed is above 0 and below 1")
    '--interval_coverage 2: allowed is above 0 and below 1'
    """
    return re.sub(r"`([a-z][a-z0-9_]*)`", r"--\1", message)


def command_line(program: str, argv: Sequence[str] | None) -> str:
    """Returns the command of a script, as a shell reads it, from the arguments of its `main`.

    >>> command_line("run_predict.py", ["--output_file", "my table.tsv"])
    "python run_predict.py --output_file 'my table.tsv'"
    """
    return shlex.join(["python", program, *(sys.argv[1:] if argv is None else argv)])


def run(main: Callable[[], Any], advice: str = RESUME) -> None:
    """Runs a script's `main`; a user's mistake ends in one line and exit status 2.

    Of several processes on one machine, only the first failing process prints. On Ctrl-C the user sees what the interrupted
    work says, or `advice`. Set the environment variable KMERBERT_DEBUG=1 to see the traceback as well.
    """
    try:
        _run_to_the_last_line(main)
    except KeyboardInterrupt as interruption:
        line = f"interrupted; {with_dashes(str(interruption)) or advice}"
        sys.exit(line if _is_first(line) else 1)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and (unread := _unread_streams()):
            for stream in unread:
                _discard(stream)
            sys.exit(1)
        # ImportError: a package that only some flag needs.
        if is_out_of_memory(error):
            error = ValueError(f"out of memory ({one_line(error, 200)}): give smaller batches, or use a larger machine")
        elif _has_lost_process(error):
            error = ValueError(
                f"another process of this launch was killed, perhaps because memory is short ({one_line(error, 100)}); {advice}"
            )
        is_mistake = isinstance(error, (ValueError, OSError, ImportError))
        if os.environ.get("KMERBERT_DEBUG", "").lower() not in ("", "0", "false") or not (
            is_mistake or _others_failed()
        ):
            raise
        line = f"error: {with_dashes(' '.join(str(error).split()))}"
        if is_mistake and _is_first(line):
            print(line, file=sys.stderr, flush=True)
        _leave_other_processes()
        sys.exit(2)


def _run_to_the_last_line(main: Callable[[], Any]) -> None:
    """Runs `main` and prints all that it has said; the interpreter would do so when it can no longer say what fails."""
    try:
        main()
    except SystemExit:
        _flush()
        raise
    _flush()


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard(sys.stdout)
        raise OSError(f"standard output cannot be written: {error.strerror}") from error


def _unread_streams() -> list[TextIO]:
    """Standard output and error, if what reads them, such as `head`, has read enough; a connection is neither."""
    unread = []
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # no file, or a system without poll
            poll = select.poll()
            poll.register(stream.fileno(), 0)
            if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
                unread.append(stream)
    return unread


def _discard(stream: TextIO) -> None:
    """Sends the rest of a stream nowhere, so that the interpreter does not fail on it at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _has_lost_process(error: Exception) -> bool:
    """Tells whether this process waited for one that was killed, such as by the system when memory is short."""
    is_of_group = int(os.environ.get("WORLD_SIZE", "1")) > 1 and isinstance(error, RuntimeError)
    return is_of_group and not _others_failed() and LOST_PROCESS.search(str(error)) is not None


def _launch_folder() -> Path | None:
    """A folder that the processes of one launch on one machine share with nobody else, if the launcher made one."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    return Path(file).parent.parent if file else None


def _is_first(line: str) -> bool:
    """Tells whether no other process has printed this line."""
    if not (folder := _launch_folder()):
        return os.environ.get("LOCAL_RANK", "0") == "0"
    try:
        (folder / f"said-{hashlib.sha256(line.encode()).hexdigest()}").touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:  # rather twice than never
        return True
    return True


def _others_failed() -> bool:
    folder = _launch_folder()
    return folder is not None and any(folder.glob("said-*"))


def _leave_other_processes() -> None:
    """Leaves the process group, if there is one; on CPUs (gloo), a process that exits within it may abort instead."""
    distributed = sys.modules.get("torch.distributed")
    is_in_group = distributed and distributed.is_available() and distributed.is_initialized()
    if (
        is_in_group and distributed.get_backend() == "gloo"
    ):  # other backends may wait here for processes that never come
        distributed.destroy_process_group()
