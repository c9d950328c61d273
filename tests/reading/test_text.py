"""Text of any program: encodings, line ends, and the line of what is no text, the same wherever it stands."""

import codecs
import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from kmerbert.predicting.table import read_predictions
from kmerbert.reading import text
from kmerbert.reading.sources import FileSource
from kmerbert.reading.text import read_blocks, read_lines, read_text
from kmerbert.splitting.clusters import read_clusters
from tests.support.messages import fails

LINES = ["sequence\texpression", "ACGT\t1", "", "GGµ\t2", "x" * 50, "TT€\t3"]


def save(folder: Path, content: bytes, name: str = "a.tsv") -> Path:
    """Writes a file."""
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("block", [4, 5, 7, 1 << 22])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_encodings_and_line_ends(
    mark: bytes, encoding: str, end: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", block)
    for last in ("", end):
        path = save(tmp_path, mark + (end.join(LINES) + last).encode(encoding))
        assert list(read_lines(path)) == LINES
        assert read_text(path) == "\n".join(LINES) + "\n"
        first = 1
        for piece in read_blocks(path):
            assert piece.first == first
            assert piece.text.endswith(b"\n")
            first += piece.text.count(b"\n")


@pytest.mark.parametrize("compression", ["gzip", "zstd", "bz2"])
def test_packed_text(compression: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.tsv.{ {'gzip': 'gz', 'zstd': 'zst', 'bz2': 'bz2'}[compression] }"
    with pa.output_stream(str(path), compression=compression) as file:
        file.write("\n".join(LINES).encode("utf-16"))
    assert list(read_lines(path)) == LINES


@pytest.mark.parametrize("n_before", [0, 3000])
@pytest.mark.parametrize(("bad", "part"), [(b"5 \xb5M", "0xb5"), (b"a\0b", "zero bytes"), (b"\xe2\x82", "0xe2")])
@pytest.mark.parametrize("kind", ["table", "column", "header", "FASTA", "JSON", "CD-HIT", "pairs", "predictions"])
def test_bytes_that_are_no_text_have_one_verdict(
    kind: str, bad: bytes, part: str, n_before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every format, early and late, in columns that are read and in others."""
    monkeypatch.setattr(text, "BLOCK_BYTES", 10_000)
    row, wrong, header, name = {
        "table": (b"ACGT\t1\n", bad + b"\t1\n", b"sequence\texpression\n", "a.tsv"),
        "column": (b"ACGT,1,\n", b"ACGT,1," + bad + b"\n", b"sequence,expression,note\n", "a.csv"),
        "header": (b"ACGT,1,\n", b"", b"sequence,expression," + bad + b"\n", "a.csv"),
        "FASTA": (b">a\n", b">" + bad + b"\n", b"", "a.fa"),
        "JSON": (b'{"sequence": "A"}\n', b'{"sequence": "' + bad + b'"}\n', b"", "a.jsonl"),
        "CD-HIT": (b"0\t110nt, >a... *\n", b"0\t110nt, >" + bad + b"... *\n", b">Cluster 0\n", "a.clstr"),
        "pairs": (b"a\tb\n", b"a\t" + bad + b"\n", b"", "a.tsv"),
        "predictions": (b"a,1,\n", b"b,1," + bad + b"\n", b"id,prediction,note\n", "a.csv"),
    }[kind]
    path = save(tmp_path, header + row * n_before + wrong, name)
    line = 1 if kind == "header" else n_before + header.count(b"\n") + 1
    with fails(f"{name}, line {line}: not a text file", part):
        if kind == "predictions":
            read_predictions(str(path))
        elif kind in ("CD-HIT", "pairs"):
            read_clusters(path)
        else:
            list(FileSource(path).batches(["sequence"]))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (gzip.compress(b"x", mtime=0), ".gz"),
        (pa.compress(b"x" * 100, "zstd", asbytes=True), ".zst"),
        (b"PK\3\4\0\0", "Excel"),
        (b"PAR1\x15\0", ".parquet"),
        ("sequence\texpression\n".encode("utf-16-le"), "UTF-16"),
    ],
)
def test_files_of_another_kind_are_named(content: bytes, part: str, tmp_path: Path) -> None:
    with fails("a.tsv, line 1: not a text file", part):
        list(read_lines(save(tmp_path, content)))


def test_files_that_are_cut_off(tmp_path: Path) -> None:
    path = save(tmp_path, "\n".join(LINES).encode("utf-16")[:-1])
    with fails(path, "utf-16"):
        list(read_lines(path))
    path = save(tmp_path, gzip.compress("\n".join(LINES).encode())[:-9], "b.tsv.gz")
    with fails(path, "cannot be read"):
        list(read_lines(path))
    with pytest.raises(FileNotFoundError):
        list(read_lines(tmp_path / "absent"))
