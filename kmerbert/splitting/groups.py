"""Which rows must be on one side of a division: equal or similar sequences, one group's, one cluster's. Divides nothing."""

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kmerbert.cli.flags import SequenceDataArguments
from kmerbert.reading.rows import Rows, hash_words, read_rows
from kmerbert.reading.sources import own_id
from kmerbert.splitting.clusters import assign_clusters, read_clusters
from kmerbert.splitting.near_duplicates import near_duplicates
from kmerbert.tokens.cache import TokenTable

logger = logging.getLogger(__name__)


def together(table: TokenTable, arguments: SequenceDataArguments, tokenizer: Any) -> np.ndarray:
    """Numbers the sets of rows that no division may part.

    Args:
        table: the rows to divide.
        arguments: `group_column`, `cluster_file` and `similar_sequences` say what belongs together, besides equal sequences
            and windows that share bases.
        tokenizer: as for `tokenise`.

    Returns:
        int array (n,), 0 or more, equal for rows that must stay together.

    Raises:
        ValueError: for a cluster file that cannot be used, or a row that is in none of its clusters.
    """
    groups = table.overlaps if table.groups is None else table.groups  # windows of one row are of one group anyway
    found = table.sequence_numbers if groups is None else components(table.sequence_numbers, groups)
    if arguments.cluster_file:
        found = components(found, _file_groups(table, arguments, tokenizer))
    if arguments.similar_sequences:
        similar = _similar_groups(table, arguments.sequence_column, tokenizer, arguments.similar_sequences)
        words = "%s: %d groups of sequences that are %g identical or more, among %d rows"
        logger.info(words, table.source.name, similar.max() + 1, arguments.similar_sequences, len(similar))
        found = components(found, similar)
    return found


def _sequences(table: TokenTable, column: str, tokenizer: Any) -> Iterator[list[str]]:
    """The sequences in the letters ACGTN as the source has them, without flanks and uncut."""
    spec = Rows(column)
    return (read_rows(batch, table.source, spec, tokenizer)[0] for batch in table.source.batches(spec.columns))


def _file_groups(table: TokenTable, arguments: SequenceDataArguments, tokenizer: Any) -> np.ndarray:
    """The cluster of every row, by its sequence or its id, which without --id_column is `id` or its number in the file."""
    clusters = read_clusters(arguments.cluster_file, "sequence" if table.names is None else "id")
    if clusters.by == "sequence":
        batches = _sequences(table, arguments.sequence_column, tokenizer)
        return assign_clusters(clusters, np.concatenate([hash_words(batch) for batch in batches]), table.place)
    names = table.names
    if names is None and own_id(table.source):
        columns = (batch.columns["id"].to_pylist() for batch in table.source.batches(["id"]))
        names = np.concatenate([hash_words([str(name).strip() for name in column]) for column in columns])
    elif names is None:
        names = hash_words(table.numbers.astype(str).tolist())
        hint = f"{clusters.hint}; rows are known by their line numbers: name the column of their ids by --id_column"
        clusters = clusters._replace(hint=hint)
    return assign_clusters(clusters, names, table.place)


def _similar_groups(table: TokenTable, column: str, tokenizer: Any, identity: float) -> np.ndarray:
    """Groups of near duplicates; found once, then kept beside the token file."""
    path = table.stem.with_name(f"{table.stem.name}-similar-{identity:g}.npy")
    if not path.exists():
        groups = near_duplicates(_sequences(table, column, tokenizer), identity)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="writing-") as name:
            np.save(Path(name) / "groups.npy", groups)
            os.replace(Path(name) / "groups.npy", path)
    return np.load(path)


def components(keys: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Returns which rows must stay together: those of one sequence or of one group, and whatever these join.

    Args:
        keys: uint64 array (n,), equal where the sequences are equal.
        groups: int array (n,), equal where the rows are of one group; None for no groups.

    Returns:
        int64 array (n,), equal for rows that must stay together, numbered by first appearance in the sorted keys.

    >>> components(np.array([7, 8, 7, 9], np.uint64), np.array([0, 0, 1, 2])).tolist()
    [0, 0, 0, 1]
    """
    _, by_key = np.unique(keys, return_inverse=True)
    if groups is None:
        return by_key
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_keys = int(by_key.max(initial=-1)) + 1
    _, by_group = np.unique(groups, return_inverse=True)
    n_nodes = n_keys + int(by_group.max(initial=-1)) + 1
    edges = coo_array((np.ones(len(keys), np.int8), (by_key, n_keys + by_group)), shape=(n_nodes, n_nodes))
    return connected_components(edges, directed=False)[1][by_key]
