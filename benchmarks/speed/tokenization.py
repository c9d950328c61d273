"""Speed of 6-mer tokenization, one process and one thread, side by side with other ways to do it.

    python -m benchmarks.speed.tokenization --n_sequences 100000 --length 110 --seed 0

Prints one table: sequences per second of each method (best of several runs) and how many times faster it is than the
dictionary tokenizer, a loop over k-mers as DNABERT's own tokenizer does it. Slow methods get fewer sequences. The last
row is the physical limit: reading the letters and writing the int16 ids, with nothing computed in between, into a new
array each time as `encode_ids` does; the last column says how many times slower than that a method is.
Nothing is downloaded. What is compared is text in, ids out; no model is involved.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Before numpy and tokenizers are imported: both read these only once.
os.environ |= {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import numpy as np
import tokenizers
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tokenization_kmer import KmerTokenizer

K = 6


class DictionaryTokenizer:
    """A plain k-mer tokenizer: cut the text into k-mer words, then look each word up."""

    def __init__(self, vocabulary: dict[str, int]) -> None:
        self.vocabulary = vocabulary

    def __call__(self, sequences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each sequence between `[CLS]` (2) and `[SEP]` (3)."""
        batch = []
        for sequence in sequences:
            words = " ".join(sequence[start : start + K] for start in range(len(sequence) - K + 1)).split()
            batch.append([2, *(self.vocabulary.get(word, 1) for word in words), 3])
        return batch


def simulate(n_sequences: int, length: int, seed: int) -> dict[str, list[str]]:
    """Random DNA: `equal` lengths, `ragged` (half to full length), and `with N` (1 % of the bases, equal length)."""
    generator = np.random.default_rng(seed)
    letters = np.frombuffer(b"ACGT", np.uint8)[generator.integers(0, 4, (n_sequences, length))]
    equal = [row.tobytes().decode() for row in letters]
    ends = generator.integers(length // 2, length + 1, n_sequences).tolist()
    letters[generator.random(letters.shape) < 0.01] = ord("N")
    with_n = [row.tobytes().decode() for row in letters]
    return {"equal": equal, "ragged": [s[:end] for s, end in zip(equal, ends, strict=True)], "with N": with_n}


def word_level_tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    """A `tokenizers` WordLevel model for k-mers that are already separated by blanks."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


def split_into_words(sequence: str) -> str:
    """Writes the overlapping k-mers of a sequence out, separated by blanks."""
    return " ".join(sequence[start : start + K] for start in range(len(sequence) - K + 1))


def copy_limit(sequences: Sequence[str]) -> Callable[[], np.ndarray]:
    """A function that reads every letter once and writes as many int16 ids as tokenization does."""
    n_ids = len(sequences[0]) - K + 3
    letters = np.frombuffer("".join(sequences).encode(), np.uint8).reshape(len(sequences), -1)
    width = min(n_ids, letters.shape[1])

    def copy() -> np.ndarray:
        ids = np.empty((len(sequences), n_ids), np.int16)
        ids[:, :width] = letters[:, :width]
        return ids

    return copy


def best_seconds(function: Callable[..., Any], *arguments: Any, n_runs: int) -> float:
    """Shortest wall time in seconds of several calls."""
    seconds = []
    for _ in range(n_runs):
        start = time.perf_counter()
        function(*arguments)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def processor_name() -> str:
    """Model name of the CPU, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def measure(n_sequences: int, length: int, seed: int) -> dict[str, float]:
    """Sequences per second of each method, after checking that the methods agree on the ids."""
    data, ours = simulate(n_sequences, length, seed), KmerTokenizer(K)
    few, fewer = data["equal"][: max(1, n_sequences // 10)], data["equal"][: max(1, n_sequences // 50)]
    dictionary, words = DictionaryTokenizer(ours.get_vocab()), word_level_tokenizer(ours.get_vocab())
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        rust = Tokenizer.from_file(f"{folder}/tokenizer.json")

    def pre_split(sequences: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in words.encode_batch_fast(list(map(split_into_words, sequences)))]

    def rust_ids(sequences: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in rust.encode_batch_fast(list(sequences))]

    expected = dictionary(fewer)
    for other in (ours.encode_ids(fewer).tolist(), ours(fewer)["input_ids"], pre_split(fewer), rust_ids(fewer)):
        if other != expected:
            raise RuntimeError("two methods give different ids")
    methods: list[tuple[str, Callable[..., Any], list[str], int]] = [
        ("encode_ids, equal lengths", ours.encode_ids, data["equal"], 7),
        ("encode_ids, ragged", ours.encode_ids, data["ragged"], 7),
        ("encode_ids, 1 % N", ours.encode_ids, data["with N"], 7),
        ('tokenizer(list, return_tensors="np")', lambda batch: ours(batch, return_tensors="np"), data["equal"], 5),
        ("tokenizer(list), lists out", ours, few, 3),
        ("dictionary, one k-mer at a time", dictionary, few, 3),
        ("tokenizers WordLevel on pre-split k-mers", pre_split, fewer, 3),
        ("tokenizer.json of a saved folder (Rust)", rust_ids, fewer, 3),
    ]
    rates = {name: len(batch) / best_seconds(method, batch, n_runs=n_runs) for name, method, batch, n_runs in methods}
    limit = copy_limit(data["equal"])
    return rates | {"limit: read letters, write int16 ids": n_sequences / best_seconds(limit, n_runs=7)}


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Prints the table and returns sequences per second by method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_sequences", type=int, default=100_000, help="sequences for the fast methods")
    parser.add_argument("--length", type=int, default=110, help="bases per sequence, at least 6")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random sequences")
    arguments = parser.parse_args(argv)
    if arguments.n_sequences < 1 or arguments.length < K:
        parser.error(f"--n_sequences must be at least 1 and --length at least {K}")
    rates = measure(arguments.n_sequences, arguments.length, arguments.seed)
    versions = {"numpy": np.__version__, "transformers": transformers.__version__, "tokenizers": tokenizers.__version__}
    print(f"{arguments.n_sequences} random sequences of {arguments.length} bases, {K}-mers, one thread")
    print(f"{processor_name()}; Python {platform.python_version()}; {', '.join(map(' '.join, versions.items()))}\n")
    peer = rates["dictionary, one k-mer at a time"]
    limit = rates["limit: read letters, write int16 ids"]
    print(f"{'method':<42}{'sequences/s':>14}{'x dictionary':>14}{'limit / this':>14}")
    for name, rate in rates.items():
        print(f"{name:<42}{rate:>14,.0f}{rate / peer:>14,.2f}{limit / rate:>14,.1f}")
    return rates


if __name__ == "__main__":
    main()
