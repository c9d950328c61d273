"""run_pretrain_mlm.py: it learns structure, with both kinds of masking, from tables and genomes, for fine-tuning."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

import run_finetune_regression
from kmerbert.cli.flags import PretrainingDataArguments
from kmerbert.tokens.masking import build_masking
from run_pretrain_mlm import main
from tests.support.messages import check_message
from tests.support.tiny_runs import card_example, flags, planted_table, random_dna
from tokenization_kmer import KmerTokenizer


def similar_dna(n: int) -> list[str]:
    """Relatives of one sequence of 24 bases: a tenth of the bases of each row are replaced at random."""
    random = np.random.default_rng(0)
    rows = np.tile(list("ACGTTGCAAGTCCATGGATTCGCA"), (n, 1))
    changed = random.random(rows.shape) < 0.1
    rows[changed] = random.choice(list("ACGT"), changed.sum())
    return ["".join(row) for row in rows]


def write_lines(path: Path, sequences: list[str]) -> Path:
    path.write_text("".join(f"{sequence}\n" for sequence in sequences))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """The folder of a run that has trained what the sequences have in common, and the metrics that it returned."""
    folder = tmp_path_factory.mktemp("similar")
    table = write_lines(folder / "dna.txt", similar_dna(500))
    settings = {"num_train_epochs": 6, "logging_steps": 10, "mask_span_length": 2, "validation_rows": 60}
    return folder / "out", main(flags(table, folder / "out", **settings))


def test_loss_falls_and_bases_are_guessed(trained: tuple[Path, dict[str, float]]) -> None:
    folder, metrics = trained
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert losses[0] == pytest.approx(np.log(69), rel=0.1)  # a guess among all ids
    assert np.mean(losses[-3:]) < 0.75 * losses[0]
    assert metrics["eval_base_accuracy"] > 0.7  # a quarter by chance
    assert metrics["eval_perplexity"] < 69 / 4
    assert metrics["eval_hidden_bases"] > 100


def test_files_and_config(trained: tuple[Path, dict[str, float]]) -> None:
    folder, metrics = trained
    saved = json.loads((folder / "all_results.json").read_text())
    assert {name: saved[name] for name in metrics} == metrics
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["BertForMaskedLM"]
    assert (config["kmer_k"], config["kmer_stride"], config["kmer_alphabet"]) == (3, 1, "ATCG")
    assert (config["data_name"], config["n_training_rows"], config["sequence_length"]) == ("dna.txt", 440, [24, 24])
    assert len(config["data_checksum"]) == 64
    assert (config["vocab_size"], config["pad_token_id"]) == (69, 0)
    card = ModelCard.load(folder / "README.md")
    assert card.data.pipeline_tag == "fill-mask"
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert values["base_accuracy"] == pytest.approx(metrics["eval_base_accuracy"], abs=1e-6)
    assert "Masking: bases." in card.text


def test_the_example_of_the_card_fills_the_mask(trained: tuple[Path, dict[str, float]]) -> None:
    answers = card_example(trained[0])["fill"]("ACGTTGC[MASK]GTCCATGGATTCGCA")
    assert len(answers) == 5
    assert answers[0]["score"] > 1 / 69


def test_feeds_fine_tuning(trained: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    settings = {"model_name_or_path": trained[0], "learning_rate": 0}
    run_finetune_regression.main(flags(planted_table(tmp_path / "train.tsv", 40), tmp_path / "out", **settings))
    before, after = (load_file(folder / "model.safetensors") for folder in (trained[0], tmp_path / "out"))
    shared = [name for name in before if name.startswith("bert.")]
    assert len(shared) > 15
    assert all(torch.equal(before[name], after[name]) for name in shared)


def test_goes_on_from_its_own_checkpoint(trained: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    folder, metrics = trained
    settings = {"model_name_or_path": folder, "learning_rate": 0, "mask_span_length": 2, "validation_rows": 60}
    again = main(flags(folder.parent / "dna.txt", tmp_path / "out", **settings))
    for name in ("eval_perplexity", "eval_base_accuracy", "eval_hidden_bases"):
        assert again[name] == pytest.approx(metrics[name], rel=1e-5)


def test_dnabert_masking(tmp_path: Path) -> None:
    table = write_lines(tmp_path / "dna.txt", similar_dna(200))
    metrics = main(flags(table, tmp_path / "out", masking="dnabert", num_train_epochs=3, logging_steps=1))
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.2
    assert metrics["eval_perplexity"] < 69
    assert "Masking: dnabert." in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(("masking", "expected"), [("bases", 0.15), ("dnabert", 0.15 / 3), ("tokens", 0.15)])
def test_default_probabilities(masking: str, expected: float) -> None:
    for given in (None, 0.3):
        arguments = PretrainingDataArguments(train_file="x", masking=masking, mlm_probability=given, mask_region="2:9")
        mask = build_masking(KmerTokenizer(3), **arguments.mask, seed=7)
        assert masking != "tokens" or mask.before == mask.after == 0
        share = mask.probability if masking != "bases" else 1 - (1 - mask.start_probability) ** mask.span_length
        assert share == pytest.approx(given or expected)
        assert (mask.seed, mask.region) == (7, slice(2, 9))


def test_windows_of_a_genome(tmp_path: Path) -> None:
    sequences = random_dna(np.random.default_rng(0), 4, 200)
    fasta = tmp_path / "genome.fa"
    fasta.write_text(
        "".join(f">chr{row} of a yeast\n{dna[:90]}\n{dna[90:].lower()}\n" for row, dna in enumerate(sequences))
    )
    metrics = main(flags(fasta, tmp_path / "out", window_length=40, window_step=20, validation_split_percentage=25))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["sequence_length"] == [40, 40]
    assert 20 <= config["n_training_rows"] <= 27  # nine windows from each of four chromosomes, a quarter held out
    assert np.isfinite(metrics["eval_perplexity"])


def test_validation_is_masked_alike_in_every_epoch(tmp_path: Path) -> None:
    table = write_lines(tmp_path / "dna.txt", similar_dna(60))
    main(flags(table, tmp_path / "out", learning_rate=0, num_train_epochs=3, mlm_probability=0.5))
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert len({entry["eval_perplexity"] for entry in history if "eval_perplexity" in entry}) == 1


def test_a_region_without_bases_fails_before_training(tmp_path: Path, error_line: Callable[..., str]) -> None:
    table = write_lines(tmp_path / "dna.txt", similar_dna(60))
    line = error_line(main, *flags(table, tmp_path / "out", mask_region="30:50"))
    check_message(line, "--mask_region '30:50'", "24 bases")
    assert not list((tmp_path / "out").iterdir())
