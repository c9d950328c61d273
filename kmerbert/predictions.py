"""The table of predictions that scripts and other people's programs exchange. Knows no model."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd


def write_predictions(
    path: Path,
    ids: Sequence[str],
    sequences: Sequence[str],
    predictions: np.ndarray,
    observed: np.ndarray | None,
    names: Sequence[str],
) -> None:
    """Writes a TSV table with the columns `id sequence prediction`, and `observed` where values were measured.

    With several outputs the columns are `prediction_<name>` and `observed_<name>`. The table appears under its name only
    when it is whole.

    Args:
        path: of the table.
        ids, sequences: n of each.
        predictions, observed: float arrays (n, outputs) in the labels' unit; NaN where nothing was measured.
        names: of the outputs.
    """
    table = {"id": ids, "sequence": sequences}
    for column, values in (("prediction", predictions), ("observed", observed)):
        for output, name in enumerate(names if values is not None else ()):
            table[column if len(names) == 1 else f"{column}_{name}"] = values[:, output]
    write_text(path, pd.DataFrame(table).to_csv(sep="\t", index=False, float_format="%.7g"))


def write_text(path: Path, text: str) -> None:
    """Writes a text file that is never seen half-written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
