"""The token file of a table: exact ids, one file for one content and setting, windows, cuts, and rows that are wrong."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kmerbert.dna.sequences import reverse_complement
from kmerbert.files import writer_tag
from kmerbert.reading import text
from kmerbert.reading.bad_rows import BadRowsError
from kmerbert.reading.rows import RowSpec
from kmerbert.reading.sources import FileSource
from kmerbert.tokens import cache
from kmerbert.tokens.batches import TokenDataset
from kmerbert.tokens.cache import tokenise, without_padding
from tests.support.messages import check_message, fails
from tests.support.tiny_tokens import expected_ids, ids_of, ragged, read_tokens
from tokenization_kmer import Flanks, KmerTokenizer

TABLE = Callable[..., Path]
DNA = Callable[..., list[str]]
KMERS = KmerTokenizer(k=6)


# --- the token file


def test_file_has_ids_and_labels_and_nothing_else(table: TABLE, dna: DNA) -> None:
    sequences = dna(50)
    path = table("a.tsv", name=range(50), sequence=sequences, expression=np.arange(50) / 4)
    tokens = read_tokens(path, KMERS, "expression")
    schema = tokens.dataset.data.schema
    assert schema.names == ["input_ids", "labels"]
    assert schema.field("input_ids").type == pa.list_(pa.int16())
    assert schema.field("labels").type == pa.list_(pa.float64(), 1)
    assert tokens.dataset["input_ids"][:] == expected_ids(KMERS, sequences)
    assert ids_of(tokens) == expected_ids(KMERS, sequences)
    assert tokens.labels.tolist() == [[value] for value in np.arange(50) / 4]
    assert tokens.numbers.tolist() == list(range(2, 52))
    assert len(tokens) == 50


@pytest.mark.parametrize(("k", "dtype"), [(3, np.int8), (4, np.int16), (7, np.int16), (8, np.int32)])
def test_smallest_integer_type(k: int, dtype: type, table: TABLE, dna: DNA) -> None:
    tokenizer, sequences = KmerTokenizer(k=k, stride=2), [*dna(20), *dna(3, 9)]
    tokens = read_tokens(table("a.tsv", sequence=sequences), tokenizer)
    assert tokens.ids.dtype == dtype
    assert ids_of(tokens) == expected_ids(tokenizer, sequences)
    assert tokens.dataset.data.schema.names == ["input_ids"]
    assert tokens.labels.shape == (23, 0)
    assert (tokens.k, tokens.stride) == (k, 2)


def test_letters_are_read_as_dna(table: TABLE) -> None:
    tokens = read_tokens(table("a.tsv", sequence=[" acguACGT ", "ACGTRYKMAC", "ACGTACGTTT"]), KMERS)
    assert ids_of(tokens) == expected_ids(KMERS, ["ACGTACGT", "ACGTNNNNAC", "ACGTACGTTT"])
    # Of the 3 + 5 + 5 k-mers, 5 hold one of the four ambiguous letters.
    assert tokens.unknown_share == pytest.approx(5 / 13)


def test_several_labels_some_missing(table: TABLE, dna: DNA) -> None:
    path = table("a.csv", sequence=dna(3), a=[1, "NA", 3], b=["", 5, 6])
    np.testing.assert_array_equal(read_tokens(path, KMERS, "b", "a").labels, [[np.nan, 1], [5, np.nan], [6, 3]])


@pytest.fixture(scope="module")
def many() -> list[str]:
    """More sequences than two batches have."""
    return ragged(23_000)


@pytest.mark.parametrize("ending", ["fa", "parquet", "jsonl", "tsv"])
def test_many_record_batches_read_back_exactly(
    ending: str, many: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", 1 << 18)
    sequences = many
    values = np.random.default_rng(0).normal(size=len(sequences)).astype(np.float32)
    path, labels = tmp_path / f"a.{ending}", () if ending == "fa" else ("expression",)
    frame = pd.DataFrame({"sequence": sequences, "expression": values.astype(float)})
    if ending == "fa":
        path.write_text("".join(f">{i}\n{sequence}\n" for i, sequence in enumerate(sequences)))
    elif ending == "parquet":
        frame.to_parquet(path)
    elif ending == "jsonl":
        frame.to_json(path, orient="records", lines=True, double_precision=15)
    else:
        frame.to_csv(path, sep="\t", index=False)
    tokens = read_tokens(path, KMERS, *labels)
    assert len(tokens.dataset.data.column("input_ids").chunks) >= 3
    padded, n_kmers = KMERS.encode_ids(sequences), [len(sequence) - 5 for sequence in sequences]
    assert ids_of(tokens) == [row[: n + 2] for row, n in zip(padded.tolist(), n_kmers, strict=True)]
    if labels:
        np.testing.assert_array_equal(tokens.labels[:, 0].astype(np.float32), values)  # JSON has 15 decimals
    rows = np.random.default_rng(1).integers(0, len(sequences), 64)
    batch = TokenDataset(tokens, np.arange(len(sequences)), 0).__getitems__(rows)
    np.testing.assert_array_equal(batch["input_ids"], KMERS.encode_ids([sequences[row] for row in rows]))


def test_equal_sequences_have_one_number(table: TABLE) -> None:
    path = table("a.tsv", sequence=["ACGTACGT", "CCCCCC", "acgtacgt", "ACGTACGA"])
    for tokens in (read_tokens(path, KMERS), read_tokens(path, KMERS)):  # the second from the cache
        numbers = tokens.sequence_numbers
        assert numbers[0] == numbers[2]
        assert sorted(set(numbers.tolist())) == [0, 1, 2]
        assert np.argsort(tokens.keys).tolist() == np.argsort(numbers).tolist()


def test_padding_is_left_out() -> None:
    padded = np.array([[1, 2, 0], [3, 4, 5], [6, 0, 0]], np.int8)
    ids, lengths = without_padding(padded, np.array([2, 3, 1]))
    assert ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert ids.dtype == np.int8
    assert lengths.tolist() == [2, 3, 1]
    assert without_padding(padded[:, :1], np.array([1, 1, 1]))[0].tolist() == [1, 3, 6]


# --- the cache


def modified(folder: Path) -> dict[Path, int]:
    """When each file of the cache was last written."""
    return {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_cache_is_used_again(promoters: Path, token_cache: Path) -> None:
    first = read_tokens(promoters, KMERS, "expression")
    files = modified(token_cache)
    assert sorted(path.suffix for path in files) == [".arrow", ".npz"]
    again = read_tokens(promoters, KMERS, "expression")
    assert modified(token_cache) == files
    assert ids_of(again) == ids_of(first)
    np.testing.assert_array_equal(again.keys, first.keys)
    # The same bytes under another name are the same rows, but are named as they are now.
    copy = promoters.with_name("copy.tsv")
    copy.write_bytes(promoters.read_bytes())
    assert read_tokens(copy, KMERS, "expression").location(0) == f"{copy}, line 2"
    assert modified(token_cache) == files


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({}, {"k": 5}),
        ({}, {"stride": 2}),
        ({}, {"alphabet": "ACGT"}),
        ({}, {"labels": ()}),
        ({}, {"split": "s"}),
        ({}, {"group": "g"}),
        ({}, {"id": "i"}),
        ({}, {"window": 12}),
        ({"window": 12}, {"window": 12, "step": 7}),
        ({}, {"cut_at": 17}),
        ({}, {"max_tokens": 17}),
    ],
    ids=str,
)
def test_cache_is_not_used_for_other_settings(
    settings: dict[str, Any], changed: dict[str, Any], table: TABLE, dna: DNA, token_cache: Path
) -> None:
    path = table("a.tsv", sequence=dna(4), expression=range(4), s=["train"] * 4, g="abcd", i="wxyz")
    for given in (settings, changed):
        spec = {"labels": ("expression",)} | given
        kmers = {name: spec.pop(name) for name in ("k", "stride", "alphabet") if name in spec}
        tokenizer = KmerTokenizer(**{"k": 6} | kmers)
        tokens = tokenise(FileSource(path), RowSpec("sequence", **spec), tokenizer, None)
        if "window" not in given:
            assert ids_of(tokens) == expected_ids(tokenizer, dna(4))
    assert len(list(token_cache.glob("*.arrow"))) == 2


def test_cache_knows_the_content_and_not_the_name(table: TABLE, dna: DNA, token_cache: Path) -> None:
    path = table("a.tsv", sequence=dna(4), expression=range(4))
    read_tokens(path, KMERS, "expression")
    path = path.rename(path.with_suffix(".txt"))  # another name, but the same bytes and format
    read_tokens(path, KMERS, "expression")
    assert len(list(token_cache.glob("*.arrow"))) == 1
    changed = read_tokens(table("a.tsv", sequence=dna(4), expression=[0, 1, 2, 4]), KMERS, "expression")
    assert changed.labels[3] == 4
    assert len(list(token_cache.glob("*.arrow"))) == 2


def test_layout_is_part_of_the_key(promoters: Path, token_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_tokens(promoters, KMERS)
    monkeypatch.setattr(cache, "LAYOUT", cache.LAYOUT + 1)
    read_tokens(promoters, KMERS)
    assert len(list(token_cache.glob("*.arrow"))) == 2


@pytest.mark.parametrize("bad", ["ACGTXCGT", "ACG", ""])
def test_nothing_half_written_remains(bad: str, table: TABLE, dna: DNA, token_cache: Path) -> None:
    path = table("a.tsv", sequence=[*dna(5), bad], expression=range(6))
    with fails("a.tsv, line 7: "):
        read_tokens(path, KMERS, "expression")
    assert list(token_cache.iterdir()) == []


def test_damaged_files_are_written_again(promoters: Path, token_cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Cut short, flipped, replaced by those of another table, or without an array; whatever Arrow and numpy make of them."""

    def read() -> list[list[int]]:
        return ids_of(read_tokens(promoters, KMERS, "expression"))

    expected = read()
    (ids_file,), (arrays_file,) = token_cache.glob("*.arrow"), token_cache.glob("*.npz")
    for file in (ids_file, arrays_file):
        content = file.read_bytes()
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 2]) + content[middle + 1 :]
        for damaged in (b"", content[:10], content[:-40], content[:middle], flipped, bytes(len(content)), b"text" * 99):
            file.write_bytes(damaged)
            caplog.clear()
            assert read() == expected
            (said,) = caplog.messages
            check_message(said, ids_file, "tokenised anew")
    with np.load(arrays_file) as file:
        arrays = dict(file)
    for changed in ({"n_gaps": None}, {"numbers": None}, {"keys": arrays["keys"][:9]}):
        np.savez(arrays_file, **{name: array for name, array in (arrays | changed).items() if array is not None})
        assert read() == expected
    assert len(caplog.messages) == 4


def test_an_interrupted_pair_of_files_is_written_again(promoters: Path, token_cache: Path) -> None:
    expected = ids_of(read_tokens(promoters, KMERS, "expression"))
    for ending in ("npz", "arrow"):
        next(token_cache.glob(f"*.{ending}")).unlink()
        assert ids_of(read_tokens(promoters, KMERS, "expression")) == expected
        assert len(list(token_cache.iterdir())) == 2


def test_cache_that_cannot_be_written(promoters: Path) -> None:
    folder = promoters / "below"  # a file
    with fails(f"`token_cache_dir` {folder}", "written"):
        tokenise(FileSource(promoters), RowSpec("sequence"), KMERS, str(folder))


# --- cutting


@pytest.mark.parametrize(("length", "step"), [(10, None), (10, 10), (10, 3), (7, 1), (100, None)])
def test_windows_cover_every_base_and_know_their_overlaps(length: int, step: int | None, table: TABLE) -> None:
    sequences = [sequence.replace("N", "A") for sequence in ragged(20, longest=60)]
    tokens = read_tokens(table("a.tsv", sequence=sequences), KMERS, window=length, step=step)
    row = 0
    for number, sequence in enumerate(sequences, 2):
        ends = []
        position = 0
        while position < len(sequence):
            assert tokens.numbers[row] == number
            start = max(0, len(sequence) - length) if position + length > len(sequence) else position
            assert ids_of(tokens)[row] == KMERS.encode_ids([sequence[start : start + length]])[0].tolist()
            if ends:
                is_same = tokens.overlaps[row] == tokens.overlaps[row - 1]
                assert is_same == (start < ends[-1])
            elif row:
                assert tokens.overlaps[row] != tokens.overlaps[row - 1]
            ends.append(start + min(length, len(sequence)))
            position = len(sequence) if ends[-1] == len(sequence) else position + (step or length)
            row += 1
    assert row == len(tokens)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("most", [3, 4, 10, 17])
def test_right_ends_are_cut_off(most: int, stride: int, table: TABLE) -> None:
    tokenizer, sequences = KmerTokenizer(k=6, stride=stride), ragged(30, longest=80)
    tokens = read_tokens(table("a.tsv", sequence=sequences), tokenizer, cut_at=most)
    assert tokens.lengths.max() == most
    for row, ids in zip(ids_of(tokens), expected_ids(tokenizer, sequences), strict=True):
        assert row == (ids if len(ids) <= most else [*ids[: most - 1], tokenizer.sep_token_id])


def test_lengths_that_fit_the_model(table: TABLE, dna: DNA) -> None:
    path = table("a.tsv", sequence=[*dna(3, 20), *dna(1, 30)])
    assert read_tokens(path, KMERS, max_tokens=27).lengths.tolist() == [17, 17, 17, 27]
    assert read_tokens(path, KMERS, max_tokens=20, cut_at=20).lengths.max() == 20


# --- rows and settings that are wrong

GOOD = ["ACGTACGT"]


@pytest.mark.parametrize(
    ("columns", "spec", "parts"),
    [
        ({"sequence": [*GOOD, "ACGT-CGT"]}, {}, ("a.tsv, line 3: ", "'-'", "base 5", "ACGTN")),
        ({"sequence": ["MKVLAAGE"]}, {}, ("a.tsv, line 2: ", "'L'", "base 4")),
        ({"sequence": ["ACGTACG\u00e9"]}, {}, ("a.tsv, line 2: ", "'\u00e9'", "base 8")),
        ({"sequence": [*GOOD, "  ", *GOOD]}, {}, ("a.tsv, line 3: ", "empty")),
        ({"sequence": [*GOOD, "ACGTA"]}, {}, ("a.tsv, line 3: ", "5 bases", "a k-mer has 6", "`k`")),
        ({"sequence": [*GOOD, "A" * 30]}, {"max_tokens": 20},
         ("a.tsv, line 3: ", "30 bases", "27 tokens", "20", "`max_seq_length` 20")),
        ({"sequence": GOOD}, {"cut_at": 2}, ("`max_seq_length` 2", "3")),
        ({"sequence": GOOD}, {"window": 5}, ("`window_length` 5", "6 bases")),
        ({"sequence": GOOD * 2, "y": ["1", ""]}, {}, ("a.tsv, line 3: ", "no value in y")),
        ({"sequence": GOOD * 2, "y": ["1", "nan"]}, {}, ("a.tsv, line 3: ", "no value in y")),
        ({"sequence": GOOD * 2, "y": ["1", "x"]}, {}, ("a.tsv, line 3: ", "y is 'x'", "numbers")),
        ({"sequence": GOOD, "s": ["holdout"]}, {"split": "s"}, ("line 2: ", "s is 'holdout'", "train, validation and test")),
        ({"sequence": GOOD, "s": [""]}, {"split": "s"}, ("line 2: ", "s is empty")),
        ({"sequence": GOOD, "g": [" "]}, {"group": "g"}, ("line 2: ", "g is empty")),
        ({"sequence": GOOD, "i": [""]}, {"id": "i"}, ("line 2: ", "i is empty")),
        ({"sequence": ["ACGTACGT", "ACGTACGA", "ACGTACGC"], "i": ["a", "b", "a"]}, {"id": "i"},
         ("a.tsv, line 2 ", "a.tsv, line 4 ", "the same id")),
        ({"sequence": []}, {}, ("a.tsv: no rows",)),
    ],
)  # fmt: skip
def test_rows_that_are_wrong(
    columns: dict[str, list[str]], spec: dict[str, Any], parts: tuple[str, ...], table: TABLE, token_cache: Path
) -> None:
    with fails(*parts):
        read_tokens(table("a.tsv", **columns), KMERS, *(["y"] if "y" in columns else []), **spec)
    assert list(token_cache.iterdir()) == []


def test_fasta_names_are_ids_where_ids_are_used(tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(">x\nACGTACGT\n\n>x\nACGTACGA\n")
    assert read_tokens(tmp_path / "a.fa", KMERS).names is None
    with fails("a.fa, line 1 ", "a.fa, line 4 ", "the same id"):
        read_tokens(tmp_path / "a.fa", KMERS, id="id")


def test_a_column_called_line_is_a_column(table: TABLE, dna: DNA) -> None:
    tokens = read_tokens(table("a.tsv", sequence=dna(3), line=["x", "y", "x"]), KMERS, group="line")
    assert tokens.numbers.tolist() == [2, 3, 4]
    assert tokens.groups[0] == tokens.groups[2] != tokens.groups[1]


def test_sequences_that_are_no_text(tmp_path: Path) -> None:
    pd.DataFrame({"sequence": [1, 2]}).to_parquet(tmp_path / "a.parquet")
    with fails("a.parquet", "'sequence'", "int64"):
        read_tokens(tmp_path / "a.parquet", KMERS)
    (tmp_path / "a.jsonl").write_text('{"sequence": null}\n')
    with fails("a.jsonl, line 1", "empty"):
        read_tokens(tmp_path / "a.jsonl", KMERS)


def test_gaps_of_a_genome_are_left_out_and_counted(tmp_path: Path, dna: DNA, caplog: pytest.LogCaptureFixture) -> None:
    left, right = dna(2, 40)
    (tmp_path / "a.fa").write_text(f">chr1\n{left}{'N' * 85}{right}\n>chr2\n{'N' * 60}\n")
    caplog.set_level("INFO")
    for _ in range(2):  # the second from the cache
        caplog.clear()
        tokens = read_tokens(tmp_path / "a.fa", KMERS, window=20)
        # Windows 20 to 40, 120 to 140 (5 N) and from 145 on; 40 to 120 and the second chromosome are gaps.
        assert len(tokens) == 5
        assert ids_of(tokens)[0] == KMERS.encode_ids([left[:20]])[0].tolist()
        check_message(caplog.messages[0], "a.fa", "7 of 12 windows")
    assert tokens.numbers.tolist() == [1] * 5
    (tmp_path / "b.fa").write_text(f">chr1\n{'N' * 100}\n")
    with fails("b.fa", "5 windows"):
        read_tokens(tmp_path / "b.fa", KMERS, window=20)


# --- writing


def test_what_a_killed_process_left_is_deleted(table: TABLE, dna: DNA, token_cache: Path) -> None:
    """Of a process with the number of this one that began at another time."""
    host, pid, start = writer_tag().split("-")
    for tag in (f"{host}-{pid}-{int(start) + 1}", f"{'0' * 8}-{pid}-{start}"):
        (token_cache / f"writing-{tag}-12345678").mkdir(parents=True)
        (token_cache / f"writing-{tag}-12345678" / "ids").write_text("half")
    assert len(read_tokens(table("a.tsv", sequence=dna(3)), KMERS)) == 3
    (left,) = token_cache.glob("writing-*")
    assert left.name.startswith("writing-00000000-")  # of another machine, which may be at work


def test_a_full_disk(table: TABLE, dna: DNA, token_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "x")

    monkeypatch.setattr(np, "savez", fill)
    with fails(token_cache, ".arrow", "No space left", "free"):
        read_tokens(table("a.tsv", sequence=dna(3)), KMERS)
    assert list(token_cache.glob("writing-*")) == list(token_cache.glob("*.arrow")) == []


# --- strands, digits, and files that change


def test_strand_keys_are_there_if_asked(table: TABLE, dna: DNA, token_cache: Path) -> None:
    a, b = dna(2)
    path = table("a.tsv", sequence=[a, b, reverse_complement(a), a.lower()])
    assert read_tokens(path, KMERS).strand_keys is None
    tokens = read_tokens(path, KMERS, both_strands=True)
    assert tokens.strand_keys[0] == tokens.strand_keys[2] == tokens.strand_keys[3] != tokens.strand_keys[1]
    assert tokens.keys[0] != tokens.keys[2]
    assert ids_of(tokens) == ids_of(read_tokens(path, KMERS))
    assert read_tokens(path, KMERS).strand_keys is None  # the network reads one strand, whatever the cache has
    assert len(list(token_cache.glob("*.arrow"))) == 1


@pytest.mark.parametrize("spec", [{"flanks": Flanks("ACGTACGTAA", "CCGGTTCCAA", 5)}, {"cut_at": 12}])
def test_an_insert_is_turned_without_its_flanks_and_uncut(spec: dict[str, Any], table: TABLE, dna: DNA) -> None:
    a, b = dna(2, 30)
    path = table("a.tsv", sequence=[a, b, reverse_complement(a)])
    keys = read_tokens(path, KMERS, both_strands=True, **spec).strand_keys
    assert keys[0] == keys[2] != keys[1]


def test_windows_are_turned_each_by_itself(table: TABLE, dna: DNA) -> None:
    a, b, c = dna(3, 10)
    tokens = read_tokens(
        table("a.tsv", sequence=[a + b, c, reverse_complement(b)]), KMERS, window=10, both_strands=True
    )
    assert (tokens.strand_keys[:, None] == tokens.strand_keys).sum(axis=0).tolist() == [1, 2, 1, 2]


def test_labels_keep_all_digits(table: TABLE, dna: DNA) -> None:
    values = ["10000000.1", "10000000.2", "33554433"]
    tokens = read_tokens(table("a.tsv", sequence=dna(3), y=values), KMERS, "y")
    assert tokens.labels[:, 0].tolist() == [float(value) for value in values]


def test_a_file_that_changes_while_it_is_tokenised_is_not_kept(
    table: TABLE, dna: DNA, token_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table("a.tsv", sequence=dna(5))
    real = KMERS.encode_ids

    def encode(sequences: list[str]) -> np.ndarray:
        table("a.tsv", sequence=dna(5, seed=1))
        return real(sequences)

    monkeypatch.setattr(KMERS, "encode_ids", encode)
    with fails(path, "changed"):
        read_tokens(path, KMERS)
    assert not list(token_cache.glob("*.*"))


def test_rows_are_read_again_by_their_numbers(table: TABLE, dna: DNA) -> None:
    sequences = dna(9)
    path = table("a.tsv", sequence=sequences, name=list("abcdefghi"))
    tokens = read_tokens(path, KMERS)
    (batch,) = tokens.read_again(["name"], np.array([1, 7]))
    assert (batch.columns["name"].to_pylist(), batch.numbers.tolist()) == (["b", "h"], [3, 9])
    some = replace(tokens, numbers=tokens.numbers[[0, 4, 8]])  # a table without some rows of its source
    (batch,) = some.read_again(["sequence"])
    assert batch.columns["sequence"].to_pylist() == [sequences[0], sequences[4], sequences[8]]
    table("a.tsv", sequence=sequences[::-1], name=list("abcdefghi"))
    with fails(path, "changed"):
        list(tokens.read_again(["name"]))


# --- rows that cannot be used


def bad_table(table: TABLE, dna: DNA) -> Path:
    """Six rows, of which those in lines 3 and 6 cannot be used."""
    sequences, values = dna(6), ["1,5", "2", "3", "0,25", "high", "6"]
    sequences[1] = "ACGTX"
    return table("a.tsv", sequence=sequences, expression=values)


def test_all_bad_rows_are_told_at_once(table: TABLE, dna: DNA, tmp_path: Path) -> None:
    source = FileSource(bad_table(table, dna))
    with fails("a.tsv, line 3", "'X'", "2 of 6 rows") as caught:
        tokenise(source, RowSpec("sequence", ("expression",)), KMERS, str(tmp_path))
    assert isinstance(caught.value, BadRowsError)
    assert [(row.line, row.column, row.value) for row in caught.value.rows] == [
        (3, "sequence", "ACGTX"), (6, "expression", "high"),
    ]  # fmt: skip


def test_bad_rows_are_left_out(
    table: TABLE, dna: DNA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", 64)
    source = FileSource(bad_table(table, dna))
    spec = RowSpec("sequence", ("expression",), drops_bad_rows=True)
    for is_cached in (False, True):  # what is said is the same
        caplog.clear()
        with caplog.at_level("INFO", "kmerbert"):
            tokens = tokenise(FileSource(source.path), spec, KMERS, str(tmp_path))
        assert tokens.numbers.tolist() == [2, 4, 5, 7], is_cached
        assert tokens.labels[:, 0].tolist() == [1.5, 3, 0.25, 6]
        assert [row.line for row in tokens.rejected] == [3, 6]
        check_message(" ".join(caplog.messages), "a.tsv: 2 rows", "left out", "expression", "1,5 is 1.5")
        again = [number for batch in tokens.read_again(["sequence"]) for number in batch.numbers.tolist()]
        assert again == [2, 4, 5, 7]
    rows = TokenDataset(tokens, np.array([0, 2]), 0)
    assert rows.rejected() == {"a.tsv": 2}
    assert rows.facts()["n_rejected_rows"] == 2


def test_more_than_half_are_never_left_out(table: TABLE, dna: DNA, tmp_path: Path) -> None:
    path = table("a.tsv", sequence=dna(4), expression=["1", "x", "x", "x"])
    with fails("a.tsv, line 3", "'x'", "3 of 4 rows"):
        tokenise(FileSource(path), RowSpec("sequence", ("expression",), drops_bad_rows=True), KMERS, str(tmp_path))


def test_a_wrong_column_is_not_read_to_its_end(
    table: TABLE, dna: DNA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", 64)
    monkeypatch.setattr(cache, "MOST_LISTED", 5)
    path = table("a.tsv", sequence=dna(50), expression=["x"] * 50)
    with fails("a.tsv, line 2", "the rest was not looked at") as caught:
        tokenise(FileSource(path), RowSpec("sequence", ("expression",)), KMERS, str(tmp_path))
    assert 5 <= len(caught.value.rows) < 20


def test_the_first_fault_of_a_file_is_told(
    table: TABLE, dna: DNA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if what follows cannot be read at all."""
    monkeypatch.setattr(text, "BLOCK_BYTES", 64)
    path = table("a.tsv", sequence=dna(50), expression=["1", "x"] + ["1"] * 48)
    path.write_text(path.read_text() + "AC\n")
    spec = RowSpec("sequence", ("expression",))
    with fails("a.tsv, line 3", "'x'", "the rest was not looked at"):
        tokenise(FileSource(path), spec, KMERS, str(tmp_path))
    with fails("a.tsv, line 52", "1 column"):
        tokenise(FileSource(path), replace(spec, drops_bad_rows=True), KMERS, str(tmp_path))


def test_columns_that_must_be_filled(table: TABLE, dna: DNA, tmp_path: Path) -> None:
    path = table("a.tsv", sequence=dna(3), fold=["a", " ", "b"])
    with fails("a.tsv, line 3: fold is empty"):
        tokenise(FileSource(path), RowSpec("sequence", filled=("fold",)), KMERS, str(tmp_path))
