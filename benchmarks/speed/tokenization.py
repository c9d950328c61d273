"""Speed of 6-mer tokenization, one process and one thread, side by side with other ways to do it.

    python -m benchmarks.speed.tokenization --n_sequences 100000 --length 110 --seed 0

Prints sequences per second of each method (best of several runs) and how many times faster it is than the dictionary
tokenizer, which looks up k-mer after k-mer as DNABERT's own does. Slow methods get fewer sequences. The last row is the
physical limit: reading the letters and writing the int16 ids, with nothing computed in between, into a new array each time
as `encode_ids` does; the last column says how many times slower than that a method is. Text in, ids out; no model is
involved.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}  # before numpy and tokenizers are imported

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from benchmarks.dictionary import DictionaryTokenizer
from benchmarks.measuring import best_seconds, processor_name, random_letters, to_strings, versions
from tokenization_kmer import KmerTokenizer

K = 6


def simulate(n_sequences: int, length: int, seed: int) -> dict[str, list[str]]:
    """Random DNA: `equal` lengths, `ragged` (half to full length), and `with N` (1 % of the bases, equal length)."""
    generator = np.random.default_rng(seed)
    letters = random_letters(n_sequences, length, generator)
    ragged = to_strings(letters, generator.integers(length // 2, length + 1, n_sequences))
    with_n = np.where(generator.random(letters.shape) < 0.01, np.uint8(ord("N")), letters)
    return {"equal": to_strings(letters), "ragged": ragged, "with N": to_strings(with_n)}


def word_level_tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    """A `tokenizers` WordLevel model for k-mers that are already separated by blanks."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


def separate(sequence: str) -> str:
    """Writes the overlapping k-mers of a sequence, separated by blanks."""
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


def measure(n_sequences: int, length: int, seed: int) -> dict[str, float]:
    """Sequences per second of each method, after checking that the methods agree on the ids."""
    data, ours = simulate(n_sequences, length, seed), KmerTokenizer(K)
    few, fewer = data["equal"][: max(1, n_sequences // 10)], data["equal"][: max(1, n_sequences // 50)]
    dictionary, word_level = DictionaryTokenizer(K), word_level_tokenizer(ours.get_vocab())
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        rust = Tokenizer.from_file(f"{folder}/tokenizer.json")

    def pre_split(sequences: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in word_level.encode_batch_fast(list(map(separate, sequences)))]

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
    rates = {}
    for name, method, batch, n_runs in methods:
        seconds, _ = best_seconds(lambda method=method, batch=batch: method(batch), n_runs)
        rates[name] = len(batch) / seconds
    seconds, _ = best_seconds(copy_limit(data["equal"]), 7)
    return rates | {"limit: read letters, write int16 ids": n_sequences / seconds}


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
    print(f"{arguments.n_sequences} random sequences of {arguments.length} bases, {K}-mers, one thread")
    print(f"{processor_name()}; {versions('numpy', 'transformers', 'tokenizers')}\n")
    peer = rates["dictionary, one k-mer at a time"]
    limit = rates["limit: read letters, write int16 ids"]
    print(f"{'method':<42}{'sequences/s':>14}{'x dictionary':>14}{'limit / this':>14}")
    for name, rate in rates.items():
        print(f"{name:<42}{rate:>14,.0f}{rate / peer:>14,.2f}{limit / rate:>14,.1f}")
    return rates


if __name__ == "__main__":
    main()
