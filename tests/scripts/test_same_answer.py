"""One answer by every route: run_predict.py, Predictor, the Auto classes, a pipeline, and the folder that run_export.py writes."""

import json
import re
import shutil
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import run_evaluate
import run_export
import run_finetune_regression
import run_predict
from kmerbert.predicting.predictor import Predictor
from kmerbert.sharing import report
from tests.support.messages import fails
from tests.support.tiny_runs import flags, planted_table, random_dna
from tokenization_kmer import KmerTokenizer

ROOT = Path(run_finetune_regression.__file__).parent
SMALL = "embedding_size=8,hidden_size=16,num_stages=2,head_size=16,kernel_size=3,stem_kernel_size=5"
PLASMID = (
    "".join(random_dna(np.random.default_rng(3), 1, 60))
    + "N" * 10
    + "".join(random_dna(np.random.default_rng(4), 1, 60))
)
FLANK, MOST_TOKENS = 6, 32  # 3-mers of 24 bases and 2 * 6 of flanks are 34, and [CLS] and [SEP] two more
# A run by its name: what is added to the shortest command line, or to that of a tiny BERT or ModernBERT.
RUNS = {
    "default": [f"--config_overrides={SMALL}", "--max_steps=8"],
    "folds": [f"--config_overrides={SMALL}", "--max_steps=8", "--folds=2"],
    "flanks": ["--flank_length=6", "--model_type=modernbert", "--learning_rate=1e-2"],
    "cut": [f"--max_seq_length={MOST_TOKENS}", "--flank_length=6", "--learning_rate=1e-2"],
}
SEQUENCES = random_dna(np.random.default_rng(5), 12, 24)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs, whose reports are empty."""
    folder = tmp_path_factory.mktemp("runs")
    table = planted_table(folder / "a.tsv", 60)
    (folder / "plasmid.txt").write_text(PLASMID)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "report_html", lambda facts: "")
        for name, added in RUNS.items():
            output = folder / name
            argv = [f"--train_file={table}", f"--output_dir={output}", f"--token_cache_dir={folder / 'cache'}"]
            if "--flank_length=6" in added:
                argv = [*flags(table, output), f"--flank_file={folder / 'plasmid.txt'}"]
            run_finetune_regression.main([*argv, *added])
    return folder


def by_auto_classes(folder: Path, sequences: list[str]) -> np.ndarray:
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
    with torch.no_grad():
        return model(**tokenizer(sequences, truncation=True, padding=True, return_tensors="pt")).logits[:, 0].numpy()


def by_pipeline(folder: Path, sequences: list[str]) -> np.ndarray:
    predict = pipeline("text-classification", str(folder), trust_remote_code=True)
    return np.array([answer["score"] for answer in predict(sequences, truncation=True)])


def by_script(folder: Path, sequences: list[str], tmp_path: Path, *more: str) -> np.ndarray:
    (tmp_path / "new.txt").write_text("sequence\n" + "".join(f"{row}\n" for row in sequences))
    output = tmp_path / f"{folder.name}.tsv"
    argv = [f"--model_name_or_path={folder}", f"--input_file={tmp_path / 'new.txt'}", f"--output_file={output}"]
    run_predict.main([*argv, "--overwrite", *more])
    return pd.read_csv(output, sep="\t")["prediction"].to_numpy()


@pytest.mark.parametrize("name", ["default", "folds", "flanks"])
def test_the_numbers_are_those_of_run_predict(name: str, runs: Path, tmp_path: Path) -> None:
    folder, away = runs / name, tmp_path / "away"
    expected = by_script(folder, SEQUENCES, tmp_path)
    assert np.std(expected) > 2e-4
    run_export.main([f"--model_name_or_path={folder}", f"--output_dir={away}", "--format=folder"])
    assert by_script(away, SEQUENCES, tmp_path) == pytest.approx(expected, abs=1e-5)
    for place in (folder, away):
        assert Predictor.from_pretrained(place, device="cpu").predict_values(SEQUENCES)[:, 0] == pytest.approx(expected)
        assert by_auto_classes(place, SEQUENCES) == pytest.approx(expected, abs=2e-5)
        assert by_pipeline(place, SEQUENCES) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("name", ["default", "folds", "flanks"])
def test_run_evaluate_finds_what_the_verdict_says(name: str, runs: Path, tmp_path: Path) -> None:
    verdict = json.loads((runs / name / "verdict.json").read_text())
    predictions = runs / name / f"{verdict['split']}_predictions.tsv"
    found = run_evaluate.main([f"--predictions_file={predictions}", f"--output_dir={tmp_path / 'evaluation'}"])
    assert found["baseline"] == pytest.approx(verdict["baselines"]["ridge"])
    assert {name: found[name] for name in ("n", "pearsonr", "rmse")} == pytest.approx(
        {name: verdict["metrics"][name] for name in ("n", "pearsonr", "rmse")}
    )
    rows = f"{found['n']} rows"
    assert [line.split(rows)[0] for line in found["verdict"]] == [
        line.split(rows.replace("rows", verdict["split"]))[0] for line in verdict["verdict"]
    ]


def test_the_saved_limit_is_what_the_model_has_learnt_to_read(runs: Path, tmp_path: Path) -> None:
    """Sequences that training cut are too long for its model, too, unless they are cut in the same place."""
    folder = runs / "cut"
    config = json.loads((folder / "config.json").read_text())
    longest = MOST_TOKENS - 2 + 2  # 3-mers and the bases that they spell, flanks included
    assert (config["kmer_max_tokens"], config["sequence_length"]) == (MOST_TOKENS, [longest, longest])
    with fails(f"{24 + 2 * FLANK} bases", "36 tokens", f"`max_seq_length` {MOST_TOKENS}"):
        Predictor.from_pretrained(folder, device="cpu").predict_values(SEQUENCES)
    expected = by_script(folder, SEQUENCES, tmp_path, f"--max_seq_length={MOST_TOKENS}")
    run_export.main([f"--model_name_or_path={folder}", f"--output_dir={tmp_path / 'away'}"])
    for place in (folder, tmp_path / "away"):
        assert KmerTokenizer.from_pretrained(place).model_max_length == MOST_TOKENS
        assert by_auto_classes(place, SEQUENCES) == pytest.approx(expected, abs=2e-5)
        assert by_pipeline(place, SEQUENCES) == pytest.approx(expected, abs=2e-5)
    held_out = pd.read_csv(folder / "test_predictions.tsv", sep="\t")
    again = by_script(folder, list(held_out["sequence"]), tmp_path, f"--max_seq_length={MOST_TOKENS}")
    assert held_out["prediction"].to_numpy() == pytest.approx(again, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "longest"), [("default", 10**30), ("folds", 10**30), ("flanks", 64)], ids=lambda value: str(value)[:9]
)
def test_without_a_cut_the_limit_is_the_networks(name: str, longest: int, runs: Path) -> None:
    tokenizer = KmerTokenizer.from_pretrained(runs / name)
    assert tokenizer.model_max_length == pytest.approx(longest)
    n_bases = min(longest, 3000) - 2 + tokenizer.k - 1 - 2 * FLANK * (name == "flanks")
    predictor = Predictor.from_pretrained(runs / name, device="cpu")
    assert np.isfinite(predictor.predict_values(random_dna(np.random.default_rng(6), 1, n_bases))).all()
    if name == "flanks":
        with fails("65 tokens", "64"):
            predictor.predict_values(random_dna(np.random.default_rng(6), 1, n_bases + 1))


def test_a_document_says_what_every_file_of_a_run_is_for(runs: Path) -> None:
    lines = (ROOT / "docs" / "run_folder.md").read_text().splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("| `")]
    assert all(len(row) == 4 and all(cell.strip() for cell in row) for row in rows)
    patterns = [pattern for row in rows for pattern in re.findall("`([^`]+)`", row[0])]
    for folder in (runs / "default", runs / "folds", runs / "folds" / "fold_0"):
        names = [path.name for path in folder.iterdir()]
        assert {"report.html", "run_files.json"} <= set(names)
        assert [name for name in names if not any(fnmatchcase(name, pattern) for pattern in patterns)] == []


def test_make_clean_leaves_runs_alone(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("runs/mine/model.safetensors", "runs/demo/expression/model.safetensors", ".venv/bin/python"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert {path.name for path in tmp_path.iterdir()} == {"Makefile", "runs"}
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine"]


def test_a_new_training_sets_its_own_limit(runs: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    argv = flags(runs / "a.tsv", again, model_name_or_path=runs / "cut", max_steps=1)
    run_finetune_regression.main(argv)
    assert KmerTokenizer.from_pretrained(again).model_max_length == 64
