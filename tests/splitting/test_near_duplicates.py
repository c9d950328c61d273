"""Near-duplicate groups: a slow reference that compares all pairs, constant ends, N, strands, crowds, mistakes."""

import doctest
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

import numpy as np
import pytest

from benchmarks.speed import near_duplicates as benchmark
from kmerbert.dna.sequences import reverse_complement
from kmerbert.splitting import near_duplicates as module
from kmerbert.splitting.near_duplicates import near_duplicates
from tests.support.messages import fails

LEFT, RIGHT = "TGCATTTTTTTCACATC", "GGTTACGGCTGTT"
DNA = Callable[..., list[str]]


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance, cell by cell."""
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (letter != other))
    return row[-1]


def are_near(a: str, b: str, identity: float) -> bool:
    """The definition, literally."""
    limit = int((1 - identity) * max(len(a), len(b)) + 1e-6)
    stretches = {(a[i : i + 15], i) for i in range(len(a) - 14) if "N" not in a[i : i + 15]}
    shared = any((b[j : j + 15], j + d) in stretches for j in range(len(b) - 14) for d in range(-limit, limit + 1))
    return a == b or (shared and edit_distance(a, b) <= limit)


def reference(sequences: Sequence[str], identity: float) -> list[int]:
    """Single linkage over all pairs, numbered by first appearance."""
    groups = list(range(len(sequences)))
    for i, a in enumerate(sequences):
        for j in range(i):
            if groups[i] != groups[j] and are_near(a, sequences[j], identity):
                groups = [groups[j] if group == groups[i] else group for group in groups]
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return [numbers[group] for group in groups]


def mutate(sequence: str, n_changes: int, generator: np.random.Generator) -> str:
    """Substitutions, insertions and deletions of one base at random positions."""
    letters = list(sequence)
    for _ in range(n_changes):
        position, kind = generator.integers(len(letters)), generator.integers(4)
        new = [str(letter) for letter in generator.choice(list("ACGTN"), 2, p=[0.24] * 4 + [0.04])]
        letters[position : position + 1] = [new[:1], new[:1], new, []][kind]
    return "".join(letters)


def substitute(sequence: str, positions: Iterable[int]) -> str:
    """Another base at each of the positions (0-based)."""
    letters = list(sequence)
    for position in positions:
        letters[position] = letters[position].translate(str.maketrans("ACGT", "CATG"))
    return "".join(letters)


def planted(dna: DNA, n: int, most_changes: int, seed: int = 0) -> list[str]:
    """Random sequences of 35 to 70 bases in random order, and copies of them, of copies, too, with a few changes."""
    generator = np.random.default_rng(seed)
    rows = [sequence[: generator.integers(35, 71)] for sequence in dna(n, 70, seed)]
    for _ in range(n):
        rows.append(mutate(rows[generator.integers(len(rows))], generator.integers(most_changes + 1), generator))
    return [rows[i] for i in generator.permutation(len(rows))]


@pytest.mark.parametrize(("identity", "most_changes"), [(0.9, 10), (0.8, 16), (0.95, 4), (1.0, 1)])
def test_groups_are_those_of_the_slow_reference(dna: DNA, identity: float, most_changes: int) -> None:
    rows = planted(dna, 60, most_changes)
    groups = near_duplicates([rows], identity)
    assert groups.dtype == np.int64
    assert groups.tolist() == reference(rows, identity)
    assert 30 < groups.max() + 1 < 115  # some are joined and some are not


def test_batches_and_passes_change_nothing(dna: DNA, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = planted(dna, 100, 8)
    expected = near_duplicates([rows]).tolist()
    assert near_duplicates(rows[i : i + 7] for i in range(0, len(rows), 7)).tolist() == expected
    assert near_duplicates([[], rows, []]).tolist() == expected
    assert near_duplicates([tuple(rows[:50]), np.array(rows[50:])]).tolist() == expected
    monkeypatch.setattr(module, "_PASS_WINDOWS", 500)
    monkeypatch.setattr(module, "_LIST_WINDOWS", 100)
    monkeypatch.setattr(module, "_CACHED", 300)
    assert near_duplicates([rows]).tolist() == expected


def test_groups_are_numbered_by_first_appearance(dna: DNA) -> None:
    a, b, c = dna(3, 40)
    assert near_duplicates([[b, a, b[:-1], c, a]]).tolist() == [0, 1, 0, 2, 1]


def test_any_order_gives_the_same_groups(dna: DNA) -> None:
    rows = planted(dna, 80, 8)
    order = np.random.default_rng(1).permutation(len(rows))
    straight, shuffled = near_duplicates([rows]), near_duplicates([[rows[i] for i in order]])
    assert len(set(zip(straight[order], shuffled, strict=True))) == straight.max() + 1 == shuffled.max() + 1


def test_limit_is_exact_and_counts_the_longer_sequence(dna: DNA) -> None:
    parent = dna(1, 80)[0]
    with_8, with_9 = (substitute(parent, range(20, 80, 6)[:n]) for n in (8, 9))
    assert [edit_distance(parent, other) for other in (with_8, with_9)] == [8, 9]
    assert near_duplicates([[parent, with_8]]).tolist() == [0, 0]  # 1 - 8 / 80 is 0.9, though 0.1 * 80 < 8 in binary
    assert near_duplicates([[parent, with_9]]).tolist() == [0, 1]
    assert near_duplicates([[parent, parent[:72]]]).tolist() == [0, 0]
    assert near_duplicates([[parent, parent[:71]]]).tolist() == [0, 1]
    assert near_duplicates([[parent, with_9, with_8]]).tolist() == [0, 0, 0]  # single linkage


def test_a_shift_of_one_base_is_found(dna: DNA) -> None:
    parent = dna(1, 80)[0]
    assert near_duplicates([[parent, parent[1:] + "A", parent[:40] + parent[41:]]]).tolist() == [0, 0, 0]


def test_overlap_alone_joins_nothing(dna: DNA) -> None:
    genome = dna(1, 400)[0]
    tiles = [genome[start : start + 80] for start in range(0, 320, 20)]
    assert near_duplicates([tiles]).tolist() == list(range(16))
    assert near_duplicates([[genome[:80], genome[4:84], genome[5:85]]], 0.9).tolist() == [0, 0, 0]
    assert near_duplicates([[genome[:80], genome[5:85]]], 0.9).tolist() == [0, 1]


def test_constant_flanks_join_nothing_and_dilute_nothing(dna: DNA) -> None:
    inserts = dna(150, 30)
    inserts[7] = substitute(inserts[100], (3, 20, 25))
    inserts[9] = substitute(inserts[101], (3, 20, 24, 28))  # one more than a tenth of 30 bases
    expected = near_duplicates([inserts])
    assert expected[7] == expected[100]
    assert expected[9] != expected[101]
    whole = [LEFT + insert + RIGHT for insert in inserts]
    whole[3] = "A" + whole[3][1:]  # a few rows may have other ends
    whole[4] = LEFT + RIGHT  # or nothing between them
    assert near_duplicates([whole]).tolist() == expected.tolist()


def test_what_nearly_all_of_a_family_share_is_no_flank(dna: DNA) -> None:
    parent = dna(1, 60)[0]
    family = [parent[:i] + letter + parent[i + 1 :] for i in range(60) for letter in "ACGT"]
    assert not near_duplicates([family]).any()
    assert not near_duplicates([[parent] * 300]).any()


def test_few_rows_have_no_constant_ends(dna: DNA) -> None:
    insert = dna(1, 20)[0]
    rows = [LEFT + insert + RIGHT, LEFT + substitute(insert, range(2, 20, 4)) + RIGHT]
    assert near_duplicates([rows]).tolist() == [0, 0]  # 5 of 50 bases
    assert near_duplicates([rows + [LEFT + other + RIGHT for other in dna(150, 20, seed=1)]])[1] == 1  # 5 of 20


def test_short_sequences_are_grouped_only_where_equal() -> None:
    rows = ["ACGTACGTACGTAC", "ACGTACGTACGTAC", "ACGTACGTACGTAT", "", "A", ""]
    assert near_duplicates([rows]).tolist() == [0, 0, 1, 2, 3, 2]


def test_n_is_a_letter_of_its_own(dna: DNA) -> None:
    parent, other = dna(2, 40)
    assert near_duplicates([[parent, parent[:20] + "NNNN" + parent[24:]]]).tolist() == [0, 0]
    assert near_duplicates([[parent, parent[:20] + "NNNNN" + parent[25:]]]).tolist() == [0, 1]
    assert near_duplicates([["N" * 40 + parent, "N" * 40 + other]]).tolist() == [0, 1]
    assert near_duplicates([["N" * 40, "N" * 39]]).tolist() == [0, 1]  # no stretch is known


def test_strands(dna: DNA) -> None:
    parent, other = dna(2, 60)
    rows = [parent, other, reverse_complement(mutate(parent, 3, np.random.default_rng(0))), other[1:]]
    assert near_duplicates([rows]).tolist() == [0, 1, 2, 1]
    assert near_duplicates([rows], both_strands=True).tolist() == [0, 1, 0, 1]
    both = planted(dna, 60, 6)
    turned = [reverse_complement(row) if i % 2 else row for i, row in enumerate(both)]
    assert near_duplicates([turned], both_strands=True).tolist() == near_duplicates([both]).tolist()


def test_a_shared_motif_joins_nothing_and_hides_nothing(dna: DNA) -> None:
    motif = dna(1, 30, seed=5)[0]
    rows = [sequence[:40] + motif + sequence[40:] for sequence in dna(300, 60)]
    rows += [row[:-1] for row in rows[::3]]
    assert near_duplicates([rows]).tolist() == [*range(300), *range(0, 300, 3)]


def test_a_crowd_is_joined_through_its_first_member(dna: DNA) -> None:
    parent = dna(1, 120)[0]
    mutants = [substitute(parent, range(first, 120, 24)) for first in range(24)]  # most share 15 bases with nine others
    assert min(edit_distance(a, b) for a, b in [*combinations(mutants, 2)][::9]) > 6  # none is near another
    assert not near_duplicates([[parent, *mutants]], 0.95).any()
    assert near_duplicates([mutants], 0.95).tolist() == list(range(24))


def test_random_sequences_stay_apart(dna: DNA) -> None:
    assert near_duplicates([[LEFT + insert + RIGHT for insert in dna(20_000, 80)]]).tolist() == list(range(20_000))


def test_texts_longer_than_255_bases(dna: DNA) -> None:
    rows = planted(lambda n, _, seed: dna(n, 300, seed), 4, 8)
    long = [sequence * 4 for sequence in rows] + [dna(1, 1200, seed=9)[0][:length] for length in (1200, 1081, 1080)]
    assert near_duplicates([long]).tolist() == reference(long, 0.9)


def test_no_rows() -> None:
    assert near_duplicates([]).tolist() == near_duplicates([[]]).tolist() == []


def test_other_letters() -> None:
    with fails("sequence 3", "'ACgT'", "ACGTN"):
        near_duplicates([["A", "N"], ["ACgT"]])
    with fails("sequence 1", "'Ä'"):
        near_duplicates([["Ä"]])


@pytest.mark.parametrize("identity", [0.5, 0.0, 1.01, float("nan")])
def test_other_identities(identity: float) -> None:
    with fails(f"identity {identity}", "above 0.5"):
        near_duplicates([["ACGT"]], identity)


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


def test_the_benchmark_finds_its_copies_and_agrees_with_the_peer(capsys: pytest.CaptureFixture) -> None:
    numbers = benchmark.main(["--rows", "3000", "--copies", "0.2", "--peer_rows", "500"])
    assert numbers["rows"] == 3000
    assert numbers["originals joined"] == 0
    assert {numbers[f"found, {kind}"] for kind in ("4 substitutions", "1 inserted base", "1 deleted base")} == {1.0}
    assert numbers["found, 10 substitutions"] < 0.2
    assert numbers["rows/s, plain Python"] > 0
    assert capsys.readouterr().out.count("\n") == len(numbers)
    with pytest.raises(SystemExit):
        benchmark.main(["--copies", "0"])
    assert "--copies between 0 and 1" in capsys.readouterr().err
