"""The recipes of the two challenge systems and of DNABERT say what their write-ups and programs say; sizes of the best."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertForMaskedLM,
    PretrainedConfig,
    Trainer,
)

from kmerbert.cli.flags import (
    ModelArguments,
    PretrainingDataArguments,
    RegressionDataArguments,
    RegressionModelArguments,
)
from kmerbert.cli.parser import parse
from kmerbert.models.loading import load_config, load_model, load_tokenizer
from kmerbert.training.flags import PretrainingArguments, RegressionArguments
from modeling_kmer_regression import KmerBertConfig
from tokenization_kmer import KmerTokenizer

RECIPES = Path(__file__).parent.parent / "recipes"
ALL_ROWS = 6_739_258


def read(name: str, folder: Path, *more: str) -> tuple[ModelArguments, object, object]:
    """A recipe's model, data and training flags, as the script reads them that the recipe is for."""
    is_pretraining = "pretrain" in name
    groups = (
        (ModelArguments, PretrainingDataArguments, PretrainingArguments)
        if is_pretraining
        else (RegressionModelArguments, RegressionDataArguments, RegressionArguments)
    )
    return parse(groups, ["--config", str(RECIPES / name), "--train_file", "a.tsv", "--output_dir", str(folder), *more])


def build(model: ModelArguments, **settings: object) -> tuple[KmerTokenizer, PretrainedConfig]:
    """The tokenizer and the network's configuration that a recipe describes."""
    tokenizer = load_tokenizer(**model.checkpoint, **model.kmers)
    return tokenizer, load_config(tokenizer, **model.checkpoint, **model.architecture, **settings)


def has(arguments: object, **expected: object) -> None:
    """Asserts the values of some flags."""
    assert {name: getattr(arguments, name) for name in expected} == expected


def test_davuluri_as_reported(tmp_path: Path) -> None:
    model, data, training = read("davuluri/finetune_regression_as_reported.yaml", tmp_path)
    has(model, model_name_or_path="zhihan1996/DNA_bert_6", k=None, alphabet=None)
    has(data, validation_split_percentage=10.0, validation_rows=None, max_seq_length=None)
    has(training, per_device_train_batch_size=32, gradient_accumulation_steps=1, num_train_epochs=10, loss="mse")
    has(training, learning_rate=1e-4, weight_decay=0.0, bf16=False, fp16=False)


def test_davuluri_as_coded(tmp_path: Path) -> None:
    _, data, training = read("davuluri/finetune_regression_as_coded.yaml", tmp_path)
    has(data, validation_rows=100_000, max_seq_length=118)
    has(training, num_train_epochs=10, learning_rate=1e-4, lr_scheduler_type="linear", warmup_steps=5000, seed=42)
    has(training, weight_decay=0.0, adam_beta1=0.9, adam_beta2=0.999, adam_epsilon=1e-8, max_grad_norm=1.0, loss="mse")
    has(training, eval_steps=1000, save_steps=4000, logging_steps=300, load_best_model_at_end=False)
    assert training.per_device_train_batch_size * training.gradient_accumulation_steps * 4 == 256
    # 118 tokens are [CLS], 116 k-mers and [SEP], so the first 121 bases are read.
    assert KmerTokenizer(6).n_tokens(121) == data.max_seq_length - 2


def test_davuluri_from_scratch_is_bert_base(tmp_path: Path) -> None:
    model, _, _ = read("davuluri/finetune_regression_as_reported.yaml", tmp_path, "--model_name_or_path=")
    tokenizer, config = build(model, num_labels=1, problem_type="regression")
    with torch.device("meta"):
        network = load_model(AutoModelForSequenceClassification, config, **model.checkpoint)
    assert len(tokenizer) == 4101 == 4**6 + 5
    assert round(network.num_parameters() / 1e6, 1) == 89.2


def test_dnabert(tmp_path: Path) -> None:
    model, data, training = read("dnabert/pretrain_mlm.yaml", tmp_path)
    has(data, masking="dnabert", mlm_probability=0.025, window_length=509 + 6, short_windows=0.5)
    has(training, learning_rate=4e-4, adam_beta1=0.9, adam_beta2=0.98, adam_epsilon=1e-6, weight_decay=0.01)
    has(training, max_steps=200_000, warmup_steps=10_000, lr_scheduler_type="linear")
    assert training.per_device_train_batch_size * training.gradient_accumulation_steps * 8 == 2000
    tokenizer, config = build(model)
    has(
        config, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, hidden_act="gelu"
    )
    has(config, max_position_embeddings=512, type_vocab_size=2, initializer_range=0.02, vocab_size=4101)
    has(config, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, layer_norm_eps=1e-12)
    assert tokenizer.n_tokens(data.window_length) + 2 == 512


def test_biases_and_layer_norms_do_not_decay(tmp_path: Path) -> None:
    model, _, training = read("dnabert/pretrain_mlm.yaml", tmp_path, "--eval_strategy", "no")
    _, config = build(model)
    config.update({"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8})
    network = BertForMaskedLM(config)
    decays = set(Trainer(network, training).get_decay_parameter_names(network))
    every = [name for name, _ in network.named_parameters(remove_duplicate=False)]
    assert decays == {name for name in every if "bias" not in name and "LayerNorm" not in name}


def test_sysu_pretraining(tmp_path: Path) -> None:
    model, data, training = read("sysu/pretrain_mlm.yaml", tmp_path)
    has(data, top_fraction=0.2, validation_rows=88_160, masking="tokens", mlm_probability=0.15, flank_length=150)
    assert data.validation_rows == min(100_000, 1_763_213 // 20)
    has(training, num_train_epochs=1000 / 5, eval_epochs=0.2, early_stopping_patience=20, learning_rate=1e-4)
    has(training, per_device_train_batch_size=128, metric_for_best_model="accuracy", weight_decay=0.0, seed=2022)
    plateau = {"mode": "max", "factor": 0.5, "patience": 2, "threshold": 1e-4, "min_lr": 1e-6}
    has(training, lr_scheduler_type="reduce_lr_on_plateau", lr_scheduler_kwargs=plateau)
    tokenizer, config = build(model, num_labels=1)
    assert (len(tokenizer), set(tokenizer.alphabet), tokenizer.stride) == (130, set("ACGTN"), 3)
    has(config, hidden_size=512, num_hidden_layers=3, num_attention_heads=8, intermediate_size=2048)
    with torch.device("meta"):
        network = load_model(
            AutoModelForSequenceClassification, KmerBertConfig.from_bert(config, 3), **model.checkpoint
        )
    assert round(network.num_parameters() / 1e6, 2) == 10.05


def test_sysu_finetuning(tmp_path: Path) -> None:
    model, data, training = read("sysu/finetune_regression.yaml", tmp_path)
    has(model, reading_frames=3, k=3, alphabet="ACGTN")
    has(data, validation_rows=152_786, test_rows=76_393)
    assert ALL_ROWS - data.validation_rows - data.test_rows == 6_510_079
    has(
        training, per_device_train_batch_size=64, num_train_epochs=300, learning_rate=1e-4, weight_decay=0.0, loss="mse"
    )
    has(training, metric_for_best_model="pearsonr", early_stopping_patience=11, seed=2020)
    plateau = {"mode": "max", "factor": 0.5, "patience": 2, "threshold": 1e-4, "min_lr": 1e-7}
    has(training, lr_scheduler_type="reduce_lr_on_plateau", lr_scheduler_kwargs=plateau)
    has(read("sysu/finetune_regression.yaml", tmp_path, "--loss", "smooth_l1")[2], loss="smooth_l1")


@pytest.mark.parametrize(
    ("name", "millions"), [("finetune_regression", 1.13), ("finetune_regression_full", 4.70), ("pretrain_mlm", 1.37)]
)
def test_best(name: str, millions: float, tmp_path: Path) -> None:
    model, data, training = read(f"best/{name}.yaml", tmp_path)
    kind = AutoModelForMaskedLM if "pretrain" in name else AutoModelForSequenceClassification
    network = load_model(kind, build(model, num_labels=1)[1], **model.checkpoint)
    assert round(network.num_parameters() / 1e6, 2) == millions
    assert network.config.both_strands
    if name == "finetune_regression_full":
        n_rows = ALL_ROWS - data.validation_rows
        assert n_rows == 6_639_258
        assert round(-(-n_rows // (4 * training.per_device_train_batch_size)) * training.num_train_epochs, -3) == 65_000


@pytest.mark.parametrize("recipe", ["sysu/pretrain_mlm.yaml", "sysu/finetune_regression.yaml"])
def test_the_optimizer_without_decay_is_adam(recipe: str, tmp_path: Path) -> None:
    """The Trainer's AdamW moves weights exactly as the Adam of the original when nothing decays or is clipped."""
    training = read(recipe, tmp_path)[2]
    has(training, max_grad_norm=0.0)
    torch.manual_seed(0)
    layers = [torch.nn.Linear(4, 3) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    optimizer_class, settings = Trainer.get_optimizer_cls_and_kwargs(training)
    adam = torch.optim.Adam(layers[1].parameters(), lr=1e-4)
    optimizers = [optimizer_class(layers[0].parameters(), **settings | {"weight_decay": training.weight_decay}), adam]
    for _ in range(20):
        batch = torch.randn(5, 4)
        for layer, optimizer in zip(layers, optimizers, strict=True):
            optimizer.zero_grad()
            layer(batch).square().sum().backward()
            optimizer.step()
    assert torch.allclose(layers[0].weight, layers[1].weight, atol=1e-7)
