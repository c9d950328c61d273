"""Speed of predictions beside `pipeline("text-classification")` and the rate of matrix products, and memory of long files.

    python -m benchmarks.speed.prediction --n_sequences 2000
    python -m benchmarks.speed.prediction --n_sequences 200 --hidden_size 512 --n_layers 3 --equal_lengths 110
    python -m benchmarks.speed.prediction --n_sequences 24 --hidden_size 768 --n_layers 12
    python -m benchmarks.speed.prediction --n_sequences 100000 --batch_size 512 --memory_rows 100000 1000000

The first table has sequences per second (best of several runs) on the same BERT of random weights and the same random DNA,
text in, numbers out, and by how much the predictions differ from the first row's: a loop that calls the pipeline once for
each sequence, the pipeline in batches, and ours in float32 and in bfloat16. The limit is the rate of large square matrix
products as torch multiplies by itself, in float32 and bfloat16, measured before the table; "of limit" is the share of the one
in the row's precision that the products of the whole model would take at this speed. Ours can exceed it: it takes a faster
library where that is exact, whose rate is shown as well, and leaves products out that the output does not need.

The second one has the peak memory of run_predict.py, a process of its own each time, for FASTA files of so many rows and a tiny
model: it should not grow (of tables as text, Arrow reads up to 128 MiB ahead). Nothing is downloaded. All use the same tokenizer
of 6-mers; the best --batch_size of the pipeline has to be tried out by hand.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}  # before transformers is imported
ROOT = Path(__file__).resolve().parents[2]

import numpy as np
import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification, pipeline

from kmerbert.predicting.predictor import Predictor
from tokenization_kmer import KmerTokenizer

SHORTEST, LONGEST = 60, 140
# Linux keeps the peak of a process in this file; it begins anew with every program.
MEASURED_RUN = """
import sys, run_predict
run_predict.main(sys.argv[1:])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def simulate(n_sequences: int, seed: int, shortest: int = SHORTEST, longest: int = LONGEST) -> list[str]:
    """Random DNA of `shortest` to `longest` bases."""
    generator = np.random.default_rng(seed)
    letters = np.frombuffer(b"ACGT", np.uint8)[generator.integers(0, 4, (n_sequences, longest))]
    ends = generator.integers(shortest, longest + 1, n_sequences).tolist()
    return [row.tobytes()[:end].decode() for row, end in zip(letters, ends, strict=True)]


def save_model(folder: Path, hidden_size: int, n_layers: int, k: int, stride: int) -> None:
    """Saves a regression model of random weights, as run_finetune_regression.py would."""
    torch.manual_seed(0)
    tokenizer = KmerTokenizer(k=k, stride=stride)
    facts = {"outputs_in_label_units": True, "kmer_k": k, "kmer_stride": stride, "kmer_alphabet": tokenizer.alphabet}
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        num_hidden_layers=n_layers,
        num_attention_heads=max(1, hidden_size // 64),
        intermediate_size=4 * hidden_size,
        num_labels=1,
        problem_type="regression",
        sequence_length=[SHORTEST, LONGEST],
        **facts,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def processor_name() -> str:
    """What Linux calls the processor, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def product_rate(device: torch.device, dtype: torch.dtype, precision: str = "highest", size: int = 2048) -> float:
    """FLOP/s of square matrix products, the best of some; `precision` is torch's setting for float32."""
    size = size if device.type == "cpu" else 4 * size
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    before, seconds = torch.get_float32_matmul_precision(), []
    torch.set_float32_matmul_precision(precision)
    for _ in range(6):
        start = time.perf_counter()
        (left @ right)[0, 0].item()  # waits for a GPU
        seconds.append(time.perf_counter() - start)
    torch.set_float32_matmul_precision(before)
    return 2 * size**3 / min(seconds)


def products(config: BertConfig, n_tokens: np.ndarray) -> float:
    """Floating-point operations of the matrix products of a whole BERT, the mean over sequences of so many tokens."""
    width = config.hidden_size
    per_token = 8 * width * width + 4 * width * config.intermediate_size
    return float(np.mean(n_tokens * config.num_hidden_layers * (per_token + 4 * n_tokens * width)))


def best_rate(predict: Callable[[], np.ndarray], n_runs: int = 3) -> tuple[float, np.ndarray]:
    """Sequences per second in the fastest of several runs, after one that warms up, and the predictions."""
    predictions, seconds = predict(), []
    for _ in range(n_runs):
        start = time.perf_counter()
        predict()
        seconds.append(time.perf_counter() - start)
    return len(predictions) / min(seconds), predictions


def candidates(args: argparse.Namespace, folder: Path, sequences: list[str]) -> dict[str, Callable[[], np.ndarray]]:
    """What is measured: each predicts for the sequences, or the loop for the first of them, float (n,)."""
    exact, rounded = (
        Predictor.from_pretrained(KmerTokenizer, str(folder), device=args.device, bf16=bf16) for bf16 in (False, True)
    )
    classify = pipeline(
        "text-classification",
        BertForSequenceClassification.from_pretrained(folder),
        tokenizer=KmerTokenizer(),
        device=exact.device,
        function_to_apply="none",
    )
    few = sequences[: args.loop_sequences]
    return {
        "pipeline, one call each": lambda: np.array([classify(sequence)[0]["score"] for sequence in few]),
        f"pipeline, batches of {args.batch_size}": lambda: np.array(
            [found["score"] for found in classify(sequences, batch_size=args.batch_size)]
        ),
        "Predictor.predict, fp32": lambda: exact.predict(sequences)[:, 0],
        "Predictor.predict, bf16": lambda: rounded.predict(sequences)[:, 0],
    }


def compare_speed(args: argparse.Namespace, folder: Path) -> dict[str, tuple[float, np.ndarray]]:
    """Prints the first table; returns sequences per second and predictions of each row."""
    save_model(folder, args.hidden_size, args.n_layers, k=6, stride=1)
    shortest, longest = (args.equal_lengths, args.equal_lengths) if args.equal_lengths else (SHORTEST, LONGEST)
    sequences = simulate(args.n_sequences, args.seed, shortest, longest)
    device = torch.device(args.device or torch.accelerator.current_accelerator() or "cpu")
    place = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU thread(s)"
    limits = {
        name: product_rate(device, getattr(torch, kind)) for name, kind in (("fp32", "float32"), ("bf16", "bfloat16"))
    }
    print(f"{processor_name()}, {place}; torch {torch.__version__}, transformers {transformers.__version__}")
    print(f"{args.n_layers} layers of {args.hidden_size}; {len(sequences)} sequences of {shortest} to {longest} bases")
    words = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in limits.items())
    other = product_rate(device, torch.float32, "medium")
    print(f"matrix products, GFLOP/s: {words}; float32 by the other library {other / 1e9:,.0f}")
    n_tokens = np.array([len(sequence) - 5 + 2 for sequence in sequences])
    work = products(BertConfig.from_pretrained(folder), n_tokens)
    print(f"{'':<30}{'sequences/s':>12}{'ratio':>8}{'of limit':>10}{'largest difference':>20}")
    found: dict[str, tuple[float, np.ndarray]] = {}
    for name, predict in candidates(args, folder, sequences).items():
        found[name] = rate, predictions = best_rate(predict)
        loop_rate, expected = next(iter(found.values()))
        share = rate * work / limits["bf16" if name.endswith("bf16") else "fp32"]
        difference = np.abs(predictions[: len(expected)] - expected).max()
        print(f"{name:<30}{rate:>12,.1f}{rate / loop_rate:>8.1f}{share:>10.0%}{difference:>20.1e}")
    print(f"spread of the predictions {predictions.std():.1e}")
    return found


def compare_memory(args: argparse.Namespace, folder: Path) -> None:
    """Prints the second table."""
    model = folder / "tiny"
    save_model(model, hidden_size=16, n_layers=1, k=3, stride=3)
    print(f"{'rows':>12}{'peak memory, MiB':>20}{'seconds':>12}")
    for n_rows in args.memory_rows:
        table = folder / "sequences.fa"
        with open(table, "w", encoding="utf-8") as file:
            for first in range(0, n_rows, 10_000):
                file.writelines(f">s\n{sequence}\n" for sequence in simulate(min(10_000, n_rows - first), first))
        flags = [
            "--input_file",
            table,
            "--output_file",
            folder / "out.tsv",
            "--model_name_or_path",
            model,
            "--overwrite",
        ]
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", MEASURED_RUN, *map(str, flags)],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        kibibytes, seconds = int(done.stdout.split()[-1]), time.perf_counter() - start
        print(f"{n_rows:>12,}{kibibytes / 1024:>20,.0f}{seconds:>12.0f}")


def main(argv: Sequence[str] | None = None) -> dict[str, tuple[float, np.ndarray]]:
    """Runs the program; returns the first table's speeds and predictions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_sequences", type=int, default=2000, help="Sequences to predict for (default: 2000).")
    parser.add_argument(
        "--hidden_size", type=int, default=128, help="Width of the model (default: 128; BERT-base: 768)."
    )
    parser.add_argument("--n_layers", type=int, default=3, help="Layers of the model (default: 3; BERT-base: 12).")
    parser.add_argument("--batch_size", type=int, default=64, help="Batch size of the pipeline (default: 64).")
    parser.add_argument("--device", help="Where to compute: cpu, cuda (default: the accelerator, if there is one).")
    parser.add_argument(
        "--loop_sequences", type=int, default=100, help="Sequences for the loop of single calls (default: 100)."
    )
    parser.add_argument(
        "--equal_lengths", type=int, help=f"Bases of every sequence (default: {SHORTEST} to {LONGEST} at random)."
    )
    parser.add_argument(
        "--memory_rows", type=int, nargs="*", default=[], help="Rows of files to measure the memory with."
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of the random sequences (default: 0).")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        found = compare_speed(args, Path(folder))
        if args.memory_rows:
            compare_memory(args, Path(folder))
    return found


if __name__ == "__main__":
    main()
