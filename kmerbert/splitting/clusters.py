"""Reads the clusters that another program made from its table, and gives them to rows.

Three kinds of table, each also with `.gz`, `.bz2` or `.zst` behind its name:

- CD-HIT's `.clstr`, made with `-d 0`, because otherwise names are cut off;
- two columns without a header, representative and member (`.tsv`, `.csv`), as MMseqs2 writes `_cluster.tsv`;
- a table with a header, columns `cluster` and `id` or `sequence` (`.tsv`, `.csv`).

Members are known by their id or by their sequence. Memory is three numbers for each member, however long the names are.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from kmerbert.dna.sequences import BAD, CANONICAL, canonical, is_dna
from kmerbert.errors import counted, one_line
from kmerbert.reading.rows import hash_texts
from kmerbert.reading.sources import BLOCK_BYTES, FileSource

By = Literal["id", "sequence"]
ALLOWED = (
    "allowed are CD-HIT's .clstr, two columns without a header (representative and member), or a header with the "
    "columns 'cluster' and 'id' or 'sequence'"
)
_MEMBER = r"^\d+\t\d+[a-z]+, >(?P<name>.+)\.\.\. (?:\*|at .+)$"  # of CD-HIT: 0 <tab> 110nt, >name... at +/98.18%
_SURELY_DNA = 15  # a first member with this many bases is a sequence, not an id


class ClusterTable(NamedTuple):
    """Who is in which cluster.

    Attributes:
        name: The file.
        by: What the members are known by.
        members: uint64 array (m,), rising: hashes of the ids, or of the sequences in the letters ACGTN (`rows.hash_texts`).
        clusters: int64 array (m,), each member's cluster, numbered from 0 by first appearance in the file.
        hint: What may be wrong if rows are in no cluster, for messages.
    """

    name: str
    by: By
    members: np.ndarray
    clusters: np.ndarray
    hint: str


class _Part(NamedTuple):
    """Some members: their names or sequences, hashes of their clusters (uint64 or int64), 1-based lines."""

    members: list[str]
    clusters: np.ndarray
    lines: np.ndarray


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
    members, clusters, lines = [], [], []
    try:
        for names, cluster, numbers in parts:
            if "" in names:
                raise ValueError(f"{source.path}, line {numbers[names.index('')]}: a member without {by}")
            names = _clean(names, numbers, source.name) if by == "sequence" else names
            members.append(hash_texts(names))
            clusters.append(cluster)
            lines.append(numbers)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path}: cannot be read ({one_line(error)}): is it whole, and text?") from None
    if not sum(map(len, members)):
        raise ValueError(f"{path}: it has no clusters; {ALLOWED}")
    codes = pd.factorize(np.concatenate(clusters))[0].astype(np.int64)
    return _sorted(ClusterTable(str(path), by, np.concatenate(members), codes, hint), np.concatenate(lines))


def assign_clusters(table: ClusterTable, rows: np.ndarray, location: Callable[[int], str]) -> np.ndarray:
    """Finds the cluster of every row.

    Args:
        table: Result of `read_clusters`; it may have members that are no rows.
        rows: uint64 array (n,), `rows.hash_texts` of the rows' ids or of their sequences, as `table.by` says.
        location: Tells where a row (0-based) is, for messages.

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
    return table.clusters[positions]


def _open(path: Path, prefer: By) -> tuple[FileSource, By, Iterator[_Part], str]:
    """The file, what its members are known by, these, and a hint for messages."""
    source = FileSource(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        first = next((lines[0].as_py() for lines, _ in _lines(path)), "").removeprefix("\ufeff")
    except (pa.ArrowException, UnicodeDecodeError, OSError):
        first = ""
    if not first:
        problem = "not one line can be read" if path.stat().st_size else "the file is empty"
        raise ValueError(f"{path}: {problem}; {ALLOWED}")
    if first.startswith(">Cluster"):
        return source, "id", _read_cdhit(path), "; CD-HIT cuts names off unless it is run with -d 0"
    if ".clstr" in path.suffixes or source.format not in ("\t", ","):
        raise ValueError(f"{path}: not a table of clusters; {ALLOWED}")
    names = [name.strip().strip('"') for name in first.split(source.format)]
    columns = [name for name in (prefer, "id", "sequence") if name in names]
    if "cluster" in names and columns:
        return FileSource(path, columns[0]), columns[0], _read_table(FileSource(path, columns[0])), ""
    if len(names) != 2 or columns or "cluster" in names:
        raise ValueError(f"{path}: its first line is {first[:60]!r}; {ALLOWED}")
    by = "sequence" if len(names[1]) >= _SURELY_DNA and is_dna(names[1]) else "id"
    return source, by, _read_pairs(path, source.format), ""


def _lines(path: Path) -> Iterator[tuple[pa.Array, np.ndarray]]:
    """Lines of a text file and their numbers, 1-based, in blocks; without the empty ones."""
    first = 1
    for batch in pyarrow.csv.open_csv(
        pa.input_stream(str(path)),
        pyarrow.csv.ReadOptions(column_names=["line"], use_threads=False, block_size=BLOCK_BYTES),
        pyarrow.csv.ParseOptions(delimiter="\1", quote_char=False, ignore_empty_lines=False),
        pyarrow.csv.ConvertOptions(column_types={"line": pa.string()}, strings_can_be_null=False),
    ):
        lines, numbers = batch.column(0), np.arange(first, first + batch.num_rows)
        first += batch.num_rows
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


def _read_pairs(path: Path, delimiter: str) -> Iterator[_Part]:
    for lines, numbers in _lines(path):
        fields = pc.split_pattern(lines, delimiter)
        counts = pc.list_value_length(fields).to_numpy()
        if (counts != 2).any():
            bad = int(np.argmax(counts != 2))
            raise ValueError(
                f"{path}, line {numbers[bad]}: {counted(counts[bad], 'column')}, but 2 in the first line: "
                f"{lines[bad].as_py()[:60]!r}"
            )
        representatives, members = (pc.ascii_trim_whitespace(pc.list_element(fields, side)) for side in (0, 1))
        yield _Part(members.to_pylist(), hash_texts(representatives.to_pylist()), numbers)


def _read_table(source: FileSource) -> Iterator[_Part]:
    for batch in source.batches([source.sequence_column, "cluster"]):
        members, clusters = (
            pc.ascii_trim_whitespace(batch.columns[name]).to_pylist() for name in (source.sequence_column, "cluster")
        )
        if "" in clusters:
            raise ValueError(
                f"{source.location(batch.numbers[clusters.index('')])}: cluster is empty: every row needs one"
            )
        yield _Part(members, hash_texts(clusters), batch.numbers)


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
    return table._replace(members=members[single], clusters=clusters[single])


def _clean(sequences: list[str], lines: np.ndarray, name: str) -> list[str]:
    """Sequences in the letters ACGTN, all at once: line ends become `BAD` as well, and so separate them again."""
    cleaned = "\n".join(sequences).encode("utf-8", "replace").translate(CANONICAL).decode("ascii").split(BAD)
    if len(cleaned) != len(sequences):
        for sequence, line in zip(sequences, lines, strict=True):
            try:
                canonical(sequence)
            except ValueError as error:
                raise ValueError(f"{name}, line {line}: {error}") from None
    return cleaned
