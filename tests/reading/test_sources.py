"""Tables from files, the Hub and memory: every format gives the same rows, and every row its location."""

import bz2
import doctest
import gzip
import itertools
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kmerbert.reading import sources as module
from kmerbert.reading import text as text_files
from kmerbert.reading.sources import (
    Batch,
    FileSource,
    HubSource,
    MemorySource,
    Source,
    as_text,
    has_column,
    load_hub_dataset,
    read_again,
    readable_file,
    to_numbers,
)
from tests.support.messages import check_message, fails

SEQUENCES = ["ACGTACGT", "ggnnT", "TTTTTTTTTTTT", "ACG"]
VALUES = ["1.5", "-2", "3e-1", "11"]
COLUMNS = ["sequence", "expression"]


def delimited(delimiter: str, header: bool = True) -> bytes:
    """The rows as lines of fields."""
    rows = [COLUMNS] * header + list(zip(SEQUENCES, VALUES, strict=True))
    return "".join(delimiter.join(row) + "\n" for row in rows).encode()


def parquet() -> bytes:
    """The rows as Parquet."""
    buffer = pa.BufferOutputStream()
    table = pa.table({"expression": [float(value) for value in VALUES], "sequence": SEQUENCES})
    pa.parquet.write_table(table, buffer)
    return buffer.getvalue().to_pybytes()


def json_lines() -> bytes:
    """The rows as JSON lines."""
    rows = [{"expression": float(v), "other": [1], "sequence": s} for s, v in zip(SEQUENCES, VALUES, strict=True)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


CONTENTS = {
    "a.tsv": delimited("\t"),
    "a.tab": delimited("\t"),
    "a.txt": delimited("\t"),
    "a.csv": delimited(","),
    "headerless.txt": delimited("\t", header=False),
    "headerless.tsv": delimited("\t", header=False),
    "headerless.csv": delimited(",", header=False),
    "a.jsonl": json_lines(),
    "a.ndjson": json_lines(),
    "a.json": json_lines(),
    "a.parquet": parquet(),
}
UNLABELLED = {
    "a.fa": b">a\nACGTACGT\n>b\nggnnT\n>c\nTTTTTT\nTTTTTT\n>d\nACG\n",
    "a.fasta": b">a\nACGTACGT\n>b\nggnnT\n>c\nTTTTTT\nTTTTTT\n>d\nACG\n",
    "a.fna": b">a\nACGTACGT\n>b\nggnnT\n>c\nTTTTTT\nTTTTTT\n>d\nACG\n",
    "lines.txt": "".join(f"{sequence}\n" for sequence in SEQUENCES).encode(),
    "lines.tsv": "".join(f"{sequence}\n" for sequence in SEQUENCES).encode(),
}
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}


def save(folder: Path, name: str, content: bytes | str) -> FileSource:
    """Writes a file, compressed as its name says."""
    content = content.encode() if isinstance(content, str) else content
    path = folder / name
    path.write_bytes(COMPRESSORS.get(path.suffix, bytes)(content))
    return FileSource(path, headerless_label="expression")


def rows(source: Source, columns: Sequence[str]) -> dict[str, list[Any]]:
    """All batches of a source as lists, with the numbers of the rows."""
    values: dict[str, list[Any]] = {name: [] for name in [*columns, "numbers"]}
    for batch in source.batches(columns):
        assert isinstance(batch, Batch)
        assert {len(batch.columns[name]) for name in columns} == {len(batch.numbers)}
        for name in columns:
            values[name] += batch.columns[name].to_pylist()
        values["numbers"] += batch.numbers.tolist()
    return values


@pytest.mark.parametrize("compression", COMPRESSORS)
@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_gives_the_same_rows(name: str, compression: str, tmp_path: Path) -> None:
    source = save(tmp_path, name + compression, CONTENTS[name])
    values = rows(source, COLUMNS)
    assert values["sequence"] == SEQUENCES
    assert [float(value) for value in values["expression"]] == [1.5, -2, 0.3, 11]
    first = 2 if name in ("a.tsv", "a.tab", "a.txt", "a.csv") else 1
    assert values["numbers"] == list(range(first, first + 4))


@pytest.mark.parametrize("compression", COMPRESSORS)
@pytest.mark.parametrize("name", UNLABELLED)
def test_every_unlabelled_format_gives_the_same_rows(name: str, compression: str, tmp_path: Path) -> None:
    values = rows(save(tmp_path, name + compression, UNLABELLED[name]), ["sequence"])
    assert values["sequence"] == SEQUENCES
    assert values["numbers"] == ([1, 2, 3, 4] if name.startswith("lines") else [1, 3, 5, 8])


def test_capital_endings(tmp_path: Path) -> None:
    path = tmp_path / "A.TSV.GZ"
    path.write_bytes(gzip.compress(CONTENTS["a.tsv"]))
    assert rows(FileSource(path), ["sequence"])["sequence"] == SEQUENCES


def test_several_gzip_members_are_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress(CONTENTS["a.tsv"]) + gzip.compress(b"CCCC\t5\n"))
    assert rows(FileSource(path), ["sequence"])["sequence"] == [*SEQUENCES, "CCCC"]


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "headerless.txt", "a.jsonl", "a.fa", "lines.txt"])
@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"),
        lambda content: content.rstrip(b"\n"),
    ],
    ids=["Windows line ends", "byte order mark", "both", "no final line end"],
)
def test_text_as_other_programs_write_it(name: str, change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    content = (CONTENTS | UNLABELLED)[name]
    columns = COLUMNS if name in CONTENTS else ["sequence"]
    plain = rows(save(tmp_path, "plain-" + name, content), columns)
    assert plain["sequence"] == SEQUENCES
    assert rows(save(tmp_path, name, change(content)), columns) == plain


def test_csv_with_quotes(tmp_path: Path) -> None:
    content = '"id, of row","sequence","expression"\n"a ""b"", c","ACGT","1.5"\nd,GG,2\n'
    values = rows(save(tmp_path, "a.csv", content), ["id, of row", *COLUMNS])
    assert values["id, of row"] == ['a "b", c', "d"]
    assert values["sequence"] == ["ACGT", "GG"]
    assert rows(save(tmp_path, "b.csv", '"ACGT","1.5"\n"GG","2"\n'), COLUMNS)["sequence"] == ["ACGT", "GG"]


@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_quotes_mean_the_same_in_every_table(delimiter: str, tmp_path: Path) -> None:
    """At the beginning of a cell they enclose it, elsewhere they are letters."""
    name = "a.tsv" if delimiter == "\t" else "a.csv"
    content = 'sequence|note\nAC|3" and 5"\nGG|"a | ""b"""\n"TT"|""\n'.replace("|", delimiter)
    assert rows(save(tmp_path, name, content), ["sequence", "note"]) == {
        "sequence": ["AC", "GG", "TT"], "note": ['3" and 5"', f'a {delimiter} "b"', ""], "numbers": [2, 3, 4],
    }  # fmt: skip


def test_a_pandas_table_with_categories(tmp_path: Path) -> None:
    pd.DataFrame({"sequence": pd.Categorical(["AC", "GG", "AC"])}).to_parquet(tmp_path / "a.parquet")
    assert rows(FileSource(tmp_path / "a.parquet"), ["sequence"])["sequence"] == ["AC", "GG", "AC"]


def test_only_the_named_columns_are_read(tmp_path: Path) -> None:
    (batch,) = save(tmp_path, "a.tsv", "x\tsequence\ty\n1\tACG\t2\n").batches(["sequence"])
    assert list(batch.columns) == ["sequence"]


def test_header_or_not(tmp_path: Path) -> None:
    """The first line is a row only if it is DNA (and a number) and does not name the column."""
    source = FileSource(save(tmp_path, "a.tsv", "DNA\texpression\nACGT\t1\n").path, sequence_column="DNA")
    assert rows(source, ["DNA"])["DNA"] == ["ACGT"]
    assert rows(save(tmp_path, "b.tsv", "acgtn\tNA\nACGT\t1\n"), COLUMNS)["expression"] == ["NA", "1"]
    with fails("c.tsv", "'sequence'", "'name', 'value'", "`sequence_column`"):
        rows(save(tmp_path, "c.tsv", "name\tvalue\nACGT\t1\n"), ["sequence"])
    with fails("d.tsv", "'other'", "'sequence', 'expression'"):
        rows(save(tmp_path, "d.tsv", "ACGT\t1\n"), ["sequence", "other"])


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl", "a.fa", "a.parquet"])
def test_many_batches_are_read_in_order(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 150)
    monkeypatch.setattr(module, "BATCH_ROWS", 7)
    sequences = ["ACGT"[i % 4] * (i % 9 + 1) for i in range(100)]
    if name == "a.parquet":
        pd.DataFrame({"sequence": sequences}).to_parquet(tmp_path / name)
        source = FileSource(tmp_path / name)
    else:
        line = {"a.jsonl": '{{"sequence": "{}"}}\n', "a.fa": ">x\n{}\n"}.get(name, "{}{}y\n")
        delimiter = "\t" if name == "a.tsv" else ","
        content = "".join(line.format(sequence, delimiter) for sequence in sequences)
        source = save(tmp_path, name, content if "{}y" not in line else f"sequence{delimiter}x\n{content}")
    assert len(list(source.batches(["sequence"]))) > 3
    values = rows(source, ["sequence"])
    assert values["sequence"] == sequences
    first = 2 if name in ("a.tsv", "a.csv") else 1
    assert values["numbers"] == list(itertools.islice(itertools.count(first, 2 if name == "a.fa" else 1), 100))


def test_a_blank_line_is_an_empty_row_and_counts(tmp_path: Path) -> None:
    values = rows(save(tmp_path, "a.tsv", "sequence\texpression\nAC\t1\n\nGG\t2\n"), COLUMNS)
    assert values == {"sequence": ["AC", "", "GG"], "expression": ["1", "", "2"], "numbers": [2, 3, 4]}


@pytest.mark.parametrize("block", [text_files.BLOCK_BYTES, 24])
@pytest.mark.parametrize("compression", ["", ".gz"])
@pytest.mark.parametrize("end", ["\n", "\n\n\n", "\r\n\r\n", "\n" * 60, "\t\n\t\n", "\t"])
@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_empty_lines_at_the_end_are_no_rows(
    name: str, end: str, compression: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", block)
    content = "sequence\texpression\nAC\t1\n\nGG\t2\n" + end
    content = content.replace("\t", "," if name == "a.csv" else "\t")
    source = save(tmp_path, f"{name}{compression}", content)
    assert rows(source, COLUMNS) == {"sequence": ["AC", "", "GG"], "expression": ["1", "", "2"], "numbers": [2, 3, 4]}
    assert rows(source, ["sequence"])["sequence"] == ["AC", "", "GG"]


def test_empty_lines_at_the_end_of_other_files(tmp_path: Path) -> None:
    assert rows(save(tmp_path, "a.txt", "ACGT\nGG\n\n\n"), ["sequence"])["sequence"] == ["ACGT", "GG"]
    values = rows(save(tmp_path, "a.jsonl", '{"sequence": "AC"}\n{"sequence": "GG"}\n\n\r\n'), ["sequence"])
    assert values == {"sequence": ["AC", "GG"], "numbers": [1, 2]}
    assert list(save(tmp_path, "b.tsv", "sequence\tx\n\n\n").batches(["sequence"])) == []
    assert list(save(tmp_path, "b.jsonl", "\n\n").batches(["sequence"])) == []


def test_a_last_row_without_a_sequence_is_no_empty_line(tmp_path: Path) -> None:
    """Whichever columns are read."""
    source = save(tmp_path, "a.tsv", "sequence\tx\nAC\t1\n\t5\n\n")
    assert rows(source, ["sequence"]) == {"sequence": ["AC", ""], "numbers": [2, 3]}
    assert rows(source, ["sequence", "x"]) == {"sequence": ["AC", ""], "x": ["1", "5"], "numbers": [2, 3]}


def test_a_ragged_row_in_a_later_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 150)
    source = save(tmp_path, "a.tsv", "sequence\tx\n" + "ACGTACGT\t1\n" * 97 + "ACG\n" + "AC\t1\n" * 5)
    with fails("a.tsv, line 99: 1 column,", "'ACG'"):
        rows(source, ["sequence"])


def test_location(tmp_path: Path) -> None:
    assert FileSource(tmp_path / "a.csv.gz").location(7) == f"{tmp_path}/a.csv.gz, line 7"
    assert FileSource(tmp_path / "a.parquet").location(7) == f"{tmp_path}/a.parquet, row 7"


def test_json_with_values_of_several_kinds(tmp_path: Path) -> None:
    lines = [
        '{"sequence": "AC", "a": 1, "b": "x", "c": 1}',
        '{"sequence": "GG", "a": 2.5, "b": 3, "c": null}',
        '{"sequence": "TT", "a": null, "b": null, "d": 1}',
        f'{{"sequence": "TT", "a": 1, "b": 1, "c": {10**30}}}',
    ]
    values = rows(save(tmp_path, "a.jsonl", "\n".join(lines)), ["sequence", "a", "b", "c"])
    assert values["a"] == [1, 2.5, None, 1]
    assert values["b"] == ["x", "3", None, "1"]
    assert values["c"] == ["1", None, None, str(10**30)]


def test_long_lines(tmp_path: Path) -> None:
    """A sequence of a million bases is a row like any other; beyond the block, FASTA is the way out."""
    long = "ACGT" * 300_000
    for name, content in {
        "a.tsv": f"sequence\tx\n{long}\t1\nAC\t2\n",
        "a.txt": f"{long}\nAC\n",
        "a.jsonl": f'{{"sequence": "{long}"}}\n{{"sequence": "AC"}}\n',
        "a.fa": f">a\n{long}\n>b\nAC\n",
    }.items():
        assert rows(save(tmp_path, name, content), ["sequence"])["sequence"] == [long, "AC"], name
    source = save(tmp_path, "b.tsv", f"sequence\tx\n{long * 10}\t1\nAC\t2\n")
    with fails("b.tsv", "FASTA"):
        rows(source, ["sequence"])


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.tsv", "", ["empty"]),
        ("a.ods", "PK", ["format", ".tsv", ".gz .zst .bz2"]),
        ("a.xls", b"\xd0\xcf\x11\xe0", ["old Excel", "save it as .xlsx"]),
        ("a.tsv", b"PK\x03\x04\0", ["not a text file", "should end in .xlsx"]),
        ("sequences", "AC", ["format", ".tsv"]),
        ("a.gz", "AC", ["format", ".tsv"]),
        ("a.tsv", "sequence\texpression\nAC\t1\nGG\n", ["line 3: 1 column,", "2", "'GG'"]),
        ("a.tsv", "sequence\texpression\r\nAC\t1\r\nGG\t2\t3\r\n", ["line 3: 3 columns", "2", r"'GG\t2\t3'"]),
        ("a.csv", "sequence,expression\nAC,1\nGG,2,5\n", ["line 3: 3 columns", "2"]),
        ("a.tsv", "sequence,expression\nAC,1\n", ["'sequence'", "','", ".csv"]),
        ("a.csv", "sequence\texpression\nAC\t1\n", ["'sequence'", r"'\t'", ".tsv"]),
        ("a.tsv", "sequence;expression\nAC;1,5\n", ["'sequence'", "';'", "should end in .csv"]),
        ("a.tsv", "seq\texpression\nAC\t1\n", ["'sequence'", "'seq', 'expression'", "`sequence_column`"]),
        ("a.tsv", "\nAC\t1\n", ["'sequence'", "columns ''"]),
        ("a.csv", "\nAC,1\n", ["'sequence'", "columns ''"]),
        ("a.tsv", "sequence\tsequence\texpression\nA\tC\t1\n", ["'sequence' twice"]),
        ("a.tsv", b"sequence\texpression\nAC\xff\t1\n", ["line 2: not a text file", "UTF-8", "0xff"]),
        ("a.tsv", "sequence\texpression\nAC\t1\n".encode("utf-16-le"), ["line 1: not a text file (", "UTF-16"]),
        ("a.tsv", "sequence\texpression\nAC\t1\n".encode("utf-16")[:-1], ["not utf-16"]),
        ("a.tsv", bytes(range(256)), ["not a text file ("]),
        ("a.tsv", b"\0\0\0\0\n\0\0", ["not a text file (", "zero bytes"]),
        ("a.fa", b">a\nAC\xff\n", ["line 2: not a text file", "0xff"]),
        ("a.fa", "ACGT\n", ["line 1", "'ACGT'", ">name"]),
        ("a.fa", ">a\nAC\n>\nAC\n", ["line 3", "without a name"]),
        ("a.fa", ">a\nAC\n", ["'expression'", "table"]),
        ("a.jsonl", b'{"sequence": "\xff"}', ["line 1: not a text file", "0xff"]),
        ("a.jsonl", '{"sequence": "AC", "expression": 1}\n\n{"sequence": "AG", "expression": 2}\n', ["line 2: ''", '{"column": value, ...}']),
        ("a.jsonl", "[" * 100_000, ["line 1: '[[["]),
        ("a.json", '[{"sequence": "AC", "expression": 1}]', ["line 1", '{"column": value, ...}']),
        ("a.json", '{\n"sequence": "AC"\n}', ["line 1: '{'", '{"column": value, ...}']),
        ("a.jsonl", '{"seq": "AC", "expression": 1}', ["'sequence'", "'seq', 'expression'"]),
        ("a.parquet", "no parquet", ["cannot be read"]),
    ],
)  # fmt: skip
def test_unusable_files(name: str, content: bytes | str, parts: list[str], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    columns = COLUMNS if name != "a.fa" or "'expression'" in parts else ["sequence"]
    with fails(*parts) as caught:
        rows(FileSource(path), columns)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message) - len(str(tmp_path)) < 300


@pytest.mark.parametrize("name", ["a.tsv.gz", "a.fa.gz", "a.jsonl.gz", "a.parquet.gz", "a.tsv.zst", "a.tsv.bz2"])
@pytest.mark.parametrize("kept", [0.5, 0.95])
def test_truncated_files_are_never_read_as_whole(name: str, kept: float, tmp_path: Path) -> None:
    content = {"fa": ">a\nACGT\n", "jsonl": '{"sequence": "ACGT"}\n'}.get(name.split(".")[1], "ACGT\n")
    random = np.random.default_rng(0)
    noise = "".join("".join(random.choice(list("ACGT"), 50)) + content for _ in range(3000))
    data = COMPRESSORS[Path(name).suffix](noise.encode())
    (tmp_path / name).write_bytes(data[: int(len(data) * kept)])
    with fails(name):
        rows(FileSource(tmp_path / name), ["sequence"])


def test_a_plain_file_named_gz(tmp_path: Path) -> None:
    (tmp_path / "a.tsv.gz").write_bytes(CONTENTS["a.tsv"])
    with fails("a.tsv.gz", "cannot be read"):
        rows(FileSource(tmp_path / "a.tsv.gz"), COLUMNS)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with fails("absent.tsv: no such file"):
        rows(FileSource(tmp_path / "absent.tsv"), COLUMNS)
    with fails(f"{tmp_path} is a folder", "`dataset_name`"):
        rows(FileSource(tmp_path), COLUMNS)


def test_checksum_is_that_of_the_bytes(tmp_path: Path) -> None:
    # sha256 of "abc", FIPS 180-2, appendix B.1.
    (tmp_path / "a.tsv").write_text("abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert FileSource(tmp_path / "a.tsv").checksum == expected


def test_hub_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 3)
    dataset = datasets.Dataset.from_dict({"sequence": ["AC", "GG", None, "TT", "A"], "x": [1, 2, 3, 4, 5]})
    source = HubSource("me/data, train", dataset)
    assert rows(source, ["x", "sequence"]) == {
        "x": [1, 2, 3, 4, 5],
        "sequence": ["AC", "GG", None, "TT", "A"],
        "numbers": [1, 2, 3, 4, 5],
    }
    picked = HubSource("me/data, train", dataset.select([4, 0]))
    assert rows(picked, ["x"])["x"] == [5, 1]
    assert picked.checksum != source.checksum
    assert source.location(3) == "me/data, train, row 3"
    with fails("me/data, train", "'y'", "['sequence', 'x']"):
        rows(source, ["y"])


def test_table_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 3)
    columns = {"sequence": ["AC", "GG", None, "TT", "A"], "x": [1, 2, 3, 4, 5]}
    # In two chunks, as tables are after they were joined.
    table = pa.concat_tables([pa.table(columns).slice(0, 2), pa.table(columns).slice(2)])
    source = MemorySource(table)
    assert rows(source, ["x", "sequence"]) == columns | {"numbers": [1, 2, 3, 4, 5]}
    assert rows(source, ["x", "x"])["numbers"] == [1, 2, 3, 4, 5]
    assert rows(MemorySource(table.slice(1, 3)), ["x"]) == {"x": [2, 3, 4], "numbers": [1, 2, 3]}
    assert list(MemorySource(table.slice(0, 0)).batches(["x"])) == []
    with fails("the table", "'y'", "['sequence', 'x']"):
        rows(source, ["y"])


def test_location_in_memory() -> None:
    table = pa.table({"sequence": ["AC"]})
    for source, parts in (
        (MemorySource(table), ("row 3", "the table", "from 1")),
        (MemorySource(table, "the list", "sequence"), ("sequence 3", "the list", "from 1")),
    ):
        check_message(source.location(3), *parts)
        assert source.short_name == source.name
        assert "AC" not in repr(source)


def test_rows_in_memory_have_no_checksum() -> None:
    """They could change after they were cached."""
    with pytest.raises(NotImplementedError):
        _ = MemorySource(pa.table({"sequence": ["AC"]})).checksum


@pytest.mark.parametrize(
    ("name", "content", "present", "absent"),
    [
        ("a.tsv", "id\tsequence\n1\tAC\n", ("id", "sequence"), ("ID", "i", "expression")),
        ("headerless.txt", "ACGT\t1.5\n", ("sequence", "expression"), ("id", "ACGT")),
        ("a.fa", ">a\nAC\n", ("id", "sequence"), ("expression",)),
        ("a.jsonl", '{"id": 1, "sequence": "AC"}\n', ("id", "sequence"), ("expression",)),
        ("twice.tsv", "id\tid\tsequence\n1\t2\tAC\n", ("sequence", "id"), ("expression",)),
        ("empty.tsv", "", (), ("id", "sequence")),
        ("latin.tsv", b"id\tsequence\n\xff\tAC\n", (), ("id", "sequence")),
    ],
)
def test_whether_a_file_has_a_column(
    name: str, content: bytes | str, present: tuple[str, ...], absent: tuple[str, ...], tmp_path: Path
) -> None:
    source = save(tmp_path, name, content)
    assert [column for column in (*present, *absent) if has_column(source, column)] == list(present)
    assert not has_column(FileSource(tmp_path / "absent.tsv"), "id")


def test_whether_a_table_has_a_column() -> None:
    for source in (
        MemorySource(pa.table({"id": [1]})),
        MemorySource(pa.table({"id": pa.array([], pa.int64())})),  # no rows
        HubSource("me/data, train", datasets.Dataset.from_dict({"id": [1]})),
    ):
        assert has_column(source, "id")
        assert not has_column(source, "sequence")


@pytest.fixture
def local_dataset(tmp_path: Path) -> Path:
    """A folder that `datasets` reads, with three training rows and one test row."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text("sequence,x\nAC,1\nGG,2\nTT,3\n")
    (tmp_path / "data" / "test.csv").write_text("sequence,x\nCC,4\n")
    return tmp_path / "data"


def test_loading_one_split_or_all(local_dataset: Path) -> None:
    assert {name: split["x"][:] for name, split in load_hub_dataset(str(local_dataset)).items()} == {
        "train": [1, 2, 3],
        "test": [4],
    }
    assert load_hub_dataset(str(local_dataset), split="test")["sequence"][:] == ["CC"]


def test_datasets_that_cannot_be_loaded(local_dataset: Path, tmp_path: Path) -> None:
    """The message shows the value, and a split only where one is named."""
    file, absent = local_dataset / "train.csv", tmp_path / "absent"
    with fails(f"`dataset_name` '{file}' is a file", "`train_file`", "`input_file`"):
        load_hub_dataset(str(file))
    with fails(f"`dataset_name` '{absent}.parquet'", "no such dataset", "`train_file`", "`input_file`"):
        load_hub_dataset(f"{absent}.parquet")
    with fails(f"`dataset_name` '{absent}': cannot be loaded"):
        load_hub_dataset(str(absent))
    with fails(f"`dataset_name` '{local_dataset}', `dataset_split` dev: cannot be loaded", "dev"):
        load_hub_dataset(str(local_dataset), split="dev")
    with fails("`dataset_name` 'somebody/something', `dataset_split` test: cannot be loaded"):
        load_hub_dataset("somebody/something", None, "test")


@pytest.mark.parametrize("error", [RuntimeError("a\n b " + "x" * 400), KeyError(), ZeroDivisionError()])
def test_whatever_fails_in_datasets_is_one_short_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    reason = "a b xxx" if str(error) else type(error).__name__
    with fails("`dataset_name` 'me/data': cannot be loaded", reason) as caught:
        load_hub_dataset("me/data")
    assert len(str(caught.value)) < 400


def test_files_that_cannot_be_read_are_named_with_their_argument(tmp_path: Path) -> None:
    file, pipe = tmp_path / "a.json", tmp_path / "pipe"
    file.write_text("{}")
    with readable_file("keys_file", file):
        assert file.read_text() == "{}"
    os.mkfifo(pipe)
    for path in (Path("-"), Path("/dev/stdin"), pipe):
        with fails(f"`keys_file` {path}:", "pipe"), readable_file("keys_file", path):
            raise AssertionError("reading would wait for ever")
    for path, reason in ((tmp_path / "absent", "No such file"), (tmp_path, "Is a directory")):
        with fails(f"`keys_file` {path} ", reason), readable_file("keys_file", path):
            path.read_text()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array(["1", " 2.5 ", "-3e2", "+4", "\u00a05"]), [1, 2.5, -300, 4, 5]),
        (pa.array(["1", "\u00a0NA"]), [1, np.nan]),
        (pa.array(["", "NA", "NaN", "nan", " NA ", "null", None, "N/A"]), [np.nan] * 8),
        (pa.array(["1"], pa.large_string()), [1]),
        (pa.array([1, None, 3]), [1, np.nan, 3]),
        (pa.array([1.5, None, float("nan")]), [1.5, np.nan, np.nan]),
        (pa.array([2**60 + 1]), [2.0**60]),
        (pa.array([True, False]), [1, 0]),
        (pa.array([None, None]), [np.nan, np.nan]),
        (pa.array(["1.5", "x"]).dictionary_encode()[:1], [1.5]),
    ],
)
def test_numbers(values: pa.Array, expected: list[float]) -> None:
    numbers = to_numbers(values, FileSource(Path("a.tsv")), np.arange(2, 2 + len(values)), "expression")
    assert numbers.dtype == np.float64
    np.testing.assert_array_equal(numbers, expected)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (["1", "high"], ["line 6", "'high'"]),
        (["inf"], ["line 5", "is inf"]),
        (["1", "-Infinity"], ["line 6", "is -Infinity"]),
        (["1", "1e39"], ["line 6", "is 1e39", "float32"]),
        (["1e999"], ["line 5", "is 1e999"]),
        (["1", "1_100"], ["line 6", "'1_100'", "thousands"]),
        (["1", "\u0663.\u0665"], ["line 6", "'\u0663.\u0665'"]),
        (["1", "TRUE"], ["line 6", "'TRUE'", "write 1"]),
        (["'1.5'"], ["line 5", "\"'1.5'\"", "double quotes"]),
        ([1.0, float("inf")], ["line 6", "is inf"]),
        ([[1], [2]], ["line 5", "'[1]'"]),
    ],
)  # fmt: skip
def test_what_is_no_number(values: list[Any], parts: list[str]) -> None:
    with fails("a.tsv, ", "expression", *parts):
        to_numbers(pa.array(values), FileSource(Path("a.tsv")), np.arange(5, 5 + len(values)), "expression")


# --- tables as laboratories have them

LONG = ["ACGTTGCATTTACGGACTTA", "GGCATTACGGACTTAGCATT", "TTGACCATGACCATTAGCAA"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.tsv", '"sequence"\t"expression"\n"1"\t"{}"\t1\n"2"\t"{}"\t2\n"3"\t"{}"\t3\n'),
        ("r.csv", '"","sequence","expression"\n"1","{}",1\n"2","{}",2\n"3","{}",3\n'),
        ("r.txt", '"sequence" "expression"\n"p 1" "{}" 1\n"p 2" "{}" 2\n"p 3" "{}" 3\n'),
        ("no_quotes.tsv", "sequence\texpression\n1\t{}\t1\n2\t{}\t2\n3\t{}\t3\n"),
        ("no_quotes.txt", "expression sequence\nn1 1 {}\nn2 2 {}\nn3 3 {}\n"),
        ("commas.txt", "sequence,expression\n{},1\n{},2\n{},3\n"),
        ("semicolons.txt", "id;sequence;expression\na;{};1\nb;{};2\nc;{};3\n"),
        ("blanks.csv", " sequence , expression\n {} , 1\n{} ,2\n{}, 3\n"),
        ("blank_and_quote.csv", 'sequence, "expression"\n{},1\n{},2\n{},3\n'),
    ],
)
def test_tables_of_other_programs(name: str, content: str, tmp_path: Path) -> None:
    values = rows(save(tmp_path, name, content.format(*LONG)), COLUMNS)
    assert [value.strip() for value in values["sequence"]] == LONG
    assert [float(value) for value in values["expression"]] == [1, 2, 3]
    assert values["numbers"] == [2, 3, 4]


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.csv", "My library,,\nsequence,expression,note\n{},1,x\n", ["line 2", "'My library'", "delete"]),
        ("a.tsv", "# by me\n\nsequence\texpression\n{}\t1\n", ["line 3", "'# by me'", "delete"]),
        ("a.tsv", "p1\t{}\t4.2\n", ["first line is a row", "'p1'"]),
        ("a.tsv", '"sequence" "expression"\n"1" "{}" 1\n', ["' '", "tabs"]),
        ("a.tsv", '"sequence";"expression"\n"{}";1,5\n', ["';'", "should end in .csv"]),
        ("a.txt", "{} 1.5\n", ["' '", "tabs"]),
        ("a.txt", "{}\n", ["'expression'", "no header", "{}"]),
        ("a.txt", "ACGT CGTA GTAC\nACGT CGTT GTTC\n", ["k-mers", "ACGTAC"]),
        ("a.csv", 'sequence,"expression, mean"\n{},1\n', ["'expression, mean'", "`label_column` '\"expression, mean\"'"]),
        ("a.txt", ">p1 first\n{}\n", ["FASTA", "'expression'"]),
    ],
)  # fmt: skip
def test_the_true_reason_is_told(name: str, content: str, parts: list[str], tmp_path: Path) -> None:
    with fails(f"{name}: ", *(part.format(LONG[0]) for part in parts)):
        rows(save(tmp_path, name, content.format(LONG[0])), COLUMNS)


def test_columns_whose_names_have_commas(tmp_path: Path) -> None:
    source = save(tmp_path, "a.csv", f'sequence,"log2 (a/b), mean"\n{LONG[0]},1\n')
    assert rows(source, ["log2 (a/b), mean"])["log2 (a/b), mean"] == ["1"]
    assert source.columns == ["sequence", "log2 (a/b), mean"]


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv"])
def test_fasta_under_another_name(name: str, tmp_path: Path) -> None:
    source = save(tmp_path, name, ">a one\nACGT\nAC\n>b two\nGG\n")
    assert rows(source, ["sequence", "id"]) == {"sequence": ["ACGTAC", "GG"], "id": ["a", "b"], "numbers": [1, 4]}
    assert source.columns == ["sequence", "id"]
    assert rows(
        save(tmp_path, name, ">id|sequence\nx|AC\n".replace("|", "," if name == "a.csv" else "\t")), ["sequence"]
    )["sequence"] == ["AC"]


def test_names_of_fasta_are_whole_headers_if_their_first_words_repeat(tmp_path: Path) -> None:
    source = save(tmp_path, "a.fa", "> promoter 1\tE. coli \nAC\n>promoter 2\nGG\n>other\nTT\n")
    assert rows(source, ["id"])["id"] == ["promoter 1\tE. coli", "promoter 2", "other"]
    assert rows(save(tmp_path, "b.fa", ">a 1\nAC\n>b 1\nGG\n"), ["id"])["id"] == ["a", "b"]


def test_a_first_row_with_a_wrong_value_is_a_row(tmp_path: Path) -> None:
    values = rows(save(tmp_path, "a.txt", f"{LONG[0]}\thigh\n{LONG[1]}\t1\n"), COLUMNS)
    assert values == {"sequence": LONG[:2], "expression": ["high", "1"], "numbers": [1, 2]}


def test_whether_there_is_a_header_can_be_said(tmp_path: Path) -> None:
    path = save(tmp_path, "a.tsv", "ACGT\t1\nGG\t2\n").path
    assert rows(FileSource(path, has_header=True), ["ACGT", "1"]) == {"ACGT": ["GG"], "1": ["2"], "numbers": [2]}
    path = save(tmp_path, "a.tsv", "sequence\tx\nGG\t2\n").path
    assert rows(FileSource(path, has_header=False), ["sequence", "value"])["value"] == ["x", "2"]
    path = save(tmp_path, "a.tsv", "AC\t1\t2\n").path
    with fails("a.tsv", "3 columns", "two"):
        rows(FileSource(path, has_header=False), ["sequence"])


@pytest.mark.parametrize("n_before", [1, 5])
def test_keys_that_begin_in_a_later_line_of_json(
    n_before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    lines = '{"sequence": "AC"}\n' * n_before + '{"sequence": "GG", "id": "x", "\\u006eote": 1}\n'
    source = save(tmp_path, "a.jsonl", lines)
    assert rows(source, ["sequence", "id"])["id"] == [None] * n_before + ["x"]
    assert rows(source, ["note"])["note"] == [None] * n_before + [1]
    assert has_column(source, "id")
    assert not has_column(source, "x")


def test_half_of_a_character_in_json(tmp_path: Path) -> None:
    """A text that cannot be written is an error of its line, whether or not its column is read."""
    line = '{{"sequence": "ACGT", "id": "{}"}}\n'
    with fails("a.jsonl, line 2: ", "\\ud800"):
        rows(save(tmp_path, "a.jsonl", line.format("x") + line.format("\\ud800")), ["sequence"])
    assert rows(save(tmp_path, "b.jsonl", line.format("\\ud83e\\uddec")), ["id"])["id"] == ["\U0001f9ec"]


def test_truth_values_among_numbers_in_json(tmp_path: Path) -> None:
    source = save(tmp_path, "a.jsonl", '{"expression": 1.5}\n{"expression": true}\n')
    (batch,) = source.batches(["expression"])
    with fails("a.jsonl, line 2: ", "expression", "'True'"):
        to_numbers(batch.columns["expression"], source, batch.numbers, "expression")


@pytest.mark.parametrize("name", ["dna", "strand", "Vkb"])
def test_a_name_that_could_be_dna(name: str, tmp_path: Path) -> None:
    """It names the column: read as a sequence, it would be a row that nobody has."""
    content = f"{name}\n{LONG[0]}\n{LONG[1]}\n"
    assert rows(FileSource(save(tmp_path, "a.txt", content).path, name), [name])[name] == LONG[:2]
    with fails("a.txt", "'sequence'", f"'{name}'", "row"):
        rows(save(tmp_path, "a.txt", content), ["sequence"])


def test_keys_that_repeat_in_a_line_of_json(tmp_path: Path) -> None:
    with fails("a.jsonl, line 2: ", "'sequence'", "twice"):
        rows(save(tmp_path, "a.jsonl", '{"sequence": "A"}\n{"sequence": "A", "sequence": "C"}\n'), ["sequence"])


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_columns_are_text_whatever_their_type(kind: pa.DataType) -> None:
    values = pa.array(["1", "NA", None]).cast(kind)
    assert as_text(values).equals(pa.array(["1", "NA", None]))
    np.testing.assert_array_equal(to_numbers(values, FileSource(Path("a.tsv")), np.arange(3), "x"), [1, np.nan, np.nan])
    assert as_text(pa.array([7, None])).to_pylist() == ["7", None]
    assert as_text(pa.array([[1], None])).to_pylist() == ["[1]", None]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1,100", ["thousands", "1100", "decimal comma", "1.100"]),
        ("-12,345", ["-12345", "-12.345"]),
        ("0,123", ["a point: 0.123)"]),
        ("1,25e-3", ["1.25e-3"]),
        ("1,234,567", ["thousands"]),
        ("1.234,5", ["thousands", "point"]),
        ("1 100", ["thousands"]),
        ("1'100.5", ["thousands"]),
        (' "1"', ["quote"]),
        ("\u22125", ["minus"]),
    ],
)
def test_what_texts_may_mean_that_are_no_numbers(text: str, parts: list[str], tmp_path: Path) -> None:
    """Commas separate the cells, so that they are no decimal commas."""
    cell = text.replace('"', '""')
    source = save(tmp_path, "a.csv", f'sequence,x\nAC,1\nAC,"{cell}"\n')
    (batch,) = source.batches(["x"])
    with fails("a.csv, line 3: ", repr(text.strip()), *parts):
        to_numbers(batch.columns["x"], source, batch.numbers, "x")


def numbers(source: Source, column: str = "expression") -> list[float]:
    """A column of numbers."""
    return [
        float(value)
        for batch in source.batches([column])
        for value in to_numbers(batch.columns[column], source, batch.numbers, column)
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.csv.gz"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("header", ["sequence;expression\n", '"sequence";"expression"\n', ""])
def test_semicolons_and_decimal_commas(
    name: str, mark: str, header: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a spreadsheet of a German or French computer saves a table."""
    content = f"{mark}{header}{LONG[0]};1,25\n{LONG[1]};-2\n{LONG[2]};0,5\n"
    source = save(tmp_path, name, content.encode())
    with caplog.at_level(logging.INFO, "kmerbert"):
        assert rows(source, ["sequence"])["sequence"] == LONG
        assert numbers(source) == numbers(source) == [1.25, -2, 0.5]
    assert [line for line in caplog.messages if "decimal" in line] == [f"{source.path}: {source.remarks[0]}"]
    check_message(source.remarks[0], "expression", "1,25 is 1.25")


def test_semicolons_in_a_table_with_other_names(tmp_path: Path) -> None:
    content = f"Name, short;Oligo;log2FC\na, b;{LONG[0]};1,5\nc, d;{LONG[1]};2\n"
    source = save(tmp_path, "a.csv", content)
    assert source.columns == ["Name, short", "Oligo", "log2FC"]
    assert rows(source, ["Oligo"])["Oligo"] == LONG[:2]
    source = save(tmp_path, "b.csv", f"Name;short,Oligo,log2FC\na;b,{LONG[0]},1.5\n")
    assert source.columns == ["Name;short", "Oligo", "log2FC"]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1,234", "0,5", "12,345"], [1.234, 0.5, 12.345]),  # 0,5 can be nothing else
        (["1,234", "12,34", "NA"], [1.234, 12.34, np.nan]),
        ([",5", "1,", "-3,25e-2"], None),
        (["1,5e-3", "+7", ""], [1.5e-3, 7, np.nan]),
        (["1,5", "high"], None),
    ],
)
def test_what_a_comma_means_is_told_by_its_column(
    cells: list[str], expected: list[float] | None, tmp_path: Path
) -> None:
    source = save(tmp_path, "a.tsv", "sequence\tx\n" + "".join(f"AC\t{cell}\n" for cell in cells))
    if expected:
        np.testing.assert_array_equal(numbers(source, "x"), expected)
    else:
        with fails("a.tsv, line 3: x is "):
            numbers(source, "x")


@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        (["7", "1,234"], ["line 3", "'1,234'", "write 1234", "1.234 if"]),
        (["1,5", "2.5"], ["line 2", "'1,5'", "1.5", "line 3 has '2.5'"]),
        (["1,234", "0,5", "1,234,567"], ["line 2", "1.234", "line 4 has '1,234,567'"]),
        (["1,5", "1.234,5"], ["line 2", "line 3 has '1.234,5'"]),
        (["1.234,5"], ["line 2", "thousands"]),
        (["12,5 nM"], ["line 2", "unit 'nM'", "write 12,5"]),
        (["5 %", "6 %"], ["line 2", "unit '%'", "write 5"]),
        (["5\u00b5M"], ["unit '\u00b5M'"]),
    ],
)
def test_ambiguous_numbers_are_an_error(cells: list[str], parts: list[str], tmp_path: Path) -> None:
    source = save(tmp_path, "a.tsv", "sequence\tx\n" + "".join(f"AC\t{cell}\n" for cell in cells))
    with fails("a.tsv, ", *parts):
        numbers(source, "x")


def test_a_point_in_a_later_block_speaks_against_decimal_commas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 64)
    source = save(tmp_path, "a.tsv", "sequence\tx\n" + "ACGT\t1,5\n" * 50 + "ACGT\t1.5\n")
    with fails("a.tsv, line 2", "line 52 has '1.5'"):
        numbers(source, "x")


# --- a source that is read a second time


def test_a_file_that_was_changed_is_not_read_again(table: Callable[..., Path]) -> None:
    path = table("a.tsv", sequence=["ACGT", "CCCC"])
    source = FileSource(path)
    assert source.checksum
    assert [len(batch.numbers) for batch in read_again(source, ["sequence"])] == [2]
    table("a.tsv", sequence=["CCCC", "ACGT"])  # as long as before
    with fails(path, "changed"):
        list(read_again(source, ["sequence"]))
    table("a.tsv", dna=["ACGT", "CCCC"])  # the column is gone, but that is not the reason
    with fails(path, "changed"):
        list(read_again(source, ["sequence"]))
    path.unlink()
    with fails(path, "no longer"):
        list(read_again(source, ["sequence"]))
    list(read_again(FileSource(table("a.tsv", sequence=["GGGG"])), ["sequence"]))  # another source, another checksum


def test_a_file_that_changes_while_it_is_read_again(
    table: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 64)
    path = table("a.tsv", sequence=["ACGTACGT"] * 40)
    source = FileSource(path)
    assert source.checksum
    batches = read_again(source, ["sequence"])
    next(batches)
    table("a.tsv", sequence=["ACGTACGT"] * 39 + ["CCCCCCCC"])
    with fails(path, "changed"):
        list(batches)


def test_a_file_that_is_replaced_between_its_header_and_its_rows(
    table: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The columns of the one would be read as those of the other."""
    path = table("a.tsv", first=[1, 2], second=[3, 4])
    open_text = FileSource._open_text

    def open_and_replace(source: FileSource) -> Any:
        text = open_text(source)
        table("b.tsv", second=[3, 4], first=[1, 2]).replace(path)
        return text

    monkeypatch.setattr(FileSource, "_open_text", open_and_replace)
    with fails(path, "changed"):
        list(FileSource(path).batches(["first"]))


def test_a_file_that_is_cut_while_it_is_read(table: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong is not the row that was cut in two."""
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 64)
    path = table("a.tsv", sequence=["ACGTACGT"] * 40, value=range(40))
    batches = FileSource(path).batches(["value"])
    next(batches)
    os.truncate(path, 198)
    with fails(path, "changed"):
        list(batches)


@pytest.mark.parametrize("ending", ["tsv", "parquet"])
def test_a_file_that_is_written_to_while_it_is_read(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 64)
    monkeypatch.setattr(module, "BATCH_ROWS", 5)
    path, frame = tmp_path / f"a.{ending}", pd.DataFrame({"sequence": ["ACGTACGT"] * 40})
    frame.to_parquet(path) if ending == "parquet" else frame.to_csv(path, index=False)
    batches = FileSource(path).batches(["sequence"])
    next(batches)
    with path.open("ab") as file:
        file.write(b"GGGG\n")
    with fails(path, "changed while it was read"):
        list(batches)


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed
