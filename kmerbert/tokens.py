"""Token ids of a table, in an Arrow file: checked, written once, memory-mapped. Knows no splits and no batches."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from datasets import config as datasets_config
from pandas.util import hash_array

from .sequences import BAD, CANONICAL, canonical, windows
from .splits import SPLIT_NAMES, find_duplicate
from .tables import Batch, Source, to_numbers

# Part of the cache's key: raise it when the same rows would give other files.
LAYOUT = 1
SPECIAL_TOKENS = 2  # [CLS] and [SEP] around every sequence


@dataclass(frozen=True)
class Rows:
    """What to read of a table and how to cut it; lengths `window` and `step` in bases, the others in tokens."""

    sequence: str
    labels: tuple[str, ...] = ()
    id: str | None = None
    split: str | None = None
    group: str | None = None
    window: int | None = None
    step: int | None = None
    cut_at: int | None = None
    max_tokens: int | None = None

    @property
    def columns(self) -> list[str]:
        """All columns to read, once each."""
        return list(
            dict.fromkeys(name for name in (self.sequence, *self.labels, self.id, self.split, self.group) if name)
        )


@dataclass(frozen=True)
class TokenTable:
    """The tokenised rows of one source.

    Attributes:
        source: where they are from.
        dataset: the memory-mapped Arrow table, columns `input_ids` (and `labels`).
        keys: uint64 array (n,), a hash of each row's sequence.
        numbers: int64 array (n,), each row's number in its source, 1-based (a line, a record or a row).
        splits: int8 array (n,), 0 train, 1 validation, 2 test; None without a split column.
        groups: uint64 array (n,), a hash of each row's group; None without a group column.
        unknown_share: share of [UNK] among the k-mers, 0 to 1.
        k, stride: bases of a k-mer, and between the starts of two.
    """

    source: Source
    dataset: Dataset
    keys: np.ndarray
    numbers: np.ndarray
    splits: np.ndarray | None
    groups: np.ndarray | None
    unknown_share: float
    k: int
    stride: int

    def __len__(self) -> int:
        return len(self.keys)

    def place(self, row: int) -> str:
        """Words for where a row (0-based) is."""
        return self.source.place(int(self.numbers[row]))

    @cached_property
    def _flat(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All ids of the file as one array, and where each row starts and how long it is.

        The chunks of an Arrow file lie in one memory map, so their addresses differ by whole ids and one array can span
        them all; what lies between them is never read.
        """
        chunks = self.dataset.data.column("input_ids").chunks
        dtype = np.dtype(chunks[0].type.value_type.to_pandas_dtype())
        addresses = [chunk.values.buffers()[1].address + chunk.values.offset * dtype.itemsize for chunk in chunks]
        ends = [address + len(c.values) * dtype.itemsize for address, c in zip(addresses, chunks, strict=True)]
        base = min(addresses)
        span = pa.foreign_buffer(base, max(ends) - base, base=self.dataset.data)
        starts, lengths = [], []
        for address, chunk in zip(addresses, chunks, strict=True):
            offsets = chunk.offsets.to_numpy().astype(np.int64)
            starts.append((address - base) // dtype.itemsize + offsets[:-1])
            lengths.append(np.diff(offsets))
        return np.frombuffer(span, dtype), np.concatenate(starts), np.concatenate(lengths)

    @property
    def ids(self) -> np.ndarray:
        """Every token id of the file, one after the other, memory-mapped."""
        return self._flat[0]

    @property
    def starts(self) -> np.ndarray:
        """int64 array (n,): where each row begins in `ids`."""
        return self._flat[1]

    @property
    def lengths(self) -> np.ndarray:
        """int64 array (n,): tokens of each row, special ones included."""
        return self._flat[2]

    @cached_property
    def labels(self) -> np.ndarray:
        """float32 array (n, outputs), NaN where missing; (n, 0) without measured values."""
        if "labels" not in self.dataset.column_names:
            return np.empty((len(self), 0), np.float32)
        chunks = self.dataset.data.column("labels").chunks
        return np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]).reshape(
            len(self), -1
        )


def tokenise(source: Source, spec: Rows, tokenizer: Any, cache_dir: str | None) -> TokenTable:
    """Checks and tokenises a source, or finds that done in the cache.

    Args:
        source: the rows.
        spec: what to read and how to cut it.
        tokenizer: needs `encode_ids`, `n_tokens`, `k`, `stride`, `unk_token_id` and its alphabet in `init_kwargs`.
        cache_dir: folder for the Arrow files; None for one in the Hugging Face datasets cache.

    Raises:
        ValueError: for a row that cannot be used, with its place and what is wrong, or a cache that cannot be written.
    """
    if not (source.format == "hub" or source.path.is_file()):
        raise ValueError(f"{source.name}: no such file")
    folder = Path(cache_dir or datasets_config.HF_DATASETS_CACHE) / "kmer_tokens"
    setting = [LAYOUT, source.format, source.checksum, asdict(spec), tokenizer.k, tokenizer.stride, tokenizer.alphabet]
    stem = folder / hashlib.sha256(json.dumps(setting).encode()).hexdigest()[:32]
    arrow, rows = stem.with_suffix(".arrow"), stem.with_suffix(".npz")
    if not (arrow.exists() and rows.exists()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            scratch = tempfile.TemporaryDirectory(dir=folder, prefix="writing-")
        except OSError as error:
            raise ValueError(
                f"{folder}: token files cannot be written there ({error.strerror}): name another --token_cache_dir"
            ) from None
        with scratch as name:
            side = _write(Path(name) / "ids", source, spec, tokenizer)
            np.savez(Path(name) / "rows.npz", **side)
            os.replace(Path(name) / "ids", arrow)
            os.replace(Path(name) / "rows.npz", rows)
    with np.load(rows) as side:
        values = {name: side[name] if name in side else None for name in ("keys", "numbers", "splits", "groups")}
        share = float(side["unknown_share"])
    dataset = Dataset.from_file(str(arrow))
    return TokenTable(source, dataset, **values, unknown_share=share, k=tokenizer.k, stride=tokenizer.stride)


def _write(path: Path, source: Source, spec: Rows, tokenizer: Any) -> dict[str, np.ndarray]:
    """Writes the Arrow file; returns the arrays that are kept beside it."""
    kept: dict[str, list[np.ndarray]] = {}
    unknown = kmers = 0
    writer = None
    for batch in source.batches(spec.columns):
        sequences, columns = _check(batch, source, spec)
        sequences, columns = _fit(sequences, columns, source, spec, tokenizer)
        n_kmers = tokenizer.n_tokens(np.fromiter(map(len, sequences), np.int64, len(sequences)))
        ids = tokenizer.encode_ids(sequences)
        unknown += int(np.count_nonzero(ids == tokenizer.unk_token_id))
        kmers += int(n_kmers.sum())
        arrow = {"input_ids": _as_lists(ids, n_kmers + SPECIAL_TOKENS)}
        if spec.labels:
            arrow["labels"] = pa.FixedSizeListArray.from_arrays(columns.pop("labels").ravel(), len(spec.labels))
        table = pa.table(arrow)
        writer = writer or pa.ipc.new_stream(str(path), table.schema)
        writer.write_table(table)
        columns["keys"] = _hash(sequences)
        for name, values in columns.items():
            kept.setdefault(name, []).append(values)
    if writer is None:
        raise ValueError(f"{source.name}: no rows")
    writer.close()
    side = {name: np.concatenate(values) for name, values in kept.items()}
    if (ids := side.pop("ids", None)) is not None and not spec.window:
        _, pair = find_duplicate(ids)
        if pair:
            places = [source.place(int(side["numbers"][row])) for row in pair]
            raise ValueError(f"{places[0]} and {places[1]} have the same id: ids may not repeat")
    return side | {"unknown_share": np.array(unknown / max(kmers, 1))}


def _hash(values: list[str]) -> np.ndarray:
    """uint64 hashes that are the same in every process; two of 7 million sequences agree by chance once in a million."""
    return hash_array(np.array(values, dtype=object), categorize=False)


def _as_lists(ids: np.ndarray, lengths: np.ndarray) -> pa.ListArray:
    """Padded ids (n, longest) as an Arrow list array without the padding."""
    full = (lengths == ids.shape[1]).all()
    values = ids.ravel() if full else ids[np.arange(ids.shape[1]) < lengths[:, None]]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def _check(batch: Batch, source: Source, spec: Rows) -> tuple[list[str], dict[str, np.ndarray]]:
    """Cleans a batch's sequences and reads its other columns, or says which row is wrong."""
    column = batch.columns[spec.sequence]
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise ValueError(f"{source.name}: the column {spec.sequence!r} holds {column.type}, not text")
    n_rows = len(column)
    line = batch.columns.get("line")
    columns = {"numbers": np.arange(batch.first, batch.first + n_rows) if line is None else line.to_numpy()}

    def place(row: int) -> str:
        return source.place(int(columns["numbers"][row]))

    sequences = _canonical(pc.ascii_trim_whitespace(column.cast(pa.string()).fill_null("")), place)
    if spec.labels:
        labels = np.column_stack([to_numbers(batch.columns[n], source, batch.first, n) for n in spec.labels])
        absent = np.flatnonzero(np.isnan(labels).all(axis=1))
        if len(absent):
            raise ValueError(
                f"{place(absent[0])}: no value in {' or '.join(spec.labels)}: every row needs one; remove rows without"
            )
        columns["labels"] = labels.astype(np.float32)
    if spec.split:
        words = [str(word).strip().lower() for word in batch.columns[spec.split].to_pylist()]
        for row, word in enumerate(words):
            if word not in SPLIT_NAMES:
                raise ValueError(f"{place(row)}: {spec.split} is {word!r}: allowed are train, validation and test")
        columns["splits"] = np.array([SPLIT_NAMES[word] for word in words], np.int8)
    if spec.group:
        columns["groups"] = _hash([str(value) for value in batch.columns[spec.group].to_pylist()])
    identifier = spec.id or ("id" if "id" in batch.columns else None)
    if identifier:
        columns["ids"] = _hash([str(value) for value in batch.columns[identifier].to_pylist()])
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


def _fit(
    sequences: list[str], columns: dict[str, np.ndarray], source: Source, spec: Rows, tokenizer: Any
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Cuts sequences into windows or to a length where that was asked for; refuses what does not fit the model."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    short = np.flatnonzero(lengths < tokenizer.k)
    if len(short):
        raise ValueError(
            f"{source.place(int(columns['numbers'][short[0]]))}: {lengths[short[0]]} bases are shorter than one k-mer of "
            f"{tokenizer.k}: remove the row or take a smaller --k"
        )
    if spec.window and lengths.max() > spec.window:
        cuts = [windows(int(n), spec.window, spec.step or spec.window) for n in lengths]
        owner = np.repeat(np.arange(len(sequences)), [len(cut) for cut in cuts])
        sequences = [sequence[a:b] for sequence, cut in zip(sequences, cuts, strict=True) for a, b in cut]
        columns = {name: values[owner] for name, values in columns.items()}
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
        raise ValueError(
            f"{source.place(int(columns['numbers'][long[0]]))}: {lengths[long[0]]} bases give {n_tokens[long[0]]} tokens, "
            f"but the model reads {spec.max_tokens}: cut with --max_seq_length {spec.max_tokens}, or train a model with "
            "--config_overrides max_position_embeddings=..."
        )
    return sequences, columns
