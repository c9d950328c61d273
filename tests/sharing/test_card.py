"""What people and the Hub read about a model."""

import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from huggingface_hub import ModelCard

from kmerbert.sharing.card import CardFacts, select_metrics, code_version, model_card, write_card

FACTS = CardFacts(
    task="text-classification",
    summary="Predicts expression from DNA.",
    usage='predict = pipeline("text-classification", model="REPO")',
    metrics={"validation": {"pearsonr": 0.81234567, "rmse": 1.5}, "test": {"pearsonr": 0.7}},
    settings={"epochs": 3, "code": "abc123+", "layout": "a|b"},
    base_model="tester/dna-mlm",
)
CONFIG = SimpleNamespace(data_name="promoters.tsv", data_checksum="0123abcd")


def metadata(text: str) -> dict:
    """The YAML block that a card begins with."""
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL).group(1))


def test_metadata_are_what_the_hub_reads() -> None:
    text = model_card(FACTS, "tester/kmer-expression", "promoters.tsv", "0123abcd")
    found = metadata(text)
    assert found["library_name"] == "transformers"
    assert found["pipeline_tag"] == "text-classification"
    assert found["base_model"] == "tester/dna-mlm"
    assert {"dna", "genomics"} <= set(found["tags"])
    results = ModelCard(text).data.eval_results
    values = {(result.dataset_split, result.metric_type): result.metric_value for result in results}
    assert values == {("validation", "pearsonr"): 0.812346, ("validation", "rmse"): 1.5, ("test", "pearsonr"): 0.7}
    assert {result.dataset_name for result in results} == {"promoters.tsv"}


def test_text_for_people(tmp_path: Path) -> None:
    write_card(tmp_path, "tester/kmer-expression", FACTS, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    text = (tmp_path / "README.md").read_text()
    assert "# kmer-expression\n\nPredicts expression from DNA." in text
    assert 'model="tester/kmer-expression"' in text
    assert "REPO" not in text
    assert (
        "| split | Pearson r | RMSE |\n| --- | --- | --- |\n| validation | 0.8123 | 1.5000 |\n| test | 0.7000 |  |"
        in text
    )
    assert "Data: promoters.tsv, checksum `0123abcd`." in text
    assert "| epochs | 3 |" in text
    assert r"| layout | a\|b |" in text  # a bar would end the cell


@pytest.mark.parametrize("base_model", [None, "bert", "/data/models/mlm", "runs/mlm"])
def test_folders_of_this_machine_are_not_named(
    base_model: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs/mlm").mkdir(parents=True)
    facts = CardFacts("fill-mask", "", "", {}, base_model=base_model)
    text = model_card(facts, "out", "dna.fa", "0")
    assert "base_model" not in metadata(text)
    assert str(base_model) not in text


def test_without_evaluation() -> None:
    text = model_card(CardFacts("fill-mask", "A model.", "use", {}), "out", "dna.fa", "0")
    assert "## Results\n\nNot evaluated." in text
    assert "model-index" not in metadata(text)


@pytest.mark.parametrize("name", ["yes", "1e3", "a: b", "# c", "null", "ünï"])
def test_odd_names_are_valid_metadata(name: str) -> None:
    text = model_card(FACTS, f"tester/{name}", name, "0")
    result = metadata(text)["model-index"][0]
    assert result["name"] == name
    assert result["results"][0]["dataset"]["name"] == name


def test_chosen_metrics() -> None:
    metrics = {"validation": {"eval_mse": 2.0, "eval_loss": 1.0}, "test": {"test_mse": 3.0, "test_runtime": 9}}
    assert chosen(metrics, ("mse", "r2")) == {"validation": {"mse": 2.0}, "test": {"mse": 3.0}}


def test_code_version(tmp_path: Path) -> None:
    assert code_version(tmp_path) == "unknown"
    if not shutil.which("git"):
        pytest.skip("git is not installed")

    def git(*words: str) -> None:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=A", "-c", "user.email=a@b", *words]
        subprocess.run(command, check=True, capture_output=True)

    git("init")
    assert code_version(tmp_path) == "unknown"
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first", "--no-gpg-sign")
    git("tag", "v1.0")
    assert re.fullmatch("[0-9a-f]{12}", code_version(tmp_path))
    (tmp_path / "file").write_text("2")
    assert re.fullmatch(r"[0-9a-f]{12}\+", code_version(tmp_path))
