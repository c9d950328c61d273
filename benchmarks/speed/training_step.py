"""Speed of training steps, side by side with the Hugging Face example scripts and with the limit of matrix products.

    python -m benchmarks.speed.training_step --models base --batch_size 8 --steps 12
    python -m benchmarks.speed.training_step --models sysu small --tasks mlm --precisions bf16 --batch_size 64 --steps 40

Ours is what the two training scripts do, called as on the command line. The peer is what the example scripts for text
classification and masked language modelling do, with the same network, numbers of rows and precision and the same
tokenizer: `datasets` of Python lists, a padding or masking collator, the model's own loss, the Trainer's defaults. Both
train on random DNA; the first steps are not counted, and the median of the others is taken. The limit is the rate of large
square matrix products in the same precision, measured before and after each run, on a CPU by MKL or oneDNN, the faster. A
step's own products are counted, forward once and backward twice, the language-model head only where something is hidden,
so the last column is the share of the limit that training uses. Works on a GPU, too, where there is one.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}  # before transformers is imported
ROOT = Path(__file__).resolve().parents[2]

import datasets
import numpy as np
import torch
import transformers
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import run_finetune_regression
import run_pretrain_mlm
from kmerbert.cli.flags import ModelArguments
from kmerbert.models.kernels import onednn_is_exact, onednn_products
from kmerbert.models.loading import load_config
from tokenization_kmer import KmerTokenizer

MASKED = 0.15  # share of bases (ours) or of tokens (peer) that are hidden
SKIPPED = 3  # steps that are not counted: memory is allocated, kernels are chosen


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
            n_tokens: of the sequence, special ones included.
            n_scored: tokens that the head reads.
            n_outputs: of the head, after a layer as wide as the network.
        """
        width = self.hidden_size
        gates = 3 if self.model_type == "modernbert" else 2  # its feed-forward layer has a gate
        layer = 8 * width * width + 2 * gates * width * self.intermediate_size + 4 * n_tokens * width
        head = 2 * width * (width + n_outputs)
        return 3 * (n_tokens * self.num_hidden_layers * layer + n_scored * head)


NETWORKS = {
    "base": Network("bert", 6, "ATCG", 768, 12, 12, 3072),
    "base3": Network("bert", 6, "ATCG", 768, 3, 12, 3072),
    "sysu": Network("bert", 3, "ATCGN", 512, 3, 8, 2048),
    "small": Network("modernbert", 6, "ATCG", 128, 4, 4, 256),
    "tiny": Network("bert", 3, "ATCG", 16, 1, 2, 32),
}


class StepTimer(TrainerCallback):
    """Keeps the time at which each step of the run that began last has ended, and the share of tokens it had to guess."""

    ends: list[float]

    def on_train_begin(self, args: Any, state: Any, control: Any, **handed: Any) -> None:
        StepTimer.ends = []

    def on_step_end(self, args: Any, state: Any, control: Any, **handed: Any) -> None:
        if torch.cuda.is_available() and state.global_step in (SKIPPED, state.max_steps):
            torch.cuda.synchronize()  # in between, the processor runs ahead as it does in training
        StepTimer.ends.append(time.perf_counter())

    @classmethod
    def seconds(cls) -> float:
        """Seconds of a step: the mean on a GPU, which is not waited for at each step, else the median."""
        ends = cls.ends[SKIPPED - 1 :]
        steps = np.diff(ends).tolist()
        return (ends[-1] - ends[0]) / len(steps) if torch.cuda.is_available() else statistics.median(steps)


def write_rows(path: Path, n_rows: int, n_bases: int) -> None:
    """Writes random DNA with random values."""
    generator = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT", np.uint8)[generator.integers(0, 4, (n_rows, n_bases))]
    values = generator.normal(11, 2.5, n_rows)
    rows = (f"{row.tobytes().decode()}\t{value:.4f}\n" for row, value in zip(letters, values, strict=True))
    path.write_text("sequence\texpression\n" + "".join(rows))


def product_rate(precision: str, size: int) -> float:
    """FLOP/s of square matrix products of the given size, the best of some, by the faster library where there are two."""
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    is_choice = device.type == "cpu" and dtype == torch.float32 and onednn_is_exact()
    for library in (nullcontext, onednn_products) if is_choice else (nullcontext,):
        with library():
            for _ in range(8):
                start = time.perf_counter()
                left @ right
                if device.type == "cuda":
                    torch.cuda.synchronize()
                seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


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
    given = flags | {
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
        given |= {"masking": "tokens", "mlm_probability": MASKED}
    script = run_pretrain_mlm if task == "mlm" else run_finetune_regression
    script.main([f"--{name}={value}" for name, value in given.items()])


def train_peer(task: str, network: Network, rows: Path, folder: Path, flags: dict[str, Any]) -> None:
    """Trains as the example scripts do."""
    tokenizer = KmerTokenizer(k=network.k, alphabet=network.alphabet)
    found = ModelArguments(model_type=network.model_type, config_overrides=network.overrides)
    is_mlm = task == "mlm"
    settings = {} if is_mlm else {"num_labels": 1, "problem_type": "regression"}
    config = load_config(found, tokenizer, **settings)
    table = datasets.load_dataset(
        "csv", data_files=str(rows), delimiter="\t", split="train", cache_dir=str(folder / "peer")
    )

    def tokenise(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        labels = {} if is_mlm else {"label": batch["expression"]}
        return dict(tokenizer(batch["sequence"])) | labels

    table = table.map(tokenise, batched=True, remove_columns=table.column_names)
    if is_mlm:
        model, collator = (
            AutoModelForMaskedLM.from_config(config),
            DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED),
        )
    else:
        model, collator = AutoModelForSequenceClassification.from_config(config), DataCollatorWithPadding(tokenizer)
    has_device = torch.accelerator.is_available()
    arguments = TrainingArguments(output_dir=str(folder / "peer_run"), use_cpu=not has_device, **flags)
    Trainer(model, arguments, data_collator=collator, train_dataset=table, processing_class=tokenizer).train()


def measure(train: Callable[..., None], precision: str, size: int, *arguments: Any) -> tuple[float, float]:
    """Seconds of a step and FLOP/s of matrix products around it."""
    before = product_rate(precision, size)
    with redirect_stdout(sys.stderr):  # the table stands alone
        train(*arguments)
    return StepTimer.seconds(), max(before, product_rate(precision, size))


def compare(task: str, name: str, precision: str, asked: argparse.Namespace) -> list[dict[str, float]]:
    """Two rows of the table, ours and the peer's."""
    network, found = NETWORKS[name], []
    n_kmers = asked.bases - network.k + 1
    n_scored = MASKED * n_kmers if task == "mlm" else 1
    n_outputs = len(KmerTokenizer(k=network.k, alphabet=network.alphabet)) if task == "mlm" else 1
    operations = network.products(n_kmers + 2, n_scored, n_outputs)
    flags = shared_flags(asked.batch_size, asked.steps + SKIPPED, precision)
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.tsv"
        write_rows(rows, asked.batch_size * 8, asked.bases)
        for label, train in (("ours", train_ours), ("example script", train_peer)):
            arguments = (task, network, rows, Path(folder), flags)
            seconds, limit = measure(train, precision, asked.product_size, *arguments)
            rate = asked.batch_size / seconds
            found.append({"seconds": seconds, "rate": rate, "share": rate * operations / limit, "limit": limit})
            print(
                f"{task:<11}{name:<7}{precision:<6}{label:<16}{1000 * seconds:>10,.1f}{rate:>13,.1f}"
                f"{rate * operations / 1e9:>11,.0f}{limit / 1e9:>11,.0f}{rate * operations / limit:>8.0%}",
                flush=True,
            )
    return found


def hardware() -> str:
    """The processor, or the GPU, that trains."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, platform.processor() or platform.machine())}, {torch.get_num_threads()} thread(s)"


def main(argv: Sequence[str] | None = None) -> dict[str, list[dict[str, float]]]:
    """Prints the table and returns its figures by task, network and precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=["base", "base3", "sysu", "small"])
    parser.add_argument("--tasks", nargs="+", choices=("regression", "mlm"), default=["regression", "mlm"])
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--batch_size", type=int, default=32, help="sequences in a step")
    parser.add_argument("--bases", type=int, default=110, help="bases of a sequence")
    parser.add_argument("--steps", type=int, default=10, help="steps that are counted")
    default = 8192 if torch.cuda.is_available() else 2048
    parser.add_argument("--product_size", type=int, default=default, help="rows and columns of the limit's matrices")
    asked = parser.parse_args(argv)
    transformers.trainer.DEFAULT_CALLBACKS.append(StepTimer)
    datasets.disable_progress_bars()
    print(f"{hardware()}; torch {torch.__version__}, transformers {transformers.__version__}")
    print(f"{asked.batch_size} sequences of {asked.bases} bases in a step\n")
    columns = f"{'ms/step':>10}{'sequences/s':>13}{'GFLOP/s':>11}{'limit':>11}{'share':>8}"
    print(f"{'task':<11}{'model':<7}{'':<6}{'':<16}{columns}")
    table = {}
    try:
        for task in asked.tasks:
            for name in asked.models:
                for precision in asked.precisions:
                    table[f"{task} {name} {precision}"] = compare(task, name, precision, asked)
    finally:
        transformers.trainer.DEFAULT_CALLBACKS.remove(StepTimer)
    return table


if __name__ == "__main__":
    main()
