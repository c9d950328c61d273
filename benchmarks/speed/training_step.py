"""Speed of training steps, against the Hugging Face example scripts and the limit of matrix products.

    python -m benchmarks.speed.training_step --models base --batch_size 8 --steps 12
    python -m benchmarks.speed.training_step --models sysu small --tasks mlm --precisions bf16 --batch_size 64 --steps 40

Ours is what the two training scripts do, called as on the command line. The peer is what the example scripts for text
classification and masked language modelling do, with the same network, batch size and precision and the same tokenizer:
`datasets` of Python lists, a padding or masking collator, the model's own loss, the Trainer's defaults. Both train on random
DNA; the first steps are not counted, and the median of the others is taken. The limit is the rate of large square matrix
products in the same precision, measured before and after each run, on a CPU by MKL or oneDNN, whichever is faster. A step's
own products are counted, forward once and backward twice, the language-model head only where something is hidden, so the
last column is the share of the limit that training uses. Runs on a GPU if there is one.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

import run_finetune_regression
import run_pretrain_mlm
from benchmarks.measuring import as_flags, device_name, encoder_products, product_rate, versions, write_table
from benchmarks.training import SKIPPED, timed_steps
from kmerbert.models.kernels import onednn_is_exact
from kmerbert.models.loading import load_config
from tokenization_kmer import KmerTokenizer

MASKED = 0.15  # share of bases (ours) or of tokens (peer) that are hidden


@dataclass(frozen=True)
class Network:
    """A kind of network: architecture, k and alphabet of its k-mers, and its settings."""

    model_type: str
    k: int
    alphabet: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int

    @property
    def overrides(self) -> str:
        """The value of --config_overrides."""
        names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        return ",".join(f"{name}={getattr(self, name)}" for name in names)

    def products(self, n_tokens: int, n_scored: float, n_outputs: int) -> float:
        """Floating-point operations of a sequence's matrix products, forward and backward.

        Args:
            n_tokens: Of the sequence, special ones included.
            n_scored: Tokens that the head reads.
            n_outputs: Of the head, after a layer as wide as the network.
        """
        size = (self.num_hidden_layers, self.hidden_size, self.intermediate_size)
        head = 2 * self.hidden_size * (self.hidden_size + n_outputs)
        return 3 * (encoder_products(n_tokens, *size, self.model_type == "modernbert") + n_scored * head)


NETWORKS = {
    "base": Network("bert", 6, "ATCG", 768, 12, 12, 3072),
    "base3": Network("bert", 6, "ATCG", 768, 3, 12, 3072),
    "sysu": Network("bert", 3, "ATCGN", 512, 3, 8, 2048),
    "small": Network("modernbert", 6, "ATCG", 128, 4, 4, 256),
    "tiny": Network("bert", 3, "ATCG", 16, 1, 2, 32),
}


def limit(precision: str, size: int | None) -> float:
    """FLOP/s of square matrix products in that precision, by the faster library where there are two."""
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    is_choice = device.type == "cpu" and dtype == torch.float32 and onednn_is_exact()
    return max(product_rate(device, dtype, size, by_onednn) for by_onednn in ((False, True) if is_choice else (False,)))


def shared_flags(batch_size: int, steps: int, precision: str) -> dict[str, Any]:
    """Settings that both have: what is trained and how long, and nothing but training."""
    return {
        "max_steps": steps,
        "per_device_train_batch_size": batch_size,
        "bf16": precision == "bf16",
        "save_strategy": "no",
        "eval_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 50,
        "learning_rate": 1e-4,
    }


def train_ours(task: str, network: Network, rows: Path, folder: Path, flags: dict[str, Any]) -> None:
    """Trains as a user does."""
    settings = flags | {
        "train_file": rows,
        "output_dir": folder / "ours",
        "overwrite_output_dir": True,
        "token_cache_dir": folder / "tokens",
        "validation_split_percentage": 0,
        "model_type": network.model_type,
        "config_overrides": network.overrides,
        "k": network.k,
        "alphabet": network.alphabet,
    }
    if task == "mlm":  # as many tokens to guess as the peer has
        settings |= {"masking": "tokens", "mlm_probability": MASKED}
    script = run_pretrain_mlm if task == "mlm" else run_finetune_regression
    script.main(as_flags(settings))


def train_peer(task: str, network: Network, rows: Path, folder: Path, flags: dict[str, Any]) -> None:
    """Trains as the example scripts do."""
    tokenizer = KmerTokenizer(k=network.k, alphabet=network.alphabet)
    is_mlm = task == "mlm"
    outputs = {} if is_mlm else {"num_labels": 1, "problem_type": "regression"}
    architecture = {"model_type": network.model_type, "config_overrides": network.overrides}
    config = load_config(tokenizer, **architecture, **outputs)
    files = {"data_files": str(rows), "delimiter": "\t", "cache_dir": str(folder / "peer")}
    table = datasets.load_dataset("csv", split="train", **files)

    def tokenise(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        labels = {} if is_mlm else {"label": batch["expression"]}
        return dict(tokenizer(batch["sequence"])) | labels

    table = table.map(tokenise, batched=True, remove_columns=table.column_names)
    if is_mlm:
        model = AutoModelForMaskedLM.from_config(config)
        collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED)
    else:
        model = AutoModelForSequenceClassification.from_config(config)
        collator = DataCollatorWithPadding(tokenizer)
    has_device = torch.accelerator.is_available()
    arguments = TrainingArguments(output_dir=str(folder / "peer_run"), use_cpu=not has_device, **flags)
    Trainer(model, arguments, data_collator=collator, train_dataset=table, processing_class=tokenizer).train()


def measure(train: Callable[..., None], precision: str, size: int | None, *arguments: Any) -> tuple[float, float]:
    """Seconds of a step, and FLOP/s of matrix products around the run."""
    before = limit(precision, size)
    with redirect_stdout(sys.stderr), timed_steps() as timer:  # standard output has only the table
        train(*arguments)
    return timer.seconds(), max(before, limit(precision, size))


def compare(task: str, name: str, precision: str, args: argparse.Namespace) -> list[dict[str, float]]:
    """Two lines of the table, ours and the peer's."""
    network, lines = NETWORKS[name], []
    n_kmers = args.bases - network.k + 1
    n_scored = MASKED * n_kmers if task == "mlm" else 1
    n_outputs = len(KmerTokenizer(k=network.k, alphabet=network.alphabet)) if task == "mlm" else 1
    operations = network.products(n_kmers + 2, n_scored, n_outputs)
    flags = shared_flags(args.batch_size, args.steps + SKIPPED, precision)
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.tsv"
        write_table(rows, args.batch_size * 8, args.bases)
        for label, train in (("ours", train_ours), ("example script", train_peer)):
            arguments = (task, network, rows, Path(folder), flags)
            seconds, fastest = measure(train, precision, args.product_size, *arguments)
            rate = args.batch_size / seconds
            share = rate * operations / fastest
            lines.append({"seconds": seconds, "rate": rate, "share": share, "limit": fastest})
            print(
                f"{task:<11}{name:<7}{precision:<6}{label:<16}{1000 * seconds:>10,.1f}{rate:>13,.1f}"
                f"{rate * operations / 1e9:>11,.0f}{fastest / 1e9:>11,.0f}{share:>8.0%}",
                flush=True,
            )
    return lines


def main(argv: Sequence[str] | None = None) -> dict[str, list[dict[str, float]]]:
    """Prints the table and returns its figures by task, network and precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=["base", "base3", "sysu", "small"])
    parser.add_argument("--tasks", nargs="+", choices=("regression", "mlm"), default=["regression", "mlm"])
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--batch_size", type=int, default=32, help="sequences in a step")
    parser.add_argument("--bases", type=int, default=110, help="bases of a sequence")
    parser.add_argument("--steps", type=int, default=10, help="steps that are counted")
    parser.add_argument("--product_size", type=int, help="size of the limit's matrices (default: 2048; on a GPU 8192)")
    args = parser.parse_args(argv)
    datasets.disable_progress_bars()
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    print(f"{device_name(device)}; {versions('torch', 'transformers')}")
    print(f"{args.batch_size} sequences of {args.bases} bases in a step\n")
    columns = f"{'ms/step':>10}{'sequences/s':>13}{'GFLOP/s':>11}{'limit':>11}{'share':>8}"
    print(f"{'task':<11}{'model':<7}{'':<6}{'':<16}{columns}")
    combinations = product(args.tasks, args.models, args.precisions)
    return {" ".join(names): compare(*names, args) for names in combinations}


if __name__ == "__main__":
    main()
