"""kmerbert.lines: what is empty at the end of a file is left out, and nothing else; blocks may be cut anywhere."""

import doctest
import itertools

import numpy as np
import pyarrow as pa
import pytest

from kmerbert import lines
from kmerbert.lines import Batch, without_empty_end


def test_examples() -> None:
    assert doctest.testmod(lines).attempted
    assert not doctest.testmod(lines).failed


@pytest.mark.parametrize("cuts", list(itertools.combinations_with_replacement(range(7), 2)))
@pytest.mark.parametrize("text", ["a  b  ", "      ", "abcdef", "  a", "a     ", ""])
def test_any_blocks(text: str, cuts: tuple[int, int]) -> None:
    """One letter a row; the reference is Python's own rstrip."""
    letters = [letter.strip() for letter in text]
    pieces = [letters[start:end] for start, end in zip((0, *cuts), (*cuts, 7), strict=True)]
    numbers = np.split(np.arange(1, 1 + len(letters)), cuts)
    batches = [Batch({"x": pa.array(piece, pa.string())}, own) for piece, own in zip(pieces, numbers, strict=True)]
    found = list(without_empty_end(batches, lambda: [f"{letter}\t\n" for letter in letters], "\t"))
    assert [value for batch in found for value in batch.columns["x"].to_pylist()] == letters[: len(text.rstrip())]
    assert [number for batch in found for number in batch.numbers] == list(range(1, 1 + len(text.rstrip())))
    assert all(len(batch.numbers) for batch in found)
