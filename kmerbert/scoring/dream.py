"""The official score of the Random Promoter DREAM Challenge 2022: which rows count, and how they are weighted.

There are nine subsets of one test file. In six, predictions are compared with measured values; the other three consist of
pairs of sequences (alternative, reference), and the difference of two predictions is compared with that of the two measured
values. Sources: Rafi et al., doi:10.1038/s41587-024-02414-w, and the scoring program in the repository
de-Boer-Lab/random-promoter-dream-challenge-2022, whose file names, splits and weights these are.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from kmerbert.predicting.table import check_columns, read_numbers, read_row_values, read_table
from kmerbert.reading.sources import FileSource, readable_file
from kmerbert.scoring.metrics import regression_metrics

TEST_FILE = "filtered_test_data_with_MAUDE_expression.txt"
PUBLIC_FOLDER, SUBSET_FOLDER = "public_leaderboard_ids", "test_subset_ids"
Leaderboard = Literal["public", "private"]


class Subset(NamedTuple):
    """One term of the score, and the files that list its rows; the second name of a table is the repository's."""

    name: str
    title: str
    weight: float
    tables: tuple[str, ...]
    public_file: str
    is_pairs: bool = False

    @property
    def columns(self) -> list[str]:
        """Columns of the table that hold rows of the test file, from 0."""
        return ["alt_pos", "ref_pos"] if self.is_pairs else ["pos"]


ALL = Subset("all", "all test promoters", 1.0, (), "ground.json")
LISTED = (
    Subset("high", "high expression", 0.3, ("high_exp_seqs.csv",), "high_exp_indices.json"),
    Subset("low", "low expression", 0.3, ("low_exp_seqs.csv",), "low_exp_indices.json"),
    Subset("yeast", "native yeast promoters", 0.3, ("yeast_seqs.csv",), "yeast_exp_indices.json"),
    Subset("random", "random promoters", 0.3, ("all_random_seqs.csv",), "random_exp_indices.json"),
    Subset("challenging", "challenging promoters", 0.5, ("challenging_seqs.csv",), "challenging_exp_indices.json"),
    Subset("SNVs", "single-nucleotide variants", 1.25, ("all_SNVs_seqs.csv",), "SNVs_exp_indices.json", True),
    Subset(
        "motif_perturbation",
        "perturbed motifs",
        0.3,
        ("motif_perturbation.csv", "motif_perturbation_seqs.csv"),
        "motif_perturbation_exp_indices.json",
        True,
    ),
    Subset("motif_tiling", "tiled motifs", 0.4, ("motif_tiling_seqs.csv",), "motif_tiling_exp_indices.json", True),
)
SUBSETS = (ALL, *LISTED)


@dataclass(frozen=True)
class Challenge:
    """What predictions are compared with.

    Attributes:
        leaderboard: The public tenth of the rows, or the rest, by which the challenge was decided.
        measured: Expression of each row of the test file, float64 (n_rows,); NaN if unknown.
        rows: Rows of every subset, from 0, each once: int64 (n,), sorted, or (n, 2) as alternative and reference.
        sequences: Of the test file, str (n_rows,), upper case; None without that file: `measured` then ends with the last
            public row.
    """

    leaderboard: Leaderboard
    measured: np.ndarray
    rows: Mapping[str, np.ndarray]
    sequences: np.ndarray | None = None

    def values(self, subset: str, numbers: np.ndarray) -> np.ndarray:
        """Returns what a subset compares: numbers (n_rows,) of its rows, or alternative minus reference of its pairs."""
        values = numbers[self.rows[subset]]
        return values if values.ndim == 1 else values[:, 0] - values[:, 1]

    def score(self, predicted: np.ndarray) -> dict[str, Any]:
        """Computes the official score.

        It is sum(w r^2) / 4.65 for Pearson's r and sum(w rho) / 4.65 for Spearman's rho, which is not squared; 4.65 is
        the sum of the weights w. A subset whose predictions are constant has r = rho = 0.

        Args:
            predicted: Numbers (n_rows,), in the order of the test file; NaN for rows that are not on the leaderboard.

        Returns:
            `pearson_score`, `spearman_score`, `leaderboard`, `n`, and `r2_all` and `rho_all` of the subset `all`; under
            `subsets`, for each of the nine: `weight`, `n` (rows or pairs), `r`, `rho`, and `r2`, the square of r.

        Raises:
            ValueError: The number of rows differs, or a subset has no rows, or a prediction that is NaN or infinite.
        """
        if predicted.shape != self.measured.shape:
            raise ValueError(f"predictions {predicted.shape}, test file {self.measured.shape}: every row needs one")
        subsets = {}
        for subset in SUBSETS:
            if not len(self.rows[subset.name]):
                raise ValueError(f"subset {subset.name} has no row on the {self.leaderboard} leaderboard")
            metrics = regression_metrics(*(self.values(subset.name, x) for x in (predicted, self.measured)))
            r, rho = metrics["pearsonr"], metrics["spearmanr"]
            n = len(self.rows[subset.name])
            subsets[subset.name] = {"weight": subset.weight, "n": n, "r": r, "rho": rho, "r2": r**2}
        total = sum(subset.weight for subset in SUBSETS)
        return {
            "pearson_score": sum(score["weight"] * score["r2"] for score in subsets.values()) / total,
            "spearman_score": sum(score["weight"] * score["rho"] for score in subsets.values()) / total,
            "leaderboard": self.leaderboard,
            "n": subsets["all"]["n"],
            "r2_all": subsets["all"]["r2"],
            "rho_all": subsets["all"]["rho"],
            "subsets": subsets,
        }

    def constant_subsets(self, predicted: np.ndarray) -> list[str]:
        """Names the subsets in which the predictions (n_rows,), or their differences, do not vary."""
        return [subset.name for subset in SUBSETS if np.ptp(self.values(subset.name, predicted)) == 0]


def score_lines(metrics: Mapping[str, Any], constant: Sequence[str]) -> list[str]:
    """Formats the result of `Challenge.score` as the lines of a table, with a warning of subsets that do not vary."""
    lines = [f"{'subset':<24}{'weight':>8}{'n':>8}{'r':>8}{'rho':>8}"]
    for name, score in metrics["subsets"].items():
        lines.append(f"{name:<24}{score['weight']:>8.2f}{score['n']:>8}{score['r']:>8.3f}{score['rho']:>8.3f}")
    if constant:
        lines.append(f"warning: predictions do not vary in {', '.join(constant)}: such a subset counts as r = rho = 0")
    for name in ("Pearson", "Spearman"):
        title, score = f"{name} Score, {metrics['leaderboard']}", metrics[f"{name.lower()}_score"]
        lines.append(f"{title:<40}{score:>16.4f}")
    return lines


def read_challenge(folder: Path, leaderboard: Leaderboard | None = None) -> Challenge:
    """Reads the files of the challenge.

    The public leaderboard needs the folder `public_leaderboard_ids`, which contains its measured values. The private one
    is what is left without the public rows, and also needs `test_subset_ids` and the labelled test file: single sequences
    are left out if they are public in any subset or pair, a pair only if it is itself public in that subset.

    Args:
        folder: Where they are.
        leaderboard: By default private if the labelled test file is there, otherwise public.

    Raises:
        ValueError: A file is missing or not what it should be, a row is outside the test file, or files contradict each
            other.
    """
    if not folder.is_dir():
        raise ValueError(f"`challenge_dir` {folder}: no such folder: name the one that contains {PUBLIC_FOLDER}")
    public, measured = _read_public(folder / PUBLIC_FOLDER)
    test_file = folder / TEST_FILE
    leaderboard = leaderboard or ("private" if test_file.is_file() else "public")
    if leaderboard == "public" and not test_file.is_file():
        return Challenge("public", measured, public)
    sequences, labels = read_test_file(test_file)
    _check_labels(labels, measured, public["all"], test_file)
    if leaderboard == "public":
        measured = np.pad(measured, (0, len(labels) - len(measured)), constant_values=np.nan)
        return Challenge("public", measured, public, sequences)
    rows = {"all": np.setdiff1d(np.arange(len(labels)), public["all"])}
    for subset in LISTED:
        listed = _read_subset(folder / SUBSET_FOLDER, subset, len(labels))
        excluded = public[subset.name] if subset.is_pairs else public["all"]
        rows[subset.name] = _without(listed, excluded, len(labels))
    return Challenge("private", labels, rows, sequences)


def read_test_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads the labelled test file: `sequence<TAB>expression`, no header.

    Returns:
        Sequences, str (n_rows,), upper case, and measured values, float64 (n_rows,).

    Raises:
        ValueError: The file is missing or no such table, or a value is missing or no finite number.
    """
    _check_file(path, "it has the private labels; without it, score with `leaderboard` public")
    table = read_table(FileSource(path, headerless_label="value", has_header=False), "challenge_dir")
    if "value" not in table:
        raise ValueError(f"{path}: 1 column, but there must be two, sequence<TAB>measured value, without a header")
    labels = pd.to_numeric(table["value"], errors="coerce").to_numpy(np.float64)
    for row in np.flatnonzero(~np.isfinite(labels))[:1]:
        location = f"{path}, line {table.index[row]}"
        raise ValueError(f"{location}: the value is {table['value'].iloc[row]!r}: every row needs a measured number")
    return table["sequence"].str.upper().to_numpy(dtype=object), labels


def _check_file(path: Path, hint: str) -> None:
    """Raises ValueError, with the hint, for a file that does not exist."""
    if not path.is_file():
        raise ValueError(f"`challenge_dir`: no file {path}: {hint}")


def _read_public(folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Reads the rows of the public subsets, and the values (last row + 1,), NaN between; they must be consistent."""
    public = {}
    for subset in SUBSETS:
        path = folder / subset.public_file
        _check_file(path, _hint(folder.parent))
        public[subset.name] = read_row_values(path, 1 + subset.is_pairs)
    ground, ground_values = public["all"]
    measured = np.full(ground.max() + 1, np.nan)
    measured[ground] = ground_values
    for subset in LISTED:
        rows, values = public[subset.name]
        known = measured.take(rows, mode="clip")
        # Equal but for how a program prints numbers. NaN, a row without a value, is never near.
        agrees = (rows < len(measured)) & (np.abs(known - values) <= 1e-6)
        if not agrees.all():
            entry = f"{folder / subset.public_file}: row {rows[~agrees][0]} has the value {values[~agrees][0]:g}"
            raise ValueError(f"{entry}, but not in {ALL.public_file}: the files are not of one set")
    listed = np.unique(np.concatenate([public[subset.name][0].ravel() for subset in LISTED]))
    for row in np.setdiff1d(ground, listed)[:1]:
        raise ValueError(f"{folder / ALL.public_file}: row {row} is in no public subset: the files are not of one set")
    return {"all": listed} | {subset.name: public[subset.name][0] for subset in LISTED}, measured


def _hint(folder: Path) -> str:
    """What to do if public files are missing: often the folder above, or one below, was meant."""
    if not (folder / PUBLIC_FOLDER).is_dir():
        for near in (folder.absolute().parent, *sorted(folder.iterdir())):
            if os.path.isdir(near / PUBLIC_FOLDER):  # also where it may not be looked into
                return f"name the folder that contains {PUBLIC_FOLDER}: {near}"
    return f"{PUBLIC_FOLDER} is published with the challenge and always needed"


def _check_labels(labels: np.ndarray, measured: np.ndarray, public: np.ndarray, path: Path) -> None:
    """Raises ValueError for a test file that does not have the public rows, or has them in another order."""
    if len(measured) > len(labels):
        raise ValueError(f"{path} has {len(labels)} rows, but public row {len(measured) - 1} (from 0) is outside")
    r = regression_metrics(labels[public], measured[public])["pearsonr"]
    if r < 0.99:
        hint = "it must be the challenge's own file, with its rows in order"
        raise ValueError(f"{path}: its values of the public rows have r = {r:.2f} with {ALL.public_file}: {hint}")


def _read_subset(folder: Path, subset: Subset, n_rows: int) -> np.ndarray:
    """Reads the rows of a subset, each once; int64 (n,) or (n, 2)."""
    path = next((folder / name for name in subset.tables if (folder / name).is_file()), folder / subset.tables[0])
    _check_file(path, f"{SUBSET_FOLDER} lists the private rows; without it, score with `leaderboard` public")
    table = read_table(FileSource(path, has_header=True), "challenge_dir")
    rows = np.empty((len(table), len(subset.columns)), np.int64)
    for position, column in enumerate(subset.columns):
        if column not in table:
            raise ValueError(f"{path}: no column {column!r}; it must have {', '.join(subset.columns)}")
        numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
        is_row = (numbers >= 0) & (numbers < n_rows) & (numbers % 1 == 0)
        for row in np.flatnonzero(~is_row)[:1]:
            allowed = f"rows of {TEST_FILE}, from 0 to {n_rows - 1}"
            location = f"{path}, line {table.index[row]}"
            raise ValueError(f"{location}: {column} is {table[column].iloc[row]!r}: allowed are {allowed}")
        rows[:, position] = numbers
    return rows if subset.is_pairs else rows[:, 0]


def _without(rows: np.ndarray, excluded: np.ndarray, n_rows: int) -> np.ndarray:
    """The rows (n,) or pairs (n, 2) that are not excluded, each once, sorted."""
    if rows.ndim == 1:
        return np.setdiff1d(rows, excluded)
    codes, excluded_codes = (pairs[:, 0] * n_rows + pairs[:, 1] for pairs in (rows, excluded))
    return np.stack(np.divmod(np.setdiff1d(codes, excluded_codes), n_rows), axis=1)


def read_submission(path: str, challenge: Challenge) -> np.ndarray:
    """Reads predictions for the challenge, and makes sure that they are those of its rows.

    Args:
        path: `.json`, `{"row": prediction}`: the public rows, or every row; or a table with one row per row of the test
            file, in its order: `sequence<TAB>prediction` without header, or with a header that has these columns.
        challenge: Whose rows are predicted.

    Returns:
        float64 (n_rows,), in the order of the test file; NaN for rows that a `.json` file does not have.

    Raises:
        ValueError: Rows or sequences are not those of the test file, or a prediction is not a finite number.
    """
    if Path(path).suffix.lower() == ".json":
        with readable_file("predictions_file", Path(path)):
            rows, values = read_row_values(Path(path))
        return _in_test_order(rows, values, challenge, path)
    source = FileSource(Path(path), headerless_label="prediction")
    table = read_table(source, "predictions_file")
    check_columns(table, ["sequence", "prediction"], path, "or, without header, sequence<TAB>prediction")
    predicted, n_rows = read_numbers(table, "prediction", source), len(challenge.measured)
    if challenge.sequences is None:
        if len(predicted) < n_rows:
            raise ValueError(f"{path} has {len(predicted)} rows, but row {n_rows - 1} (from 0) is public: {_NEEDED}")
        return predicted[:n_rows]
    if len(predicted) != n_rows:
        raise ValueError(f"{path} has {len(predicted)} rows, the test file {n_rows}: {_NEEDED}")
    sequences = table["sequence"].astype(str).str.upper().to_numpy(dtype=object)
    for row in np.flatnonzero(sequences != challenge.sequences)[:1]:
        problem = f"the sequence is {sequences[row]!r}, in the test file {challenge.sequences[row]!r}"
        raise ValueError(f"{source.location(int(table.index[row]))}: {problem}: {_NEEDED}")
    return predicted


_NEEDED = "there must be one prediction per row of the test file, in its order"


def _in_test_order(rows: np.ndarray, values: np.ndarray, challenge: Challenge, path: str) -> np.ndarray:
    """Values in the order of the test file, float64 (n_rows,), if they are of all public rows, or of all rows."""
    n_rows, given = len(challenge.measured), np.sort(rows)
    every = np.arange(n_rows if challenge.sequences is not None else max(n_rows, len(rows)))
    needed = challenge.rows["all"] if challenge.leaderboard == "public" else every
    if not (np.array_equal(given, needed) or np.array_equal(given, every)):
        missing, unknown = np.setdiff1d(needed, given), np.setdiff1d(given, needed)
        problem = f"{missing[0]} is missing" if len(missing) else f"{unknown[0]} is not one of them"
        hint = "" if challenge.leaderboard == "public" else "; `leaderboard` public scores the public rows alone"
        rule = f"the {challenge.leaderboard} leaderboard needs {len(needed)}, each row of it once"
        raise ValueError(f"{path} has {len(rows)} keys; {rule}: {problem}{hint}")
    predicted = np.full(len(every), np.nan)
    predicted[rows] = values
    return predicted[:n_rows]
