"""What is in more than one split: equal sequences and groups, of arrays and of the rows of given files."""

import doctest
import itertools
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kmerbert.dna.sequences import reverse_complement
from kmerbert.reading.rows import Duplicate, RowSpec, find_duplicate
from kmerbert.reading.sources import FileSource
from kmerbert.splitting import leaks
from kmerbert.splitting.leaks import (
    SplitRows,
    check_leaks,
    check_repeats,
    find_conflict,
    find_leak,
    find_leaks,
    leaks_as_tsv,
    without_leaks,
)
from kmerbert.tokens.cache import TokenTable, tokenise
from tests.support.messages import check_message, fails
from tokenization_kmer import KmerTokenizer

Files = Callable[..., dict[str, SplitRows]]
DNA = Callable[..., list[str]]
TOKENIZER = KmerTokenizer(3)


@pytest.mark.parametrize("seed", range(20))
def test_find_leak_against_brute_force(seed: int) -> None:
    random = np.random.default_rng(seed)
    values, split = random.integers(0, 40, 12), random.integers(0, 3, 12)
    pairs = {
        (a, b)
        for a, b in itertools.combinations(range(12), 2)
        if values[a] == values[b] and split[a] != split[b]
    }  # fmt: skip
    leak = find_leak(values, split)
    assert (leak is None) == (not pairs)
    assert leak is None or tuple(leak) in pairs


def test_duplicates_within_a_split_are_no_leak() -> None:
    assert find_leak(np.array([5, 5, 6, 6]), np.array([0, 0, 1, 1])) is None
    assert find_leak(np.array([], np.uint64), np.array([], np.int8)) is None


def test_find_duplicate() -> None:
    assert find_duplicate(np.array([1, 2, 3])) == (0, None)
    assert find_duplicate(np.array([], np.uint64)) == (0, None)
    # Three repeats; the earliest one is row 2, which repeats row 1.
    assert find_duplicate(np.array([9, 4, 4, 9, 4])) == (3, Duplicate(1, 2))


def open_table(path: Path, group: str | None = None) -> TokenTable:
    """Tokenises a file."""
    return tokenise(FileSource(path), RowSpec("sequence", group=group), TOKENIZER, None)


@pytest.fixture
def files(table: Callable[..., Path]) -> Files:
    """Writes one file for each split, from its sequences or its pairs of sequence and locus: files(train=[...])."""

    def write(**rows: list[str] | list[tuple[str, str]]) -> dict[str, SplitRows]:
        splits = {}
        for split, values in rows.items():
            is_grouped = not isinstance(values[0], str)
            columns = dict(zip(("sequence", "locus"), zip(*values) if is_grouped else [values]))
            tokens = open_table(table(f"{split}.tsv", **columns), "locus" if is_grouped else None)
            splits[split] = SplitRows(tokens, np.arange(len(tokens)))
        return splits

    return write


def check(
    splits: dict[str, SplitRows], group_column: str | None, keep_duplicates: bool, labels: tuple[str, ...] = ()
) -> None:
    """All that is checked of the rows of splits."""
    check_leaks(splits, find_leaks(splits, group_column))
    check_repeats(splits, keep_duplicates, labels)


@pytest.mark.parametrize("keep_duplicates", [False, True])
@pytest.mark.parametrize("other", ["validation", "test"])
def test_a_sequence_in_two_files(other: str, keep_duplicates: bool, files: Files, dna: DNA) -> None:
    a, b, c, d = dna(4)
    splits = files(train=[a, b, c], **{other: [d, b.lower()]})
    with fails("train.tsv, line 3 (train)", f"{other}.tsv, line 3 ({other})", "sequence", f"1 of 2 {other} rows"):
        check(splits, None, keep_duplicates)
    splits[other] = splits[other]._replace(rows=np.array([0]))  # only rows that are used count
    check(splits, None, keep_duplicates)


def test_a_sequence_of_both_held_out_files(files: Files, dna: DNA) -> None:
    a, b, c = dna(3)
    with fails("validation.tsv, line 2 (validation)", "test.tsv, line 3 (test)", "sequence"):
        check(files(train=[a], validation=[b], test=[c, b]), None, keep_duplicates=True)


def test_rows_of_one_table_in_two_splits(table: Callable[..., Path], dna: DNA) -> None:
    a, b, c = dna(3)
    tokens = open_table(table("a.tsv", sequence=[a, b, c, a]))
    splits = {"train": SplitRows(tokens, np.array([0, 1])), "test": SplitRows(tokens, np.array([2, 3]))}
    with fails("a.tsv, line 2 (train)", "a.tsv, line 5 (test)", "sequence"):
        check(splits, None, keep_duplicates=True)
    splits = {"train": SplitRows(tokens, np.array([0, 3])), "test": SplitRows(tokens, np.array([1, 2]))}
    check(splits, None, keep_duplicates=True)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_sequence_twice_in_one_file(split: str, files: Files, dna: DNA, caplog: pytest.LogCaptureFixture) -> None:
    a, b, c, d, e = dna(5)
    rows = {"train": [a], "validation": [b], "test": [c]} | {split: [d, e, d.lower(), e, d]}
    with fails(f"{split}.tsv, line 2 ", f"{split}.tsv, line 4 ", "rows: 3", "`duplicates`"):
        check(files(**rows), None, keep_duplicates=False)
    with caplog.at_level(logging.INFO):
        check(files(**rows), None, keep_duplicates=True)
    assert "split: 3;" in caplog.text


def test_a_leak_is_told_before_a_repeat(files: Files, dna: DNA) -> None:
    a, b = dna(2)
    with fails("train.tsv, line 4 (train)", "test.tsv, line 2 (test)"):
        check(files(train=[a, a, b], test=[b]), None, keep_duplicates=False)


def test_a_group_in_two_files(files: Files, dna: DNA) -> None:
    a, b, c, d = dna(4)
    splits = files(train=[(a, "x"), (b, "y")], validation=[(c, "z"), (d, "y")])
    with fails("train.tsv, line 3 (train)", "validation.tsv, line 3 (validation)", "locus", "`group_column`"):
        check(splits, "locus", keep_duplicates=False)
    check(files(train=[(a, "x"), (b, "x")], validation=[(c, "z"), (d, "z")]), "locus", keep_duplicates=False)


def test_files_without_groups_share_none(files: Files, dna: DNA) -> None:
    """The second of three files has no groups, so locations must be counted without its rows."""
    a, b, c, d, e, f = dna(6)
    splits = files(train=[(a, "x"), (b, "y")], validation=[c, d], test=[(e, "z"), (f, "y")])
    with fails("train.tsv, line 3 (train)", "test.tsv, line 3 (test)", "locus"):
        check(splits, "locus", keep_duplicates=False)
    check({split: splits[split] for split in ("train", "validation")}, "locus", keep_duplicates=False)


def test_files_without_a_leak(files: Files, dna: DNA, caplog: pytest.LogCaptureFixture) -> None:
    a, b, c, d = dna(4)
    with caplog.at_level(logging.INFO):
        check(files(train=[a, b], validation=[c], test=[d]), None, keep_duplicates=False)
    assert not caplog.messages


# --- training rows that are left out


def test_every_row_that_leaks_is_found(files: Files, dna: DNA) -> None:
    """Against brute force: each leaking row of either side is in a pair, and each pair leaks."""
    pool, random = dna(8), np.random.default_rng(0)
    drawn = {split: [pool[row] for row in random.integers(0, 8, 6)] for split in ("train", "validation", "test")}
    for leak in find_leaks(files(**drawn), None):
        one, other = drawn[leak.split], drawn[leak.other]
        assert all(one[a] == other[b] for a, b in zip(leak.rows, leak.other_rows))
        assert set(leak.rows) == {row for row, sequence in enumerate(one) if sequence in other}
        assert set(leak.other_rows) == {row for row, sequence in enumerate(other) if sequence in one}


def test_training_rows_are_left_out_and_held_out_rows_never(files: Files, dna: DNA) -> None:
    a, b, c, d, e = dna(5)
    splits = files(train=[(a, "p"), (b, "q"), (c, "r"), (d, "q")], test=[(e, "p"), (b, "s")])
    leaks = find_leaks(splits, "locus")
    assert {(leak.shared, leak.strand) for leak in leaks} == {("sequence", "same"), ("locus", "")}
    splits["train"] = without_leaks(splits["train"], leaks)
    assert splits["train"].rows.tolist() == [2, 3]  # a shares its locus, b its sequence
    check(splits, "locus", False)
    assert without_leaks(splits["train"], []).rows.tolist() == [2, 3]


def test_the_list_of_pairs(table: Callable[..., Path], dna: DNA) -> None:
    a, b, c, d = dna(4)
    paths = {
        "train": table("a.tsv", sequence=[a, b.lower(), c], y=[1, 2, 3], id=["p 1", "p2", "p3"]),
        "validation": table("b.csv", sequence=[d, b], y=[1, 2]),
        "test": table("c.tsv", sequence=[reverse_complement(c), b, b], y=[1, 2, 3], id=["t1", "t2", "t3"]),
    }
    splits = {split: SplitRows(tokens := on_strands(path), np.arange(len(tokens))) for split, path in paths.items()}
    assert leaks_as_tsv(splits, find_leaks(splits, None), "sequence", None).splitlines() == [
        "split\tline\tid\tother_split\tother_line\tother_id\tshared\tstrand\tsequence",
        f"train\t3\tp2\tvalidation\t3\t\tsequence\tsame\t{b.lower()}",
        f"train\t3\tp2\ttest\t3\tt2\tsequence\tsame\t{b.lower()}",
        f"train\t3\tp2\ttest\t4\tt3\tsequence\tsame\t{b.lower()}",
        f"validation\t3\t\ttest\t3\tt2\tsequence\tsame\t{b}",
        f"validation\t3\t\ttest\t4\tt3\tsequence\tsame\t{b}",
        f"train\t4\tp3\ttest\t2\tt1\tsequence\tother\t{c}",
    ]


# --- the other strand, and labels that contradict each other


def on_strands(path: Path, both: bool = True) -> TokenTable:
    """Tokenises a file with labels for a network that reads both strands."""
    spec = RowSpec("sequence", ("y",), both_strands=both)
    return tokenise(FileSource(path), spec, TOKENIZER, None)


def test_a_reverse_complement_in_two_files(table: Callable[..., Path], dna: DNA) -> None:
    a, b, c = dna(3)
    train, test = (
        table("a.tsv", sequence=[a, b], y=[1, 2]),
        table("b.tsv", sequence=[c, reverse_complement(b)], y=[1, 2]),
    )
    for both in (True, False):
        splits = {
            split: SplitRows(on_strands(path, both), np.arange(2)) for split, path in (("train", train), ("test", test))
        }
        if both:
            with fails("a.tsv, line 3 (train)", "b.tsv, line 3 (test)", "strand", "`strands`"):
                check(splits, None, keep_duplicates=True)
        else:
            check(splits, None, keep_duplicates=True)


def test_reverse_complements_in_one_split_are_counted(
    table: Callable[..., Path], dna: DNA, caplog: pytest.LogCaptureFixture
) -> None:
    a, b, c = dna(3)
    path = table("a.tsv", sequence=[a, b, reverse_complement(a), c], y=[1, 2, 1, 3])
    caplog.set_level(logging.INFO)
    check({"train": SplitRows(on_strands(path), np.arange(4))}, None, False, ("y",))
    (message,) = caplog.messages  # no error: the two are not the same row, and their labels agree
    check_message(message, "2 of 4", "reverse complement")


@pytest.mark.parametrize("turned", [False, True])
def test_conflicting_labels_are_named(
    turned: bool, table: Callable[..., Path], dna: DNA, caplog: pytest.LogCaptureFixture
) -> None:
    a, b, c = dna(3)
    again = [reverse_complement(s) if turned else s.lower() for s in (a, b)]
    # The labels of b are further apart than those of a; c occurs once.
    path = table("a.tsv", sequence=[a, b, c, *again], y=[1, 2, 3, 1.5, 8.25])
    check({"train": SplitRows(on_strands(path, turned), np.arange(5))}, None, True, ("y",))
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    check_message(warning, "a.tsv, line 3", "a.tsv, line 6", "y is 2 and 8.25", ": 2 ")
    assert ("two strands" in warning) == turned


def test_repeats_that_are_an_error_show_their_labels(table: Callable[..., Path], dna: DNA) -> None:
    a, b = dna(2)
    path = table("a.tsv", sequence=[a, b, a], y=[1, 2, 4])
    with fails("a.tsv, line 2", "a.tsv, line 4", "y is 1 and 4", "`duplicates`"):
        check({"train": SplitRows(on_strands(path), np.arange(3))}, None, False, ("y",))


def test_conflicts_by_hand() -> None:
    labels = np.array([[1, 0], [2, 5], [1, np.nan], [np.nan, 6], [7, 9], [1, 0.5]])
    # Key 5 has rows 0, 2 and 5, of which the second output differs; key 6 has 1 and 3, 7 has 4 alone.
    conflict = find_conflict(np.array([5, 6, 5, 6, 7, 5]), labels)
    assert conflict == (2, 1, 3, 1)
    assert find_conflict(np.array([5, 6, 5]), np.array([[1.0], [2.0], [1.0]])) is None
    assert find_conflict(np.array([5, 5]), np.full((2, 1), np.nan)) is None


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(leaks)
    assert result.attempted
    assert not result.failed
