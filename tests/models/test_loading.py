"""Tokenizer, configuration and weights: new ones, and checkpoints that fit or do not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, BertConfig, BertForMaskedLM

from kmerbert.models.loading import (
    KMER_SETTINGS,
    load_config,
    load_model,
    load_tokenizer,
    max_tokens,
    tokenizer_for,
)
from tests.support.messages import check_message, fails
from tokenization_kmer import KmerTokenizer

TINY_BERT = "hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=32"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model over 3-mers with stride 2, with its tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = KmerTokenizer(k=3, stride=2, alphabet="ACGT")
    torch.manual_seed(0)
    load_model(AutoModelForMaskedLM, load_config(tokenizer, config_overrides=TINY_BERT)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint that a test may spoil."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in checkpoint.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def change(path: Path, **settings: object) -> None:
    """Changes settings in a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def kmer_settings(tokenizer: KmerTokenizer) -> tuple[int, int, str]:
    return tokenizer.k, tokenizer.stride, tokenizer.alphabet


def test_new_tokenizers() -> None:
    assert kmer_settings(load_tokenizer()) == (6, 1, "ATCG")
    assert kmer_settings(load_tokenizer(k=4, stride=3, alphabet="ACGTN")) == (4, 3, "ACGTN")


@pytest.mark.parametrize(
    ("k", "n_frames", "parts"),
    [
        (6, 3, ("`reading_frames` 3", "6-mers", "every 3 bases", "6 frames")),
        (3, 5, ("`reading_frames` 5", "3-mers", "every 5 bases", "3 frames")),
        (3, 3, None),
        (3, None, None),
    ],
)
def test_frames_of_other_numbers_than_k_are_told(
    k: int, n_frames: int | None, parts: tuple[str, ...] | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="kmerbert"):
        assert kmer_settings(load_tokenizer(k=k, reading_frames=n_frames)) == (k, 1, "ATCG")
    assert len(caplog.messages) == (parts is not None)
    for message in caplog.messages:
        check_message(message, *parts)


def test_frames_are_taken_from_all_kmers_of_a_checkpoint(checkpoint: Path) -> None:
    assert kmer_settings(load_tokenizer(str(checkpoint), reading_frames=3)) == (3, 1, "ACGT")


def test_a_checkpoint_brings_its_tokenizer(checkpoint: Path) -> None:
    assert kmer_settings(load_tokenizer(str(checkpoint))) == (3, 2, "ACGT")
    assert kmer_settings(load_tokenizer(str(checkpoint), k=3, stride=2)) == (3, 2, "ACGT")


@pytest.mark.parametrize(("name", "given", "saved"), [("k", 6, "3"), ("stride", 1, "2"), ("alphabet", "ATCG", "ACGT")])
def test_a_checkpoint_of_other_kmers(name: str, given: Any, saved: str, checkpoint: Path) -> None:
    with fails(f"`{name}` {given}", checkpoint, f"{name} {saved}"):
        load_tokenizer(str(checkpoint), **{name: given})


def test_every_file_says_the_kmers(copy: Path) -> None:
    for name in ("tokenizer_config.json", "vocab.txt", "tokenizer.json"):
        (copy / name).unlink()
        assert kmer_settings(load_tokenizer(str(copy))) == (3, 2, "ACGT")  # at last by config.json alone
    change(copy / "config.json", kmer_k=None)
    with fails(f"`model_name_or_path` {copy}", "tokenizer_config.json", "vocab.txt"):
        load_tokenizer(str(copy), k=3, stride=2, alphabet="ACGT")


@pytest.mark.parametrize(
    ("file", "settings", "parts"),
    [
        ("tokenizer_config.json", {"stride": 1}, ("stride 2", "config.json", "tokenizer_config.json with stride 1")),
        ("config.json", {"kmer_alphabet": "ATCG"}, ("alphabet ATCG", "tokenizer_config.json with alphabet ACGT")),
        ("config.json", {"kmer_k": 4}, ("k 4", "tokenizer_config.json with k 3")),
        ("config.json", {"kmer_k": "3"}, ("k '3'", "tokenizer_config.json with k 3")),
    ],
)
def test_files_that_contradict_each_other(file: str, settings: dict, parts: tuple[str, ...], copy: Path) -> None:
    change(copy / file, **settings)
    with fails(f"`model_name_or_path` {copy}", *parts):
        load_tokenizer(str(copy))


def foreign(copy: Path, tokens: list[str], form: str = "wordlevel") -> str:
    """The checkpoint as another project saves it: nothing but a tokenizer.json."""
    for name in ("tokenizer_config.json", "vocab.txt", "tokenizer.json"):
        (copy / name).unlink()
    change(copy / "config.json", kmer_k=None, kmer_stride=None, kmer_alphabet=None)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    content = {"model": {"vocab": vocabulary}, "added_tokens": [{"id": 1, "content": tokens[1]}]}
    if form == "unigram":
        content["model"]["vocab"] = [[token, -1.0] for token in tokens]
    if form == "vocab.json":
        (copy / "vocab.json").write_text(json.dumps(vocabulary))
    else:
        (copy / "tokenizer.json").write_text(json.dumps(content))
    return str(copy)


@pytest.mark.parametrize("form", ["wordlevel", "unigram", "vocab.json"])
def test_a_foreign_vocabulary_is_compared_token_by_token(form: str, copy: Path) -> None:
    ours = KmerTokenizer(3, alphabet="TGCA")._tokens
    assert kmer_settings(load_tokenizer(foreign(copy, ours, form))) == (3, 1, "TGCA")


@pytest.mark.parametrize("damage", ["special tokens", "two k-mers", "pieces", "nothing", "one id twice"])
def test_as_many_tokens_with_another_meaning(damage: str, copy: Path) -> None:
    tokens = KmerTokenizer(3, alphabet="ACGT")._tokens
    if damage == "special tokens":
        tokens[2], tokens[3] = tokens[3], tokens[2]
    elif damage == "two k-mers":
        tokens[30], tokens[31] = tokens[31], tokens[30]
    elif damage == "one id twice":
        name = foreign(copy, tokens)
        vocabulary = {token: index for index, token in enumerate(tokens)} | {tokens[41]: 40}
        change(copy / "tokenizer.json", model={"vocab": vocabulary})
        with fails(copy / "tokenizer.json", repr(tokens[41]), "id 40"):
            load_tokenizer(name)
        return
    elif damage == "pieces":
        tokens[5:] = [f"A{number}" for number in range(64)]
    else:
        tokens = ["[PAD]", "[UNK]"]
    with fails(copy / "tokenizer.json"):
        load_tokenizer(foreign(copy, tokens), k=3, alphabet="ACGT")


def test_a_vocabulary_of_another_program_or_none(copy: Path) -> None:
    text = (copy / "vocab.txt").read_bytes()
    (copy / "vocab.txt").write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    assert kmer_settings(load_tokenizer(str(copy))) == (3, 2, "ACGT")
    (copy / "vocab.txt").write_bytes(b"\xff\xfe" + text)
    with fails(copy / "vocab.txt", "tokens"):
        load_tokenizer(str(copy))


def test_flanks_of_a_checkpoint(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    flanks = {"left": "ACGTTGCA", "right": "GGATCCTA", "length": 5, "carried": [0, 0]}
    tokenizer = load_tokenizer(str(copy))
    change(copy / "config.json", flanks=flanks)
    caplog.set_level("INFO", logger="kmerbert")
    load_config(tokenizer, str(copy))
    check_message(
        caplog.messages[0], copy, "tokenizer", "pipeline"
    )  # its tokenizer adds none, as those of an earlier version
    caplog.clear()
    change(copy / "tokenizer_config.json", flanks=flanks)
    assert load_config(tokenizer, str(copy)).flanks == flanks
    assert not caplog.text
    for others in (flanks | {"length": 4}, None):
        change(copy / "config.json", flanks=others)
        with fails(f"`model_name_or_path` {copy}", "tokenizer_config.json", "config.json", "flanks"):
            load_config(tokenizer, str(copy))
    for damaged in ("ACGT", {"left": "ACGT"}):
        change(copy / "config.json", flanks=damaged)
        with fails(f"`model_name_or_path` {copy}", "config.json", "`flanks`"):
            load_config(tokenizer, str(copy))


def test_code_of_a_checkpoint_is_neither_run_nor_asked_for(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_tokenizer(str(copy))
    (copy / "evil.py").write_text("raise SystemExit('the code was run')")
    change(copy / "config.json", model_type="evilbert", auto_map={"AutoConfig": "evil.Config"})
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    with fails(f"`model_name_or_path` {copy}", "evilbert", "not run"):
        load_config(tokenizer, str(copy))


@pytest.mark.parametrize(
    ("settings", "names", "longest"),
    [
        ({"model_type": "bert", "config_overrides": TINY_BERT + ",max_position_embeddings=40"}, 3, 40),
        ({"model_type": "modernbert", "config_overrides": TINY_BERT}, 2, 8192),
        ({"model_type": "kmer_conv"}, 3, 10**30),
    ],
)
def test_the_saved_tokenizer_knows_what_the_model_reads(
    settings: dict, names: int, longest: int, tmp_path: Path
) -> None:
    tokenizer = KmerTokenizer(3)
    config = load_config(tokenizer, **settings)
    config.flanks = {"left": "ACGTACGTACGT", "right": "GGTTGGTTGGTT", "length": 4, "carried": [0, 0]}
    model = load_model(AutoModelForSequenceClassification, config)
    tokenizer_for(model, tokenizer).save_pretrained(tmp_path)
    saved = KmerTokenizer.from_pretrained(tmp_path)
    assert saved.model_max_length == pytest.approx(longest)
    batch = saved("CCCCCC", return_tensors="pt")
    assert len(batch) == names
    assert batch["input_ids"].tolist() == [tokenizer("ACGTCCCCCCGGTT")["input_ids"]]
    model.eval()(**batch)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("copy/absent", ("no such folder", "Hub")),
        ("somebody/nothing", ("no such folder", "Hub")),
        ("copy/model.safetensors", ("file", "config.json", "weights")),
        (".", ("config.json",)),
    ],
)
def test_checkpoints_that_are_none(
    name: str, parts: tuple[str, ...], copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy.parent)
    with fails(f"`model_name_or_path` {name}", *parts):
        load_tokenizer(name)


@pytest.mark.parametrize("content", ["no json", "", "[]", '{"model_type": "unheard_of"}', '{"hidden_size": 16}'])
def test_a_config_that_cannot_be_used(content: str, copy: Path) -> None:
    tokenizer = load_tokenizer(str(copy))
    (copy / "config.json").write_text(content)
    with fails(f"`model_name_or_path` {copy}", "config.json"):
        load_config(tokenizer, str(copy))


def test_a_tokenizer_config_that_cannot_be_used(copy: Path) -> None:
    (copy / "tokenizer_config.json").write_text("{")
    with fails(copy / "tokenizer_config.json", "JSON"):
        load_tokenizer(str(copy))


def test_a_vocabulary_of_another_size(copy: Path) -> None:
    tokenizer = load_tokenizer(str(copy))
    change(copy / "config.json", vocab_size=70)
    with fails(f"`model_name_or_path` {copy}", "70", "k = 3 over ACGT", "69"):
        load_config(tokenizer, str(copy))


def test_new_config() -> None:
    tokenizer = KmerTokenizer(k=3, stride=2)
    overrides = TINY_BERT.replace(",", ", ")
    config = load_config(tokenizer, config_overrides=overrides, num_labels=2, problem_type="regression")
    assert (config.model_type, config.hidden_size, config.num_hidden_layers) == ("bert", 16, 1)
    assert (config.vocab_size, config.num_labels, config.problem_type) == (69, 2, "regression")
    assert (config.pad_token_id, config.cls_token_id, config.sep_token_id) == (0, 2, 3)
    assert config.bos_token_id is None
    assert [getattr(config, f"kmer_{name}") for name in KMER_SETTINGS] == [3, 2, "ATCG"]


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"model_type": "bart_simpson"}, ("`model_type` 'bart_simpson'", "kmer_conv", "modernbert")),
        ({"config_overrides": "hidden_sise=4"}, ("`config_overrides` 'hidden_sise=4'",)),
        ({"config_overrides": "hidden_size=big"}, ("`config_overrides` 'hidden_size=big'", "'big'")),
        ({"config_overrides": "hidden_size"}, ("`config_overrides` 'hidden_size'",)),
        ({"config_overrides": "id2label=3"}, ("`config_overrides` 'id2label=3'",)),
        ({"model_type": "t5"}, ("t5", "bert")),
        ({"config_overrides": "vocab_size=9"}, ("`config_overrides` vocab_size", "`k`", "`alphabet`")),
    ],
)
def test_architectures_that_do_not_exist(settings: dict[str, str], parts: tuple[str, ...]) -> None:
    with fails(*parts):
        load_config(KmerTokenizer(k=3), **settings)


@pytest.mark.parametrize(
    "overrides", ["hidden_size=10,num_attention_heads=3", "num_attention_heads=0", "hidden_act=nonsense", "hidden_size=-4"]
)  # fmt: skip
def test_networks_that_cannot_be_built(overrides: str) -> None:
    config = load_config(KmerTokenizer(k=2), config_overrides=overrides)
    with fails("`model_type` bert", "`config_overrides`"):
        load_model(AutoModelForMaskedLM, config)


def test_an_architecture_without_the_head() -> None:
    config = load_config(KmerTokenizer(k=2), model_type="vit_mae")
    with fails("`model_type` vit_mae") as caught:
        load_model(AutoModelForMaskedLM, config)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({}, 512),
        ({"config_overrides": "max_position_embeddings=40"}, 40),
        ({"model_type": "roberta", "config_overrides": "max_position_embeddings=40"}, 39),
        ({"model_type": "xlnet"}, None),
    ],
)
def test_max_tokens(settings: dict[str, str], most: int | None) -> None:
    assert max_tokens(load_config(KmerTokenizer(k=2), **settings)) == most


def test_max_tokens_are_not_more_than_training_sequences_were_cut_to() -> None:
    for settings, network in (({}, 512), ({"model_type": "kmer_conv"}, None)):
        config = load_config(KmerTokenizer(k=2), **settings)
        for cut, most in ((100, 100), (None, network), (9000, network or 9000)):
            config.update({"kmer_max_tokens": cut})
            assert max_tokens(config) == most


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_max_tokens_is_what_the_model_really_reads(model_type: str) -> None:
    overrides = f"{TINY_BERT},max_position_embeddings=24"
    config = load_config(KmerTokenizer(k=2), model_type=model_type, config_overrides=overrides)
    model, most = load_model(AutoModelForMaskedLM, config), max_tokens(config)
    assert model(input_ids=torch.full((1, most), 7)).logits.shape == (1, most, 21)
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, most + 1), 7))


def test_weights_come_back(checkpoint: Path) -> None:
    name = str(checkpoint)
    config = load_config(load_tokenizer(name), name, num_labels=1)
    model = load_model(AutoModelForSequenceClassification, config, name)
    saved = BertForMaskedLM.from_pretrained(checkpoint)
    for name, weight in saved.bert.state_dict().items():
        assert torch.equal(weight, model.bert.state_dict()[name]), name
    assert model.classifier.out_features == 1
    assert next(model.parameters()).dtype == torch.float32


def test_half_precision_weights_are_trained_in_full(copy: Path) -> None:
    BertForMaskedLM.from_pretrained(copy).to(torch.bfloat16).save_pretrained(copy)
    name = str(copy)
    model = load_model(AutoModelForMaskedLM, load_config(load_tokenizer(name), name), name)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_weights_of_another_network(copy: Path) -> None:
    name, tokenizer = str(copy), load_tokenizer(str(copy))
    overrides = "dim=16,n_layers=1,n_heads=2,hidden_dim=32"
    other = load_config(tokenizer, model_type="distilbert", config_overrides=overrides)
    load_model(AutoModelForMaskedLM, other).save_pretrained(copy / "other")
    (copy / "model.safetensors").write_bytes((copy / "other" / "model.safetensors").read_bytes())
    with fails(f"`model_name_or_path` {name}", "the first is bert.", "bert model"):
        load_model(AutoModelForMaskedLM, load_config(tokenizer, name), name)


@pytest.mark.parametrize("damage", ["another width", "cut off", "no weights", "more layers", "another head"])
def test_weights_that_do_not_fit(damage: str, copy: Path) -> None:
    name, tokenizer = str(copy), load_tokenizer(str(copy))
    weights, settings, head = copy / "model.safetensors", {}, AutoModelForMaskedLM
    if damage == "another width":
        change(copy / "config.json", hidden_size=32)
    elif damage == "more layers":
        change(copy / "config.json", num_hidden_layers=2)
    elif damage == "cut off":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "no weights":
        weights.unlink()
    else:
        head, settings = AutoModelForSequenceClassification, {"num_labels": 1}
        load_model(head, load_config(tokenizer, name, num_labels=2), name).save_pretrained(copy)
        tokenizer.save_pretrained(copy)
    with fails(f"`model_name_or_path` {name}", "weights"):
        load_model(head, load_config(tokenizer, name, **settings), name)


def test_stock_class_loads_what_is_saved(checkpoint: Path) -> None:
    config = BertConfig.from_pretrained(checkpoint)
    assert (config.kmer_k, config.kmer_stride, config.kmer_alphabet) == (3, 2, "ACGT")
