"""Files on disk: written whole or not at all, checked for space to write, known by their checksums and endings."""

import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

# Compressions by the last ending of a file's name, as Arrow calls them.
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
# A file that changed later than this before it was read may change again within one tick of the file system's clock (two
# seconds on FAT, milliseconds elsewhere) without a new time stamp: its checksum is not remembered.
SETTLED_SECONDS = 5.0


def split_endings(path: Path) -> tuple[str, str | None]:
    """Returns the ending that names the format, in lower case and empty if there is none, and the compression, if any.

    >>> split_endings(Path("a.TSV.gz")), split_endings(Path("a.json")), split_endings(Path("a"))
    (('.tsv', 'gzip'), ('.json', None), ('', None))
    """
    endings = [ending.lower() for ending in path.suffixes]
    compression = COMPRESSIONS.get(endings.pop()) if endings and endings[-1] in COMPRESSIONS else None
    return endings[-1] if endings else "", compression


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Lets a file appear under its name only when it is complete.

    Args:
        path: The file to write; its folder must exist. If it is a symbolic link, the link stays and its target is replaced.

    Yields:
        The path to write to, in the same folder. If the block fails, what was written there is deleted.
    """
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


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
