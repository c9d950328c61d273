"""Speed of predictions, side by side with a plain `pipeline("text-classification")`, and the memory of long files.

    python benchmarks/prediction.py --n_sequences 2000
    python benchmarks/prediction.py --n_sequences 100000 --batch_size 512 --memory_rows 100000 1000000

The first table has sequences per second (best of several runs) of both on the same BERT of random weights and the same
random DNA of 60 to 140 bases, text in, numbers out, and by how much the two disagree. The second one has the peak memory
of run_predict.py, a process of its own each time, for FASTA files of so many rows and a tiny model: it should not grow (of
tables as text, Arrow reads up to 128 MiB ahead). Nothing is downloaded. Both use the same tokenizer of 6-mers; the best
--batch_size of the pipeline has to be tried out by hand.
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
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification, pipeline

from kmerbert.inference import Predictor
from tokenization_kmer import KmerTokenizer

SHORTEST, LONGEST = 60, 140
# Linux keeps the peak of a process in this file; it begins anew with every program.
MEASURED_RUN = """
import sys, run_predict
run_predict.main(sys.argv[1:])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def simulate(n_sequences: int, seed: int) -> list[str]:
    """Random DNA of `SHORTEST` to `LONGEST` bases."""
    generator = np.random.default_rng(seed)
    letters = np.frombuffer(b"ACGT", np.uint8)[generator.integers(0, 4, (n_sequences, LONGEST))]
    ends = generator.integers(SHORTEST, LONGEST + 1, n_sequences).tolist()
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


def best_rate(predict: Callable[[], np.ndarray], n_sequences: int, n_runs: int = 3) -> tuple[float, np.ndarray]:
    """Sequences per second in the fastest of several runs, after one that warms up, and the predictions."""
    predictions, seconds = predict(), []
    for _ in range(n_runs):
        start = time.perf_counter()
        predict()
        seconds.append(time.perf_counter() - start)
    return n_sequences / min(seconds), predictions


def compare_speed(args: argparse.Namespace, folder: Path) -> None:
    """Prints the first table."""
    save_model(folder, args.hidden_size, args.n_layers, k=6, stride=1)
    sequences = simulate(args.n_sequences, args.seed)
    predictor = Predictor.from_pretrained(KmerTokenizer, str(folder), device=args.device, bf16=args.bf16)
    dtype = torch.bfloat16 if args.bf16 else torch.float32
    model = BertForSequenceClassification.from_pretrained(folder, dtype=dtype)
    classify = pipeline(
        "text-classification", model, tokenizer=KmerTokenizer(), device=predictor.device, function_to_apply="none"
    )

    def by_pipeline() -> np.ndarray:
        return np.array([found["score"] for found in classify(sequences, batch_size=args.batch_size)])

    ours, predictions = best_rate(lambda: predictor.predict(sequences)[:, 0], len(sequences))
    plain, expected = best_rate(by_pipeline, len(sequences))
    place = (
        torch.cuda.get_device_name() if predictor.device.type == "cuda" else f"{torch.get_num_threads()} CPU thread(s)"
    )
    millions = model.num_parameters() / 1e6
    print(f"{platform.machine()}, {place}; torch {torch.__version__}, transformers {transformers.__version__}")
    print(
        f"BERT of {millions:.1f} million parameters, {dtype}; {len(sequences)} sequences of {SHORTEST} to {LONGEST} bases"
    )
    print(f"{'':<34}{'sequences/s':>12}{'ratio':>8}")
    print(f"{f'pipeline, batches of {args.batch_size}':<34}{plain:>12,.0f}{1:>8.1f}")
    print(f"{'Predictor.predict':<34}{ours:>12,.0f}{ours / plain:>8.1f}")
    print(f"largest difference {np.abs(predictions - expected).max():.1e}, their spread {expected.std():.1e}")


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


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_sequences", type=int, default=2000, help="Sequences to predict for (default: 2000).")
    parser.add_argument(
        "--hidden_size", type=int, default=128, help="Width of the model (default: 128; BERT-base: 768)."
    )
    parser.add_argument("--n_layers", type=int, default=3, help="Layers of the model (default: 3; BERT-base: 12).")
    parser.add_argument("--batch_size", type=int, default=64, help="Batch size of the pipeline (default: 64).")
    parser.add_argument("--device", help="Where to compute: cpu, cuda (default: the accelerator, if there is one).")
    parser.add_argument("--bf16", action="store_true", help="Both in bfloat16 (default: both in float32).")
    parser.add_argument(
        "--memory_rows", type=int, nargs="*", default=[], help="Rows of files to measure the memory with."
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of the random sequences (default: 0).")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        compare_speed(args, Path(folder))
        if args.memory_rows:
            compare_memory(args, Path(folder))


if __name__ == "__main__":
    main()
