"""Cluster tables of other programs: every kind, matching by id and by sequence, every refusal."""

import bz2
import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kmerbert.reading import sources as tables
from kmerbert.reading.rows import hash_texts
from kmerbert.splitting import clusters
from kmerbert.splitting.clusters import NEEDED, assign_clusters, read_clusters

CDHIT = """>Cluster 0
0\t110nt, >a... *
1\t109nt, >b some words... at +/98.18%
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
    """Clusters of rows that are known by words."""
    table = read_clusters(path, prefer)
    found = assign_clusters(table, hash_texts(rows), lambda row: f"row {row + 1}")
    assert found.dtype == np.int64
    return found.tolist()


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
    for module in (tables, clusters):
        monkeypatch.setattr(module, "BLOCK_BYTES", 200)
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


def refused(path: Path, message: str, rows: list[str] | None = None) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        clusters_of(path, rows or [])
    assert "\n" not in str(caught.value)


def test_rows_without_a_cluster_are_refused(write: Write) -> None:
    path = write("x.tsv", "a\ta\na\tb\n")
    refused(path, f"row 2: its id is in no cluster of {path} (nor that of 1 more of 4 rows)", ["a", "c", "b", "d"])
    path = write("x.clstr", CDHIT)
    refused(path, "every row needs one; CD-HIT cuts names off unless it is run with -d 0", ["a_longer_name"])
    path = write("y.tsv", "sequence\tcluster\nAC\t1\n")
    refused(path, "row 1: its sequence is in no cluster", ["GT"])


def test_members_of_two_clusters_are_refused(write: Write) -> None:
    path = write("x.tsv", "a\ta\na\tb\n\nc\tb\nd\ta\n")
    refused(path, f"{path}, lines 2 and 4: one id in two clusters; allowed is one")
    path = write("x.clstr", CDHIT.replace(">e...", ">a..."))
    refused(path, f"{path}, lines 2 and 8: one id in two clusters; allowed is one; CD-HIT cuts names off")


def test_lines_that_are_not_like_the_others_are_refused(write: Write) -> None:
    path = write("x.tsv", "a\ta\na\tb\tc\n")
    refused(path, f"{path}, line 2: 3 columns, but 2 in the first line: 'a\\tb\\tc'")
    path = write("x.clstr", CDHIT + "0\t110nt, >f\n")
    refused(path, f"{path}, line 9: '0\\t110nt, >f' is no line of CD-HIT")
    path = write("y.tsv", "id\tcluster\na\t1\nb\n")
    refused(path, f"{path}, line 3: 1 columns, but 2 in the first line")


def test_empty_values_and_letters_that_are_no_dna_are_refused(write: Write) -> None:
    path = write("x.tsv", "a\ta\na\t\n")
    refused(path, f"{path}, line 2: a member without id")
    path = write("x.tsv", "id\tcluster\na\t1\nb\t\n")
    refused(path, f"{path}, line 3: cluster is empty: every row needs one")
    path = write("x.tsv", "sequence\tcluster\nAC\t1\nAQ\t1\n")
    refused(path, f"{path}, line 3: letter 'Q' at base 2")
    path = write("x.tsv", "ACGTACGTACGTACGTA\tACGTACGTACGTACGTA\nACGTACGTACGTACGTA\tname\n")
    refused(path, f"{path}, line 2: letter 'e' at base 4")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.tsv", "id\tgroup\na\t1\n"),
        ("x.tsv", "cluster\tname\n1\ta\n"),
        ("x.tsv", "a\tb\tc\n"),
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
def test_other_files_are_refused(write: Write, name: str, text: str) -> None:
    path = write(name, text)
    refused(path, str(path))
    refused(path, NEEDED)


def test_files_without_a_line_are_refused_as_such(tmp_path: Path) -> None:
    for name in ("x.tsv", "x.clstr"):
        (tmp_path / name).write_bytes(b"")
        refused(tmp_path / name, f"{name}: the file is empty; needed are CD-HIT's .clstr")
        for number, content in enumerate((gzip.compress(b""), gzip.compress(b"a\tb\n" * 10_000)[:-20])):
            packed = tmp_path / f"{number}{name}.gz"
            packed.write_bytes(content)
            refused(packed, f"{packed}: no line of it can be read; needed are CD-HIT's .clstr")


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "x.tsv", f"{tmp_path / 'x.tsv'}: no such file")
    (tmp_path / "x.names").write_text("a\tb\n", encoding="utf-8")
    refused(tmp_path / "x.names", "the name does not say the format")
    (tmp_path / "x.tsv.gz").write_bytes(gzip.compress(b"a\tb\n" * 10_000)[:-20])
    refused(tmp_path / "x.tsv.gz", "x.tsv.gz")
    (tmp_path / "y.tsv").write_bytes(b"a\tb\na\t\xff\n")
    refused(tmp_path / "y.tsv", "y.tsv")
