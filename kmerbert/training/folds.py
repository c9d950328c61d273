"""The result of a cross-validation: the mean of its models as one model, and how well each predicts what it has not seen."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from transformers import PreTrainedModel

from kmerbert.files import write_text
from kmerbert.models.loading import tokenizer_for
from kmerbert.predicting.ensemble import joint_facts, load_ensemble, output_names
from kmerbert.predicting.table import (
    FOLD,
    number_columns,
    output_suffixes,
    own_columns,
    prediction_table,
    read_predictions,
)
from kmerbert.predicting.writers import write_tables
from kmerbert.scoring.baselines import BASELINE_FILE
from kmerbert.scoring.metrics import REGRESSION_METRICS, regression_metrics
from kmerbert.training.folder import RunFolder
from kmerbert.training.run import fold_folder, whole_model, write_results
from modeling_kmer_ensemble import KmerEnsembleForSequenceClassification
from tokenization_kmer import KmerTokenizer

logger = logging.getLogger(__name__)
# Metrics of each fold, their mean and standard deviation, those of all rows together and of the test rows.
RESULTS_FILE = "cross_validation.json"


class CrossValidation(NamedTuple):
    """What a cross-validation has shown.

    Attributes:
        model, tokenizer: The mean of the models, in the unit of the labels.
        folds: Metrics of each fold, by its name.
        fold_rows: Fold -> for each output, its rows with a measured value.
        fold_baselines: Fold -> `ridge` -> metrics of the ridge regression of the other folds, if it was fitted.
        mean, sd: Of these metrics; the standard deviation has the number of folds less one as its divisor.
        splits: Metrics, with the Trainer's prefixes, of `validation`, all rows outside the test set, each predicted by the model
            that has not seen it; and of `test`, if there are test rows, predicted by the mean of the models.
        baselines: Split -> `ridge` -> metrics of the ridge regressions of the same folds, if they were fitted.
    """

    model: PreTrainedModel
    tokenizer: KmerTokenizer
    folds: dict[str, dict[str, float]]
    fold_rows: dict[str, list[int]]
    fold_baselines: dict[str, dict[str, dict[str, float]]]
    mean: dict[str, float]
    sd: dict[str, float]
    splits: dict[str, dict[str, float]]
    baselines: dict[str, dict[str, dict[str, float]]]


def join_folds(folder: RunFolder, names: Sequence[str], **facts: Any) -> CrossValidation:
    """Joins the finished folds: saves the mean of their models, their predictions and all metrics into the folder.

    Args:
        folder: Of the cross-validation.
        names: Of the folds, in their order.
        facts: More entries of the model's configuration.

    Raises:
        ValueError: The models were trained on different tables, or something cannot be written.
    """
    paths = [fold_folder(folder.path, fold) for fold in range(len(names))]
    tokenizer, members, _ = load_ensemble([str(path) for path in paths])
    for path, member in zip(paths, members, strict=True):
        if member.config.data_checksum != members[0].config.data_checksum:
            raise ValueError(
                f"{path} was trained on another content of {member.config.data_name} than {paths[0]}: start again with "
                "`overwrite_output_dir`"
            )
    outputs = output_names(members[0].config)
    own = [read_predictions(str(path / "validation_predictions.tsv")) for path in paths]
    validation = pd.concat([table.assign(**{FOLD: fold}) for fold, table in enumerate(own)], ignore_index=True)
    facts |= joint_facts(members) | {"n_training_rows": len(validation)}

    model = KmerEnsembleForSequenceClassification.from_members(members, **facts)
    with whole_model(folder) as scratch:
        model.save_pretrained(scratch)
        tokenizer_for(model, tokenizer).save_pretrained(scratch)

    folds = {name: _score(table, outputs) for name, table in zip(names, own, strict=True)}
    measured = {name: _columns(table, "observed", outputs) for name, table in zip(names, own, strict=True)}
    n_rows = {name: np.isfinite(values).sum(axis=0).tolist() for name, values in measured.items()}
    values = {metric: np.array([scores[metric] for scores in folds.values()]) for metric in next(iter(folds.values()))}
    mean = {metric: float(column.mean()) for metric, column in values.items()}
    sd = {metric: float(column.std(ddof=1)) for metric, column in values.items()}
    splits = {"validation": _score(validation, outputs, "eval_")}
    _write(folder, "validation_predictions.tsv", pa.Table.from_pandas(validation, preserve_index=False))
    if (paths[0] / "test_predictions.tsv").exists():
        test = _mean_of(paths, outputs)
        splits["test"] = _score(test.to_pandas(), outputs, "test_")
        _write(folder, "test_predictions.tsv", test)
        write_results(folder, "test", splits["test"])
    write_results(folder, "eval", splits["validation"])
    ridge = BASELINE_FILE.format("validation")
    tables = {name: path / ridge for name, path in zip(names, paths, strict=True) if (path / ridge).exists()}
    baselines = {name: {"ridge": _score(read_predictions(str(path)), outputs)} for name, path in tables.items()}
    result = CrossValidation(
        model, tokenizer, folds, n_rows, baselines, mean, sd, splits, _join_baselines(folder, paths, outputs)
    )
    folder.note(RESULTS_FILE)
    content = {"folds": folds, "mean": mean, "sd": sd, "baselines": baselines, **splits}
    write_text(folder.path / RESULTS_FILE, json.dumps(content, indent=2) + "\n")
    for line in _lines(result, [len(table) for table in own]):
        logger.info("%s", line)
    return result


def _join_baselines(
    folder: RunFolder, paths: Sequence[Path], outputs: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Joins the predictions of the folds' ridge regressions like those of the models, and scores them."""
    metrics = {}
    for split in ("validation", "test"):
        name = BASELINE_FILE.format(split)
        if not all((path / name).exists() for path in paths):
            continue
        if split == "test":
            table = _mean_of(paths, outputs, name)
        else:
            own = pd.concat([read_predictions(str(path / name)) for path in paths], ignore_index=True)
            table = pa.Table.from_pandas(own, preserve_index=False)
        _write(folder, name, table)
        metrics[split] = {"ridge": _score(table.to_pandas(), outputs)}
    return metrics


def _score(table: pd.DataFrame, outputs: Sequence[str], prefix: str = "") -> dict[str, float]:
    """Metrics of a table of predictions, with a prefix before their names."""
    predicted, measured = (_columns(table, kind, outputs) for kind in ("prediction", "observed"))
    return {f"{prefix}{metric}": value for metric, value in regression_metrics(predicted, measured, outputs).items()}


def _columns(table: pd.DataFrame, kind: str, outputs: Sequence[str]) -> np.ndarray:
    """Columns of a kind, float64 (n, outputs)."""
    return number_columns(table, [kind + suffix for suffix in output_suffixes(outputs)], kind, "")


def _mean_of(paths: Sequence[Path], outputs: Sequence[str], name: str = "test_predictions.tsv") -> pa.Table:
    """The mean of the models' predictions of the test rows, with the standard deviation between them."""
    tables = [read_predictions(str(path / name)) for path in paths]
    values = np.stack([_columns(table, "prediction", outputs) for table in tables], axis=1)
    ids, sequences = (pa.array(tables[0][name]) for name in ("id", "sequence"))
    own = own_columns(outputs)
    kept = {name: pa.array(tables[0][name], from_pandas=True) for name in tables[0] if name not in own}
    return prediction_table(ids, sequences, values, outputs, _columns(tables[0], "observed", outputs), kept=kept)


def _write(folder: RunFolder, name: str, table: pa.Table) -> None:
    folder.note(name)
    write_tables(folder.path / name, iter([table]))


def _lines(result: CrossValidation, n_rows: Sequence[int]) -> list[str]:
    """What is said of the result at the end."""
    lines = [
        f"fold {name}: r {scores['pearsonr']:.3f} of {n} rows"
        for (name, scores), n in zip(result.folds.items(), n_rows, strict=True)
    ]
    lines.append(f"mean of {len(n_rows)} folds: {describe_folds(result.mean, result.sd)}")
    pooled, test = result.splits["validation"], result.splits.get("test")
    lines.append(
        f"all {sum(n_rows)} rows, each predicted by the model that has not seen it: r {pooled['eval_pearsonr']:.3f}, r2 "
        f"{pooled['eval_r2']:.3f}"
    )
    if test:
        lines.append(
            f"test rows, predicted by the mean of the models: r {test['test_pearsonr']:.3f}, r2 {test['test_r2']:.3f}"
        )
    return lines


def describe_folds(mean: Mapping[str, float], sd: Mapping[str, float]) -> str:
    """Says the means of all metrics with their standard deviations.

    >>> describe_folds({"pearsonr": 0.5, "r2": 0.25}, {"pearsonr": 0.1, "r2": 0.05})
    'r 0.500 +- 0.100, r2 0.250 +- 0.050'
    """
    shown = [metric for metric in REGRESSION_METRICS if metric in mean]
    names = {"pearsonr": "r", "spearmanr": "rho"}
    return ", ".join(f"{names.get(metric, metric)} {mean[metric]:.3f} +- {sd[metric]:.3f}" for metric in shown)
