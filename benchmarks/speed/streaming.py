"""Training batches streamed from Parquet shards: sequences a second and memory, against a streamed Hugging Face dataset.

    python -m benchmarks.speed.streaming --folder runs/streaming
    python -m benchmarks.speed.streaming --folder runs/streaming --rows 50000 --peer_rows 5000

Writes random promoters of 110 bases and values into Parquet shards in the folder, which must be new or empty, and reads
one epoch of shuffled, tokenised, collated batches from them. Ours is `kmerbert`'s --streaming, of all shards, and of the
first fifth of them: its memory must not grow with the data. The peers are
`load_dataset(streaming=True).shuffle().map(tokenise)` in a DataLoader, with a k-mer dictionary in Python and with this
project's tokenizer; they stop after `--peer_rows` rows. The limit is pyarrow, which reads the same columns and does nothing
with them. All must give the same rows, which is checked on a few first.

Every stage is a process of its own; its seconds begin after the imports, and its memory includes the libraries. CPU seconds,
those of all its threads, are what to look at when other programs run.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch are imported

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from transformers import default_data_collator

from benchmarks.dictionary import DictionaryTokenizer
from benchmarks.measuring import costs, processor_name, random_letters, run_apart, versions
from kmerbert.reading.rows import RowSpec
from kmerbert.reading.shards import open_shards
from kmerbert.tokens.batches import collate
from kmerbert.tokens.stream import StreamedDataset
from kmerbert.tokens.targets import TargetScaler
from tokenization_kmer import KmerTokenizer

K, BASES = 6, 110
COLUMNS = ["sequence", "expression"]
STAGES = {
    "limit": "limit: pyarrow reads the columns",
    "ours": "ours, all shards",
    "first": "ours, a fifth of the shards",
    "peer": "streamed dataset, k-mer dictionary",
    "peer_ours": "streamed dataset, our tokenizer",
}


def write_shards(folder: Path, n_rows: int, n_shards: int, group_rows: int, seed: int) -> None:
    """Writes random promoters; the names of the first fifth of the shards begin with `first`."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for number, rows in enumerate(np.array_split(np.arange(n_rows), n_shards)):
        n = len(rows)
        offsets, letters = np.arange(n + 1, dtype=np.int32) * BASES, random_letters(n, BASES, generator)
        sequences = pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(letters.tobytes()))
        table = pa.table({"sequence": sequences, "expression": generator.normal(0, 1, n).astype(np.float32)})
        name = f"{'first' if number * 5 < n_shards else 'other'}-{number:04}.parquet"
        pyarrow.parquet.write_table(table, folder / name, row_group_size=group_rows)


def read_limit(folder: Path, _: int) -> Iterator[dict[str, Any]]:
    """Record batches of the two columns."""
    for path in sorted(folder.glob("*.parquet")):
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(10_000, columns=COLUMNS):
            yield {"labels": batch.column("expression")}


def read_ours(folder: Path, batch_size: int, pattern: str = "*.parquet") -> Iterator[dict[str, Any]]:
    """The batches of one epoch, as the Trainer gets them."""
    shards = open_shards(str(folder / pattern), RowSpec("sequence", ("expression",)))
    rows = StreamedDataset(shards, KmerTokenizer(K), batch_size).with_targets(TargetScaler((0.0,), (1.0,)))
    for first in range(0, len(rows), batch_size):
        yield collate(rows.__getitems__(range(first, first + batch_size)))


def read_peer(folder: Path, batch_size: int, tokenise: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[Any]:
    """The batches of a streamed dataset that is shuffled in a buffer of the usual size."""
    files = [str(path) for path in sorted(folder.glob("*.parquet"))]
    rows = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
    rows = rows.shuffle(seed=0).map(tokenise, batched=True, remove_columns=COLUMNS)
    yield from torch.utils.data.DataLoader(rows, batch_size=batch_size, collate_fn=default_data_collator)


def with_dictionary(batch: dict[str, Any]) -> dict[str, Any]:
    """Looks up k-mer after k-mer."""
    return {"input_ids": DICTIONARY(batch["sequence"]), "labels": batch["expression"]}


def with_ours(batch: dict[str, Any]) -> dict[str, Any]:
    """Tokenises the rows of a batch at once."""
    return {"input_ids": KmerTokenizer(K).encode_ids(batch["sequence"]), "labels": batch["expression"]}


DICTIONARY = DictionaryTokenizer(K)
READERS: dict[str, Callable[[Path, int], Iterator[dict[str, Any]]]] = {
    "limit": read_limit,
    "ours": read_ours,
    "first": lambda folder, size: read_ours(folder, size, "first-*.parquet"),
    "peer": lambda folder, size: read_peer(folder, size, with_dictionary),
    "peer_ours": lambda folder, size: read_peer(folder, size, with_ours),
}


def check_agreement(batch_size: int = 50, n_rows: int = 600) -> None:
    """Reads a few rows by every way; RuntimeError where they differ."""
    seen = {}
    with tempfile.TemporaryDirectory() as name:
        write_shards(Path(name), n_rows, 3, 70, seed=1)
        for stage in ("ours", "peer", "peer_ours"):
            rows = [
                (tuple(ids), round(float(label), 5))
                for batch in READERS[stage](Path(name), batch_size)
                for ids, label in zip(batch["input_ids"].tolist(), batch["labels"].flatten().tolist(), strict=True)
            ]
            seen[stage] = sorted(rows)
            if rows == seen[stage]:
                raise RuntimeError(f"{STAGES[stage]}: the rows are not shuffled")
    if not len(seen["ours"]) == n_rows or any(rows != seen["ours"] for rows in seen.values()):
        raise RuntimeError("ours and a peer give different rows")


def run_stage(stage: str, folder: Path, batch_size: int, n_rows: int) -> dict[str, float]:
    """Reads all rows, a peer `n_rows` of them; returns `rows`, `seconds`, `cpu` seconds, and peak `memory` in bytes."""
    # Kept for longer than the clock runs: `datasets` sleeps for seconds when a stream is closed.
    batches = READERS[stage](folder, batch_size)
    few = islice(batches, n_rows // batch_size if stage.startswith("peer") else None)
    n_read, figures = costs(lambda: sum(len(batch["labels"]) for batch in few))
    return figures | {"rows": n_read}


def print_table(figures: dict[str, dict[str, float]]) -> None:
    """Prints sequences a second (wall, CPU), how many times the peer's they are, and memory."""
    print(f"{processor_name()}; {versions('pyarrow', 'datasets', 'torch')}\n")
    print(f"{'':<36}{'rows':>10}{'rows/s':>12}{'rows/CPU s':>12}{'x peer':>8}{'x limit':>9}{'peak MB':>9}")
    rates = {stage: row["rows"] / max(row["cpu"], 1e-9) for stage, row in figures.items()}
    for stage, row in figures.items():
        print(
            f"{STAGES[stage]:<36}{row['rows']:>10,.0f}{row['rows'] / row['seconds']:>12,.0f}"
            f"{rates[stage]:>12,.0f}{rates[stage] / rates['peer']:>8,.1f}{rates[stage] / rates['limit']:>9,.3f}"
            f"{row['memory'] / 1e6:>9,.0f}"
        )


def main(argv: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
    """Prints the table and returns the figures of every stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="folder for the shards, new or empty")
    parser.add_argument("--rows", type=int, default=500_000, help="rows in all shards")
    parser.add_argument("--shards", type=int, default=10, help="Parquet files that they are in")
    parser.add_argument("--group_rows", type=int, default=10_000, help="rows of a row group")
    parser.add_argument("--batch_size", type=int, default=256, help="rows of a batch")
    parser.add_argument("--peer_rows", type=int, default=50_000, help="rows that the peers read")
    parser.add_argument("--stage", choices=STAGES, help="run only this stage, on existing shards, and print JSON")
    arguments = parser.parse_args(argv)
    folder, size = arguments.folder.resolve(), arguments.batch_size
    if min(arguments.shards, arguments.group_rows, size) < 1 or arguments.peer_rows < size:
        parser.error("all numbers must be at least 1, and --peer_rows at least --batch_size")
    if arguments.rows < 5 * size * arguments.shards:
        parser.error(f"--rows must be at least 5 batches a shard, {5 * size * arguments.shards}")
    if arguments.stage:
        figures = run_stage(arguments.stage, folder, size, arguments.peer_rows)
        print(json.dumps(figures))
        return {arguments.stage: figures}
    if folder.is_dir() and any(folder.iterdir()):
        parser.error(f"--folder {folder} is not empty: name a new one")
    check_agreement()
    write_shards(folder, arguments.rows, arguments.shards, arguments.group_rows, seed=0)
    flags = [*(sys.argv[1:] if argv is None else argv), "--folder", folder]
    figures = {stage: run_apart("benchmarks.speed.streaming", *flags, "--stage", stage) for stage in STAGES}
    print(f"{arguments.rows} sequences of {BASES} bases in {arguments.shards} shards, batches of {size}, {K}-mers")
    print_table(figures)
    return figures


if __name__ == "__main__":
    main()
