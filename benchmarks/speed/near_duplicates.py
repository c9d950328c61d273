"""Near-duplicate groups in random promoters: time, memory, what is found and what is joined by chance, against a peer.

    python -m benchmarks.speed.near_duplicates --rows 200000
    python -m benchmarks.speed.near_duplicates --peer_rows 0

Makes random inserts of 80 to 82 bases between the constant 17 and 13 bases of the DREAM 2022 library; a share of the
rows are copies of others with 0 to 10 substitutions or one inserted or deleted base. Prints rows, seconds, peak memory
of the process, groups, how many originals are in the group of another original (none should be), and for each kind of
copy the share that is in the group of its original. Identity 0.9 allows 8 differences; of the copies with 9 or 10
substitutions a few are found all the same, because an inserted and a deleted base between two substitutions explain
more of them.

The peer, on fewer rows, finds the same groups in plain Python: a dictionary from every 15-mer of the inserts to the
rows that have it, and an edit distance for every pair that shares one. One process, one thread.
"""

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported

import numpy as np

from benchmarks.measuring import best_seconds, peak_memory, random_letters, to_strings
from kmerbert.splitting.near_duplicates import near_duplicates

LEFT, RIGHT = "TGCATTTTTTTCACATC", "GGTTACGGCTGTT"
CHUNK = 10_000
KINDS = [f"{n} substitutions" for n in range(11)] + ["1 inserted base", "1 deleted base"]


class Library:
    """A library that is made a batch at a time, so that its sequences need no memory.

    Attributes:
        n_originals: rows that are no copies; they come first.
        original: int64 (n_copies,), of which row each copy is one.
        kind: int64 (n_copies,), index in `KINDS`.
    """

    def __init__(self, n_rows: int, copies: float, seed: int) -> None:
        self.n_originals = n_rows - round(n_rows * copies)
        self.seed = seed
        generator = np.random.default_rng(seed)
        n_copies = n_rows - self.n_originals
        self.original = np.sort(generator.integers(0, self.n_originals, n_copies))
        self.kind = generator.integers(0, len(KINDS), n_copies)

    def _inserts(self, chunk: int) -> tuple[np.ndarray, np.ndarray]:
        """Letters, uint8 (n, 82), and lengths of the originals of one batch."""
        n_rows = min(CHUNK, self.n_originals - chunk * CHUNK)
        generator = np.random.default_rng([self.seed, chunk])
        letters = random_letters(n_rows, 82, generator)
        return letters, generator.choice([80, 81, 82], n_rows, p=[0.8, 0.15, 0.05])

    def batches(self) -> Iterator[list[str]]:
        """All rows, flanks included: the originals, then the copies, ordered by their originals."""
        n_chunks = -(-self.n_originals // CHUNK)
        for chunk in range(n_chunks):
            yield [LEFT + insert + RIGHT for insert in to_strings(*self._inserts(chunk))]
        for chunk in range(n_chunks):
            first, last = np.searchsorted(self.original, [chunk * CHUNK, (chunk + 1) * CHUNK])
            yield self._copies(chunk, slice(first, last))

    def _copies(self, chunk: int, some: slice) -> list[str]:
        letters, lengths = self._inserts(chunk)
        generator = np.random.default_rng([self.seed, chunk, 1])
        rows = []
        for original, kind in zip(self.original[some] - chunk * CHUNK, self.kind[some], strict=True):
            insert = bytearray(letters[original].tobytes()[: lengths[original]])
            position = int(generator.integers(1, len(insert) - 1))
            if KINDS[kind] == "1 inserted base":
                insert[position:position] = generator.choice(list(b"ACGT"), 1).astype(np.uint8).tobytes()
            elif KINDS[kind] == "1 deleted base":
                del insert[position]
            else:
                for changed in generator.choice(len(insert), kind, replace=False):
                    others = bytes(set(b"ACGT") - {insert[changed]})
                    insert[changed] = others[generator.integers(3)]
            rows.append(LEFT + insert.decode() + RIGHT)
        return rows


def python_groups(sequences: Sequence[str], identity: float) -> list[int]:
    """The peer: the same definition in plain Python, pair by pair; group of every row."""
    inserts = [sequence[len(LEFT) : -len(RIGHT)] for sequence in sequences]
    rows_with: dict[str, set[int]] = defaultdict(set)
    for row, insert in enumerate(inserts):
        for start in range(len(insert) - 14):
            rows_with[insert[start : start + 15]].add(row)
    groups = list(range(len(inserts)))

    def root(row: int) -> int:
        while groups[row] != row:
            row = groups[row]
        return row

    for pair in {pair for rows in rows_with.values() for pair in combinations(sorted(rows), 2)}:
        a, b = (inserts[row] for row in pair)
        if edit_distance(a, b) <= (1 - identity) * max(len(a), len(b)) + 1e-6:
            low, high = sorted(map(root, pair))
            groups[high] = low
    return [root(row) for row in range(len(groups))]


def edit_distance(a: str, b: str) -> int:
    """Substitutions, insertions and deletions between two texts."""
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (letter != other))
    return row[-1]


def joined_by_chance(groups: np.ndarray, library: Library) -> int:
    """How many originals are in the group of an earlier original."""
    return library.n_originals - len(np.unique(groups[: library.n_originals]))


def compare(n_rows: int, copies: float, seed: int, identity: float) -> tuple[float, float]:
    """Rows per second of both ways on a small library, after checking that they give the same groups."""
    rows = [row for batch in Library(n_rows, copies, seed).batches() for row in batch]
    our_seconds, ours = best_seconds(lambda: near_duplicates([rows], identity), 1)
    peer_seconds, peers = best_seconds(lambda: python_groups(rows, identity), 1)
    if len(set(zip(ours.tolist(), peers, strict=True))) != len(set(peers)) or ours.max() + 1 != len(set(peers)):
        raise RuntimeError("the two ways give different groups")
    return n_rows / our_seconds, n_rows / peer_seconds


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Prints the table and returns its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", type=int, default=6_739_258, help="rows of the library (default: as in the challenge)"
    )
    parser.add_argument("--copies", type=float, default=0.05, help="share of them that are altered copies of others")
    parser.add_argument("--identity", type=float, default=0.9, help="least identity of near duplicates")
    parser.add_argument("--peer_rows", type=int, default=20_000, help="rows for the peer; 0 leaves it out")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random sequences")
    args = parser.parse_args(argv)
    if args.rows < 100 or not 0 < args.copies < 1 or (args.peer_rows and args.peer_rows < 100):
        parser.error("--rows and --peer_rows must be at least 100, --copies between 0 and 1")
    library = Library(args.rows, args.copies, args.seed)
    making, _ = best_seconds(lambda: sum(map(len, library.batches())), 1)
    seconds, groups = best_seconds(lambda: near_duplicates(library.batches(), args.identity), 1)
    numbers = {"rows": args.rows, "seconds": seconds - making, "peak memory, GiB": peak_memory() / 2**30}
    numbers["groups"] = int(groups.max()) + 1
    numbers["originals joined"] = joined_by_chance(groups, library)
    is_found = groups[library.n_originals :] == groups[library.original]
    for code, kind in enumerate(KINDS):
        numbers[f"found, {kind}"] = float(is_found[library.kind == code].mean())
    if args.peer_rows:
        rates = compare(args.peer_rows, args.copies, args.seed, args.identity)
        numbers |= dict(zip(("rows/s", "rows/s, plain Python"), rates, strict=True))
    for name, value in numbers.items():
        print(f"{name:<28}{value:>14,.4g}" if isinstance(value, float) else f"{name:<28}{value:>14,}")
    return numbers


if __name__ == "__main__":
    main()
