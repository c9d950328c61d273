"""Token ids of a table, in an Arrow file: written once, memory-mapped. Divides no rows and makes no batches."""

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset
from datasets import config as datasets_config

from kmerbert.reading.rows import SPECIAL_TOKENS, Rows, find_duplicate, hash_words, read_rows
from kmerbert.reading.sources import FileSource, Source

# Part of the cache's key: raise it when the same rows would give other files.
LAYOUT = 4
SIDE = ("keys", "sequence_numbers", "numbers", "names", "splits", "groups", "overlaps")  # arrays beside the Arrow file


@dataclass(frozen=True)
class TokenTable:
    """The tokenised rows of one source.

    Attributes:
        source: where they are from.
        dataset: the memory-mapped Arrow table, columns `input_ids` (and `labels`).
        stem: path of its files, without their endings.
        keys: uint64 array (n,), a hash of each row's sequence.
        sequence_numbers: unsigned int array (n,), 0 to the number of different sequences - 1, by rising keys.
        numbers: int64 array (n,), each row's number in its source, 1-based (a line, a record or a row).
        names: uint64 array (n,), a hash of each row's id; None where rows have none.
        splits: int8 array (n,), 0 train, 1 validation, 2 test; None without a split column.
        groups: uint64 array (n,), a hash of each row's group; None without a group column.
        overlaps: int64 array (n,), equal for windows of one sequence that share bases, directly or through others; None
            without windows.
        unknown_share: share of [UNK] among the k-mers, 0 to 1.
        k, stride: bases of a k-mer, and between the starts of two.
    """

    source: Source
    dataset: Dataset
    stem: Path
    keys: np.ndarray
    sequence_numbers: np.ndarray
    numbers: np.ndarray
    names: np.ndarray | None
    splits: np.ndarray | None
    groups: np.ndarray | None
    overlaps: np.ndarray | None
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


def token_folder(cache_dir: str | None) -> Path:
    """Returns the folder of token files within a cache folder, None for the cache of Hugging Face datasets."""
    return Path(cache_dir or datasets_config.HF_DATASETS_CACHE) / "kmer_tokens"


def tokenise(source: Source, spec: Rows, tokenizer: Any, cache_dir: str | None) -> TokenTable:
    """Checks and tokenises a source, or finds that done in the cache.

    Args:
        source: the rows.
        spec: what to read and how to cut it.
        tokenizer: needs `encode_ids`, `n_tokens`, `k`, `stride`, `alphabet` and `unk_token_id`.
        cache_dir: folder for the Arrow files; None for one in the Hugging Face datasets cache.

    Raises:
        ValueError: for a row that cannot be used, with its place and what is wrong, or a cache that cannot be written.
    """
    if isinstance(source, FileSource):
        source.check()
    folder = token_folder(cache_dir)
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
        values = {name: side[name] if name in side else None for name in SIDE}
        share = float(side["unknown_share"])
    dataset = Dataset.from_file(str(arrow))
    return TokenTable(source, dataset, stem, **values, unknown_share=share, k=tokenizer.k, stride=tokenizer.stride)


def _write(path: Path, source: Source, spec: Rows, tokenizer: Any) -> dict[str, np.ndarray]:
    """Writes the Arrow file; returns the arrays that are kept beside it."""
    kept: dict[str, list[np.ndarray]] = {}
    unknown = kmers = 0
    writer = None
    for batch in source.batches(spec.columns):
        sequences, columns = read_rows(batch, source, spec, tokenizer)
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
        columns["keys"] = hash_words(sequences)
        for name, values in columns.items():
            kept.setdefault(name, []).append(values)
    if writer is None:
        raise ValueError(f"{source.name}: no rows")
    writer.close()
    side = {name: np.concatenate(values) for name, values in kept.items()}
    numbers = np.unique(side["keys"], return_inverse=True)[1]
    side["sequence_numbers"] = numbers.astype(np.min_scalar_type(len(numbers)))  # 4 bytes a row, seldom more
    if "names" in side and not spec.window:
        _, pair = find_duplicate(side["names"])
        if pair:
            places = [source.place(int(side["numbers"][row])) for row in pair]
            raise ValueError(f"{places[0]} and {places[1]} have the same id: ids may not repeat")
    return side | {"unknown_share": np.array(unknown / max(kmers, 1))}


def _as_lists(ids: np.ndarray, lengths: np.ndarray) -> pa.ListArray:
    """Padded ids (n, longest) as an Arrow list array without the padding."""
    full = (lengths == ids.shape[1]).all()
    values = ids.ravel() if full else ids[np.arange(ids.shape[1]) < lengths[:, None]]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
