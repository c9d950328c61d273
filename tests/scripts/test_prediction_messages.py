"""What run_predict.py says of mistakes: the flag, the path, what to do; inputs are never replaced, links are kept."""

import os
import re
import runpy
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from kmerbert.cli.run import run
from kmerbert.files import check_folder
from kmerbert.predicting.writers import check_output
from run_predict import main
from tests.support.tiny_runs import write_table
from tokenization_kmer import KmerTokenizer

ROOT = Path(__file__).resolve().parents[2]


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
    """Predictions of n rows beside measured values, with errors of 1, 2, ... n."""
    return {"prediction": n * [0.5], "observed": [0.5 + row for row in range(1, n + 1)]}


def predict(model: str, source: Path | str, output: Path | str, *more: str) -> None:
    """Runs the script as a user does."""
    main([f"--model_name_or_path={model}", f"--input_file={source}", f"--output_file={output}", *more])


def refusal(model: str, source: Path | str, output: Path | str, *more: str) -> str:
    """What the script says."""
    with pytest.raises(ValueError, match=".") as found:
        predict(model, source, output, *more)
    return str(found.value)


def test_no_input_is_replaced(model: str, table: Path, tmp_path: Path) -> None:
    before = table.read_bytes()
    link, hard_link = tmp_path / "link.tsv", tmp_path / "hard.tsv"
    link.symlink_to(table)
    os.link(table, hard_link)
    for output in (table, link, hard_link, tmp_path / "." / "in.tsv"):
        for more in ([], ["--overwrite"]):
            message = refusal(model, table, output, *more)
            assert (
                message
                == f"--output_file {output} is the --input_file itself, which is never replaced: name another file"
            )
    keys = tmp_path / "keys.json"
    keys.write_text('{"1": 0.0}')
    message = refusal(model, table, keys, f"--keys_file={keys}", "--overwrite")
    assert message.startswith(f"--output_file {keys} is the --keys_file itself")
    assert keys.read_text() == '{"1": 0.0}'
    rows = calibration_rows(20)
    calibration = write_table(tmp_path / "calibration.tsv", **rows)
    message = refusal(model, table, calibration, f"--calibration_file={calibration}", "--overwrite")
    assert message.startswith(f"--output_file {calibration} is the --calibration_file itself")
    assert len(calibration.read_text().splitlines()) == 21
    assert table.read_bytes() == before


def test_a_link_stays_and_its_file_is_replaced(model: str, table: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / "p.tsv", tmp_path / "latest.csv"
    target.write_text("before")
    link.symlink_to(target)
    assert "latest.csv is there already: name another or add --overwrite" in refusal(model, table, link)
    assert target.read_text() == "before"
    predict(model, table, link, "--overwrite")
    assert link.is_symlink()
    assert pd.read_csv(target)["id"].tolist() == ["a", "b", "c"]  # the ending of the name that was asked for
    assert [path.name for path in target.parent.iterdir()] == ["p.tsv"]
    link.unlink()
    link.symlink_to(tmp_path / "store" / "new.tsv")  # not there yet
    predict(model, table, link)
    assert link.is_symlink()
    assert len(pd.read_csv(tmp_path / "store" / "new.tsv")) == 3


def test_places_that_cannot_be_written_are_refused_before_any_work(
    model: str, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("run_predict.Predictor.predict_stream", None)
    output = table / "folder" / "p.tsv"
    message = (
        f"--output_file {output} cannot be written ({table}: Not a directory): name another place, or mend that one"
    )
    assert refusal(model, table, output) == message

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied", "probe")

    monkeypatch.setattr("kmerbert.files.TemporaryFile", refuse)
    output = tmp_path / "new" / "p.tsv"
    assert f"p.tsv cannot be written ({tmp_path}: Permission denied)" in refusal(model, table, output)
    assert not output.parent.exists()
    with pytest.raises(ValueError, match=r"^--output_dir x cannot be written \(.*: Permission denied\): name another"):
        check_folder(Path("x"), "--output_dir x")


def test_a_place_that_can_be_written_stays_as_it_is(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b", "--output_dir")
    check_output(tmp_path / "a" / "p.tsv", ["x"], overwrite=False, inputs={"--keys_file": None, "--input_file": "none"})
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_read(model: str, table: Path, tmp_path: Path) -> None:
    output = tmp_path / "p.json"
    for path, reason in ((tmp_path / "nope.json", "No such file or directory"), (tmp_path, "Is a directory")):
        expected = f"--keys_file {path} cannot be read ({reason}): name a file that is there and may be read"
        assert refusal(model, table, output, f"--keys_file={path}") == expected
    os.mkfifo(tmp_path / "pipe.tsv")
    advice = "stdin is not read, nor a pipe: write a file and name that"
    for name in ("-", "/dev/stdin", tmp_path / "pipe.tsv"):
        assert refusal(model, name, output) == f"--input_file {name}: {advice}"
        assert refusal(model, table, output, f"--keys_file={name}") == f"--keys_file {name}: {advice}"


def test_calibration_files_that_give_no_intervals(model: str, table: Path, tmp_path: Path) -> None:
    output, path = tmp_path / "p.tsv", tmp_path / "calibration.tsv"
    asked = f"--calibration_file={path}"
    expected = "--interval_coverage needs errors to learn from: give --calibration_file (see its help)"
    assert refusal(model, table, output, "--interval_coverage=0.9") == expected
    advice = "cannot be read (No such file or directory): name a file that is there and may be read"
    assert refusal(model, table, output, asked) == f"--calibration_file {path} {advice}"
    write_table(path, **calibration_rows(8))
    expected = (
        "--interval_coverage 0.9 needs 9 rows or more with a measured value of .*, but --calibration_file has 8: give"
    )
    assert re.match(expected, refusal(model, table, output, asked))
    for coverage in ("0", "1", "90", "nan"):
        message = refusal(model, table, output, asked, f"--interval_coverage={coverage}")
        assert message == f"--interval_coverage {coverage}: allowed is above 0 and below 1, such as 0.9"
    write_table(path, sequence=["ACGT"], prediction=[1.0])
    message = refusal(model, table, output, asked)
    assert message.startswith(
        f"{path}: no column 'observed'; columns found: sequence, prediction; write it by run_pred"
    )
    write_table(path, **calibration_rows(20))
    for name in ("p.json", "p.txt"):
        message = refusal(model, table, tmp_path / name, asked)
        assert message.startswith(f"--calibration_file: {tmp_path / name} has no place for intervals: write .tsv")
    assert not list(tmp_path.glob("*p.*"))


@pytest.mark.parametrize(("name", "text"), [("in.tsv", "id\tsequence\n"), ("in.csv", "id,sequence\n")])
def test_a_table_without_rows_is_named(name: str, text: str, model: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    expected = f"{tmp_path / name}: there are no rows to predict: name one with sequences"
    assert refusal(model, tmp_path / name, tmp_path / "p.tsv") == expected


def test_no_advice_to_change_a_trained_model(model: str, tmp_path: Path) -> None:
    for sequence, expected in (
        ("AC", "2 bases are shorter than one k-mer of 3: remove the row"),
        (50 * "A", "50 bases give 50 tokens, but the model reads 40: cut with --max_seq_length 40"),
    ):
        source = write_table(tmp_path / "in.tsv", sequence=["ACGT", sequence])
        assert refusal(model, source, tmp_path / "p.tsv") == f"{source}, line 3: {expected}"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("run_predict.py", "interrupted; no predictions were written"),
        ("run_evaluate.py", "interrupted; no results were written"),
    ],
)
def test_an_interruption_speaks_of_no_training(script: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kmerbert.cli.parser.parse", interrupt)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert stopped.value.code == message
    with pytest.raises(SystemExit, match="^interrupted; .*--resume_from_checkpoint true$"):
        run(interrupt)
