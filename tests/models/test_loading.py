"""Tokenizer, configuration and weights: new ones, and checkpoints that fit or do not."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, BertConfig, BertForMaskedLM

from kmerbert.cli.flags import ModelArguments, RegressionModelArguments
from kmerbert.models.loading import KMER_SETTINGS, load_config, load_model, load_tokenizer, max_tokens
from tokenization_kmer import KmerTokenizer


def arguments(checkpoint: Path | str | None = None, **settings: object) -> ModelArguments:
    """Arguments for a checkpoint, or for a new model."""
    return ModelArguments(model_name_or_path=None if checkpoint is None else str(checkpoint), **settings)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model over 3-mers with stride 2, with its tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint")
    asked = ModelArguments(k=3, stride=2, alphabet="ACGT", config_overrides="hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=32")  # fmt: skip
    tokenizer = load_tokenizer(asked)
    torch.manual_seed(0)
    load_model(AutoModelForMaskedLM, asked, load_config(asked, tokenizer)).save_pretrained(folder)
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
    """Changes settings in a JSON file; None removes one."""
    found = json.loads(path.read_text()) | settings
    path.write_text(json.dumps({name: value for name, value in found.items() if value is not None}))


def kmer_settings(tokenizer: KmerTokenizer) -> tuple[int, int, str]:
    return tokenizer.k, tokenizer.stride, tokenizer.alphabet


def test_new_tokenizers() -> None:
    assert kmer_settings(load_tokenizer(arguments())) == (6, 1, "ATCG")
    asked = arguments(k=4, stride=3, alphabet="ACGTN")
    assert kmer_settings(load_tokenizer(asked)) == (4, 3, "ACGTN")


@pytest.mark.parametrize(
    ("k", "n_frames", "words"),
    [
        (6, 3, ["--reading_frames 3: a frame's 6-mers begin every 3 bases; 6 frames would be of k-mers side by side"]),
        (3, 5, ["--reading_frames 5: a frame's 3-mers begin every 5 bases; 3 frames would be of k-mers side by side"]),
        (3, 3, []),
        (3, None, []),
    ],
)
def test_frames_of_other_numbers_than_k_are_told(
    k: int, n_frames: int | None, words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="kmerbert"):
        load_tokenizer(RegressionModelArguments(k=k, reading_frames=n_frames))
    assert caplog.messages == words


def test_a_checkpoint_brings_its_tokenizer(checkpoint: Path) -> None:
    assert kmer_settings(load_tokenizer(arguments(checkpoint))) == (3, 2, "ACGT")
    assert kmer_settings(load_tokenizer(arguments(checkpoint, k=3, stride=2))) == (3, 2, "ACGT")


@pytest.mark.parametrize(("name", "asked", "saved"), [("k", 6, "3"), ("stride", 1, "2"), ("alphabet", "ATCG", "ACGT")])
def test_a_checkpoint_of_other_kmers(name: str, asked: object, saved: str, checkpoint: Path) -> None:
    message = rf"^--{name} {asked}: the checkpoint {checkpoint} was trained with {name} {saved}; leave the flag out, or"
    with pytest.raises(ValueError, match=message):
        load_tokenizer(arguments(checkpoint, **{name: asked}))


def test_a_checkpoint_that_does_not_say_its_kmers(copy: Path) -> None:
    """Without a vocabulary the flags say it, and the number of ids is checked."""
    (copy / "tokenizer_config.json").unlink()
    assert kmer_settings(load_tokenizer(arguments(copy))) == (3, 1, "ACGT")  # by vocab.txt
    (copy / "vocab.txt").unlink()
    asked = arguments(copy, k=3, stride=2, alphabet="ACGT")
    tokenizer = load_tokenizer(asked)
    assert load_config(asked, tokenizer).vocab_size == 69
    tokenizer = load_tokenizer(arguments(copy))
    with pytest.raises(ValueError, match="has 69 token ids, but k = 6 over ATCG has 4101: give the --k and --alphabet"):
        load_config(arguments(copy), tokenizer)


def test_checkpoints_that_are_none(copy: Path, tmp_path: Path) -> None:
    cases = {
        tmp_path / "absent": "no such folder, and not on the Hub",
        "somebody/nothing": "no such folder, and not on the Hub",
        copy / "model.safetensors": "is a file: give the folder that holds config.json and the weights$",
        tmp_path: "holds no config.json: give the output folder of a training run$",
    }
    for name, message in cases.items():
        with pytest.raises(ValueError, match=f"^--model_name_or_path {name}:? {message}") as found:
            load_tokenizer(arguments(name))
        assert "\n" not in str(found.value)


@pytest.mark.parametrize("content", ["no json", "", "[]", '{"model_type": "unheard_of"}', '{"hidden_size": 16}'])
def test_a_config_that_cannot_be_used(content: str, copy: Path) -> None:
    tokenizer = load_tokenizer(arguments(copy))
    (copy / "config.json").write_text(content)
    with pytest.raises(ValueError, match=rf"^--model_name_or_path {copy}: its config.json cannot be used: ") as found:
        load_config(arguments(copy), tokenizer)
    assert "\n" not in str(found.value)


def test_a_tokenizer_config_that_cannot_be_used(copy: Path) -> None:
    (copy / "tokenizer_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer_config.json is not JSON: "):
        load_tokenizer(arguments(copy))


def test_a_vocabulary_of_another_size(copy: Path) -> None:
    tokenizer = load_tokenizer(arguments(copy))
    change(copy / "config.json", vocab_size=70)
    with pytest.raises(ValueError, match="has 70 token ids, but k = 3 over ACGT has 69"):
        load_config(arguments(copy), tokenizer)


def test_new_config(tiny_bert: str) -> None:
    tokenizer = KmerTokenizer(k=3, stride=2)
    asked = arguments(config_overrides=tiny_bert.replace(",", ", "))
    config = load_config(asked, tokenizer, num_labels=2, problem_type="regression")
    assert (config.model_type, config.hidden_size, config.num_hidden_layers) == ("bert", 16, 1)
    assert (config.vocab_size, config.num_labels, config.problem_type) == (69, 2, "regression")
    assert (config.pad_token_id, config.cls_token_id, config.sep_token_id) == (0, 2, 3)
    assert config.bos_token_id is None
    assert [getattr(config, f"kmer_{name}") for name in KMER_SETTINGS] == [3, 2, "ATCG"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_type": "bart_simpson"}, "^--model_type 'bart_simpson' is no architecture: bert, modernbert, roberta, ...$"),
        ({"config_overrides": "hidden_sise=4"}, "^--config_overrides 'hidden_sise=4': .*hidden_sise"),
        ({"config_overrides": "hidden_size=big"}, "^--config_overrides 'hidden_size=big': .*big"),
        ({"config_overrides": "hidden_size"}, "^--config_overrides 'hidden_size': "),
        ({"config_overrides": "id2label=3"}, "^--config_overrides 'id2label=3': "),
        ({"model_type": "t5"}, "^t5 models are encoder-decoders: take one that only encodes, such as bert$"),
        ({"config_overrides": "vocab_size=9"}, "^--config_overrides vocab_size: leave it out, --k and --alphabet say"),
    ],
)  # fmt: skip
def test_refused_architectures(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as found:
        load_config(arguments(**settings), KmerTokenizer(k=3))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "overrides", ["hidden_size=10,num_attention_heads=3", "num_attention_heads=0", "hidden_act=nonsense", "hidden_size=-4"]
)  # fmt: skip
def test_networks_that_cannot_be_built(overrides: str) -> None:
    asked = arguments(config_overrides=overrides)
    with pytest.raises(ValueError, match=f"--config_overrides {overrides}: no such model can be built: ") as found:
        load_model(AutoModelForMaskedLM, asked, load_config(asked, KmerTokenizer(k=2)))
    assert "\n" not in str(found.value)


def test_an_architecture_without_the_head() -> None:
    asked = arguments(model_type="vit_mae")
    with pytest.raises(ValueError, match="no such model can be built: ") as found:
        load_model(AutoModelForMaskedLM, asked, load_config(asked, KmerTokenizer(k=2)))
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 500


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
    assert max_tokens(load_config(arguments(**settings), KmerTokenizer(k=2))) == most


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_max_tokens_is_what_the_model_really_reads(model_type: str, tiny_bert: str) -> None:
    asked = arguments(model_type=model_type, config_overrides=f"{tiny_bert},max_position_embeddings=24")
    config = load_config(asked, KmerTokenizer(k=2))
    model, most = load_model(AutoModelForMaskedLM, asked, config), max_tokens(config)
    assert model(input_ids=torch.full((1, most), 7)).logits.shape == (1, most, 21)
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, most + 1), 7))


def test_weights_come_back(checkpoint: Path) -> None:
    asked = arguments(checkpoint)
    tokenizer = load_tokenizer(asked)
    model = load_model(AutoModelForSequenceClassification, asked, load_config(asked, tokenizer, num_labels=1))
    saved = BertForMaskedLM.from_pretrained(checkpoint)
    for name, weight in saved.bert.state_dict().items():
        assert torch.equal(weight, model.bert.state_dict()[name]), name
    assert model.classifier.out_features == 1
    assert next(model.parameters()).dtype == torch.float32


def test_half_precision_weights_are_trained_in_full(copy: Path) -> None:
    BertForMaskedLM.from_pretrained(copy).to(torch.bfloat16).save_pretrained(copy)
    asked = arguments(copy)
    model = load_model(AutoModelForMaskedLM, asked, load_config(asked, load_tokenizer(asked)))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_weights_of_another_network(copy: Path, tiny_bert: str) -> None:
    tokenizer = load_tokenizer(arguments(copy))
    other = arguments(model_type="distilbert", config_overrides="dim=16,n_layers=1,n_heads=2,hidden_dim=32")
    load_model(AutoModelForMaskedLM, other, load_config(other, tokenizer)).save_pretrained(copy / "other")
    (copy / "model.safetensors").write_bytes((copy / "other" / "model.safetensors").read_bytes())
    asked = arguments(copy)
    message = r"weights of the network are missing, the first is bert\..*: this is not a checkpoint of a bert model$"
    with pytest.raises(ValueError, match=message):
        load_model(AutoModelForMaskedLM, asked, load_config(asked, tokenizer))


@pytest.mark.parametrize("damage", ["another width", "cut off", "no weights", "more layers", "another head"])
def test_weights_that_do_not_fit(damage: str, copy: Path) -> None:
    tokenizer, asked = load_tokenizer(arguments(copy)), arguments(copy)
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
        config = load_config(asked, tokenizer, num_labels=2)
        load_model(head, asked, config).save_pretrained(copy)
        tokenizer.save_pretrained(copy)
    with pytest.raises(ValueError, match=f"^--model_name_or_path {copy}: .*weights") as found:
        load_model(head, asked, load_config(asked, tokenizer, **settings))
    assert "\n" not in str(found.value)


def test_stock_class_loads_what_is_saved(checkpoint: Path) -> None:
    config = BertConfig.from_pretrained(checkpoint)
    assert (config.kmer_k, config.kmer_stride, config.kmer_alphabet) == (3, 2, "ACGT")
