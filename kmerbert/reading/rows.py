"""Rows of a table, checked and cut: clean sequences that fit the model, numbers, splits and groups. Writes no files."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pandas.util import hash_array

from kmerbert.dna.flanks import Flanks
from kmerbert.dna.sequences import BAD, CANONICAL, canonical, random_windows, windows
from kmerbert.reading.sources import Batch, Source, to_numbers

# Words that tables use for the three, lower case.
SPLIT_NAMES = {"train": 0, "training": 0, "validation": 1, "valid": 1, "val": 1, "dev": 1, "test": 2, "testing": 2}

SPECIAL_TOKENS = 2  # [CLS] and [SEP] around every sequence


@dataclass(frozen=True)
class Rows:
    """What to read of a table and how to cut it; lengths `window` and `step` in bases, `cut_at` and
    `max_tokens` in tokens; `short_windows` is the share of windows of a random length; `flanks` are put on before anything is cut."""

    sequence: str
    labels: tuple[str, ...] = ()
    id: str | None = None
    split: str | None = None
    group: str | None = None
    window: int | None = None
    step: int | None = None
    short_windows: float = 0.0
    window_seed: int = 0
    cut_at: int | None = None
    max_tokens: int | None = None
    flanks: Flanks | None = None

    @property
    def columns(self) -> list[str]:
        """All columns to read, once each."""
        return list(
            dict.fromkeys(name for name in (self.sequence, *self.labels, self.id, self.split, self.group) if name)
        )


def read_rows(
    batch: Batch, source: Source, spec: Rows, tokenizer: Any, is_trained: bool = False
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Checks a batch and cuts its sequences as the settings say.

    Args:
        batch, source: the rows, and where they are from.
        spec: what they hold and how to cut them.
        tokenizer: needs `k`, `stride` and `n_tokens`.
        is_trained: no message then advises to change what the model was trained with.

    Returns:
        The sequences, in the letters ACGTN, and arrays of the same length: `numbers` (int64, 1-based, in the source)
        and, where asked for, `labels` (float32 (n, outputs)), `splits` (int8), `groups` and `names` (uint64 hashes of groups and of ids), and
        `overlaps` (int64, equal for windows that share bases).

    Raises:
        ValueError: for a row that cannot be used, with its place and what is wrong.
    """
    sequences, columns = _check(batch, source, spec)
    if spec.flanks:
        try:
            sequences = spec.flanks.extend(sequences)
        except LookupError as error:
            row, what = error.args
            asks = "the model" if is_trained else "--flank_file"
            raise ValueError(
                f"{source.place(int(batch.numbers[row]))}: {what}: {asks} needs all of one kind; mend or remove the row"
            ) from None
    return _fit(sequences, columns, source, spec, tokenizer, is_trained)


def hash_words(values: list[str]) -> np.ndarray:
    """uint64 hashes that are the same in every process; two of 7 million sequences agree by chance once in a million."""
    return hash_array(np.array(values, dtype=object), categorize=False)


def check_frames(n_kmers: np.ndarray, numbers: np.ndarray, source: Source, n_frames: int) -> None:
    """Refuses a row of which a reading frame would be empty.

    Args:
        n_kmers: int array (n,), of each row.
        numbers, source: int array (n,), each row's number in the source, for messages.
        n_frames: that a model reads every row in.

    Raises:
        ValueError: for the first row with fewer k-mers than frames.
    """
    if (is_short := n_kmers < n_frames).any():
        row = int(is_short.argmax())
        raise ValueError(
            f"{source.place(int(numbers[row]))}: {n_kmers[row]} k-mers are fewer than the model's {n_frames} reading frames: "
            "remove the row, or train with fewer --reading_frames"
        )


def _check(batch: Batch, source: Source, spec: Rows) -> tuple[list[str], dict[str, np.ndarray]]:
    """Cleans a batch's sequences and reads its other columns, or says which row is wrong."""
    column = batch.columns[spec.sequence]
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise ValueError(f"{source.name}: the column {spec.sequence!r} holds {column.type}, not text")
    columns = {"numbers": batch.numbers}

    def place(row: int) -> str:
        return source.place(int(batch.numbers[row]))

    def names(column: str) -> list[str]:
        words = [str("" if value is None else value).strip() for value in batch.columns[column].to_pylist()]
        if "" in words:
            raise ValueError(f"{place(words.index(''))}: {column} is empty: every row needs one")
        return words

    sequences = _canonical(pc.ascii_trim_whitespace(column.cast(pa.string()).fill_null("")), place)
    if spec.labels:
        first = int(batch.numbers[0])
        labels = np.column_stack([to_numbers(batch.columns[name], source, first, name) for name in spec.labels])
        absent = np.flatnonzero(np.isnan(labels).all(axis=1))
        if len(absent):
            raise ValueError(
                f"{place(absent[0])}: no value in {' or '.join(spec.labels)}: every row needs one; remove rows without"
            )
        columns["labels"] = labels.astype(np.float32)
    if spec.split:
        words = names(spec.split)
        for row, word in enumerate(words):
            if word.lower() not in SPLIT_NAMES:
                raise ValueError(f"{place(row)}: {spec.split} is {word!r}: allowed are train, validation and test")
        columns["splits"] = np.array([SPLIT_NAMES[word.lower()] for word in words], np.int8)
    if spec.group:
        columns["groups"] = hash_words(names(spec.group))
    identifier = spec.id or ("id" if "id" in batch.columns else None)
    if identifier:
        columns["names"] = hash_words(names(identifier))
    return sequences, columns


def _canonical(array: pa.StringArray, place: Callable[[int], str]) -> list[str]:
    """Sequences in the letters ACGTN; the whole batch is translated at once."""
    array = pa.concat_arrays([array])  # offsets that begin at 0
    offsets = np.frombuffer(array.buffers()[1], np.int32, len(array) + 1)
    empty = np.flatnonzero(np.diff(offsets) == 0)
    if len(empty):
        raise ValueError(f"{place(int(empty[0]))}: the sequence is empty: remove the row")
    letters = bytes(array.buffers()[2] or b"")[: offsets[-1]].translate(CANONICAL)
    wrong = letters.find(BAD.encode())
    if wrong >= 0:
        row = int(np.searchsorted(offsets, wrong, side="right")) - 1
        try:
            canonical(array[row].as_py())
        except ValueError as error:
            raise ValueError(f"{place(row)}: {error}") from None
    return pa.StringArray.from_buffers(len(array), pa.py_buffer(offsets), pa.py_buffer(letters)).to_pylist()


def _cut_windows(
    sequences: list[str], columns: dict[str, np.ndarray], spec: Rows, k: int
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Makes a row of every window, and numbers the runs of windows that share bases."""
    if spec.window < k:
        raise ValueError(f"--window_length {spec.window}: allowed is one k-mer, {k} bases, or more")
    if spec.short_windows:
        numbers = columns["numbers"].tolist()
        draws = [Random(spec.window_seed * 2**40 + number) for number in numbers]  # the same for any batch
        settings = (spec.window, k, spec.short_windows)
        cuts = [random_windows(len(s), *settings, draw) for s, draw in zip(sequences, draws, strict=True)]
    else:
        cuts = [windows(len(sequence), spec.window, spec.step or spec.window) for sequence in sequences]
    owner = np.repeat(np.arange(len(sequences)), [len(cut) for cut in cuts])
    starts, ends = np.array([window for cut in cuts for window in cut]).T
    apart = (starts == 0) | (starts >= np.roll(ends, 1))
    first = np.maximum.accumulate(np.where(apart, np.arange(len(apart)), 0))
    columns = {name: values[owner] for name, values in columns.items()}
    columns["overlaps"] = columns["numbers"] * 2**32 + first  # unique in the file: a run lies within one row
    return [sequence[a:b] for sequence, cut in zip(sequences, cuts, strict=True) for a, b in cut], columns


def _fit(
    sequences: list[str],
    columns: dict[str, np.ndarray],
    source: Source,
    spec: Rows,
    tokenizer: Any,
    is_trained: bool,
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Cuts sequences into windows or to a length where that was asked for; refuses what does not fit the model."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    short = np.flatnonzero(lengths < tokenizer.k)
    if len(short):
        raise ValueError(
            f"{source.place(int(columns['numbers'][short[0]]))}: {lengths[short[0]]} bases are shorter than one k-mer of "
            f"{tokenizer.k}: remove the row{'' if is_trained else ' or take a smaller --k'}"
        )
    if spec.window:
        sequences, columns = _cut_windows(sequences, columns, spec, tokenizer.k)
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    if spec.cut_at:
        longest = (spec.cut_at - SPECIAL_TOKENS - 1) * tokenizer.stride + tokenizer.k
        if longest < tokenizer.k:
            raise ValueError(f"--max_seq_length {spec.cut_at}: allowed is {SPECIAL_TOKENS + 1} tokens or more")
        if lengths.max() > longest:
            sequences = [sequence[:longest] for sequence in sequences]
            lengths = np.minimum(lengths, longest)
    n_tokens = tokenizer.n_tokens(lengths) + SPECIAL_TOKENS
    long = np.flatnonzero(n_tokens > (spec.max_tokens or n_tokens.max()))
    if len(long):
        advice = f"cut with --max_seq_length {spec.max_tokens}"
        if not is_trained:
            advice += ", or train a model with --config_overrides max_position_embeddings=..."
        raise ValueError(
            f"{source.place(int(columns['numbers'][long[0]]))}: {lengths[long[0]]} bases give {n_tokens[long[0]]} tokens, "
            f"but the model reads {spec.max_tokens}: {advice}"
        )
    return sequences, columns


class Leak(NamedTuple):
    """The first thing found on two sides: its row (0-based) on one side and on the other."""

    first_row: int
    second_row: int


def find_duplicate(keys: np.ndarray) -> tuple[int, Leak | None]:
    """Counts rows whose key stood before, and gives the first such pair.

    >>> find_duplicate(np.array([5, 6, 5, 5]))
    (2, Leak(first_row=0, second_row=2))
    """
    if n_distinct(keys) == len(keys):
        return 0, None
    order = np.argsort(keys, kind="stable")
    repeats = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    second = int(order[repeats + 1].min())
    first = int(np.flatnonzero(keys == keys[second])[0])
    return len(repeats), Leak(first, second)


def n_distinct(values: np.ndarray) -> int:
    """Counts the different values, in a fifth of the time that it takes to say where they stand (`argsort`).

    >>> n_distinct(np.array([5, 6, 5]))
    2
    """
    ordered = np.sort(values)
    return len(values) and 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))
