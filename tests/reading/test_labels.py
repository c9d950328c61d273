"""Logarithms of measured values: the numbers, their unit, values without one."""

import doctest
import json
from pathlib import Path

import numpy as np
import pytest

from kmerbert.reading import labels
from kmerbert.reading.bad_rows import RowError
from kmerbert.reading.labels import LabelTransform
from kmerbert.reading.sources import FileSource
from tests.support.messages import fails

SOURCE, LINES = FileSource(Path("a.tsv")), np.arange(2, 5)


@pytest.mark.parametrize(
    ("name", "pseudocount", "expected"),
    [("log2", 0, [3, 0]), ("log10", 2, [1, np.log10(3)]), ("ln", 1, [np.log(9), np.log(2)])],
)
def test_by_hand(name: str, pseudocount: float, expected: list[float]) -> None:
    result = LabelTransform(name, pseudocount).apply(np.array([[8, 1, np.nan]]), ["a", "b", "c"], SOURCE, LINES)
    np.testing.assert_allclose(result, [[*expected, np.nan]])
    assert result.dtype == np.float64


def test_units() -> None:
    with_one = LabelTransform("log2", 0.5)
    assert with_one.unit("TPM", ["a"]) == "log2(TPM + 0.5)"
    assert with_one.unit("", ["a"]) == "log2(a + 0.5)"
    assert LabelTransform("ln").unit("", ["a", "b"]) == "ln(value)"


def test_values_without_a_logarithm() -> None:
    values = np.array([[1.0, 2.0], [3.0, 0.0], [-1.5, 1.0]])
    with fails("a.tsv, line 3", "b is 0", "log2(0)", "`label_pseudocount`", error=RowError):
        LabelTransform("log2").apply(values, ["a", "b"], SOURCE, LINES)
    with fails("a.tsv, line 4", "a is -1.5", "log2(-1.5 + 1)", "above 1.5"):
        LabelTransform("log2", 1).apply(values, ["a", "b"], SOURCE, LINES)
    with fails("a.tsv, line 3", "b is 0", "model") as caught:
        LabelTransform("log2").apply(values, ["a", "b"], SOURCE, LINES, is_trained=True)
    assert "`" not in str(caught.value)


def test_settings() -> None:
    transform = LabelTransform("log2", 1.0)
    assert LabelTransform.of(json.loads(json.dumps(transform.setting))) == transform
    assert LabelTransform.of(None) is None
    for setting in ({"name": "sqrt", "pseudocount": 0}, {"name": "ln"}, {"name": "ln", "pseudocount": -1}, "log2", 2):
        with fails("`label_transform`", "config.json", "log10"):
            LabelTransform.of(setting)


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(labels)
    assert result.attempted
    assert not result.failed
