"""Reads the plasmid that the promoters were measured in, and takes the bases on both sides of the insert."""

import re
from pathlib import Path

from kmerbert.dna.sequences import canonical
from kmerbert.files import parse_json, split_endings
from kmerbert.reading.sources import read_fasta
from kmerbert.reading.text import read_text
from tokenization_kmer import SEARCHED, Flanks


def read_flanks(path: Path, length: int, insert: str | None = None) -> Flanks:
    """Reads a plasmid and takes the bases on both sides of an insert.

    Args:
        path: A FASTA file (its first record), a JSON file that holds one text, or a text file (its first line).
        length: Bases to have on each side of the insert.
        insert: `START:END`, 0-based and half-open, or the insert's own letters, which must occur exactly once; None for
            the longest run of N.

    Raises:
        ValueError: The file cannot be read, the insert does not occur exactly once, or there are too few bases next to it.
    """
    plasmid = _read_plasmid(path)
    start, end = _find_insert(plasmid, insert, path)
    if min(start, len(plasmid) - end) < length:
        raise ValueError(
            f"{path}: there are {start} bases before the insert and {len(plasmid) - end} after it, fewer than "
            f"`flank_length` {length}: use a smaller length, or start the circular sequence at another base"
        )
    kept = max(length, SEARCHED)
    return Flanks(plasmid[max(0, start - kept) : start], plasmid[end : end + kept], length)


def _read_plasmid(path: Path) -> str:
    try:
        text = read_text(path).lstrip()
        if text.startswith(">"):
            text = next(read_fasta(text.split("\n"))).sequence
        elif split_endings(path)[0] == ".json":
            text = parse_json(text, path)
            if not isinstance(text, str):
                raise ValueError(f"its JSON is {str(text)[:40]!r}: it must be one text, the sequence")
        else:
            text = text.partition("\n")[0].rstrip()
        if not text:
            raise ValueError("it is empty")
        return canonical(text)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error  # without the path again
        raise ValueError(f"`flank_file` {path}: no sequence can be read from it: {reason}") from None


def _find_insert(plasmid: str, insert: str | None, path: Path) -> tuple[int, int]:
    if insert and (bounds := re.fullmatch(r"(\d+):(\d+)", insert)):
        start, end = int(bounds[1]), int(bounds[2])
        if not start < end <= len(plasmid):
            raise ValueError(f"`flank_insert` {insert}: allowed is START:END within the {len(plasmid)} bases of {path}")
        return start, end
    if insert:
        if set(insert.upper()) - set("ACGTN"):
            raise ValueError(f"`flank_insert` {insert} in {path}: allowed are START:END, 0-based, or the letters ACGTN")
        starts = [match.start() for match in re.finditer(f"(?={insert.upper()})", plasmid)]
        if len(starts) != 1:
            raise ValueError(
                f"`flank_insert` {insert} occurs {len(starts)} times in {path}: it must occur once, or give START:END"
            )
        return starts[0], starts[0] + len(insert)
    runs = sorted((match.end() - match.start(), match.start()) for match in re.finditer("N+", plasmid))
    if not runs or (len(runs) > 1 and runs[-2][0] == runs[-1][0]):
        raise ValueError(f"{path}: no single longest run of N marks the insert: say where it is with `flank_insert`")
    return runs[-1][1], runs[-1][1] + runs[-1][0]
