"""Parquet shards of small row groups, in a folder or on a Hub in memory."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from kmerbert.reading import shards


def write_shards(folder: Path, sequences: Sequence[str], values: Any, n_shards: int = 3, group_rows: int = 5) -> Path:
    """Writes the columns `sequence` and `expression` as part-0.parquet, part-1.parquet, ... of about equal size."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, rows in enumerate(np.array_split(np.arange(len(sequences)), n_shards)):
        columns = {"sequence": [sequences[row] for row in rows], "expression": pa.array(np.asarray(values)[rows])}
        pyarrow.parquet.write_table(pa.table(columns), folder / f"part-{number}.parquet", row_group_size=group_rows)
    return folder


def memory_hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], None]:
    """Replaces the Hub's file system by an empty one in memory.

    Returns:
        A function that puts a file there, under its path on the Hub, such as `lab/dna/train.parquet`.
    """
    memory = fsspec.filesystem("memory", skip_instance_cache=True)
    monkeypatch.setattr(type(memory), "store", {})

    class Hub(fsspec.AbstractFileSystem):
        """Paths as on the Hub, which begin without a slash."""

        def find(self, path: str, **_: Any) -> list[str]:
            return [name.lstrip("/") for name in memory.find(f"/{path}")]

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            return memory.info(f"/{path}") | {"name": path}

        def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
            return memory._open(f"/{path}", mode)

    monkeypatch.setattr(shards, "HfFileSystem", Hub)
    return lambda name, path: memory.pipe(f"/datasets/{name}", path.read_bytes())
