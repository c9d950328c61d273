"""Text files as blocks of whole lines in UTF-8, whatever program wrote them, packed or not.

Tables, FASTA, JSON lines and cluster files are all read through here, so that one byte that is no text has the same
verdict in each of them, wherever in the file it is.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from kmerbert.errors import one_line
from kmerbert.files import split_endings

BLOCK_BYTES = 1 << 22  # read at once; a row of a table cannot be longer
# Marks at the beginning of a file, and its encoding; that of UTF-32 begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# How files that are not text begin, and what they are.
_OTHER_KINDS = {
    b"PK\3\4": "an Excel or zip file: the name of an Excel file should end in .xlsx",
    b"\xd0\xcf\x11\xe0": "an old Excel file: save it as .xlsx",
    b"\x1f\x8b": "packed by gzip: the name should end in .gz",
    b"\x28\xb5\x2f\xfd": "packed by zstd: the name should end in .zst",
    b"BZh": "packed by bzip2: the name should end in .bz2",
    b"PAR1": "Parquet: the name should end in .parquet",
}


class Block(NamedTuple):
    """Some lines in UTF-8, each with a line feed at its end, and the 1-based number of the first in the file."""

    text: bytes
    first: int

    def line(self, position: int) -> int:
        """The number of the line that a byte of the text is in."""
        return self.first + self.text.count(b"\n", 0, position)


def n_lines(text: bytes) -> int:
    """Counts line feeds, several times as fast as `bytes.count`."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord("\n")))


def read_blocks(path: Path) -> Iterator[Block]:
    """Reads a text file in blocks of whole lines; line ends of Windows and of old Macs become line feeds.

    Text is UTF-8, with or without its mark, or UTF-16 or UTF-32 with theirs.

    Raises:
        ValueError: The file is packed and damaged, or is not text; the message has the line.
        OSError: The file cannot be opened.
    """
    first, held = 1, []
    try:
        for piece in _pieces(path):
            end = piece.rfind(b"\n") + 1
            if end:
                block = _checked(Block(b"".join([*held, piece[:end]]), first), path)
                yield block
                first += n_lines(block.text)
                held = []
            held.append(piece[end:])
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}, line {first} or later: not {error.encoding} text ({error.reason})") from None
    if any(held):
        yield _checked(Block(b"".join([*held, b"\n"]), first), path)


def read_lines(path: Path) -> Iterator[str]:
    """Reads the lines of a text file, without their ends; see `read_blocks`."""
    for block in read_blocks(path):
        yield from block.text.decode().split("\n")[:-1]


def read_text(path: Path) -> str:
    """Reads a whole text file; see `read_blocks`."""
    return "".join(block.text.decode() for block in read_blocks(path))


def open_bytes(path: Path) -> pa.NativeFile:
    """Opens a file, unpacked if the name says that it is packed; OSError, with the system's own reason, if it cannot."""
    path.open("rb").close()
    return pa.input_stream(str(path), compression=split_endings(path)[1])


def _pieces(path: Path) -> Iterator[bytes]:
    """The text in UTF-8, in pieces that end anywhere, with line feeds."""
    try:
        with open_bytes(path) as stream:
            piece = stream.read(BLOCK_BYTES)
            mark, encoding = next((pair for pair in _MARKS if piece.startswith(pair[0])), (b"", "utf-8"))
            decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)()
            piece, following, held = piece[len(mark) :], piece, b""
            while following:
                following = stream.read(BLOCK_BYTES)
                if decoder:
                    piece = decoder.decode(piece, not following).encode()
                piece, held = held + piece, b""
                if following and piece.endswith(b"\r"):  # perhaps half of a line end
                    piece, held = piece[:-1], b"\r"
                if b"\r" in piece:
                    piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
                yield piece
                piece = following
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None):  # not of the file's content: missing, not allowed, a broken disk
            raise
        raise ValueError(
            f"{path}: cannot be read ({one_line(error)}): is it whole, and of the format that its name says?"
        ) from None


def _checked(block: Block, path: Path) -> Block:
    """The block, if it is text in UTF-8."""
    text = block.text
    kind = next((kind for begin, kind in _OTHER_KINDS.items() if block.first == 1 and text.startswith(begin)), None)
    if b"\0" in text:
        reason = kind or "save it as UTF-8, if it is UTF-16 without its mark"
        raise ValueError(
            f"{path}, line {block.line(text.index(0))}: not a text file (it contains zero bytes): {reason}"
        )
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            reason = kind or "save it as UTF-8, which Excel calls 'CSV UTF-8'"
            raise ValueError(
                f"{path}, line {block.line(error.start)}: not a text file in UTF-8 (byte 0x{text[error.start]:02x}): {reason}"
            ) from None
    return block
