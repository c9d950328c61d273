"""SHA-256 of files, remembered while the file system says that a file is unchanged, so that large ones are read once."""

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TextIO

# A file that changed later than this before it was read may change again within one tick of the file system's clock (two
# seconds on FAT, milliseconds elsewhere) without getting other times: its checksum is not remembered.
SETTLED_SECONDS = 5.0


def file_checksum(path: Path, folder: Path | None = None) -> str:
    """Returns the SHA-256 of a file's bytes, 64 hexadecimal digits.

    A remembered checksum holds for this path, device, inode, size, and times of the last change of content and of
    inode, to the nanosecond; the last of these no program can set. What it misses is a file that is changed without a
    change of these: through a memory map that is not yet written back, or with the computer's clock set back.

    Args:
        path: the file.
        folder: where checksums are remembered, one small file each; None for nowhere. One that cannot be written is not
            an error: the file is then read each time.

    Raises:
        OSError: for a file that cannot be read.
    """
    with open(path, "rb") as file:  # on a network file system, opening asks the server for the times
        before = _identity(path, file.fileno())
        note = Path(folder) / f"{hashlib.sha256(before.encode()).hexdigest()[:32]}.sha256" if folder else None
        if note and (known := _read(note)):
            return known
        status = os.fstat(file.fileno())
        is_settled = time.time() - max(status.st_mtime, status.st_ctime) > SETTLED_SECONDS
        found = hashlib.file_digest(file, "sha256").hexdigest()
        is_settled = is_settled and _identity(path, file.fileno()) == before
    if note and is_settled:
        _write(note, found)
    return found


def _identity(path: Path, descriptor: int) -> str:
    """What the file system knows about an open file, as text."""
    status = os.fstat(descriptor)
    times = [status.st_mtime_ns, status.st_ctime_ns]
    return json.dumps([str(Path(path).resolve()), status.st_dev, status.st_ino, status.st_size, *times])


def _read(note: Path) -> str | None:
    """The checksum in a file of its own, or None."""
    with suppress(OSError, ValueError):
        text = note.read_text(encoding="ascii")
        return text if re.fullmatch("[0-9a-f]{64}", text) else None
    return None


def _write(note: Path, checksum: str) -> None:
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=note.parent, prefix="writing-") as name:
            (Path(name) / "checksum").write_text(checksum, encoding="ascii")
            os.replace(Path(name) / "checksum", note)


def write_text(path: Path, text: str) -> None:
    """Writes a text file that is never seen half-written."""
    with _whole(path) as file:
        file.write(text)


@contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "w", encoding="utf-8") as file:
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_folder(folder: Path, asked: str) -> None:
    """Refuses a folder in which nothing can be written, without making it.

    Args:
        folder: to write in, there or not.
        asked: flag and value that name it, for the message.

    Raises:
        ValueError: where it, or the nearest folder above that is there, is none or may not be written.
    """
    there = folder
    try:
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        reason = f"{there}: {error.strerror}"
        raise ValueError(f"{asked} cannot be written ({reason}): name another place, or mend that one") from None
