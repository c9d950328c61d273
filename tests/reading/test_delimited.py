"""Delimited text: rows in equal rows out with their lines, or an error that names the line; Python's csv is the reference."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from kmerbert.reading import delimited, text
from kmerbert.reading.delimited import DelimitedFile
from tests.support.messages import fails

DNA = ("ACGTACGTTGCATTTACG", "GGCATTACGGACTTAGCA", "TTGACCATGACCATTAGC", "CATGCCATTGGACCATAA")
NAMES = ["sequence", "value", "note"]


def save(folder: Path, content: str | bytes, name: str = "a.csv") -> DelimitedFile:
    """Writes a table with a header."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return DelimitedFile(path, "\t" if name.endswith(".tsv") else ",")


def read(table: DelimitedFile, names: list[str] = NAMES) -> tuple[list[list[str]], list[int]]:
    """All rows as lists of cells, and their numbers."""
    cells: list[list[str]] = []
    numbers: list[int] = []
    for batch in table.batches(names, names, has_header=True):
        cells += map(list, zip(*(batch.columns[name].to_pylist() for name in names), strict=True))
        numbers += batch.numbers.tolist()
    return cells, numbers


def reference(content: str, delimiter: str) -> tuple[list[list[str]], list[int]]:
    """The rows below the header as Python reads them, and the lines that they begin in."""
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter)
    rows, line = [], 1
    for row in reader:
        rows.append((row, line))
        line = reader.line_num + 1
    return [row for row, _ in rows[1:]], [line for _, line in rows[1:]]


@pytest.mark.parametrize("block", [7, 300, text.BLOCK_BYTES])
@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t")])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_cells_in_any_blocks(
    name: str, delimiter: str, end: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", block)
    random = np.random.default_rng(block)
    notes = ["", "x", '"', '""', 'a "b" c', '5" long', "a\nb", "a,\tb\n\nc", '"\n"', "µ ü\n", " y "]
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["sequence", "value", "note\nof\nall"])
    for row in range(60):
        writer.writerow([DNA[row % 4], row, random.choice(notes)])
    content = file.getvalue()
    table = save(tmp_path, content.replace("\n", end), name)
    assert table.head.cells == ["sequence", "value", "note\nof\nall"]
    assert table.head.second[:2] == [DNA[0], "0"]
    assert read(table) == reference(content, delimiter)


def test_quotes_that_are_letters(tmp_path: Path) -> None:
    content = f'sequence,value,note\n{DNA[0]},1,5" and 3"\n{DNA[1]},2, "x\n{DNA[2]},3,it\'s\n'
    rows, numbers = read(save(tmp_path, content))
    assert [row[2] for row in rows] == ['5" and 3"', ' "x', "it's"]
    assert numbers == [2, 3, 4]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("n_before", [0, 300])
@pytest.mark.parametrize("n_after", [0, 1, 300])
@pytest.mark.parametrize("block", [200, text.BLOCK_BYTES])
def test_a_quote_that_is_not_closed(
    name: str, n_before: int, n_after: int, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever in the file it stands; beyond the longest row, reading does not go on to the end."""
    monkeypatch.setattr(text, "BLOCK_BYTES", block)
    monkeypatch.setattr(delimited, "LONGEST_ROW", 5000)
    row = f"{DNA[0]},1,x\n"
    content = f'sequence,value,note\n{row * n_before}{DNA[1]},2,"odd\n{row * n_after}'
    table = save(tmp_path, content.replace(",", "\t" if name == "a.tsv" else ","), name)
    with fails(f"{name}, line {n_before + 2}: ", "quote", "odd"):
        read(table)


ROWS = [f"{dna},{number},fine" for number, dna in enumerate(DNA)]


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        # Two cells begin with a quote that was never meant to enclose anything.
        ([ROWS[0], f'{DNA[1]},1,"odd', ROWS[2], f'{DNA[3]},3,"odd'], ("line 3: ", "line 5 ", "'odd'")),
        # The second stands at the end of its cell, so that the two are a valid cell of three lines.
        ([ROWS[0], f'{DNA[1]},1,"odd', ROWS[2], f'{DNA[3]},3,12"'], ("line 3: ", "line 5,", "rows")),
        ([ROWS[0], f'{DNA[1]},1,"odd', f'{DNA[3]},3,12"'], ("line 3: ", "line 4,", "rows")),
        ([f'{DNA[0]},1,"a" b'], ("line 2: ", "' b'")),
        ([f'{DNA[0]},1,"a\\"b"'], ("line 2: ", "'b\"'")),
        ([f'"{DNA[0]}",1,"a', f'"{DNA[1]}",2,"b"'], ("line 2: ", "line 3 ")),
        ([f'"{DNA[0]},1,a', f'{DNA[1]}",2,b', "c"], ("line 4: 1 column,", "3")),
    ],
)
def test_quotes_that_would_swallow_rows(lines: list[str], parts: tuple[str, ...], tmp_path: Path) -> None:
    with fails("a.csv, ", *parts):
        read(save(tmp_path, "\n".join(["sequence,value,note", *lines, ""])))


def test_rows_of_short_sequences_that_a_quote_would_swallow(tmp_path: Path) -> None:
    """Neither their sequences nor one number alone tell a row from a note of several lines."""
    sequences = ["ACGTTGCA", "GGCATTAC", "TTGACCAT"]
    content = f'sequence,value,note\n{sequences[0]},1,"odd\n{sequences[1]},2,x\n{sequences[2]},3,12"\n'
    with fails("line 2: ", "line 4,", "rows"):
        read(save(tmp_path, content))
    note = '"see b, then\nc, and d"'
    assert read(save(tmp_path, f"sequence,value,note\n{sequences[0]},1,{note}\n"))[1] == [2]


def test_a_row_that_a_quote_has_joined_with_others(tmp_path: Path) -> None:
    with fails("a.csv, line 2: ", "quote", "1 column,", "3", '"ACGT'):
        read(save(tmp_path, 'sequence,value,note\n"ACGT,1,x\nGGCA,2,y"\nTTGA,3,z\n'))


def test_rows_swallowed_by_a_cell_that_is_not_the_last(tmp_path: Path) -> None:
    names = ["sequence", "note", "value"]
    content = f'sequence,note,value\n{DNA[0]},"odd,1\n{DNA[1]},x,2\n{DNA[2]},12",3\n'
    with fails("line 2: ", "line 4,", "rows"):
        read(save(tmp_path, content), names)
    names = ["note", "sequence", "value"]
    content = f'note,sequence,value\n"odd,{DNA[0]},1\nx,{DNA[1]},2\n12",{DNA[2]},3\n'
    with fails("line 2: ", "line 4,", "rows"):
        read(save(tmp_path, content), names)


def test_notes_with_delimiters_are_no_rows(tmp_path: Path) -> None:
    content = f'sequence,value,note\n{DNA[0]},1,"first, 5\nsecond, 6, 7\n{DNA[1]}"\n{DNA[2]},2,"1, 2\n3, 4"\n'
    assert read(save(tmp_path, content)) == reference(content, ",")


@pytest.mark.parametrize("n_before", [0, 300])
def test_ragged_rows_below_cells_of_several_lines(
    n_before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", 1000)
    content = "sequence,value,note\n" + f'{DNA[0]},1,"a\nb"\n' * n_before + f"{DNA[1]},2\n"
    with fails(f"a.csv, line {2 * n_before + 2}: 2 columns,", " 3 ", DNA[1]):
        read(save(tmp_path, content))


def test_what_explains_ragged_rows(tmp_path: Path) -> None:
    for first, second, part in (
        ("sequence,value", f"{DNA[0]},1,,", "may end with ','"),
        ("sequence,value", f"1,{DNA[0]},1", "row.names = FALSE"),
        ("My promoters", "sequence,value", "title"),
    ):
        with fails("a.csv, line 2: ", part):
            read(save(tmp_path, f"{first}\n{second}\n"), first.split(","))


def test_a_cell_and_a_line_may_have_a_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "LONGEST_ROW", 1000)
    long = "x\n" * 400
    assert read(save(tmp_path, f'sequence,value,note\n{DNA[0]},1,"{long}"\n'))[0][0][2] == long
    with fails("a.csv, line 2: ", "quote"):
        read(save(tmp_path, f'sequence,value,note\n{DNA[0]},1,"{long * 2}"\n'))
    with fails("a.csv, line 3: ", "FASTA"):
        read(save(tmp_path, f"sequence,value,note\n{DNA[0]},1,x\n{DNA[1] * 80},1,x\n"))


@pytest.mark.parametrize("end", ["", "\n", "\n\n \n", ",,\n", " , ,\n\n", "\r\n,,\r\n" * 50])
@pytest.mark.parametrize("block", [16, text.BLOCK_BYTES])
def test_lines_of_nothing_at_the_end(end: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", block)
    rows = [[DNA[0], "1", "x"], ["", "", ""], [DNA[1], "2", ""]]
    content = "\n".join(map(",".join, [NAMES, *rows])) + ("\n" if end[:1] in ", " and end else "")
    assert read(save(tmp_path, content + end)) == (rows, [2, 3, 4])
    assert read(save(tmp_path, ",".join(NAMES) + "\n" + end)) == ([], [])


def test_a_file_without_rows(tmp_path: Path) -> None:
    for content in ("\n", " \n,,\n", b"\xef\xbb\xbf"):
        with fails("a.csv", "empty"):
            _ = save(tmp_path, content).head


@pytest.mark.parametrize("n_before", [0, 1, 30, 97, 500])
@pytest.mark.parametrize(("n_letters", "is_long"), [(100, False), (101, True), (350, True)])
def test_a_long_line_is_seen_wherever_it_stands(
    n_letters: int, is_long: bool, n_before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "LONGEST_ROW", 100)
    content = b"ab\n" * n_before + b"x" * n_letters + b"\n" + b"ab\n" * 80
    assert delimited._long_line(content) == (n_before if is_long else None)
