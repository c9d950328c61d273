"""Models of logarithms: what they say of themselves, and the same unit in all files, replicates, intervals and streams."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import run_evaluate
import run_finetune_regression
import run_predict
from kmerbert.predicting.predictor import Predictor
from kmerbert.reading.labels import LabelTransform
from kmerbert.reading.rows import RowSpec
from kmerbert.reading.shards import open_shards
from kmerbert.sharing.export import export_folder
from kmerbert.tokens.stream import StreamedDataset
from kmerbert.tokens.targets import TargetScaler
from tests.support.messages import check_message, fails
from tests.support.tiny_runs import flags, planted, write_table
from tokenization_kmer import KmerTokenizer

SEQUENCES, VALUES = planted(np.random.default_rng(0), 90)
COUNTS = np.round(2 ** (VALUES - 8) - 1, 3).clip(0)  # some are 0


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"label_pseudocount": 1}, ["--label_pseudocount 1", "--label_transform"]),
        ({"label_transform": "log2", "label_pseudocount": -1}, ["--label_pseudocount -1", "0 or more"]),
        ({"label_transform": "log2"}, ["train.tsv, line", "expression is 0", "--label_pseudocount"]),
    ],
)
def test_flags(settings: dict[str, object], parts: list[str], tmp_path: Path) -> None:
    table = write_table(tmp_path / "train.tsv", sequence=SEQUENCES, expression=COUNTS)
    with pytest.raises((ValueError, SystemExit)) as caught:
        run_finetune_regression.main(flags(table, tmp_path / "out", **settings))
    check_message(str(caught.value).replace("`label", "--label").replace("`", ""), *parts)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on logarithms of counts."""
    folder = tmp_path_factory.mktemp("logarithms")
    table = write_table(
        folder / "train.tsv", sequence=SEQUENCES, expression=COUNTS, first=COUNTS + 0.1, second=COUNTS * 1.1 + 0.01
    )
    settings = {"label_transform": "log2", "label_pseudocount": 1, "label_unit": "reads", "validation_rows": 30}
    settings |= {"replicate_columns": "first,second", "eval_strategy": "no", "save_strategy": "no"}
    run_finetune_regression.main(flags(table, folder / "out", **settings))
    return folder


def test_the_model_says_what_it_predicts(trained: Path) -> None:
    config = json.loads((trained / "out" / "config.json").read_text())
    assert config["label_transform"] == {"name": "log2", "pseudocount": 1}
    assert config["label_unit"] == "log2(reads + 1)"
    assert "log2(reads + 1)" in (trained / "out" / "README.md").read_text()
    # Its units are those of the logarithms of the training rows.
    table = pd.read_csv(trained / "train.tsv", sep="\t")
    held_out = pd.read_csv(trained / "out" / "validation_predictions.tsv", sep="\t")
    trained_on = table[~table["sequence"].isin(held_out["sequence"])]
    assert config["label_mean"] == [pytest.approx(np.log2(trained_on["expression"] + 1).mean(), rel=1e-6)]
    measured = table.set_index("sequence").loc[held_out["sequence"], "expression"]
    np.testing.assert_allclose(held_out["observed"], np.log2(measured + 1), rtol=1e-6)


def test_replicates_are_transformed_too(trained: Path, tmp_path: Path) -> None:
    verdict = "\n".join(json.loads((trained / "out" / "verdict.json").read_text())["verdict"])
    table = pd.read_csv(trained / "train.tsv", sep="\t").set_index("sequence")
    rows = pd.read_csv(trained / "out" / "validation_predictions.tsv", sep="\t")["sequence"]
    r = np.corrcoef(np.log2(table.loc[rows, ["first", "second"]] + 1), rowvar=False)[0, 1]
    assert f"{np.sqrt(2 * r / (1 + r)):.3f}" in verdict
    metrics = run_evaluate.main(
        [
            f"--predictions_file={trained / 'out' / 'validation_predictions.tsv'}",
            f"--output_dir={tmp_path / 'evaluation'}",
            f"--replicate_file={trained / 'train.tsv'}",
            "--replicate_columns=first,second",
        ]
    )
    everywhere = np.corrcoef(np.log2(table[["first", "second"]] + 1), rowvar=False)[0, 1]
    assert metrics["replicate_pearsonr"] == pytest.approx(everywhere)


def test_measured_values_next_to_predictions(trained: Path, tmp_path: Path) -> None:
    """A raw table gets logarithms, so that an evaluation and intervals compare one unit."""
    output = tmp_path / "predictions.tsv"
    held_out = trained / "out" / "validation_predictions.tsv"
    run_predict.main(
        [
            f"--model_name_or_path={trained / 'out'}",
            f"--input_file={trained / 'train.tsv'}",
            "--label_column=expression",
            f"--calibration_file={held_out}",
            f"--output_file={output}",
        ]
    )
    table = pd.read_csv(output, sep="\t")
    np.testing.assert_allclose(table["observed"], np.log2(COUNTS + 1), rtol=1e-6)
    again = table.set_index("sequence").loc[pd.read_csv(held_out, sep="\t")["sequence"]]
    expected = pd.read_csv(held_out, sep="\t")
    np.testing.assert_allclose(again["observed"], expected["observed"], rtol=1e-6)
    np.testing.assert_allclose(again["prediction"], expected["prediction"], rtol=1e-4, atol=1e-5)
    negative = pd.DataFrame({"sequence": SEQUENCES[:2], "expression": [1.0, -2.0]})
    with fails("row 2", "expression is -2", "log2(-2 + 1)", "model"):
        Predictor.from_pretrained(trained / "out", device="cpu").predict(negative, label_columns=["expression"])


def test_models_of_values_and_of_logarithms_are_not_averaged(trained: Path, tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    export_folder([str(trained / "out")], exported)
    config = json.loads((exported / "config.json").read_text())
    for changed in ({"label_transform": None}, {"label_transform": config["label_transform"] | {"pseudocount": 2}}):
        (exported / "config.json").write_text(json.dumps(config | changed))
        with fails("`model_name_or_path`", "label_transform", "averaged"):
            Predictor.from_pretrained([trained / "out", exported], device="cpu")


def test_a_checkpoint_of_logarithms_for_values(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = write_table(tmp_path / "again.tsv", sequence=SEQUENCES, expression=VALUES)
    settings = {"model_name_or_path": trained / "out", "max_steps": 1, "eval_strategy": "no", "save_strategy": "no"}
    run_finetune_regression.main(flags(again, tmp_path / "again", **settings))
    assert any(
        "log2(value + 1)" in line and "--label_transform" in line for line in capsys.readouterr().err.split("\n")
    )
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["label_transform"] is None
    assert config["label_unit"] == ""


def test_a_stream_gives_the_same_labels(tmp_path: Path) -> None:
    table = pd.DataFrame({"sequence": SEQUENCES, "expression": COUNTS})
    table.to_parquet(tmp_path / "rows.parquet")
    transform = LabelTransform("log2", 1.0)
    stream = StreamedDataset(
        open_shards(str(tmp_path), RowSpec("sequence", ("expression",), transform=transform)), KmerTokenizer(3), 16
    )
    expected = np.log2(COUNTS + 1)
    np.testing.assert_allclose(np.concatenate(list(stream.label_blocks()))[:, 0], expected)
    np.testing.assert_allclose(stream.examples(90, 0, "sequence").labels[:, 0], expected)
    batch = stream.with_targets(TargetScaler((0.0,), (1.0,)))[0]
    assert batch["labels"][0, 0] == pytest.approx(expected[batch["row"][0]], rel=1e-6)
