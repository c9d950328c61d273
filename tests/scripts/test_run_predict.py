"""run_predict.py: every input and output format, several models, several processes, and mistakes."""

import dataclasses
import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

import run_evaluate
import run_finetune_regression
from kmerbert.cli.flags import PredictionArguments
from run_predict import main
from tests.support.messages import check_message
from tests.support.tiny_runs import flags, planted, write_table

ROOT = Path(__file__).resolve().parents[2]
SEQUENCES, VALUES = planted(np.random.default_rng(7), 50)
SEQUENCES = [sequence[: 12 + row % 13] for row, sequence in enumerate(SEQUENCES)]
VALUES = np.round(VALUES, 4)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with trained models: `a` and `b` of one output, `two` of two."""
    folder = tmp_path_factory.mktemp("runs")
    sequences, values = planted(np.random.default_rng(0), 120)
    train = write_table(folder / "train.tsv", sequence=sequences, strength=values, decay=values / 2)
    for name, seed, labels in (("a", 1, "strength"), ("b", 2, "strength"), ("two", 3, "strength,decay")):
        settings = {"label_column": labels, "validation_rows": 20, "num_train_epochs": 12, "learning_rate": 1e-2}
        settings |= {"eval_strategy": "no", "save_strategy": "no"}
        run_finetune_regression.main(flags(train, folder / name, seed=seed, **settings))
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Fifty rows with names and measured values."""
    ids = [f"r{row}" for row in range(50)]
    return write_table(tmp_path / "in.tsv", id=ids, sequence=SEQUENCES, strength=VALUES, decay=VALUES)


def predict(model: Path | str, source: Path, output: Path, *more: str) -> pd.DataFrame:
    """Runs the script as a user does, and reads the table it writes."""
    facts = main([f"--model_name_or_path={model}", f"--input_file={source}", f"--output_file={output}", *more])
    assert facts["n_rows"] == 50
    assert facts["rows_per_second"] == pytest.approx(50 / facts["seconds"])
    if output.suffix in (".json", ".txt"):
        return pd.DataFrame()
    return pd.read_parquet(output) if output.suffix == ".parquet" else pd.read_csv(output, sep=None, engine="python")


@pytest.mark.parametrize(
    ("name", "labels", "columns"),
    [
        ("a", "strength", ["prediction", "observed"]),
        ("two", "strength,decay", ["prediction_strength", "prediction_decay", "observed_strength", "observed_decay"]),
    ],
)
def test_predicts_what_training_measured(
    name: str, labels: str, columns: list[str], runs: Path, tmp_path: Path
) -> None:
    """The same columns, the same text of ids, sequences and measured values, the same predictions to float32."""
    trained = pd.read_csv(runs / name / "validation_predictions.tsv", sep="\t", dtype=str)
    assert list(trained) == ["id", "sequence", *columns]
    observed = dict(zip(columns[len(columns) // 2 :], labels.split(","), strict=True))
    source = trained[["id", "sequence", *observed]].rename(columns=observed)
    source.to_csv(tmp_path / "in.tsv", sep="\t", index=False)
    main(
        [f"--model_name_or_path={runs / name}", f"--input_file={tmp_path / 'in.tsv'}", f"--label_column={labels}"]
        + [f"--output_file={tmp_path / 'p.tsv'}"]
    )
    predicted = pd.read_csv(tmp_path / "p.tsv", sep="\t", dtype=str)
    assert list(predicted) == [*trained, "outside_training"]
    for column in trained:
        if column.startswith("prediction"):
            values, expected = (rows[column].astype(np.float64).to_numpy() for rows in (predicted, trained))
            assert values == pytest.approx(expected, rel=1e-5)
        else:
            assert predicted[column].equals(trained[column])


def test_says_how_fast_it_was(runs: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict(runs / "a", table, tmp_path / "p.tsv")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "a second" in line]
    check_message(line, "50 sequences in ", "1 process", "cpu", "fp32", tmp_path / "p.tsv")


def test_several_models(runs: Path, table: Path, tmp_path: Path) -> None:
    first, second = (predict(runs / name, table, tmp_path / f"{name}.tsv")["prediction"] for name in "ab")
    both = predict(f"{runs / 'a'}, {runs / 'b'}", table, tmp_path / "both.tsv")
    assert both["id"].tolist() == [f"r{row}" for row in range(50)]
    assert both["prediction"].to_numpy() == pytest.approx((first + second).to_numpy() / 2, abs=1e-5)
    assert both["checkpoint_sd"].to_numpy() == pytest.approx((first - second).abs().to_numpy() / 2**0.5, abs=1e-5)
    assert np.ptp(both["checkpoint_sd"]) > 1e-3


@pytest.mark.parametrize("name", ["p.tsv", "p.csv.gz", "p.parquet"])
def test_run_evaluate_reads_the_tables(name: str, runs: Path, table: Path, tmp_path: Path) -> None:
    for models, labels in ((f"{runs / 'a'},{runs / 'b'}", "strength"), (runs / "two", "decay,strength")):
        more = ["--overwrite", f"--label_column={labels}"]
        predicted = predict(models, table, tmp_path / name, *more)
        output = ["--output_dir", str(tmp_path / "evaluation"), "--overwrite_output_dir"]
        metrics = run_evaluate.main(["--predictions_file", str(tmp_path / name), *output])
        assert metrics["n"] == 50
        suffix = "_strength" if "," in labels else ""
        error = predicted[f"prediction{suffix}"] - VALUES
        assert metrics[f"rmse{suffix}"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    columns = "id sequence prediction_strength prediction_decay observed_strength observed_decay outside_training"
    assert list(predicted) == columns.split()


@pytest.mark.parametrize("name", ["p.tsv", "p.csv.gz", "p.parquet"])
def test_intervals_hold_what_they_promise(name: str, runs: Path, table: Path, tmp_path: Path) -> None:
    more = ["--label_column=strength", f"--calibration_file={runs / 'a' / 'validation_predictions.tsv'}"]
    predicted = predict(runs / "a", table, tmp_path / name, *more)
    assert list(predicted) == ["id", "sequence", "prediction", "lower", "upper", "observed", "outside_training"]
    held_out = pd.read_csv(runs / "a" / "validation_predictions.tsv", sep="\t")
    half_width = np.sort((held_out["prediction"] - held_out["observed"]).abs())[18]  # rank ceil(21 * 0.9) of 20
    for end, sign in (("lower", -1), ("upper", 1)):
        assert predicted[end].to_numpy() == pytest.approx(
            predicted["prediction"].to_numpy() + sign * half_width, abs=1e-5
        )
    output = ["--output_dir", str(tmp_path / "evaluation")]
    metrics = run_evaluate.main(["--predictions_file", str(tmp_path / name), *output])
    assert metrics["coverage"] == ((predicted["observed"] - predicted["prediction"]).abs() <= half_width).mean()
    assert metrics["interval_width"] == pytest.approx(2 * half_width, rel=1e-5)


def test_intervals_of_several_outputs_and_models(runs: Path, table: Path, tmp_path: Path) -> None:
    both = f"{runs / 'a'},{runs / 'b'}"
    predict(both, table, tmp_path / "held_out.tsv", "--label_column=strength")  # calibrates the mean of the two
    more = [f"--calibration_file={tmp_path / 'held_out.tsv'}", "--interval_coverage=0.5", "--label_column=strength"]
    predicted = predict(both, table, tmp_path / "both.tsv", *more)
    inside = predicted["observed"].between(predicted["lower"] - 1e-5, predicted["upper"] + 1e-5)
    assert inside.sum() == 26  # rank ceil(51 * 0.5) of these very rows
    held_out = runs / "two" / "validation_predictions.tsv"
    predicted = predict(runs / "two", table, tmp_path / "two.tsv", f"--calibration_file={held_out}")
    columns = ("prediction", "lower", "upper")
    assert list(predicted)[2:-1] == [f"{column}_{name}" for column in columns for name in ("strength", "decay")]
    widths = [
        np.unique((predicted[f"upper_{name}"] - predicted[f"lower_{name}"]).round(3)) for name in ("strength", "decay")
    ]
    assert [len(width) for width in widths] == [1, 1]
    assert widths[0] != widths[1]


def test_challenge_files(runs: Path, table: Path, tmp_path: Path) -> None:
    expected = predict(runs / "a", table, tmp_path / "p.tsv")["prediction"].to_numpy()
    challenge = tmp_path / "test_sequences.txt"
    challenge.write_text("".join(f"{sequence}\t{row}\n" for row, sequence in enumerate(SEQUENCES)))  # dummy numbers
    predict(runs / "a", challenge, tmp_path / "all.json")
    entries = json.loads((tmp_path / "all.json").read_text())
    assert list(entries) == [str(row) for row in range(50)]
    assert list(entries.values()) == pytest.approx(expected, abs=1e-5)
    (tmp_path / "sample.json").write_text('{"31": 0.5, "2": 0.5, "7": 0.5}')
    predict(runs / "a", challenge, tmp_path / "public.json", f"--keys_file={tmp_path / 'sample.json'}")
    entries = json.loads((tmp_path / "public.json").read_text())
    assert list(entries.items()) == [(str(row), pytest.approx(expected[row], abs=1e-5)) for row in (31, 2, 7)]
    predict(runs / "a", challenge, tmp_path / "final.txt")
    lines = [line.split("\t") for line in (tmp_path / "final.txt").read_text().splitlines()]
    assert [sequence for sequence, _ in lines] == SEQUENCES
    assert [float(value) for _, value in lines] == pytest.approx(expected, abs=1e-5)
    observed = predict(runs / "a", challenge, tmp_path / "observed.tsv", "--label_column=strength")
    assert observed["observed"].tolist() == list(range(50))
    assert observed["id"].tolist() == list(range(1, 51))  # lines


@pytest.mark.parametrize("name", ["in.fa", "in.fasta.gz", "in.jsonl", "in.csv", "in.parquet", "in.txt.gz"])
def test_any_input_gives_the_same(name: str, runs: Path, table: Path, tmp_path: Path) -> None:
    expected = predict(runs / "a", table, tmp_path / "p.tsv")
    source, frame = tmp_path / name, expected[["id", "sequence"]]
    if ".fa" in name:
        text = "".join(f">{row.id} more words\n{row.sequence[:9]}\n{row.sequence[9:]}\n" for row in frame.itertuples())
        source.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    elif name == "in.parquet":
        frame.to_parquet(source)
    elif name == "in.jsonl":
        frame.to_json(source, orient="records", lines=True)
    else:
        frame.to_csv(source, index=False, sep="," if name == "in.csv" else "\t")
    predicted = predict(runs / "a", source, tmp_path / "predicted.csv")
    assert predicted[["id", "sequence"]].equals(frame)
    assert predicted["prediction"].to_numpy() == pytest.approx(expected["prediction"].to_numpy(), abs=1e-6)


def test_columns_are_named(runs: Path, table: Path, tmp_path: Path) -> None:
    expected = predict(runs / "a", table, tmp_path / "p.tsv")
    renamed = write_table(tmp_path / "renamed.tsv", id=range(50), gene=expected["id"], dna=SEQUENCES)
    predicted = predict(runs / "a", renamed, tmp_path / "predicted.tsv", "--sequence_column=dna", "--id_column=gene")
    assert predicted.equals(expected)
    predicted = predict(runs / "a", renamed, tmp_path / "other.tsv", "--sequence_column=dna")
    assert predicted["id"].tolist() == list(range(50))


def test_measured_values_may_be_missing(runs: Path, tmp_path: Path) -> None:
    values = [*VALUES[:49], "NA"]
    source = write_table(tmp_path / "in.tsv", sequence=SEQUENCES, strength=values)
    predicted = predict(runs / "a", source, tmp_path / "p.tsv", "--label_column=strength")
    assert predicted["observed"][:49].to_numpy() == pytest.approx(VALUES[:49])
    assert np.isnan(predicted["observed"][49])


def test_a_dataset(runs: Path, table: Path, tmp_path: Path, error_line: Callable[..., str]) -> None:
    expected = predict(runs / "a", table, tmp_path / "p.tsv")
    folder = tmp_path / "dataset"
    folder.mkdir()
    Dataset.from_dict({"name": expected["id"], "sequence": SEQUENCES}).to_parquet(folder / "test.parquet")
    argv = [f"--model_name_or_path={runs / 'a'}", f"--dataset_name={folder}", "--id_column=name"]
    main([*argv, f"--output_file={tmp_path / 'predicted.tsv'}"])
    assert pd.read_csv(tmp_path / "predicted.tsv", sep="\t").equals(expected)
    line = error_line(main, *argv, f"--output_file={tmp_path / 'other.tsv'}", "--dataset_split=dev")
    check_message(line, "--dataset_name 'dataset'", "--dataset_split dev")


def test_both_strands_and_precision(runs: Path, table: Path, tmp_path: Path) -> None:
    one = predict(runs / "a", table, tmp_path / "p.tsv")["prediction"]
    partner = str.maketrans("ACGT", "TGCA")
    flipped = write_table(
        tmp_path / "flipped.tsv", sequence=[sequence.translate(partner)[::-1] for sequence in SEQUENCES]
    )
    other = predict(runs / "a", flipped, tmp_path / "flipped_p.tsv")["prediction"]
    both = predict(runs / "a", table, tmp_path / "both.tsv", "--reverse_complement")["prediction"]
    assert np.abs(one - other).max() > 1e-3
    assert both.to_numpy() == pytest.approx((one + other).to_numpy() / 2, abs=1e-5)
    rough = predict(runs / "a", table, tmp_path / "rough.tsv", "--bf16", "--tokens_per_batch=100")["prediction"]
    assert 0 < np.abs(rough - one).max() < 0.2


def test_mistakes(runs: Path, table: Path, tmp_path: Path, error_line: Callable[..., str]) -> None:
    output, model = f"--output_file={tmp_path / 'p.tsv'}", f"--model_name_or_path={runs / 'a'}"
    source = f"--input_file={table}"
    (tmp_path / "old.tsv").write_text("before")
    (tmp_path / "empty.tsv").write_text("sequence\n")
    (tmp_path / "list.json").write_text("[1, 2]")
    for argv, parts in (
        ([output, source], ("--model_name_or_path", "--output_file")),
        ([model, source], ("--model_name_or_path", "--output_file")),
        ([model, output], ("--input_file", "--dataset_name")),
        ([model, output, source, "--dataset_name=x"], ("--input_file", "--dataset_name")),
        ([model, output, source, "--max_seq_length=0"], ("--max_seq_length 0", "1 or more")),
        ([model, output, source, "--tokens_per_batch=0"], ("--tokens_per_batch 0", "1 or more")),
        ([model, output, f"--input_file={tmp_path / 'none.tsv'}"], ("none.tsv", "no such file")),
        ([model, output, f"--input_file={tmp_path / 'empty.tsv'}"], ("empty.tsv", "no rows")),
        ([model, source, f"--output_file={tmp_path / 'old.tsv'}"], ("--output_file old.tsv", "--overwrite")),
        ([model, source, f"--output_file={tmp_path / 'p.ods'}"], ("--output_file p.ods", ".tsv", ".parquet")),
        ([model, output, source, f"--keys_file={tmp_path / 'list.json'}"], ("list.json", '{"row": value')),
        ([model, output, source, "--label_column=x,y"], ("--label_column x,y", "strength")),
        ([model, output, source, "--label_column=x"], ("in.tsv", "'x'", "'id', 'sequence'")),
        (
            [f"--model_name_or_path={runs / 'two'}", output, source, "--label_column=decay"],
            ("--label_column decay", "strength,decay"),
        ),
        ([f"--model_name_or_path={tmp_path}", output, source], ("--model_name_or_path .", "config.json")),
        (
            [f"--model_name_or_path={runs / 'a'},{runs / 'two'}", output, source],
            ("outputs", str(runs / "a"), str(runs / "two")),
        ),
    ):
        check_message(error_line(main, *argv), *parts)
    assert (tmp_path / "old.tsv").read_text() == "before"
    assert not list(tmp_path.glob("*p.tsv*"))
    main([model, source, f"--output_file={tmp_path / 'old.tsv'}", "--overwrite"])
    assert len((tmp_path / "old.tsv").read_text().splitlines()) == 51


def test_a_bad_row_leaves_nothing_and_one_line(runs: Path, tmp_path: Path, error_line: Callable[..., str]) -> None:
    source = write_table(tmp_path / "in.tsv", sequence=["ACGTACGT", "ACXT"])
    argv = ["--model_name_or_path", runs / "a", "--input_file", source, "--output_file", tmp_path / "p.tsv"]
    check_message(error_line(main, *argv), "in.tsv, line 3", "'X'", "base 3")
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["in.tsv"]


def test_every_flag_has_help_and_is_read() -> None:
    code = (ROOT / "run_predict.py").read_text()
    for field in dataclasses.fields(PredictionArguments):
        assert field.metadata["help"].endswith("."), field.name
        assert re.search(rf'args\.{field.name}\b|"{field.name}"', code), field.name


# What each launched process does: first without --use_cpu, which fails, then as if it had just been started.
LAUNCHED = """
import os, sys
from accelerate import PartialState
from run_predict import main
folder, *argv = sys.argv[1:]
try:
    main(argv)
except ValueError as error:
    with open(f"{folder}/error_{os.environ['RANK']}.txt", "w") as file:
        file.write(str(error))
PartialState._reset_state()
main([*argv, "--use_cpu"])
"""


def test_processes_predict_what_one_does(runs: Path, table: Path, tmp_path: Path) -> None:
    (tmp_path / "launched.py").write_text(LAUNCHED)
    argv = [f"--model_name_or_path={runs / 'a'},{runs / 'b'}", f"--input_file={table}"]
    argv += ["--label_column=strength", "--tokens_per_batch=100"]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes=2", "--num_machines=1"]
    command += ["--multi_gpu", "--mixed_precision=no", "--main_process_port=0", "--dynamo_backend=no"]
    launcher = subprocess.Popen(
        [*command, str(tmp_path / "launched.py"), str(tmp_path), *argv, f"--output_file={tmp_path / 'two.tsv'}"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, messages = launcher.communicate(timeout=200)
    finally:
        launcher.terminate()  # unlike a kill, it ends the launched processes, too
    assert launcher.returncode == 0, messages[-3000:]
    (line,) = [line for line in messages.splitlines() if "a second" in line]  # printed once
    check_message(line, "50 sequences in ", "2 process", "on cpu")
    for rank in range(2):
        check_message((tmp_path / f"error_{rank}.txt").read_text(), "2 processes", "--use_cpu", "--num_processes 1")
    main([*argv, "--use_cpu", f"--output_file={tmp_path / 'one.tsv'}"])
    one, two = (pd.read_csv(tmp_path / name, sep="\t") for name in ("one.tsv", "two.tsv"))
    assert list(two) == list(one)
    assert two[["id", "sequence", "observed"]].equals(one[["id", "sequence", "observed"]])
    for column in ("prediction", "checkpoint_sd"):  # libraries round the last digit by where memory begins
        assert two[column].to_numpy() == pytest.approx(one[column].to_numpy(), abs=1e-5)


# --- other columns, and what is outside the training data


def with_genes(path: Path) -> dict[str, list[object]]:
    """Writes 50 rows with a column of genes, in the format that the name says; returns them."""
    columns = {"id": [f"r{row}" for row in range(50)], "sequence": SEQUENCES, "strength": VALUES.tolist()}
    columns |= {"gene": [f"gene {row}" for row in range(50)], "chromosome": list(range(50))}
    frame = pd.DataFrame(columns)
    if path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep="\t" if path.suffix == ".tsv" else ",", index=False)
    return columns


@pytest.mark.parametrize("source", ["in.tsv", "in.csv", "in.jsonl", "in.parquet"])
def test_other_columns_of_every_format(source: str, runs: Path, tmp_path: Path) -> None:
    columns = with_genes(tmp_path / source)
    for name in ("p.tsv", "p.csv.gz", "p.parquet"):
        more = ("--keep_columns=gene,chromosome", "--label_column=strength")
        predicted = predict(runs / "a", tmp_path / source, tmp_path / name, *more)
        own = ["id", "sequence", "prediction", "observed", "outside_training"]
        assert list(predicted) == [*own, "gene", "chromosome"]
        assert predicted["gene"].tolist() == columns["gene"]
        assert predicted["chromosome"].astype(int).tolist() == columns["chromosome"]
    output = ["--output_dir", str(tmp_path / "evaluation")]
    with_them = run_evaluate.main(["--predictions_file", str(tmp_path / "p.tsv"), *output])
    predict(runs / "a", tmp_path / source, tmp_path / "without.tsv", "--label_column=strength")
    output = ["--output_dir", str(tmp_path / "other")]
    assert run_evaluate.main(["--predictions_file", str(tmp_path / "without.tsv"), *output]) == with_them


@pytest.mark.parametrize(
    ("source", "output", "column", "parts"),
    [
        ("in.fa", "p.tsv", "gene", ["in.fa", "FASTA", "'gene'"]),
        ("in.tsv", "p.json", "gene", ["`keep_columns`", "p.json", ".parquet"]),
        ("in.tsv", "p.tsv", "sequence", ["`keep_columns` sequence"]),
        ("in.tsv", "p.tsv", "lower", ["`keep_columns` lower"]),
    ],
)
def test_columns_that_cannot_be_kept(
    source: str, output: str, column: str, parts: list[str], runs: Path, tmp_path: Path
) -> None:
    with_genes(tmp_path / "in.tsv")
    (tmp_path / "in.fa").write_text(">a\nACGTACGTACGTACGT\n")
    with pytest.raises(ValueError, match="keep_columns|column") as caught:
        predict(runs / "a", tmp_path / source, tmp_path / output, f"--keep_columns={column}")
    check_message(str(caught.value), *parts)
    assert not (tmp_path / output).exists()


def test_training_carries_columns_too(tmp_path: Path) -> None:
    sequences, values = planted(np.random.default_rng(1), 90)
    train = write_table(tmp_path / "a.tsv", sequence=sequences, strength=values, gene=[f"g {row}" for row in range(90)])
    settings = {"label_column": "strength", "folds": 2, "test_rows": 20, "keep_columns": "gene", "save_strategy": "no"}
    settings |= {"eval_strategy": "no", "baselines": False}
    run_finetune_regression.main(flags(train, tmp_path / "out", **settings))
    genes = dict(zip(sequences, [f"g {row}" for row in range(90)], strict=True))
    for name, columns in (
        ("test", ["checkpoint_sd", "observed"]),
        ("validation", ["observed"]),
        ("fold_0/test", ["observed"]),
    ):
        table = pd.read_csv(tmp_path / "out" / f"{name}_predictions.tsv", sep="\t")
        folds = ["fold"] if name == "validation" else []
        assert list(table) == ["id", "sequence", "prediction", *columns, "gene", *folds]
        assert table["gene"].tolist() == [genes[sequence] for sequence in table["sequence"]]
    for column, parts in (("locus", ["a.tsv", "'locus'"]), ("observed", ["`keep_columns` observed"])):
        with pytest.raises(ValueError, match=column) as caught:
            run_finetune_regression.main(flags(train, tmp_path / column, **settings | {"keep_columns": column}))
        check_message(str(caught.value), *parts)


def test_training_says_what_its_data_were_like(runs: Path, tmp_path: Path) -> None:
    strange = write_table(tmp_path / "in.tsv", sequence=["A" * 24, *SEQUENCES[12:13], *["C" * 24] * 48])
    outside = predict(runs / "two", strange, tmp_path / "p.tsv")["outside_training"].fillna("")
    assert all({"gc", "kmers"} <= set(text.split(";")) for text in (outside[0], outside[2]))
    assert not outside[1]
