"""Excel: a sheet gives the same rows as a table of text, with the numbers of Excel's rows, and nothing is guessed silently."""

import gzip
import logging
from collections.abc import Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from openpyxl import Workbook

from kmerbert.predicting.table import read_headed, read_numbers
from kmerbert.reading.sources import Batch, FileSource, to_numbers
from kmerbert.splitting.clusters import read_clusters
from tests.support.messages import fails

DNA = ["ACGTTGCATTTACGGACTTA", "GGCATTACGGACTTAGCATT", "TTGACCATGACCATTAGCAA"]
TABLE = [["sequence", "expression"], [DNA[0], 1.5], [DNA[1], -2], [DNA[2], 3e-7]]
NAMESPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def save(path: Path, **sheets: Sequence[Sequence[Any]]) -> FileSource:
    """Writes sheets of rows."""
    workbook = Workbook()
    workbook.remove(workbook.active)
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    workbook.save(path)
    return FileSource(path)


def save_xml(path: Path, rows: str, after: str = "") -> FileSource:
    """Writes a workbook as Excel does, with one sheet of the given XML (ECMA-376-1, 18.3.1)."""
    relation = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
    relations = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    base = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/first.xml" ContentType="{kind}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships {relations}><Relationship Id="a" Type="{base}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {NAMESPACE} {relation}><sheets><sheet name="Data" sheetId="1" r:id="b"/></sheets>'
        "</workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships {relations}><Relationship Id="b" Type="{base}/worksheet" '
        'Target="worksheets/first.xml"/></Relationships>',
        # A size that is wrong, as some programs write it.
        "xl/worksheets/first.xml": f'<worksheet {NAMESPACE}><dimension ref="A1:A2"/><sheetData>{rows}</sheetData>{after}'
        "</worksheet>",
    }
    with ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return FileSource(path)


def text_cell(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


def rows(source: FileSource, columns: Sequence[str] = ("sequence", "expression")) -> dict[str, list[Any]]:
    """All rows, and their numbers."""
    batches = list(source.batches(columns))
    assert all(isinstance(batch, Batch) for batch in batches)
    values = {name: [text for batch in batches for text in batch.columns[name].to_pylist()] for name in columns}
    return values | {"numbers": [int(number) for batch in batches for number in batch.numbers]}


def test_a_sheet_is_a_table_like_others(tmp_path: Path) -> None:
    source = save(tmp_path / "a.xlsx", Data=TABLE)
    expected = {"sequence": DNA, "expression": ["1.5", "-2", "3e-07"], "numbers": [2, 3, 4]}
    assert rows(source) == expected
    assert source.columns == ["sequence", "expression"]
    assert source.location(3) == f"{tmp_path}/a.xlsx, row 3"
    (tmp_path / "a.xlsx.gz").write_bytes(gzip.compress((tmp_path / "a.xlsx").read_bytes()))
    assert rows(FileSource(tmp_path / "a.xlsx.gz")) == expected
    without = save(tmp_path / "headerless.xlsx", Data=TABLE[1:])
    assert rows(FileSource(without.path, headerless_label="expression")) == expected | {"numbers": [1, 2, 3]}


def test_many_rows_are_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmerbert.reading.excel.BATCH_ROWS", 4)
    source = save(tmp_path / "a.xlsx", Data=[["sequence", "x"], *(["A" * (i + 1), i] for i in range(10))])
    values = rows(source, ["x"])
    assert values == {"x": [str(i) for i in range(10)], "numbers": list(range(2, 12))}


def test_empty_rows_and_columns_around_a_table_are_none_of_it(tmp_path: Path) -> None:
    table = [[None, *row] for row in TABLE]
    source = save(tmp_path / "a.xlsx", Data=[[], [], *table[:2], [], *table[2:], [], [None, " "], []])
    assert rows(source)["numbers"] == [4, 5, 6, 7]
    assert rows(source)["sequence"] == [DNA[0], "", DNA[1], DNA[2]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (12345678901234, "12345678901234"),
        (True, "TRUE"),
        (" x ", " x "),
        (date(2024, 3, 1), "2024-03-01"),
        (datetime(2024, 3, 1, 12, 30), "2024-03-01T12:30:00"),
        (time(1, 2, 3), "01:02:03"),
        ("#N/A", "#N/A"),
        (None, ""),
    ],
)
def test_cells_as_text(value: object, text: str, tmp_path: Path) -> None:
    source = save(tmp_path / "a.xlsx", Data=[["sequence", "x"], [DNA[0], value], [DNA[1], 1]])
    assert rows(source, ["x"])["x"] == [text, "1"]


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (date(2024, 5, 1), ["'2024-05-01'", "date"]),
        (time(1, 2, 3), ["'01:02:03'", "time"]),
        ("#DIV/0!", ["'#DIV/0!'", "formula"]),
        (True, ["'TRUE'", "write 1"]),
        ("12.3 nM", ["'12.3 nM'", "unit 'nM'", "write 12.3", "`label_unit`"]),
        ("5 %", ["'5 %'", "unit '%'", "write 5"]),
        ("5%", ["unit '%'"]),
        ("1,234", ["1234", "1.234"]),
    ],
)
def test_what_is_no_number(value: object, parts: list[str], tmp_path: Path) -> None:
    source = save(tmp_path / "a.xlsx", Data=[["sequence", "x"], [DNA[0], 1], [DNA[1], value]])
    (batch,) = source.batches(["x"])
    with fails("a.xlsx, row 3: x is ", *parts):
        to_numbers(batch.columns["x"], source, batch.numbers, "x")


def test_numbers_that_are_text_may_have_decimal_commas(tmp_path: Path) -> None:
    source = save(tmp_path / "a.xlsx", Data=[["sequence", "x"], [DNA[0], "1,5"], [DNA[1], 2], [DNA[2], "NA"]])
    (batch,) = source.batches(["x"])
    assert to_numbers(batch.columns["x"], source, batch.numbers, "x").tolist()[:2] == [1.5, 2.0]


def test_which_sheet(tmp_path: Path) -> None:
    other = [["sequence", "expression"], ["AAAACCCC", 9]]
    source = save(tmp_path / "a.xlsx", Notes=[], Data=TABLE)
    assert rows(source)["numbers"] == [2, 3, 4]
    source = save(tmp_path / "b.xlsx", Data=TABLE, Other=other)
    with fails("b.xlsx: ", "'Data', 'Other'", "`sheet`"):
        rows(source)
    named = {name: FileSource(source.path, sheet=name) for name in ("Data", "Other")}
    assert rows(named["Other"]) == {"sequence": ["AAAACCCC"], "expression": ["9"], "numbers": [2]}
    assert rows(named["Data"])["sequence"] == DNA
    assert named["Data"].checksum != named["Other"].checksum
    named["Data"].check_unchanged()
    with fails("b.xlsx: no sheet 'data'", "'Data', 'Other'"):
        rows(FileSource(source.path, sheet="data"))


def test_the_only_sheet_with_dna(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notes = [["Plate read by", "date"], ["me", date(2024, 3, 1)], ["", "GATTACA"], ["you", "today"]]
    caplog.set_level(logging.INFO)
    screen = {"Screen 1": [["A title"], [], *TABLE]}
    source = save(tmp_path / "a.xlsx", Notes=notes, **screen)
    with fails("no column 'sequence'", "row 3 has the names"):
        rows(source)
    source = save(tmp_path / "b.xlsx", Notes=notes, **{"Screen 1": TABLE}, Primers=[["name"], ["primer 1"]])
    assert rows(source)["sequence"] == DNA
    assert caplog.messages[-1] == f"{source.path}: sheet 'Screen 1': the only one with DNA (`sheet` names another)"
    with fails("'Notes', 'Log'", "`sheet`"):
        rows(save(tmp_path / "c.xlsx", Notes=notes, Log=notes))


def test_a_hidden_sheet_must_be_named(tmp_path: Path) -> None:
    workbook = Workbook()
    for row in TABLE:
        workbook.active.append(row)
    hidden = workbook.create_sheet("old")
    hidden.append(["sequence"])
    hidden.sheet_state = "hidden"
    workbook.save(tmp_path / "a.xlsx")
    assert rows(FileSource(tmp_path / "a.xlsx"))["sequence"] == DNA


def test_a_title_above_the_names(tmp_path: Path) -> None:
    source = save(tmp_path / "a.xlsx", Data=[["My library"], [], *TABLE])
    with fails("a.xlsx: no column 'sequence'", "row 3 has the names", "delete"):
        rows(source)
    source = save(tmp_path / "b.xlsx", Data=[["My library"], [], ["Oligo", "log2FC"], *TABLE[1:]])
    with fails("b.xlsx: no column 'sequence'", "title", "row 3", "delete"):
        rows(source)


def test_names_that_are_there_twice(tmp_path: Path) -> None:
    source = save(tmp_path / "a.xlsx", Data=[["sequence", "x", "x"], [DNA[0], 1, 2]])
    assert rows(source, ["sequence"])["sequence"] == DNA[:1]
    with fails("a.xlsx", "'x' twice"):
        rows(source, ["x"])


def test_merged_cells_are_an_error_where_they_are_read(tmp_path: Path) -> None:
    workbook = Workbook()
    for row in [["sequence", "x", "locus"], [DNA[0], 1, "a"], [DNA[1], 2, None], [DNA[2], 3, "b"]]:
        workbook.active.append(row)
    workbook.active.merge_cells("C2:C3")
    workbook.active.merge_cells("A9:B9")
    workbook.save(tmp_path / "a.xlsx")
    source = FileSource(tmp_path / "a.xlsx")
    assert rows(source, ["sequence", "x"])["x"] == ["1", "2", "3"]
    with fails("a.xlsx, row 2: locus", "merged", "C2:C3"):
        rows(source, ["sequence", "locus"])


def test_formulas(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Their saved values are read; a value that no program has saved is an error where it is read."""
    content = f"""
        <row r="1">{text_cell("A1", "sequence")}{text_cell("B1", "x")}{text_cell("C1", "y")}{text_cell("D1", "z")}</row>
        <row r="3">{text_cell("A3", DNA[0])}<c r="B3"><f>1+1</f><v>2</v></c><c r="C3" t="str"><f>""</f><v></v></c></row>
        <row hidden="1" r="4">{text_cell("A4", DNA[1])}<c r="B4"><v>3</v></c><c r="D4"><f>B4*2</f></c></row>"""
    source = save_xml(tmp_path / "a.xlsx", content)
    with caplog.at_level(logging.WARNING):
        assert rows(source, ["sequence", "x", "y"]) == {
            "sequence": ["", *DNA[:2]], "x": ["", "2", "3"], "y": ["", "", ""], "numbers": [2, 3, 4],
        }  # fmt: skip
        rows(source, ["x"])
    (warning,) = caplog.messages
    assert "1 row is hidden" in warning and "row 4" in warning
    with fails("a.xlsx, row 4: z ", "'=B4*2'", "save"):
        rows(source, ["z"])


def test_a_file_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    source = save(tmp_path / "a.xlsx", Data=TABLE)
    checksum = source.checksum
    assert rows(source)["sequence"] == DNA
    assert rows(save(tmp_path / "a.xlsx", Data=TABLE[:2]))["sequence"] == DNA[:1]
    assert FileSource(source.path).checksum != checksum
    with fails("a.xlsx", "changed"):
        source.check_unchanged()


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"PK", ["cannot be read", "save it as .xlsx"]),
        (b"PK\x03\x04" + bytes(100), ["cannot be read"]),
        (b"\xd0\xcf\x11\xe0" + bytes(100), ["password"]),
    ],
)
def test_unusable_workbooks(content: bytes, parts: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(content)
    with fails("a.xlsx: ", *parts):
        rows(FileSource(tmp_path / "a.xlsx"))


def test_a_damaged_sheet_and_an_empty_one(tmp_path: Path) -> None:
    with fails("a.xlsx: cannot be read"):
        rows(save_xml(tmp_path / "a.xlsx", '<row r="1"><c r="A1"><v>1</v>'))
    with fails("b.xlsx is empty"):
        rows(save(tmp_path / "b.xlsx", Data=[]))


def test_predictions_replicates_and_clusters_may_be_sheets(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", Data=[["id", "first"], ["p1", 1.5], ["p2", None]], Other=[["x"]]).path
    source, table = read_headed(str(path), "replicate_file", "Data")
    assert table["id"].tolist() == ["p1", "p2"]
    assert read_numbers(table, "first", source, is_needed=False).tolist()[0] == 1.5
    path = save(tmp_path / "clusters.xlsx", Data=[["cluster", "id"], [1, "p1"], [1, "p2"], [2, "p3"]]).path
    assert sorted(read_clusters(path).clusters.tolist()) == [0, 0, 1]
    with fails("x.xlsx", "'cluster'"):
        read_clusters(save(tmp_path / "x.xlsx", Data=[["a", "b"], [1, 2]]).path)
