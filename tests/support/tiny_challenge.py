"""A DREAM Challenge of a few hundred rows, with everything in it that makes the official score easy to get wrong."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

N = 300
SINGLES = ("high", "low", "yeast", "random", "challenging")
PAIRS = ("SNVs", "motif_perturbation", "motif_tiling")
CSV_NAMES = {
    "high": "high_exp_seqs.csv", "low": "low_exp_seqs.csv", "yeast": "yeast_seqs.csv", "random": "all_random_seqs.csv",
    "challenging": "challenging_seqs.csv", "SNVs": "all_SNVs_seqs.csv", "motif_perturbation": "motif_perturbation.csv",
    "motif_tiling": "motif_tiling_seqs.csv",
}  # fmt: skip
LABELLED = "filtered_test_data_with_MAUDE_expression.txt"


class TinyChallenge(NamedTuple):
    """Its folder, what is in it as plain Python, and predictions for every row."""

    folder: Path
    sequences: list[str]
    values: list[float]
    predicted: list[float]
    listed: dict[str, list[Any]]
    public: dict[str, list[Any]]

    @property
    def public_rows(self) -> set[int]:
        """All rows that are public in any way."""
        rows = {row for name in SINGLES for row in self.public[name]}
        return rows | {row for name in PAIRS for pair in self.public[name] for row in pair}

    def json_file(self, name: str) -> Path:
        """The file of a public subset."""
        return self.folder / "public_leaderboard_ids" / ("ground.json" if name == "all" else f"{name}_exp_indices.json")

    def csv_file(self, name: str) -> Path:
        """The table of a subset."""
        return self.folder / "test_subset_ids" / CSV_NAMES[name]

    def submission(self, rows: list[int] | None = None) -> dict[str, float]:
        """Predictions as the challenge exchanges them; by default for the public rows."""
        return {str(row): self.predicted[row] for row in (sorted(self.public_rows) if rows is None else rows)}


def make_challenge(folder: Path) -> TinyChallenge:
    """Writes the challenge into a folder.

    Tables list rows and pairs twice; row 45 is public as `high` and listed, but not public, as `random`; row 250 is
    public in a pair only, and listed as `low`; the private pair (200, 250) has that public row; (201, 200) is public
    and its mirror image (200, 201) is not; (290, 290) is a pair with itself.
    """
    random = np.random.default_rng(0)
    sequences = ["".join(row) for row in random.choice(list("ACGT"), (N, 20))]
    values = random.normal(0.2, 0.7, N)
    predicted = (11 + 3 * values + random.normal(0, 1.5, N)).tolist()
    listed: dict[str, list[Any]] = {
        "high": list(range(50)),
        "low": [*range(50, 90), 250],
        "yeast": [*range(90, 130), *range(90, 110)],
        "random": [45, *range(130, 199)],
        "challenging": [*range(20, 60), 20, 21, 22, 199],
        "SNVs": [(row, row - 1) for row in range(200, 260)] + [(200, 250), (200, 201), (203, 202), (203, 202)],
        "motif_perturbation": [(row, 260) for row in range(261, 285)] + [(270, 260)],
        "motif_tiling": [(row, 290) for row in range(280, 299)],
    }
    public = {name: rows[:6] for name, rows in listed.items()}
    public |= {"high": [45, 1, 2, 3], "SNVs": [(250, 249), (201, 200), (255, 254), (230, 229), (240, 239)]}
    tiny = TinyChallenge(folder, sequences, values.tolist(), predicted, listed, public)
    for name in ("public_leaderboard_ids", "test_subset_ids"):
        (folder / name).mkdir(parents=True)
    rows = [f"{sequence}\t{value!r}\n" for sequence, value in zip(sequences, tiny.values, strict=True)]
    (folder / LABELLED).write_text("".join(rows))
    tiny.json_file("all").write_text(json.dumps({str(row): tiny.values[row] for row in tiny.public_rows}))
    for name in SINGLES:
        tiny.json_file(name).write_text(json.dumps({str(row): tiny.values[row] for row in public[name]}))
        lines = [f"{line},tag{row},{sequences[row]},{row},\n" for line, row in enumerate(listed[name])]
        tiny.csv_file(name).write_text("".join([",tag,sequence,pos,exp\n", *lines]))
    for name in PAIRS:
        pairs = {f"{alt},{ref}": [tiny.values[alt], tiny.values[ref]] for alt, ref in public[name]}
        tiny.json_file(name).write_text(json.dumps(pairs))
        lines = [
            f"{line},{sequences[alt]},{sequences[ref]},{alt},{ref},,\n" for line, (alt, ref) in enumerate(listed[name])
        ]
        header = ",alt_sequence,ref_sequence,alt_pos,ref_pos,alt_exp,ref_exp\n"
        tiny.csv_file(name).write_text("".join([header, *lines]))
    return tiny
