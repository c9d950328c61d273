"""What run_predict.py prints of mistakes: the flag, the path, the value; inputs are never replaced, links are kept."""

import os
import runpy
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from kmerbert.cli.run import run
from kmerbert.files import check_folder
from kmerbert.predicting.writers import check_output
from run_predict import main
from tests.support.messages import check_message, fails
from tests.support.tiny_runs import write_table
from tokenization_kmer import KmerTokenizer

ROOT = Path(__file__).resolve().parents[2]
NOT_FOUND = "(No such file or directory)"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of random weights as the training script would save it; it reads 40 tokens, k-mers of 3."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    kmers = {"kmer_k": 3, "kmer_stride": 1, "kmer_alphabet": "ATCG", "outputs_in_label_units": True}
    tokenizer = KmerTokenizer(3)
    config = BertConfig(vocab_size=len(tokenizer), num_labels=1, max_position_embeddings=40, **sizes, **kmers)
    for saved in (BertForSequenceClassification(config), tokenizer):
        saved.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three rows."""
    return write_table(tmp_path / "in.tsv", id=["a", "b", "c"], sequence=["ACGTACGT", "CCGGTA", "TTTACG"])


def calibration_rows(n: int) -> dict[str, list[float]]:
    """Predictions of n rows next to measured values, with errors of 1, 2, ... n."""
    return {"prediction": n * [0.5], "observed": [0.5 + row for row in range(1, n + 1)]}


def command(model: str, source: Path | str, output: Path | str, *more: str) -> list[str]:
    """The command line."""
    return [f"--model_name_or_path={model}", f"--input_file={source}", f"--output_file={output}", *more]


@pytest.fixture
def failure(model: str, error_line: Callable[..., str]) -> Callable[..., str]:
    """The line that the script prints: `failure(source, output, *more)`."""
    return lambda *arguments: error_line(main, *command(model, *arguments))


def test_no_input_is_replaced(table: Path, tmp_path: Path, failure: Callable[..., str]) -> None:
    before = table.read_bytes()
    (tmp_path / "link.tsv").symlink_to(table)
    os.link(table, tmp_path / "hard.tsv")
    for name in ("in.tsv", "link.tsv", "hard.tsv", "nowhere/../in.tsv"):
        for more in ([], ["--overwrite"]):
            check_message(failure(table, f"{tmp_path}/{name}", *more), f"--output_file {name} ", "--input_file")
    keys = tmp_path / "keys.json"
    keys.write_text('{"1": 0.0}')
    line = failure(table, keys, f"--keys_file={keys}", "--overwrite")
    check_message(line, "--output_file keys.json ", "--keys_file")
    assert keys.read_text() == '{"1": 0.0}'
    calibration = write_table(tmp_path / "calibration.tsv", **calibration_rows(20))
    line = failure(table, calibration, f"--calibration_file={calibration}", "--overwrite")
    check_message(line, "--output_file calibration.tsv ", "--calibration_file")
    assert len(calibration.read_text().splitlines()) == 21
    assert table.read_bytes() == before


def test_a_link_stays_and_its_file_is_replaced(
    model: str, table: Path, tmp_path: Path, failure: Callable[..., str]
) -> None:
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / "p.tsv", tmp_path / "latest.csv"
    target.write_text("before")
    link.symlink_to(target)
    check_message(failure(table, link), "--output_file latest.csv ", "exists", "--overwrite")
    assert target.read_text() == "before"
    main(command(model, table, link, "--overwrite"))
    assert link.is_symlink()
    assert pd.read_csv(target)["id"].tolist() == ["a", "b", "c"]  # the format that the link's name says
    assert [path.name for path in target.parent.iterdir()] == ["p.tsv"]
    link.unlink()
    link.symlink_to(tmp_path / "store" / "new.tsv")
    check_message(failure(table, link), "--output_file latest.csv ", "new.tsv", "does not exist")


def test_output_that_cannot_be_written_fails_before_any_work(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Callable[..., str]
) -> None:
    monkeypatch.setattr("run_predict.Predictor.predict_stream", None)
    line = failure(table, table / "folder" / "p.tsv")
    check_message(line, "--output_file in.tsv/folder/p.tsv ", "(in.tsv: Not a directory)")

    def deny(**_: object) -> None:
        raise PermissionError(13, "Permission denied", "probe")

    monkeypatch.setattr("kmerbert.files.TemporaryFile", deny)
    output = tmp_path / "new" / "p.tsv"
    check_message(failure(table, output), "--output_file new/p.tsv ", "(.: Permission denied)")
    assert not output.parent.exists()
    with fails("`output_dir` x ", ": Permission denied)"):
        check_folder(Path("x"), "`output_dir` x")


def test_excel_is_not_written(table: Path, tmp_path: Path, failure: Callable[..., str]) -> None:
    line = failure(table, tmp_path / "p.xlsx")
    check_message(line, "--output_file p.xlsx: Excel files are not written", ".csv or .tsv, which Excel opens")


def test_rows_that_cannot_be_used_are_to_be_corrected(tmp_path: Path, failure: Callable[..., str]) -> None:
    source = write_table(tmp_path / "in.tsv", id=["a", "b"], sequence=["ACGT", "ACQT"], y=[1, "high"])
    check_message(failure(source, tmp_path / "p.tsv"), "in.tsv, line 3: letter 'Q'", "; correct or delete the row")
    source = write_table(tmp_path / "in.tsv", id=["a", "b"], sequence=["ACGT", "ACTT"], y=[1, "high"])
    line = failure(source, tmp_path / "p.tsv", "--label_column=y")
    check_message(line, "in.tsv, line 3: y is 'high'", "; correct or delete the row")


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b", "`output_dir`")
    check_output(tmp_path / "a" / "p.tsv", ["x"], overwrite=False, inputs={"keys_file": None, "input_file": "none"})
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_read(table: Path, tmp_path: Path, failure: Callable[..., str]) -> None:
    output = tmp_path / "p.json"
    line = failure(table, output, f"--keys_file={tmp_path}/nope.json")
    check_message(line, "--keys_file nope.json ", NOT_FOUND)
    check_message(failure(table, output, f"--keys_file={tmp_path}"), "--keys_file . ", "is a folder")
    os.mkfifo(tmp_path / "pipe.tsv")
    for path, name in (("-", "-"), ("/dev/stdin", "/dev/stdin"), (tmp_path / "pipe.tsv", "pipe.tsv")):
        check_message(failure(path, output), f"--input_file {name}:", "stdin", "pipe")
        check_message(failure(table, output, f"--keys_file={path}"), f"--keys_file {name}:", "stdin", "pipe")


def test_calibration_files_that_give_no_intervals(table: Path, tmp_path: Path, failure: Callable[..., str]) -> None:
    output, path = tmp_path / "p.tsv", tmp_path / "calibration.tsv"
    calibrated = f"--calibration_file={path}"
    check_message(failure(table, output, "--interval_coverage=0.9"), "--interval_coverage", "--calibration_file")
    check_message(failure(table, output, calibrated), "--calibration_file calibration.tsv ", NOT_FOUND)
    write_table(path, **calibration_rows(8))
    line = failure(table, output, calibrated)
    check_message(line, "--interval_coverage 0.9 ", "9 rows", "LABEL_0", "--calibration_file has 8")
    for coverage in ("0", "1", "90"):
        line = failure(table, output, calibrated, f"--interval_coverage={coverage}")
        check_message(line, f"--interval_coverage {float(coverage):g}:", "above 0", "below 1")
    write_table(path, sequence=["ACGT"], prediction=[1.0])
    line = failure(table, output, calibrated)
    check_message(line, "calibration.tsv:", "'observed'", "sequence, prediction;", "run_predict.py", "--label_column")
    write_table(path, **calibration_rows(20))
    for name in ("p.json", "p.txt"):
        line = failure(table, tmp_path / name, calibrated)
        check_message(line, "--calibration_file", f" {name} ", "intervals", ".tsv, .csv or .parquet")
    assert not list(tmp_path.glob("*p.*"))


@pytest.mark.parametrize(("name", "text"), [("in.tsv", "id\tsequence\n"), ("in.csv", "id,sequence\n")])
def test_a_table_without_rows(name: str, text: str, tmp_path: Path, failure: Callable[..., str]) -> None:
    (tmp_path / name).write_text(text)
    check_message(failure(tmp_path / name, tmp_path / "p.tsv"), f"{name}:", "no rows")
    assert not (tmp_path / "p.tsv").exists()


def test_no_advice_to_change_a_trained_model(tmp_path: Path, failure: Callable[..., str]) -> None:
    for sequence, parts in (
        ("AC", ("2 bases", "k-mer has 3")),
        (50 * "A", ("50 bases", "50 tokens", "reads 40", "--max_seq_length 40")),
    ):
        source = write_table(tmp_path / "in.tsv", sequence=["ACGT", sequence])
        line = failure(source, tmp_path / "p.tsv")
        check_message(line, "in.tsv, line 3", *parts)
        assert "--k" not in line
        assert "--config_overrides" not in line


@pytest.mark.parametrize(("script", "written"), [("run_predict.py", "predictions"), ("run_evaluate.py", "results")])
def test_an_interruption_speaks_of_no_training(script: str, written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kmerbert.cli.parser.parse", interrupt)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    check_message(stopped.value.code, "interrupted", f"no {written}")
    assert "--resume_from_checkpoint" not in stopped.value.code
    with fails("interrupted", "--resume_from_checkpoint true", error=SystemExit):
        run(interrupt)
