"""From a file of sequences and values to rows that training can start with: seconds, memory and disk, against a peer.

    python -m benchmarks.speed.loading --folder runs/loading
    python -m benchmarks.speed.loading --folder runs/loading --rows 200000 --peer_rows 20000

Simulates promoters in the challenge's format (`--input_file` takes an existing file instead) and packs them with gzip, level
1. Ours does all that a training script does before it builds a model: it reads and checks the rows, tokenises them, holds
10 % of them out and looks for repeats; from the plain file, from the packed one, and a second time. The peer is the way of
the Hugging Face examples: `load_dataset`, `map` with a k-mer dictionary in Python, `train_test_split`; it does the first
`--peer_rows` rows, and its seconds are stretched to all of them. The limit is reading the file's bytes once, from memory
where the operating system has kept them. Both must give the same tokens and values.

Every stage is a process of its own; its seconds begin after the imports, and its memory includes the libraries. CPU seconds
tell how busy the cores were, and are what to look at when other programs run.
"""

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported

import numpy as np

from benchmarks.dictionary import DictionaryTokenizer
from benchmarks.measuring import ROOT, bytes_on_disk, costs, processor_name, run_apart

ALL_ROWS = 6_739_258
K = 6
STAGES = {
    "limit": "limit: read the bytes once",
    "plain": "ours, plain file",
    "packed": "ours, .gz file",
    "again": "ours, plain file, second start",
    "peer": "load_dataset, map, train_test_split",
}
# What each stage reads, and what it leaves in the folder.
FILES = {
    "plain": ("rows.txt", "tokens"),
    "packed": ("rows.txt.gz", "tokens_of_packed"),
    "again": ("rows.txt", "tokens"),
    "peer": ("peer.txt", "peer"),
}
Digest = Callable[[], str | None]

# Each of the next three prepares a stage and returns its work. The work returns what makes the digest of its first rows.


def read_bytes(folder: Path) -> Callable[[], Digest]:
    """Reads the file in pieces of a megabyte."""
    piece = bytearray(1 << 20)

    def work() -> Digest:
        with (folder / "rows.txt").open("rb", buffering=0) as file:
            while file.readinto(piece):
                pass
        return lambda: None

    return work


def load_ours(folder: Path, name: str, tokens: str, n_checked: int) -> Callable[[], Digest]:
    """Loads rows with `kmerbert`."""
    from benchmarks.training import load_rows
    from tokenization_kmer import KmerTokenizer

    tokenizer, flags = KmerTokenizer(K), {"train_file": str(folder / name), "token_cache_dir": str(folder / tokens)}

    def work() -> Digest:
        table = load_rows(folder, tokenizer, **flags)["train"].table
        bounds = zip(table.starts[:n_checked], table.lengths[:n_checked], strict=True)
        return lambda: digest((table.ids[start : start + n] for start, n in bounds), table.labels[:n_checked])

    return work


def load_peer(folder: Path, name: str, cache: str, n_rows: int) -> Callable[[], Digest]:
    """Loads the first rows with `datasets` and a dictionary of k-mers."""
    from datasets import load_dataset

    dictionary, names = DictionaryTokenizer(K), {"names": ["sequence", "expression"], "sep": "\t"}
    with (folder / "rows.txt").open() as source, (folder / name).open("w") as first_rows:
        first_rows.writelines(islice(source, n_rows))

    def tokenize(batch: dict[str, list[Any]]) -> dict[str, list[list[int]]]:
        ids = dictionary(batch["sequence"])
        ones, zeros = ([[value] * len(row) for row in ids] for value in (1, 0))
        return {"input_ids": ids, "attention_mask": ones, "token_type_ids": zeros}

    def work() -> Digest:
        rows = load_dataset("csv", data_files=str(folder / name), cache_dir=str(folder / cache), **names)["train"]
        rows = rows.map(tokenize, batched=True)
        rows.train_test_split(0.1, seed=42)
        arrays = rows.with_format("numpy")
        return lambda: digest(arrays["input_ids"], arrays["expression"])

    return work


def digest(ids: Iterable[Any], values: Iterable[Any]) -> str:
    """A checksum of the token ids of rows and of their values."""
    checksum = hashlib.sha256()
    for row in ids:
        checksum.update(np.append(np.asarray(row), -1).astype(np.int64).tobytes())
    checksum.update(np.asarray(values).astype(np.float32).ravel().tobytes())
    return checksum.hexdigest()


def run_stage(name: str, folder: Path, n_checked: int) -> dict[str, Any]:
    """Runs one stage in this process: `seconds`, `cpu`, `memory` in bytes, and `digest` of the first rows."""
    if name == "limit":
        work = read_bytes(folder)
    else:
        work = (load_peer if name == "peer" else load_ours)(folder, *FILES[name], n_checked)
    make_digest, figures = costs(work)
    return figures | {"digest": make_digest()}


def prepare(folder: Path, n_rows: int, input_file: str | None) -> int:
    """Puts the rows into the folder, plain and packed; returns their number."""
    plain = folder / "rows.txt"
    if input_file:
        plain.symlink_to(Path(input_file).resolve())
    else:
        program = [sys.executable, "data/simulate_promoters.py", "--rows", str(n_rows), "--output_file", str(plain)]
        subprocess.run(program, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    with plain.open("rb") as source, gzip.open(folder / "rows.txt.gz", "wb", compresslevel=1) as packed:
        shutil.copyfileobj(source, packed, 1 << 20)
    with plain.open("rb") as source:
        return sum(1 for _ in source)


def measure(folder: Path, n_rows: int, n_peer: int) -> dict[str, dict[str, Any]]:
    """Runs all stages; RuntimeError if ours and the peer give different tokens or values."""
    flags = ["--folder", folder, "--peer_rows", n_peer]
    figures = {name: run_apart("benchmarks.speed.loading", *flags, "--stage", name) for name in STAGES}
    if len({figures[name]["digest"] for name in STAGES if name != "limit"}) > 1:
        raise RuntimeError("ours and the peer give different tokens or values")
    for key in ("seconds", "cpu"):
        figures["peer"][key] *= n_rows / n_peer
    for name, (_, output) in FILES.items():
        figures[name]["disk"] = bytes_on_disk(folder / output) / (n_peer if name == "peer" else n_rows)
    return figures


def print_table(figures: dict[str, dict[str, Any]], n_rows: int) -> None:
    """Prints a line for every stage."""
    print(f"{'':<38}{'seconds':>9}{'CPU s':>9}{'rows/s':>12}{'peak GB':>9}{'bytes/row':>11}{'x limit':>9}{'x peer':>8}")
    for name, row in figures.items():
        seconds, disk = row["seconds"], f"{row['disk']:.0f}" if "disk" in row else ""
        print(
            f"{STAGES[name]:<38}{seconds:>9.2f}{row['cpu']:>9.2f}{n_rows / seconds:>12,.0f}{row['memory'] / 1e9:>9.2f}"
            f"{disk:>11}{seconds / figures['limit']['seconds']:>9.1f}{figures['peer']['seconds'] / seconds:>8.1f}"
        )


def main(argv: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """Prints the table and returns its figures by stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="a new folder, for 500 bytes a row and the peer's files")
    parser.add_argument("--rows", type=int, default=ALL_ROWS, help="promoters to simulate")
    parser.add_argument("--input_file", help="headerless sequence<TAB>value file instead of simulated rows")
    parser.add_argument("--peer_rows", type=int, default=100_000, help="rows that the peer reads and that are compared")
    parser.add_argument("--stage", choices=STAGES, help="run only this stage in a folder that is ready, print JSON")
    args = parser.parse_args(argv)
    folder = Path(args.folder).resolve()
    if args.stage:
        figures = run_stage(args.stage, folder, args.peer_rows)
        print(json.dumps(figures))
        return {args.stage: figures}
    if min(args.rows, args.peer_rows) < 20:
        parser.error(f"--rows {args.rows}, --peer_rows {args.peer_rows}: allowed are 20 or more")
    if args.input_file and not Path(args.input_file).is_file():
        parser.error(f"--input_file {args.input_file}: no such file")
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"--folder {folder} is not empty: name another")
    folder.mkdir(parents=True, exist_ok=True)
    n_rows = prepare(folder, args.rows, args.input_file)
    n_peer = min(args.peer_rows, n_rows)
    figures = measure(folder, n_rows, n_peer)
    megabytes = bytes_on_disk(folder / "rows.txt") / 1e6
    print(f"{n_rows:,} rows, {megabytes:,.0f} MB; {processor_name()}, {os.cpu_count()} CPU cores")
    print(f"the peer did {n_peer:,} rows: its seconds are stretched, its memory is as measured\n")
    print_table(figures, n_rows)
    return figures


if __name__ == "__main__":
    main()
