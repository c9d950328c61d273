"""run_predict.py: every input and output format, several models, several processes, and what it refuses.

The file is also the program that is launched in several processes.
"""

import dataclasses
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from accelerate import PartialState
from datasets import Dataset

import run_evaluate
import run_finetune_regression
from kmerbert.cli.flags import PredictionArguments
from kmerbert.cli.run import run
from run_predict import main
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
    found = main([f"--model_name_or_path={model}", f"--input_file={source}", f"--output_file={output}", *more])
    assert found["n_rows"] == 50
    assert found["rows_per_second"] == pytest.approx(50 / found["seconds"])
    if output.suffix in (".json", ".txt"):
        return pd.DataFrame()
    return pd.read_parquet(output) if output.suffix == ".parquet" else pd.read_csv(output, sep=None, engine="python")


def test_predicts_what_training_measured(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = pd.read_csv(runs / "a" / "validation_predictions.tsv", sep="\t")
    main(
        [f"--model_name_or_path={runs / 'a'}", f"--input_file={runs / 'a' / 'validation_predictions.tsv'}"]
        + [f"--output_file={tmp_path / 'p.tsv'}", "--label_column=observed"]
    )
    found = pd.read_csv(tmp_path / "p.tsv", sep="\t")
    assert list(found) == ["id", "sequence", "prediction", "observed"]
    assert found[["id", "sequence"]].equals(expected[["id", "sequence"]])
    assert found[["prediction", "observed"]].to_numpy() == pytest.approx(
        expected[["prediction", "observed"]].to_numpy(), abs=1e-4
    )
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "a second" in line]
    words = r"20 sequences in [\d.]+ s, \d+ a second, 1 process\(es\) on cpu, fp32: .*p\.tsv"
    assert re.fullmatch(words, line)


def test_several_models(runs: Path, table: Path, tmp_path: Path) -> None:
    first, second = (predict(runs / name, table, tmp_path / f"{name}.tsv")["prediction"] for name in "ab")
    found = predict(f"{runs / 'a'}, {runs / 'b'}", table, tmp_path / "both.tsv")
    assert found["id"].tolist() == [f"r{row}" for row in range(50)]
    assert found["prediction"].to_numpy() == pytest.approx((first + second).to_numpy() / 2, abs=1e-5)
    assert found["checkpoint_sd"].to_numpy() == pytest.approx((first - second).abs().to_numpy() / 2**0.5, abs=1e-5)
    assert np.ptp(found["checkpoint_sd"]) > 1e-3


@pytest.mark.parametrize("name", ["p.tsv", "p.csv.gz", "p.parquet"])
def test_run_evaluate_reads_the_tables(name: str, runs: Path, table: Path, tmp_path: Path) -> None:
    for models, labels in ((f"{runs / 'a'},{runs / 'b'}", "strength"), (runs / "two", "decay,strength")):
        more = ["--overwrite", f"--label_column={labels}"]
        found = predict(models, table, tmp_path / name, *more)
        output = ["--output_dir", str(tmp_path / "evaluation"), "--overwrite_output_dir"]
        metrics = run_evaluate.main(["--predictions_file", str(tmp_path / name), *output])
        assert metrics["n"] == 50
        suffix = "_strength" if "," in labels else ""
        error = found[f"prediction{suffix}"] - VALUES
        assert metrics[f"rmse{suffix}"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    columns = "id sequence prediction_strength prediction_decay observed_strength observed_decay"
    assert list(found) == columns.split()


@pytest.mark.parametrize("name", ["p.tsv", "p.csv.gz", "p.parquet"])
def test_intervals_hold_what_they_promise(name: str, runs: Path, table: Path, tmp_path: Path) -> None:
    more = ["--label_column=strength", f"--calibration_file={runs / 'a' / 'validation_predictions.tsv'}"]
    found = predict(runs / "a", table, tmp_path / name, *more)
    assert list(found) == ["id", "sequence", "prediction", "lower", "upper", "observed"]
    held_out = pd.read_csv(runs / "a" / "validation_predictions.tsv", sep="\t")
    half_width = np.sort((held_out["prediction"] - held_out["observed"]).abs())[18]  # rank ceil(21 * 0.9) of 20
    for end, sign in (("lower", -1), ("upper", 1)):
        assert found[end].to_numpy() == pytest.approx(found["prediction"].to_numpy() + sign * half_width, abs=1e-5)
    output = ["--output_dir", str(tmp_path / "evaluation")]
    metrics = run_evaluate.main(["--predictions_file", str(tmp_path / name), *output])
    assert metrics["coverage"] == ((found["observed"] - found["prediction"]).abs() <= half_width).mean()
    assert metrics["interval_width"] == pytest.approx(2 * half_width, rel=1e-5)


def test_intervals_of_several_outputs_and_models(runs: Path, table: Path, tmp_path: Path) -> None:
    both = f"{runs / 'a'},{runs / 'b'}"
    predict(both, table, tmp_path / "held_out.tsv", "--label_column=strength")  # calibrates the mean of the two
    more = [f"--calibration_file={tmp_path / 'held_out.tsv'}", "--interval_coverage=0.5", "--label_column=strength"]
    found = predict(both, table, tmp_path / "both.tsv", *more)
    inside = found["observed"].between(found["lower"] - 1e-5, found["upper"] + 1e-5)
    assert inside.sum() == 26  # rank ceil(51 * 0.5) of these very rows
    own = runs / "two" / "validation_predictions.tsv"
    found = predict(runs / "two", table, tmp_path / "two.tsv", f"--calibration_file={own}")
    columns = ("prediction", "lower", "upper")
    assert list(found)[2:] == [f"{column}_{name}" for column in columns for name in ("strength", "decay")]
    widths = [np.unique((found[f"upper_{name}"] - found[f"lower_{name}"]).round(3)) for name in ("strength", "decay")]
    assert [len(width) for width in widths] == [1, 1]
    assert widths[0] != widths[1]


def test_challenge_files(runs: Path, table: Path, tmp_path: Path) -> None:
    expected = predict(runs / "a", table, tmp_path / "p.tsv")["prediction"].to_numpy()
    challenge = tmp_path / "test_sequences.txt"
    challenge.write_text("".join(f"{sequence}\t{row}\n" for row, sequence in enumerate(SEQUENCES)))  # dummy numbers
    predict(runs / "a", challenge, tmp_path / "all.json")
    found = json.loads((tmp_path / "all.json").read_text())
    assert list(found) == [str(row) for row in range(50)]
    assert list(found.values()) == pytest.approx(expected, abs=1e-5)
    (tmp_path / "sample.json").write_text('{"31": 0.5, "2": 0.5, "7": 0.5}')
    predict(runs / "a", challenge, tmp_path / "public.json", f"--keys_file={tmp_path / 'sample.json'}")
    found = json.loads((tmp_path / "public.json").read_text())
    assert list(found.items()) == [(str(row), pytest.approx(expected[row], abs=1e-5)) for row in (31, 2, 7)]
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
    found = predict(runs / "a", source, tmp_path / "found.csv")
    assert found[["id", "sequence"]].equals(frame)
    assert found["prediction"].to_numpy() == pytest.approx(expected["prediction"].to_numpy(), abs=1e-6)


def test_columns_are_named(runs: Path, table: Path, tmp_path: Path) -> None:
    expected = predict(runs / "a", table, tmp_path / "p.tsv")
    renamed = write_table(tmp_path / "renamed.tsv", id=range(50), gene=expected["id"], dna=SEQUENCES)
    found = predict(runs / "a", renamed, tmp_path / "found.tsv", "--sequence_column=dna", "--id_column=gene")
    assert found.equals(expected)
    found = predict(runs / "a", renamed, tmp_path / "other.tsv", "--sequence_column=dna")
    assert found["id"].tolist() == list(range(50))


def test_measured_values_may_be_missing(runs: Path, tmp_path: Path) -> None:
    values = [*VALUES[:49], "NA"]
    source = write_table(tmp_path / "in.tsv", sequence=SEQUENCES, strength=values)
    found = predict(runs / "a", source, tmp_path / "p.tsv", "--label_column=strength")
    assert found["observed"][:49].to_numpy() == pytest.approx(VALUES[:49])
    assert np.isnan(found["observed"][49])


def test_a_dataset(runs: Path, table: Path, tmp_path: Path) -> None:
    expected = predict(runs / "a", table, tmp_path / "p.tsv")
    folder = tmp_path / "dataset"
    folder.mkdir()
    Dataset.from_dict({"name": expected["id"], "sequence": SEQUENCES}).to_parquet(folder / "test.parquet")
    argv = [f"--model_name_or_path={runs / 'a'}", f"--dataset_name={folder}", "--id_column=name"]
    main([*argv, f"--output_file={tmp_path / 'found.tsv'}"])
    assert pd.read_csv(tmp_path / "found.tsv", sep="\t").equals(expected)
    with pytest.raises(ValueError, match=r"--dataset_name .*dataset, --dataset_split dev: cannot be loaded: "):
        main([*argv, f"--output_file={tmp_path / 'other.tsv'}", "--dataset_split=dev"])


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


def test_refusals(runs: Path, table: Path, tmp_path: Path) -> None:
    output, model = f"--output_file={tmp_path / 'p.tsv'}", f"--model_name_or_path={runs / 'a'}"
    source = f"--input_file={table}"
    (tmp_path / "old.tsv").write_text("before")
    (tmp_path / "empty.tsv").write_text("sequence\n")
    (tmp_path / "list.json").write_text("[1, 2]")
    for argv, message in (
        ([output, source], "give --model_name_or_path .* and --output_file"),
        ([model, source], "give --model_name_or_path .* and --output_file"),
        ([model, output], "give one of --input_file .* and --dataset_name"),
        ([model, output, source, "--dataset_name=x"], "give one of --input_file"),
        ([model, output, source, "--max_seq_length=0"], "--max_seq_length 0: allowed is 1 or more"),
        ([model, output, source, "--tokens_per_batch=0"], "--tokens_per_batch 0: allowed is 1 or more"),
        ([model, output, f"--input_file={tmp_path / 'none.tsv'}"], "none.tsv: no such file"),
        ([model, output, f"--input_file={tmp_path / 'empty.tsv'}"], "there are no rows to predict"),
        ([model, source, f"--output_file={tmp_path / 'old.tsv'}"], "old.tsv is there already: .* --overwrite"),
        ([model, source, f"--output_file={tmp_path / 'p.xls'}"], "p.xls: the name does not say the format"),
        ([model, output, source, f"--keys_file={tmp_path / 'list.json'}"], "is empty or no JSON object"),
        ([model, output, source, "--label_column=x,y"], "needed is one column for each output, .* names: strength"),
        ([model, output, source, "--label_column=x"], "no column 'x'; columns found: 'id', 'sequence'"),
        ([f"--model_name_or_path={runs / 'two'}", output, source, "--label_column=decay"], "names: strength,decay"),
        ([f"--model_name_or_path={tmp_path}", output, source], "holds no config.json"),
        ([f"--model_name_or_path={runs / 'a'},{runs / 'two'}", output, source], "outputs of .* cannot be averaged"),
    ):
        with pytest.raises(ValueError, match=message):
            main(argv)
    assert (tmp_path / "old.tsv").read_text() == "before"
    assert not list(tmp_path.glob("*p.tsv*"))
    main([model, source, f"--output_file={tmp_path / 'old.tsv'}", "--overwrite"])
    assert len((tmp_path / "old.tsv").read_text().splitlines()) == 51


def test_a_bad_row_leaves_nothing_and_one_line(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_table(tmp_path / "in.tsv", sequence=["ACGTACGT", "ACXT"])
    argv = [
        "--model_name_or_path",
        str(runs / "a"),
        "--input_file",
        str(source),
        "--output_file",
        str(tmp_path / "p.tsv"),
    ]
    monkeypatch.setattr(sys, "argv", ["run_predict.py", *argv])
    with pytest.raises(SystemExit) as stopped:
        run(main)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {source}, line 3: letter 'X' at base 3")
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["in.tsv"]


def test_every_flag_has_help_and_is_read() -> None:
    code = (ROOT / "run_predict.py").read_text()
    for field in dataclasses.fields(PredictionArguments):
        assert len(field.metadata["help"]) > 20, field.name
        assert re.search(rf'args\.{field.name}\b|"{field.name}"', code), field.name


def test_processes_predict_what_one_does(runs: Path, table: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes=2", "--num_machines=1"]
    command += ["--multi_gpu", "--mixed_precision=no", "--main_process_port=0", "--dynamo_backend=no"]
    launcher = subprocess.Popen(
        [*command, __file__, str(runs), str(table), str(tmp_path)],
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
    assert "50 sequences in" in messages
    assert "2 process(es) on cpu" in messages
    for rank in range(2):
        assert (tmp_path / f"refused_{rank}.txt").read_text().startswith("2 processes were launched, but without GPUs")
    main(launched_argv(runs, table, tmp_path / "one.tsv"))
    one, two = (pd.read_csv(tmp_path / name, sep="\t") for name in ("one.tsv", "two.tsv"))
    assert list(two) == list(one)
    assert two[["id", "sequence", "observed"]].equals(one[["id", "sequence", "observed"]])
    for column in ("prediction", "checkpoint_sd"):  # libraries round the last digit by where memory begins
        assert two[column].to_numpy() == pytest.approx(one[column].to_numpy(), abs=1e-5)


def launched_argv(folder: Path, table: Path, output: Path) -> list[str]:
    models = f"{folder / 'a'},{folder / 'b'}"
    more = ["--label_column=strength", "--tokens_per_batch=100", "--use_cpu"]
    return [f"--model_name_or_path={models}", f"--input_file={table}", f"--output_file={output}", *more]


def launched(folder: Path, table: Path, results: Path) -> None:
    """What every launched process does."""
    argv = launched_argv(folder, table, results / "two.tsv")
    try:
        main(argv[:-1])
    except ValueError as error:
        (results / f"refused_{os.environ['RANK']}.txt").write_text(str(error))
    PartialState._reset_state()  # as if the program were started anew
    main(argv)


if __name__ == "__main__":
    launched(*map(Path, sys.argv[1:]))
