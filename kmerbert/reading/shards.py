"""Parquet shards in a folder or on the Hub: which there are, how many rows, and one row group at a time as token ids.

Keeps nothing on disk and looks for no repeats. Who reads which group, and in which order, is decided in `streamed_rows.py`.
"""

import glob
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.fs
import pyarrow.parquet
from huggingface_hub import HfFileSystem

from kmerbert.errors import FAULTS
from kmerbert.reading.rows import SPECIAL_TOKENS, Rows, read_rows
from kmerbert.reading.sources import BATCH_ROWS, Batch, FileSource, to_numbers

# Where the Hub keeps its own conversion of a dataset to Parquet.
CONVERTED = "refs/convert/parquet"
SPLIT_WORDS = ("train", "validation", "valid", "val", "dev", "test")


class Shard(NamedTuple):
    """One Parquet file: its path in the file system, its name for people, its size in bytes, what its footer says."""

    path: str
    name: str
    size: int
    metadata: pyarrow.parquet.FileMetaData


class Group(NamedTuple):
    """One row group: number of its shard, its number there, rows of the shard before it, and its own rows."""

    shard: int
    number: int
    first: int
    n_rows: int


class Tokens(NamedTuple):
    """Tokenised rows: all ids end to end (smallest int type), ids of each row (int64), labels float32 (n, outputs)."""

    ids: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray

    def part(self, start: int, end: int) -> "Tokens":
        """Rows from start up to, but not, end; views, no copies."""
        first = self.lengths[:start].sum()
        ids = self.ids[first : first + self.lengths[start:end].sum()]
        return Tokens(ids, self.lengths[start:end], self.labels[start:end])


@dataclass(frozen=True)
class Shards:
    """The Parquet files of one split.

    Attributes:
        name: of the folder or dataset, for people.
        filesystem: that the paths are in.
        shards: in the order of their names, with rows.
        spec: which columns to read, and how to cut the sequences.
    """

    name: str
    filesystem: pyarrow.fs.FileSystem
    shards: Sequence[Shard]
    spec: Rows

    @cached_property
    def groups(self) -> list[Group]:
        """All row groups with rows, shard after shard."""
        found = []
        for number, shard in enumerate(self.shards):
            first = 0
            for group in range(shard.metadata.num_row_groups):
                n_rows = shard.metadata.row_group(group).num_rows
                found += [Group(number, group, first, n_rows)] if n_rows else []
                first += n_rows
        return found

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the shards' names and sizes, and of rows, bytes and extreme values of columns; reads no data."""
        digest = hashlib.sha256()
        for shard in self.shards:
            digest.update(json.dumps([shard.name, shard.size, shard.metadata.num_rows]).encode())
            for number in range(shard.metadata.num_row_groups):
                group = shard.metadata.row_group(number)
                for column in (group.column(index) for index in range(group.num_columns)):
                    extremes = column.statistics
                    extremes = (extremes.min, extremes.max) if extremes and extremes.has_min_max else None
                    if column.path_in_schema in self.spec.columns:
                        digest.update(f"{column.num_values} {column.total_compressed_size} {extremes}".encode())
        return digest.hexdigest()

    def read(self, group: Group, columns: Sequence[str]) -> Iterator[tuple[Batch, FileSource]]:
        """Reads columns of a row group in batches of at most 10,000 rows, each with its place.

        Raises:
            ValueError: for a shard that is gone, broken, or has changed since its footer was read.
        """
        shard = self.shards[group.shard]
        source = FileSource(Path(shard.name))
        first = group.first + 1
        try:
            with self.filesystem.open_input_file(shard.path) as content:
                if content.size() != shard.size:
                    raise ValueError(f"{shard.name}: the file changed while it was in use: start anew")
                file = pyarrow.parquet.ParquetFile(content, metadata=shard.metadata)
                for batch in file.iter_batches(BATCH_ROWS, row_groups=[group.number], columns=list(columns)):
                    found = {name: batch.column(name) for name in columns}
                    yield Batch(found, np.arange(first, first := first + batch.num_rows)), source
        except FAULTS as error:
            raise ValueError(f"{shard.name}: cannot be read ({' '.join(str(error).split())})") from None

    def tokenise(self, group: Group, tokenizer: Any) -> Tokens:
        """Checks, cuts and tokenises a row group.

        Args:
            group: one of `groups`.
            tokenizer: needs `encode_ids`, `n_tokens`, `k` and `stride`.

        Raises:
            ValueError: for a row that cannot be used, with its shard and row.
        """
        found = []
        for batch, source in self.read(group, self.spec.columns):
            sequences, columns = read_rows(batch, source, self.spec, tokenizer)
            lengths = tokenizer.n_tokens(np.fromiter(map(len, sequences), np.int64, len(sequences))) + SPECIAL_TOKENS
            ids = tokenizer.encode_ids(sequences)
            full = (lengths == ids.shape[1]).all()
            ids = ids.ravel() if full else ids[np.arange(ids.shape[1]) < lengths[:, None]]
            found.append(Tokens(ids, lengths, columns.get("labels", np.empty((len(sequences), 0), np.float32))))
        return join(found)

    def labels(self, names: Sequence[str]) -> Iterator[np.ndarray]:
        """Yields float64 arrays (n, outputs) of all measured values, NaN where missing; reads no other column."""
        for group in self.groups:
            for batch, source in self.read(group, names):
                first = int(batch.numbers[0])
                yield np.column_stack([to_numbers(batch.columns[name], source, first, name) for name in names])


def join(parts: Sequence[Tokens]) -> Tokens:
    """Returns rows one after the other."""
    return Tokens(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def open_shards(
    place: str, spec: Rows, is_hub: bool = False, config: str | None = None, split: str = "train"
) -> Shards:
    """Finds the shards and reads their footers.

    Args:
        place: a .parquet file, a folder or a glob of such files, or the name of a dataset on the Hub.
        spec: which columns to read, and how to cut the sequences.
        is_hub: whether `place` is a dataset on the Hub.
        config, split: of a dataset on the Hub.

    Raises:
        ValueError: where there are no shards, one cannot be read or lacks a column, or they hold no rows.
    """
    if is_hub:
        files, filesystem = _hub_files(place, config, split), pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(_hub()))
        name = f"{place}, {split}"
    else:
        files, filesystem = _local_files(place), pyarrow.fs.LocalFileSystem()
        name = Path(place).name
    shards = [_open(path, filesystem, spec.columns) for path in files]
    if not any(shard.metadata.num_rows for shard in shards):
        raise ValueError(f"{place}: no rows in {len(shards)} Parquet file(s)")
    return Shards(name, filesystem, shards, spec)


def _open(path: str, filesystem: pyarrow.fs.FileSystem, columns: Sequence[str]) -> Shard:
    try:
        with filesystem.open_input_file(path) as content:
            shard = Shard(path, path, content.size(), pyarrow.parquet.ParquetFile(content).metadata)
    except FAULTS as error:
        raise ValueError(f"{path}: not a whole Parquet file ({' '.join(str(error).split())})") from None
    names = shard.metadata.schema.to_arrow_schema().names
    if missing := [name for name in columns if name not in names]:
        raise ValueError(
            f"{path}: no column {missing[0]!r}; columns found: {', '.join(map(repr, names[:12]))}; name them by "
            "--sequence_column, --label_column"
        )
    return shard


def _local_files(place: str) -> list[str]:
    path = Path(place)
    if path.is_dir():
        within = (found.relative_to(path) for found in path.rglob("*.parquet"))
        # Other programs write unfinished files under such names.
        found = [str(path / name) for name in within if not any(part.startswith((".", "_")) for part in name.parts)]
    elif path.is_file():
        found = [place]
    else:
        found = glob.glob(place, recursive=True)
    if wrong := [name for name in found if not name.endswith(".parquet")]:
        raise ValueError(f"--streaming reads .parquet files, not {wrong[0]}: leave it out, or write Parquet shards")
    if not found:
        raise ValueError(
            f"--train_file {place}: no .parquet file there; --streaming reads one, a folder or a glob of them"
        )
    return sorted(found)


def _hub() -> HfFileSystem:
    return HfFileSystem()


def _hub_files(name: str, config: str | None, split: str) -> list[str]:
    """Parquet files of a split, from the dataset itself or else from the Hub's own conversion."""
    for revision in ("", f"@{CONVERTED}"):
        root = f"datasets/{name}{revision}"
        try:
            found = [path for path in _hub().find(root) if path.endswith(".parquet")]
        except FileNotFoundError:
            continue
        except FAULTS as error:
            raise ValueError(f"--dataset_name {name!r} cannot be listed: {' '.join(str(error).split())}") from None
        if found:
            return _of_split(sorted(found), name, config, split)
    raise ValueError(f"--dataset_name {name!r}: no such dataset, or no Parquet files in it: --streaming needs them")


def _of_split(files: list[str], name: str, config: str | None, split: str) -> list[str]:
    words = {path: set(re.split(r"[/\-_. ]", path.split(name, 1)[1])) for path in files}
    if config:
        files = [path for path in files if f"/{config}/" in path]
    own = [path for path in files if split in words[path]]
    if not own and split == "train":  # a dataset without splits
        own = [path for path in files if not words[path] & set(SPLIT_WORDS)]
    folders = {
        path.rsplit("/", 2)[0] for path in own if f"@{CONVERTED.replace('/', '%2F')}/" in path or CONVERTED in path
    }
    if not own or len(folders) > 1:
        what = "several configurations" if own else f"no Parquet files of split {split!r}"
        raise ValueError(
            f"{name}: {what}; found: {', '.join(path.split(name, 1)[1] for path in files[:5])}: name them by "
            "--train_split_name and --dataset_config_name"
        )
    return own
