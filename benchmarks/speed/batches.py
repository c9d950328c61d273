"""Speed of batches on their way to the model, one process and one thread, against the way of the Hugging Face examples.

    python -m benchmarks.speed.batches --rows 100000 --batch_sizes 64 256 1024

Goes through the DataLoader that `Trainer` builds, and `Trainer`'s own preparation of each batch, without a model's step:
random sampling, fetching, collating, and masking for masked language models. The peer is a `datasets.Dataset` whose rows
are lists of ids, with `default_data_collator` or `DataCollatorForLanguageModeling`; it does `--peer_rows` rows. The limit
is a gather of the stored rows in random order into an int64 tensor of a batch, with nothing around it. Figures are
sequences per second of CPU time, best of several passes.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch are imported

import datasets
import numpy as np
import torch
from transformers import DataCollatorForLanguageModeling, Trainer, default_data_collator

from benchmarks.measuring import best_seconds, processor_name, versions, write_table
from benchmarks.training import load_rows
from kmerbert.tokens.batches import TokenDataset, collate
from kmerbert.tokens.masking import NucleotideMasking, TokenMasking
from kmerbert.tokens.targets import TargetScaler
from kmerbert.training.flags import KmerTrainingArguments
from tokenization_kmer import KmerTokenizer

LIMIT = "limit: gather into int64"


def random_rows(folder: Path, n_rows: int, length: int, seed: int, tokenizer: KmerTokenizer) -> TokenDataset:
    """Random DNA with standardised random values, read from a file as for training."""
    write_table(folder / "rows.tsv", n_rows, length, seed)
    flags = {"train_file": str(folder / "rows.tsv"), "validation_split_percentage": 0, "duplicates": "keep"}
    rows = load_rows(folder, tokenizer, **flags)["train"]
    return rows.with_targets(TargetScaler.fit(rows.label_blocks(), ["expression"]))


def as_lists(rows: TokenDataset, n_rows: int) -> datasets.Dataset:
    """The first rows as the Hugging Face examples keep them: ids, mask of ones, and one label."""
    ids = rows.__getitems__(range(min(n_rows, len(rows))))["input_ids"]
    columns = {"input_ids": ids.tolist(), "attention_mask": np.ones_like(ids).tolist()}
    return datasets.Dataset.from_dict(columns | {"labels": rows.targets[: len(ids), 0].tolist()})


def make_trainer(folder: Path, rows: Any, collator: Callable[..., Any], batch_size: int) -> Trainer:
    """A Trainer of a model with one weight, on the CPU."""
    settings = {
        "per_device_train_batch_size": batch_size,
        "use_cpu": True,
        "eval_strategy": "no",
        "save_strategy": "no",
    }
    names = {"output_dir": str(folder / "run"), "load_best_model_at_end": False, "disable_tqdm": True}
    arguments = KmerTrainingArguments(**settings, **names)
    return Trainer(torch.nn.Linear(1, 1), arguments, data_collator=collator, train_dataset=rows)


def pass_over(trainer: Trainer) -> int:
    """Draws every batch once, as training does; returns the number of sequences."""
    batches = (trainer._prepare_inputs(batch) for batch in trainer.get_train_dataloader())
    return sum(len(batch["input_ids"]) for batch in batches)


def gather(ids: np.ndarray, batch_size: int, seed: int) -> Callable[[], int]:
    """A function that copies the rows of int array (n, tokens) in random order into int64 batches."""
    order = np.random.default_rng(seed).permutation(len(ids))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    tensor = np.empty((batch_size, ids.shape[1]), np.int64)

    def copy() -> int:
        for rows in batches:
            tensor[: len(rows)] = ids[rows]
        return len(ids)

    return copy


def rate(function: Callable[[], int]) -> float:
    """Sequences per second of CPU time, best of several calls."""
    seconds, n_sequences = best_seconds(function, clock=time.process_time)
    return n_sequences / seconds


def check(rows: TokenDataset, lists: datasets.Dataset) -> None:
    """Raises RuntimeError where ours and the peer give the model other ids or labels."""
    picked = list(range(min(8, len(lists))))[::-1]
    ours, peer = collate(rows.__getitems__(picked)), default_data_collator([lists[index] for index in picked])
    if not (torch.equal(ours["input_ids"], peer["input_ids"]) and torch.equal(ours["labels"][:, 0], peer["labels"])):
        raise RuntimeError("ours and the peer give different batches")


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, dict[int, float]]:
    """Sequences per second, by way and batch size."""
    tokenizer = KmerTokenizer(arguments.k)
    rows = random_rows(folder, arguments.rows, arguments.length, arguments.seed, tokenizer)
    lists = as_lists(rows, arguments.peer_rows)
    check(rows, lists)
    stored = rows.__getitems__(range(len(rows)))["input_ids"]
    unlabelled = lists.remove_columns("labels")
    ways: dict[str, tuple[Any, Callable[..., Any]]] = {
        "regression, ours": (rows, collate),
        "regression, datasets + default collator": (lists, default_data_collator),
        "masked bases, ours": (rows, NucleotideMasking(tokenizer)),
        "DNABERT's masking, ours": (rows, TokenMasking(tokenizer)),
        "masked, datasets + DataCollatorForLanguageModeling": (unlabelled, DataCollatorForLanguageModeling(tokenizer)),
    }
    rates: dict[str, dict[int, float]] = {name: {} for name in [*ways, LIMIT]}
    for size in arguments.batch_sizes:
        for name, (data, collator) in ways.items():
            trainer = make_trainer(folder, data, collator, size)
            rates[name][size] = rate(lambda trainer=trainer: pass_over(trainer))
        rates[LIMIT][size] = rate(gather(stored, size, arguments.seed))
    return rates


def print_table(rates: dict[str, dict[int, float]]) -> None:
    """Prints sequences per second, times the peer and share of the limit."""
    regression, masked = (rates[name] for name in rates if "datasets" in name)
    print(f"{'way':<52}{'batch':>7}{'sequences/s':>14}{'x peer':>10}{'1 / limit':>11}")
    for name, by_size in rates.items():
        for size, value in by_size.items():
            peer = (regression if name.startswith("regression") else masked)[size]
            times = "" if name == LIMIT else f"{value / peer:.1f}"
            print(f"{name:<52}{size:>7}{value:>14,.0f}{times:>10}{rates[LIMIT][size] / value:>11,.1f}")


def main(argv: Sequence[str] | None = None) -> dict[str, dict[int, float]]:
    """Prints the table and returns sequences per second by way and batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="sequences that ours and the limit go through")
    parser.add_argument("--peer_rows", type=int, default=5_000, help="sequences that the peer goes through")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[64, 256, 1024], help="sequences of a batch")
    parser.add_argument("--length", type=int, default=110, help="bases per sequence, k or more")
    parser.add_argument("--k", type=int, default=6, help="bases per token, 1 to 7")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sequences and of their order")
    arguments = parser.parse_args(argv)
    sizes = [arguments.rows, arguments.peer_rows, *arguments.batch_sizes]
    if min(sizes) < 1 or not 1 <= arguments.k <= min(7, arguments.length):
        parser.error("--rows, --peer_rows and --batch_sizes must be 1 or more, and --k 1 to 7, not above --length")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rates = measure(Path(folder), arguments)
    print(f"{arguments.rows} random sequences of {arguments.length} bases, {arguments.k}-mers, one process, one thread")
    print(f"{processor_name()}; {versions('numpy', 'torch', 'transformers')}\n")
    print_table(rates)
    return rates


if __name__ == "__main__":
    main()
