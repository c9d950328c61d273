"""Clusters that another program made, read from its table and given to rows. Makes no clusters itself.

Three kinds of table, each also with `.gz`, `.bz2` or `.zst` behind its name:

- CD-HIT's `.clstr`, made with `-d 0`, because names are cut off otherwise;
- two columns without a header, representative and member (`.tsv`, `.csv`), as MMseqs2 writes `_cluster.tsv`;
- a table with a header, columns `cluster` and `id` or `sequence` (`.tsv`, `.csv`).

Members are known by their id or by their sequence. Memory is three numbers for every member, whatever their names are.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from kmerbert.dna.sequences import BAD, CANONICAL, canonical
from kmerbert.reading.rows import hash_words
from kmerbert.reading.sources import BLOCK_BYTES, FileSource

By = Literal["id", "sequence"]
NEEDED = (
    "needed are CD-HIT's .clstr, two columns without a header (representative and member), or a header with the "
    "columns 'cluster' and 'id' or 'sequence'"
)
_MEMBER = r"^\d+\t\d+[a-z]+, >(?P<name>.+)\.\.\. (?:\*|at .+)$"  # of CD-HIT: 0 <tab> 110nt, >name... at +/98.18%
_SURELY_DNA = 15  # a first member of so many bases is a sequence and no id


class ClusterTable(NamedTuple):
    """Who is in which cluster.

    Attributes:
        name: the file.
        by: what the members are known by.
        members: uint64 array (m,), rising: hashes of the ids or of the sequences (`rows.hash_words`), these in the
            letters ACGTN.
        clusters: int64 array (m,), each member's cluster, numbered from 0 by first appearance in the file.
        hint: what may be wrong when rows are not found, for messages.
    """

    name: str
    by: By
    members: np.ndarray
    clusters: np.ndarray
    hint: str


class _Part(NamedTuple):
    """Some members: words, hashes of their clusters (uint64 or int64), 1-based lines."""

    words: list[str]
    clusters: np.ndarray
    lines: np.ndarray


def read_clusters(path: str | Path, prefer: By = "id") -> ClusterTable:
    """Reads a table of clusters.

    Args:
        path: the table; the module says which kinds there are.
        prefer: what to know members by where the table has both.

    Raises:
        ValueError: for a file that is missing, empty or of another kind, a line that is not like the others, a sequence
            that is no DNA, and a member of two clusters, with the line.
    """
    source, by, parts, hint = _open(Path(path), prefer)
    members, clusters, lines = [], [], []
    try:
        for words, cluster, numbers in parts:
            if "" in words:
                raise ValueError(f"{source.path}, line {numbers[words.index('')]}: a member without {by}")
            words = _clean(words, numbers, source.name) if by == "sequence" else words
            members.append(hash_words(words))
            clusters.append(cluster)
            lines.append(numbers)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path}: cannot be read ({' '.join(str(error).split())}): is it whole, and text?") from None
    if not sum(map(len, members)):
        raise ValueError(f"{path}: no clusters in it; {NEEDED}")
    codes = pd.factorize(np.concatenate(clusters))[0].astype(np.int64)
    return _sorted(ClusterTable(str(path), by, np.concatenate(members), codes, hint), np.concatenate(lines))


def assign_clusters(table: ClusterTable, rows: np.ndarray, place: Callable[[int], str]) -> np.ndarray:
    """Finds the cluster of every row.

    Args:
        table: what `read_clusters` gave; it may have members that are no rows.
        rows: uint64 array (n,), `rows.hash_words` of the rows' ids or of their sequences, as `table.by` says.
        place: words for where a row (0-based) is, for messages.

    Returns:
        int64 array (n,), the clusters of the table.

    Raises:
        ValueError: for a row that is in no cluster.
    """
    found = np.minimum(np.searchsorted(table.members, rows), len(table.members) - 1)
    missing = np.flatnonzero(table.members[found] != rows)
    if len(missing):
        raise ValueError(
            f"{place(int(missing[0]))}: its {table.by} is in no cluster of {table.name} (nor that of "
            f"{len(missing) - 1} more of {len(rows)} rows): every row needs one{table.hint}"
        )
    return table.clusters[found]


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
        what = "no line of it can be read" if path.stat().st_size else "the file is empty"
        raise ValueError(f"{path}: {what}; {NEEDED}")
    if first.startswith(">Cluster"):
        return source, "id", _read_cdhit(path), "; CD-HIT cuts names off unless it is run with -d 0"
    if ".clstr" in path.suffixes or source.format not in ("\t", ","):
        raise ValueError(f"{path}: no table of clusters; {NEEDED}")
    names = [name.strip().strip('"') for name in first.split(source.format)]
    columns = [name for name in (prefer, "id", "sequence") if name in names]
    if "cluster" in names and columns:
        return FileSource(path, columns[0]), columns[0], _read_table(FileSource(path, columns[0])), ""
    if len(names) != 2 or columns or "cluster" in names:
        raise ValueError(f"{path}: its first line is {first[:60]!r}; {NEEDED}")
    letters = names[1].encode("utf-8", "replace").translate(CANONICAL)
    by = "sequence" if len(letters) >= _SURELY_DNA and BAD.encode() not in letters else "id"
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
        full = pc.not_equal(lines, "")
        if pc.any(full).as_py():
            yield lines.filter(full), numbers[full.to_numpy(zero_copy_only=False)]


def _read_cdhit(path: Path) -> Iterator[_Part]:
    n_clusters = 0  # files that were put together may count from 0 again
    for lines, numbers in _lines(path):
        heads = pc.starts_with(lines, ">Cluster").to_numpy(zero_copy_only=False)
        clusters = n_clusters + np.cumsum(heads)
        n_clusters = int(clusters[-1])
        lines, numbers, clusters = lines.filter(pa.array(~heads)), numbers[~heads], clusters[~heads]
        found = pc.extract_regex(lines, _MEMBER)
        if found.null_count:
            wrong = int(np.argmax(found.is_null().to_numpy(zero_copy_only=False)))
            raise ValueError(
                f"{path}, line {numbers[wrong]}: {lines[wrong].as_py()[:60]!r} is no line of CD-HIT, such as "
                "'0<tab>110nt, >name... *'"
            )
        names = pc.struct_field(found, "name")
        yield _Part(pc.replace_substring_regex(names, r"\s.*", "").to_pylist(), clusters, numbers)


def _read_pairs(path: Path, delimiter: str) -> Iterator[_Part]:
    for lines, numbers in _lines(path):
        fields = pc.split_pattern(lines, delimiter)
        counts = pc.list_value_length(fields).to_numpy()
        if (counts != 2).any():
            wrong = int(np.argmax(counts != 2))
            raise ValueError(
                f"{path}, line {numbers[wrong]}: {counts[wrong]} columns, but 2 in the first line: "
                f"{lines[wrong].as_py()[:60]!r}"
            )
        representatives, members = (pc.ascii_trim_whitespace(pc.list_element(fields, side)) for side in (0, 1))
        yield _Part(members.to_pylist(), hash_words(representatives.to_pylist()), numbers)


def _read_table(source: FileSource) -> Iterator[_Part]:
    for batch in source.batches([source.sequence_column, "cluster"]):
        words, clusters = (
            pc.ascii_trim_whitespace(batch.columns[name]).to_pylist() for name in (source.sequence_column, "cluster")
        )
        if "" in clusters:
            raise ValueError(
                f"{source.place(batch.numbers[clusters.index('')])}: cluster is empty: every row needs one"
            )
        yield _Part(words, hash_words(clusters), batch.numbers)


def _sorted(table: ClusterTable, lines: np.ndarray) -> ClusterTable:
    """The table by rising members, each once; ValueError for one that is in two clusters."""
    order = np.argsort(table.members, kind="stable")
    members, clusters, lines = table.members[order], table.clusters[order], lines[order]
    twice = np.flatnonzero((members[1:] == members[:-1]) & (clusters[1:] != clusters[:-1]))
    if len(twice):
        first = twice[np.argmin(lines[twice + 1])]
        raise ValueError(
            f"{table.name}, lines {lines[first]} and {lines[first + 1]}: one {table.by} in two clusters; allowed is one"
            f"{table.hint}"
        )
    single = np.flatnonzero(np.diff(members, prepend=~members[:1]))
    return table._replace(members=members[single], clusters=clusters[single])


def _clean(words: list[str], lines: np.ndarray, name: str) -> list[str]:
    """Sequences in the letters ACGTN, all at once: line ends become `BAD` as well, and so divide them again."""
    cleaned = "\n".join(words).encode("utf-8", "replace").translate(CANONICAL).decode("ascii").split(BAD)
    if len(cleaned) != len(words):
        for word, line in zip(words, lines, strict=True):
            try:
                canonical(word)
            except ValueError as error:
                raise ValueError(f"{name}, line {line}: {error}") from None
    return cleaned
