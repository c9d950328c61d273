"""Token ids of a table, in an Arrow file: written once, then memory-mapped."""

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset
from datasets import config as datasets_config

from kmerbert.errors import FILE_ERRORS, counted, one_line
from kmerbert.files import check_folder, file_checksum, scratch_folder, space_to_write
from kmerbert.reading.bad_rows import MOST_LISTED, BadRowsError, RejectedRow, RowError, from_text, read_usable, to_text
from kmerbert.reading.rows import RowSpec, find_duplicate, hash_texts, read_rows, without_gaps
from kmerbert.reading.sources import Batch, FileSource, Source, read_again
from tokenization_kmer import N_ADDED, KmerTokenizer

logger = logging.getLogger(__name__)
# Part of the cache's key: raise it when the same rows would give other files.
LAYOUT = 7
# In a file of their own.
ARRAYS = ("keys", "sequence_numbers", "strand_keys", "numbers", "names", "splits", "groups", "overlaps")
# Those that every table has.
NEEDED = ("keys", "sequence_numbers", "numbers", "unknown_share", "n_gaps")


@dataclass(frozen=True)
class TokenTable:
    """The tokenised rows of one source.

    Attributes:
        source: Where they are from.
        dataset: The memory-mapped Arrow table, columns `input_ids` (and `labels`).
        stem: Path of its files, without their endings.
        keys: uint64 array (n,), a hash of each row's sequence.
        sequence_numbers: unsigned int array (n,), 0 to the number of distinct sequences - 1, by rising keys.
        strand_keys: uint64 array (n,), a hash of each row's sequence that its reverse complement has, too; None where they
            count as two sequences.
        numbers: int64 array (n,), each row's number in its source, 1-based (a line, a record or a row).
        names: uint64 array (n,), a hash of each row's id; None where rows have none.
        splits: int8 array (n,), 0 train, 1 validation, 2 test; None without a split column.
        groups: uint64 array (n,), a hash of each row's group; None without a group column.
        overlaps: int64 array (n,), equal for windows of one sequence that share bases, directly or through others; None
            without windows.
        unknown_share: Share of [UNK] among the k-mers, 0 to 1.
        k, stride: Bases of a k-mer, and between the starts of two.
        rejected: Rows of the source that cannot be used and are left out.
        other_labels: float64 array (n, outputs), measured values that replace those of the file; None for none.
    """

    source: Source
    dataset: Dataset
    stem: Path
    keys: np.ndarray
    sequence_numbers: np.ndarray
    strand_keys: np.ndarray | None
    numbers: np.ndarray
    names: np.ndarray | None
    splits: np.ndarray | None
    groups: np.ndarray | None
    overlaps: np.ndarray | None
    unknown_share: float
    k: int
    stride: int
    rejected: tuple[RejectedRow, ...] = ()
    other_labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def location(self, row: int) -> str:
        """Where a row (0-based) is, for messages."""
        return self.source.location(int(self.numbers[row]))

    def read_again(self, columns: Sequence[str], rows: np.ndarray | None = None) -> Iterator[Batch]:
        """Reads columns of the source again, for what is not kept: names, and sequences as they are written.

        Args:
            columns: To read.
            rows: int64 array (n,), rows of a table without windows, rising; None for all.

        Yields:
            Batches of these rows alone, in their order.

        Raises:
            ValueError: The source has changed since its rows were tokenised. What was yielded until then must not be used.
        """
        numbers = self.numbers if rows is None else self.numbers[rows]
        for batch in read_again(self.source, columns):
            if not len(batch.numbers):
                continue
            first, last = np.searchsorted(numbers, (batch.numbers[0], batch.numbers[-1] + 1))
            chosen = np.searchsorted(batch.numbers, numbers[first:last])
            values = {name: column.take(chosen) for name, column in batch.columns.items()}
            yield Batch(values, batch.numbers[chosen])

    @cached_property
    def _flat(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All ids of the file as one array, where each row starts in it, and how long it is.

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
        """float64 array (n, outputs), NaN where missing; (n, 0) without measured values."""
        if self.other_labels is not None:
            return self.other_labels
        if "labels" not in self.dataset.column_names:
            return np.empty((len(self), 0))
        chunks = self.dataset.data.column("labels").chunks
        return np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]).reshape(
            len(self), -1
        )


def token_folder(cache_dir: str | None) -> Path:
    """Returns the folder of token files within a cache folder; None means the cache of Hugging Face datasets."""
    return Path(cache_dir or datasets_config.HF_DATASETS_CACHE) / "kmer_tokens"


def tokenise(source: Source, spec: RowSpec, tokenizer: KmerTokenizer, cache_dir: str | None) -> TokenTable:
    """Checks and tokenises a source, unless the cache has the result already.

    Args:
        source: The rows.
        spec: What to read and how to cut it.
        tokenizer: Gives the token ids.
        cache_dir: Folder for the Arrow files; None for one in the Hugging Face datasets cache.

    Raises:
        BadRowsError: Rows cannot be used, and are not to be left out, or are more than half of all; the message has the
            location of the first and what is wrong with it, the error has all.
        ValueError: The source cannot be read, changes while it is read, or the cache cannot be written.
    """
    if isinstance(source, FileSource):
        source.check()
    folder = token_folder(cache_dir)
    same_tokens = asdict(replace(spec, both_strands=False))
    setting = [LAYOUT, source.format, source.checksum, same_tokens, tokenizer.k, tokenizer.stride, tokenizer.alphabet]
    stem = folder / hashlib.sha256(json.dumps(setting).encode()).hexdigest()[:32]
    ids_file, arrays_file = stem.with_suffix(".arrow"), stem.with_suffix(".npz")
    content = _read(stem, spec, folder)
    for remark in [] if content is None else content[0].get("remarks", []):  # otherwise they are made while it is read
        logger.info("%s: %s", source.name, remark)
    if content is None:
        check_folder(folder, f"`token_cache_dir` {folder.parent}")
        folder.mkdir(parents=True, exist_ok=True)
        with space_to_write(ids_file), scratch_folder(folder) as scratch:
            arrays = _write(scratch / "ids", source, spec, tokenizer)
            arrays["ids_checksum"] = np.array(file_checksum(scratch / "ids"))
            source.check_unchanged()  # otherwise the rows of one content would be kept under the checksum of another
            with open(scratch / "arrays", "wb") as file:
                np.savez(file, **arrays)
            os.replace(scratch / "arrays", arrays_file)
            os.replace(scratch / "ids", ids_file)
        content = arrays, Dataset.from_file(str(ids_file))
    arrays, dataset = content
    left_out = () if spec.both_strands else ("strand_keys",)
    values = {name: arrays[name] if name in arrays and name not in left_out else None for name in ARRAYS}
    share, n_gaps = float(arrays["unknown_share"]), int(arrays["n_gaps"])
    if n_gaps:
        n_windows = n_gaps + len(values["keys"])
        logger.info(
            "%s: %d of %d windows are gaps, without a k-mer of known bases: left out", source.name, n_gaps, n_windows
        )
    rejected = from_text(str(arrays["rejected"])) if "rejected" in arrays else ()
    if rejected:
        logger.warning("%s: %s cannot be used and are left out", source.name, counted(len(rejected), "row"))
    kmers = {"k": tokenizer.k, "stride": tokenizer.stride}
    return TokenTable(source, dataset, stem, **values, unknown_share=share, **kmers, rejected=rejected)


def _read(stem: Path, spec: RowSpec, folder: Path) -> tuple[dict[str, np.ndarray], Dataset] | None:
    """Reads the files of a table; None if they are not there, are damaged, or lack what a network of both strands needs.

    Args:
        stem: Path of the files, without their endings.
        spec: What the rows are for.
        folder: Where checksums are remembered, so that a file that nobody touched is not read once more.
    """
    ids_file, arrays_file = stem.with_suffix(".arrow"), stem.with_suffix(".npz")
    try:
        with np.load(arrays_file) as file:  # each array in it has a checksum of its own
            arrays = {name: file[name] for name in file}
        if file_checksum(ids_file, folder) != str(arrays["ids_checksum"]):
            raise ValueError("its bytes are not those that were written")
        dataset = Dataset.from_file(str(ids_file))
        lengths = {len(dataset), *(len(arrays[name]) for name in ARRAYS if name in arrays)}
        if missing := [name for name in NEEDED if name not in arrays]:
            raise ValueError(f"no {missing[0]}")
        if len(lengths) > 1:
            raise ValueError(f"arrays of {min(lengths)} to {max(lengths)} rows")
    except FileNotFoundError:
        return None
    except (*FILE_ERRORS, ValueError, LookupError, EOFError, zipfile.BadZipFile) as error:
        logger.warning("%s and .npz are damaged (%s): the rows are tokenised anew", ids_file, one_line(error))
        return None
    return None if spec.both_strands and "strand_keys" not in arrays else (arrays, dataset)


def _write(path: Path, source: Source, spec: RowSpec, tokenizer: KmerTokenizer) -> dict[str, np.ndarray]:
    """Writes the Arrow file; returns the arrays that go into the other file."""
    parts: dict[str, list[np.ndarray]] = {}
    n_unknown = n_total = n_gaps = 0
    writer = None
    rejected: list[RowError] = []
    for sequences, columns in _usable_rows(source, spec, tokenizer, rejected):
        if spec.window:
            sequences, columns, n_left_out = without_gaps(sequences, columns, tokenizer.k)
            n_gaps += n_left_out
            if not sequences:
                continue
        n_kmers = tokenizer.n_tokens(np.fromiter(map(len, sequences), np.int64, len(sequences)))
        ids = tokenizer.encode_ids(sequences)
        n_unknown += int(np.count_nonzero(ids == tokenizer.unk_token_id))
        n_total += int(n_kmers.sum())
        ids, lengths = without_padding(ids, n_kmers + N_ADDED)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        arrow = {"input_ids": pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids))}
        if spec.labels:
            arrow["labels"] = pa.FixedSizeListArray.from_arrays(columns.pop("labels").ravel(), len(spec.labels))
        table = pa.table(arrow)
        writer = writer or pa.ipc.new_stream(str(path), table.schema)
        writer.write_table(table)
        columns["keys"] = hash_texts(sequences)
        for name, values in columns.items():
            parts.setdefault(name, []).append(values)
    if writer is None:
        problem = f"no base is known in any of {counted(n_gaps, 'window')}: is this DNA?" if n_gaps else "no rows"
        raise ValueError(f"{source.name}: {problem}")
    writer.close()
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    if rejected:
        arrays["rejected"] = np.array(to_text([error.row for error in rejected]))
    if source.remarks:
        arrays["remarks"] = np.array(source.remarks)
    numbers = np.unique(arrays["keys"], return_inverse=True)[1]
    arrays["sequence_numbers"] = numbers.astype(np.min_scalar_type(len(numbers)))  # 4 bytes a row, seldom more
    if "names" in arrays and not spec.window:
        _, pair = find_duplicate(arrays["names"])
        if pair:
            first, second = (source.location(int(arrays["numbers"][row])) for row in pair)
            raise ValueError(f"{first} and {second} have the same id: every id may occur only once")
    return arrays | {"unknown_share": np.array(n_unknown / max(n_total, 1)), "n_gaps": np.array(n_gaps)}


def _usable_rows(
    source: Source, spec: RowSpec, tokenizer: KmerTokenizer, rejected: list[RowError]
) -> Iterator[tuple[list[str], dict[str, np.ndarray]]]:
    """Yields results of `read_rows`, and collects the rows that cannot be used.

    Raises:
        BadRowsError: There are such rows, and they are not to be left out or are more than half of all.
    """
    n_rows, is_whole, batches = 0, True, source.batches(spec.columns)
    while is_whole:
        try:
            batch = next(batches, None)
            if batch is None:
                break
            n_rows += len(batch.numbers)
            result, errors = read_usable(batch, lambda rows: read_rows(rows, source, spec, tokenizer))
        except ValueError:
            if not rejected or spec.drops_bad_rows:
                raise
            is_whole = False  # what comes first in the file is told
            break
        rejected += errors
        if result and (spec.drops_bad_rows or not rejected):
            yield result
        is_whole = len(rejected) < MOST_LISTED or len(rejected) <= n_rows / 2
    limit = "" if is_whole else " (the rest was not looked at)"
    message = f"{rejected[0]}; {len(rejected)} of {n_rows} rows cannot be used{limit}" if rejected else ""
    error = BadRowsError(message, [error.row for error in rejected], n_rows)
    if rejected and (error.are_most or not spec.drops_bad_rows):
        raise error


def without_padding(ids: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns padded ids (n, longest) end to end, (ids of all rows,), and the lengths (n,) of the rows as they came."""
    is_even = (lengths == ids.shape[1]).all()
    return ids.ravel() if is_even else ids[np.arange(ids.shape[1]) < lengths[:, None]], lengths
