"""Files on disk: written whole or not at all, checked for space to write, known by their checksums and endings."""

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

# Compressions by the last ending of a file's name, as Arrow calls them.
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
# A file that changed later than this before it was read may change again within one tick of the file system's clock (two
# seconds on FAT, milliseconds elsewhere) without a new time stamp: its checksum is not remembered.
SETTLED_SECONDS = 5.0
# A full disk, a used-up quota, a limit on the size of files (`ulimit -f`), a file system that became read-only.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# How libraries that raise errors of their own say the same: safetensors, PyArrow; then torch and numpy without the reason.
FULL_IN_WORDS = re.compile(r"(?:os error|errno) (\d+)", re.IGNORECASE)
CUT_SHORT = re.compile(r"PytorchStreamWriter failed|inline_container|requested and \d+ written")


def split_endings(path: Path) -> tuple[str, str | None]:
    """Returns the ending that names the format, in lower case and empty if there is none, and the compression, if any.

    >>> split_endings(Path("a.TSV.gz")), split_endings(Path("a.json")), split_endings(Path("a"))
    (('.tsv', 'gzip'), ('.json', None), ('', None))
    """
    endings = [ending.lower() for ending in path.suffixes]
    compression = COMPRESSIONS.get(endings.pop()) if endings and endings[-1] in COMPRESSIONS else None
    return endings[-1] if endings else "", compression


def writer_tag() -> str:
    """Returns what names this process in the names of unfinished files: host, process id and when the process began."""
    return f"{_host_tag()}-{os.getpid()}-{process_start(os.getpid()) or 0}"


def is_writer_gone(tag: str) -> bool:
    """Tells whether the process of a `writer_tag` ran on this machine and has ended; False if that cannot be known."""
    host, _, process = tag.partition("-")
    pid, _, start = process.partition("-")
    return (
        host == _host_tag() and pid.isdecimal() and start.isdecimal() and not is_running(int(pid), int(start) or None)
    )


def process_start(pid: int) -> int | None:
    """Returns when a process began, in clock ticks since the machine did; None if the system does not say.

    By it, a process id that is used again is told from the first.
    """
    fields = _process_fields(pid)
    return int(fields[19]) if fields else None


def _process_fields(pid: int) -> list[str]:
    """What Linux says about a process after its name: first its state, as the 20th when it began; otherwise empty."""
    with suppress(OSError):
        # The name is in brackets, and may have blanks and brackets.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def is_running(pid: int, start: int | None) -> bool:
    """Tells whether a process of this machine is running.

    Args:
        pid: Its id.
        start: Its `process_start`; None if that is not known.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        pass
    fields = _process_fields(pid)
    has_ended = bool(fields) and fields[0] in "ZX"  # it only waits for its parent to ask how
    return not has_ended and (start is None or not fields or int(fields[19]) == start)


def _host_tag() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def why_full(error: BaseException) -> str | None:
    """Returns why nothing more can be written, if an error says that a disk, a quota or a limit is used up; otherwise None.

    >>> why_full(OSError(errno.ENOSPC, "x")), why_full(RuntimeError("I/O error: File too large (os error 27)"))
    ('No space left on device', 'File too large, by a limit such as that of `ulimit -f`')
    """
    code = error.errno if isinstance(error, OSError) else None
    if code is None and (said := FULL_IN_WORDS.search(str(error))):
        code = int(said[1])
    if code == errno.EFBIG:
        return f"{os.strerror(code)}, by a limit such as that of `ulimit -f`"
    if code in FULL:
        return os.strerror(code)
    return "it was cut short" if CUT_SHORT.search(str(error)) else None


def free_space(folder: Path) -> int:
    """Returns the bytes that are free where a folder is, or would be."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(nearest).free


def in_bytes(n_bytes: float) -> str:
    """Returns a size as people say it.

    >>> in_bytes(512), in_bytes(2_345_678)
    ('512 bytes', '2.3 MB')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes:.0f} bytes"


@contextmanager
def space_to_write(path: Path) -> Iterator[None]:
    """Makes a full disk one message that names the file, whichever library was writing.

    Raises:
        ValueError: Nothing more can be written.
    """
    try:
        yield
    except Exception as error:
        if not (reason := why_full(error)):
            raise
        free = in_bytes(free_space(path.parent))
        raise ValueError(
            f"{path} cannot be written: {reason} ({free} free there): make room, or write to another disk"
        ) from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Lets a file appear under its name only when it is complete.

    Args:
        path: The file to write; its folder must exist. If it is a symbolic link, the link stays and its target is replaced.

    Yields:
        The path to write to, in the same folder. If the block fails, what was written there is deleted; what a killed
        process left of the same file is deleted, too.

    Raises:
        ValueError: The disk is full.
    """
    target = Path(os.path.realpath(path))
    for old in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        if is_writer_gone(old.name.removeprefix(f".{target.name}.").split(".")[0]):
            old.unlink(missing_ok=True)
    partial = target.with_name(f".{target.name}.{writer_tag()}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with space_to_write(target):
            yield partial
            os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Makes a folder for files that are moved to their names together when all are complete, and deletes it at the end.

    Args:
        folder: Where to make it. The scratch folders there of processes that were killed are deleted.

    Yields:
        The scratch folder.
    """
    for old in folder.glob("writing-*"):
        if is_writer_gone(old.name.removeprefix("writing-").rpartition("-")[0]):
            shutil.rmtree(old, ignore_errors=True)
    scratch = folder / f"writing-{writer_tag()}-{uuid.uuid4().hex[:8]}"
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: Path, object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Reads a JSON file.

    Args:
        path: The file, in UTF-8.
        object_pairs_hook: As for `json.loads`.

    Raises:
        ValueError: It is not JSON, or is nested too deeply; the message has the path.
        OSError: It cannot be opened.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error})") from None
    return parse_json(text, path, object_pairs_hook)


def parse_json(text: str, path: Path, object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Reads JSON from the text of a file; see `read_json`."""
    try:
        return json.loads(text, object_pairs_hook=object_pairs_hook)
    except RecursionError:
        raise ValueError(f"{path} is not JSON that can be read: its brackets are nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error})") from None


def check_folder(folder: Path, argument: str) -> None:
    """Checks that files can be written into a folder, without creating it.

    Args:
        folder: The folder, which need not exist yet.
        argument: How the user named it, for the message.

    Raises:
        ValueError: The folder, or the nearest existing folder above it, is a file or cannot be written to.
    """
    nearest = folder
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise ValueError(
            f"{argument} cannot be written ({nearest}: {error.strerror}): give another path, or fix that folder"
        ) from None


def file_checksum(path: Path, folder: Path | None = None) -> str:
    """Returns the SHA-256 of a file's bytes, 64 hexadecimal digits.

    A remembered checksum is used if path, device, inode, size, and the times of the last change of content and of inode
    are the same to the nanosecond; no program can set the last of these. It misses a file that is changed through a
    memory map that has not been written back, or while the computer's clock is set back.

    Args:
        path: The file.
        folder: Where checksums are remembered, one small file each; None to remember none. A folder that cannot be
            written is no error: the file is then read each time.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:  # on a network file system, opening asks the server for the times
        before = _identity(path, file.fileno())
        note = Path(folder) / f"{hashlib.sha256(before.encode()).hexdigest()[:32]}.sha256" if folder else None
        if note and (known := _read_checksum(note)):
            return known
        status = os.fstat(file.fileno())
        is_settled = time.time() - max(status.st_mtime, status.st_ctime) > SETTLED_SECONDS
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        is_settled = is_settled and _identity(path, file.fileno()) == before
    if note and is_settled:
        with suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            write_text(note, checksum)
    return checksum


def _identity(path: Path, descriptor: int) -> str:
    """What the file system knows about an open file, as text."""
    status = os.fstat(descriptor)
    times = [status.st_mtime_ns, status.st_ctime_ns]
    return json.dumps([str(Path(path).resolve()), status.st_dev, status.st_ino, status.st_size, *times])


def _read_checksum(note: Path) -> str | None:
    with suppress(OSError, ValueError):
        text = note.read_text(encoding="ascii")
        return text if re.fullmatch("[0-9a-f]{64}", text) else None
    return None
