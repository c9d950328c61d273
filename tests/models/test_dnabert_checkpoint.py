"""A checkpoint in the form in which DNABERT is published: every weight arrives, no code of its folder runs."""

import json
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, BertConfig, BertModel
from transformers.models.bert.modeling_bert import BertOnlyMLMHead

import run_finetune_regression
import run_pretrain_mlm
from kmerbert.models.loading import load_config, load_model, load_tokenizer
from tests.support.messages import fails
from tests.support.tiny_runs import flags, planted_table

K = 3
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
# What the published config.json has in addition to a BERT's settings.
STRAY = {
    "rnn": "lstm", "split": 10, "rnn_dropout": 0.0, "rnn_hidden": 768, "num_rnn_layer": 2, "num_return_sequences": 1,
    "output_past": True, "pruned_heads": {}, "finetuning_task": None, "top_k": 50, "use_bfloat16": False,
    "auto_map": {
        "AutoConfig": "configuration_bert.BertConfig",
        "AutoModelForSequenceClassification": "dnabert_layer.DNABertForSequenceClassification",
    },
}  # fmt: skip


@pytest.fixture(params=["pickle", "safetensors"])
def published(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A folder as published, and the weights in it: an encoder, a pooler that nothing trained, an MLM head."""
    folder = tmp_path / "DNA_bert"
    folder.mkdir()
    kmers = ["".join(letters) for letters in product("ATCG", repeat=K)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *kmers]
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens))
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "max_len": 512}')
    (folder / "special_tokens_map.json").write_text('{"unk_token": "[UNK]", "pad_token": "[PAD]"}')
    config = {"architectures": ["BertForMaskedLM"], "model_type": "bert", "vocab_size": len(tokens), "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps(config | SIZES | STRAY))
    for module in ("configuration_bert", "dnabert_layer"):
        (folder / f"{module}.py").write_text(f"raise SystemExit('the code of {module} was run')\n")
    torch.manual_seed(1)
    settings = BertConfig(vocab_size=len(tokens), **SIZES)
    weights = {f"bert.{name}": tensor for name, tensor in BertModel(settings).state_dict().items()}
    weights |= {
        f"cls.{name}": torch.randn_like(tensor) for name, tensor in BertOnlyMLMHead(settings).state_dict().items()
    }
    weights["cls.predictions.decoder.weight"] = weights["bert.embeddings.word_embeddings.weight"]  # tied, as trained
    weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"]
    if request.param == "pickle":
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(
            {name: tensor.clone() for name, tensor in weights.items()}, folder / "model.safetensors", {"format": "pt"}
        )
    return folder, weights


def test_every_weight_but_the_head_is_the_checkpoints(published: tuple[Path, dict[str, torch.Tensor]]) -> None:
    name, weights = str(published[0]), published[1]
    tokenizer = load_tokenizer(name)
    assert (tokenizer.k, tokenizer.stride, tokenizer.alphabet) == (K, 1, "ATCG")
    config = load_config(tokenizer, name, num_labels=1, problem_type="regression")
    assert config.model_type == "bert"
    assert not hasattr(config, "auto_map")
    loaded = load_model(AutoModelForSequenceClassification, config, name).state_dict()
    new = {key for key in loaded if key not in weights}
    assert new == {"classifier.weight", "classifier.bias"}
    for key in loaded.keys() - new:
        assert torch.equal(loaded[key], weights[key]), key
    assert {key for key in weights if key not in loaded} == {key for key in weights if key.startswith("cls.")}


def test_its_masked_language_model_is_whole(published: tuple[Path, dict[str, torch.Tensor]]) -> None:
    name, weights = str(published[0]), published[1]
    loaded = load_model(AutoModelForMaskedLM, load_config(load_tokenizer(name), name), name).state_dict()
    for key, tensor in loaded.items():
        assert torch.equal(tensor, weights[key]), key
    assert {key for key in weights if key not in loaded} == {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}


@pytest.mark.parametrize("script", [run_finetune_regression, run_pretrain_mlm])
def test_trains_on(script: object, published: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    table = planted_table(tmp_path / "a.tsv", n=40)
    script.main(flags(table, tmp_path / "out", model_name_or_path=published[0]))
    saved = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "auto_map" not in saved
    assert (saved["kmer_k"], saved["kmer_alphabet"]) == (K, "ATCG")


# The beginning of a vocabulary of pieces, as other DNA models have: all k-mers of that length would fill any memory.
BPE = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ACGTACGTACGTACGTACGTACGT", "A", "C", "G", "T", "TTG"]


def test_another_vocabulary_is_an_error(published: tuple[Path, dict[str, torch.Tensor]]) -> None:
    """The ids of a re-packaged DNABERT mean other k-mers."""
    vocabulary = published[0] / "vocab.txt"
    tokens = vocabulary.read_text().split()
    for wrong in (
        tokens[:1] + ["[CLS]", "[EOS]"] + tokens[3:],
        tokens[:5] + tokens[6:] + tokens[5:6],
        BPE,
        tokens[:5],
        [],
    ):
        vocabulary.write_text("\n".join(wrong))
        with fails(vocabulary, "[PAD] [UNK] [CLS] [SEP] [MASK]"):
            load_tokenizer(str(published[0]))
