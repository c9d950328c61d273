"""Rows of a table, checked and cut: clean sequences that fit the model, numbers, splits and groups."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pandas.util import hash_array

from kmerbert.dna.sequences import BAD, CANONICAL, canonical, random_windows, reverse_complements, windows
from kmerbert.errors import counted
from kmerbert.reading.bad_rows import CORRECT_IT, RowError
from kmerbert.reading.labels import LabelTransform
from kmerbert.reading.sources import Batch, Source, as_text, to_numbers
from tokenization_kmer import N_ADDED, Flanks, KmerTokenizer, is_kmers

logger = logging.getLogger(__name__)
# Names that tables use for the splits, in lower case, and the number of each split.
SPLIT_NAMES = {"train": 0, "training": 0, "validation": 1, "valid": 1, "val": 1, "dev": 1, "test": 2, "testing": 2}
# Kinds of Arrow columns that may hold DNA; a column of nulls is empty cells.
TEXT_TYPES = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
# Above the first share of [UNK] k-mers somebody should look at the data; above the second it is not DNA of this alphabet.
UNKNOWN_WARNING, UNKNOWN_ERROR = 0.05, 0.5


@dataclass(frozen=True)
class RowSpec:
    """What to read of a table and how to cut it.

    Attributes:
        sequence: Column of the DNA.
        labels: Columns of measured values.
        id, split, group: Columns of the rows' ids, splits and groups; None for none.
        filled: Further columns in which no row may be empty.
        window, step: Bases of the windows that sequences are cut into, and from window to window; None for whole sequences,
            and for the length of a window.
        short_windows: Share of windows of a random, shorter length.
        window_seed: Seed of these lengths.
        cut_at: Tokens, special ones included, beyond which the right end is cut off; None to cut nothing.
        max_tokens: Tokens, special ones included, that the model can read; None for no limit.
        flanks: Added before anything is cut.
        both_strands: Whether to say which sequences are the same but for the strand.
        drops_bad_rows: Whether rows that cannot be used are left out, instead of being an error.
        transform: What measured values become; None for themselves.
    """

    sequence: str
    labels: tuple[str, ...] = ()
    id: str | None = None
    split: str | None = None
    group: str | None = None
    filled: tuple[str, ...] = ()
    window: int | None = None
    step: int | None = None
    short_windows: float = 0.0
    window_seed: int = 0
    cut_at: int | None = None
    max_tokens: int | None = None
    flanks: Flanks | None = None
    both_strands: bool = False
    drops_bad_rows: bool = False
    transform: LabelTransform | None = None

    @property
    def columns(self) -> list[str]:
        """All columns to read, once each."""
        names = (self.sequence, *self.labels, self.id, self.split, self.group, *self.filled)
        return list(dict.fromkeys(name for name in names if name))


class Named(NamedTuple):
    """What some rows are called: ids, sequences, and columns that are carried to the predictions, by their names."""

    ids: Sequence[str]
    sequences: Sequence[str]
    kept: Mapping[str, Sequence[str | None]] = MappingProxyType({})


def read_rows(
    batch: Batch, source: Source, spec: RowSpec, tokenizer: KmerTokenizer, is_trained: bool = False
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Checks a batch and cuts its sequences as the specification says.

    Args:
        batch, source: The rows, and where they are from.
        spec: What they hold and how to cut them.
        tokenizer: Knows how many tokens a sequence becomes.
        is_trained: Whether the model is trained already: no message then advises to change its settings.

    Returns:
        The sequences, in the letters ACGTN, and arrays of the same length: `numbers` (int64, 1-based, in the source)
        and, if specified, `labels` (float64 (n, outputs)), `splits` (int8), `groups` and `names` (uint64 hashes of groups
        and ids), `overlaps` (int64, equal for windows that share bases), and `strand_keys` (uint64, `hash_strands` of the
        windows, or of the whole sequences as the source has them: with a plasmid's flanks around both, an insert and its
        reverse complement would be different).

    Raises:
        RowError: A row cannot be used; the message has its location and what is wrong.
        ValueError: A column or a setting cannot be used.
    """
    sequences, columns = _check(batch, source, spec)
    if spec.both_strands and not spec.window:
        columns["strand_keys"] = hash_strands(sequences)
    if spec.flanks:
        try:
            sequences = spec.flanks.extend(sequences)
        except LookupError as error:
            row, problem = error.args
            reason = (
                f"{problem}: with {'the model' if is_trained else '`flank_file`'} all sequences must be of one kind; fix or "
                "remove the row"
            )
            raise RowError(source, batch.numbers[row], spec.sequence, sequences[row], reason) from None
    sequences, columns = _fit(sequences, columns, source, spec, tokenizer, is_trained)
    if spec.both_strands and spec.window:
        columns["strand_keys"] = hash_strands(sequences)
    return sequences, columns


def read_dna(batch: Batch, source: Source, column: str) -> list[str]:
    """Reads sequences in the letters ACGTN, without flanks and uncut, of any length; ValueError as for `read_rows`."""
    return _check(batch, source, RowSpec(column))[0]


def read_labels(
    batch: Batch, source: Source, names: Sequence[str], transform: LabelTransform | None = None
) -> np.ndarray:
    """Reads measured values, float64 (n, outputs), NaN where one of several is missing, transformed if that is asked.

    Raises:
        RowError: A value is not a number, or cannot be transformed, or a row has none.
    """
    labels = np.column_stack([to_numbers(batch.columns[name], source, batch.numbers, name) for name in names])
    unlabelled = np.flatnonzero(np.isnan(labels).all(axis=1))
    if len(unlabelled):
        columns = " or ".join(names)
        reason = f"no value in {columns}: every row needs one; remove rows without one"
        raise RowError(source, batch.numbers[unlabelled[0]], columns, "", reason)
    return transform.apply(labels, names, source, batch.numbers) if transform else labels


def without_gaps(
    sequences: list[str], columns: dict[str, np.ndarray], k: int
) -> tuple[list[str], dict[str, np.ndarray], int]:
    """Leaves out windows that say nothing: those without a single k-mer of A, C, G and T.

    They lie in the gaps of a genome, which are runs of N, and are equal to each other on all chromosomes.

    Args:
        sequences, columns: Windows as `read_rows` returns them.
        k: Bases of a k-mer.

    Returns:
        The sequences and columns of the other windows, and how many are left out.
    """
    find_kmer = re.compile(f"[ACGT]{{{k}}}").search
    if all(map(find_kmer, sequences)):
        return sequences, columns, 0
    kept = np.array([find_kmer(sequence) is not None for sequence in sequences])
    sequences = [sequence for sequence, is_kept in zip(sequences, kept, strict=True) if is_kept]
    return sequences, {name: values[kept] for name, values in columns.items()}, int(np.count_nonzero(~kept))


def hash_texts(texts: list[str]) -> np.ndarray:
    """Returns uint64 hashes, equal in every process; two of 7 million sequences collide once in a million such sets."""
    return hash_array(np.array(texts, dtype=object), categorize=False)


def names_in(batch: Batch, source: Source, column: str) -> list[str]:
    """Returns a column of ids, groups or other names as text, without the blanks around them.

    Raises:
        RowError: A row has none.
        ValueError: The column is not text in UTF-8.
    """
    try:
        values = pc.utf8_trim_whitespace(as_text(batch.columns[column]).fill_null("")).to_pylist()
    except (pa.ArrowInvalid, UnicodeDecodeError):
        first, last = (source.location(int(batch.numbers[row])) for row in (0, -1))
        raise ValueError(f"{first} to {last}: {column} is not text in UTF-8: write the column as text") from None
    if "" in values:
        row = values.index("")
        raise RowError(source, batch.numbers[row], column, "", f"{column} is empty: every row needs one")
    return values


def hash_strands(sequences: list[str]) -> np.ndarray:
    """Returns uint64 hashes as `hash_texts` does, but the same for a sequence and its reverse complement."""
    return np.minimum(hash_texts(sequences), hash_texts(reverse_complements(sequences)))


def check_reading_frames(n_kmers: np.ndarray, numbers: np.ndarray, source: Source, n_frames: int) -> None:
    """Checks that no reading frame of any row is empty.

    Args:
        n_kmers: int array (n,), k-mers of each row.
        numbers, source: int array (n,), each row's number in the source, for messages.
        n_frames: Frames in which a model reads every row.

    Raises:
        ValueError: A row has fewer k-mers than there are frames.
    """
    if (is_short := n_kmers < n_frames).any():
        row = int(is_short.argmax())
        raise ValueError(
            f"{source.location(int(numbers[row]))}: {counted(n_kmers[row], 'k-mer')} in the row, fewer than the "
            f"model's {n_frames} reading frames: remove the row, or train with fewer `reading_frames`"
        )


def check_unknown(share: float, name: str, is_trained: bool = False) -> None:
    """Warns if many k-mers are [UNK].

    Args:
        share: Share of [UNK] among the k-mers, 0 to 1.
        name: Where they are from, for the message.
        is_trained: Whether the model is trained already: more than half is then a warning, too.

    Raises:
        ValueError: More than half are [UNK] before training.
    """
    problem = f"{name}: {share:.1%} of the k-mers are [UNK] (they contain a letter outside the alphabet, such as N)"
    if share > UNKNOWN_ERROR and not is_trained:
        raise ValueError(f"{problem}: is this DNA? Check `alphabet` and the sequences")
    if share > UNKNOWN_WARNING:
        logger.warning("%s", problem)


def _check(batch: Batch, source: Source, spec: RowSpec) -> tuple[list[str], dict[str, np.ndarray]]:
    """Cleans a batch's sequences and reads its other columns, or says which row is wrong."""
    column = batch.columns[spec.sequence]
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not any(is_kind(kind) for is_kind in TEXT_TYPES):
        raise ValueError(f"{source.name}: the column {spec.sequence!r} holds {column.type}, not text")
    columns = {"numbers": batch.numbers}

    def bad_row(row: int, column: str, value: str, reason: str) -> RowError:
        return RowError(source, batch.numbers[row], column, value, reason)

    def texts(column: str) -> list[str]:
        return names_in(batch, source, column)

    sequences = _canonical(
        pc.ascii_trim_whitespace(as_text(column).fill_null("")), lambda row, *why: bad_row(row, spec.sequence, *why)
    )
    if spec.labels:
        columns["labels"] = read_labels(batch, source, spec.labels, spec.transform)
    if spec.split:
        names = texts(spec.split)
        for row, name in enumerate(names):
            if name.lower() not in SPLIT_NAMES:
                reason = f"{spec.split} is {name!r}: allowed are train, validation and test"
                raise bad_row(row, spec.split, name, reason)
        columns["splits"] = np.array([SPLIT_NAMES[name.lower()] for name in names], np.int8)
    if spec.group:
        columns["groups"] = hash_texts(texts(spec.group))
    if spec.id:
        columns["names"] = hash_texts(texts(spec.id))
    for name in spec.filled:
        texts(name)
    return sequences, columns


def _canonical(array: pa.StringArray, bad_row: Callable[[int, str, str], RowError]) -> list[str]:
    """Sequences in the letters ACGTN, all translated at once; `bad_row` makes an error of row, value and reason."""
    array = pa.concat_arrays([array])  # offsets that begin at 0
    offsets = np.frombuffer(array.buffers()[1], np.int32, len(array) + 1)
    empty = np.flatnonzero(np.diff(offsets) == 0)
    if len(empty):
        raise bad_row(int(empty[0]), "", "the sequence is empty: remove the row")
    letters = bytes(array.buffers()[2] or b"")[: offsets[-1]].translate(CANONICAL)
    bad = letters.find(BAD.encode())
    if bad >= 0:
        row = int(np.searchsorted(offsets, bad, side="right")) - 1
        try:
            canonical(array[row].as_py())
        except ValueError as error:
            text = array[row].as_py()
            advice = (
                "" if is_kmers(text) else f"; {CORRECT_IT}"
            )  # k-mers are in all rows, and the message says what to write
            raise bad_row(row, text, f"{error}{advice}") from None
    return pa.StringArray.from_buffers(len(array), pa.py_buffer(offsets), pa.py_buffer(letters)).to_pylist()


def _cut_windows(
    sequences: list[str], columns: dict[str, np.ndarray], spec: RowSpec, k: int
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Makes a row of every window, and numbers the runs of windows that share bases."""
    if spec.window < k:
        raise ValueError(f"`window_length` {spec.window}: allowed is one k-mer, {k} bases, or more")
    if spec.short_windows:
        numbers = columns["numbers"].tolist()
        draws = [Random(spec.window_seed * 2**40 + number) for number in numbers]  # the same for any batch
        settings = (spec.window, k, spec.short_windows)
        cuts = [random_windows(len(s), *settings, draw) for s, draw in zip(sequences, draws, strict=True)]
    else:
        cuts = [windows(len(sequence), spec.window, spec.step or spec.window) for sequence in sequences]
    parent = np.repeat(np.arange(len(sequences)), [len(cut) for cut in cuts])
    starts, ends = np.array([window for cut in cuts for window in cut]).T
    is_apart = (starts == 0) | (starts >= np.roll(ends, 1))
    first = np.maximum.accumulate(np.where(is_apart, np.arange(len(is_apart)), 0))
    columns = {name: values[parent] for name, values in columns.items()}
    columns["overlaps"] = columns["numbers"] * 2**32 + first  # unique in the file: a run lies within one row
    return [sequence[a:b] for sequence, cut in zip(sequences, cuts, strict=True) for a, b in cut], columns


def _fit(
    sequences: list[str],
    columns: dict[str, np.ndarray],
    source: Source,
    spec: RowSpec,
    tokenizer: KmerTokenizer,
    is_trained: bool,
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Cuts sequences into windows or to a length if specified; RowError for what does not fit the model."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    short = np.flatnonzero(lengths < tokenizer.k)
    if len(short):
        row = int(short[0])
        reason = (
            f"{counted(lengths[row], 'base')}, but a k-mer has {tokenizer.k}: remove the row"
            f"{'' if is_trained else ' or use a smaller `k`'}"
        )
        raise RowError(source, columns["numbers"][row], spec.sequence, sequences[row], reason)
    if spec.window:
        sequences, columns = _cut_windows(sequences, columns, spec, tokenizer.k)
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    if spec.cut_at:
        longest = (spec.cut_at - N_ADDED - 1) * tokenizer.stride + tokenizer.k
        if longest < tokenizer.k:
            raise ValueError(f"`max_seq_length` {spec.cut_at}: allowed is {N_ADDED + 1} tokens or more")
        if lengths.max() > longest:
            sequences = [sequence[:longest] for sequence in sequences]
            lengths = np.minimum(lengths, longest)
    n_tokens = tokenizer.n_tokens(lengths) + N_ADDED
    long = np.flatnonzero(n_tokens > (spec.max_tokens or n_tokens.max()))
    if len(long):
        advice = f"cut with `max_seq_length` {spec.max_tokens}"
        if not is_trained:
            advice += ", or train a model with `config_overrides` max_position_embeddings=..."
        row = int(long[0])
        reason = f"{lengths[row]} bases give {n_tokens[row]} tokens, but the model reads {spec.max_tokens}: {advice}"
        raise RowError(source, columns["numbers"][row], spec.sequence, sequences[row], reason)
    return sequences, columns


class Duplicate(NamedTuple):
    """Two rows (0-based) that have the same value."""

    first_row: int
    second_row: int


def n_distinct(values: np.ndarray) -> int:
    """Counts the distinct values, in a fifth of the time that it takes to say where they are (`argsort`).

    >>> n_distinct(np.array([5, 6, 5]))
    2
    """
    ordered = np.sort(values)
    return len(values) and 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))


def find_duplicate(keys: np.ndarray) -> tuple[int, Duplicate | None]:
    """Counts the rows whose key occurred in an earlier row, and returns the first such pair.

    >>> find_duplicate(np.array([5, 6, 5, 5]))
    (2, Duplicate(first_row=0, second_row=2))
    """
    if n_distinct(keys) == len(keys):
        return 0, None
    order = np.argsort(keys, kind="stable")
    repeats = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    second = int(order[repeats + 1].min())
    first = int(np.flatnonzero(keys == keys[second])[0])
    return len(repeats), Duplicate(first, second)
