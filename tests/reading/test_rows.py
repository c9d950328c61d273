"""Rows of a batch, checked and cut, each message with its location; shares of unknown k-mers; equal rows."""

import doctest
import logging

import numpy as np
import pyarrow as pa
import pytest

from kmerbert.reading import rows as module
from kmerbert.reading.rows import (
    Duplicate,
    RowSpec,
    check_reading_frames,
    check_unknown,
    find_duplicate,
    hash_strands,
    hash_texts,
    n_distinct,
    names_in,
    read_dna,
    read_rows,
    without_gaps,
)
from kmerbert.reading.sources import MemorySource
from tests.support.messages import check_message, fails
from tokenization_kmer import Flanks, KmerTokenizer

KMERS = KmerTokenizer(k=3)
RANDOM = np.random.default_rng(0)
Read = tuple[list[str], dict[str, np.ndarray]]


def read(spec: RowSpec, is_trained: bool = False, **columns: list) -> Read:
    """Reads a table in memory as one batch."""
    source = MemorySource(pa.table(columns))
    (batch,) = source.batches(spec.columns)
    return read_rows(batch, source, spec, KMERS, is_trained)


def test_columns_are_read_once_each() -> None:
    spec = RowSpec("dna", ("x", "y"), id="name", split="split", group="name")
    assert spec.columns == ["dna", "x", "y", "name", "split"]
    assert RowSpec("sequence").columns == ["sequence"]


def test_sequences_and_columns() -> None:
    spec = RowSpec("dna", ("x",), id="name", split="side", group="locus")
    sequences, columns = read(
        spec,
        dna=[" acgu ", "RACGT", "TTTT"],
        x=["1.5", "2", "-1"],
        name=["a", "b", "c"],
        side=["Train", "dev", "testing"],
        locus=["p", "q", "p"],
    )
    assert sequences == ["ACGT", "NACGT", "TTTT"]
    assert columns["numbers"].tolist() == [1, 2, 3]
    assert columns["labels"].tolist() == [[1.5], [2.0], [-1.0]]
    assert columns["labels"].dtype == np.float64
    assert columns["splits"].tolist() == [0, 1, 2]
    assert columns["groups"][0] == columns["groups"][2] != columns["groups"][1]
    assert len(set(columns["names"])) == 3
    assert set(columns) == {"numbers", "labels", "splits", "groups", "names"}


def test_ids_are_read_only_if_they_are_named() -> None:
    columns = {"sequence": ["ACGT", "CCCC"], "id": ["a", "b"]}
    assert "names" not in read(RowSpec("sequence", group="id"), **columns)[1]
    assert read(RowSpec("sequence", id="id"), **columns)[1]["names"].tolist() == hash_texts(["a", "b"]).tolist()


@pytest.mark.parametrize(
    ("spec", "columns", "parts"),
    [
        (RowSpec("s"), {"s": ["ACGT", "  "]}, ("row 2", "empty")),
        (RowSpec("s"), {"s": ["ACGT", None]}, ("row 2", "empty")),
        (RowSpec("s"), {"s": ["ACGT", "ACQT"]}, ("row 2", "'Q'", "base 3")),
        (RowSpec("s"), {"s": [1, 2]}, ("the table", "'s'", "int64")),
        (RowSpec("s"), {"s": ["ACGT", "AC"]}, ("row 2", "2 bases", "3", "`k`")),
        (RowSpec("s", ("x",)), {"s": ["ACGT"] * 2, "x": ["1", "high"]}, ("row 2", "x", "'high'")),
        (RowSpec("s", ("x", "y")), {"s": ["ACGT"] * 2, "x": ["1", "NA"], "y": ["", ""]}, ("row 2", "x or y")),
        (RowSpec("s", split="side"), {"s": ["ACGT"] * 2, "side": ["test", "both"]}, ("row 2", "side", "'both'")),
        (RowSpec("s", group="locus"), {"s": ["ACGT"] * 2, "locus": ["p", " "]}, ("row 2", "locus", "empty")),
        (RowSpec("s", id="name"), {"s": ["ACGT"] * 2, "name": ["p", None]}, ("row 2", "name", "empty")),
        (RowSpec("s", cut_at=2), {"s": ["ACGT"]}, ("`max_seq_length` 2", "3 tokens")),
        (RowSpec("s", window=2), {"s": ["ACGT"]}, ("`window_length` 2", "3 bases")),
    ],
)
def test_wrong_rows(spec: RowSpec, columns: dict[str, list], parts: tuple[str, ...]) -> None:
    with fails(*parts):
        read(spec, **columns)


def test_a_trained_model_is_not_to_be_trained_otherwise() -> None:
    """Messages advise to change a setting only where the user can still choose it."""
    too_short = {"sequence": ["ACGT", "AC"]}
    too_long = {"sequence": ["ACGT", "ACGTACGT"]}  # 6 3-mers and 2 special tokens
    mixed = {"sequence": ["".join(RANDOM.choice(list("ACGT"), 30)) for _ in range(9)]}
    mixed["sequence"].append("TGCATTTTTTTCACATC" + mixed["sequence"][0])
    flanks = Flanks("TGCATTTTTTTCACATC", "GGTTACGGCTGTT", 10)
    for spec, columns, location, training_advice in (
        (RowSpec("sequence"), too_short, "row 2", "`k`"),
        (RowSpec("sequence", max_tokens=7), too_long, "row 2", "`config_overrides`"),
        (RowSpec("sequence", flanks=flanks), mixed, "row 10", "`flank_file`"),
    ):
        with fails(location, training_advice):
            read(spec, **columns)
        with fails(location) as caught:
            read(spec, is_trained=True, **columns)
        assert training_advice not in str(caught.value)


def test_how_far_the_model_reads() -> None:
    long = ["ACGT", "ACGTACGT"]  # 2 and 6 3-mers; 2 special tokens
    assert read(RowSpec("s", max_tokens=8), s=long)[0] == long
    with fails("row 2", "8 bases", "8 tokens", "7", "`max_seq_length` 7"):
        read(RowSpec("s", max_tokens=7), s=long)
    assert read(RowSpec("s", max_tokens=7, cut_at=7), s=long)[0] == ["ACGT", "ACGTACG"]


def test_rows_shorter_than_the_reading_frames() -> None:
    source = MemorySource(pa.table({"sequence": ["A"]}))
    n_kmers, numbers = np.array([4, 3, 2]), np.array([5, 6, 7])
    check_reading_frames(n_kmers, numbers, source, 2)
    with fails("row 6", "3 k-mers", "4 reading frames", "`reading_frames`"):
        check_reading_frames(n_kmers, numbers, source, 4)


@pytest.mark.parametrize("is_trained", [False, True])
@pytest.mark.parametrize(("share", "warns"), [(0.0, False), (0.05, False), (0.0625, True), (0.5, True)])
def test_a_share_of_unknown_kmers_up_to_half_is_a_warning_at_most(
    share: float, warns: bool, is_trained: bool, caplog: pytest.LogCaptureFixture
) -> None:
    check_unknown(share, "a.tsv", is_trained)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * warns
    for record in caplog.records:
        check_message(record.getMessage(), "a.tsv", f"{100 * share:.1f}%", "[UNK]")


def test_mostly_unknown_kmers_are_an_error_before_training_only(caplog: pytest.LogCaptureFixture) -> None:
    with fails("a.tsv", "75.0%", "[UNK]", "`alphabet`"):
        check_unknown(0.75, "a.tsv")
    assert not caplog.records
    check_unknown(0.75, "a.tsv", is_trained=True)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    check_message(record.getMessage(), "a.tsv", "75.0%", "[UNK]")
    assert "alphabet`" not in record.getMessage()  # it cannot be changed any more


@pytest.mark.parametrize("n_values", [1, 5, 1000])
@pytest.mark.parametrize("n_rows", [0, 1, 2, 50])
def test_duplicates_against_plain_python(n_rows: int, n_values: int) -> None:
    keys = RANDOM.integers(0, n_values, n_rows).astype(np.uint64)
    values = keys.tolist()
    repeats = [row for row in range(n_rows) if values[row] in values[:row]]
    duplicate = Duplicate(values.index(values[repeats[0]]), repeats[0]) if repeats else None
    assert find_duplicate(keys) == (len(repeats), duplicate)
    assert n_distinct(keys) == len(set(values)) == n_rows - len(repeats)


def test_hashes_are_those_of_the_texts() -> None:
    hashes = hash_texts(["a", "b", "a", "", "\u00e4"])
    assert hashes.dtype == np.uint64
    assert hashes[0] == hashes[2]
    assert len(set(hashes)) == 4
    assert hash_texts(["b"])[0] == hashes[1]


def test_windows_in_gaps_are_left_out() -> None:
    """Those that do not have one k-mer of known bases, which would be equal to each other."""
    sequences = ["NNNNNN", "ACNNGT", "ACGNNN", "NNNNNA", "ACGTAC"]
    columns = {"numbers": np.arange(5), "overlaps": np.arange(5) * 10}
    kept, values, n_gaps = without_gaps(sequences, columns, 3)
    assert (kept, n_gaps) == (["ACGNNN", "ACGTAC"], 3)
    assert {name: array.tolist() for name, array in values.items()} == {"numbers": [2, 4], "overlaps": [20, 40]}
    assert without_gaps(sequences[4:], {}, 3) == (["ACGTAC"], {}, 0)
    assert without_gaps(["NNN"], {"numbers": np.array([1])}, 3)[::2] == ([], 1)


def test_names_that_are_missing() -> None:
    table = MemorySource(pa.table({"id": [" a ", "b"], "n": [7, None], "g": ["x", " "]}))
    (batch,) = table.batches(["id", "n", "g"])
    assert names_in(batch, table, "id") == ["a", "b"]
    for column in "ng":
        with fails("row 2", column, "empty"):
            names_in(batch, table, column)


def test_a_sequence_and_its_reverse_complement_have_one_hash() -> None:
    rows = ["ACGTN", "NACGT", "GGGTC", "GACCC", "ACGT", "GGGTA"]
    hashes = hash_strands(rows)
    assert hashes.dtype == np.uint64
    assert (hashes[0], hashes[2]) == (hashes[1], hashes[3])
    assert len(set(hashes)) == 4
    assert hash_strands([]).tolist() == []
    assert hashes.tolist() == [hash_strands([row])[0] for row in rows]


def test_sequences_of_any_length_are_read_as_dna() -> None:
    source = MemorySource(pa.table({"dna": ["ac", "RG"], "id": ["a", "b"]}))
    (batch,) = source.batches(["dna"])
    assert read_dna(batch, source, "dna") == ["AC", "NG"]


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed
