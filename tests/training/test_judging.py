"""The verdict of a run: what it says to do where the model and ridge regression are as good."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from kmerbert.training.judging import judge


@pytest.mark.parametrize(
    ("has_folds", "advice"), [(False, "; more test rows or --folds 5 would tell"), (True, "; more rows would tell")]
)
def test_what_would_tell_a_difference(has_folds: bool, advice: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    observed = random.normal(size=60)
    for name in ("test_predictions.tsv", "test_ridge_predictions.tsv"):
        prediction = observed + random.normal(size=60)
        table = pd.DataFrame({"id": range(60), "prediction": prediction, "observed": observed})
        table.to_csv(tmp_path / name, sep="\t", index=False)
    folder = SimpleNamespace(path=tmp_path, note=lambda name: None)
    ridge = judge(folder, {}, [], "run_predict.py {}", has_folds=has_folds).lines[1]
    assert "no clear difference" in ridge
    assert ridge.endswith(advice)
