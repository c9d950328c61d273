"""Parquet shards in a folder or on the Hub: which there are, how many rows they have, and one row group at a time.

Nothing is kept on disk. Which process reads which group, and in which order, is decided in `tokens/stream.py`.
"""

import glob
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.fs
import pyarrow.parquet
from huggingface_hub import HfFileSystem

from kmerbert.errors import FILE_ERRORS, one_line
from kmerbert.reading.rows import SPLIT_NAMES, RowSpec, read_labels
from kmerbert.reading.sources import BATCH_ROWS, Batch, FileSource

# Where the Hub keeps its own conversion of a dataset to Parquet.
CONVERTED = "refs/convert/parquet"


class Shard(NamedTuple):
    """One Parquet file: its path in the file system, its name for people, its size in bytes, what its footer says."""

    path: str
    name: str
    size: int
    metadata: pyarrow.parquet.FileMetaData


class Group(NamedTuple):
    """One row group: number of its shard, its number there, rows of the shard before it, and its own number of rows."""

    shard: int
    number: int
    first: int
    n_rows: int


@dataclass(frozen=True)
class Shards:
    """The Parquet files of one split.

    Attributes:
        name: Of the folder or dataset, for people.
        filesystem: That the paths are in.
        shards: In the order of their names; those that have rows.
        spec: Which columns to read, and how to cut the sequences.
        label_digests: SHA-256 of the labels of each row group, once `labels` has read them all.
    """

    name: str
    filesystem: pyarrow.fs.FileSystem
    shards: Sequence[Shard]
    spec: RowSpec
    label_digests: dict[Group, str] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def groups(self) -> list[Group]:
        """All row groups that have rows, shard after shard."""
        groups = []
        for number, shard in enumerate(self.shards):
            first = 0
            for group in range(shard.metadata.num_row_groups):
                n_rows = shard.metadata.row_group(group).num_rows
                groups += [Group(number, group, first, n_rows)] if n_rows else []
                first += n_rows
        return groups

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the shards' names and sizes, of rows, bytes and extreme values of columns, and of all labels.

        Sequences are not read for it: their order within a row group may change without another checksum.
        """
        digest = hashlib.sha256()
        if self.spec.labels and not self.label_digests:
            for _ in self.labels():
                pass
        digest.update("".join(self.label_digests.values()).encode())
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
        """Reads columns of a row group in batches of at most 10,000 rows, each with its source.

        Raises:
            ValueError: A shard is gone, damaged, or has changed since its footer was read.
        """
        shard = self.shards[group.shard]
        source = FileSource(Path(shard.name))
        first = group.first + 1
        try:
            with self.filesystem.open_input_file(shard.path) as content:
                if content.size() != shard.size:
                    raise ValueError(f"{shard.name}: the file changed while it was in use: start again")
                file = pyarrow.parquet.ParquetFile(content, metadata=shard.metadata)
                for batch in file.iter_batches(BATCH_ROWS, row_groups=[group.number], columns=list(columns)):
                    values = {name: batch.column(name) for name in columns}
                    yield Batch(values, np.arange(first, first := first + batch.num_rows)), source
        except FILE_ERRORS as error:
            raise ValueError(f"{shard.name}: cannot be read ({one_line(error)})") from None

    def labels(self) -> Iterator[np.ndarray]:
        """Yields float64 arrays (n, outputs) of all measured values, NaN where missing; reads no other column.

        Raises:
            ValueError: A value is not a number, or a row has none.
        """
        digests = {}
        for group in self.groups:
            digest = hashlib.sha256()
            for batch, source in self.read(group, self.spec.labels):
                labels = read_labels(batch, source, self.spec.labels, self.spec.transform)
                digest.update(labels.tobytes())
                yield labels
            digests[group] = digest.hexdigest()
        self.label_digests.update(digests)


def open_shards(
    path: str, spec: RowSpec, is_hub: bool = False, config_name: str | None = None, split: str = "train"
) -> Shards:
    """Finds the shards and reads their footers.

    Args:
        path: A .parquet file, a folder or a glob of such files, or the name of a dataset on the Hub.
        spec: Which columns to read, and how to cut the sequences.
        is_hub: Whether `path` is a dataset on the Hub.
        config_name, split: Of a dataset on the Hub.

    Raises:
        ValueError: There are no shards, one cannot be read or lacks a column, or they have no rows.
    """
    if is_hub:
        files = _hub_files(path, config_name, split)
        filesystem = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(HfFileSystem()))
        name = f"{path}, {split}"
    else:
        files, filesystem = _local_files(path), pyarrow.fs.LocalFileSystem()
        name = Path(path).name
    shards = [_open(file, filesystem, spec.columns) for file in files]
    if not any(shard.metadata.num_rows for shard in shards):
        raise ValueError(f"{path}: no rows in {len(shards)} Parquet file(s)")
    return Shards(name, filesystem, shards, spec)


def _open(path: str, filesystem: pyarrow.fs.FileSystem, columns: Sequence[str]) -> Shard:
    try:
        with filesystem.open_input_file(path) as content:
            shard = Shard(path, path, content.size(), pyarrow.parquet.ParquetFile(content).metadata)
    except FILE_ERRORS as error:
        raise ValueError(f"{path}: not a whole Parquet file ({one_line(error)})") from None
    names = shard.metadata.schema.to_arrow_schema().names
    if repeated := [name for name in columns if names.count(name) > 1]:
        raise ValueError(f"{path}: the file has the column {repeated[0]!r} twice")
    if missing := [name for name in columns if name not in names]:
        raise ValueError(
            f"{path}: no column {missing[0]!r}; it has the columns {', '.join(map(repr, names[:12]))}; name them with "
            "`sequence_column`, `label_column`"
        )
    return shard


def _local_files(path: str) -> list[str]:
    folder = Path(path)
    if folder.is_dir():
        relative = (file.relative_to(folder) for file in folder.rglob("*") if file.suffix.lower() == ".parquet")
        # Other programs write unfinished files under such names.
        files = [str(folder / name) for name in relative if not any(part.startswith((".", "_")) for part in name.parts)]
    elif folder.is_file():
        files = [path]
    else:
        files = glob.glob(path, recursive=True)
    if others := [name for name in files if not name.lower().endswith(".parquet")]:
        raise ValueError(
            f"`streaming` reads .parquet files, but {others[0]} is none: leave it out, or write Parquet shards"
        )
    if not files:
        raise ValueError(
            f"`train_file` {path}: no .parquet file there; `streaming` reads one, a folder or a glob of them"
        )
    return sorted(files)


def _hub_files(name: str, config_name: str | None, split: str) -> list[str]:
    """Parquet files of a split, from the dataset itself or otherwise from the Hub's own conversion."""
    for revision in ("", f"@{CONVERTED}"):
        root = f"datasets/{name}{revision}"
        try:
            files = [path for path in HfFileSystem().find(root) if path.endswith(".parquet")]
        except FileNotFoundError:
            continue
        except FILE_ERRORS as error:
            raise ValueError(f"`dataset_name` {name!r} cannot be listed: {one_line(error)}") from None
        if files:
            return _of_split(sorted(files), name, config_name, split)
    raise ValueError(f"`dataset_name` {name!r}: no such dataset, or no Parquet files in it: `streaming` needs them")


def _of_split(files: list[str], name: str, config_name: str | None, split: str) -> list[str]:
    words = {path: set(re.split(r"[/\-_. ]", path.split(name, 1)[1])) for path in files}
    if config_name:
        files = [path for path in files if f"/{config_name}/" in path]
    chosen = [path for path in files if split in words[path]]
    if not chosen and split == "train":  # a dataset without splits
        chosen = [path for path in files if not words[path] & SPLIT_NAMES.keys()]
    folders = {
        path.rsplit("/", 2)[0] for path in chosen if f"@{CONVERTED.replace('/', '%2F')}/" in path or CONVERTED in path
    }
    if not chosen or len(folders) > 1:
        problem = "several configurations" if chosen else f"no Parquet files of split {split!r}"
        raise ValueError(
            f"{name}: {problem}; its files are {', '.join(path.split(name, 1)[1] for path in files[:5])}: name them with "
            "`train_split_name` and `dataset_config_name`"
        )
    return chosen
