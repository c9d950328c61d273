"""Cluster tables of other programs: every kind, matching by id and by sequence, and every mistake in them."""

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kmerbert.reading import text as text_files
from kmerbert.reading.rows import hash_texts
from kmerbert.splitting.clusters import ALLOWED, assign_clusters, read_clusters
from tests.support.messages import fails

CDHIT = """>Cluster 0
0\t110nt, >a... *
1\t109nt, >b and more... at +/98.18%
>Cluster 1
0\t110nt, >c... *
>Cluster 0
0\t110nt, >d...x... at 1:80:1:80/-/97.50%
1\t110nt, >e... *
"""
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a text into a file of the test's folder."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def clusters_of(path: Path, rows: list[str], prefer: str = "id") -> list[int]:
    """Clusters of rows that are known by these ids or sequences."""
    table = read_clusters(path, prefer)
    clusters_of_rows = assign_clusters(table, hash_texts(rows), lambda row: f"row {row + 1}")
    assert clusters_of_rows.dtype == np.int64
    return clusters_of_rows.tolist()


def test_cdhit(write: Write) -> None:
    assert clusters_of(write("x.clstr", CDHIT), ["e", "a", "b", "c", "d...x"]) == [2, 0, 0, 1, 2]
    assert clusters_of(write("x.txt", CDHIT), ["c", "a"]) == [1, 0]


def test_two_columns_of_ids(write: Write) -> None:
    path = write("x_cluster.tsv", "a\ta\na\tb\nc\tc\n\nc\td\na\te\n")
    assert clusters_of(path, ["d", "b", "e", "a", "c", "d"]) == [1, 0, 0, 0, 1, 1]
    assert clusters_of(write("x.csv", "7, 1\n7,2\n8,3\n"), ["3", "2", "1"]) == [1, 0, 0]


def test_two_columns_of_sequences(write: Write) -> None:
    path = write("x.tsv", "ACGTACGTACGTACGTA\tacguacguacguacgua\nACGTACGTACGTACGTA\tTTTT\nGGR\tGGR\n")
    assert read_clusters(path).by == "sequence"
    assert clusters_of(path, ["GGN", "TTTT", "ACGTACGTACGTACGTA"]) == [1, 0, 0]


def test_short_letters_are_ids(write: Write) -> None:
    path = write("x.tsv", "GATA\tGATA\nGATA\tCAT\n")
    assert read_clusters(path).by == "id"
    assert clusters_of(path, ["CAT"]) == [0]


def test_header_with_ids_and_sequences(write: Write) -> None:
    path = write("x.tsv", "sequence\tcluster\tn\tid\nAC\tx\t1\ta\ngt\ty\t2\tb\nTT\tx\t3\tc\n")
    assert clusters_of(path, ["c", "b", "a"]) == [0, 1, 0]
    assert clusters_of(path, ["GT", "TT", "AC"], prefer="sequence") == [1, 0, 0]
    assert read_clusters(path, "sequence").by == "sequence"
    only_sequences = write("x.csv", '"sequence","cluster"\n"AC","x"\n"GT","x"\n')
    assert clusters_of(only_sequences, ["GT", "AC"]) == [0, 0]
    assert read_clusters(only_sequences, "id").by == "sequence"
    assert read_clusters(write("y.tsv", "cluster\tid\n1\ta\n"), "sequence").by == "id"


def test_compressed_tables(tmp_path: Path) -> None:
    (tmp_path / "x.clstr.gz").write_bytes(gzip.compress(CDHIT.encode()))
    (tmp_path / "x.tsv.bz2").write_bytes(bz2.compress(b"id\tcluster\na\t1\nb\t1\n"))
    assert clusters_of(tmp_path / "x.clstr.gz", ["a", "b", "c"]) == [0, 0, 1]
    assert clusters_of(tmp_path / "x.tsv.bz2", ["a", "b"]) == [0, 0]


def test_a_table_of_many_blocks_is_read_as_one(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 200)
    expected = np.sort(np.random.default_rng(0).integers(0, 40, 300))
    expected = np.unique(expected, return_inverse=True)[1]
    names = [f"name{i}" for i in range(300)]
    pairs = write("x.tsv", "".join(f"c{cluster}\t{name}\n" for cluster, name in zip(expected, names, strict=True)))
    assert clusters_of(pairs, names) == expected.tolist()
    header = write("y.tsv", "cluster\tid\n" + pairs.read_text(encoding="utf-8"))
    assert clusters_of(header, names) == expected.tolist()
    text = ""
    for i, name in enumerate(names):
        text += f">Cluster {expected[i]}\n" if i == 0 or expected[i] != expected[i - 1] else ""
        text += f"0\t110nt, >{name}... *\n"
    assert clusters_of(write("x.clstr", text), names) == expected.tolist()


def test_a_member_may_be_listed_twice_in_its_cluster_and_be_no_row(write: Write) -> None:
    path = write("x.tsv", "a\ta\na\tb\na\tb\nc\tc\n")
    assert clusters_of(path, ["b", "b"]) == [0, 0]
    assert len(read_clusters(path).members) == 3


def test_the_table_keeps_hashes_of_rows(write: Write) -> None:
    table = read_clusters(write("x.tsv", "a\tb\na\tä\n"))
    assert table.members.tolist() == sorted(hash_texts(["b", "ä"]).tolist())


def test_rows_without_a_cluster(write: Write) -> None:
    path = write("x.tsv", "a\ta\na\tb\n")
    with fails("row 2: ", " id ", path, "1 more", "4 rows"):  # rows 2 and 4 of these are in none
        clusters_of(path, ["a", "c", "b", "d"])
    path = write("x.clstr", CDHIT)
    with fails("row 1: ", " id ", path, "CD-HIT", "-d 0"):
        clusters_of(path, ["a_longer_name"])
    path = write("y.tsv", "sequence\tcluster\nAC\t1\n")
    with fails("row 1: ", " sequence ", path):
        clusters_of(path, ["GT"])


# Lines of the file and what else the message must have.
CONFLICTS = {
    "pairs": ("x.tsv", "a\ta\na\tb\n\nc\tb\nd\ta\n", "x.tsv, lines 2 and 4: ", "one id", "two clusters", "first"),
    "cd-hit": ("x.clstr", CDHIT.replace(">e...", ">a..."), "x.clstr, lines 2 and 8: ", "one id", "CD-HIT"),
    "sequences": ("x.csv", "sequence,cluster\nAC,1\nGT,1\nac,2\n", "x.csv, lines 2 and 4: ", "one sequence"),
}


@pytest.mark.parametrize("case", CONFLICTS)
def test_members_of_two_clusters(case: str, write: Write) -> None:
    name, text, *parts = CONFLICTS[case]
    with fails(*parts):
        read_clusters(write(name, text))


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("x.tsv", "a\ta\na\tb\tc\n", ("x.tsv, line 2: ", "3 columns", "2 in the first line", r"'a\tb\tc'")),
        ("x.clstr", CDHIT + "0\t110nt, >f\n", ("x.clstr, line 9: ", r"'0\t110nt, >f'", "CD-HIT")),
        ("x.tsv", "id\tcluster\na\t1\nb\n", ("x.tsv, line 3: ", "1 column,", "2 in the first line")),
        ("x.tsv", "a\ta\na\t\n", ("x.tsv, line 2: ", "without id")),
        ("x.tsv", "id\tcluster\na\t1\nb\t\n", ("x.tsv, line 3: ", "cluster is empty")),
        ("x.tsv", "sequence\tcluster\nAC\t1\nAQ\t1\n", ("x.tsv, line 3: ", "'Q'", "base 2")),
        ("x.tsv", f"{'ACGT' * 4}A\t{'ACGT' * 4}A\n{'ACGT' * 4}A\tname\n", ("x.tsv, line 2: ", "'e'", "base 4")),
    ],
)
def test_lines_that_are_wrong(name: str, text: str, parts: tuple[str, ...], write: Write) -> None:
    with fails(*parts):
        read_clusters(write(name, text))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.tsv", "id\tgroup\na\t1\n"),
        ("x.tsv", "cluster\tname\n1\ta\n"),
        ("x.tsv", "a\tb\tc\n"),
        ("x.tsv", "ID\tCluster\na\t1\nb\t2\n"),
        ("x.tsv", "\na\ta\na\tb\n"),
        ("x.csv", "a\tb\n"),
        ("x.tsv", "a\n"),
        ("x.tsv", ""),
        ("x.clstr", "a\tb\n"),
        ("x.clstr", ""),
        ("x.clstr", ">Cluster 0\n"),
        ("x.fasta", ">a\nACGT\n"),
        ("x.parquet", "PAR1"),
        ("x.tsv", "id\tcluster\n"),
    ],
)
def test_other_files_are_told_what_is_allowed(write: Write, name: str, text: str) -> None:
    path = write(name, text)
    with fails(path, ALLOWED):
        read_clusters(path)


@pytest.mark.parametrize("name", ["x.tsv", "x.clstr"])
def test_files_without_a_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with fails(tmp_path / name, "empty", ALLOWED):
        read_clusters(tmp_path / name)
    packed = tmp_path / f"{name}.gz"
    for content, reason in ((gzip.compress(b""), "empty"), (gzip.compress(b"a\tb\n" * 10_000)[:-20], "read")):
        packed.write_bytes(content)
        with fails(packed, reason, ALLOWED):
            read_clusters(packed)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fails(tmp_path / "x.tsv", "no such file"):
        read_clusters(tmp_path / "x.tsv")
    (tmp_path / "x.names").write_text("a\tb\n", encoding="utf-8")
    with fails(tmp_path / "x.names", "format"):
        read_clusters(tmp_path / "x.names")
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 200)
    for n_good in (1, 1000):  # the letter that is no text is in the first block, and in a later one
        (tmp_path / "y.tsv").write_bytes(b"a\tb\n" * n_good + b"a\t\xff\n")
        with fails(f"y.tsv, line {n_good + 1}: ", "UTF-8", "0xff"):
            read_clusters(tmp_path / "y.tsv")


def test_quotes_and_encodings_of_cluster_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('"a, x","a, x"\n"a, x","b\nb"\nc,c\n')
    assert clusters_of(tmp_path / "a.csv", ["b\nb", "c", "a, x"]) == [0, 1, 0]
    (tmp_path / "b.tsv").write_bytes("id\tcluster\tnote\nä\t1\t\nb\t2\t\n".encode("utf-16"))
    assert clusters_of(tmp_path / "b.tsv", ["b", "ä"]) == [1, 0]
    (tmp_path / "c.tsv").write_text('id\tcluster\tnote\na\t1\t"x\ny"\nb\t\tz\n')
    with fails("c.tsv, line 4", "cluster is empty"):
        read_clusters(tmp_path / "c.tsv")
    for text in ('id,cluster\na,1\n"b,2\nc,3\n', 'a,b\na,c\n"a,d\na,e\n'):
        (tmp_path / "d.csv").write_text(text)
        with fails("d.csv, line 3: ", "quote"):
            read_clusters(tmp_path / "d.csv")
