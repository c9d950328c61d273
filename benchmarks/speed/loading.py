"""From a file of sequences and values to rows that training can start with: seconds, memory and disk, beside a peer.

    python -m benchmarks.speed.loading --folder runs/loading
    python -m benchmarks.speed.loading --folder runs/loading --rows 200000 --peer_rows 20000

Simulates promoters in the challenge's format (`--input_file` takes a file that is there instead) and packs them with gzip,
level 1. Ours does all that a training script does before it builds a model: it reads and checks the rows, tokenises
them, holds 10 % of them out and looks for repeats; from the plain file, from the packed one, and a second time. The peer
is the way of the Hugging Face examples: `load_dataset`, `map` with a k-mer dictionary in Python, `train_test_split`; it
does the first `--peer_rows` rows, and its seconds are stretched to all of them. The limit is reading the file's bytes
once, from memory where the operating system has kept them. Both must give the same tokens and values.

Every stage is a process of its own, whose peak memory the operating system reports; its seconds count from behind the
imports. CPU seconds tell how busy the cores were, and are what to look at when other programs run.
"""

import argparse
import gzip
import hashlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any

# Before libraries are imported, because they read these only once.
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
ROOT = Path(__file__).resolve().parents[2]

ALL_ROWS = 6_739_258
K = 6
STAGES = {
    "limit": "limit: read the bytes once",
    "plain": "ours, plain file",
    "packed": "ours, .gz file",
    "again": "ours, plain file, second start",
    "peer": "load_dataset, map, train_test_split",
}


# Each of the next three yields once when it is ready, once when its work is done, and then what it found, if anything.


def read_bytes(folder: Path) -> Iterator[None]:
    """Reads the file in pieces of a megabyte."""
    piece = bytearray(1 << 20)
    yield
    with (folder / "rows.txt").open("rb", buffering=0) as file:
        while file.readinto(piece):
            pass
    yield


def load_ours(folder: Path, name: str, tokens: str, n_checked: int) -> Iterator[str | None]:
    """Loads rows with `kmerbert`."""
    from kmerbert.cli.flags import RegressionDataArguments
    from kmerbert.training.splits import load_splits
    from tokenization_kmer import KmerTokenizer

    arguments = RegressionDataArguments(train_file=str(folder / name), token_cache_dir=str(folder / tokens))
    tokenizer = KmerTokenizer(K)
    yield None
    table = load_splits(arguments, tokenizer, None, arguments.label_columns)["train"].table
    yield None
    places = zip(table.starts[:n_checked], table.lengths[:n_checked], strict=True)
    yield digest((table.ids[start : start + n] for start, n in places), table.labels[:n_checked])


def load_peer(folder: Path, n_rows: int) -> Iterator[str | None]:
    """Loads rows with `datasets` and a loop over the k-mers of each sequence."""
    from datasets import load_dataset

    words = map("".join, product("ATCG", repeat=K))
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4} | {w: i for i, w in enumerate(words, 5)}

    def tokenize(batch: dict[str, list[Any]]) -> dict[str, list[list[int]]]:
        ids = []
        for sequence in batch["sequence"]:
            kmers = (sequence[start : start + K] for start in range(len(sequence) - K + 1))
            ids.append([2, *(vocabulary.get(kmer, 1) for kmer in kmers), 3])
        ones, zeros = ([[value] * len(row) for row in ids] for value in (1, 0))
        return {"input_ids": ids, "attention_mask": ones, "token_type_ids": zeros}

    with (folder / "rows.txt").open() as source, (folder / "peer.txt").open("w") as share:
        share.writelines(islice(source, n_rows))
    yield None
    names = {"names": ["sequence", "expression"], "sep": "\t"}
    rows = load_dataset("csv", data_files=str(folder / "peer.txt"), cache_dir=str(folder / "peer"), **names)["train"]
    rows = rows.map(tokenize, batched=True)
    rows.train_test_split(0.1, seed=42)
    yield None
    yield digest(rows.with_format("numpy")["input_ids"], rows.with_format("numpy")["expression"])


def digest(ids: Iterable[Any], values: Iterable[Any]) -> str:
    """One word for the token ids of rows and for their values, equal where these are equal."""
    import numpy as np

    found = hashlib.sha256()
    for row in ids:
        found.update(np.append(np.asarray(row), -1).astype(np.int64).tobytes())
    found.update(np.asarray(values).astype(np.float32).ravel().tobytes())
    return found.hexdigest()


def stage(name: str, folder: Path, n_checked: int) -> dict[str, Any]:
    """Runs one stage in this process: wall and CPU seconds, peak memory in GB, digest of the first rows."""
    work: dict[str, Callable[[], Iterator[str | None]]] = {
        "limit": lambda: read_bytes(folder),
        "plain": lambda: load_ours(folder, "rows.txt", "tokens", n_checked),
        "packed": lambda: load_ours(folder, "rows.txt.gz", "tokens_of_packed", n_checked),
        "again": lambda: load_ours(folder, "rows.txt", "tokens", n_checked),
        "peer": lambda: load_peer(folder, n_checked),
    }
    steps = work[name]()
    next(steps)
    began, busy = time.perf_counter(), time.process_time()
    next(steps)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"seconds": seconds, "cpu": busy, "memory": memory, "digest": next(steps, None)}


def run(name: str, folder: Path, n_checked: int) -> dict[str, Any]:
    """Runs one stage in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.speed.loading",
        "--folder",
        str(folder),
        "--stage",
        name,
        "--peer_rows",
        str(n_checked),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{STAGES[name]}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


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


def n_bytes(folder: Path) -> int:
    """Bytes on disk of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def processor_name() -> str:
    """Model name of the CPU, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def measure(folder: Path, n_rows: int, n_peer: int) -> dict[str, dict[str, Any]]:
    """Runs all stages; RuntimeError if ours and the peer give other tokens or values."""
    found = {name: run(name, folder, n_peer) for name in STAGES}
    if len({found[name]["digest"] for name in STAGES if name != "limit"}) > 1:
        raise RuntimeError("ours and the peer give different tokens or values")
    for key in ("seconds", "cpu"):
        found["peer"][key] *= n_rows / n_peer
    for name, place in (("plain", "tokens"), ("packed", "tokens_of_packed"), ("again", "tokens"), ("peer", "peer")):
        found[name]["disk"] = n_bytes(folder / place) / (n_peer if name == "peer" else n_rows)
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """Prints the table and returns its figures by stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="a new folder, for 500 bytes a row and the peer's files")
    parser.add_argument("--rows", type=int, default=ALL_ROWS, help="promoters to simulate")
    parser.add_argument("--input_file", help="headerless sequence<TAB>value file to take instead of simulated rows")
    parser.add_argument(
        "--peer_rows", type=int, default=100_000, help="rows that the peer reads; both are compared on them"
    )
    parser.add_argument("--stage", choices=STAGES, help="run only this stage in a folder that is ready, print JSON")
    args = parser.parse_args(argv)
    folder = Path(args.folder).resolve()
    if args.stage:
        print(json.dumps(found := stage(args.stage, folder, args.peer_rows)))
        return {args.stage: found}
    if min(args.rows, args.peer_rows) < 20:
        parser.error(f"--rows {args.rows}, --peer_rows {args.peer_rows}: allowed are 20 or more")
    if args.input_file and not Path(args.input_file).is_file():
        parser.error(f"--input_file {args.input_file}: no such file")
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"--folder {folder} is not empty: name another")
    folder.mkdir(parents=True, exist_ok=True)
    n_rows = prepare(folder, args.rows, args.input_file)
    n_peer = min(args.peer_rows, n_rows)
    found = measure(folder, n_rows, n_peer)
    size = (folder / "rows.txt").stat().st_size
    print(f"{n_rows:,} rows, {size / 1e6:,.0f} MB; {processor_name()}, {os.cpu_count()} CPU cores")
    print(f"the peer did {n_peer:,} rows: its seconds are stretched, its memory is as measured\n")
    print(f"{'':<38}{'seconds':>9}{'CPU s':>9}{'rows/s':>12}{'peak GB':>9}{'bytes/row':>11}{'x limit':>9}{'x peer':>8}")
    for name, title in STAGES.items():
        row = found[name]
        ratios = f"{row['seconds'] / found['limit']['seconds']:>9.1f}{found['peer']['seconds'] / row['seconds']:>8.1f}"
        disk = f"{row['disk']:>11.0f}" if "disk" in row else f"{'':>11}"
        rate = f"{n_rows / row['seconds']:>12,.0f}"
        print(f"{title:<38}{row['seconds']:>9.2f}{row['cpu']:>9.2f}{rate}{row['memory']:>9.2f}{disk}{ratios}")
    return found


if __name__ == "__main__":
    main()
