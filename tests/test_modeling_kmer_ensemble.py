"""modeling_kmer_ensemble: the mean of its members by every route, saved with all code that it needs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    pipeline,
)
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from kmerbert.models.loading import max_tokens, tokenizer_for
from kmerbert.models.outputs import output_layer
from kmerbert.predicting.predictor import Predictor
from modeling_kmer_conv import KmerConvConfig, KmerConvForSequenceClassification
from modeling_kmer_ensemble import KmerEnsembleConfig, KmerEnsembleForSequenceClassification
from modeling_kmer_regression import KmerBertConfig, KmerBertForSequenceClassification
from tests.support.messages import fails
from tests.support.tiny_runs import ragged_dna
from tokenization_kmer import KmerTokenizer

TOKENIZER = KmerTokenizer(3)
FACTS = {"kmer_k": 3, "kmer_stride": 1, "kmer_alphabet": "ATCG", "outputs_in_label_units": True, "label_unit": "bin"}
OUTPUTS = {"num_labels": 2, "id2label": {0: "leaf", 1: "root"}, "problem_type": "regression", "vocab_size": 69}
BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
CONV = {"embedding_size": 8, "hidden_size": 16, "num_stages": 2, "head_size": 16, "kmer_k": 3}
ROWS = ragged_dna(0, 12)


def make(config: object, kind: type[PreTrainedModel], seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    config.update(FACTS | {"training_sample": str(seed)})
    model = kind(config)
    for weight in [weight for weight in model.parameters() if weight.ndim > 1]:  # as far from zero as after training
        torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


def conv(seed: int) -> PreTrainedModel:
    return make(KmerConvConfig(**CONV, **OUTPUTS), KmerConvForSequenceClassification, seed)


def bert(seed: int) -> PreTrainedModel:
    return make(
        BertConfig(**BERT, **OUTPUTS, max_position_embeddings=80, pad_token_id=0), BertForSequenceClassification, seed
    )


def frames(seed: int) -> PreTrainedModel:
    config = KmerBertConfig(3, **BERT, **OUTPUTS, max_position_embeddings=40, pad_token_id=0)
    return make(config, KmerBertForSequenceClassification, seed)


def mixed(seed: int) -> PreTrainedModel:
    return (conv, bert, frames)[seed](seed)


@pytest.mark.parametrize("member", [conv, bert, frames, mixed])
def test_the_mean_of_the_members_by_every_route(member: Callable[[int], PreTrainedModel], tmp_path: Path) -> None:
    members = [member(seed) for seed in range(3)]
    model = KmerEnsembleForSequenceClassification.from_members(members, data_name="a.tsv")
    model.save_pretrained(tmp_path / "all")
    tokenizer_for(model, TOKENIZER).save_pretrained(tmp_path / "all")
    for number, single in enumerate(members):
        single.save_pretrained(tmp_path / str(number))
        tokenizer_for(single, TOKENIZER).save_pretrained(tmp_path / str(number))

    batch = TOKENIZER(ROWS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = torch.stack([single(**batch).logits for single in members]).mean(dim=0)
        assert expected.std(dim=0).min() > 1e-3
        loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "all")
        assert type(loaded) is KmerEnsembleForSequenceClassification
        # As where this project is not installed: with the code that was saved next to the weights.
        name = json.loads((tmp_path / "all" / "config.json").read_text())["auto_map"][
            "AutoModelForSequenceClassification"
        ]
        foreign = get_class_from_dynamic_module(name, str(tmp_path / "all")).from_pretrained(tmp_path / "all")
        assert type(foreign).__module__.startswith("transformers_modules.")
        own = [type(single).__module__ for single in foreign.members if "kmer" in single.config.model_type]
        assert all(module.startswith("transformers_modules.") for module in own)
        for other in (model, loaded, foreign):
            torch.testing.assert_close(other(**batch).logits, expected, atol=1e-4, rtol=1e-5)
    predict = pipeline("text-classification", str(tmp_path / "all"), trust_remote_code=True, top_k=None)
    answers = [{score["label"]: score["score"] for score in scores} for scores in predict(ROWS, batch_size=5)]
    assert np.allclose([[row["leaf"], row["root"]] for row in answers], expected, atol=1e-4)

    one = Predictor.from_pretrained(tmp_path / "all", device="cpu").predict(ROWS)
    several = Predictor.from_pretrained([tmp_path / "0", tmp_path / "1", tmp_path / "2"], device="cpu").predict(ROWS)
    assert one.equals(several)
    assert np.allclose(one[["prediction_leaf", "prediction_root"]], expected, atol=1e-4)
    assert (one["checkpoint_sd_leaf"] > 0).all()


def test_settings_are_those_that_all_members_share() -> None:
    model = KmerEnsembleForSequenceClassification.from_members([conv(0), conv(1)], n_training_rows=9)
    config = model.config
    assert (config.kmer_k, config.id2label, config.label_unit) == (3, {0: "leaf", 1: "root"}, "bin")
    assert (config.both_strands, config.n_training_rows, config.model_type) == (True, 9, "kmer_ensemble")
    assert not hasattr(config, "training_sample")
    assert [member.config.training_sample for member in model.members] == ["0", "1"]
    members = json.loads(config.to_json_string())["members"]
    assert [member["training_sample"] for member in members] == ["0", "1"]
    assert all(member.model_type == "kmer_conv" for member in config.member_configs)


def test_what_fits_the_shortest_member_fits_all() -> None:
    roberta = RobertaConfig(**BERT, **OUTPUTS, max_position_embeddings=30, pad_token_id=0)
    members = [bert(0), conv(0), make(roberta, RobertaForSequenceClassification, 0)]
    model = KmerEnsembleForSequenceClassification.from_members(members)
    assert max_tokens(model.config) == 29  # roberta counts from one more than the padding
    assert tokenizer_for(model, TOKENIZER).model_max_length == 29
    assert max_tokens(KmerEnsembleForSequenceClassification.from_members([conv(0)]).config) is None


def test_another_number_format_and_a_loss() -> None:
    model = KmerEnsembleForSequenceClassification.from_members([conv(0), conv(1)])
    batch = TOKENIZER(ROWS, padding=True, return_tensors="pt")
    labels = torch.ones(len(ROWS), 2)
    with torch.no_grad():
        outputs = model(**batch, labels=labels)
        torch.testing.assert_close(outputs.loss, ((outputs.logits - 1) ** 2).mean())
        half = model.to(torch.bfloat16)(**batch).logits
    assert half.dtype == torch.bfloat16
    assert (half.float() - outputs.logits).abs().max() < 0.1 * outputs.logits.abs().max()


def test_what_cannot_be() -> None:
    with fails("`members`"):
        KmerEnsembleForSequenceClassification(KmerEnsembleConfig())
    with fails("`model_type` protein", "kmer_conv"):
        _ = KmerEnsembleConfig(members=[{"model_type": "protein"}]).member_configs
    model = KmerEnsembleForSequenceClassification.from_members([conv(0)])
    with fails("`output_hidden_states`"):
        model(torch.tensor([[2, 5, 6, 3]]), output_hidden_states=True)
    with fails("KmerEnsembleForSequenceClassification", "fold_0"):
        output_layer(model)
