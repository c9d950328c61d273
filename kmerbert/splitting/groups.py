"""Which rows must stay in one split: equal or similar sequences, those of one group, those of one cluster."""

import logging
from collections.abc import Iterator

import numpy as np

from kmerbert.files import whole_file
from kmerbert.reading.rows import RowSpec, hash_texts, names_in, read_rows
from kmerbert.reading.sources import has_column
from kmerbert.splitting.clusters import assign_clusters, read_clusters
from kmerbert.splitting.components import join_groups
from kmerbert.splitting.near_duplicates import near_duplicates
from kmerbert.tokens.cache import TokenTable
from tokenization_kmer import KmerTokenizer

logger = logging.getLogger(__name__)


def rows_together(
    table: TokenTable,
    tokenizer: KmerTokenizer,
    sequence_column: str = "sequence",
    cluster_file: str | None = None,
    similar_sequences: float | None = None,
) -> np.ndarray:
    """Numbers the sets of rows that no division may split.

    Equal sequences, windows that share bases, and the rows of one group always belong together.

    Args:
        table: The rows to divide.
        tokenizer: As for `tokenise`.
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
    if cluster_file:
        together = join_groups(together, _file_groups(table, tokenizer, sequence_column, cluster_file))
    if similar_sequences:
        similar = _similar_groups(table, tokenizer, sequence_column, similar_sequences)
        message = "%s: %d groups of sequences that are %g identical or more, among %d rows"
        logger.info(message, table.source.name, similar.max() + 1, similar_sequences, len(similar))
        together = join_groups(together, similar)
    return together


def _sequences(table: TokenTable, column: str, tokenizer: KmerTokenizer) -> Iterator[list[str]]:
    """The sequences in the letters ACGTN as the source has them, without flanks and uncut."""
    spec = RowSpec(column)
    return (read_rows(batch, table.source, spec, tokenizer)[0] for batch in table.source.batches(spec.columns))


def _file_groups(table: TokenTable, tokenizer: KmerTokenizer, column: str, path: str) -> np.ndarray:
    """The cluster of every row, by its sequence or its id, which by default is `id` or its number in the file."""
    clusters = read_clusters(path, "sequence" if table.names is None else "id")
    sequences = None
    if clusters.by == "sequence" or clusters.sequences is not None:
        batches = _sequences(table, column, tokenizer)
        sequences = np.concatenate([hash_texts(batch) for batch in batches])
    if clusters.by == "sequence":
        return assign_clusters(clusters, sequences, table.location)
    names = table.names
    if names is None and has_column(table.source, "id"):
        batches = table.source.batches(["id"])
        names = np.concatenate([hash_texts(names_in(batch, table.source, "id")) for batch in batches])
    elif names is None:
        names = hash_texts(table.numbers.astype(str).tolist())
        hint = f"{clusters.hint}; rows are known by their line numbers: name the column of their ids with `id_column`"
        clusters = clusters._replace(hint=hint)
    return assign_clusters(clusters, names, table.location, sequences)


def _similar_groups(table: TokenTable, tokenizer: KmerTokenizer, column: str, identity: float) -> np.ndarray:
    """Groups of near duplicates; computed once, then kept next to the token file."""
    path = table.stem.with_name(f"{table.stem.name}-similar-{identity:g}.npy")
    if not path.exists():
        groups = near_duplicates(_sequences(table, column, tokenizer), identity)
        with whole_file(path) as partial, open(partial, "wb") as file:
            np.save(file, groups)
    return np.load(path)
