"""Pushing to the Hub and loading from it, with a server on this machine: what arrives works, and nothing else arrives.

The file is also the program that pushes, in a process of its own.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import HfApi, ModelCard

from kmerbert.errors import NETWORK_ERRORS
from kmerbert.sharing.hub import files_to_push, push_folder
from tests.support.hub_server import Hub
from tests.support.messages import fails
from tests.support.tiny_runs import flags, planted_table, random_dna

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "hf_secretSecretSecretSecretSecret"
MODEL, TOKENIZER = "tester/kmer-expression", "tester/kmer-tokenizer"
SEQUENCES = [*random_dna(np.random.default_rng(5), 20), "acgtnacgtacgtaccgtacgtaa"]

# Prints what stock transformers makes of both repositories; nothing of this project can be imported where it runs.
LOAD = f"""
import json, sys
from transformers import AutoTokenizer, pipeline
sequences, promoters = (json.loads(sys.stdin.readline()) for _ in range(2))
results = {{}}
for name in ("{MODEL}", "{TOKENIZER}"):
    for trust in (False, True):
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust)
        results[f"{{name}} {{trust}}"] = {{"class": type(tokenizer).__name__, "ids": tokenizer(sequences)["input_ids"]}}
for trust in (False, True):
    results[f"predictions {{trust}}"] = pipeline("text-classification", model="{MODEL}", trust_remote_code=trust)(promoters)
print(json.dumps(results))
"""


def push(folder: Path) -> None:
    """Fine-tunes and pushes a model, and pushes a tokenizer alone."""
    from run_finetune_regression import main
    from tokenization_kmer import KmerTokenizer

    (folder / "kmer-expression").mkdir()
    (folder / "kmer-expression" / ".mine").write_text("mine")
    argv = flags(planted_table(folder / "train.tsv", 60), folder / "kmer-expression", push_to_hub=True)
    main([*argv, "--label_unit=bin", "--save_strategy=epoch"])
    KmerTokenizer(5, 2).push_to_hub("kmer-tokenizer")


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """A running server."""
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def run_here(hub: Hub, folder: Path, program: list[str], path: str = "", given: str = "") -> str:
    """Runs a Python program in a new folder, with the server for the Hub; returns what it prints."""
    folder.mkdir()
    settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
    settings |= {"HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0", "PYTHONPATH": path, "NO_PROXY": "127.0.0.1"}
    settings |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *program]
    environment = os.environ | settings
    ended = subprocess.run(
        command, cwd=folder, env=environment, input=given, capture_output=True, text=True, check=False, timeout=100
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


@pytest.fixture(scope="module")
def pushed(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was pushed."""
    folder = tmp_path_factory.mktemp("hub") / "push"
    run_here(hub, folder, [__file__, str(folder)], str(ROOT))
    return folder / "kmer-expression"


def test_what_arrives(hub: Hub, pushed: Path) -> None:
    files = hub.repositories[MODEL]
    needed = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "tokenization_kmer.py"}
    assert files.keys() >= {*needed, "README.md", "all_results.json"}
    for name, content in files.items():
        if name != ".gitattributes":
            assert content == (pushed / name).read_bytes(), name
    assert hub.commits == {MODEL: 1, TOKENIZER: 1}  # one push, of the finished model
    assert {"tokenizer.json", "tokenization_kmer.py"} <= hub.repositories[TOKENIZER].keys()


def test_names_of_a_run_alone_are_pushed(tmp_path: Path) -> None:
    own = ["README.md", "config.json", "eval_results.json", "model-00001-of-00002.safetensors", "tokenizer.json"]
    others = ["my_results.json", "model-notes.safetensors", "trainer_state.json", "notes.txt", ".mine", "README.md.bak"]
    for name in own + others:
        (tmp_path / name).write_text("{}")
    (tmp_path / "test_results.json").symlink_to(tmp_path / "notes.txt")
    (tmp_path / "vocab.txt").mkdir()
    assert files_to_push(tmp_path) == sorted(own)


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The folder of a run that ended, as far as a push looks at it."""
    folder = tmp_path / "a run"
    folder.mkdir()
    for name in ("README.md", "config.json", "model.safetensors", "my_results.json"):
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize("error", [OSError("no route"), NETWORK_ERRORS("no route"), RuntimeError("no route")])
def test_a_push_that_fails_says_how_to_repeat_it_alone(
    error: Exception, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(HfApi, "create_commit", fail)
    command = f"hf upload you/x '{finished}' . --include README.md --include config.json --include model.safetensors"
    with fails("you/x", "no route", f"complete in {finished}", command) as caught:
        push_folder(finished, "you/x")
    assert "my_results.json" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "model-00002-of-00002.safetensors"])
def test_a_model_of_which_a_part_is_a_link_is_not_pushed(
    name: str, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HfApi, "create_commit", None)
    if "-of-" in name:
        shards = {"a": "model-00001-of-00002.safetensors", "b": name}
        (finished / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
        (finished / shards["a"]).touch()
    (finished / name).unlink(missing_ok=True)
    (finished / name).symlink_to(finished / "my_results.json")
    with fails(finished, name, "link"):
        push_folder(finished, "you/x")


def test_what_is_not_pushed(hub: Hub, pushed: Path) -> None:
    names = {path.name for path in pushed.iterdir()}
    assert names >= {"training_args.bin", "validation_predictions.tsv", "report.html", ".mine"}
    assert any(name.startswith("checkpoint-") for name in names)
    private = ("training_args.bin", "validation_predictions.tsv", "report.html", "checkpoint-", ".mine", "runs")
    assert not [name for name in hub.repositories[MODEL] if name.startswith(private)]
    assert TOKEN.encode() not in hub.received
    assert str(pushed.parent).encode() not in hub.received
    assert str(pushed.parent).encode() not in b"".join(hub.repositories[MODEL].values())
    assert TOKEN.encode() not in b"".join(path.read_bytes() for path in pushed.rglob("*") if path.is_file())


def test_card_names_the_repository(hub: Hub, pushed: Path) -> None:
    text = hub.repositories[MODEL]["README.md"].decode()
    card = ModelCard(text)
    assert card.data.pipeline_tag == "text-classification"
    assert {"dna", "k-mer"} <= set(card.data.tags)
    assert f'model="{MODEL}"' in text
    assert "Predicts expression (bin) from DNA" in text
    assert len(card.data.eval_results) == 12  # validation and test rows


def test_loads_elsewhere_with_and_without_remote_code(hub: Hub, pushed: Path, tmp_path: Path) -> None:
    from tokenization_kmer import KmerTokenizer

    table = pd.read_csv(pushed / "validation_predictions.tsv", sep="\t")
    given = "".join(json.dumps(values) + "\n" for values in (SEQUENCES, table["sequence"].tolist()))
    answer = run_here(hub, tmp_path / "load", ["-c", LOAD], given=given)
    results = json.loads(answer.splitlines()[-1])
    for name, tokenizer in ((MODEL, KmerTokenizer(3)), (TOKENIZER, KmerTokenizer(5, 2))):
        expected = tokenizer(SEQUENCES)["input_ids"]
        assert results[f"{name} False"]["ids"] == expected
        assert results[f"{name} True"]["ids"] == expected
        assert results[f"{name} True"]["class"] == "KmerTokenizer"
        assert results[f"{name} False"]["class"] != "KmerTokenizer"
    for trust in (False, True):
        predicted = results[f"predictions {trust}"]
        assert {item["label"] for item in predicted} == {"expression"}
        assert [item["score"] for item in predicted] == pytest.approx(table["prediction"].tolist(), abs=1e-4)


@pytest.mark.parametrize("arguments", [["--hub_token=hf_secret"], ["--hub_token", "hf_secret"]])
def test_a_token_on_the_command_line_is_an_error(arguments: list[str], tmp_path: Path) -> None:
    from run_finetune_regression import main

    with fails("--hub_token", "HF_TOKEN") as caught:
        main([*flags(tmp_path / "train.tsv", tmp_path / "out", push_to_hub=True), *arguments])
    assert "hf_secret" not in str(caught.value)
    assert not (tmp_path / "out").exists()


if __name__ == "__main__":
    push(Path(sys.argv[1]))
