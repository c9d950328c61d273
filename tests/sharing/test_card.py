"""What people and the Hub read about a model."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import transformers
import yaml
from huggingface_hub import ModelCard
from transformers import BertConfig, BertForSequenceClassification, PretrainedConfig, TrainingArguments

from kmerbert.sharing.card import (
    CardFacts,
    code_version,
    describe_settings,
    model_card,
    select_metrics,
    write_card,
)

FACTS = CardFacts(
    task="text-classification",
    summary="Predicts expression from DNA.",
    usage='predict = pipeline("text-classification", model="REPO")',
    metrics={"validation": {"pearsonr": 0.81234567, "rmse": 1.5}, "test": {"pearsonr": 0.7}},
    settings={"epochs": 3, "code": "abc123+", "layout": "a|b"},
    base_model="tester/dna-mlm",
)


def config(data_name: str = "promoters.tsv", **settings: object) -> PretrainedConfig:
    """What a card reads of a model."""
    return PretrainedConfig(data_name=data_name, data_checksum="0123abcd", **settings)


def metadata(text: str) -> dict:
    """The YAML block that a card begins with."""
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL).group(1))


def test_metadata_are_what_the_hub_reads() -> None:
    text = model_card("tester/kmer-expression", FACTS, config())
    block = metadata(text)
    assert block["library_name"] == "transformers"
    assert block["pipeline_tag"] == "text-classification"
    assert block["base_model"] == "tester/dna-mlm"
    assert {"dna", "genomics"} <= set(block["tags"])
    results = ModelCard(text).data.eval_results
    values = {(result.dataset_split, result.metric_type): result.metric_value for result in results}
    assert values == {("validation", "pearsonr"): 0.812346, ("validation", "rmse"): 1.5, ("test", "pearsonr"): 0.7}
    assert {result.dataset_name for result in results} == {"promoters.tsv"}


BODY = """
# kmer-expression

Predicts expression from DNA.

## Use

`pip install torch transformers`

```python
predict = pipeline("text-classification", model="tester/kmer-expression")
```

## Results

| split | Pearson r | root mean squared error |
| --- | --- | --- |
| validation | 0.8123 | 1.5000 |
| test | 0.7000 |  |

## Training

Data: promoters.tsv, checksum `0123abcd`.

| setting | value |
| --- | --- |
| epochs | 3 |
| code | abc123+ |
| layout | a\\|b |
"""  # a bar would end the cell


def test_text_for_people(tmp_path: Path) -> None:
    write_card(tmp_path, "tester/kmer-expression", FACTS, config())
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.partition("\n---\n")[2] == BODY


def test_text_is_not_a_template_of_its_own() -> None:
    """Names and settings come unchanged, whatever they look like to a template or a browser."""
    facts = CardFacts("fill-mask", "A {{ summary }} <b> & more.", "use('REPO')", {}, {"net": "{% x %} <i>"})
    text = model_card("runs/out/", facts, config("{{ a }}.fa"))
    for part in (
        "# out\n\nA {{ summary }} <b> & more.\n",
        "use('runs/out/')",
        "Data: {{ a }}.fa,",
        "| net | {% x %} <i> |",
    ):
        assert part in text


@pytest.mark.parametrize("base_model", [None, "bert", "/data/models/mlm", "runs/mlm"])
def test_folders_of_this_machine_are_not_named(
    base_model: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs/mlm").mkdir(parents=True)
    facts = CardFacts("fill-mask", "", "", {}, base_model=base_model)
    text = model_card("out", facts, config("dna.fa"))
    assert "base_model" not in metadata(text)
    assert str(base_model) not in text


@pytest.mark.parametrize("metrics", [{}, {"validation": {}}])
def test_without_metrics_the_card_says_so(metrics: dict) -> None:
    text = model_card("out", CardFacts("fill-mask", "A model.", "use", metrics), config("dna.fa"))
    assert "\n## Results\n\nNot evaluated.\n\n## Training\n" in text
    assert "model-index" not in metadata(text)


@pytest.mark.parametrize("name", ["yes", "1e3", "a: b", "# c", "null", "ünï"])
def test_odd_names_are_valid_metadata(name: str) -> None:
    text = model_card(f"tester/{name}", FACTS, config(name))
    result = metadata(text)["model-index"][0]
    assert result["name"] == name
    assert result["results"][0]["dataset"]["name"] == name


def test_chosen_metrics() -> None:
    metrics = {"validation": {"eval_mse": 2.0, "eval_loss": 1.0}, "test": {"test_mse": 3.0, "test_runtime": 9}}
    assert select_metrics(metrics, ("mse", "r2")) == {"validation": {"mse": 2.0}, "test": {"mse": 3.0}}


@pytest.mark.parametrize("flanks", [None, {"left": "ACGT", "right": "GGTT", "length": 4, "carried": [0, 0]}])
def test_flanks_are_said(flanks: dict | None) -> None:
    text = model_card("out", FACTS, config(flanks=flanks))
    (summary,) = re.findall(r"\n\n(Predicts expression from DNA\..*?)\n\n## Use\n", text, re.DOTALL)
    assert ("between 4 bases" in summary) == (flanks is not None)
    assert (summary == FACTS.summary) == (flanks is None)


def test_settings_of_a_run(tmp_path: Path) -> None:
    saved = {
        "kmer_k": 3,
        "kmer_stride": 1,
        "kmer_alphabet": "ATCG",
        "sequence_length": [20, 30],
        "code_version": "abc+",
    }
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = BertForSequenceClassification(BertConfig(vocab_size=69, **sizes, **saved))
    given = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 3, "use_cpu": True, "seed": 7}
    arguments = TrainingArguments(str(tmp_path), num_train_epochs=2, learning_rate=3e-4, **given)
    settings = describe_settings(arguments, model)
    assert settings["k-mers"] == "k = 3, stride 1, alphabet ATCG"
    assert settings["sequence length"] == "20 to 30 bases"
    assert (settings["epochs"], settings["sequences a step"], settings["seed"]) == (2, 24, 7)
    assert settings["learning rate"] == "0.0003, linear"
    assert settings["code"] == "abc+"
    assert f"transformers {transformers.__version__}" in settings["versions"]
    assert settings["model"].startswith("BertForSequenceClassification, 0.01 million")  # 69 + 512 embeddings of 8, ...
    arguments = TrainingArguments(str(tmp_path), max_steps=100, **given)
    assert describe_settings(arguments, model)["epochs"] == "100 steps"


def test_code_version(tmp_path: Path) -> None:
    assert code_version(tmp_path) == "unknown"
    if not shutil.which("git"):
        pytest.skip("git is not installed")

    def git(*arguments: str) -> None:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=A", "-c", "user.email=a@b", *arguments]
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
