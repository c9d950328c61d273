"""Which rows must stay in one split: equal or similar sequences, those of one group, those of one cluster.

Where a network reads both strands, a sequence and its reverse complement are one. A table says so by its `strand_keys`.
"""

import logging
from collections.abc import Iterator

import numpy as np

from kmerbert.files import whole_file
from kmerbert.reading.rows import hash_texts, n_distinct, names_in, read_dna
from kmerbert.reading.sources import has_column
from kmerbert.splitting.clusters import assign_clusters, read_clusters
from kmerbert.splitting.components import join_groups
from kmerbert.splitting.near_duplicates import near_duplicates
from kmerbert.tokens.cache import TokenTable

logger = logging.getLogger(__name__)


def rows_together(
    table: TokenTable,
    sequence_column: str = "sequence",
    cluster_file: str | None = None,
    similar_sequences: float | None = None,
) -> np.ndarray:
    """Numbers the sets of rows that no division may split.

    Equal sequences, windows that share bases, and the rows of one group always belong together. If the table has
    `strand_keys`, so do a sequence and its reverse complement, also as near duplicates.

    Args:
        table: The rows to divide.
        sequence_column: Column of the DNA in the table's source.
        cluster_file: Table of clusters whose members belong together, too; None for none.
        similar_sequences: Identity from which sequences belong together, too; None for equal ones only.

    Returns:
        int array (n,), 0 or more, equal for rows that must stay together.

    Raises:
        ValueError: The cluster file cannot be used, or a row is in none of its clusters.
    """
    groups = table.overlaps if table.groups is None else table.groups  # windows of one row are of one group anyway
    together = table.sequence_numbers if groups is None else join_groups(table.sequence_numbers, groups)
    if table.strand_keys is not None and n_distinct(table.strand_keys) < len(table):
        together = join_groups(table.strand_keys, together)
    if cluster_file:
        together = join_groups(together, _file_groups(table, sequence_column, cluster_file))
    if similar_sequences:
        similar = _similar_groups(table, sequence_column, similar_sequences)
        sizes = np.bincount(similar)
        logger.info(
            "%s: %d groups of sequences that are %g identical or more%s, among %d rows; %d rows have a near duplicate",
            *(table.source.name, len(sizes), similar_sequences, _on_strands(table), len(similar)),
            sizes[sizes > 1].sum(),
        )
        together = join_groups(together, similar)
    return together


def _on_strands(table: TokenTable) -> str:
    return "" if table.strand_keys is None else " on either strand"


def read_sequences(table: TokenTable, column: str, rows: np.ndarray | None = None) -> Iterator[list[str]]:
    """Yields the sequences of rows (all, or those numbers) in the letters ACGTN, as the source has them, uncut."""
    return (read_dna(batch, table.source, column) for batch in table.read_again([column], rows))


def _file_groups(table: TokenTable, column: str, path: str) -> np.ndarray:
    """The cluster of every row, by its sequence or its id, which by default is `id` or its number in the file."""
    clusters = read_clusters(path, "sequence" if table.names is None else "id")
    sequences = None
    if clusters.by == "sequence" or clusters.sequences is not None:
        sequences = np.concatenate([hash_texts(batch) for batch in read_sequences(table, column)])
    if clusters.by == "sequence":
        return assign_clusters(clusters, sequences, table.location)
    names = table.names
    if names is None and has_column(table.source, "id"):
        batches = table.read_again(["id"])
        names = np.concatenate([hash_texts(names_in(batch, table.source, "id")) for batch in batches])
    elif names is None:
        names = hash_texts(table.numbers.astype(str).tolist())
        hint = f"{clusters.hint}; rows are known by their line numbers: name the column of their ids with `id_column`"
        clusters = clusters._replace(hint=hint)
    return assign_clusters(clusters, names, table.location, sequences)


def _similar_groups(table: TokenTable, column: str, identity: float) -> np.ndarray:
    """Groups of near duplicates; computed once, then kept next to the token file."""
    both_strands = table.strand_keys is not None
    path = table.stem.with_name(f"{table.stem.name}-similar-{identity:g}{'-both-strands' if both_strands else ''}.npy")
    if not path.exists():
        groups = near_duplicates(read_sequences(table, column), identity, both_strands)
        with whole_file(path) as partial, open(partial, "wb") as file:
            np.save(file, groups)
    return np.load(path)
