"""Predictor: the models' own outputs, whatever the batches; ensembles, flanks, both strands, long streams, refusals."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, BertConfig, BertForMaskedLM, BertForSequenceClassification

import run_finetune_regression
from kmerbert.predicting import predictor as inference
from kmerbert.predicting.predictor import Predictor
from kmerbert.reading.sources import Batch, FileSource
from modeling_kmer_regression import KmerBertConfig, KmerBertForSequenceClassification
from tests.support.tiny_runs import flags, planted_table, ragged_dna, random_dna, write_table
from tokenization_kmer import KmerTokenizer

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


def load(names: str | Sequence[str], **settings: object) -> Predictor:
    return Predictor.from_pretrained(names, device="cpu", **settings)


def one_by_one(name: str, sequences: Sequence[str]) -> np.ndarray:
    """Outputs (n, outputs) of a model that is loaded and fed without any code of the package."""
    model = AutoModelForSequenceClassification.from_pretrained(name).eval()
    tokenizer = KmerTokenizer.from_pretrained(name)
    with torch.inference_mode():
        outputs = [model(**tokenizer(sequence, return_tensors="pt")).logits[0].numpy() for sequence in sequences]
    return np.array(outputs)


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"stride": 3}, {"n_frames": 3}, {"names": ["strength", "decay"]}])
def test_predicts_what_the_model_does_in_input_order(
    make: MakeModel, settings: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = make("model", **settings)
    monkeypatch.setattr(inference, "CHUNK_ROWS", 16)
    monkeypatch.setattr("kmerbert.reading.sources.BATCH_ROWS", 7)
    expected = one_by_one(name, RAGGED)
    assert np.ptp(expected) > 0.5
    for tokens_per_batch in (1, 300, 100_000):
        predictor = load(name, tokens_per_batch=tokens_per_batch)
        found = predictor.predict(RAGGED)
        assert found.dtype == np.float64
        assert_same(found, expected)
    assert predictor.predict([]).shape == (0, len(settings.get("names", "1")))


def test_batches_keep_to_the_budget_and_need_little_padding(make: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, seen = load(make("model"), tokens_per_batch=500), []
    forward = BertForSequenceClassification.forward

    def spy(model: object, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> object:
        seen.append((input_ids, attention_mask))
        return forward(model, input_ids, attention_mask)

    monkeypatch.setattr(BertForSequenceClassification, "forward", spy)
    predictor.predict(RAGGED)
    assert sum(len(ids) for ids, _ in seen) == len(RAGGED)
    assert max(ids.numel() for ids, _ in seen) <= 500
    n_tokens = sum(len(sequence) for sequence in RAGGED)  # k = 3: two k-mers fewer than bases, and two special tokens
    assert n_tokens < sum(ids.numel() for ids, _ in seen) < 1.3 * n_tokens
    for ids, mask in seen:
        padding = ids == 0
        assert (mask is None) == (not padding.any())
        assert mask is None or torch.equal(mask, (~padding).long())
    seen.clear()
    predictor.predict([sequence[:20] for sequence in RAGGED])
    assert all(mask is None for _, mask in seen)


def test_any_letters_that_training_takes(make: MakeModel) -> None:
    predictor = load(make("model"))
    assert predictor.predict([" acguR\n"]) == pytest.approx(predictor.predict(["ACGTN"]))


def test_models_are_averaged(make: MakeModel) -> None:
    # With wilder weights, two ways of summing in float32 differ by more than `assert_same` allows.
    names = [make(name, seed=seed, initializer_range=0.5) for seed, name in enumerate("abc")]
    single = np.stack([one_by_one(name, RAGGED) for name in names], axis=1)
    ensemble = load(names)
    assert_same(ensemble.predict_read(RAGGED), single)
    assert_same(ensemble.predict(RAGGED), single.mean(axis=1))


def test_flanks_go_around_and_models_see_them(make: MakeModel) -> None:
    flanks = {"left": "TGCATTTTTTTCACATC", "right": "GGTTACGGCTGTT", "length": 12}
    name = make("model", flanks=flanks)
    inserts = random_dna(np.random.default_rng(1), 5, 30)
    read = ["TTTTTTCACATC" + insert + "GGTTACGGCTGT" for insert in inserts]
    expected = one_by_one(name, read)
    assert_same(load(name).predict(inserts), expected)
    assert_same(load(name).predict([f"TTTTCACATC{insert}GGTTACGGC" for insert in inserts]), expected)
    assert_same(load(name).predict_read(read)[:, 0], expected)


def test_reverse_complement_of_what_the_model_reads(make: MakeModel, caplog: pytest.LogCaptureFixture) -> None:
    name = make("model", flanks={"left": "AACCCCCCCC", "right": "GGGGGGGGTT", "length": 4})
    strands = one_by_one(name, ["CCCCATTACAGGGG", "CCCCTGTAATGGGG"])
    flipped = make("flipped", flanks={"left": "AAAAAAAACA", "right": "TTTTTTTTGG", "length": 2})
    other = one_by_one(flipped, ["CAATTACATT", "AATGTAATTG"])  # the flanks change sides with the insert
    assert abs(other[0] - other[1]) > 1e-3
    assert load(name, reverse_complement=True).predict(["ATTACA"]) == pytest.approx(strands.mean(), abs=1e-5)
    assert load(flipped, reverse_complement=True).predict(["ATTACA"]) == pytest.approx(other.mean(), abs=1e-5)
    assert caplog.text.count("does not say that it was trained on both strands") == 2
    caplog.clear()
    load(make("both", trained_on_both_strands=True), reverse_complement=True)
    assert not caplog.text
    load(make("itself", both_strands=True), reverse_complement=True)
    assert "reads both strands anyway; this only takes twice as long" in caplog.text
    with pytest.raises(ValueError, match="--reverse_complement: k-mers over ACG have none: allowed is ACGT or ACGTN"):
        load(make("letters", alphabet="ACG"), reverse_complement=True)
    load(make("with_n", alphabet="ATCGN"), reverse_complement=True)


def test_bfloat16_spares_the_output_layer(make: MakeModel) -> None:
    name = make("model")
    weights = load_file(f"{name}/model.safetensors")
    weights["classifier.weight"] /= 30
    weights["classifier.bias"] += 100.0  # neighbouring bfloat16 numbers are 0.5 apart here
    save_file(weights, f"{name}/model.safetensors", {"format": "pt"})
    exact, found = load(name).predict(RAGGED), load(name, bf16=True).predict(RAGGED)
    error = np.abs(found - exact).max()
    assert 0 < error < 0.1
    assert np.corrcoef(found[:, 0], exact[:, 0])[0, 1] > 0.99


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose last checkpoint is its final model."""
    folder = tmp_path_factory.mktemp("trained")
    table = planted_table(folder / "train.tsv", 120)
    run_finetune_regression.main(flags(table, folder / "run", load_best_model_at_end=False, save_strategy="epoch"))
    return folder / "run"


def test_an_unfinished_run_answers_in_label_units(trained: Path) -> None:
    checkpoint = next(trained.glob("checkpoint-*"))
    standardised = json.loads((checkpoint / "config.json").read_text())
    assert not standardised["outputs_in_label_units"]
    sequences = random_dna(np.random.default_rng(5), 20)
    final = load(str(trained)).predict(sequences)
    assert 8 < final.mean() < 14
    assert_same(load(str(checkpoint)).predict(sequences), final)
    by_hand = one_by_one(str(checkpoint), sequences) * standardised["label_scale"] + standardised["label_mean"]
    assert_same(final, by_hand)


class Endless:
    """A source whose batches are counted as they are drawn."""

    name = "endless"

    def __init__(self) -> None:
        self.n_drawn = 0

    def place(self, number: int) -> str:
        return f"row {number}"

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        while True:
            self.n_drawn += 1
            numbers = np.arange(10 * self.n_drawn - 9, 10 * self.n_drawn + 1)
            yield Batch({columns[0]: pa.array(["ACGTACGT"] * 10), "id": pa.array(map(str, numbers))}, numbers)


def test_streams_are_read_piece_by_piece(make: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "CHUNK_ROWS", 25)
    source, done = Endless(), []
    stream = load(make("model")).predict_stream(source, columns=["id"], progress=done.append)
    for piece in range(1, 10):
        found = next(stream)
        assert found.batch.columns["id"].to_pylist() == [str(10 * piece - 9 + row) for row in range(10)]
        assert found.values.shape == (10, 1, 1)
        assert source.n_drawn == 3 * -(-piece // 3)
        assert sum(done) == 10 * source.n_drawn
    monkeypatch.setattr(inference, "CHUNK_BYTES", 1)
    next(stream)
    assert source.n_drawn == 10


def test_says_once_that_lengths_are_strange(make: MakeModel, caplog: pytest.LogCaptureFixture) -> None:
    predictor = load(make("model", sequence_length=[20, 30]))
    predictor.predict([30 * "A", 33 * "C", 18 * "G"])
    assert not caplog.text
    predictor.predict([30 * "A", 34 * "C"])
    assert "sequence 2, counted from 1: the model reads 34 bases" in caplog.text
    assert "trained on 20 to 30: such predictions are a guess" in caplog.text
    caplog.clear()
    predictor.predict([17 * "G"])
    assert not caplog.text


def test_says_that_many_kmers_are_unknown(make: MakeModel, caplog: pytest.LogCaptureFixture) -> None:
    predictor = load(make("model"))
    predictor.predict(["ACGTACGTAC"])
    assert not caplog.text
    predictor.predict(["ACGTNACGTA"])
    assert "sequences: 18.8 % of the k-mers are [UNK]" in caplog.text  # 3 of 16


def test_refuses_rows_with_their_place(make: MakeModel, tmp_path: Path) -> None:
    predictor = load(make("model"))
    for bad, message in (("ACXT", "'X' at base 3"), ("AC", "2 bases are shorter than one k-mer"), ("", "is empty")):
        table = write_table(tmp_path / "in.tsv", sequence=["ACGT", bad, "ACGT"])  # an empty last line is no row
        with pytest.raises(ValueError, match=f"in.tsv, line 3: .*{message}"):
            list(predictor.predict_stream(FileSource(table)))
        with pytest.raises(ValueError, match=f"sequence 2, counted from 1: .*{message}"):
            predictor.predict(["ACGT", bad])
    with pytest.raises(
        ValueError, match=r"100 bases give 100 tokens, but the model reads 80: cut with --max_seq_length"
    ):
        predictor.predict([100 * "A"])
    source = FileSource(write_table(tmp_path / "long.tsv", sequence=[100 * "A"]))
    (found,) = predictor.predict_stream(source, max_seq_length=80)
    assert found.values == pytest.approx(predictor.predict([80 * "A"])[0, 0])


def test_refuses_predictions_that_are_no_numbers(make: MakeModel, tmp_path: Path) -> None:
    names = [make("fine"), make("broken")]
    weights = load_file(f"{names[1]}/model.safetensors")
    unknown = weights["bert.embeddings.word_embeddings.weight"]
    unknown[1] = float("nan")
    save_file(weights, f"{names[1]}/model.safetensors", {"format": "pt"})
    with pytest.raises(
        ValueError, match=r"sequence 2, counted from 1: .*broken predicts nan for expression: its weights"
    ):
        load(names).predict(["ACGT", "ACNT", "ANNT"])


def test_refuses_what_is_no_regression_model(make: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        load(str(tmp_path / "nowhere"))
    name = make("mlm")
    BertForMaskedLM(BertConfig(vocab_size=69, **SIZES)).save_pretrained(name)
    with pytest.raises(ValueError, match="mlm holds BertForMaskedLM, not of run_finetune_regression.py: fine-tune it"):
        load(name)
    name = make("classifier")
    BertForSequenceClassification(BertConfig(vocab_size=69, **SIZES)).save_pretrained(name)
    with pytest.raises(ValueError, match="classifier holds BertForSequenceClassification, not of"):
        load(name)
    name = make("headless")
    weights = load_file(f"{name}/model.safetensors")
    save_file({key: weight for key, weight in weights.items() if "classifier" not in key}, f"{name}/model.safetensors")
    with pytest.raises(ValueError, match="headless: 2 weights are missing, the first is classifier.bias"):
        load(name)
    name = make("cut_off")
    Path(name, "model.safetensors").write_bytes(b"1234")
    with pytest.raises(ValueError, match="cut_off: the weights cannot be loaded"):
        load(name)
    name = make("strange", stride=3)
    shutil.copy(Path(make("other"), "tokenizer_config.json"), name)
    with pytest.raises(
        ValueError, match="strange: trained with stride 3, but its tokenizer has 1: copy the whole folder"
    ):
        load(name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 2}, "k of .*other is 2, but of .*first 3: models that differ in it cannot be averaged"),
        ({"stride": 2}, "stride of .*other is 2, but of .*first 1"),
        ({"names": ["decay"]}, r"outputs of .*other is \['decay'\], but of .*first \['expression'\]"),
        ({"label_unit": "bin"}, "label_unit of .*other is 'bin', but of .*first None"),
        ({"flanks": {"left": "A", "right": "C", "length": 1}}, "flanks of .*other is"),
    ],
)
def test_refuses_models_that_differ(make: MakeModel, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"--model_name_or_path: {message}"):
        load([make("first"), make("other", **settings)])


def test_flanks_that_differ_are_told_by_their_lengths(make: MakeModel) -> None:
    def flanked(name: str, letter: str, length: int, carried: list[int] | None = None) -> str:
        ends = {"left": 99 * letter, "right": 99 * letter}
        return make(name, flanks=ends | {"length": length, "carried": carried})

    first = flanked("first", "A", 30)
    for number, (settings, found, expected) in enumerate(
        (
            (("A", 40), "40 bases on each side", "30 bases on each side"),
            (("C", 30), "30 bases on each side", "as many of other bases"),
            (
                ("A", 30, [17, 13]),
                "30 bases on each side, of which its training sequences bear 17 and 13",
                "30 bases on each side",
            ),
        )
    ):
        other = flanked(f"other{number}", *settings)
        message = (
            f"flanks of {other} is {found}, but of {first} {expected}: models that differ in it cannot be averaged"
        )
        with pytest.raises(ValueError, match=message) as refused:
            load([first, other])
        assert 20 * "A" not in str(refused.value)


def test_models_of_other_sizes_are_averaged_to_the_shorter_limit(make: MakeModel) -> None:
    names = [make("long", max_position_embeddings=60), make("short", max_position_embeddings=40, hidden_size=8)]
    predictor = load(names)
    assert predictor.max_tokens == 40
    assert predictor.predict([40 * "A"]).shape == (1, 1)
    with pytest.raises(ValueError, match="the model reads 40"):
        predictor.predict([41 * "A"])
    assert logging.getLogger("kmerbert").level == logging.NOTSET


def test_rows_with_fewer_kmers_than_frames_are_refused(make: MakeModel) -> None:
    model = load(make("model", n_frames=5))
    assert model.predict(["ACGTACG"]).shape == (1, 1)
    words = "^sequence 2, counted from 1: 4 k-mers are fewer than the model's 5 reading frames: remove the row"
    with pytest.raises(ValueError, match=words):
        model.predict(["ACGTACG", "ACGTAC"])
