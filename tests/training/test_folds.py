"""Cross-validation from the command line: predictions of what a model has not seen, the mean of the models, resuming."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import pearsonr
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import run_finetune_regression
import run_predict
from kmerbert.predicting.predictor import Predictor
from kmerbert.reading.training_sample import TrainingSample
from kmerbert.training.folds import describe_folds
from tests.support.messages import check_message, fails
from tests.support.tiny_runs import flags, planted, write_table
from tokenization_kmer import KmerTokenizer

CONVOLUTIONS = "embedding_size=8,hidden_size=16,num_stages=2,head_size=16,kernel_size=3,stem_kernel_size=5"
SETTINGS = {
    "model_type": "kmer_conv",
    "config_overrides": CONVOLUTIONS,
    "num_train_epochs": 2,
    "test_rows": 18,
    "save_strategy": "steps",
    "save_steps": 4,
    "eval_strategy": "no",
    "replicate_columns": "first,second",
}


def measured_twice(path: Path, n: int = 120) -> Path:
    """Writes rows of `planted` with the two measurements whose mean is the value."""
    random = np.random.default_rng(0)
    sequences, values = planted(random, n)
    noise = random.normal(0, 1, n)
    columns = {"expression": values, "first": values + noise, "second": values - noise}
    return write_table(path, sequence=sequences, **{name: np.round(x, 4) for name, x in columns.items()})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cross-validation of three folds of 34 rows, with its table next to it."""
    folder = tmp_path_factory.mktemp("folds")
    run_finetune_regression.main(flags(measured_twice(folder / "a.tsv"), folder / "run", folds=3, **SETTINGS))
    return folder / "run"


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t")


def test_each_row_is_predicted_by_the_model_that_has_not_seen_it(finished: Path) -> None:
    rows = table(finished / "validation_predictions.tsv")
    test = table(finished / "test_predictions.tsv")
    assert np.bincount(rows["fold"]).tolist() == [34, 34, 34]
    everything = table(finished.parent / "a.tsv")
    assert sorted([*rows["sequence"], *test["sequence"]]) == sorted(everything["sequence"])
    for fold, own in rows.groupby("fold"):
        predictor = Predictor.from_pretrained(finished / f"fold_{fold}", device="cpu")
        assert np.allclose(predictor.predict_values(list(own["sequence"]))[:, 0], own["prediction"], atol=1e-4)
        sample = TrainingSample.from_text(predictor.models[0].config.training_sample)
        is_trained = sample.find(list(everything["sequence"]), both_strands=True).rows
        assert set(everything["sequence"][~is_trained]) == {*own["sequence"], *test["sequence"]}


def test_the_result_is_the_mean_of_the_models(finished: Path) -> None:
    test = table(finished / "test_predictions.tsv")
    sequences = list(test["sequence"])
    members = np.stack(
        [
            Predictor.from_pretrained(finished / f"fold_{fold}", device="cpu").predict_values(sequences)[:, 0]
            for fold in range(3)
        ]
    )
    assert members.std() > 1e-3
    assert np.allclose(test["prediction"], members.mean(axis=0), atol=1e-4)
    assert np.allclose(test["checkpoint_sd"], members.std(axis=0, ddof=1), atol=1e-4)
    predicted = Predictor.from_pretrained(finished, device="cpu").predict(sequences)
    assert np.allclose(predicted["prediction"], test["prediction"], atol=1e-4)
    assert np.allclose(predicted["checkpoint_sd"], test["checkpoint_sd"], atol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(finished, trust_remote_code=True)
    model = AutoModelForSequenceClassification.from_pretrained(finished).eval()
    with torch.no_grad():
        logits = model(**tokenizer(sequences, padding=True, return_tensors="pt")).logits[:, 0]
    assert np.allclose(logits, members.mean(axis=0), atol=1e-4)


def test_metrics_of_each_fold_of_all_rows_and_of_the_test_rows(finished: Path) -> None:
    results = json.loads((finished / "cross_validation.json").read_text())
    rows, test = table(finished / "validation_predictions.tsv"), table(finished / "test_predictions.tsv")
    r = [pearsonr(own["prediction"], own["observed"]).statistic for _, own in rows.groupby("fold")]
    assert np.allclose([results["folds"][fold]["pearsonr"] for fold in "012"], r)
    assert results["mean"]["pearsonr"] == pytest.approx(np.mean(r))
    assert results["sd"]["pearsonr"] == pytest.approx(np.std(r, ddof=1))
    pooled = pearsonr(rows["prediction"], rows["observed"]).statistic
    held_out = pearsonr(test["prediction"], test["observed"]).statistic
    assert json.loads((finished / "all_results.json").read_text()) == results["validation"] | results["test"]
    assert results["validation"]["eval_pearsonr"] == pytest.approx(pooled)
    assert results["test"]["test_pearsonr"] == pytest.approx(held_out, rel=1e-4)
    card = (finished / "README.md").read_text()
    assert f"r {np.mean(r):.3f} +- {np.std(r, ddof=1):.3f}" in card
    assert describe_folds({"pearsonr": 0.5}, {"pearsonr": 0.25}) == "r 0.500 +- 0.250"
    config = json.loads((finished / "config.json").read_text())
    assert (config["n_training_rows"], config["sequence_length"], len(config["members"])) == (102, [24, 24], 3)


def test_the_verdict_and_the_report_are_about_the_folds_together(finished: Path) -> None:
    verdict = json.loads((finished / "verdict.json").read_text())
    test, everything = table(finished / "test_predictions.tsv"), table(finished.parent / "a.tsv")
    assert verdict["split"] == "test"
    replicates = everything.set_index("sequence").loc[test["sequence"], ["first", "second"]]
    r = replicates.corr().iloc[0, 1]
    ceiling = np.sqrt(2 * r / (1 + r))
    assert verdict["ceiling"]["noise_ceiling"] == pytest.approx(ceiling)
    assert f"no model can beat r = {ceiling:.3f}" in verdict["verdict"][2]
    html = (finished / "report.html").read_text()
    rows = table(finished / "validation_predictions.tsv")
    pooled = pearsonr(rows["prediction"], rows["observed"]).statistic
    ridge = table(finished / "validation_ridge_predictions.tsv")
    of_ridge = [pearsonr(ridge["prediction"][own.index], own["observed"]).statistic for _, own in rows.groupby("fold")]
    results = json.loads((finished / "cross_validation.json").read_text())
    assert [results["baselines"][fold]["ridge"]["pearsonr"] for fold in "012"] == pytest.approx(of_ridge)
    for number in (pooled, ceiling, results["mean"]["pearsonr"], results["sd"]["pearsonr"], np.mean(of_ridge)):
        assert f"{number:.3f}" in html
    for words in (
        "of what it is compared with",
        "Pearson r of each fold",
        "ridge regression",
        "learnt from the errors of the validation rows",
        "--folds",
    ):
        assert words in html
    assert not (finished / "fold_0" / "verdict.json").exists()


def test_without_test_rows_the_validation_rows_have_the_ceiling(tmp_path: Path) -> None:
    path = measured_twice(tmp_path / "a.tsv", 60)
    settings = SETTINGS | {"num_train_epochs": 1, "save_strategy": "no", "test_rows": "none", "folds": 2}
    settings |= {"test_split_percentage": 0}
    with fails("a.tsv", "thrid"):
        run_finetune_regression.main(flags(path, tmp_path / "run", **settings | {"replicate_columns": "first,thrid"}))
    assert not list((tmp_path / "run").iterdir())
    path.write_text(path.read_text().replace("\n", "\nACGT!\t1\t1\t1\n", 1))
    run_finetune_regression.main(flags(path, tmp_path / "run", on_bad_rows="drop", **settings))
    assert "ACGT!" in (tmp_path / "run" / "rejected_rows.tsv").read_text()
    verdict = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert (verdict["split"], verdict["ceiling"]["n_replicate_rows"]) == ("validation", 60)


def test_out_of_fold_predictions_give_intervals(finished: Path, tmp_path: Path) -> None:
    calibration, new = finished / "validation_predictions.tsv", ["ACGTACGTACGTACGTACGTACGT"]
    predicted = Predictor.from_pretrained(finished, device="cpu", calibration_file=calibration).predict(new)
    assert predicted["lower"][0] < predicted["prediction"][0] < predicted["upper"][0]
    moved = table(calibration).assign(fold=lambda rows: (rows["fold"] + 1) % 3)
    moved.to_csv(tmp_path / "moved.tsv", sep="\t", index=False)
    for model, rows in ((finished, tmp_path / "moved.tsv"), (finished / "fold_0", calibration)):
        with fails("`calibration_file`", rows.name, "was trained on this sequence"):
            Predictor.from_pretrained(model, device="cpu", calibration_file=rows)


def test_one_command_predicts(finished: Path, tmp_path: Path) -> None:
    output = tmp_path / "new.tsv"
    arguments = {"model_name_or_path": finished, "input_file": finished.parent / "a.tsv", "output_file": output}
    run_predict.main([f"--{name}={value}" for name, value in arguments.items()])
    assert list(table(output).columns) == ["id", "sequence", "prediction", "checkpoint_sd", "outside_training"]


def test_a_resumed_cross_validation_repeats_nothing_and_ends_alike(finished: Path, tmp_path: Path) -> None:
    """Fold 0 was finished, fold 1 was killed after a checkpoint, and fold 2 had not begun."""
    shutil.copytree(finished.parent, tmp_path / "copy")
    run = tmp_path / "copy" / "run"
    for path in [*run.glob("fold_1/*"), *run.glob("*")]:
        if path.is_file() and path.name != "run_files.json":
            path.unlink()
    newest = max(run.glob("fold_1/checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    shutil.rmtree(newest)
    shutil.rmtree(run / "fold_2")
    untouched = {path: path.stat().st_mtime_ns for path in run.glob("fold_0/**/*") if path.is_file()}
    argv = flags(tmp_path / "copy" / "a.tsv", run, folds=3, resume_from_checkpoint="true", **SETTINGS)
    with fails("`folds` 3", "`folds` 4"):
        run_finetune_regression.main([*argv, "--folds=4"])
    run_finetune_regression.main(argv)
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched
    first, second = load_file(finished / "model.safetensors"), load_file(run / "model.safetensors")
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    for name in ("validation_predictions.tsv", "test_predictions.tsv", "cross_validation.json"):
        assert (finished / name).read_text() == (run / name).read_text()


def test_what_is_there_is_kept_unless_it_is_a_runs(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished.parent, tmp_path / "copy")
    run, own = tmp_path / "copy" / "run", tmp_path / "copy" / "run" / "fold_2" / "notes.txt"
    own.write_text("mine")
    argv = flags(tmp_path / "copy" / "a.tsv", run, **SETTINGS)
    with fails("`output_dir`", "not empty"):
        run_finetune_regression.main([*argv, "--folds=2"])
    run_finetune_regression.main([*argv, "--overwrite_output_dir=true", "--folds=2", "--num_train_epochs=1"])
    assert json.loads((run / "cross_validation.json").read_text())["folds"].keys() == {"0", "1"}
    assert [path.name for path in run.glob("fold_2/*")] == ["notes.txt"]
    run_finetune_regression.main([*argv, "--overwrite_output_dir=true", "--num_train_epochs=1"])
    assert [path.name for path in run.glob("fold_*")] == ["fold_2"]
    assert not (run / "cross_validation.json").exists()


def test_nothing_is_left_of_a_cross_validation_that_did_not_begin(tmp_path: Path) -> None:
    path = measured_twice(tmp_path / "a.tsv", 40)
    path.write_text(path.read_text() + "ACGT!\t1.0\t1\t1\n")
    with fails("a.tsv, line 42"):
        run_finetune_regression.main(flags(path, tmp_path / "run", folds=3, **SETTINGS))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"rejected_rows.tsv", "run_files.json"}
    with fails("`resume_from_checkpoint` true", "no folds"):
        run_finetune_regression.main(flags(path, tmp_path / "run", folds=3, resume_from_checkpoint="true", **SETTINGS))
    with fails("`resume_from_checkpoint`", "checkpoint-3", "true"):
        run_finetune_regression.main(
            flags(path, tmp_path / "run", folds=3, resume_from_checkpoint=tmp_path / "checkpoint-3", **SETTINGS)
        )


def test_interrupted_between_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_finetune_regression, "train", stop)
    with pytest.raises(KeyboardInterrupt) as caught:
        run_finetune_regression.main(flags(measured_twice(tmp_path / "a.tsv"), tmp_path / "run", folds=3, **SETTINGS))
    check_message(str(caught.value), "folds", "`resume_from_checkpoint` true")


def test_an_ensemble_is_no_start_of_another_training(finished: Path, tmp_path: Path) -> None:
    with fails("fold_0"):
        run_finetune_regression.main(
            flags(finished.parent / "a.tsv", tmp_path / "run", model_name_or_path=finished, num_train_epochs=1)
        )
    assert KmerTokenizer.from_pretrained(finished).k == 3
