"""What a model keeps of its training sequences: surely found, never wrongly; shares; two trainings."""

import numpy as np
import pytest

from kmerbert.dna.sequences import reverse_complement
from kmerbert.reading.rows import hash_texts
from kmerbert.reading.training_sample import SIZE, TrainingSample
from tokenization_kmer import Flanks


def hashes(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64)


def test_few_sequences_are_all_known() -> None:
    sample = TrainingSample.of(hash_texts(["ACGTT", "GGGTC", "ACGTT"]))
    found = sample.find(["CCCCC", "GGGTC", "ACGTT", "AACGT"])
    assert found.rows.tolist() == [False, True, True, False]
    assert found.share == 0.5
    found = sample.find(["CCCCC", reverse_complement("GGGTC"), "AACGT", "AAAAA"], both_strands=True)
    assert found.rows.tolist() == [False, True, True, False]  # the last but one is the other strand of ACGTT


def test_rows_of_a_table_among_which_some_are_no_dna() -> None:
    """One unusable row must not hide the others."""
    flanks = Flanks("ACGTACGTAA", "CCGGTTCCAA", 5)
    inserts = ["GGATTACAGGATTACA", "TTCCATTGGACTTACC"]
    sample = TrainingSample.of(hash_texts(flanks.extend(inserts)))
    found = sample.find_written([" ggauuacaggauuaca ", "no DNA", "", inserts[1], inserts[0][1:]], flanks)
    assert found.rows.tolist() == [True, False, False, True, False]
    assert found.share == 0.4
    mixed = ["ACGTACGTAA" + inserts[0] + "CCGGTTCCAA", inserts[1]]  # of two kinds, which no model reads at once
    assert sample.find_written(mixed, flanks).rows.tolist() == [True, True]


def test_sequences_that_training_has_cut() -> None:
    whole = "GGATTACAGGATTACATTCCATTGG"
    sample = TrainingSample.of(hash_texts([whole[:16]]))
    others = [whole, reverse_complement(whole), whole[:16], whole[1:]]
    assert sample.find(others, both_strands=True, longest=16).rows.tolist() == [True, True, True, False]
    assert sample.find(others, longest=16).rows.tolist() == [True, False, True, False]
    assert sample.find(others).rows.tolist() == [False, False, True, False]


@pytest.mark.parametrize("n_known", [0, 3000, 10_000])
def test_of_many_sequences_the_share_is_estimated(n_known: int) -> None:
    training = hashes(100_000)
    sample = TrainingSample.of(np.concatenate([training, training[:60_000]]))  # replicates change nothing
    assert len(sample.hashes) == SIZE
    found = sample.find_hashes(np.concatenate([training[:n_known], hashes(10_000 - n_known, seed=1)]))
    assert not found.rows[n_known:].any()
    assert found.rows.any() == (n_known > 0)
    assert found.share == pytest.approx(n_known / 10_000, abs=0.25)


def test_a_sequence_of_many_replicates_leaves_room_for_others() -> None:
    training = np.concatenate([np.zeros(50_000, np.uint64), hashes(20_000)])
    assert TrainingSample.of(training).hashes.tolist() == np.unique(training)[:SIZE].tolist()


@pytest.mark.parametrize(("n_first", "n_second"), [(100, 50), (100, 9000), (9000, 100), (9000, 30_000)])
def test_two_trainings(n_first: int, n_second: int) -> None:
    first, second = hashes(n_first), hashes(n_second, seed=1)
    both = np.sort(np.concatenate([first, second]))
    joined = TrainingSample.of(second).joined(TrainingSample.of(first))
    n_kept = len(joined.hashes)
    assert n_kept == len(both) if len(both) < SIZE else n_kept >= SIZE
    assert joined.hashes.tolist() == both[:n_kept].tolist()
    assert TrainingSample.of(first).joined(None).hashes.tolist() == TrainingSample.of(first).hashes.tolist()


def test_text() -> None:
    sample = TrainingSample.of(hashes(9000))
    assert TrainingSample.from_text(sample.text).hashes.tolist() == sample.hashes.tolist()
    assert "\n" not in sample.text
    assert len(sample.text) < 6000
    for text in (None, "", "no base64!", "AAAA", 7):
        assert TrainingSample.from_text(text) is None
