"""run_finetune_regression.py: it learns, answers in the labels' unit, and what it saves is what it measured."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer, BertConfig, pipeline

import run_finetune_regression
from kmerbert.dna.sequences import reverse_complement
from kmerbert.scoring.metrics import regression_metrics
from kmerbert.sharing.card import code_version
from run_finetune_regression import main
from tests.support.messages import check_message, fails
from tests.support.tiny_runs import NETWORK, NO_DROPOUT, card_example, flags, planted, planted_table, write_table
from tokenization_kmer import KmerTokenizer

ROOT = Path(run_finetune_regression.__file__).parent
ALARM = "predictions hardly differ between sequences"


def log_history(folder: Path) -> list[dict[str, float]]:
    return json.loads((folder / "trainer_state.json").read_text())["log_history"]


def predictions(folder: Path, split: str = "validation") -> pd.DataFrame:
    return pd.read_csv(folder / f"{split}_predictions.tsv", sep="\t")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """The folder of a run that has trained a planted motif, and the metrics that it returned."""
    folder = tmp_path_factory.mktemp("motif")
    settings = {"label_unit": "bin", "num_train_epochs": 8, "validation_rows": 100}
    return folder / "out", main(flags(planted_table(folder / "train.tsv", 700), folder / "out", **settings))


def test_learns_a_planted_motif(trained: tuple[Path, dict[str, float]]) -> None:
    folder, metrics = trained
    assert metrics["eval_pearsonr"] > 0.8
    table = predictions(folder)
    assert len(table) == 100
    assert regression_metrics(table["prediction"], table["observed"])["rmse"] == pytest.approx(metrics["eval_rmse"])


def test_files_of_a_run(trained: tuple[Path, dict[str, float]]) -> None:
    folder, metrics = trained
    saved = json.loads((folder / "all_results.json").read_text())
    assert {name: saved[name] for name in metrics} == metrics
    assert saved["train_loss"] > 0
    names = {path.name for path in folder.iterdir()}
    assert names >= {"model.safetensors", "config.json", "tokenizer.json", "tokenization_kmer.py", "eval_results.json"}
    assert names >= {"trainer_state.json", "README.md", "train_results.json", "tokenizer_config.json", "report.html"}
    assert "report.html" in json.loads((folder / "run_files.json").read_text())["files"]
    assert not any(name.startswith(("tmp", ".")) for name in names)


def test_config_says_everything_about_the_model(trained: tuple[Path, dict[str, float]]) -> None:
    folder, _ = trained
    config = json.loads((folder / "config.json").read_text())
    table = pd.read_csv(folder.parent / "train.tsv", sep="\t")
    held_out = predictions(folder)["sequence"]
    labels = table.loc[~table["sequence"].isin(held_out), "expression"]
    assert (config["kmer_k"], config["kmer_stride"], config["kmer_alphabet"]) == (3, 1, "ATCG")
    assert config["label_mean"] == pytest.approx([labels.mean()])
    assert config["label_scale"] == pytest.approx([labels.std(ddof=0)])
    assert config["label_unit"] == "bin"
    assert (config["id2label"], config["label2id"]) == ({"0": "expression"}, {"expression": 0})
    assert config["problem_type"] == "regression"
    assert config["data_name"] == "train.tsv"
    assert config["data_checksum"] == hashlib.sha256((folder.parent / "train.tsv").read_bytes()).hexdigest()
    assert (config["n_training_rows"], config["sequence_length"]) == (600, [24, 24])
    assert config["outputs_in_label_units"] is True
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["code_version"] == code_version(ROOT)


def test_card_of_a_run(trained: tuple[Path, dict[str, float]]) -> None:
    folder, metrics = trained
    card = ModelCard.load(folder / "README.md")
    assert card.data.pipeline_tag == "text-classification"
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert values["pearsonr"] == pytest.approx(metrics["eval_pearsonr"], abs=1e-6)
    assert "Predicts expression (bin) from DNA, read as 3-mers (stride 1)." in card.text
    assert str(folder.parent) not in card.content
    row = predictions(folder).iloc[0]
    (answer,) = card_example(folder)["predict"](row["sequence"])
    assert (answer["label"], answer["score"]) == ("expression", pytest.approx(row["prediction"], abs=1e-4))


def test_report_of_a_run(trained: tuple[Path, dict[str, float]]) -> None:
    folder, metrics = trained
    report = (folder / "report.html").read_text()
    assert f'<td class="number">{metrics["eval_pearsonr"]:.3f}</td>' in report
    for text in (
        "Predicts expression (bin) from DNA",
        "--num_train_epochs=8",
        "600",
        "train: rows that repeat a sequence",
        "columns of replicates with --replicate_columns",
        "error (RMSE)",
    ):
        assert text in report
    assert "100 validation rows were compared with 600 training rows" in report
    assert report.count("<svg") == 7  # r, GC, values, training, agreement, errors by GC, similarity


def test_stock_classes_answer_in_label_units(trained: tuple[Path, dict[str, float]]) -> None:
    folder, _ = trained
    table = predictions(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    predict = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder))
    answers = predict(list(table["sequence"]))
    assert {answer["label"] for answer in answers} == {"expression"}
    assert [answer["score"] for answer in answers] == pytest.approx(list(table["prediction"]), abs=1e-4)
    with torch.no_grad():
        ids = torch.from_numpy(KmerTokenizer(3).encode_ids(list(table["sequence"])).astype(np.int64))
        assert model(input_ids=ids).logits[:, 0].numpy() == pytest.approx(table["prediction"].to_numpy(), abs=1e-4)
    assert table["prediction"].between(7, 15).all()


def test_going_on_from_a_fine_tuned_checkpoint(
    trained: tuple[Path, dict[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other rows with another mean and scale: before any step, the model must answer as it did."""
    folder, _ = trained
    old = predictions(folder)
    rows = old.sort_values("observed").iloc[:70]  # most of them without the motif
    table = write_table(tmp_path / "train.tsv", sequence=rows["sequence"], expression=rows["observed"])
    settings = {"model_name_or_path": folder, "learning_rate": 0, "validation_rows": 60}
    main(flags(table, tmp_path / "out", **settings))
    new = predictions(tmp_path / "out").set_index("sequence")["prediction"]
    expected = old.set_index("sequence").loc[new.index, "prediction"]
    assert new.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-3)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["label_mean"] != json.loads((folder / "config.json").read_text())["label_mean"]
    assert ALARM not in capsys.readouterr().err


def test_takes_over_the_weights_of_a_language_model(tmp_path: Path) -> None:
    settings = dict(part.split("=") for part in NETWORK.split(","))
    config = BertConfig(vocab_size=261, **{name: int(value) for name, value in settings.items()})
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path / "mlm")
    KmerTokenizer(4, 2).save_pretrained(tmp_path / "mlm")
    settings = {"model_name_or_path": tmp_path / "mlm", "learning_rate": 0}
    main(flags(planted_table(tmp_path / "train.tsv", 40), tmp_path / "out", **settings))
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("mlm", "out"))
    shared = [name for name in before if name.startswith("bert.")]
    assert len(shared) > 15
    assert all(torch.equal(before[name], after[name]) for name in shared)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").init_kwargs["stride"] == 2
    assert "mlm" not in (tmp_path / "out" / "README.md").read_text().split("---")[1]


def test_several_outputs_with_missing_labels(tmp_path: Path) -> None:
    sequences, first = planted(np.random.default_rng(1), 240)
    second = 100 - 20 * (first > 11) + np.random.default_rng(2).normal(0, 2, 240)
    first[::3], second[1::3] = np.nan, np.nan
    table = write_table(tmp_path / "train.tsv", sequence=sequences, strength=first, decay=second)
    settings = {"label_column": "strength,decay", "num_train_epochs": 16, "validation_rows": 60, "learning_rate": 5e-3}
    metrics = main(flags(table, tmp_path / "out", **settings))
    table = predictions(tmp_path / "out")
    assert 0 < table["observed_strength"].isna().sum() < 60
    for name in ("strength", "decay"):
        known = table[f"observed_{name}"].notna()
        output = regression_metrics(table.loc[known, f"prediction_{name}"], table.loc[known, f"observed_{name}"])
        assert output["pearsonr"] == pytest.approx(metrics[f"eval_pearsonr_{name}"])
        assert output["rmse"] == pytest.approx(metrics[f"eval_rmse_{name}"])
        assert output["pearsonr"] > 0.7
    assert metrics["eval_pearsonr"] == pytest.approx(
        np.mean([metrics[f"eval_pearsonr_{n}"] for n in ("strength", "decay")])
    )
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["id2label"], config["label2id"]) == ({"0": "strength", "1": "decay"}, {"strength": 0, "decay": 1})
    assert config["label_mean"] == pytest.approx([np.nanmean(first), np.nanmean(second)], rel=0.05)
    answers = card_example(tmp_path / "out")["predict"](table["sequence"][0])[0]
    scores = {answer["label"]: answer["score"] for answer in answers}
    assert scores["strength"] == pytest.approx(table["prediction_strength"][0], abs=1e-3)
    assert scores["decay"] == pytest.approx(table["prediction_decay"][0], abs=1e-3)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_an_output_without_values_in_a_split_fails_before_training(split: str, tmp_path: Path) -> None:
    sequences, values = planted(np.random.default_rng(0), 50)
    splits = ["train"] * 30 + ["validation"] * 10 + ["test"] * 10
    second = [np.nan if name == split else value for name, value in zip(splits, values, strict=True)]
    table = write_table(tmp_path / "t.tsv", sequence=sequences, split=splits, strength=values, decay=second)
    argv = flags(table, tmp_path / "out", split_column="split", label_column="strength,decay")
    with fails(split, "decay"):
        main(argv)
    assert not list((tmp_path / "out").iterdir())


def test_a_model_that_could_not_be_rescaled_fails_before_training(tmp_path: Path) -> None:
    settings = {"model_type": "gpt2", "config_overrides": "n_embd=16,n_layer=1,n_head=2,n_positions=40"}
    with fails("GPT2ForSequenceClassification", "linear layer", "`model_type`"):
        main(flags(planted_table(tmp_path / "train.tsv", 40), tmp_path / "out", **settings))
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(("metric", "values"), [("pearsonr", (0.1, 0.9, 0.5, 0.2)), ("rmse", (3.0, 1.0, 2.0, 2.5))])
def test_ends_with_the_best_checkpoint(
    metric: str, values: tuple[float, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = iter([*values, values[1]])  # the second of four epochs is the best; then the final evaluation
    monkeypatch.setattr(run_finetune_regression, "regression_metrics", lambda *given: {metric: next(planned)})
    settings = {"num_train_epochs": 4, "metric_for_best_model": metric, "test_split_percentage": 0}
    metrics = main(flags(planted_table(tmp_path / "train.tsv", 40), tmp_path / "out", **settings))
    assert metrics[f"eval_{metric}"] == values[1]
    checkpoints = sorted(path.name for path in (tmp_path / "out").glob("checkpoint-*"))
    assert checkpoints == ["checkpoint-12", "checkpoint-6"]  # three steps an epoch; the best and the last
    final, best, last = (load_file(tmp_path / "out" / name / "model.safetensors") for name in ("", *checkpoints[::-1]))
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(final[name], best[name])
    assert not torch.equal(final[name], last[name])


def test_accumulated_batches_equal_one_large_batch(tmp_path: Path) -> None:
    sequences, first = planted(np.random.default_rng(1), 96)
    second = first + np.random.default_rng(2).normal(0, 1, 96)
    second[20:70] = np.nan  # so that batches hold different numbers of labels
    table = write_table(tmp_path / "train.tsv", sequence=sequences, strength=first, decay=second)
    runs = []
    for size, steps in ((16, 1), (8, 2), (4, 4)):
        settings = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps, "logging_steps": 1}
        settings |= {"label_column": "strength,decay", "eval_strategy": "no", "validation_split_percentage": 0}
        settings |= {"config_overrides": NETWORK + NO_DROPOUT, "num_train_epochs": 2}
        folder = tmp_path / str(steps)
        main(flags(table, folder, **settings))
        runs.append((log_history(folder), load_file(folder / "model.safetensors")))
    (one, weights), *others = runs
    assert one[0]["loss"] == pytest.approx(1.0, abs=0.5)
    for history, other in others:
        for key in ("loss", "grad_norm"):
            expected, values = ([entry[key] for entry in log if key in entry] for log in (one, history))
            assert len(expected) == 12
            assert values == pytest.approx(expected, rel=1e-4)
        for name, weight in weights.items():
            torch.testing.assert_close(other[name], weight, rtol=1e-3, atol=2e-5)


def test_bf16(tmp_path: Path) -> None:
    metrics = main(flags(planted_table(tmp_path / "train.tsv", 80), tmp_path / "out", bf16=True))
    assert np.isfinite(list(metrics.values())).all()
    assert {weight.dtype for weight in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch.float32}


def test_alarm_when_predictions_collapse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(flags(planted_table(tmp_path / "train.tsv", 60), tmp_path / "out", learning_rate=0))
    messages = capsys.readouterr().err
    assert f"expression: {ALARM}" in messages
    assert "recipes/best" not in messages  # --model_type was given


def test_without_a_network_the_best_recipe_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only --max_steps is added to the shortest command line, so that the test is fast."""
    table = planted_table(tmp_path / "train.tsv", 40)
    runs = {"default": [], "named": ["--config", str(ROOT / "recipes" / "best" / "finetune_regression.yaml")]}
    messages = {}
    for name, recipe in runs.items():
        main([*recipe, "--train_file", str(table), "--output_dir", str(tmp_path / name), "--max_steps", "1"])
        messages[name] = capsys.readouterr().err
    (line,) = [line for line in messages["default"].splitlines() if "recipes/best" in line]
    check_message(line, "most accurate", "--config", "--model_type", "--model_name_or_path")
    assert "most accurate" not in messages["named"]
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in runs]
    assert configs[0] == configs[1]
    assert (configs[0]["model_type"], configs[0]["kmer_k"], configs[0]["both_strands"]) == ("kmer_conv", 6, True)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in runs]
    assert all(torch.equal(weights[0][name], weight) for name, weight in weights[1].items())


@pytest.mark.parametrize(("more", "n_steps", "batch"), [([], 2, 8), (["--num_train_epochs=1"], 1, 256)])
def test_few_rows_are_trained_on_for_more_steps(
    more: list[str], n_steps: int, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the command line says how long to train."""
    recipe = run_finetune_regression.SMALL_RECIPE.read_text()
    assert "max_steps: 1200" in recipe
    (tmp_path / "small.yaml").write_text(recipe.replace("1200", "2").replace("batch_size: 32", "batch_size: 8"))
    monkeypatch.setattr(run_finetune_regression, "SMALL_RECIPE", tmp_path / "small.yaml")
    table, out = planted_table(tmp_path / "train.tsv", 40), tmp_path / "out"
    main([f"--train_file={table}", f"--output_dir={out}", *more])
    state = json.loads((out / "trainer_state.json").read_text())
    assert (state["global_step"], state["train_batch_size"]) == (n_steps, batch)
    monkeypatch.setattr(run_finetune_regression, "FEW_ROWS", 32)  # as many as there are
    if not more:
        main([f"--train_file={table}", f"--output_dir={out}2"])
        state = json.loads((tmp_path / "out2" / "trainer_state.json").read_text())
        assert (state["num_train_epochs"], state["train_batch_size"]) == (12, 256)


@pytest.mark.parametrize(
    ("argv", "has_default"),
    [
        (["--train_file", "a.tsv", "--output_dir", "out", "--k", "4", "--bf16"], True),
        (["--config", "recipe.yaml"], False),
        (["--config=recipe.yaml"], False),
        (["--model_type", "kmer_conv"], False),
        (["--model-type=bert"], False),
        (["--model_name_or_path", "mlm"], False),
        (["--model_name_or_path=mlm"], False),
    ],
)
def test_a_recipe_a_network_or_a_checkpoint_switches_the_best_recipe_off(
    argv: list[str], has_default: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = []

    def stop(groups: object, argv: object, description: str, default_recipe: Path | None) -> None:
        recipes.append(default_recipe)
        raise InterruptedError

    monkeypatch.setattr(run_finetune_regression, "parse", stop)
    with pytest.raises(InterruptedError):
        main(argv)
    assert recipes == [ROOT / "recipes" / "best" / "finetune_regression.yaml" if has_default else None]


@pytest.mark.parametrize(
    ("arguments", "network", "epochs"),
    [
        ([f"--config_overrides={NETWORK}"], "bert", 3),
        (["--reading_frames=3"], "bert", 3),
        ([f"--config_overrides={NETWORK}", "--model_type=modernbert"], "modernbert", 3),
        (["--config_overrides=hidden_size=32"], "kmer_conv", 12),  # which both have
        (["--config_overrides=num_stages=2"], "kmer_conv", 12),
    ],
)
def test_settings_of_a_bert_mean_a_bert(
    arguments: list[str], network: str, epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = []

    def stop(training_args: Any, model_args: Any, data_args: Any) -> None:
        chosen.append((model_args.model_type, training_args.num_train_epochs))
        raise InterruptedError

    monkeypatch.setattr(run_finetune_regression, "start_run", stop)
    with pytest.raises(InterruptedError):
        main(["--train_file=a.tsv", f"--output_dir={tmp_path}", *arguments])
    assert chosen == [(network, epochs)]


def test_test_rows_and_names(tmp_path: Path) -> None:
    sequences, values = planted(np.random.default_rng(0), 60)
    names = [f"promoter{row}" for row in range(60)]
    train = write_table(tmp_path / "train.tsv", sequence=sequences[:50], expression=values[:50], id=names[:50])
    test = write_table(tmp_path / "test.tsv", sequence=sequences[50:], expression=values[50:], id=names[50:])
    settings: dict[str, Any] = {"test_file": test, "id_column": "id", "eval_strategy": "no"}
    metrics = main(flags(train, tmp_path / "out", validation_split_percentage=0, **settings))
    assert {name for name in metrics if name.startswith("eval")} == set()
    table = predictions(tmp_path / "out", "test")
    assert table["id"].tolist() == names[50:]
    assert table["sequence"].tolist() == sequences[50:]
    assert table["observed"].to_numpy() == pytest.approx(values[50:], rel=1e-5)
    assert metrics["test_mse"] == pytest.approx(np.mean((table["observed"] - table["prediction"]) ** 2), rel=1e-4)
    assert not (tmp_path / "out" / "validation_predictions.tsv").exists()


def test_a_network_that_reads_both_strands_holds_both_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of 30 promoters in both orientations; then the same file again with other rows held out."""
    sequences, values = planted(np.random.default_rng(5), 30)
    names = [f"{number}{strand}" for strand in "+-" for number in range(30)]
    rows = [*sequences, *map(reverse_complement, sequences)]
    table = write_table(tmp_path / "rows.tsv", id=names, sequence=rows, expression=[*values, *values])
    network = {
        "model_type": "kmer_conv",
        "config_overrides": "embedding_size=8,hidden_size=16,num_stages=2,head_size=16",
    }
    main(flags(table, tmp_path / "first", **network, validation_rows=12))
    held_out = predictions(tmp_path / "first")["id"].str[:-1]
    assert (len(held_out), held_out.value_counts().tolist()) == (12, [2] * 6)

    again = {"model_name_or_path": tmp_path / "first", "validation_rows": 12}
    for name, settings, n_told in (("same", {}, 0), ("other", {"split_seed": 7}, 1)):
        capsys.readouterr()
        main(flags(table, tmp_path / name, **again, **settings))
        told = [line for line in capsys.readouterr().err.splitlines() if "checkpoint was trained on" in line]
        assert len(told) == n_told
    check_message(told[0], "rows.tsv, line ", "12 rows", "--split_seed")


def test_a_table_that_is_edited_during_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is there, but no predictions with other rows' names."""
    table = planted_table(tmp_path / "rows.tsv", 40)
    header, *lines = table.read_text().splitlines(keepends=True)
    real = run_finetune_regression.train

    def train_and_sort(trainer: Any) -> Any:
        table.write_text(header + "".join(sorted(lines)))
        return real(trainer)

    monkeypatch.setattr(run_finetune_regression, "train", train_and_sort)
    with fails(table, "changed"):
        main(flags(table, tmp_path / "run"))
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert not (tmp_path / "run" / "validation_predictions.tsv").exists()
