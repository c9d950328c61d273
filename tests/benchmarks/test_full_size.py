"""The full-size benchmark at toy size: every stage is a valid command, and its reading stages read."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measuring import ROOT, words
from benchmarks.speed import full_size
from kmerbert.cli import flags
from kmerbert.cli.parser import parse
from kmerbert.training.flags import PretrainingArguments, RegressionArguments
from tests.support.messages import check_message
from tests.support.tiny_runs import random_dna

GROUPS = {
    "run_finetune_regression.py": (flags.RegressionDataArguments, flags.RegressionModelArguments, RegressionArguments),
    "run_pretrain_mlm.py": (flags.PretrainingDataArguments, flags.ModelArguments, PretrainingArguments),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """600 promoters in the challenge's format, between the constant ends of the plasmid that is written, too."""
    monkeypatch.chdir(ROOT)  # as programs of their own run
    full_size.write_plasmid(tmp_path / "plasmid.txt")
    inserts = random_dna(np.random.default_rng(0), 600, 80)
    rows = [f"{full_size.LEFT}{insert}{full_size.RIGHT}\t{number % 18}\n" for number, insert in enumerate(inserts)]
    (tmp_path / "train_sequences.txt").write_text("".join(rows))
    return tmp_path


def commands(folder: Path) -> dict[str, list[str]]:
    """The command of every stage by its title."""
    args = Namespace(rows=600, steps=10, batch_size=4, identity=0.9)
    values = full_size.settings(args, folder)
    return {stage.title: words(stage.command, **values) for stage in full_size.STAGES}


def test_every_training_stage_is_a_valid_command(folder: Path) -> None:
    parsed = {}
    for title, (script, *argv) in commands(folder).items():
        assert (ROOT / script).is_file()
        if script in GROUPS:
            parsed[title] = parse(GROUPS[script], argv)
    assert len(parsed) == len(full_size.STAGES) - 1  # all but the simulation
    for data, _, training in parsed.values():
        assert data.train_file == str(folder / "train_sequences.txt")
        assert (training.max_steps, training.per_device_train_batch_size, training.logging_steps) == (10, 4, 2)
        assert (training.gradient_accumulation_steps, training.eval_strategy) == (1, "no")
    similar = [data.similar_sequences for data, _, _ in parsed.values()]
    assert [value for value in similar if value] == [0.9]


def test_held_out_rows_are_the_recipes_own_share(folder: Path) -> None:
    values = full_size.settings(Namespace(rows=full_size.ALL_ROWS, steps=1, batch_size=1, identity=0.9), folder)
    assert (values["davuluri_rows"], values["top_rows"], values["frames_rows"]) == (100_000, 88_160, 152_786)
    values = full_size.settings(Namespace(rows=full_size.ALL_ROWS // 2, steps=1, batch_size=1, identity=0.9), folder)
    assert values["test_rows"] == 38_196  # 76,393 / 2


@pytest.mark.parametrize(
    ("title", "log"),
    [
        ("davuluri: read, check, tokenise, divide", "train: 591 rows"),  # 100,000 of 6.7 million are 9 of 600
        ("sysu: the top fifth with flanks", "validation: 8 rows"),  # 88,160 of 6.7 million
    ],
)
def test_reading_stages_read(
    title: str, log: str, folder: Path, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    full_size.read(commands(folder)[title])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["memory"] > 1e7
    assert log in caplog.text
    stage = next(stage for stage in full_size.STAGES if stage.title == title)
    assert stage.only_reads
    assert any((folder / stage.output).iterdir())


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def run(module: str, *command: str) -> dict[str, float]:
        runs.append((module, *command))
        (tmp_path / "new/davuluri/tokens").mkdir(parents=True, exist_ok=True)
        (tmp_path / "new/davuluri/tokens/ids").write_bytes(bytes(1000))
        return {"memory": 2e9}

    monkeypatch.setattr(full_size, "run_apart", run)
    argv = ["--folder", str(tmp_path / "new"), "--rows", "600", "--steps", "10"]
    table = full_size.main(argv)
    assert len(table) == len(runs) == len(full_size.STAGES)
    assert (table[1]["disk"], table[1]["memory"]) == (1000, 2e9)
    assert runs[1][:3] == ("benchmarks.speed.full_size", "--read", "run_finetune_regression.py")
    assert runs[3][:2] == ("benchmarks.measuring", "run_finetune_regression.py")
    assert "davuluri: train BERT-base, 10 steps of 8" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        full_size.main(argv)
    check_message(capsys.readouterr().err.splitlines()[-1], "--folder", "not empty")
