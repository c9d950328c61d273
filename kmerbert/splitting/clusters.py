"""Reads the clusters that another program made from its table, and gives them to rows.

Three kinds of table, each also with `.gz`, `.bz2` or `.zst` behind its name:

- CD-HIT's `.clstr`, made with `-d 0`, because otherwise names are cut off;
- two columns without a header, representative and member (`.tsv`, `.csv`), as MMseqs2 writes `_cluster.tsv`;
- a table with a header, columns `cluster` and `id` or `sequence` (`.tsv`, `.csv`).

Members are known by their id or by their sequence. Memory is three numbers for each member, however long the names are.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kmerbert.dna.sequences import BAD, CANONICAL, canonical, is_dna
from kmerbert.errors import one_line
from kmerbert.files import split_endings
from kmerbert.reading.delimited import SURELY_DNA, DelimitedFile
from kmerbert.reading.rows import hash_texts, names_in
from kmerbert.reading.sources import FORMATS, FileSource
from kmerbert.reading.text import read_blocks

logger = logging.getLogger(__name__)
By = Literal["id", "sequence"]
ALLOWED = (
    "allowed are CD-HIT's .clstr, two columns without a header (representative and member), or a header with the "
    "columns 'cluster' and 'id' or 'sequence'"
)
_MEMBER = r"^\d+\t\d+[a-z]+, >(?P<name>.+)\.\.\. (?:\*|at .+)$"  # of CD-HIT: 0 <tab> 110nt, >name... at +/98.18%


class ClusterTable(NamedTuple):
    """Who is in which cluster.

    Attributes:
        name: The file.
        by: What the members are known by.
        members: uint64 array (m,), rising: hashes of the ids, or of the sequences in the letters ACGTN (`rows.hash_texts`).
        clusters: int64 array (m,), each member's cluster, numbered from 0 by first appearance in the file.
        hint: What may be wrong if rows are in no cluster, for messages.
        sequences: uint64 array (m,), hashes of the sequences that the file has next to its ids; None if it has none.
    """

    name: str
    by: By
    members: np.ndarray
    clusters: np.ndarray
    hint: str
    sequences: np.ndarray | None = None


class _Part(NamedTuple):
    """Some members: their names or sequences, hashes of their clusters (uint64 or int64), 1-based lines.

    `sequences` are those next to names, as written; empty if there are none.
    """

    members: list[str]
    clusters: np.ndarray
    lines: np.ndarray
    sequences: Sequence[str] = ()


def read_clusters(path: str | Path, prefer: By = "id") -> ClusterTable:
    """Reads a table of clusters.

    Args:
        path: The table; see the module for the kinds.
        prefer: What to know members by if the table has both.

    Raises:
        ValueError: The file is missing, empty or of another kind, a line is not like the others, a sequence is not DNA, or
            a member is in two clusters; the message has the line.
    """
    source, by, parts, hint = _open(Path(path), prefer)
    members, clusters, lines, sequences = [], [], [], []
    try:
        for part in parts:
            names = part.members
            if "" in names:
                raise ValueError(f"{source.path}, line {part.lines[names.index('')]}: a member without {by}")
            names = _clean(names, part.lines, source.name) if by == "sequence" else names
            members.append(hash_texts(names))
            clusters.append(part.clusters)
            lines.append(part.lines)
            if part.sequences:
                sequences.append(hash_texts([_letters(sequence) for sequence in part.sequences]))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({one_line(error)})") from None
    if not sum(map(len, members)):
        raise ValueError(f"{path}: it has no clusters; {ALLOWED}")
    codes = pd.factorize(np.concatenate(clusters))[0].astype(np.int64)
    known = np.concatenate(sequences) if sequences else None
    table = ClusterTable(str(path), by, np.concatenate(members), codes, hint, known)
    return _sorted(table, np.concatenate(lines))


def assign_clusters(
    table: ClusterTable, rows: np.ndarray, location: Callable[[int], str], sequences: np.ndarray | None = None
) -> np.ndarray:
    """Finds the cluster of every row; ids that have another sequence in the file of clusters are told.

    Args:
        table: Result of `read_clusters`; it may have members that are no rows.
        rows: uint64 array (n,), `rows.hash_texts` of the rows' ids or of their sequences, as `table.by` says.
        location: Tells where a row (0-based) is, for messages.
        sequences: uint64 array (n,), that of the rows' sequences where `table.sequences` is known; None to compare none.

    Returns:
        int64 array (n,), the clusters of the table.

    Raises:
        ValueError: A row is in no cluster.
    """
    positions = np.minimum(np.searchsorted(table.members, rows), len(table.members) - 1)
    missing = np.flatnonzero(table.members[positions] != rows)
    if len(missing):
        raise ValueError(
            f"{location(int(missing[0]))}: its {table.by} is in no cluster of {table.name} (as for {len(missing) - 1} more of "
            f"{len(rows)} rows): every row needs a cluster{table.hint}"
        )
    if sequences is not None and table.sequences is not None:
        differs = np.flatnonzero(table.sequences[positions] != sequences)
        for row in differs[:1]:
            logger.warning(
                "%s: %s has another sequence for its id (as for %d more of %d rows): were the clusters made from these rows?",
                *(location(int(row)), table.name, len(differs) - 1, len(rows)),
            )
    return table.clusters[positions]


def _open(path: Path, prefer: By) -> tuple[FileSource, By, Iterator[_Part], str]:
    """The file, what its members are known by, these, and a hint for messages."""
    source = FileSource(path)
    if not path.is_file():
        raise ValueError(f"{path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    if split_endings(path)[0] == ".parquet":
        raise ValueError(f"{path}: not a table of clusters; {ALLOWED}")
    if FORMATS.get(split_endings(path)[0]) == "excel":
        names = source.columns
        if "cluster" not in names or not _member_columns(names, prefer):
            raise ValueError(f"{path}: no column 'cluster' next to 'id' or 'sequence'; {ALLOWED}")
        by = _member_columns(names, prefer)[0]
        return source, by, _read_table(source, by, names), ""
    try:
        first = next((lines[0].as_py() for lines, _ in _lines(path)), "")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({one_line(error)}); {ALLOWED}") from None
    except ValueError as error:
        raise ValueError(f"{error}; {ALLOWED}") from None
    if not first:
        raise ValueError(f"{path}: the file is empty; {ALLOWED}")
    if first.startswith(">Cluster"):
        return source, "id", _read_cdhit(path), "; CD-HIT cuts names off unless it is run with -d 0"
    if ".clstr" in path.suffixes or source.format not in ("\t", ","):
        raise ValueError(f"{path}: not a table of clusters; {ALLOWED}")
    table = DelimitedFile(path, source.format)
    names = table.head.cells
    columns = _member_columns(names, prefer)
    if "cluster" in names and columns:
        return source, columns[0], _read_table(source, columns[0], names), ""
    if len(names) != 2 or columns or "cluster" in map(str.lower, names):
        first = table.head.lines[0]
        raise ValueError(f"{path}: its first line is {first[:60]!r}{'' if first else ' (empty: delete it)'}; {ALLOWED}")
    by = "sequence" if len(names[1]) >= SURELY_DNA and is_dna(names[1]) else "id"
    return source, by, _read_pairs(table), "; of two columns, the first has the representatives, the second the members"


def _member_columns(names: Sequence[str], prefer: By) -> list[By]:
    """Columns that members may be known by, the best first."""
    return [name for name in dict.fromkeys((prefer, "id", "sequence")) if name in names]


def _lines(path: Path) -> Iterator[tuple[pa.Array, np.ndarray]]:
    """Lines of a text file and their numbers, 1-based, in blocks; without the empty ones."""
    for block in read_blocks(path):
        lines = pa.array(block.text.decode().split("\n")[:-1])
        numbers = block.first + np.arange(len(lines))
        is_full = pc.not_equal(lines, "")
        if pc.any(is_full).as_py():
            yield lines.filter(is_full), numbers[is_full.to_numpy(zero_copy_only=False)]


def _read_cdhit(path: Path) -> Iterator[_Part]:
    n_clusters = 0  # concatenated files may count from 0 again
    for lines, numbers in _lines(path):
        heads = pc.starts_with(lines, ">Cluster").to_numpy(zero_copy_only=False)
        clusters = n_clusters + np.cumsum(heads)
        n_clusters = int(clusters[-1])
        lines, numbers, clusters = lines.filter(pa.array(~heads)), numbers[~heads], clusters[~heads]
        matches = pc.extract_regex(lines, _MEMBER)
        if matches.null_count:
            bad = int(np.argmax(matches.is_null().to_numpy(zero_copy_only=False)))
            raise ValueError(
                f"{path}, line {numbers[bad]}: {lines[bad].as_py()[:60]!r} is not a line of CD-HIT, such as "
                "'0<tab>110nt, >name... *'"
            )
        names = pc.struct_field(matches, "name")
        yield _Part(pc.replace_substring_regex(names, r"\s.*", "").to_pylist(), clusters, numbers)


def _read_pairs(table: DelimitedFile) -> Iterator[_Part]:
    columns = ("representative", "member")
    for batch in table.batches(columns, columns, has_header=False):
        representatives, members = (pc.utf8_trim_whitespace(batch.columns[name]) for name in columns)
        is_full = pc.not_equal(pc.binary_join_element_wise(representatives, members, ""), "")
        numbers = batch.numbers[is_full.to_numpy(zero_copy_only=False)]
        representatives, members = representatives.filter(is_full), members.filter(is_full)
        yield _Part(members.to_pylist(), hash_texts(representatives.to_pylist()), numbers)


def _read_table(source: FileSource, by: By, names: list[str]) -> Iterator[_Part]:
    has_sequences = by == "id" and "sequence" in names
    for batch in source.batches([by, "cluster", *(["sequence"] if has_sequences else [])]):
        members = pc.utf8_trim_whitespace(batch.columns[by]).to_pylist()
        sequences = pc.utf8_trim_whitespace(batch.columns["sequence"]).to_pylist() if has_sequences else ()
        yield _Part(members, hash_texts(names_in(batch, source, "cluster")), batch.numbers, sequences)


def _sorted(table: ClusterTable, lines: np.ndarray) -> ClusterTable:
    """The table sorted by member, each once; ValueError for one that is in two clusters."""
    order = np.argsort(table.members, kind="stable")
    members, clusters, lines = table.members[order], table.clusters[order], lines[order]
    conflicts = np.flatnonzero((members[1:] == members[:-1]) & (clusters[1:] != clusters[:-1]))
    if len(conflicts):
        first = conflicts[np.argmin(lines[conflicts + 1])]
        raise ValueError(
            f"{table.name}, lines {lines[first]} and {lines[first + 1]}: one {table.by} in two clusters; it may be in one"
            f"{table.hint}"
        )
    single = np.flatnonzero(np.diff(members, prepend=~members[:1]))
    sequences = table.sequences if table.sequences is None else table.sequences[order][single]
    return table._replace(members=members[single], clusters=clusters[single], sequences=sequences)


def _letters(sequence: str) -> str:
    """A sequence in the letters ACGTN, and `BAD` for what is no DNA."""
    return sequence.encode("utf-8", "replace").translate(CANONICAL).decode("ascii")


def _clean(sequences: list[str], lines: np.ndarray, name: str) -> list[str]:
    """Sequences in the letters ACGTN, all at once: line ends become `BAD` as well, and so separate them again."""
    cleaned = _letters("\n".join(sequences)).split(BAD)
    if len(cleaned) != len(sequences):
        for sequence, line in zip(sequences, lines, strict=True):
            try:
                canonical(sequence)
            except ValueError as error:
                raise ValueError(f"{name}, line {line}: {error}") from None
    return cleaned
