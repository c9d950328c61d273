"""The first run on a table as a laboratory has it: an Excel file or a European CSV, own names, a few bad rows."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import run_finetune_regression
import run_predict
import run_pretrain_mlm
from kmerbert.predicting.predictor import Predictor
from kmerbert.sharing import report
from tests.scripts.test_bad_inputs import NETWORK
from tests.support.messages import check_message
from tests.support.tiny_runs import flags, planted


@pytest.fixture(scope="module")
def workbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sheets of sequences; in rows 5 and 9 of the first are no number and no DNA."""
    path = tmp_path_factory.mktemp("table") / "screen.xlsx"
    sequences, values = planted(np.random.default_rng(0), 100)
    table = pd.DataFrame({"Name": [f"p{i}" for i in range(80)], "Oligo": sequences[:80], "log2FC": values[:80]})
    table = table.astype({"log2FC": object})
    table.loc[3, "log2FC"], table.loc[7, "Oligo"] = "n.d.", "see notes"
    later = pd.DataFrame({"log2FC": values[80:], "Oligo": sequences[80:]})
    with pd.ExcelWriter(path) as writer:
        table.to_excel(writer, sheet_name="Screen", index=False)
        later.to_excel(writer, sheet_name="New", index=False)
    return path


def command(path: Path, folder: Path, **settings: object) -> list[str]:
    return flags(path, folder, test_split_percentage=20, max_steps=2, save_steps=1, **settings)


def rejected(folder: Path) -> list[list[object]]:
    table = pd.read_csv(folder / "rejected_rows.tsv", sep="\t")
    assert list(table) == ["file", "line", "column", "value", "reason"]
    return table[["file", "line", "column", "value"]].to_numpy().tolist()


BAD = [["screen.xlsx", 5, "log2FC", "n.d."], ["screen.xlsx", 9, "Oligo", "see notes"]]


def test_excel_from_the_first_command_to_predictions(
    workbook: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error_line: Callable[..., str],
) -> None:
    folder, counts = tmp_path / "run", []
    monkeypatch.setattr(report, "report_html", lambda facts: counts.append(facts.counts) or "a report")
    line = error_line(run_finetune_regression.main, *command(workbook, folder))
    check_message(line, "'Screen', 'New'", "--sheet")
    line = error_line(run_finetune_regression.main, *command(workbook, folder, sheet="Screen"))
    check_message(line, "screen.xlsx, row 5", "'n.d.'", "2 of 80 rows", "run/rejected_rows.tsv", "--on_bad_rows drop")
    assert rejected(folder) == BAD

    given = {"sheet": "Screen", "on_bad_rows": "drop"}
    run_finetune_regression.main(command(workbook, folder, **given))
    printed = capsys.readouterr()
    check_message(" ".join((printed.out + printed.err).split()), "'Oligo'", "'log2FC'", "2 rows cannot be used")
    assert rejected(folder) == BAD
    config = json.loads((folder / "config.json").read_text())
    assert (config["id2label"], config["n_rejected_rows"]) == ({"0": "log2FC"}, 2)
    assert "2 that could not be used" in (folder / "README.md").read_text()
    assert counts[-1]["screen.xlsx: rows left out"] == 2
    held_out = pd.read_csv(folder / "test_predictions.tsv", sep="\t")
    screen = pd.read_excel(workbook, sheet_name="Screen").set_index("Oligo")["log2FC"]
    np.testing.assert_allclose(held_out["observed"], screen[held_out["sequence"]].astype(float), rtol=1e-6)
    assert not {5, 9} & set(held_out["id"])

    # Named or found, the columns are the same: the run continues.
    names = {"sequence_column": "Oligo", "label_column": "log2FC"}
    longer = [flag for flag in command(workbook, folder, **given) if "max_steps" not in flag]
    for more in ({}, names):
        named = [f"--{name}={value}" for name, value in more.items()]
        run_finetune_regression.main([*longer, *named, "--max_steps=3", "--resume_from_checkpoint=true"])
    assert rejected(folder) == BAD

    output = tmp_path / "new.tsv"
    run_predict.main(
        [
            f"--model_name_or_path={folder}",
            f"--input_file={workbook}",
            "--sheet=New",
            f"--output_file={output}",
            "--use_cpu",
        ]
    )
    predicted = pd.read_csv(output, sep="\t")
    new = pd.read_excel(workbook, sheet_name="New")
    assert predicted["sequence"].tolist() == new["Oligo"].tolist()
    assert predicted["id"].tolist() == list(range(2, 22))
    in_notebook = Predictor.from_pretrained(folder, device="cpu").predict(workbook, sheet="New")
    np.testing.assert_allclose(in_notebook["prediction"], predicted["prediction"], rtol=1e-5)


def test_a_european_table_in_a_cross_validation(tmp_path: Path) -> None:
    sequences, values = planted(np.random.default_rng(1), 60)
    rows = [
        f"{s};{v:.2f}".replace(".", ",") + f";{i % 2}" for i, (s, v) in enumerate(zip(sequences, values, strict=True))
    ]
    rows[10] = ";;"
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["Sequence (5' to 3');Expression (a.u.);half", *rows, ""]), encoding="utf-8-sig")
    folder = tmp_path / "run"
    run_finetune_regression.main(
        flags(
            path,
            folder,
            fold_column="half",
            max_steps=1,
            on_bad_rows="drop",
            test_split_percentage=0,
            eval_strategy="no",
        )
    )
    table = pd.read_csv(folder / "validation_predictions.tsv", sep="\t")
    assert len(table) == 59
    measured = dict(zip(sequences, np.round(values, 2), strict=True))
    np.testing.assert_allclose(table["observed"], [measured[s] for s in table["sequence"]], rtol=1e-6)
    assert json.loads((folder / "config.json").read_text())["id2label"] == {"0": "Expression (a.u.)"}
    assert len(rejected(folder)) == 1


def test_a_language_model_of_a_sheet(workbook: Path, tmp_path: Path) -> None:
    arguments = {"train_file": workbook, "sheet": "New", "output_dir": tmp_path / "run", "k": 3, "max_steps": 1}
    arguments |= {"config_overrides": NETWORK, "token_cache_dir": tmp_path / "cache", "disable_tqdm": True}
    run_pretrain_mlm.main([f"--{name}={value}" for name, value in arguments.items()])
    assert json.loads((tmp_path / "run" / "config.json").read_text())["n_training_rows"] == 18


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (["--train_file=a.tsv", "--sheet=Data"], ["--sheet 'Data'", ".xlsx", "--train_file"]),
        (["--train_file=shards", "--streaming", "--on_bad_rows=drop"], ["--on_bad_rows drop", "--streaming"]),
        (["--train_file=shards", "--streaming", "--sheet=Data"], ["--sheet 'Data'"]),
        (["--train_file=old.xls"], ["old.xls", "save it as .xlsx"]),
    ],
)
def test_flags_that_do_not_apply(
    more: list[str], parts: list[str], tmp_path: Path, error_line: Callable[..., str]
) -> None:
    (tmp_path / "old.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    more = [word.replace("=old", f"={tmp_path}/old") for word in more]
    line = error_line(run_finetune_regression.main, *more, f"--output_dir={tmp_path}/run")
    check_message(line, *parts)
