"""What a comparison says besides its metrics: values that cannot be correlated, and rows that were trained on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmerbert.dna.sequences import reverse_complement
from kmerbert.reading.rows import hash_texts
from kmerbert.reading.training_sample import TrainingSample
from kmerbert.scoring.comparison import Comparison
from tests.support.messages import check_message
from tokenization_kmer import Flanks

Compare = Callable[..., Comparison]
FLANKS = {"left": "ACGTACGTAA", "right": "CCGGTTCCAA", "length": 5}


@pytest.fixture
def compare(table: Callable[..., Path]) -> Compare:
    def make(observed: list[Any], **columns: list[Any]) -> Comparison:
        columns |= {"prediction": np.arange(len(observed)), "observed": observed}
        return Comparison.read(str(table("p.tsv", **columns)), None)

    return make


@pytest.mark.parametrize(("observed", "part"), [([3.5, 3.5, 3.5], "3.5"), ([1, "", ""], "one measured value")])
def test_values_that_cannot_be_correlated(observed: list[Any], part: str, compare: Compare) -> None:
    comparison = compare(observed, id=list("abc"))
    (warning,) = (line for line in comparison.lines(comparison.score()) if "warning" in line)
    check_message(warning, part, "r, rho and r2")
    comparison = compare([1, 2, ""], id=list("abc"))
    assert not [line for line in comparison.lines(comparison.score()) if "warning" in line]


@pytest.mark.parametrize("config", [{}, {"flanks": FLANKS}, {"both_strands": True}])
def test_rows_that_were_trained_on(config: dict[str, Any], compare: Compare, dna: Callable[..., list[str]]) -> None:
    sequences = dna(4)
    read = Flanks(**FLANKS).extend(sequences) if "flanks" in config else sequences
    if "both_strands" in config:
        read = [reverse_complement(sequence) for sequence in read]
    config = config | {"training_sample": TrainingSample.of(hash_texts(read[1:3])).text}
    comparison = compare([1, 2, 3, 4], sequence=[sequence.lower() for sequence in sequences])
    check_message(comparison.trained_line(config), "row 2", "50%", "4 rows")
    others = compare([1, 2], sequence=dna(2, seed=1))
    for known, settings in ((comparison, {}), (others, config), (compare([1, 2], id=["a", "b"]), config)):
        assert known.trained_line(settings) is None
    assert compare([1, 2], sequence=["no DNA", "ACGT"]).trained_line(config) is None
    check_message(compare([1, 2], sequence=["no DNA", sequences[1]]).trained_line(config), "row 2", "2 rows")
