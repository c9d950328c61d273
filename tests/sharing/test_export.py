"""A model to give away: which files, whose name and unit, and that nothing of the run goes with it."""

import os
from pathlib import Path

import numpy as np
import pytest

import run_export
import run_finetune_regression
from kmerbert.predicting.predictor import Predictor
from kmerbert.sharing.export import export_folder, left_out
from tests.support.messages import fails
from tests.support.tiny_runs import flags, planted_table, random_dna

SEQUENCES = random_dna(np.random.default_rng(5), 20)
MODEL = {
    *(
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenization_kmer.py",
        "tokenizer.json",
        "tokenizer_config.json",
    ),
    "vocab.txt",
}
RESULTS = {"train_results.json", "eval_results.json", "test_results.json", "all_results.json"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, `one` and `two`."""
    folder = tmp_path_factory.mktemp("runs")
    table = planted_table(folder / "a.tsv")
    for seed, name in enumerate(("one", "two")):
        run_finetune_regression.main(flags(table, folder / name, seed=seed, num_train_epochs=2))
    return folder


def predict(*names: Path) -> np.ndarray:
    return Predictor.from_pretrained(list(names), device="cpu").predict_values(SEQUENCES)


def test_a_run_is_copied_without_what_belongs_to_the_run(runs: Path, tmp_path: Path) -> None:
    os.chmod(runs / "one" / "model.safetensors", 0o600)
    (runs / "one" / "notes.txt").write_text("private")
    output = tmp_path / "away" / "expression"
    assert (
        set(export_folder([str(runs / "one")], output)) == MODEL | RESULTS == {path.name for path in output.iterdir()}
    )
    assert np.array_equal(predict(output), predict(runs / "one"))
    assert output.stat().st_mode & 0o777 == 0o755
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in output.iterdir())
    assert 'model="expression"' in (output / "README.md").read_text()
    assert {"notes.txt", "validation_predictions.tsv", "training_args.bin"} <= set(left_out(runs / "one"))
    assert not set(left_out(runs / "one")) & MODEL
    assert [path.name for path in output.parent.iterdir()] == ["expression"]


def test_everybody_may_read_what_is_given_away_under_a_strict_umask(runs: Path, tmp_path: Path) -> None:
    """A folder that was there already keeps its own rights."""
    os.chmod(tmp_path, 0o700)
    before = os.umask(0o077)
    try:
        export_folder([str(runs / "one")], tmp_path / "new" / "deep" / "copied")
        export_folder([str(runs / "one"), str(runs / "two")], tmp_path / "new" / "mean")
    finally:
        os.umask(before)
    for path in (tmp_path / "new").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_checkpoint_answers_in_the_unit_of_the_labels(runs: Path, tmp_path: Path) -> None:
    checkpoint = next((runs / "one").glob("checkpoint-*"))
    assert set(export_folder([str(checkpoint)], tmp_path / "a")) == MODEL
    assert np.allclose(predict(tmp_path / "a"), predict(checkpoint), atol=1e-5)
    assert abs(predict(tmp_path / "a").mean() - 11) < 3


def test_several_models_become_their_mean(runs: Path, tmp_path: Path) -> None:
    names = [str(runs / "one"), str(runs / "two")]
    assert "modeling_kmer_ensemble.py" in export_folder(names, tmp_path / "mean")
    assert np.allclose(predict(tmp_path / "mean"), predict(runs / "one", runs / "two"), atol=1e-5)
    card = (tmp_path / "mean" / "README.md").read_text()
    assert "mean of 2 models" in card
    assert 'model="mean"' in card


def test_what_cannot_be_written(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with fails("`output_dir`", "full", "not empty"):
        export_folder([str(runs / "one")], tmp_path / "full")
    with fails("`model_name_or_path`", "nothing"):
        export_folder([str(tmp_path / "nothing")], tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with fails("--model_name_or_path", "--output_dir"):
        run_export.main(["--output_dir=a"])


def test_the_command_says_what_stays(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_export.main([f"--model_name_or_path={runs / 'two'}", f"--output_dir={tmp_path / 'new'}"])
    said = capsys.readouterr().err
    assert result["n_files"] == len(MODEL | RESULTS)
    for part in ("validation_predictions.tsv", "training_sample", f"--model_name_or_path {tmp_path / 'new'}"):
        assert part in said
