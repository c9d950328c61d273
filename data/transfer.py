"""Downloads that survive cut connections: what programs that fetch public data hand to pooch, which cannot resume.

This module knows HTTP and one file at a time. Which files there are and what their checksums must be is the caller's.
"""

import errno
import filecmp
import json
import os
import re
import shutil
import tarfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from tqdm import tqdm

BUSY = (429, 500, 502, 503, 504)  # answers that may be another one a moment later
MISSING = (404, 410)  # answers that stay what they are
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of a file
PIECE = 1 << 16  # bytes


class TransferError(Exception):
    """A file could not be brought here; the message says from where and why, and `advice` what may help."""

    def __init__(self, message: str, advice: str = "run the same command again to go on, or") -> None:
        super().__init__(message)
        self.advice = advice


def new_session(retries: int, backoff: float) -> requests.Session:
    """Opens a session that asks again, after 2, 4, 8 ... times `backoff` seconds, where a server is away or busy."""
    again = urllib3.Retry(
        retries, connect=min(retries, 2), status_forcelist=BUSY, backoff_factor=backoff, raise_on_status=False
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=again))
    session.headers["Accept-Encoding"] = "identity"  # ranges and lengths then count the bytes of the file itself
    return session


def ask(session: requests.Session, url: str, headers: dict[str, str] | None = None) -> requests.Response:
    """Returns the answer to a request with its body unread; TransferError where there is none."""
    try:
        return session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
    except requests.RequestException as error:
        reason = (getattr(error.args[0], "reason", None) if error.args else None) or error
        reason = re.sub(r"^.*?[>)]: ", "", str(reason))  # without the name of urllib3's object
        raise TransferError(f"{url}: no answer ({reason})") from None


def refusal(answer: requests.Response) -> TransferError:
    """Returns the error for an answer that holds no file."""
    attempts = " to every attempt" if answer.status_code in BUSY else ""
    message = f"{address(answer)}: the server answers {answer.status_code} {answer.reason}{attempts}"
    if answer.status_code not in MISSING:
        return TransferError(message)
    url = urlsplit(address(answer))
    return TransferError(message, f"{url.netloc} has no {url.path.rpartition('/')[2]}:")


def address(answer: requests.Response) -> str:
    """Returns the URL that was asked for, before any redirection to a long one."""
    return (answer.history or [answer])[0].url


def version(answer: requests.Response) -> dict[str, Any]:
    """Returns what tells a file's versions apart: its ETag, else its date, and its length in bytes, None if unsaid."""
    headers = answer.headers
    length = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
    return {
        "validator": headers.get("ETag") or headers.get("Last-Modified"),
        "total": int(length) if length.isdecimal() else None,
    }


@dataclass
class Transfer:
    """Downloads one file for pooch, and goes on where an earlier call stopped.

    The bytes are in `part` until all are there; beside it, `part`.json says which version of the file they belong to.

    Attributes:
        size: bytes of the whole file, 0 where unknown.
        checked: a checksum will be compared afterwards. Only then may bytes be joined which neither an ETag nor a date
            proves to be of one version.
        retries: attempts in a row that may end without a new byte.
        backoff: seconds before the second attempt, doubled for each further one.
    """

    session: requests.Session
    part: Path
    size: int
    checked: bool
    retries: int
    backoff: float

    def __call__(self, url: str, output_file: str, _pooch: Any) -> None:
        """Writes the file at `url` to `output_file`, which pooch then checks and renames.

        Raises:
            TransferError: where the server does not send it; what came stays in `part` if more may follow.
            OSError: where it cannot be written.
        """
        failures = 0
        while True:
            before = self._have()
            try:
                self._receive(url)
                break
            except urllib3.exceptions.HTTPError:  # in the midst of the file
                failures = 1 if self._have() > before else failures + 1
                if failures > self.retries:
                    cut = f"{failures} times in a row, the last time after {self._have():,} bytes"
                    raise TransferError(f"{url}: the connection was cut {cut}") from None
                time.sleep(self.backoff * 2 ** (failures - 1))
            except OSError as error:  # writing does not name the file
                raise OSError(
                    error.errno, f"{error.strerror}, {self._have():,} bytes written", str(self.part)
                ) from None
        with open(self.part, "rb") as file:
            beginning = file.read(64).lstrip()
        if not self.checked and beginning.startswith((b"<", b"version https://git-lfs")):
            self._drop()
            raise TransferError(f"{url}: the answer is a web page or a pointer, not the file")
        os.replace(self.part, output_file)
        self._drop()

    @property
    def _note(self) -> Path:
        return self.part.with_name(f"{self.part.name}.json")

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _drop(self) -> None:
        self.part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _earlier(self) -> tuple[int, dict[str, Any]]:
        """Returns the bytes to go on from (0 where nothing shows that others fit to them) and their version."""
        try:
            noted = {"validator": None, "total": None, **json.loads(self._note.read_text(encoding="utf-8"))}
        except (OSError, ValueError, TypeError):
            return 0, {}
        fits = (noted["validator"] or self.checked) and self.size in (0, noted["total"])
        return (self._have(), noted) if fits else (0, {})

    def _receive(self, url: str) -> None:
        """Asks once for the bytes that are missing and writes them; anew where the file is not what it was."""
        start, noted = self._earlier()
        if start and start == noted["total"]:
            return  # stopped between the last byte and the check
        headers = {"Range": f"bytes={start}-"} if start else {}
        if start and noted["validator"] and not noted["validator"].startswith("W/"):  # a weak ETag proves no bytes
            headers["If-Range"] = noted["validator"]
        with ask(self.session, url, headers) as answer:
            if answer.status_code == 200:
                return self._write(answer, 0)
            if answer.status_code == 206 and start and self._continues(answer, start, noted):
                return self._write(answer, start)
            if not (start and answer.status_code in (206, 416)):
                raise refusal(answer)
        self._drop()
        return self._receive(url)

    def _continues(self, answer: requests.Response, start: int, noted: dict[str, Any]) -> bool:
        found = version(answer)
        same = found["validator"] == noted["validator"] or (self.checked and found["validator"] is None)
        begins = answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        return same and begins and found["total"] == noted["total"]

    def _write(self, answer: requests.Response, start: int) -> None:
        found = version(answer)
        total = found["total"]
        if self.size and total not in (None, self.size):
            raise TransferError(
                f"{address(answer)}: the server announces {total:,} bytes, but the file has {self.size:,}"
            )
        free = shutil.disk_usage(self.part.parent).free
        if total and total - start > free:
            raise OSError(errno.ENOSPC, f"{free:,} bytes are free, {total - start:,} are needed")
        with open(self.part, "ab" if start else "wb") as file:
            if not start:  # after the old bytes are gone, so that no note ever tells of others
                self._note.write_text(json.dumps(found), encoding="utf-8")
            bar = {"desc": self.part.stem, "unit": "B", "unit_scale": True, "disable": None}  # None: on a terminal only
            with tqdm(total=total, initial=start, **bar) as progress:
                for piece in answer.raw.stream(PIECE, decode_content=False):
                    file.write(piece)
                    progress.update(len(piece))
        if total and self._have() != total:  # older releases of urllib3 do not count
            raise urllib3.exceptions.ProtocolError("the connection was cut")


def read_sums(path: Path) -> dict[str, str]:
    """Returns name -> SHA-256 of a file as `sha256sum` writes it; empty where there is none.

    Raises:
        ValueError: for a line that is no checksum.
    """
    sums = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line)
        if not match:
            raise ValueError(f"{path}, line {number}: {line[:40]!r} is no SHA-256 and file name: delete the line")
        sums[match[2]] = match[1]
    return sums


def write_sums(path: Path, sums: dict[str, str]) -> None:
    """Writes name -> SHA-256 in the order of the names, so that `sha256sum -c` reads it."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())), encoding="utf-8")
    os.replace(new, path)


def unpack(archive: Path, folder: Path, overwrite: bool) -> list[str]:
    """Puts the files of a tar archive into one folder, whatever folders they are in there.

    Links and hidden files are left out. Until all are unpacked, `folder` stays as it is.

    Returns:
        The names of the files, sorted.

    Raises:
        ValueError: for an archive that is damaged or has a member that would land elsewhere, and, unless `overwrite`,
            for a file that differs from the one that is there.
    """
    with TemporaryDirectory(prefix=".unpack-", dir=archive.parent) as temporary:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise ValueError(f"{archive} cannot be unpacked ({error}): delete it to fetch it anew") from None
        paths = [path for path in Path(temporary).rglob("[!.]*") if path.is_file() and not path.is_symlink()]
        found = {path.name: path for path in paths}
        for name, path in found.items():
            old = folder / name
            if old.exists() and not overwrite and not filecmp.cmp(old, path, shallow=False):
                raise ValueError(f"{old} differs from the file in {archive}: add --overwrite to replace it")
        folder.mkdir(exist_ok=True)
        for name, path in found.items():
            os.replace(path, folder / name)
    return sorted(found)
