"""Speed of predictions against `pipeline("text-classification")` and the rate of matrix products; memory of long files.

    python -m benchmarks.speed.prediction --n_sequences 2000
    python -m benchmarks.speed.prediction --n_sequences 200 --hidden_size 512 --n_layers 3 --equal_lengths 110
    python -m benchmarks.speed.prediction --n_sequences 24 --hidden_size 768 --n_layers 12
    python -m benchmarks.speed.prediction --n_sequences 100000 --batch_size 512 --memory_rows 100000 1000000

The first table has sequences per second (best of several runs) on the same BERT of random weights and the same random DNA,
text in, numbers out, and by how much the predictions differ from those of the first line: a loop that calls the pipeline
once for each sequence, the pipeline in batches, and ours in float32 and in bfloat16. The limit is the rate of large square
matrix products as torch multiplies by default, in float32 and bfloat16, measured before the table; "of limit" is the share
of that rate, in the precision of the line, that the products of the whole model would take at this speed. Ours can exceed
it: where oneDNN is as exact it multiplies by oneDNN, whose rate is shown as well, and it leaves out products that the
output does not need.

The second table has the peak memory of run_predict.py, a process of its own each time, for FASTA files of so many rows and a
tiny model: it should not grow (of tables as text, Arrow reads up to 128 MiB ahead). All use the same tokenizer of 6-mers; the
best --batch_size of the pipeline has to be found by hand.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, pipeline

from benchmarks.measuring import (
    best_seconds,
    device_name,
    encoder_products,
    product_rate,
    random_letters,
    run_apart,
    to_strings,
    versions,
    words,
)
from kmerbert.predicting.predictor import Predictor
from kmerbert.reading.training_range import TrainingRange, read_letters
from tokenization_kmer import KmerTokenizer

SHORTEST, LONGEST = 60, 140
PREDICT = "run_predict.py --model_name_or_path {folder}/tiny --input_file {folder}/rows.fa --output_file {folder}/out.tsv --overwrite"


def simulate(n_sequences: int, seed: int, shortest: int = SHORTEST, longest: int = LONGEST) -> list[str]:
    """Random DNA of `shortest` to `longest` bases."""
    generator = np.random.default_rng(seed)
    letters = random_letters(n_sequences, longest, generator)
    return to_strings(letters, generator.integers(shortest, longest + 1, n_sequences))


def save_model(folder: Path, hidden_size: int, n_layers: int, k: int, stride: int) -> None:
    """Saves a regression model of random weights, as run_finetune_regression.py would."""
    torch.manual_seed(0)
    tokenizer = KmerTokenizer(k=k, stride=stride)
    facts = {"outputs_in_label_units": True, "kmer_k": k, "kmer_stride": stride, "kmer_alphabet": tokenizer.alphabet}
    known = TrainingRange.of(read_letters(simulate(1000, seed=1)), [(-1.0, 1.0)])
    facts |= {"training_range": known.setting, "sequence_length": [SHORTEST, LONGEST]}
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        num_hidden_layers=n_layers,
        num_attention_heads=max(1, hidden_size // 64),
        intermediate_size=4 * hidden_size,
        num_labels=1,
        problem_type="regression",
        **facts,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def best_rate(predict: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Sequences per second in the fastest of several runs, after one that warms up, and the predictions."""
    predict()
    seconds, predictions = best_seconds(predict)
    return len(predictions) / seconds, predictions


def candidates(args: argparse.Namespace, folder: Path, sequences: list[str]) -> dict[str, Callable[[], np.ndarray]]:
    """What is measured: each predicts for the sequences, or the loop for the first of them, float (n,)."""
    exact, rounded = (Predictor.from_pretrained(folder, device=args.device, bf16=bf16) for bf16 in (False, True))
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
            [output["score"] for output in classify(sequences, batch_size=args.batch_size)]
        ),
        "Predictor, fp32": lambda: exact.predict_values(sequences)[:, 0],
        "Predictor, bf16": lambda: rounded.predict_values(sequences)[:, 0],
    }


def compare_speed(args: argparse.Namespace, folder: Path) -> dict[str, tuple[float, np.ndarray]]:
    """Prints the first table; returns sequences per second and predictions of each line."""
    save_model(folder, args.hidden_size, args.n_layers, k=6, stride=1)
    shortest, longest = (args.equal_lengths, args.equal_lengths) if args.equal_lengths else (SHORTEST, LONGEST)
    sequences = simulate(args.n_sequences, args.seed, shortest, longest)
    device = torch.device(args.device or torch.accelerator.current_accelerator(check_available=True) or "cpu")
    limits = {"fp32": product_rate(device, torch.float32), "bf16": product_rate(device, torch.bfloat16)}
    print(f"{device_name(device)}; {versions('torch', 'transformers')}")
    print(f"{args.n_layers} layers of {args.hidden_size}; {len(sequences)} sequences of {shortest} to {longest} bases")
    rates = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in limits.items())
    by_onednn = product_rate(device, torch.float32, by_onednn=True)
    print(f"matrix products, GFLOP/s: {rates}; fp32 by oneDNN {by_onednn / 1e9:,.0f}")
    config = BertConfig.from_pretrained(folder)
    n_tokens = np.array([len(sequence) - 5 + 2 for sequence in sequences])
    size = (config.num_hidden_layers, config.hidden_size, config.intermediate_size)
    operations = encoder_products(n_tokens, *size).mean()
    print(f"{'':<30}{'sequences/s':>12}{'ratio':>8}{'of limit':>10}{'largest difference':>20}")
    table: dict[str, tuple[float, np.ndarray]] = {}
    for name, predict in candidates(args, folder, sequences).items():
        table[name] = rate, predictions = best_rate(predict)
        loop_rate, expected = next(iter(table.values()))
        share = rate * operations / limits["bf16" if name.endswith("bf16") else "fp32"]
        difference = np.abs(predictions[: len(expected)] - expected).max()
        print(f"{name:<30}{rate:>12,.1f}{rate / loop_rate:>8.1f}{share:>10.0%}{difference:>20.1e}")
    print(f"spread of the predictions {predictions.std():.1e}")
    return table


def compare_memory(n_rows_of_files: Sequence[int], folder: Path) -> list[dict[str, float]]:
    """Prints the second table; returns `memory` in bytes and `seconds` of each line."""
    save_model(folder / "tiny", hidden_size=16, n_layers=1, k=3, stride=3)
    print(f"{'rows':>12}{'peak memory, MiB':>20}{'seconds':>12}")
    table = []
    for n_rows in n_rows_of_files:
        with open(folder / "rows.fa", "w", encoding="utf-8") as file:
            for first in range(0, n_rows, 10_000):
                file.writelines(f">s\n{sequence}\n" for sequence in simulate(min(10_000, n_rows - first), first))
        command = words(PREDICT, folder=folder)
        seconds, figures = best_seconds(lambda command=command: run_apart("benchmarks.measuring", *command), 1)
        table.append(figures | {"seconds": seconds})
        print(f"{n_rows:>12,}{figures['memory'] / 2**20:>20,.0f}{seconds:>12.0f}")
    return table


def main(argv: Sequence[str] | None = None) -> dict[str, tuple[float, np.ndarray]]:
    """Runs the program; returns the first table's speeds and predictions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_sequences", type=int, default=2000, help="sequences to predict for (default: 2000)")
    parser.add_argument(
        "--hidden_size", type=int, default=128, help="width of the model (default: 128; BERT-base: 768)"
    )
    parser.add_argument("--n_layers", type=int, default=3, help="layers of the model (default: 3; BERT-base: 12)")
    parser.add_argument("--batch_size", type=int, default=64, help="batch size of the pipeline (default: 64)")
    parser.add_argument("--device", help="where to compute: cpu, cuda (default: the accelerator if there is one)")
    parser.add_argument(
        "--loop_sequences", type=int, default=100, help="sequences for the loop of calls (default: 100)"
    )
    parser.add_argument("--equal_lengths", type=int, help=f"bases of every sequence (default: {SHORTEST} to {LONGEST})")
    parser.add_argument(
        "--memory_rows", type=int, nargs="*", default=[], help="rows of files to measure the memory with"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random sequences (default: 0)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        table = compare_speed(args, Path(folder))
        if args.memory_rows:
            compare_memory(args.memory_rows, Path(folder))
    return table


if __name__ == "__main__":
    main()
