"""Time to score a submission to the DREAM Challenge 2022, against a loop that looks rows up in Python lists.

    python -m benchmarks.speed.official_score --peer_percentage 100 --seed 0

Makes a challenge of the true size in a temporary folder: 71,103 simulated promoters with simulated values, the eight
subsets with as many rows, pairs and repeated rows as the real ones, 9,045 public rows, and a submission. Prints seconds
for reading and for scoring (private leaderboard), of `kmerbert/scoring/dream.py` and of a plain program that does what the
challenge's own notebook does: whole tables, and for each row and pair one search through the list of the public ones.
With `--peer_percentage` below 100 the plain program searches for that share of the rows only; its time is scaled up.
Both run in one process, on the same files. Only the first checks what it reads: every value, and that every sequence of the
submission is that of the test file.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import pearsonr, spearmanr

from benchmarks.measuring import best_seconds, processor_name, random_letters, to_strings, versions
from kmerbert.scoring.dream import (
    LISTED,
    PUBLIC_FOLDER,
    SUBSET_FOLDER,
    SUBSETS,
    TEST_FILE,
    Subset,
    read_challenge,
    read_submission,
)

N_ROWS = 71_103
# Of every subset: rows or pairs, how many more its table lists a second time, and how many are public; then sequences
# in the public pairs. Counted in the published files; the variants' pairs of which both are measured.
SIZES = {
    "high": (968, 0, 96), "low": (997, 0, 99), "yeast": (578, 386, 208), "random": (6_349, 0, 733),
    "challenging": (1_953, 28, 195), "SNVs": (44_340, 0, 4_670), "motif_perturbation": (3_287, 240, 328),
    "motif_tiling": (2_624, 29, 263),
}  # fmt: skip
PUBLIC_PAIRED = {"SNVs": 7_121, "motif_perturbation": 329, "motif_tiling": 264}


def simulate(
    subset: Subset, public: np.ndarray, others: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Chooses the rows of a subset, (n, 1 or 2), the public ones first, and says how many these are.

    Args:
        subset: Whose rows.
        public: Rows that are public through this subset, each to be used.
        others: Rows that are not public.
        random: Source of the choice.
    """
    n, _, n_public = SIZES[subset.name]
    if not subset.is_pairs:
        return np.concatenate([public, random.choice(others, n - n_public, replace=False)])[:, None], n_public
    if subset.name != "SNVs":  # many variants of one reference
        private = random.choice(others, n - n_public, replace=False)
        return np.stack([np.append(public[1:], private), np.full(n, public[0])], axis=1), n_public
    # Each public row in one pair, then pairs at random, of public rows with others too: none twice, none with itself.
    once = np.stack([public, np.roll(public, 1)], axis=1)[::2]
    more = np.stack([random.choice(public, 3 * n_public), random.choice(public, 3 * n_public)], axis=1)
    public_pairs = pd.DataFrame(np.concatenate([once, more])).drop_duplicates()[:n_public].to_numpy()
    mixed = np.stack([random.choice(others, n), random.choice(np.append(others, public), n)], axis=1)
    private_pairs = pd.DataFrame(mixed).drop_duplicates()[: n - n_public].to_numpy()
    return np.concatenate([public_pairs, private_pairs]), n_public


def write_challenge(folder: Path, seed: int) -> Path:
    """Writes a whole challenge with simulated values into a folder, and a submission, whose path it returns."""
    random = np.random.default_rng(seed)
    sequences = np.array(to_strings(random_letters(N_ROWS, 110, random)), dtype=object)
    values = random.normal(0, 0.7, N_ROWS)
    for name in (PUBLIC_FOLDER, SUBSET_FOLDER):
        (folder / name).mkdir()
    pd.DataFrame({0: sequences, 1: values}).to_csv(folder / TEST_FILE, sep="\t", header=False, index=False)
    n_public_rows = [PUBLIC_PAIRED.get(subset.name, SIZES[subset.name][2]) for subset in LISTED]
    *public, others = np.split(random.permutation(N_ROWS), np.cumsum(n_public_rows))
    ground = np.concatenate(public)
    (folder / PUBLIC_FOLDER / "ground.json").write_text(
        json.dumps(dict(zip(map(str, ground), values[ground], strict=True)))
    )
    for subset, rows in zip(LISTED, public, strict=True):
        chosen, n_public = simulate(subset, rows, others, random)
        keys = [",".join(map(str, row)) for row in chosen[:n_public]]
        entries = values[chosen[:n_public]] if subset.is_pairs else values[chosen[:n_public, 0]]
        text = json.dumps(dict(zip(keys, entries.tolist(), strict=True)))
        (folder / PUBLIC_FOLDER / subset.public_file).write_text(text)
        listed = random.permutation(np.concatenate([chosen, chosen[: SIZES[subset.name][1]]]))
        prefixes = ("alt_", "ref_") if subset.is_pairs else ("",)
        table = {f"{prefix}sequence": sequences[row] for prefix, row in zip(prefixes, listed.T, strict=True)}
        table |= {f"{prefix}pos": row for prefix, row in zip(prefixes, listed.T, strict=True)}
        pd.DataFrame(table).to_csv(folder / SUBSET_FOLDER / subset.tables[0])
    path = folder / "submission.tsv"
    predicted = 11 + 3 * values + random.normal(0, 1, N_ROWS)
    pd.DataFrame({0: sequences, 1: predicted}).to_csv(path, sep="\t", header=False, index=False)
    return path


def read_plainly(folder: Path, path: Path) -> dict[str, Any]:
    """Reads everything whole, into lists."""
    files: dict[str, Any] = {}
    for subset in LISTED:
        table = pd.read_csv(folder / SUBSET_FOLDER / subset.tables[0])
        public = list(json.loads((folder / PUBLIC_FOLDER / subset.public_file).read_text()))
        if subset.is_pairs:
            rows = list(set(zip(table["alt_pos"].tolist(), table["ref_pos"].tolist(), strict=True)))
            files[subset.name] = rows, [tuple(map(int, key.split(","))) for key in public]
        else:
            files[subset.name] = np.unique(table["pos"]).tolist(), [int(key) for key in public]
    for name, file in (("measured", folder / TEST_FILE), ("predicted", path)):
        files[name] = pd.read_csv(file, sep="\t", header=None)[1].tolist()
    return files


def score_plainly(files: dict[str, Any], share: float) -> tuple[float, float]:
    """Scores with one search through a list per row; with a share below 1, of that share of the rows only."""
    public: list[int] = []
    for subset in LISTED:
        for row in files[subset.name][1]:
            public += row if subset.is_pairs else [row]
    public = list(set(public))
    pearson_score = spearman_score = 0.0
    for subset in SUBSETS:
        rows, taken = files.get(subset.name, (list(range(N_ROWS)), public))
        taken = taken if subset.is_pairs else public
        rows = [row for row in rows[: round(share * len(rows))] if row not in taken]
        x, y = (
            [values[row[0]] - values[row[1]] if subset.is_pairs else values[row] for row in rows]
            for values in (files["predicted"], files["measured"])
        )
        pearson_score += subset.weight * pearsonr(x, y).statistic ** 2 / 4.65
        spearman_score += subset.weight * spearmanr(x, y).statistic / 4.65
    return pearson_score, spearman_score


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Runs the program; returns the seconds that it prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer_percentage", type=float, default=100, help="Share of its searches that the peer does.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the simulated rows and values (default: 0).")
    args = parser.parse_args(argv)
    share = args.peer_percentage / 100
    if not 0.01 <= share <= 1:
        parser.error(f"--peer_percentage {args.peer_percentage:g}: allowed are 1 to 100")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_challenge(folder, args.seed)

        def read() -> tuple[Any, np.ndarray]:
            challenge = read_challenge(folder)
            return challenge, read_submission(str(path), challenge)

        reading, (challenge, predicted) = best_seconds(read)
        scoring, metrics = best_seconds(lambda: challenge.score(predicted))
        plain_reading, files = best_seconds(lambda: read_plainly(folder, path))
        plain_scoring, plain = best_seconds(lambda: score_plainly(files, share), 1)
    plain_scoring /= share
    result = {"reading": reading, "scoring": scoring, "plain_reading": plain_reading, "plain_scoring": plain_scoring}
    print(f"{processor_name()}; {versions('numpy')}; seconds, best of 3, the loops run once")
    print(f"{'':<28}{'reading':>9}{'scoring':>9}{'together':>10}{'Pearson':>10}{'Spearman':>10}")
    note = "" if share == 1 else f" (from {args.peer_percentage:g} %)"
    ours = (metrics["pearson_score"], metrics["spearman_score"])
    for label, times, scores in (
        ("kmerbert", (reading, scoring), ours),
        (f"lists{note}", (plain_reading, plain_scoring), plain if share == 1 else ()),
    ):
        columns = "".join(f"{score:>10.6f}" for score in scores)
        print(f"{label:<28}{times[0]:>9.2f}{times[1]:>9.2f}{sum(times):>10.2f}{columns}")
    return result


if __name__ == "__main__":
    main()
