"""Each sequence gets the plasmid's bases once, whatever it already includes; a mixture of both kinds is an error."""

import gzip
import json
import random
from dataclasses import asdict
from pathlib import Path

import pytest

from kmerbert.reading.plasmid import read_flanks
from tests.support.messages import check_message, fails
from tokenization_kmer import Flanks

# The plasmid of these tests: 200 random bases that end with the challenge's 17, 80 N, its 13 and 200 random bases.
LETTERS = random.Random(7)
BEFORE = "".join(LETTERS.choices("ACGT", k=183)) + "TGCATTTTTTTCACATC"
AFTER = "GGTTACGGCTGTT" + "".join(LETTERS.choices("ACGT", k=187))
PLASMID = BEFORE + "N" * 80 + AFTER


def inserts(n: int = 50, n_bases: int = 80) -> list[str]:
    return ["".join(LETTERS.choices("ACGT", k=n_bases)) for _ in range(n)]


def reference(insert: str, length: int) -> str:
    """The window of the plasmid around its run of N, in which the run is replaced."""
    start = PLASMID.index("N")
    return PLASMID[start - length : start] + insert + PLASMID[start + 80 : start + 80 + length]


@pytest.fixture
def plasmid(tmp_path: Path) -> Path:
    path = tmp_path / "plasmid.txt"
    path.write_text(PLASMID + "\nsecond line\n")
    return path


@pytest.mark.parametrize("length", [0, 5, 13, 15, 17, 30, 150, 200])
def test_bare_inserts_and_challenge_promoters_become_the_same(length: int, plasmid: Path) -> None:
    """80 bases, or 110 with the 17 and 13 that the plasmid has too: nothing is repeated, nothing is missing."""
    flanks, rows = read_flanks(plasmid, length), inserts()
    expected = [reference(row, length) for row in rows]
    assert {len(row) for row in expected} == {80 + 2 * length}
    assert flanks.extend(rows) == expected
    assert flanks.extend([BEFORE[-17:] + row + AFTER[:13] for row in rows]) == expected
    assert flanks.extend([BEFORE[-17:] + row for row in rows]) == expected
    assert flanks.extend([BEFORE[-60:] + row + AFTER[:8] for row in rows]) == expected


def test_lengths_may_differ_and_rows_may_come_one_by_one(plasmid: Path) -> None:
    flanks = read_flanks(plasmid, 40)
    rows = [row[: 20 + number] for number, row in enumerate(inserts())]
    full = [BEFORE[-17:] + row + AFTER[:13] for row in rows]
    assert flanks.extend(full) == [reference(row, 40) for row in rows]
    assert [flanks.extend([row])[0] for row in full] == flanks.extend(full)


def test_a_mutation_in_the_shared_bases_is_kept(plasmid: Path) -> None:
    rows = [BEFORE[-17:] + row + AFTER[:13] for row in inserts()]
    rows[3] = "A" + rows[3][1:10] + "G" + rows[3][11:]
    extended = read_flanks(plasmid, 20).extend(rows)
    assert extended[3] == BEFORE[-20:-17] + rows[3] + AFTER[13:20]
    assert len(extended[3]) == len(extended[0])


def test_mixtures_are_errors(plasmid: Path) -> None:
    flanks, rows = read_flanks(plasmid, 20), inserts()
    full = [BEFORE[-17:] + row + AFTER[:13] for row in rows]
    for mixed, row, parts in (
        ([*full[:9], rows[9]], 9, ("begin with 17 bases", "not this one")),
        ([*rows[:9], full[9]], 9, ("begins with 17 bases", "bare inserts")),
        ([*full[:5], BEFORE[-17:] + rows[5]], 5, ("end with 13 bases", "not this one")),
    ):
        with pytest.raises(LookupError) as caught:
            flanks.extend(mixed)
        number, problem = caught.value.args
        assert number == row
        check_message(problem, *parts)


def test_chance_does_not_count(plasmid: Path) -> None:
    """An insert that happens to begin as the plasmid's last 8 bases is still a bare insert."""
    rows = [*inserts(9), BEFORE[-8:] + "A" * 72]
    assert read_flanks(plasmid, 20).extend(rows) == [reference(row, 20) for row in rows]


@pytest.mark.parametrize("insert", ["200:280", "N" * 80, None])
def test_forms_of_files_and_inserts(insert: str | None, tmp_path: Path, plasmid: Path) -> None:
    expected = read_flanks(plasmid, 30)
    fasta, quoted = tmp_path / "plasmid.fa", tmp_path / "plasmid.json"
    fasta.write_text(f">vector\n{PLASMID[:90].lower()}\n{PLASMID[90:]}\n>another\nACGT\n")
    quoted.write_text(json.dumps(PLASMID))
    for path in (fasta, quoted, plasmid):
        flanks = read_flanks(path, 30, insert)
        assert flanks == expected
        assert (flanks.left[-30:], flanks.right[:30]) == (BEFORE[-30:], AFTER[:30])


def test_an_insert_of_letters(tmp_path: Path) -> None:
    path = tmp_path / "vector.txt"
    path.write_text("AAAACCCCGGGGTTTTGGGG")
    assert read_flanks(path, 2, "ccCC") == Flanks("AAAA", "GGGGTTTTGGGG", 2)
    assert read_flanks(path, 2, "CCCC").extend(["ACGT"]) == ["AAACGTGG"]


@pytest.mark.parametrize(
    ("text", "length", "insert", "parts"),
    [
        (PLASMID, 201, None, ("200 bases before", "200 after", "`flank_length` 201")),
        (PLASMID, 5, "9:9", ("`flank_insert` 9:9", "480 bases")),
        (PLASMID, 5, "9:8", ("`flank_insert` 9:8", "480 bases")),
        (PLASMID, 5, "400:481", ("`flank_insert` 400:481", "480 bases")),
        (PLASMID, 5, "ACXG", ("`flank_insert` ACXG", "START:END", "ACGTN")),
        ("ACGTACGTNN", 1, "ACGT", ("`flank_insert` ACGT", "2 times", "START:END")),
        ("ACGTACGTNN", 1, "GGG", ("`flank_insert` GGG", "0 times", "START:END")),
        ("ACGT", 1, None, ("run of N", "`flank_insert`")),
        ("ACNGTNA", 1, None, ("run of N", "`flank_insert`")),
        ("ACXGT", 1, None, ("`flank_file`", "'X'", "base 3")),
        (None, 1, None, ("`flank_file`", "No such file")),
    ],
)
def test_wrong_plasmids(
    text: str | None, length: int, insert: str | None, parts: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "plasmid.txt"
    if text:
        path.write_text(text)
    with fails(path, *parts):
        read_flanks(path, length, insert)


def mutated(sequence: str, *positions: int) -> str:
    """Another base at each of these 0-based positions."""
    letters = list(sequence)
    for position in positions:
        letters[position] = "ACGT"[("ACGT".index(letters[position]) + 1) % 4]
    return "".join(letters)


def test_what_was_learnt_makes_rows_independent_of_each_other(plasmid: Path) -> None:
    rows = inserts()
    full = [BEFORE[-17:] + row + AFTER[:13] for row in rows]
    flanks = read_flanks(plasmid, 30).learn(full)
    assert flanks.carried == [17, 13]
    assert Flanks(**json.loads(json.dumps(asdict(flanks)))) == flanks
    assert flanks.extend(full) == flanks.extend(rows) == [reference(row, 30) for row in rows]
    changed = mutated(full[0], 16, 2, 98)  # the last and an early base before the insert, one after it
    expected = BEFORE[-30:-17] + changed + AFTER[13:30]
    for among in ([changed], [changed, *full], [changed, *rows], [changed, rows[1], full[2]]):
        assert flanks.extend(among)[0] == expected
        assert flanks.extend(among)[1:] == [reference(row[17:-13] if len(row) == 110 else row, 30) for row in among[1:]]
    longer = BEFORE[-60:] + rows[3] + AFTER[:40]  # more than the training rows include, all intact
    assert flanks.extend([longer, rows[4]]) == [reference(rows[3], 30), reference(rows[4], 30)]


def test_bare_training_rows_are_learnt_as_such(plasmid: Path) -> None:
    rows = inserts()
    flanks = read_flanks(plasmid, 30).learn([*rows, BEFORE[-17:] + rows[0] + AFTER[:13]])
    assert flanks.carried == [0, 0]
    full = [BEFORE[-17:] + row + AFTER[:13] for row in rows]
    assert flanks.extend(full) == flanks.extend(rows) == [reference(row, 30) for row in rows]


@pytest.mark.parametrize(("n_changed", "is_carried"), [(3, True), (4, False)])
def test_how_many_mutations_are_tolerated(n_changed: int, is_carried: bool, plasmid: Path) -> None:
    (insert,) = inserts(1)
    flanks = read_flanks(plasmid, 17).learn([BEFORE[-17:] + insert + AFTER[:13]])
    changed = mutated(BEFORE[-17:] + insert, *range(0, 2 * n_changed, 2)) + AFTER[:13]
    begins = changed if is_carried else BEFORE[-17:] + changed
    assert flanks.extend([changed]) == [begins + AFTER[13:17]]


def test_plasmids_of_other_programs(tmp_path: Path, plasmid: Path) -> None:
    expected = read_flanks(plasmid, 20)
    for name, text in (("a.fa", ">vector\r\n{}\r\n"), ("a.fa", ">vector\r{}\r"), ("a.txt", "{}\n"), ("a.json", '"{}"')):
        dna = BEFORE + "N" * 20 + AFTER
        (tmp_path / name).write_bytes(text.format(dna).encode("utf-16" if name != "a.json" else "utf-8"))
        assert read_flanks(tmp_path / name, 20) == expected
    for name, text in (("b.fa", "\n\n>vector\n{}\n"), ("b.txt", "\n{}\n"), ("b.json.gz", '"{}"')):
        text = text.format(BEFORE + "N" * 20 + AFTER).encode()
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
        assert read_flanks(tmp_path / name, 20) == expected
    for name, text, part in (("c.json", '["ACGT"]', "['ACGT']"), ("c.json", "null", "None"), ("c.fa", ">a\n", "empty")):
        (tmp_path / name).write_text(text)
        with fails("`flank_file`", name, part):
            read_flanks(tmp_path / name, 20)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with fails("`flank_file`", "deep.json", "nested"):
        read_flanks(tmp_path / "deep.json", 20)
