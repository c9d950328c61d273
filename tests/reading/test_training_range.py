"""What training data were like, and what is outside: against plain counting, by hand, and after a round through JSON."""

import doctest
import json
from collections import Counter
from math import log2

import numpy as np
import pytest
from transformers import PretrainedConfig

from kmerbert.dna.sequences import reverse_complement
from kmerbert.reading import training_range as module
from kmerbert.reading.training_range import TrainingRange, read_letters
from tests.support.tiny_runs import random_dna

LENGTH, GC, KMERS, VALUE = 1, 2, 4, 8


def training(n: int = 400, n_bases: int = 60, letters: str = "AAACGT", seed: int = 0) -> list[str]:
    """Sequences with more A than other bases."""
    return ["".join(row) for row in np.random.default_rng(seed).choice(list(letters), (n, n_bases))]


def outside(known: TrainingRange, sequences: list[str], value: float = 0.0) -> list[int]:
    return known.outside(read_letters(sequences), np.full((len(sequences), 1), value)).tolist()


def plain_means(sequences: list[str], train: list[str], own: int) -> list[float]:
    """The mean log2 frequency of 6-mers, counted as the module's docstring says, without numpy."""

    def kmers(sequence: str) -> list[str]:
        found = [sequence[start : start + 6] for start in range(len(sequence) - 5)]
        return [kmer if set(kmer) <= set("ACGT") else "N" for kmer in found]

    counts = Counter(kmer for sequence in train for kmer in kmers(sequence))
    for sequence in train:
        counts.update("N" if kmer == "N" else reverse_complement(kmer) for kmer in kmers(sequence))
    total = sum(counts.values())

    def value(kmer: str) -> float:
        return round(16 * log2((max(counts[kmer] - own, 0) + 1) * 4096 / (total + 4096))) / 16

    return [sum(map(value, kmers(sequence))) / len(kmers(sequence)) for sequence in sequences]


def test_against_plain_counting() -> None:
    random = np.random.default_rng(1)
    ragged = [s[: random.integers(40, 61)] for s in training(300)]
    train = [*ragged, ragged[0][:20] + "NN" + ragged[1][:20]]
    known = TrainingRange.of(read_letters(train), [(0.0, 1.0)])
    means = np.array(plain_means(train, train, own=1))
    low, high = np.quantile(means, [0.001, 0.999])
    assert known.kmers == pytest.approx((low - 0.05 * (high - low), high + 0.05 * (high - low)))
    others = random_dna(random, 30, 40)
    is_outside = [not known.kmers[0] <= mean <= known.kmers[1] for mean in plain_means(others, train, own=0)]
    assert [bits & KMERS > 0 for bits in outside(known, others)] == is_outside
    assert len(set(is_outside)) == 2
    share = np.array([sum(base in "GC" for base in s) / sum(base != "N" for base in s) for s in train])
    low, high = np.quantile(share, [0.001, 0.999])
    assert known.gc == pytest.approx((low - 0.05 * (high - low), high + 0.05 * (high - low)))
    assert known.lengths == (min(map(len, train)), max(map(len, train)))


def test_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    train, others = training(50), training(20, 40) + ["", "ACG", "N" * 9]
    whole = TrainingRange.of(read_letters(train), [(0.0, 1.0)])
    expected = outside(whole, others)
    monkeypatch.setattr(module, "PART_BASES", 100)
    parts = TrainingRange.of(read_letters(train), [(0.0, 1.0)])
    assert parts.setting == whole.setting
    assert outside(parts, others) == expected


@pytest.mark.parametrize(
    ("sequence", "value", "expected"),
    [
        ("A" * 60, 0.0, GC | KMERS),
        ("ACGT" * 15, 0.0, KMERS),
        ("N" * 60, 0.0, KMERS),  # no base is known, so that its GC content is not
        ("CG" * 30, 2.0, GC | KMERS | VALUE),
        (training(1, 60, seed=9)[0], 0.0, 0),
        (training(1, 60, seed=9)[0], 1.0, 0),  # the highest measured value itself
        (training(1, 60, seed=9)[0], -1.001, VALUE),
        (training(1, 54, seed=9)[0], 0.0, 0),  # ten percent shorter
        (training(1, 53, seed=9)[0], 0.0, LENGTH),
        (training(1, 67, seed=9)[0], 0.0, LENGTH),
    ],
)
def test_by_hand(sequence: str, value: float, expected: int) -> None:
    known = TrainingRange.of(read_letters(training()), [(-1.0, 1.0)])
    assert outside(known, [sequence], value) == [expected]


def test_few_of_the_same_kind_are_outside_and_most_of_another() -> None:
    known = TrainingRange.of(read_letters(training()), [(-1.0, 1.0)])
    assert np.mean(np.array(outside(known, training(seed=5))) > 0) < 0.02
    assert np.mean(np.array(outside(known, training(letters="ACCGGT", seed=5))) > 0) > 0.9


def test_unknown_bases_that_training_had_too() -> None:
    """One with ten N is outside for a model that never saw any, and not for one that did."""
    sequence = training(1, 60, seed=9)[0]
    sequence = sequence[:20] + "N" * 10 + sequence[30:]
    assert outside(TrainingRange.of(read_letters(training(2000)), [(-1.0, 1.0)]), [sequence]) == [KMERS]
    with_n = [s[:20] + "N" * 10 + s[30:] for s in training(2000)]
    assert outside(TrainingRange.of(read_letters(with_n), [(-1.0, 1.0)]), [sequence]) == [0]


def test_several_outputs() -> None:
    known = TrainingRange.of(read_letters(training()), [(-1.0, 1.0), (0.0, 5.0)])
    letters = read_letters(training(3, seed=9))
    assert known.outside(letters, np.array([[0, 0], [0, 5.1], [-2, 3]])).tolist() == [0, VALUE, VALUE]


def test_a_round_through_a_configuration() -> None:
    known = TrainingRange.of(read_letters(training()), [(-1.0, 1.0)])
    text = json.dumps(known.setting, allow_nan=False)
    assert len(text) < 3000
    again = TrainingRange.from_config(
        PretrainedConfig(training_range=json.loads(text), sequence_length=[60, 60], num_labels=1)
    )
    others = [*training(40, 50, "ACGT"), *training(40, seed=3), "A" * 60, "N" * 60]
    assert outside(again, others) == outside(known, others)
    assert again.is_whole


def test_configurations_that_do_not_say_it() -> None:
    known = TrainingRange.from_config(PretrainedConfig(sequence_length=[60, 60]))
    assert not known.is_whole
    assert outside(known, ["A" * 60, "A" * 80], value=1e9) == [0, LENGTH]
    assert outside(TrainingRange.from_config(PretrainedConfig()), ["A"], value=1e9) == [0]
    whole = TrainingRange.of(read_letters(training()), [(-1.0, 1.0)]).setting
    for changed in ({"kmer_frequencies": "A"}, {"values": [[0, 1], [2, 3]]}, {"gc": None}):
        assert not TrainingRange.from_config(PretrainedConfig(training_range=whole | changed, num_labels=1)).is_whole


def test_sequences_without_a_6_mer() -> None:
    known = TrainingRange.of(read_letters(["ACG", "TTGC"]), [(0.0, 1.0)])
    json.dumps(known.setting, allow_nan=False)
    assert outside(known, ["ACG", "TTGC"]) == [0, 0]
    assert outside(known, []) == []


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed
