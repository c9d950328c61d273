"""The convolutional baseline: its input, its size, what it learns, its predictions files and its messages."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from baselines import legnet
from tests.support.messages import fails
from tests.support.tiny_runs import planted, write_table


def write_rows(tmp_path: Path, n_train: int, n_validation: int = 40) -> Path:
    """Training and validation rows; half of the sequences contain a motif that decides about their values."""
    sequences, values = planted(np.random.default_rng(0), n_train + n_validation, 20)
    splits = ["train"] * n_train + ["validation"] * n_validation
    return write_table(tmp_path / "table.tsv", sequence=sequences, expression=np.round(values, 4), split=splits)


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that trains in a moment, for tests of everything around it."""
    monkeypatch.setattr(legnet, "build_network", lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(1)))


def test_encoding_by_hand() -> None:
    rows = legnet.encode(["ACGT", "CN"], 3)
    assert rows.dtype == torch.int8
    assert rows[0].tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert rows[1].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_the_network_has_the_published_size() -> None:
    network = legnet.build_network()
    assert 1.25e6 < sum(weight.numel() for weight in network.parameters()) < 1.35e6
    assert network(torch.zeros(2, 4, 110)).shape == (2, 1)


def test_the_baseline_learns_a_planted_motif(tmp_path: Path) -> None:
    table = write_rows(tmp_path, 400)
    flags = f"--train_file {table} --split_column split --epochs 5 --batch_size 20 --output_dir {tmp_path / 'out'}"
    legnet.main(flags.split())
    predictions = pd.read_csv(tmp_path / "out/validation_predictions.tsv", sep="\t")
    assert list(predictions) == ["id", "sequence", "prediction", "observed"]
    rows = pd.read_csv(table, sep="\t").query("split == 'validation'")
    assert predictions["sequence"].tolist() == rows["sequence"].tolist()
    assert predictions["id"].tolist() == list(range(402, 442))  # line numbers of the table
    assert np.corrcoef(predictions["prediction"], predictions["observed"])[0, 1] > 0.8


@pytest.mark.usefixtures("small_network")
def test_a_test_file_without_header_or_values(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    sequences, values = planted(np.random.default_rng(0), 20, 32)
    rows = [f"{sequence.lower()}\t{value:.3f}\n" for sequence, value in zip(sequences, values, strict=True)]
    (tmp_path / "measured.tsv").write_text("".join(rows))
    (tmp_path / "only_dna.txt").write_text("".join(f"{sequence}\n" for sequence in sequences))
    results = []
    for name in ("measured.tsv", "only_dna.txt"):
        flags = f"--train_file {tmp_path}/measured.tsv --test_file {tmp_path}/{name} --epochs 1 --output_dir {tmp_path}/out --overwrite"
        legnet.main(flags.split())
        results.append(pd.read_csv(tmp_path / "out/test_predictions.tsv", sep="\t"))
        assert ("test: r " in capsys.readouterr().out) == (name == "measured.tsv")
    assert np.allclose(results[0]["observed"], np.round(values, 3))
    assert results[0]["sequence"].tolist() == [sequence.lower() for sequence in sequences]
    assert list(results[1]) == ["id", "sequence", "prediction"]
    assert results[1]["prediction"].tolist() == results[0]["prediction"].tolist()


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ("--split_column locus", ("table.tsv", "'locus'", "'split'")),
        ("--label_column value", ("table.tsv", "'value'", "`label_column`")),
        ("--label_column split --split_column split", ("table.tsv, line 2", "split", "'train'")),
        ("", ("table.tsv", "20 rows to train", "0 to predict", "`split_column`", "`test_file`")),
        ("--test_file missing.tsv", ("missing.tsv",)),
    ],
)
def test_commands_that_cannot_be(flags: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    table = write_rows(tmp_path, 15, 5)
    with fails(*parts):
        legnet.main(["--train_file", str(table), "--output_dir", str(tmp_path / "out"), *flags.split()])
    assert not (tmp_path / "out").exists()


def test_one_training_row_is_too_few(tmp_path: Path) -> None:
    table = write_rows(tmp_path, 1, 5)
    with fails("table.tsv", "one row", "2"):
        legnet.main(f"--train_file {table} --split_column split --output_dir {tmp_path / 'out'}".split())


@pytest.mark.usefixtures("small_network")
def test_predictions_that_exist_are_only_replaced_with_the_flag(tmp_path: Path) -> None:
    table, folder = write_rows(tmp_path, 15, 5), tmp_path / "out"
    folder.mkdir()
    (folder / "validation_predictions.tsv").write_text("of another model")
    flags = f"--train_file {table} --split_column split --epochs 1 --output_dir {folder}".split()
    with fails("`output_dir`", "validation_predictions.tsv", "`overwrite`"):
        legnet.main(flags)
    assert (folder / "validation_predictions.tsv").read_text() == "of another model"
    legnet.main([*flags, "--overwrite"])
    assert len(pd.read_csv(folder / "validation_predictions.tsv", sep="\t")) == 5
