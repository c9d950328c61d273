"""Predictor: the models' own outputs, whatever the batches; ensembles, flanks, both strands, tables, streams, errors."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, BertConfig, BertForMaskedLM, BertForSequenceClassification

import run_finetune_regression
from kmerbert.predicting import predictor as predictor_module
from kmerbert.predicting.inputs import open_inputs
from kmerbert.predicting.predictor import Predictor
from kmerbert.reading.rows import hash_texts
from kmerbert.reading.sources import Batch, FileSource
from kmerbert.reading.training_range import TrainingRange, read_letters
from kmerbert.reading.training_sample import TrainingSample
from modeling_kmer_regression import KmerBertConfig, KmerBertForSequenceClassification
from tests.support.messages import check_message, fails
from tests.support.tiny_runs import flags, planted_table, ragged_dna, random_dna, write_table
from tokenization_kmer import Flanks, KmerTokenizer

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
RAGGED = ragged_dna(0, 40)

MakeModel = Callable[..., str]


@pytest.fixture
def make(tmp_path: Path) -> MakeModel:
    """Saves a model of random weights as the training script would: make("name", seed=0, setting=value, ...)."""

    def save(name: str, seed: int = 0, k: int = 3, stride: int = 1, alphabet: str = "ATCG", **settings: object) -> str:
        torch.manual_seed(seed)
        tokenizer = KmerTokenizer(k, stride, alphabet)
        kmers = {"kmer_k": k, "kmer_stride": stride, "kmer_alphabet": alphabet, "outputs_in_label_units": True}
        names = settings.pop("names", ["expression"])
        outputs = {"id2label": dict(enumerate(names)), "label2id": {name: row for row, name in enumerate(names)}}
        outputs |= {"problem_type": "regression", "initializer_range": 1.0, "vocab_size": len(tokenizer)}
        frames = settings.pop("n_frames", None)
        config = BertConfig(**SIZES | kmers | outputs | {"max_position_embeddings": 80} | settings)
        if frames:
            model = KmerBertForSequenceClassification(KmerBertConfig.from_bert(config, frames))
        else:
            model = BertForSequenceClassification(config)
        for saved in (model, tokenizer):
            saved.save_pretrained(tmp_path / name)
        return str(tmp_path / name)

    return save


def load(names: str | Path | Sequence[str], **settings: object) -> Predictor:
    return Predictor.from_pretrained(names, device="cpu", **settings)


def one_by_one(name: str, sequences: Sequence[str]) -> np.ndarray:
    """Outputs (n, outputs) of a model that is loaded and fed without any code of the package."""
    model = AutoModelForSequenceClassification.from_pretrained(name).eval()
    tokenizer = KmerTokenizer.from_pretrained(name)
    with torch.inference_mode():
        outputs = [model(**tokenizer(sequence, return_tensors="pt")).logits[0].numpy() for sequence in sequences]
    return np.array(outputs)


def assert_same(predictions: np.ndarray, expected: np.ndarray) -> None:
    assert predictions.shape == expected.shape
    np.testing.assert_allclose(predictions, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"stride": 3}, {"n_frames": 3}, {"names": ["strength", "decay"]}])
def test_predicts_what_the_model_does_in_input_order(
    make: MakeModel, settings: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = make("model", **settings)
    monkeypatch.setattr(predictor_module, "CHUNK_ROWS", 16)
    monkeypatch.setattr("kmerbert.reading.sources.BATCH_ROWS", 7)
    expected = one_by_one(name, RAGGED)
    assert np.ptp(expected) > 0.5
    for tokens_per_batch in (1, 300, 100_000):
        predictor = load(name, tokens_per_batch=tokens_per_batch)
        predictions = predictor.predict_values(RAGGED)
        assert predictions.dtype == np.float64
        assert_same(predictions, expected)
    assert predictor.predict_values([]).shape == (0, len(settings.get("names", "1")))


# Lower and upper ends of intervals are 4 below and above the prediction: 19 errors of 4.
CALIBRATION = {"prediction": [0.0] * 19, "observed": [4.0, -4.0] * 9 + [4.0]}


def test_a_build_for_gpus_without_one_predicts_on_the_cpu(make: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def accelerator(check_available: bool = False) -> torch.device | None:
        return None if check_available else torch.device("cuda")

    monkeypatch.setattr(torch.accelerator, "current_accelerator", accelerator)
    assert Predictor.from_pretrained(make("a")).models[0].device == torch.device("cpu")


def test_a_list_becomes_a_table(make: MakeModel) -> None:
    name = make("model")
    predictor, expected = load(name), one_by_one(name, ["ACGTN", "GGGTT"])[:, 0]
    table = predictor.predict([" acguR\n", "GGGTT"])
    assert isinstance(table, pd.DataFrame)
    assert list(table) == ["id", "sequence", "prediction"]
    assert table[["id", "sequence"]].to_numpy().tolist() == [["1", "acguR"], ["2", "GGGTT"]]
    assert table["prediction"].dtype == np.float64
    assert_same(table["prediction"].to_numpy(), expected)
    np.testing.assert_array_equal(predictor.predict_values([" acguR\n", "GGGTT"])[:, 0], table["prediction"])


@pytest.mark.parametrize("id_column", [None, "locus"])
def test_a_pandas_table_keeps_its_ids_and_labels(make: MakeModel, id_column: str | None) -> None:
    predictor, sequences = load(make("model")), random_dna(np.random.default_rng(4), 4, 9)
    table = pd.DataFrame(
        {
            "strength": [1.5, np.nan, 3.0, -2.0],
            "id": [7, 8, 9, 10],
            "locus": list("abcd"),
            "dna": sequences,
            "note": None,
        },
        index=[3, 3, 1, 0],
    )
    predictions = predictor.predict(table, "dna", id_column, ["strength"])
    assert list(predictions) == ["id", "sequence", "prediction", "observed"]
    assert predictions["id"].tolist() == (list("abcd") if id_column else ["7", "8", "9", "10"])
    assert predictions["sequence"].tolist() == sequences
    np.testing.assert_array_equal(predictions["observed"], table["strength"])
    np.testing.assert_array_equal(predictions["prediction"], predictor.predict_values(sequences)[:, 0])
    assert predictions.index.tolist() == [0, 1, 2, 3]
    pd.testing.assert_frame_equal(
        predictor.predict(table, id_column=id_column, label_columns=["strength"]), predictions
    )
    with fails("'sequence'", "strength"):
        predictor.predict(table.drop(columns="dna"))
    with fails("'sequence'", "'dna', 'other'", "`sequence_column`"):
        predictor.predict(table.assign(other=sequences))
    with fails("'locus2'"):
        predictor.predict(table, "dna", "locus2")


def test_a_file_becomes_a_table(make: MakeModel, tmp_path: Path) -> None:
    predictor = load(make("model"))
    fasta = tmp_path / "a.fa"
    fasta.write_text(">first of two\nACGT\nACG\n>second\nGGGTT\n")
    table = predictor.predict(fasta)
    assert table[["id", "sequence"]].to_numpy().tolist() == [["first", "ACGTACG"], ["second", "GGGTT"]]
    np.testing.assert_array_equal(table["prediction"], predictor.predict_values(["ACGTACG", "GGGTT"])[:, 0])
    pd.testing.assert_frame_equal(predictor.predict(str(fasta)), table)
    path = write_table(tmp_path / "a.tsv", value=[2, ""], sequence=["ACGTACG", "GGGTT"])
    table = predictor.predict(path, label_columns=["value"])
    assert table["id"].tolist() == ["2", "3"]  # the lines
    assert table["observed"].tolist() == [2.0, pytest.approx(np.nan, nan_ok=True)]
    with fails(tmp_path / "absent.fa"):
        predictor.predict(tmp_path / "absent.fa")
    for not_sequences in (7, [1, 2], None):
        with fails(type(not_sequences).__name__, "pandas"):
            predictor.predict(not_sequences)


@pytest.mark.parametrize(
    ("inputs", "parts"),
    [
        ("ACGTTG", ("'ACGTTG'", "no file", "list")),
        ({"ACGTTG": "CCCTTT"}, ("dict", "list")),
        ({"ACGTTG", "CCCTTT"}, ("set", "list")),
        ([["ACGTTG"]], ("list", "pandas table")),
    ],
)
def test_inputs_that_are_neither_a_list_nor_a_table_nor_a_file(inputs: object, parts: tuple[str, ...]) -> None:
    with fails("inputs are", *parts):
        open_inputs(inputs)


@pytest.mark.parametrize("outputs", [["strength"], ["strength", "decay"]])
def test_all_columns_that_a_table_can_have(make: MakeModel, outputs: list[str], tmp_path: Path) -> None:
    suffixes = ["_strength", "_decay"] if len(outputs) > 1 else [""]
    columns = {kind + suffix: values for suffix in suffixes for kind, values in CALIBRATION.items()}
    calibration = write_table(tmp_path / "calibration.tsv", **columns)
    names = [make(name, seed, names=outputs, initializer_range=0.5) for seed, name in enumerate("ab")]
    predictor = load(names, calibration_file=calibration, interval_coverage=0.95)
    single = np.stack([one_by_one(name, RAGGED) for name in names], axis=1)
    measured = {name: np.arange(40.0) + 100 * output for output, name in enumerate(outputs)}
    table = pd.DataFrame({"sequence": RAGGED} | measured)
    predictions = predictor.predict(table, label_columns=outputs[::-1])  # in any order
    kinds = ["prediction", "lower", "upper", "checkpoint_sd", "observed"]
    assert list(predictions) == ["id", "sequence", *(kind + suffix for kind in kinds for suffix in suffixes)]
    for output, suffix in enumerate(suffixes):
        mean = predictions[f"prediction{suffix}"].to_numpy()
        np.testing.assert_array_equal(mean, predictor.predict_values(RAGGED)[:, output])
        assert_same(mean, single[:, :, output].mean(axis=1))
        spread = np.abs(single[:, 0, output] - single[:, 1, output]) / 2**0.5
        np.testing.assert_allclose(predictions[f"checkpoint_sd{suffix}"], spread, atol=1e-4)
        np.testing.assert_allclose(predictions[f"lower{suffix}"], mean - 4)
        np.testing.assert_allclose(predictions[f"upper{suffix}"], mean + 4)
        np.testing.assert_array_equal(predictions[f"observed{suffix}"], measured[outputs[output]])
    if len(outputs) > 1:
        with fails("`label_column` strength", "strength,decay"):
            predictor.predict(table, label_columns=["strength"])


@pytest.mark.parametrize("inputs", [[], pd.DataFrame({"sequence": [], "strength": []})], ids=["list", "table"])
def test_no_rows_are_a_table_with_the_same_columns(make: MakeModel, inputs: object, tmp_path: Path) -> None:
    labels = ["strength"] if isinstance(inputs, pd.DataFrame) else []
    plain = load(make("a")).predict(inputs, label_columns=labels)
    assert list(plain) == ["id", "sequence", "prediction", *(["observed"] if labels else [])]
    calibration = write_table(tmp_path / "calibration.tsv", **CALIBRATION)
    predictor = load([make("a"), make("b", 1)], calibration_file=calibration)
    table = predictor.predict(inputs, label_columns=labels)
    numbers = ["prediction", "lower", "upper", "checkpoint_sd", *(["observed"] if labels else [])]
    assert list(table) == ["id", "sequence", *numbers]
    assert table.shape == (0, 2 + len(numbers))
    assert {table[column].dtype for column in numbers} == {np.dtype(np.float64)}


def test_batches_keep_to_the_budget_and_need_little_padding(make: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, seen = load(make("model"), tokens_per_batch=500), []
    forward = BertForSequenceClassification.forward

    def spy(model: object, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> object:
        seen.append((input_ids, attention_mask))
        return forward(model, input_ids, attention_mask)

    monkeypatch.setattr(BertForSequenceClassification, "forward", spy)
    predictor.predict_values(RAGGED)
    assert sum(len(ids) for ids, _ in seen) == len(RAGGED)
    assert max(ids.numel() for ids, _ in seen) <= 500
    n_tokens = sum(len(sequence) for sequence in RAGGED)  # k = 3: two k-mers fewer than bases, and two special tokens
    assert n_tokens < sum(ids.numel() for ids, _ in seen) < 1.3 * n_tokens
    for ids, mask in seen:
        padding = ids == 0
        assert (mask is None) == (not padding.any())
        assert mask is None or torch.equal(mask, (~padding).long())
    seen.clear()
    predictor.predict_values([sequence[:20] for sequence in RAGGED])
    assert all(mask is None for _, mask in seen)


def test_models_are_averaged(make: MakeModel) -> None:
    # With wilder weights, two ways of summing in float32 differ by more than `assert_same` allows.
    names = [make(name, seed=seed, initializer_range=0.5) for seed, name in enumerate("abc")]
    single = np.stack([one_by_one(name, RAGGED) for name in names], axis=1)
    ensemble = load(names)
    assert_same(ensemble.predict_prepared(RAGGED), single)
    assert_same(ensemble.predict_values(RAGGED), single.mean(axis=1))


def test_flanks_go_around_and_models_see_them(make: MakeModel) -> None:
    flanks = {"left": "TGCATTTTTTTCACATC", "right": "GGTTACGGCTGTT", "length": 12}
    name = make("model", flanks=flanks)
    inserts = random_dna(np.random.default_rng(1), 5, 30)
    extended = ["TTTTTTCACATC" + insert + "GGTTACGGCTGT" for insert in inserts]
    expected = one_by_one(name, extended)
    assert_same(load(name).predict_values(inserts), expected)
    assert_same(load(name).predict_values([f"TTTTCACATC{insert}GGTTACGGC" for insert in inserts]), expected)
    assert_same(load(name).predict_prepared(extended)[:, 0], expected)
    assert load(name).predict(inserts)["sequence"].tolist() == inserts  # as written in the input


def test_reverse_complement_of_what_the_model_reads(make: MakeModel, caplog: pytest.LogCaptureFixture) -> None:
    name = make("model", flanks={"left": "AACCCCCCCC", "right": "GGGGGGGGTT", "length": 4})
    strands = one_by_one(name, ["CCCCATTACAGGGG", "CCCCTGTAATGGGG"])
    flipped = make("flipped", flanks={"left": "AAAAAAAACA", "right": "TTTTTTTTGG", "length": 2})
    other = one_by_one(flipped, ["CAATTACATT", "AATGTAATTG"])  # the flanks change sides with the insert
    assert abs(other[0] - other[1]) > 1e-3
    assert load(name, reverse_complement=True).predict_values(["ATTACA"]) == pytest.approx(strands.mean(), abs=1e-5)
    assert load(flipped, reverse_complement=True).predict_values(["ATTACA"]) == pytest.approx(other.mean(), abs=1e-5)
    # The other messages are about a tokenizer that adds no flanks.
    messages = [message for message in caplog.messages if "`reverse_complement`" in message]
    for message, checkpoint in zip(messages, (name, flipped), strict=True):
        check_message(message, "`reverse_complement`", checkpoint)
    caplog.clear()
    load(make("both", trained_on_both_strands=True), reverse_complement=True)
    assert not caplog.text
    load(make("itself", both_strands=True), reverse_complement=True)
    (message,) = caplog.messages
    check_message(message, "`reverse_complement`", "itself")
    with fails("`reverse_complement`", "over ACG have", "ACGT or ACGTN"):
        load(make("letters", alphabet="ACG"), reverse_complement=True)
    load(make("with_n", alphabet="ATCGN"), reverse_complement=True)


def test_bfloat16_spares_the_output_layer(make: MakeModel) -> None:
    name = make("model")
    weights = load_file(f"{name}/model.safetensors")
    weights["classifier.weight"] /= 30
    weights["classifier.bias"] += 100.0  # neighbouring bfloat16 numbers are 0.5 apart here
    save_file(weights, f"{name}/model.safetensors", {"format": "pt"})
    exact, rounded = (load(name, bf16=bf16).predict_values(RAGGED) for bf16 in (False, True))
    error = np.abs(rounded - exact).max()
    assert 0 < error < 0.1
    assert np.corrcoef(rounded[:, 0], exact[:, 0])[0, 1] > 0.99


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose last checkpoint is its final model."""
    folder = tmp_path_factory.mktemp("trained")
    table = planted_table(folder / "train.tsv", 120)
    settings = {"load_best_model_at_end": False, "save_strategy": "epoch"}
    run_finetune_regression.main(flags(table, folder / "run", **settings))
    return folder / "run"


def test_an_unfinished_run_answers_in_label_units(trained: Path) -> None:
    checkpoint = next(trained.glob("checkpoint-*"))
    standardised = json.loads((checkpoint / "config.json").read_text())
    assert not standardised["outputs_in_label_units"]
    sequences = random_dna(np.random.default_rng(5), 20)
    final = load(trained).predict_values(sequences)
    assert 8 < final.mean() < 14
    assert_same(load(checkpoint).predict_values(sequences), final)
    by_hand = one_by_one(str(checkpoint), sequences) * standardised["label_scale"] + standardised["label_mean"]
    assert_same(final, by_hand)


class Endless:
    """A source whose batches are counted as they are drawn."""

    name = "endless"

    def __init__(self) -> None:
        self.n_drawn = 0

    def location(self, number: int) -> str:
        return f"row {number}"

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        while True:
            self.n_drawn += 1
            numbers = np.arange(10 * self.n_drawn - 9, 10 * self.n_drawn + 1)
            yield Batch({columns[0]: pa.array(["ACGTACGT"] * 10), "id": pa.array(map(str, numbers))}, numbers)


def test_streams_are_read_piece_by_piece(make: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor_module, "CHUNK_ROWS", 25)
    source, done = Endless(), []
    stream = load(make("model")).predict_stream(source, columns=["id"], progress=done.append)
    for piece in range(1, 10):
        batch, values, _ = next(stream)
        assert batch.columns["id"].to_pylist() == [str(10 * piece - 9 + row) for row in range(10)]
        assert values.shape == (10, 1, 1)
        assert source.n_drawn == 3 * -(-piece // 3)
        assert sum(done) == 10 * source.n_drawn
    monkeypatch.setattr(predictor_module, "CHUNK_BYTES", 1)
    next(stream)
    assert source.n_drawn == 10


def test_warns_once_of_strange_lengths(make: MakeModel, caplog: pytest.LogCaptureFixture) -> None:
    predictor = load(make("model", sequence_length=[20, 30]))
    predictor.predict_values([30 * "A", 33 * "C", 18 * "G"])
    assert not caplog.text
    predictor.predict_values([30 * "A", 34 * "C", 17 * "C", 30 * "C"])
    (message,) = caplog.messages
    check_message(message, "2 of 4", "2 by their length", "sequence 2 of the list", "34 bases", "20 to 30")
    caplog.clear()
    predictor.predict_values([17 * "G"])
    assert not caplog.text


def test_warns_of_unknown_kmers(make: MakeModel, caplog: pytest.LogCaptureFixture) -> None:
    predictor = load(make("model"))
    predictor.predict_values(["ACGTACGTAC"])
    assert not caplog.text
    predictor.predict_values(["ACGTNACGTA"])
    (message,) = caplog.messages
    check_message(message, "the list", "18.8", "[UNK]")  # 3 of 16


@pytest.mark.parametrize(
    ("bad", "parts"), [("ACXT", ("'X'", "base 3")), ("AC", ("2 bases", "k-mer")), ("", ("empty",))]
)
def test_rows_that_cannot_be_read(make: MakeModel, bad: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    predictor = load(make("model"))
    table = write_table(tmp_path / "in.tsv", sequence=["ACGT", bad, "ACGT"])  # an empty last line is not a row
    with fails("in.tsv, line 3", *parts):
        list(predictor.predict_stream(FileSource(table)))
    with fails("sequence 2 of the list", *parts):
        predictor.predict_values(["ACGT", bad])
    with fails("row 2 of the table", *parts):
        predictor.predict(pd.DataFrame({"sequence": ["ACGT", bad]}))


def test_long_sequences(make: MakeModel, tmp_path: Path) -> None:
    predictor = load(make("model"))
    with fails("sequence 1 of the list", "100 bases", "100 tokens", "reads 80", "`max_seq_length`"):
        predictor.predict_values([100 * "A"])
    source = FileSource(write_table(tmp_path / "long.tsv", sequence=[100 * "A"]))
    ((_, values, _),) = predictor.predict_stream(source, max_seq_length=80)
    assert values == pytest.approx(predictor.predict_values([80 * "A"])[0, 0])


def test_predictions_that_are_not_numbers(make: MakeModel) -> None:
    names = [make("fine"), make("broken")]
    weights = load_file(f"{names[1]}/model.safetensors")
    unknown = weights["bert.embeddings.word_embeddings.weight"]
    unknown[1] = float("nan")
    save_file(weights, f"{names[1]}/model.safetensors", {"format": "pt"})
    with fails("sequence 2 of the list", f"{names[1]} predicts nan", "expression"):
        load(names).predict_values(["ACGT", "ACNT", "ANNT"])


def test_checkpoints_that_are_not_regression_models(make: MakeModel, tmp_path: Path) -> None:
    with fails("`model_name_or_path`", tmp_path / "nowhere"):
        load(str(tmp_path / "nowhere"))
    name = make("mlm")
    BertForMaskedLM(BertConfig(vocab_size=69, **SIZES)).save_pretrained(name)
    with fails(f"`model_name_or_path` {name}", "BertForMaskedLM", "run_finetune_regression.py"):
        load(name)
    name = make("classifier")
    BertForSequenceClassification(BertConfig(vocab_size=69, **SIZES)).save_pretrained(name)
    with fails(f"`model_name_or_path` {name}", "BertForSequenceClassification", "run_finetune_regression.py"):
        load(name)
    name = make("headless")
    weights = load_file(f"{name}/model.safetensors")
    save_file({key: weight for key, weight in weights.items() if "classifier" not in key}, f"{name}/model.safetensors")
    with fails(f"`model_name_or_path` {name}", "2 weights", "classifier.bias"):
        load(name)
    name = make("cut_off")
    Path(name, "model.safetensors").write_bytes(b"1234")
    with fails(f"`model_name_or_path` {name}", "weights"):
        load(name)
    name = make("strange", stride=3)
    shutil.copy(Path(make("other"), "tokenizer_config.json"), name)
    with fails(f"`model_name_or_path` {name}", "stride 3", "1", "tokenizer_config.json"):
        load(name)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"id2label": {"1": "expression"}}, ("`id2label`", "outputs 0")),
        ({"outputs_in_label_units": False}, ("`label_scale`", "None", "1 finite number")),
        (
            {"outputs_in_label_units": False, "label_scale": [2.0], "label_mean": [1.0, 2.0]},
            ("`label_mean`", "[1.0, 2.0]"),
        ),
        ({"id2label": {"0": "a", "1": "b"}}, ("weights", "2 outputs")),
    ],
)
def test_outputs_that_are_not_those_of_the_weights(make: MakeModel, settings: dict, parts: tuple[str, ...]) -> None:
    name = make("damaged")
    path = Path(name, "config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    with fails(f"`model_name_or_path` {name}", *parts):
        load(name)


@pytest.mark.parametrize(
    ("settings", "fact", "value", "expected"),
    [
        ({"k": 2}, "k", "2", "3"),
        ({"stride": 2}, "stride", "2", "1"),
        ({"names": ["decay"]}, "outputs", "['decay']", "['expression']"),
        ({"label_unit": "bin"}, "label_unit", "'bin'", "'log2'"),
        ({"flanks": {"left": "AA", "right": "CC", "length": 2}}, "flanks", "2 bases on each side", "None"),
    ],
)
def test_models_that_differ(make: MakeModel, settings: dict, fact: str, value: str, expected: str) -> None:
    names = [make("first", **({"label_unit": "log2"} if fact == "label_unit" else {})), make("other", **settings)]
    with fails("`model_name_or_path`", f"{fact} of {names[1]} is {value}", f"of {names[0]} {expected}"):
        load(names)


@pytest.mark.parametrize("units", [("", "bin", "bin"), ("bin", None, "bin"), (None, "", "")])
def test_a_unit_that_some_models_do_not_say_is_no_difference(make: MakeModel, units: tuple[str | None, ...]) -> None:
    load([make(str(row), **({} if unit is None else {"label_unit": unit})) for row, unit in enumerate(units)])


def test_flanks_that_differ_are_told_by_their_lengths(make: MakeModel) -> None:
    def flanked(name: str, letter: str, length: int, carried: list[int] | None = None) -> str:
        ends = {"left": 99 * letter, "right": 99 * letter}
        return make(name, flanks=ends | {"length": length, "carried": carried})

    first = flanked("first", "A", 30)
    for number, (settings, parts) in enumerate(
        (
            (("A", 40), ("is 40 bases", f"of {first} 30 bases")),
            (("C", 30), ("is 30 bases", f"of {first} as many of other bases")),
            (("A", 30, [17, 13]), ("is 30 bases", "17 and 13", f"of {first} 30 bases")),
        )
    ):
        other = flanked(f"other{number}", *settings)
        with fails(f"flanks of {other}", *parts) as caught:
            load([first, other])
        assert 20 * "A" not in str(caught.value)


def test_models_of_other_sizes_are_averaged_to_the_shorter_limit(make: MakeModel) -> None:
    names = [make("long", max_position_embeddings=60), make("short", max_position_embeddings=40, hidden_size=8)]
    predictor = load(names)
    assert predictor.max_tokens == 40
    assert predictor.predict_values([40 * "A"]).shape == (1, 1)
    with fails("sequence 1 of the list", "41", "40"):
        predictor.predict_values([41 * "A"])
    assert logging.getLogger("kmerbert").level == logging.NOTSET


def test_rows_with_fewer_kmers_than_frames(make: MakeModel) -> None:
    model = load(make("model", n_frames=5))
    assert model.predict_values(["ACGTACG"]).shape == (1, 1)
    with fails("sequence 2 of the list", "4 k-mers", "5 reading frames"):
        model.predict_values(["ACGTACG", "ACGTAC"])


def test_ids_of_fasta_tell_the_records_apart(make: MakeModel, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    predictor = load(make("a"))
    path = tmp_path / "a.fa"
    path.write_text(
        "".join(
            f">promoter {row}\n{sequence}\n" for row, sequence in enumerate(random_dna(np.random.default_rng(0), 3))
        )
    )
    assert predictor.predict(path)["id"].tolist() == ["promoter 0", "promoter 1", "promoter 2"]
    assert caplog.messages == []
    path.write_text("".join(f">promoter\n{sequence}\n" for sequence in random_dna(np.random.default_rng(0), 3)))
    assert predictor.predict(path)["id"].tolist() == ["promoter"] * 3
    check_message(caplog.messages[0], "a.fa, line 1", "a.fa, line 3", "repeated ids: 2")


def test_rows_without_an_id(make: MakeModel, tmp_path: Path) -> None:
    """Also where other rows have one, in whatever line that begins."""
    predictor, (first, second) = load(make("a")), random_dna(np.random.default_rng(0), 2)
    lines = [json.dumps({"sequence": first}), json.dumps({"sequence": second, "id": "x"})]
    for name, content in (
        ("a.jsonl", "\n".join(lines)),
        ("b.tsv", f"id\tsequence\n \t{first}\nx\t{second}\n"),
        ("c.csv", f"note,id,sequence\n,,{first}\n,x,{second}\n"),
    ):
        (tmp_path / name).write_text(content)
        with fails(f"{name}, line {1 if 'json' in name else 2}: ", "id is empty"):
            predictor.predict(tmp_path / name)


def test_ids_are_lines_of_the_file(make: MakeModel, tmp_path: Path) -> None:
    first, second = random_dna(np.random.default_rng(0), 2)
    (tmp_path / "a.csv").write_text(f'sequence,note\n{first},"x\ny"\n{second},z\n')
    assert load(make("a")).predict(tmp_path / "a.csv")["id"].tolist() == ["2", "4"]


# --- rows that the model was trained on


def sample_of(sequences: Sequence[str]) -> str:
    return TrainingSample.of(hash_texts(list(sequences))).text


def test_predictions_of_training_rows_are_told_once(
    make: MakeModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sequences = random_dna(np.random.default_rng(0), 8)
    path = write_table(tmp_path / "rows.tsv", sequence=[sequence.lower() for sequence in sequences])
    predictor = load([make("new"), make("known", training_sample=sample_of(sequences[2:6]))])
    for _ in range(2):
        predictor.predict(path)
    (warning,) = caplog.messages
    check_message(warning, "rows.tsv, line 4", str(tmp_path / "known"), "50 %")
    load(make("other", training_sample=sample_of(["ACGT"]))).predict(path)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("flanks", [None, {"left": "ACGTACGTAA", "right": "CCGGTTCCAA", "length": 5}])
def test_calibration_on_training_rows_is_an_error(flanks: dict | None, make: MakeModel, tmp_path: Path) -> None:
    sequences = random_dna(np.random.default_rng(0), 19)
    calibration = write_table(tmp_path / "calibration.tsv", sequence=sequences, **CALIBRATION)
    read = Flanks(**flanks).extend(sequences) if flanks else sequences
    new, known = make("new", flanks=flanks), make("known", flanks=flanks, training_sample=sample_of(read[6:]))
    load(new, calibration_file=calibration)
    for names in (known, [new, known]):
        with fails("`calibration_file`", "calibration.tsv, line 8", known, "68%", "19 rows"):
            load(names, calibration_file=calibration)
    for others in (random_dna(np.random.default_rng(1), 19), ["no DNA"] * 19):
        write_table(tmp_path / "calibration.tsv", sequence=others, **CALIBRATION)
        load(known, calibration_file=calibration)
    write_table(tmp_path / "calibration.tsv", sequence=["no DNA", *sequences[1:]], **CALIBRATION)
    with fails("calibration.tsv, line 8", known):  # what cannot be read hides nothing
        load(known, calibration_file=calibration)


def test_calibration_on_other_predictions_is_told(
    make: MakeModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sequences = random_dna(np.random.default_rng(0), 19)
    name, path = make("a", initializer_range=0.5), tmp_path / "calibration.tsv"
    for shift, n_warnings in ((0.001, 0), (1.0, 1)):
        values = load(name).predict_values(sequences)[:, 0] + shift
        write_table(path, sequence=sequences, prediction=values, observed=values + CALIBRATION["observed"])
        load(name, calibration_file=path)
        assert len(caplog.messages) == n_warnings
    check_message(caplog.messages[0], "calibration.tsv, line ", "prediction", "`calibration_file`")


# --- what is outside the training data


def known_range(low: float = -100.0, high: float = 100.0, seed: int = 0) -> dict[str, object]:
    """Entries of a configuration for training sequences of 40 bases."""
    letters = read_letters(random_dna(np.random.default_rng(seed), 300, 40))
    return {"training_range": TrainingRange.of(letters, [(low, high)]).setting, "sequence_length": [40, 40]}


def test_a_column_says_what_is_outside(make: MakeModel, caplog: pytest.LogCaptureFixture) -> None:
    predictor = load(make("model", **known_range()))
    usual = random_dna(np.random.default_rng(5), 20, 40)
    table = predictor.predict([*usual, "A" * 40, usual[0][:30], "G" * 60])
    assert list(table) == ["id", "sequence", "prediction", "outside_training"]
    assert table["outside_training"].tolist() == [""] * 20 + ["gc", "length", "length;gc;kmers"]
    (message,) = caplog.messages
    parts = (
        "3 of 23",
        "2 by their length",
        "40 to 40",
        "2 by their GC",
        "1 by their 6-mers",
        "(40 bases)",
        "sequence 21 of the list",
    )
    check_message(message, *parts, "outside_training")
    caplog.clear()
    assert not predictor.predict(usual)["outside_training"].any()
    predictor.predict(["A" * 40])  # is told once
    assert not caplog.messages


def test_predictions_beyond_the_measured_values(make: MakeModel) -> None:
    sequences = random_dna(np.random.default_rng(5), 20, 40)
    values = load(make("model")).predict_values(sequences)[:, 0]
    low, high = np.sort(values)[[2, -4]]
    table = load(make("known", **known_range(low - 1e-9, high + 1e-9))).predict(sequences)
    expected = np.where((values < low) | (values > high), "value", "")
    assert table["outside_training"].tolist() == expected.tolist()
    assert sum(expected == "value") == 5


def test_outside_of_any_model_of_an_ensemble(make: MakeModel) -> None:
    names = [make("a", **known_range()), make("b", seed=1, **known_range() | {"sequence_length": [40, 60]})]
    usual = random_dna(np.random.default_rng(5), 2, 60)
    assert load(names).predict(usual)["outside_training"].tolist() == ["length", "length"]
    assert load(names[1]).predict(usual)["outside_training"].tolist() == ["", ""]
    assert "outside_training" not in load([*names, make("of an earlier version", seed=2)]).predict(usual)


def test_no_rows_and_no_facts(make: MakeModel) -> None:
    assert list(load(make("a", **known_range())).predict([])) == ["id", "sequence", "prediction", "outside_training"]
    assert list(load(make("b", sequence_length=[40, 40])).predict([])) == ["id", "sequence", "prediction"]


# --- columns that are carried along


def test_other_columns_come_last_as_text(make: MakeModel) -> None:
    predictor = load(make("model", **known_range()))
    table = pd.DataFrame(
        {"sequence": random_dna(np.random.default_rng(0), 3, 40), "gene": ["x", None, "y z"], "n": [1, 20, 3]}
    )
    predicted = predictor.predict(table.assign(y=1.0), label_columns=["y"], keep_columns=["n", "gene"])
    assert list(predicted) == ["id", "sequence", "prediction", "observed", "outside_training", "n", "gene"]
    assert predicted["n"].tolist() == ["1", "20", "3"]
    assert predicted["gene"].fillna("-").tolist() == ["x", "-", "y z"]
    assert list(predictor.predict(table[:0], keep_columns=["n"]))[-1] == "n"


@pytest.mark.parametrize(
    ("kept", "parts"),
    [
        (["id"], ["`keep_columns` id"]),
        (["gene", "gene"], ["`keep_columns` gene,gene", "once"]),
        (["prediction_b"], ["`keep_columns` prediction_b"]),
        (["outside_training"], ["`keep_columns` outside_training"]),
        (["locus"], ["no column 'locus' (`keep_columns`)"]),
    ],
)
def test_columns_that_cannot_be_carried(kept: list[str], parts: list[str], make: MakeModel) -> None:
    table = pd.DataFrame({"sequence": ["ACGTACGT"], "gene": ["x"], "prediction_b": [1.0], "outside_training": [""]})
    with fails(*parts):
        load(make("model")).predict(table, keep_columns=kept)


def test_an_id_column_that_is_not_there(make: MakeModel) -> None:
    table = pd.DataFrame({"sequence": ["ACGTACGT"], "name": ["a"]})
    with fails("no column 'Name' (`id_column`)", "'sequence', 'name'", "did you mean 'name'?"):
        load(make("model")).predict(table, id_column="Name")


def test_names_of_the_table_that_are_not_written(make: MakeModel, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    table = pd.DataFrame({"sequence": ["ACGTACGT", "CCGGTACC"], "oligo id": ["p-a", "p-b"]})
    predictor = load(make("model"))
    assert predictor.predict(table)["id"].tolist() == ["1", "2"]
    told = "the table: ids are the rows' numbers; `id_column` 'oligo id' writes those of the table"
    assert caplog.messages.count(told) == 1
    predictor.predict(table, id_column="oligo id")
    assert caplog.messages.count(told) == 1
